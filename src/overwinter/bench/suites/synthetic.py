"""Suites made from a seed: they need no data, so that everything can be tried at once, and no model can have seen them."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

from overwinter.bench.suite import Item, Suite, register
from overwinter.bench.suites.forms import ask_choice, ask_open, score_choice, score_number

COUNT = 200
NAMES = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Finn")


def arithmetic(_: Path | None, seed: int) -> list[Item]:
    """Sums, differences and products of two or three numbers; the slice says how many digits."""
    rng, items = random.Random(f"arithmetic:{seed}"), list[Item]()  # noqa: S311 - no secret
    for place in range(COUNT):
        digits = 1 + place % 4
        low, high = 10 ** (digits - 1), 10**digits - 1
        a, b, c = (rng.randint(low, high) for _ in range(3))
        sign = rng.choice("+-*") if digits < 4 else rng.choice("+-")
        text = f"{a} {sign} {b} + {c}" if digits > 1 else f"{a} {sign} {b}"
        items.append(
            Item(
                id=f"{seed}-{place}",
                question=f"What is {text}?",
                gold=str(_value(a, sign, b) + (c if digits > 1 else 0)),
                slices={"digits": str(digits), "sign": sign},
            )
        )
    return items


def _value(a: int, sign: str, b: int) -> int:
    return {"+": a + b, "-": a - b, "*": a * b}[sign]


def order(_: Path | None, seed: int) -> list[Item]:
    """Who is the tallest, from pairwise statements in mixed order; four letters."""
    rng, items = random.Random(f"order:{seed}"), list[Item]()  # noqa: S311 - no secret
    for place in range(COUNT):
        people = rng.sample(NAMES, 3 + place % 3)
        facts = [f"{a} is taller than {b}." for a, b in pairwise(people)]
        rng.shuffle(facts)
        rank = rng.randrange(len(people))
        shown = rng.sample(people, len(people))[:4]
        if people[rank] not in shown:
            shown[rng.randrange(4)] = people[rank]
        options = dict(zip("ABCD", shown, strict=False))
        which = {0: "the tallest", len(people) - 1: "the shortest"}.get(rank, f"number {rank + 1} from the top")
        items.append(
            Item(
                id=f"{seed}-{place}",
                question=f"{' '.join(facts)} Who is {which}?",
                gold=next(letter for letter, name in options.items() if name == people[rank]),
                options=options,
                slices={"people": str(len(people))},
            )
        )
    return items


register(
    Suite(
        name="arithmetic",
        family="synthetic",
        about="sums, differences and products, one to four digits",
        load=arithmetic,
        ask=ask_open("the number"),
        score=score_number,
        max_tokens=512,
    )
)
register(
    Suite(
        name="order",
        family="synthetic",
        about="who is the tallest, from pairwise statements; multiple choice",
        load=order,
        ask=ask_choice,
        score=score_choice,
        max_tokens=512,
    )
)
