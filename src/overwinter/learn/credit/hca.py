"""Hindsight credit assignment as it was first written down (1912.02503): by the later state, or by the return.

    state:  A(x, a) = r(x, a) - r^pi(x) + sum_k gamma^k (h(a | x, X_k) / pi(a | x) - 1) R_k      for every candidate a
    return: A(x, a) = (1 - pi(a | x) / h(a | x, Z)) Z                                            for the action taken

The state form scores every candidate from every trajectory, whatever was done in it; that is what makes it unbiased. Steps that
the choice cannot have influenced carry h = pi, and their rewards and their noise drop out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.credit.arrays import Array, Frame, buckets_of
from overwinter.learn.credit.critic import end_values
from overwinter.learn.credit.groups import demand
from overwinter.learn.credit.hindsight import chosen, demand_candidates
from overwinter.learn.credit.learners import StateHindsight
from overwinter.learn.credit.parts import Parts


@dataclass(frozen=True, kw_only=True)
class HcaState:
    """Args:
    gamma: discount.
    reward_at: whether a reward belongs to the "state" it was collected in (always valid; the step's own reward is then
        averaged per state and action) or to the "next_state" it came with (valid where the reward depends on that alone).
    pool: average the estimates of all rows in the same "state", or keep each "row" to its own trajectory.
    clip: bound of h / pi.
    """

    gamma: float
    reward_at: Literal["state", "next_state"]
    pool: Literal["state", "row"]
    clip: float

    def __post_init__(self) -> None:
        demand(0 <= self.gamma <= 1, f"gamma is {self.gamma}", "give a number from 0 to 1")
        demand(self.reward_at in ("state", "next_state"), f"reward_at is {self.reward_at!r}", "state or next_state")
        demand(self.pool in ("state", "row"), f"pool is {self.pool!r}", "state or row")
        demand(self.clip > 1, f"clip is {self.clip}", "give a bound above 1, or inf")


def hca_state(frame: Frame, options: HcaState) -> Parts:
    """A(x, a) = r(x, a) - r^pi(x) + sum_k gamma^k (h(a | x, X_k) / pi(a | x) - 1) R_k, for every candidate a.

    Needs `policy` and batch.meta["state_hindsight"], a learners.StateHindsight. The gradient without bias is
    sum_a grad pi(a) A(a) over `Credit.candidates`; `advantages` are these at the actions taken.
    """
    batch, x = frame.batch, frame.x
    table = batch.meta.get("state_hindsight")
    if not isinstance(table, StateHindsight):
        raise UsageError(
            "hca_state needs h(a | state, later state)",
            'pass meta={"state_hindsight": learners.fit_state_hindsight(batch, ...)}',
        )
    demand_candidates(batch, "policy")
    policy = np.exp(np.asarray(batch.policy))
    total = x.of(np.zeros(policy.shape))
    reward = frame.column("reward")
    bootstrap = end_values(frame) if batch.truncated.any() and batch.end_value is not None else None
    own = options.reward_at == "next_state"

    def add(total: Array, lag: int, rows: Ints, later: Ints, gain: Array) -> Array:
        if not len(rows):
            return total
        factor = x.of(options.gamma**lag * _factor(batch, table, rows, later, options.clip))
        return x.put(total, rows, x.take(total, rows) + factor * gain[:, None])

    for lag in range(0 if own else 1, int(batch.length.max()) + 1):
        rows = np.flatnonzero(batch.step + lag < batch.length[batch.trajectory])
        later = batch.next_state[rows + lag] if own else batch.state[rows + lag]
        total = add(total, lag, rows, later, x.take(reward, rows + lag))
        if bootstrap is not None:
            rows = np.flatnonzero(batch.step + lag == batch.length[batch.trajectory])
            ends = batch.trajectory[rows]
            total = add(total, lag, rows, batch.next_state[batch.last[ends]], x.take(bootstrap, ends))
    if options.reward_at == "state":
        total = total + x.of(_immediate(batch, policy))
    if options.pool == "state":
        total = _pooled(frame, total)
    total = x.where(x.of(policy > 0), total, x.of(np.zeros(policy.shape)))
    taken = x.take(total.reshape(-1), np.arange(len(batch)) * policy.shape[1] + batch.action)
    return Parts(advantages=taken, candidates=total, states=frame.states)


def _factor(batch: Batch, table: StateHindsight, rows: Ints, later: Ints, clip: float) -> Floats:
    """[n, A] h(a | state, later) / pi(a | state) - 1 of the given rows; 0 for candidates that cannot be taken."""
    policy = np.exp(np.asarray(batch.policy)[rows])
    h = table.probabilities(batch.group[rows], batch.state[rows], later, policy)
    possible = policy > 0
    return np.where(possible, np.minimum(h / np.where(possible, policy, 1.0), clip) - 1.0, 0.0)


def _immediate(batch: Batch, policy: Floats) -> Floats:
    """[S, A] mean reward of the action in the state minus the policy's mean; an action never taken there counts as average."""
    states = buckets_of(batch.group, batch.state)
    sums = np.zeros((states.count, policy.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, (states.index, batch.action), batch.reward)
    np.add.at(counts, (states.index, batch.action), 1.0)
    average = (sums.sum(1) / counts.sum(1))[:, None]
    mean = np.where(counts > 0, sums / np.maximum(counts, 1.0), average)[states.index]
    centred: Floats = mean - (policy * mean).sum(1, keepdims=True)
    return centred


def _pooled(frame: Frame, values: Array) -> Array:
    """[S, A] → [S, A]: mean over the rows of the same state."""
    x, states = frame.x, frame.states
    wide = values.shape[1]
    index = (states.index[:, None] * wide + np.arange(wide)).reshape(-1)
    sums = x.segment_sum(values.reshape(-1), index, states.count * wide)
    means = x.take(sums, index).reshape(-1, wide)
    return means / x.of(states.size[states.index])[:, None]


@dataclass(frozen=True, kw_only=True)
class HcaReturn:
    """Args:
    gamma: discount of the return Z.
    clip: bound of pi / h.
    """

    gamma: float
    clip: float

    def __post_init__(self) -> None:
        demand(0 <= self.gamma <= 1, f"gamma is {self.gamma}", "give a number from 0 to 1")
        demand(self.clip > 1, f"clip is {self.clip}", "give a bound above 1, or inf")


def hca_return(frame: Frame, options: HcaReturn) -> Parts:
    """A = (1 - pi(a | x) / h(a | x, Z)) Z for the action taken; h is the column `hindsight`, under the return that came."""
    x = frame.x
    difference = x.of(chosen(frame.batch, "policy") - chosen(frame.batch, "hindsight"))
    returns = frame.backwards(frame.column("reward"), options.gamma)
    inverse = x.clip(x.exp(difference), 0.0, options.clip)
    ratio = x.exp(-difference)
    return Parts(advantages=(1.0 - inverse) * returns, ratio=1.0 / inverse, raw_ratio=ratio, states=frame.states)
