"""The few array operations that credit needs, once over NumPy and (in torch_backend.py) once over Torch.

Every estimator is written over `Arrays`, so there is one formula and not two. Keys (states, groups, actions) are whole numbers
and stay in NumPy: which rows belong together is settled on the host; only floats travel. Sums over a segment are taken in row
order by both, so both give the same bits; `exp` and `log` may differ in the last one.

Shapes: S rows, N segments. An `Array` is an NDArray of float64 here and a float64 Tensor there; operators work on both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from overwinter.learn.batch import Batch, Floats, Ints

Array = Any

ROUNDING = 1e-12
"""Deviations up to this are taken for 0."""


class Arrays(Protocol):
    """What a backend must offer. `index` arguments are NumPy integers; their use as subscripts goes through `take`."""

    def of(self, column: NDArray[Any]) -> Array:
        """A column as this backend's float64 (or bool) array."""
        ...

    def take(self, values: Array, index: Ints) -> Array: ...

    def segment_sum(self, values: Array, index: Ints, count: int) -> Array:
        """[S] → [count]: sums of the rows with equal index, in row order."""
        ...

    def segment_max(self, values: Array, index: Ints, count: int) -> Array:
        """[S] → [count]: maxima; 0 where a segment is empty (values are probabilities)."""
        ...

    def put(self, values: Array, index: Ints, rows: Array) -> Array:
        """A copy of `values` with `rows` at `index`."""
        ...

    def join(self, pieces: list[Array]) -> Array: ...

    def where(self, condition: Array, yes: Array, no: Array) -> Array: ...

    def clip(self, values: Array, low: float, high: float) -> Array: ...

    def exp(self, values: Array) -> Array: ...

    def log(self, values: Array) -> Array: ...

    def sqrt(self, values: Array) -> Array: ...

    def largest(self, values: Array) -> float:
        """Largest absolute value; 0 of an empty array."""
        ...

    def numpy(self, values: Array) -> Floats: ...


class NumpyArrays:
    """The reference backend."""

    def of(self, column: NDArray[Any]) -> Array:
        return column if column.dtype == np.bool_ else column.astype(np.float64)

    def take(self, values: Array, index: Ints) -> Array:
        return values[index]

    def segment_sum(self, values: Array, index: Ints, count: int) -> Array:
        return np.bincount(index, weights=values, minlength=count)

    def segment_max(self, values: Array, index: Ints, count: int) -> Array:
        found = np.zeros(count)
        np.maximum.at(found, index, values)
        return found

    def put(self, values: Array, index: Ints, rows: Array) -> Array:
        changed = values.copy()
        changed[index] = rows
        return changed

    def join(self, pieces: list[Array]) -> Array:
        return np.concatenate(pieces)

    def where(self, condition: Array, yes: Array, no: Array) -> Array:
        return np.where(condition, yes, no)

    def clip(self, values: Array, low: float, high: float) -> Array:
        return np.clip(values, low, high)

    def exp(self, values: Array) -> Array:
        return np.exp(values)

    def log(self, values: Array) -> Array:
        return np.log(values)

    def sqrt(self, values: Array) -> Array:
        return np.sqrt(values)

    def largest(self, values: Array) -> float:
        return float(np.abs(values).max()) if len(values) else 0.0

    def numpy(self, values: Array) -> Floats:
        return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Buckets:
    """Rows that are compared with each other.

    Attributes:
        index: [S] bucket of each row, 0 to count-1.
        count: number of buckets.
        size: [count] rows of each.
    """

    index: Ints
    count: int
    size: Ints


def buckets_of(*keys: Ints) -> Buckets:
    """Buckets of rows that agree in every key. keys: one or more columns [S] of whole numbers, or [S, k]."""
    columns = np.column_stack(keys) if keys else np.zeros((0, 1), dtype=np.int64)
    # One key after the other: sorting whole rows would compare them as bytes, which is ten times slower.
    index = np.zeros(len(columns), dtype=np.int64)
    for column in columns.T:
        _, inverse = np.unique(column, return_inverse=True)
        joint = index * (int(inverse.max()) + 1 if len(inverse) else 1) + inverse.reshape(-1)
        _, index = np.unique(joint, return_inverse=True)
        index = index.reshape(-1).astype(np.int64)
    count = int(index.max()) + 1 if len(index) else 0
    return Buckets(index=index, count=count, size=np.bincount(index, minlength=count).astype(np.int64))


