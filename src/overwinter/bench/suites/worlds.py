"""Worlds as benchmarks: each question is a seed, each answer an episode, which is a run of the loop in the same journal.

The seeds begin far from those that policies were trained and tuned on (docs/greenhouse.md); --seed moves on by thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from overwinter.bench.suite import Item, Suite, register

FIRST, COUNT = 900_000, 100


def seeds(world: str) -> Callable[[Path | None, int], list[Item]]:
    """A loader of a world's seeds."""

    def load(_: Path | None, seed: int) -> list[Item]:
        first = FIRST + 1000 * seed
        return [
            Item(id=f"s{number}", question=f"{world}, seed {number}", gold=number)
            for number in range(first, first + COUNT)
        ]

    return load


for _world, _about in (
    ("greenhouse", "a winter of 120 days in the greenhouse"),
    ("household", "things found, cleaned, heated and put away in a house"),
    ("archive", "facts of the first letters are needed hundreds of steps later"),
):
    register(Suite(name=_world, family="worlds", about=f"{_about}; played", load=seeds(_world), world=_world))
