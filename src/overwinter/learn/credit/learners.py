"""Tabular learners of h: how often an action was taken, given where it led or what it returned.

    h(a | x, y) = (n(x, a, y) + k pi(a | x)) / (n(x, y) + k)

The count form of the cross-entropy fit of 1912.02503, shrunk towards the policy with the weight of k observations: a pair that
was never seen has h = pi, that is rho = 1 and no credit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.credit.arrays import buckets_of


@dataclass(frozen=True, kw_only=True, eq=False)
class StateHindsight:
    """h(a | state, later state) by counts.

    Attributes:
        rows: (group, state, later state) → row of `counts`.
        counts: [K, A] weighted counts of the actions taken.
        strength: k, the weight of the policy.
    """

    rows: dict[tuple[int, int, int], int]
    counts: Floats
    strength: float

    def probabilities(self, group: Ints, state: Ints, later: Ints, policy: Floats) -> Floats:
        """[n, A] h of all candidates; policy: [n, A] probabilities to shrink towards."""
        keys = zip(group.tolist(), state.tolist(), later.tolist(), strict=True)
        found = np.array([self.rows.get(key, -1) for key in keys], dtype=np.int64)
        seen = np.where((found >= 0)[:, None], self.counts[found], 0.0)
        # Rows where nothing was seen and nothing is smoothed fall back on the policy too.
        strength = np.where(seen.sum(1) + self.strength > 0, self.strength, 1.0)[:, None]
        h: Floats = (seen + strength * policy) / (seen.sum(1, keepdims=True) + strength)
        return h


def fit_state_hindsight(
    batch: Batch, *, at: Literal["state", "next_state"] = "next_state", gamma: float = 1.0, strength: float = 1.0
) -> StateHindsight:
    """Counts of the batch's pairs (step, later state).

    Args:
        batch: with `policy`, for the number of candidates.
        at: whether later states are those that later steps start from, or those that this and later steps lead to; the same as
            `reward_at` of hca_state.
        gamma: a pair k steps apart counts gamma^k, the geometric mixture over k.
        strength: k of the formula.
    """
    batch.need("policy")
    candidates = np.asarray(batch.policy).shape[1]
    keys: list[Ints] = []
    actions: list[Ints] = []
    weights: list[Floats] = []
    own = at == "next_state"
    for lag in range(0 if own else 1, int(batch.length.max())):
        rows = np.flatnonzero(batch.step + lag < batch.length[batch.trajectory])
        later = (batch.next_state if own else batch.state)[rows + lag]
        keys.append(np.column_stack([batch.group[rows], batch.state[rows], later]))
        actions.append(batch.action[rows])
        weights.append(np.full(len(rows), gamma**lag))
    if not keys:
        return StateHindsight(rows={}, counts=np.zeros((1, candidates)), strength=strength)
    key = np.concatenate(keys)
    pairs = buckets_of(key)
    counts = np.zeros((pairs.count, candidates))
    np.add.at(counts, (pairs.index, np.concatenate(actions)), np.concatenate(weights))
    first = np.unique(pairs.index, return_index=True)[1]
    rows_of = {(int(g), int(s), int(y)): row for row, (g, s, y) in enumerate(key[first])}
    return StateHindsight(rows=rows_of, counts=counts, strength=strength)


def with_return_hindsight(
    batch: Batch, *, bins: int = 2, gamma: float = 1.0, strength: float = 1.0, pool: Batch | None = None
) -> Batch:
    """The batch with the column `hindsight`: log h(a | state, bin of the return), by counts.

    Args:
        batch: with `policy`.
        bins: equal widths between the smallest and the largest return; 2 tell success from failure.
        gamma: discount of the return.
        strength: k of the formula; above 0, or an action that was never seen with a return would have probability 0.
        pool: count these trajectories instead of the batch's own, as when a table was kept from before.
    """
    batch.need("policy")
    if strength <= 0:
        raise UsageError(f"strength is {strength}", "give a positive weight to the policy, like 1")
    source = pool or batch
    returns, seen = _returns(batch, gamma), _returns(source, gamma)
    low, high = float(seen.min()), float(seen.max())
    edges = np.linspace(low, high, bins + 1)[1:-1]
    rows = len(batch)
    keys = buckets_of(
        np.concatenate([batch.group, source.group]),
        np.concatenate([batch.state, source.state]),
        np.concatenate([np.digitize(returns, edges), np.digitize(seen, edges)]),
    )
    policy = np.exp(np.asarray(batch.policy))
    counts = np.zeros((keys.count, policy.shape[1]))
    np.add.at(counts, (keys.index[rows:], source.action), 1.0)
    mine = counts[keys.index[:rows]]
    h = (mine + strength * policy) / (mine.sum(1, keepdims=True) + strength)
    with np.errstate(divide="ignore"):
        return replace(batch, hindsight=np.log(h))


def _returns(batch: Batch, gamma: float) -> Floats:
    returns = batch.reward.astype(np.float64).copy()
    for row in range(len(batch) - 2, -1, -1):
        if batch.trajectory[row] == batch.trajectory[row + 1]:
            returns[row] += gamma * returns[row + 1]
    return returns
