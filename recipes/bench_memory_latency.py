"""How long a search takes with 100,000 and 1,000,000 units, without a model: made-up histories in a real index.

Texts are joined from pieces of real turns, so that words are as common and as rare as in talk; vectors lie in clusters. An index is built
once into `--scratch` and used again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_memory_data import as_unit
from overwinter.memory.retrieve import Config, Question, Searcher, Weights
from overwinter.memory.sqlite import SqliteIndex
from overwinter.memory.unit import Unit
from overwinter.memory.vectors import VectorScan

MODEL, DIM, CLUSTERS = "made-up", 384, 2000
BATCH, SESSION = 5000, 25
WARM_UP = 30


class _Fixed:
    """The next of some vectors, whatever is asked: no model's time is measured."""

    name, dim, max_tokens = MODEL, DIM, 256

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors, self._next = vectors, 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._next += len(texts)
        return np.stack([self._vectors[(self._next + i) % len(self._vectors)] for i in range(len(texts))])


def made_up_units(turns: Sequence[str], count: int) -> Iterator[Unit]:
    """Each unit joins the halves of two turns, behind a speaker of one of forty names."""
    dice = random.Random(7)
    names = [f"Person{i}" for i in range(40)]
    halves = [text.partition(": ")[2].split() for text in turns]
    for i in range(count):
        first, second = dice.choice(halves), dice.choice(halves)
        text = " ".join([*first[: len(first) // 2 + 1], *second[len(second) // 2 :]]) or "yes"
        who = names[(i // SESSION * 7 + i % 2) % 40]
        yield as_unit(i, f"{who}: {text}", session=f"s{i // SESSION}", place=i % SESSION, actor=f"person:{who}")


def vectors_near(count: int, seed: int) -> NDArray[np.float32]:
    centres = np.random.default_rng(1).normal(size=(CLUSTERS, 64)).astype(np.float32)
    spread = np.random.default_rng(2).normal(size=(64, DIM)).astype(np.float32)
    dice = np.random.default_rng(seed)
    points = centres[dice.integers(0, CLUSTERS, count)] @ spread + 3 * dice.normal(size=(count, DIM)).astype(np.float32)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def open_index(folder: Path, turns: Sequence[str], count: int) -> SqliteIndex:
    """The index of `count` units, built as far as it is not there yet."""
    index = SqliteIndex(folder / f"latency-{count}.db", "default")
    there = index.count()
    if there == count:
        return index
    if there:
        with index.transaction():
            index.drop_all()
    units, began = made_up_units(turns, count), time.monotonic()
    for first in range(0, count, BATCH):
        batch = [next(units) for _ in range(min(BATCH, count - first))]
        halves = vectors_near(len(batch), 100 + first).astype("<f2")
        with index.transaction():
            rows = index.put_units(batch)
            index.put_vectors(MODEL, DIM, [(row, half.tobytes()) for row, half in zip(rows, halves, strict=True)])
        if first % 50_000 == 0:
            print(f"  {first:,} of {count:,} units, {time.monotonic() - began:.0f} s", flush=True)
    return index


def measure(index: SqliteIndex, questions: Sequence[str], dense: bool, follow: bool = False) -> dict[str, float]:
    """Milliseconds of `search`: median and 95th percentile by the clock, and processor time per search.

    `follow`: further rounds start from turns too, as they do from documents.
    """
    scan = None
    if dense:
        scan = VectorScan(index, MODEL)
        scan.refresh()
    config = Config(abstain=False, weights=Weights(hop_message=1.0) if follow else Weights())
    searcher = Searcher(index, _Fixed(vectors_near(64, 5)) if dense else None, scan, config)
    for text in questions[:WARM_UP]:
        searcher.search(Question(text=text))
    timed = questions[WARM_UP:]
    wall, cpu = [], time.process_time()
    for text in timed:
        began = time.perf_counter()
        searcher.search(Question(text=text))
        wall.append((time.perf_counter() - began) * 1e3)
    return {
        "p50": float(np.quantile(wall, 0.5)),
        "p95": float(np.quantile(wall, 0.95)),
        "cpu": (time.process_time() - cpu) * 1e3 / len(timed),
    }


def rows(folder: Path, turns: Sequence[str], questions: Sequence[str], counts: Sequence[int]) -> list[list[Any]]:
    found = []
    for count in counts:
        index = open_index(folder, turns, count)
        for name, dense, follow in (
            ("words", False, False), ("words and vectors", True, False), ("words and vectors, a second round", True, True)
        ):  # fmt: skip
            times = measure(index, questions, dense, follow)
            found.append([f"{count:,}", name, *(f"{times[key]:.0f}" for key in ("p50", "p95", "cpu"))])
            print("  ", *found[-1], flush=True)
        index.close()
    return found