class Frame:
    """A batch as an estimator reads it: columns in the backend's form, and the statistics all families share.

    Args:
        batch: checked trajectories.
        x: the backend.
    """

    def __init__(self, batch: Batch, x: Arrays) -> None:
        self.batch = batch
        self.x = x

    def column(self, name: str) -> Array:
        """Column `name` as an array; raises UsageError where the batch has none."""
        self.batch.need(name)
        return self.x.of(getattr(self.batch, name))

    @cached_property
    def groups(self) -> Buckets:
        """[T] trajectories by group."""
        return buckets_of(self.batch.trajectory_group)

    @cached_property
    def states(self) -> Buckets:
        """[S] rows by (group, state)."""
        return buckets_of(self.batch.group, self.batch.state)

    @cached_property
    def row_groups(self) -> Buckets:
        """[S] rows by group, numbered as in `groups`."""
        index = self.groups.index[self.batch.trajectory]
        return Buckets(
            index=index, count=self.groups.count, size=np.bincount(index, minlength=self.groups.count).astype(np.int64)
        )

    @cached_property
    def outcome(self) -> Array:
        """[T] sum of rewards."""
        return self.x.segment_sum(self.column("reward"), self.batch.trajectory, self.batch.trajectories)

    def by_step(self, per_trajectory: Array) -> Array:
        """[T] → [S]: every row gets its trajectory's value."""
        return self.x.take(per_trajectory, self.batch.trajectory)

    def counts(self, buckets: Buckets) -> Array:
        """[N] sizes of buckets as floats."""
        return self.x.of(buckets.size)

    def mean(self, values: Array, buckets: Buckets) -> Array:
        """[N] means within buckets."""
        return self.x.segment_sum(values, buckets.index, buckets.count) / self.counts(buckets)

    def centred(self, values: Array, buckets: Buckets) -> Array:
        """Values minus the mean of their bucket."""
        return values - self.x.take(self.mean(values, buckets), buckets.index)

    def deviation(self, centred: Array, buckets: Buckets, ddof: int) -> Array:
        """[N] standard deviations of values that are centred already; 0 for buckets of at most `ddof` rows."""
        squares = self.x.segment_sum(centred * centred, buckets.index, buckets.count)
        return self.x.sqrt(squares / self.x.of(np.maximum(buckets.size - ddof, 1)))

    def normalised(self, values: Array, buckets: Buckets, ddof: int, eps: float) -> Array:
        """(value - mean) / (std + eps) within buckets; 0 in buckets of one row or of equal values, whatever eps is."""
        centred = self.centred(values, buckets)
        deviation = self.x.take(self.deviation(centred, buckets, ddof), buckets.index)
        # Equal values differ from their mean by rounding alone; divided by its own size, that would look like a signal.
        apart = deviation > ROUNDING
        safe = self.x.where(apart, deviation + eps, deviation * 0.0 + 1.0)
        return self.x.where(apart, centred / safe, deviation * 0.0)

    def backwards(self, step_values: Array, decay: float, start: Array | None = None) -> Array:
        """[S] y_t = x_t + decay · y_{t+1} within each trajectory. start: [T] the y after the last row; 0 without it."""
        batch, x = self.batch, self.x
        running = start if start is not None else x.of(np.zeros(batch.trajectories))
        places: list[Ints] = []
        pieces: list[Array] = []
        # Row k from the end of every trajectory at once: as many passes as the longest one has rows.
        for back in range(int(batch.length.max()) if len(batch) else 0):
            alive = np.flatnonzero(batch.length > back)
            places.append(batch.last[alive] - back)
            pieces.append(x.take(step_values, places[-1]) + decay * x.take(running, alive))
            running = x.put(running, alive, pieces[-1])
        return x.put(step_values, np.concatenate(places), x.join(pieces)) if places else step_values

    def next_of(self, step_values: Array, end: Array) -> Array:
        """[S] value of the next row of the same trajectory; of a last row, `end` [T] of its trajectory."""
        batch = self.batch
        following = np.minimum(np.arange(len(batch)) + 1, max(len(batch) - 1, 0))
        return self.x.put(self.x.take(step_values, following), batch.last, end)
