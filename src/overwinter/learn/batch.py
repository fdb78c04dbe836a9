"""Trajectories as columns: the one form in which credit estimators read what happened.

A row is a decision. Rows of one trajectory stand together, in order of time; trajectories of one group started from the same
task. Nothing here knows what a state or an action is: states are 64-bit keys (equal key, equal state as far as the policy can
tell), actions are whole numbers.

    batch = Batch(group=…, trajectory=…, state=…, next_state=…, action=…, reward=…, terminated=…, truncated=…, success=…)
    batch.step, batch.first, batch.length          # derived: position in the trajectory, its first row, its number of rows

Optional columns feed the estimators that need them; one that lacks its column says which. Shapes: S rows, T trajectories, A
candidates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """A batch of trajectories.

    Attributes:
        group: [S] which task a trajectory belongs to; advantages compare within it.
        trajectory: [S] number of the trajectory, 0 to T-1, ascending.
        state: [S] key of the state the action was taken in; must cover whatever the policy sees.
        next_state: [S] key of the state it led to; of the last row, the state the trajectory ended in.
        action: [S] the action taken, as an index of the policy's candidates or of the world's actions.
        reward: [S] what the step itself paid.
        terminated, truncated: [S] true in last rows alone: the episode came to its own end, or was cut short.
        success: [T] 1 or 0 (or a share in between): whether the goal was met; NaN where the end is not known.
        logprob: [S] log-probability of the action under the policy that took it.
        value: [S] a critic's expected return from `state`.
        end_value: [T] a critic's value of the last state; 0 for terminated ones.
        entropy: [S] mean entropy of the policy over the step's tokens (or over its candidates), in nats.
        policy: [S, A] log-probabilities of all candidates; -inf where there is none.
        hindsight: [S, A] the same under the outcome that came, from an outcome-conditioned head.
        success_chance: [S] a head's probability of success from `state`.
        hindsight_score: [S] mean log-probability per token of the action with the outcome in the prompt (HCAPO).
        tokens: [S] number of tokens of the step.
        token_value: [N] a critic's expected return before each token, in order of rows; N is the sum of `tokens`.
    """

    group: Ints
    trajectory: Ints
    state: Ints
    next_state: Ints
    action: Ints
    reward: Floats
    terminated: Bools
    truncated: Bools
    success: Floats
    logprob: Floats | None = None
    value: Floats | None = None
    end_value: Floats | None = None
    entropy: Floats | None = None
    policy: Floats | None = None
    hindsight: Floats | None = None
    success_chance: Floats | None = None
    hindsight_score: Floats | None = None
    tokens: Ints | None = None
    token_value: Floats | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows, trajectories = len(self.group), len(self.success)
        for column in fields(self):
            value = getattr(self, column.name)
            if column.name in ("meta", "token_value") or value is None:
                continue
            wanted = trajectories if column.name in ("success", "end_value") else rows
            if len(value) != wanted:
                raise UsageError(
                    f"column {column.name} has {len(value)} rows where the batch has {wanted}",
                    "give one row per step (success and end_value: one per trajectory)",
                )
        if rows and not self._is_ordered():
            raise UsageError(
                "trajectories are not numbered 0, 1, 2, … in ascending rows", "sort rows by trajectory and time"
            )
        if rows and not np.array_equal(np.unique(self.trajectory), np.arange(trajectories)):
            raise UsageError(
                f"success has {trajectories} rows, and the trajectories are others", "give one per trajectory"
            )
        ends = self.terminated | self.truncated
        if rows and not np.array_equal(np.flatnonzero(ends), self.last):
            raise UsageError(
                "a trajectory does not end where `terminated` or `truncated` says",
                "mark the last row of each, and no other",
            )
        if rows and (self.group != self.group[self.first][self.trajectory]).any():
            raise UsageError("a trajectory belongs to two groups", "give all its rows the same group")

        if self.token_value is not None and (self.tokens is None or len(self.token_value) != int(self.tokens.sum())):
            raise UsageError(
                f"column token_value has {len(self.token_value)} rows, which is not the sum of `tokens`",
                "give both columns, one value per token",
            )

    def _is_ordered(self) -> bool:
        steps = np.diff(self.trajectory)
        return bool(self.trajectory[0] == 0 and ((steps == 0) | (steps == 1)).all())

    def __len__(self) -> int:
        return len(self.group)

    @property
    def trajectories(self) -> int:
        return len(self.success)

    @cached_property
    def first(self) -> Ints:
        """[T] first row of each trajectory."""
        return np.searchsorted(self.trajectory, np.arange(self.trajectories)).astype(np.int64)

    @cached_property
    def length(self) -> Ints:
        """[T] rows of each trajectory."""
        return np.bincount(self.trajectory, minlength=self.trajectories).astype(np.int64)

    @cached_property
    def last(self) -> Ints:
        """[T] last row of each trajectory."""
        return self.first + self.length - 1

    @cached_property
    def step(self) -> Ints:
        """[S] position within the trajectory, from 0."""
        return np.arange(len(self)) - self.first[self.trajectory]

    @cached_property
    def trajectory_group(self) -> Ints:
        """[T] group of each trajectory."""
        return self.group[self.first]

    @cached_property
    def total_reward(self) -> Floats:
        """[T] sum of rewards."""
        return np.bincount(self.trajectory, weights=self.reward, minlength=self.trajectories).astype(np.float64)

    def need(self, *names: str) -> None:
        """Raises UsageError when an optional column is missing, or a required one holds what it may not."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise UsageError(
                f"the batch has no column {', '.join(missing)}",
                "record it with the rollouts, or choose another estimator",
            )
