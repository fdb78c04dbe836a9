"""What estimators remember between batches: counts of transitions and of ends, per task, fading with every batch.

A memory is a value: `remember` makes a new one, and nothing else changes it. Keys are (group, state), so a group must be the
same number whenever the same task comes again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.credit.arrays import Buckets, buckets_of


def _no_ints() -> Ints:
    return np.zeros(0, dtype=np.int64)


def _no_floats() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphMemory:
    """Counts of what was seen, E transitions and K ends.

    Attributes:
        group, source, action, target: [E] a transition: task, state, action, state.
        count: [E] how often, faded.
        end_group, end_state: [K] where trajectories ended.
        goal, other: [K] how many of them met the goal there, and how many did not; faded.
    """

    group: Ints = field(default_factory=_no_ints)
    source: Ints = field(default_factory=_no_ints)
    action: Ints = field(default_factory=_no_ints)
    target: Ints = field(default_factory=_no_ints)
    count: Floats = field(default_factory=_no_floats)
    end_group: Ints = field(default_factory=_no_ints)
    end_state: Ints = field(default_factory=_no_ints)
    goal: Floats = field(default_factory=_no_floats)
    other: Floats = field(default_factory=_no_floats)


def _sums(buckets: Buckets, old: Floats, new: Floats) -> Floats:
    weights = np.concatenate([old, new])
    return np.bincount(buckets.index, weights=weights, minlength=buckets.count).astype(np.float64)


def remember(memory: GraphMemory | None, batch: Batch, *, decay: float, forget: float) -> GraphMemory:
    """`memory` faded by `decay`, without what fell below `forget`, plus the transitions and ends of `batch`.

    Ends of unknown success (NaN) leave no trace: a time limit says nothing about the state it struck in.
    """
    old = memory or GraphMemory()
    faded = old.count * decay
    keep = faded >= forget
    columns = [
        np.concatenate([kept[keep], new])
        for kept, new in (
            (old.group, batch.group),
            (old.source, batch.state),
            (old.action, batch.action),
            (old.target, batch.next_state),
        )
    ]
    edges = buckets_of(*columns)
    first = np.unique(edges.index, return_index=True)[1]
    count = _sums(edges, faded[keep], np.ones(len(batch)))

    known = ~np.isnan(batch.success)
    goal, other = old.goal * decay, old.other * decay
    alive = np.maximum(goal, other) >= forget
    end_columns = [
        np.concatenate([old.end_group[alive], batch.trajectory_group[known]]),
        np.concatenate([old.end_state[alive], batch.next_state[batch.last[known]]]),
    ]
    ends = buckets_of(*end_columns)
    end_first = np.unique(ends.index, return_index=True)[1]
    success = batch.success[known]
    return GraphMemory(
        group=columns[0][first],
        source=columns[1][first],
        action=columns[2][first],
        target=columns[3][first],
        count=count,
        end_group=end_columns[0][end_first],
        end_state=end_columns[1][end_first],
        goal=_sums(ends, goal[alive], success),
        other=_sums(ends, other[alive], 1.0 - success),
    )
