"""Trajectories as other trainers keep them, one row of tokens each, and the turns in them.

A turn is a run of ones in the mask of what the model wrote. A reward that stands between two turns (on what a tool answered, or
on padding) belongs to the turn before it. A row without any turn was rejected or never generated: it has no advantage, and its
reward takes no part in its group's baseline.

Shapes: B rows, L tokens, S turns in all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Bools, Floats, Ints
from overwinter.learn.credit.table import ESTIMATORS, Config, remembers


def state_key(state: Hashable) -> int:
    """A 64-bit key that is the same in every process: equal values, equal keys. Numbers stay what they are."""
    if isinstance(state, int | np.integer):
        return int(state)
    digest = hashlib.blake2b(repr(state).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Turns:
    """The turns of a batch of token rows.

    Attributes:
        batch: one row per turn; actions are all 0, for here nothing compares them.
        row: [S] token row of each turn.
        start, stop: [S] its tokens.
        shape: (B, L).
    """

    batch: Batch
    row: Ints
    start: Ints
    stop: Ints
    shape: tuple[int, int]

    def spread(self, advantages: Floats) -> NDArray[np.float32]:
        """[S] → [B, L]: every token of a turn gets its advantage, all others 0."""
        tokens = np.zeros(self.shape, dtype=np.float32)
        for row, start, stop, value in zip(self.row, self.start, self.stop, advantages, strict=True):
            tokens[row, start:stop] = value
        return tokens


def read_turns(
    mask: NDArray[np.generic],
    rewards: Floats,
    groups: Ints,
    *,
    states: Sequence[Sequence[Hashable]] | None = None,
    cut_short: Bools | None = None,
    success_at: float = 1.0,
) -> Turns:
    """Turns of token rows as a `Batch`.

    Args:
        mask: [B, L] nonzero where the model wrote the token and may learn from it.
        rewards: [B] outcomes, which the last turns get, or [B, L] rewards of tokens.
        groups: [B] rows to compare.
        states: per row, the state before each turn and the one after the last; one more than it has turns. Without it no state
            is ever the same as another.
        cut_short: [B] rows that ended by a limit; without it all ended by themselves.
        success_at: sums of rewards from here on are a success.
    """
    written = np.asarray(mask) != 0
    count, length = written.shape
    edges = np.diff(np.pad(written.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    stop = np.nonzero(edges == -1)[1]
    has_turns = np.isin(np.arange(count), row)
    kept = np.flatnonzero(has_turns)
    last = np.flatnonzero(np.diff(np.append(row, count)) > 0)
    reward = _turn_rewards(np.asarray(rewards, dtype=np.float64), row, start, last)
    trajectory = np.searchsorted(kept, row)
    before, after = _state_columns(states, row, kept)
    ends = np.zeros(len(row), dtype=np.bool_)
    ends[last] = True
    cut = np.zeros(count, dtype=np.bool_) if cut_short is None else np.asarray(cut_short, dtype=np.bool_)
    outcome = np.bincount(trajectory, weights=reward, minlength=len(kept))
    batch = Batch(
        group=np.asarray(groups, dtype=np.int64)[row],
        trajectory=trajectory.astype(np.int64),
        state=before,
        next_state=after,
        action=np.zeros(len(row), dtype=np.int64),
        reward=reward,
        terminated=ends & ~cut[row],
        truncated=ends & cut[row],
        success=(outcome >= success_at).astype(np.float64),
        tokens=(stop - start).astype(np.int64),
    )
    return Turns(batch=batch, row=row, start=start, stop=stop, shape=(count, length))


def _turn_rewards(rewards: Floats, row: Ints, start: Ints, last: Ints) -> Floats:
    turn_reward = np.zeros(len(row))
    if rewards.ndim == 1:
        turn_reward[last] = rewards[row[last]]
        return turn_reward
    for at, token in zip(*np.nonzero(rewards), strict=True):
        turns = np.flatnonzero((row == at) & (start <= token))
        if len(turns):
            turn_reward[turns[-1]] += rewards[at, token]
        elif (row == at).any():
            raise UsageError(
                f"row {at} has a reward at token {token}, before the model wrote anything",
                "put rewards on the last token of the turn that earned them",
            )
    return turn_reward


def _state_columns(states: Sequence[Sequence[Hashable]] | None, row: Ints, kept: Ints) -> tuple[Ints, Ints]:
    if states is None:
        unique = -1 - 2 * np.arange(len(row), dtype=np.int64)
        return unique, unique - 1
    before: list[int] = []
    after: list[int] = []
    for number in kept.tolist():
        keys = [state_key(state) for state in states[number]]
        turns = int((row == number).sum())
        if len(keys) != turns + 1:
            raise UsageError(
                f"row {number} has {turns} turns and {len(keys)} states",
                "give the state before each turn, and the one after the last",
            )
        before += keys[:-1]
        after += keys[1:]
    return np.array(before, dtype=np.int64), np.array(after, dtype=np.int64)


def demand_usable(config: Config, *, has_states: bool, keeps_tasks: bool) -> None:
    """Raises UsageError for an estimator that a trainer cannot feed. keeps_tasks: a task has the same name in every step."""
    row = ESTIMATORS.get(config.estimator)
    missing = [name for name in row.needs if name != "tokens"] if row else []
    if missing:
        raise UsageError(
            f"{config.estimator} needs {', '.join(missing)}, which this trainer does not record",
            "choose an estimator that needs outcomes or states alone, or call credit.advantages on a Batch of your own",
        )
    if (row is None or row.reads_states) and not has_states:
        raise UsageError(
            f"{config.estimator} compares states, and no states are given", "pass states=…, or choose grpo, rloo, …"
        )
    if remembers(config.estimator) and not keeps_tasks:
        raise UsageError(
            f"{config.estimator} needs tasks that keep their names from step to step", "choose graphhca here"
        )
