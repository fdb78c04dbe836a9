"""What happens to a batch before credit: which trajectories teach nothing, which actions cost something, whether groups are groups.

    batch = filters.invalid_action_penalty(batch, invalid, 0.1)
    batch = filters.keep(batch, filters.finite(batch) & filters.varied(batch))

Masks are [T], true for trajectories to keep; they combine with `&`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Bools
from overwinter.learn.credit.arrays import buckets_of
from overwinter.learn.credit.diagnostics import group_spread

PER_TRAJECTORY = ("success", "end_value")


def varied(batch: Batch, tolerance: float = 0.0) -> Bools:
    """[T] trajectories of groups whose outcomes differ by more than `tolerance`; the others have no gradient (DAPO 2503.14476).

    Draw new groups in place of those that are dropped: the batch shrinks otherwise, and with it the noise changes.
    """
    groups = buckets_of(batch.trajectory_group)
    kept: Bools = (group_spread(batch.total_reward, groups) > tolerance)[groups.index]
    return kept


def finite(batch: Batch) -> Bools:
    """[T] trajectories whose rewards are all numbers. A verifier that failed leaves NaN, which must not become 0."""
    wrong = ~np.isfinite(batch.reward)
    kept: Bools = np.bincount(batch.trajectory, weights=wrong, minlength=batch.trajectories) == 0
    return kept


def keep(batch: Batch, mask: Bools) -> Batch:
    """The trajectories where mask [T] is true, numbered anew; all columns and row-wise entries of `meta` go along.

    meta: sequences of S entries are cut to the kept rows, everything else stays.
    """
    if len(mask) != batch.trajectories:
        raise UsageError(f"the mask has {len(mask)} entries for {batch.trajectories} trajectories", "give one for each")
    mask = np.asarray(mask, dtype=np.bool_)
    rows = mask[batch.trajectory]
    changes: dict[str, Any] = {}
    for column in fields(batch):
        value = getattr(batch, column.name)
        if value is None or column.name == "meta":
            continue
        changes[column.name] = value[mask] if column.name in PER_TRAJECTORY else None
        if column.name == "token_value":
            changes[column.name] = value[np.repeat(rows, np.asarray(batch.tokens))]
        elif column.name not in PER_TRAJECTORY:
            changes[column.name] = value[rows]
    number = np.cumsum(mask) - 1
    changes["trajectory"] = number[batch.trajectory[rows]]
    changes["meta"] = {name: _rows_of(value, rows) for name, value in batch.meta.items()}
    return replace(batch, **changes)


def _rows_of(value: Any, rows: Bools) -> Any:
    if isinstance(value, np.ndarray) and len(value) == len(rows):
        return value[rows]
    if isinstance(value, list | tuple) and len(value) == len(rows):
        return [entry for entry, kept in zip(value, rows.tolist(), strict=True) if kept]
    return value


def invalid_action_penalty(batch: Batch, invalid: Bools, penalty: float) -> Batch:
    """Rewards less `penalty` where invalid [S] is true. Mind its scale: 0.1 goes with a success of 10, 0.01 with a success of 1."""
    if len(invalid) != len(batch):
        raise UsageError(f"invalid has {len(invalid)} entries for {len(batch)} rows", "give one for each row")
    if penalty < 0:
        raise UsageError(f"penalty is {penalty}", "give what is taken off, as a positive number")
    return replace(batch, reward=batch.reward - penalty * np.asarray(invalid, dtype=np.float64))


def audit_groups(batch: Batch, *, size: int | None = None) -> list[str]:
    """What is wrong with the group ids, in sentences; an empty list when nothing is.

    Wrong ids turn a comparison with the same task into one with any task, and training goes on as if nothing were.

    Args:
        size: how many trajectories a group shall have; without it, groups must only be equally large.
    """
    findings = []
    groups, sizes = np.unique(batch.trajectory_group, return_counts=True)
    alone = groups[sizes == 1]
    if len(alone):
        findings.append(
            f"{len(alone)} groups have one trajectory, which is compared with nothing: {alone[:5].tolist()}"
        )
    wanted = size if size is not None else int(np.bincount(sizes).argmax())
    odd = groups[(sizes != wanted) & (sizes != 1)]
    if len(odd):
        findings.append(f"{len(odd)} groups have not {wanted} trajectories: {odd[:5].tolist()}")
    start = batch.state[batch.first]
    pairs = np.unique(np.column_stack([batch.trajectory_group, start]), axis=0)
    mixed, starts = np.unique(pairs[:, 0], return_counts=True)
    if (starts > 1).any():
        several = mixed[starts > 1]
        findings.append(
            f"{len(several)} groups start from several states, so their tasks differ: {several[:5].tolist()}"
        )
    shared, owners = np.unique(pairs[:, 1], return_counts=True)
    if (owners > 1).any():
        several = shared[owners > 1]
        findings.append(
            f"{len(several)} start states belong to several groups, so a task is split: {several[:5].tolist()}"
        )
    return findings
