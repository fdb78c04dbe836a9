"""From documents on disk to batches, in an order that is a pure function of a seed and of one number per source.

    mixture = Mixture([Windows(shards, context=128, seed=0)], weights=[1.0])
    batch = mixture.batch(16)              # ids, targets, and where documents start
    mixture.taken                          # the whole state: how many rows each source has given

A source is an endless sequence of rows: `row(k)` is the same whenever it is asked for. Each pass over the data has its own
order, drawn from the seed and the number of the pass, so nothing has to be remembered of it, and a resumed training goes on
with the very row it would have seen.

`Windows` cuts text into pieces of the context length, at another offset in each pass. `Examples` has a row for each example, with
a loss on what is to be learned alone; rows of similar length come together, so that little is padded (`bucket`), or several examples
share a row without seeing each other (`pack`). A mixture takes rows from its sources in proportion to their weights, the one that
is furthest behind first: no row of a source is skipped, none comes twice in a pass.

Shapes: B rows, L tokens. A target below 0 is none. Padding stands on the right, where a causal decoder does not see it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.train.shards import Shards

NO_TARGET = -100
PADDING = 0
"""The id that fills rows; any does, for nothing looks at it."""
POOL = 16
"""Batches whose examples are sorted by length together."""
OPEN_ROWS = 16
"""Rows that are being packed at a time."""


class Row(NamedTuple):
    """One row of a batch."""

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    starts: NDArray[np.bool_]
    """Whether a document begins here."""


class Batch(NamedTuple):
    """Rows of one length."""

    ids: Tensor
    """BL."""
    targets: Tensor
    """BL: the token that follows, or a negative number."""
    starts: Tensor | None
    """BL: where documents begin that must not see what stands before them; None if there is no such place."""

    @property
    def n_targets(self) -> int:
        return int((self.targets >= 0).sum())

    def to(self, device: torch.device | str) -> Batch:
        """On another device."""
        return Batch(*(None if part is None else part.to(device, non_blocking=True) for part in self))  # type: ignore[arg-type]


class Source(Protocol):
    """An endless sequence of rows."""

    @property
    def rows_per_pass(self) -> int:
        """After so many rows everything was seen once."""
        ...

    def row(self, number: int) -> Row: ...


class Windows:
    """Text in pieces of the context length.

    Args:
        shards: the text.
        context: tokens per row.
        seed: of the order.
        borders: `see`: a document sees the one before it in its row, and its first token is predicted from that; `mask`: that
            one prediction is not asked for; `isolate`: it sees nothing of it.
        shuffle: false gives the pieces in order, from the first token on.
    """

    def __init__(
        self, shards: Shards, *, context: int, seed: int = 0, borders: str = "mask", shuffle: bool = True
    ) -> None:
        if borders not in ("see", "mask", "isolate"):
            raise UsageError(f"borders cannot be {borders!r}", "use see, mask or isolate")
        if shards.tokens < context + 1:
            raise UsageError(
                f"{shards.folder} has {shards.tokens} tokens, a row of context {context} takes {context + 1}",
                "shorten the context, or add text",
            )
        self.shards, self.context, self.seed, self.borders, self.shuffle = shards, context, seed, borders, shuffle
        # With the largest offset, the last row still has its last target.
        room = shards.tokens - context if shuffle else shards.tokens - 1
        self._rows = max(1, room // context)

    @property
    def rows_per_pass(self) -> int:
        return self._rows

    def row(self, number: int) -> Row:
        turn, place = divmod(number, self._rows)
        offset, order = self._plan(turn)
        start = offset + int(order[place]) * self.context
        ids = self.shards.ids(start, start + self.context + 1)
        targets = ids[1:].copy()
        if self.shards.masked:
            targets[~self.shards.learn(start + 1, start + self.context + 1)] = NO_TARGET
        starts = np.zeros(self.context, dtype=np.bool_)
        ends = self.shards.ends
        inside = ends[
            np.searchsorted(ends, start, side="right") : np.searchsorted(ends, start + self.context, side="right")
        ]
        if self.borders != "see":
            targets[inside - 1 - start] = NO_TARGET
        if self.borders == "isolate":
            starts[inside[inside < start + self.context] - start] = True
        return Row(ids[:-1], targets, starts)

    @lru_cache(maxsize=2)  # noqa: B019 (a source lives as long as its training)
    def _plan(self, turn: int) -> tuple[int, NDArray[np.int64]]:
        if not self.shuffle:
            return 0, np.arange(self._rows)
        generator = np.random.default_rng([self.seed, turn])
        room = min(self.context, self.shards.tokens - self._rows * self.context)
        return int(generator.integers(room)), generator.permutation(self._rows)


class Examples:
    """Examples, each whole and on its own.

    Args:
        shards: the examples, with marks of what is to be learned.
        context: the longest row; an example of up to context + 1 tokens fits.
        batch_rows: rows that will be asked for together.
        seed: of the order.
        packing: `bucket` gives each example a row and sorts by length; `pack` fills rows with several.
        too_long: what to do with longer examples: `refuse`, `skip`, or `cut` their beginning off.
        shuffle: false gives the examples in order.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        context: int,
        batch_rows: int,
        seed: int = 0,
        packing: str = "bucket",
        too_long: str = "refuse",
        shuffle: bool = True,
    ) -> None:
        if packing not in ("bucket", "pack") or too_long not in ("refuse", "skip", "cut"):
            raise UsageError(
                f"packing {packing!r} with too_long {too_long!r}", "use bucket or pack; refuse, skip or cut"
            )
        self.shards, self.batch_rows, self.seed = shards, batch_rows, seed
        self.packing, self.shuffle, self.context = packing, shuffle, context
        starts, ends = shards.starts, shards.ends.copy()
        long = ends - starts > context + 1
        if long.any() and too_long == "refuse":
            worst = int((ends - starts).max())
            raise UsageError(
                f"{int(long.sum())} examples of {shards.folder} are longer than {context + 1} tokens, up to {worst}",
                "lengthen the context, or set too_long to skip or cut",
            )
        if too_long == "cut":
            starts = np.maximum(starts, ends - context - 1)
        fits = (ends - starts >= 2) & ~(long if too_long == "skip" else np.zeros_like(long))
        self._spans = np.stack([starts[fits], ends[fits]], axis=1)
        if not len(self._spans):
            raise UsageError(f"no example of {shards.folder} fits", "lengthen the context, or add examples")
        self._packed: list[NDArray[np.int64]] = self._pack(self._order(0)) if packing == "pack" else []

    @property
    def rows_per_pass(self) -> int:
        if self.packing == "pack":
            return len(self._packed)
        count = len(self._spans)
        # Whole batches, or those of the next pass would mix lengths. What is left out is another few examples each time.
        return count - count % self.batch_rows if self.shuffle and count > self.batch_rows else count

    def row(self, number: int) -> Row:
        turn, place = divmod(number, self.rows_per_pass)
        members = self._packed_order(turn)[place] if self.packing == "pack" else self._bucketed(turn)[place : place + 1]
        parts = [self._one(int(member)) for member in members]
        return Row(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _one(self, example: int) -> Row:
        start, end = map(int, self._spans[example])
        ids = self.shards.ids(start, end)
        targets = np.where(self.shards.learn(start + 1, end), ids[1:], NO_TARGET)
        starts = np.zeros(len(targets), dtype=np.bool_)
        starts[0] = True
        return Row(ids[:-1], targets, starts)

    def _order(self, turn: int) -> NDArray[np.int64]:
        count = len(self._spans)
        return np.random.default_rng([self.seed, turn]).permutation(count) if self.shuffle else np.arange(count)

    @lru_cache(maxsize=2)  # noqa: B019 (a source lives as long as its training)
    def _bucketed(self, turn: int) -> NDArray[np.int64]:
        """Examples in an order where each batch holds similar lengths, and batches come in any order."""
        order = self._order(turn)[: self.rows_per_pass]
        if not self.shuffle:
            return order
        lengths = self._spans[:, 1] - self._spans[:, 0]
        batches: list[NDArray[np.int64]] = []
        for begin in range(0, len(order), POOL * self.batch_rows):
            pool = order[begin : begin + POOL * self.batch_rows]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[at : at + self.batch_rows] for at in range(0, len(pool), self.batch_rows)]
        generator = np.random.default_rng([self.seed, turn, 1])
        return np.concatenate([batches[int(at)] for at in generator.permutation(len(batches))])

    @lru_cache(maxsize=2)  # noqa: B019 (a source lives as long as its training)
    def _packed_order(self, turn: int) -> list[NDArray[np.int64]]:
        """Rows are packed once; a pass puts them in its own order. So every pass has as many."""
        if not self.shuffle or turn == 0:
            return self._packed
        order = np.random.default_rng([self.seed, turn]).permutation(len(self._packed))
        return [self._packed[int(at)] for at in order]

    def _pack(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """First fit into a few open rows; the fullest is closed when none has room."""
        done: list[list[int]] = []
        rows: list[tuple[int, list[int]]] = []
        for example in map(int, order):
            length = int(self._spans[example, 1] - self._spans[example, 0]) - 1
            place = next((at for at, (used, _) in enumerate(rows) if used + length <= self.context), None)
            if place is not None:
                rows[place] = rows[place][0] + length, [*rows[place][1], example]
                continue
            if len(rows) == OPEN_ROWS:
                done.append(rows.pop(max(range(OPEN_ROWS), key=lambda at: rows[at][0]))[1])
            rows.append((length, [example]))
        return [np.asarray(members) for members in (*done, *(members for _, members in rows))]


class Mixture:
    """Sources in proportion to their weights.

    Args:
        sources: at least one.
        weights: shares of the rows; they need not add up to 1.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(sources) if weights is None else list(weights)
        if not sources or len(weights) != len(sources) or min(weights) <= 0:
            raise UsageError(f"{len(sources)} sources with weights {weights}", "give each a weight above 0")
        self.sources, self._shares = tuple(sources), [each / sum(weights) for each in weights]
        self.taken = [0] * len(sources)

    def move(self, taken: Sequence[int]) -> None:
        """Go to where so many rows of each source have been taken."""
        if len(taken) != len(self.sources) or min(taken) < 0:
            raise UsageError(
                f"a cursor {list(taken)} for {len(self.sources)} sources", "resume with the data it was saved with"
            )
        self.taken = list(taken)

    def batch(self, rows: int) -> Batch:
        """The next rows."""
        return collate([self._next() for _ in range(rows)])

    def skip(self, rows: int) -> None:
        """Leave out the next rows."""
        for _ in range(rows):
            self.taken[self._behind()] += 1

    def _next(self) -> Row:
        chosen = self._behind()
        row = self.sources[chosen].row(self.taken[chosen])
        self.taken[chosen] += 1
        return row

    def _behind(self) -> int:
        """The source that is furthest behind its share; the first of equals."""
        total = sum(self.taken) + 1
        behind = [share * total - taken for share, taken in zip(self._shares, self.taken, strict=True)]
        return behind.index(max(behind))


def in_order(source: Source, rows: int, batch_rows: int) -> Iterator[Batch]:
    """Batches of `rows` rows spread evenly over one pass of a source: what is evaluated on, the same each time."""
    rows = min(rows, source.rows_per_pass)
    chosen = [at * source.rows_per_pass // rows for at in range(rows)]
    for begin in range(0, rows, batch_rows):
        yield collate([source.row(at) for at in chosen[begin : begin + batch_rows]])


def collate(rows: Sequence[Row]) -> Batch:
    """Rows as one batch, padded on the right to the longest."""
    longest = max(len(row.ids) for row in rows)
    shape = (len(rows), longest)
    ids, targets = np.full(shape, PADDING, dtype=np.int64), np.full(shape, NO_TARGET, dtype=np.int64)
    starts = np.zeros(shape, dtype=np.bool_)
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)], targets[at, : len(row.ids)], starts[at, : len(row.ids)] = row
    inner = bool(starts[:, 1:].any())  # a start at the row's own begin separates nothing
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(starts) if inner else None)
