"""Running questions against a corpus: indexes, cached vectors, recall with intervals. Shared by the recipes that measure retrieval."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_memory_data import Asked, Corpus
from overwinter.memory.embed import open_embedder
from overwinter.memory.retrieve import Config, Question, Searcher
from overwinter.memory.sqlite import SqliteIndex
from overwinter.memory.vectors import VectorScan, to_bytes

CUTS = (5, 10, 20)
RESAMPLES = 2000


class CachedEmbedder:
    """An embedder whose vectors are kept in a folder, so that a second run costs nothing. Rounded to float16, as indexes do."""

    def __init__(self, spec: str, folder: Path) -> None:
        inner = open_embedder(spec)
        if inner is None:
            raise SystemExit("name a model: --embedder minilm:FOLDER")
        self._inner, self.name, self.dim, self.max_tokens = inner, inner.name, inner.dim, inner.max_tokens
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{inner.name}.npz"
        self._known: dict[str, NDArray[np.float16]] = {}
        if self._path.exists():
            with np.load(self._path) as kept:
                self._known = dict(zip(json.loads(str(kept["texts"])), kept["vectors"], strict=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        missing = sorted({text for text in texts if text not in self._known})
        for first in range(0, len(missing), 512):
            batch = missing[first : first + 512]
            self._known.update(zip(batch, self._inner.embed(batch).astype(np.float16), strict=True))
            if len(missing) > 512:
                print(f"  embedded {first + len(batch):,} of {len(missing):,} texts", flush=True)
        if missing:
            self._save()
        return np.stack([self._known[text] for text in texts]).astype(np.float32)

    def _save(self) -> None:
        # The suffix must be .npz, or NumPy appends one.
        beside = self._path.with_suffix(".tmp.npz")
        np.savez(beside, texts=json.dumps(list(self._known)), vectors=np.stack(list(self._known.values())))
        beside.replace(self._path)


class Opened:
    """A corpus in an index of its own, with a searcher; a context manager, since the index is a temporary file."""

    def __init__(
        self, corpus: Corpus, embedder: Any = None, config: Config | None = None, skip: frozenset[int] = frozenset()
    ):
        self.corpus = corpus
        self._folder = tempfile.TemporaryDirectory(prefix="bench-memory-")
        self.index = SqliteIndex(Path(self._folder.name) / "index.db", "default")
        units = [unit for i, unit in enumerate(corpus.units) if i not in skip]
        with self.index.transaction():
            rows = self.index.put_units(units)
            if embedder:
                vectors = embedder.embed([unit.text for unit in units])
                data = [(row, to_bytes(vector)) for row, vector in zip(rows, vectors, strict=True)]
                self.index.put_vectors(embedder.name, embedder.dim, data)
        scan = VectorScan(self.index, embedder.name) if embedder else None
        if scan is not None:  # an empty one is false
            scan.refresh()
        self.searcher = Searcher(self.index, embedder, scan, config)
        self._place = {unit.id: i for i, unit in enumerate(corpus.units)}

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.index.close()
        self._folder.cleanup()

    def ranking(self, asked: Asked) -> list[int]:
        """Places of the best units in the corpus, duplicates left in, nothing withheld: what recall is measured on."""
        order = self.searcher.weigh(Question(text=asked.text, now_us=asked.now_us)).order
        return [self._place[each.entry.unit.id] for each in order[: max(CUTS)]]

    def shown(self, asked: Asked) -> tuple[list[int], list[int]]:
        """Places of the best ten by score, and of the units that a search shows: none where it abstains."""
        question = Question(text=asked.text, now_us=asked.now_us, k=10)
        weighed = self.searcher.weigh(question)
        hits = self.searcher.answer(question, weighed).hits
        best = [self._place[each.entry.unit.id] for each in weighed.order[:10]]
        return best, [self._place[hit.unit.id] for hit in hits]


def recall(order: Sequence[int], gold: Sequence[int], cuts: Sequence[int] = CUTS) -> tuple[float, ...]:
    """Share of what answers a question among the best, at each cut."""
    return tuple(len(set(order[:cut]).intersection(gold)) / len(gold) for cut in cuts)


def interval(
    values: Sequence[float], of: Callable[[Sequence[float]], float] | None = None, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over questions."""
    dice, count = random.Random(seed), len(values)
    if of is None:
        array = np.asarray(values, np.float64)
        picks = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
        means = array[picks].mean(1)
    else:
        means = np.asarray([of([values[dice.randrange(count)] for _ in range(count)]) for _ in range(RESAMPLES)])
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def percent(values: Sequence[float]) -> str:
    """Mean in percent with its interval."""
    low, high = interval(values)
    return f"{100 * float(np.mean(values)):.1f} ({100 * low:.1f}–{100 * high:.1f})"
