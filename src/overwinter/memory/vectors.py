"""The dense channel's arrays: one bit a dimension to find candidates, float16 to score them.

A vector's signs are a hash whose Hamming distance orders like the angle (Charikar, STOC 2002). Scanning them costs 48 bytes a
vector of 384 dimensions, 25 to 50 ms for a million; scoring the best thousand exactly gives back what the signs lose. There
is no index file that could be damaged, adding is appending, and removing is skipping: below a million vectors nothing is
gained by a graph (docs/memory.md has the figures).

The index is the truth. The arrays are filled from it by ascending row, whatever is new at a time. A removed row is wiped here
when its removal is noticed, and until then never passes `allowed`, which asks the index.

Above `ram_bytes` the float16 part of further segments lies in an unnamed temporary file that the system pages as it needs.

Shapes: N vectors, D dimensions, W = ⌈D/64⌉ words of signs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError
from overwinter.memory.index import Index
from overwinter.memory.unit import Filter

SEGMENT = 65_536
"""Vectors a segment holds: its signs fit the processor's cache."""

_ANY = Filter(exclude_flags=frozenset())
_FLOOR_SAMPLE = 1000
_FARTHEST = np.uint16(65_535)

Vector = NDArray[np.float32]
Allowed = Callable[[Collection[int]], set[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Attributes:
    rescored: how many of the nearest by sign are scored exactly.
    ram_bytes: of float16 kept in memory; what goes beyond is paged from a temporary file.
    """

    rescored: int = 1000
    ram_bytes: int = 1 << 30


class _Segment:
    """Up to SEGMENT vectors. `signs_WN` holds word after word, so that a scan reads memory in order."""

    def __init__(self, dim: int, in_ram: bool) -> None:
        self.count = 0
        self.rows_N = np.empty(SEGMENT, np.int64)
        self.alive_N = np.zeros(SEGMENT, np.bool_)
        self.signs_WN = np.zeros(((dim + 63) // 64, SEGMENT), np.uint64)
        self.halves_ND: NDArray[np.float16]
        if in_ram:
            self.halves_ND = np.empty((SEGMENT, dim), np.float16)
        else:
            file = tempfile.TemporaryFile(prefix="overwinter-vectors-")  # noqa: SIM115 - the map keeps it open
            self.halves_ND = np.memmap(file, np.float16, "w+", shape=(SEGMENT, dim))

    def append(self, rows: Sequence[int], halves_ND: NDArray[np.float16]) -> None:
        span = slice(self.count, self.count + len(rows))
        self.rows_N[span] = rows
        self.alive_N[span] = True
        self.halves_ND[span] = halves_ND
        self.signs_WN[:, span] = _signs(halves_ND).T
        self.count += len(rows)

    def wipe(self, dead_N: NDArray[np.bool_]) -> None:
        """Skip the vectors of a mask of length `count` from now on, and leave none of their bytes."""
        self.alive_N[: self.count][dead_N] = False
        self.halves_ND[: self.count][dead_N] = 0
        self.signs_WN[:, : self.count][:, dead_N] = 0

    def distances(self, signs_W: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """[count] differing signs; the farthest for what is wiped."""
        total_N = np.zeros(self.count, np.uint16)
        for word_N, word in zip(self.signs_WN[:, : self.count], signs_W, strict=True):
            total_N += np.bitwise_count(word_N ^ word)
        total_N[~self.alive_N[: self.count]] = _FARTHEST
        return total_N


class VectorScan:
    """All vectors of one generation of an index, searched by scanning.

    `refresh` takes in what the index has new; a search does not, so that its caller decides when to pay for it.
    """

    def __init__(self, index: Index, model: str, config: Config | None = None) -> None:
        self.index, self.model, self.config = index, model, config or Config()
        self._segments: list[_Segment] = []
        self._place: dict[int, int] = {}  # row → place counted over all segments
        self._last_row = -1
        self._dim = 0
        self._sample_ND: Vector | None = None

    def __len__(self) -> int:
        return len(self._place)

    @property
    def dim(self) -> int:
        return self._dim

    def refresh(self) -> int:
        """Append what the index has beyond the last row, wipe what it no longer has; how many were added."""
        dim, count = self.index.vector_models().get(self.model, (self._dim, 0))
        if self._dim not in (0, dim):
            self._segments, self._place, self._last_row = [], {}, -1
        self._dim = dim
        before = len(self._place)
        added = self._append_new()
        if len(self._place) > count:
            self._wipe_removed()
        if len(self._place) != count:  # vectors of rows that were passed already, or a count of another moment
            added += self._append_missed()
        if added or len(self._place) != before:
            self._sample_ND = None
        return added

    def search(self, query: Vector, k: int, allowed: Allowed | None = None) -> list[tuple[int, float]]:
        """The `k` nearest rows with their cosine, best first, ties by row.

        `allowed` gives those of some rows that may be returned. Where it leaves too few, the search is widened until
        everything was asked for. Raises UsageError when the query has another length.
        """
        self._check(query)
        distances_N = self._all_distances(query)
        pool, wanted = max(self.config.rescored, k), min(k, len(self._place))
        while True:
            places = _nearest(distances_N, pool)
            rows = self._rows_at(places)
            passed = allowed(rows.tolist()) if allowed else None
            if passed is not None:
                keep = np.fromiter((row in passed for row in rows.tolist()), np.bool_, len(rows))
                places, rows = places[keep], rows[keep]
            if len(rows) >= wanted or pool >= len(self._place):
                return _best(rows, self._score(places, query), k)
            pool *= 8

    def exact(self, query: Vector, k: int, allowed: Allowed | None = None) -> list[tuple[int, float]]:
        """The same by scoring every vector: the plain twin of `search`."""
        self._check(query)
        places = np.fromiter(self._place.values(), np.int64, len(self._place))
        rows = np.fromiter(self._place.keys(), np.int64, len(self._place))
        if allowed:
            passed = allowed(rows.tolist())
            keep = np.fromiter((row in passed for row in rows.tolist()), np.bool_, len(rows))
            places, rows = places[keep], rows[keep]
        return _best(rows, self._score(places, query), k)

    def scores(self, rows: Collection[int], query: Vector) -> dict[int, float]:
        """Cosines of given rows; those without a vector are left out."""
        self._check(query)
        known = [row for row in rows if row in self._place]
        places = np.fromiter((self._place[row] for row in known), np.int64, len(known))
        return dict(zip(known, self._score(places, query).tolist(), strict=True))

    def vectors(self, rows: Sequence[int]) -> dict[int, Vector]:
        """Vectors of given rows as float32."""
        known = [row for row in rows if row in self._place]
        places = np.fromiter((self._place[row] for row in known), np.int64, len(known))
        return dict(zip(known, self._gather(places), strict=True))

    def floor(self, query: Vector) -> float:
        """What cosine an unrelated unit has with this question: the lowest hundredth among evenly spaced vectors.

        Models differ in it (about 0 for MiniLM, 0.6 for others), and scores are normalised from it upwards.
        """
        if not self._place:
            return 0.0
        if self._sample_ND is None:
            places = np.fromiter(self._place.values(), np.int64, len(self._place))
            self._sample_ND = self._gather(places[:: max(1, len(places) // _FLOOR_SAMPLE)])
        return float(np.quantile(self._sample_ND @ query, 0.01))

    # Inside

    def _check(self, query: Vector) -> None:
        if self._dim and query.shape != (self._dim,):
            raise UsageError(
                f"the question's vector has shape {query.shape}, those of {self.model!r} have {self._dim} dimensions",
                "embed questions with the model that embedded the units, or embed the units again",
            )

    def _append_new(self) -> int:
        added, stream = 0, self.index.vectors(self.model, after_row=self._last_row)
        while batch := list(islice(stream, 4096)):
            self._append(batch)
            added += len(batch)
            self._last_row = batch[-1][0]
        return added

    def _append_missed(self) -> int:
        """Rows may get their vector after later ones have: walk all of them."""
        added, stream = 0, (pair for pair in self.index.vectors(self.model) if pair[0] not in self._place)
        while batch := list(islice(stream, 4096)):
            self._append(batch)
            added += len(batch)
        return added

    def _append(self, batch: list[tuple[int, bytes]]) -> None:
        halves_ND = np.frombuffer(b"".join(data for _, data in batch), np.dtype("<f2")).reshape(-1, self._dim)
        rows = [row for row, _ in batch]
        while rows:
            if not self._segments or self._segments[-1].count == SEGMENT:
                used = len(self._segments) * SEGMENT * self._dim * 2
                self._segments.append(_Segment(self._dim, used < self.config.ram_bytes))
            segment = self._segments[-1]
            first = (len(self._segments) - 1) * SEGMENT + segment.count
            fits = min(len(rows), SEGMENT - segment.count)
            segment.append(rows[:fits], halves_ND[:fits])
            self._place.update(zip(rows[:fits], range(first, first + fits), strict=True))
            rows, halves_ND = rows[fits:], halves_ND[fits:]

    def _wipe_removed(self) -> None:
        for segment in self._segments:
            rows_N = segment.rows_N[: segment.count]
            kept = self.index.allowed(rows_N[segment.alive_N[: segment.count]].tolist(), _ANY)
            dead_N = segment.alive_N[: segment.count] & ~np.isin(rows_N, np.fromiter(kept, np.int64, len(kept)))
            if dead_N.any():
                for row in rows_N[dead_N].tolist():
                    del self._place[row]
                segment.wipe(dead_N)

    def _all_distances(self, query: Vector) -> NDArray[np.uint16]:
        if not self._segments:
            return np.empty(0, np.uint16)
        signs_W = _signs(query[None])[0]
        return np.concatenate([segment.distances(signs_W) for segment in self._segments])

    def _rows_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = np.empty(len(places), np.int64)
        for inside, segment, at in self._by_segment(places):
            rows[inside] = segment.rows_N[at]
        return rows

    def _gather(self, places: NDArray[np.int64]) -> Vector:
        halves_ND = np.empty((len(places), self._dim), np.float16)
        for inside, segment, at in self._by_segment(places):
            halves_ND[inside] = segment.halves_ND[at]
        return halves_ND.astype(np.float32)

    def _score(self, places: NDArray[np.int64], query: Vector) -> Vector:
        scores = np.empty(len(places), np.float32)
        for inside, segment, at in self._by_segment(places):
            # Row by row in one order of additions: the same vector gets the same bits whoever is scored with it.
            scores[inside] = np.einsum("nd,d->n", segment.halves_ND[at].astype(np.float32), query)
        return scores

    def _by_segment(self, places: NDArray[np.int64]) -> Iterator[tuple[Any, _Segment, Any]]:
        """For each segment that holds any: where in `places` they are, the segment, and where in it."""
        number = places // SEGMENT
        for i, segment in enumerate(self._segments):
            inside = np.flatnonzero(number == i)
            if len(inside):
                yield inside, segment, places[inside] - i * SEGMENT


def to_bytes(vector: Vector) -> bytes:
    """A vector as an index stores it: little-endian float16."""
    return vector.astype("<f2").tobytes()


def _signs(vectors_ND: NDArray[Any]) -> NDArray[np.uint64]:
    """[N, W] one bit a dimension, filled up with zeros."""
    n, dim = vectors_ND.shape
    bits = np.zeros((n, (dim + 63) // 64 * 64), np.bool_)
    bits[:, :dim] = vectors_ND > 0
    return np.packbits(bits, axis=1).view(np.uint64)


def _nearest(distances_N: NDArray[np.uint16], k: int) -> NDArray[np.int64]:
    """Places of the `k` smallest that are not wiped, and of all that equal the largest of them.

    Distances are small integers: counting them finds the bound in one pass, faster than a partition.
    """
    counts = np.bincount(distances_N[distances_N != _FARTHEST])
    bound = int(np.searchsorted(np.cumsum(counts), min(k, int(counts.sum()))))
    return np.flatnonzero(distances_N <= min(bound, int(_FARTHEST) - 1))


def _best(rows: NDArray[np.int64], scores: Vector, k: int) -> list[tuple[int, float]]:
    order = np.lexsort((rows, -scores))[:k]
    return list(zip(rows[order].tolist(), scores[order].tolist(), strict=True))
