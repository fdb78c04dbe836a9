"""Batches for the tests of credit: the three rollouts of the test vectors, and random walks with every column filled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.credit import ESTIMATORS, Config, advantages
from overwinter.learn.credit.learners import fit_state_hindsight

GOAL, PIT = 1000, 1001
NAMES = list(ESTIMATORS)
ACTIONS = 3


def of(estimator: str, batch: Batch, **options: Any) -> Floats:
    """Advantages by name."""
    return advantages(batch, Config(estimator=estimator, options=options)).advantages


def marks(count: int, places: Ints) -> Floats:
    """Zeros with ones at places."""
    values = np.zeros(count)
    values[places] = 1.0
    return values


def three_rollouts(**columns: Any) -> Batch:
    """s0 -a0-> s1 -a1-> s2 -a2-> GOAL; s0 -a0-> s1 -b1-> s0 -b0-> s3, cut short; s0 -b0-> s3 -c3-> s1 -a1-> s2 -a2-> GOAL."""
    last = np.array([2, 5, 9])
    rows: dict[str, Any] = {
        "group": np.zeros(10, dtype=np.int64),
        "trajectory": np.repeat([0, 1, 2], [3, 3, 4]),
        "state": np.array([0, 1, 2, 0, 1, 0, 0, 3, 1, 2]),
        "next_state": np.array([1, 2, GOAL, 1, 0, 3, 3, 1, 2, GOAL]),
        "action": np.array([0, 0, 0, 0, 1, 1, 1, 2, 0, 0]),
        "reward": marks(10, last[[0, 2]]),
        "terminated": marks(10, last[[0, 2]]).astype(bool),
        "truncated": marks(10, last[[1]]).astype(bool),
        "success": np.array([1.0, 0.0, 1.0]),
    }
    return Batch(**(rows | columns))


def random_batch(seed: int, *, groups: int = 3, size: int = 4, states: int = 5, longest: int = 7) -> Batch:
    """Random walks on a random map per group, from state 0 to the goal, a pit or the time limit; every column filled."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, int, int, int, bool, bool]] = []
    success: list[float] = []
    for number in range(groups * size):
        if number % size == 0:
            leads_to = rng.integers(0, states + 2, size=(states, ACTIONS))
        here, ended, limit = 0, False, int(rng.integers(1, longest + 1))
        for step in range(limit):
            action = int(rng.integers(ACTIONS))
            there = int(leads_to[here, action])
            ended = there >= states
            key = (GOAL, PIT)[there - states] if ended else there
            last = ended or step == limit - 1
            rows.append((number // size, number, here, action, key, ended, last and not ended))
            if last:
                success.append(float(key == GOAL))
                break
            here = there
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    ends = columns[5] | columns[6]
    reward = np.zeros(len(rows))
    reward[np.flatnonzero(ends)] = success
    batch = Batch(
        group=columns[0],
        trajectory=columns[1],
        state=columns[2],
        action=columns[3],
        next_state=columns[4],
        terminated=columns[5],
        truncated=columns[6],
        reward=reward,
        success=np.array(success),
    )
    return filled(batch, rng)


def filled(batch: Batch, rng: np.random.Generator) -> Batch:
    """The batch with plausible numbers in every optional column."""
    rows = len(batch)
    policy = np.log(rng.dirichlet(np.ones(ACTIONS) * 2, size=rows))
    hindsight = np.log(rng.dirichlet(np.ones(ACTIONS) * 2, size=rows))
    tokens = rng.integers(1, 5, size=rows)
    batch = replace(
        batch,
        logprob=policy[np.arange(rows), batch.action],
        value=rng.uniform(0, 1, rows),
        end_value=np.where(batch.truncated[batch.last], rng.uniform(0, 1, batch.trajectories), 0.0),
        entropy=rng.uniform(0, 1, rows),
        policy=policy,
        hindsight=hindsight,
        success_chance=rng.uniform(0, 1, rows),
        hindsight_score=-rng.uniform(0.05, 2, rows),
        tokens=tokens,
        token_value=rng.uniform(0, 1, int(tokens.sum())),
    )
    return replace(batch, meta={"state_hindsight": fit_state_hindsight(batch, at="state")})


def reordered(batch: Batch, order: Ints) -> tuple[Batch, Ints]:
    """The batch with its trajectories in another order, and the old row of each new one."""
    rows = np.concatenate([np.arange(batch.first[t], batch.last[t] + 1) for t in order])
    changes: dict[str, Any] = {}
    for name in vars(batch):
        value = getattr(batch, name)
        if isinstance(value, np.ndarray) and name in Batch.__dataclass_fields__:
            per_trajectory = name in ("success", "end_value")
            changes[name] = value[order] if per_trajectory else value if name == "token_value" else value[rows]
    if batch.token_value is not None:
        pieces = np.split(batch.token_value, np.cumsum(batch.tokens)[:-1])
        changes["token_value"] = np.concatenate([pieces[row] for row in rows])
    changes["trajectory"] = np.repeat(np.arange(len(order)), batch.length[order])
    return replace(batch, **changes), rows


def every_path(wins: dict[tuple[int, ...], float], depth: int = 3, actions: int = 2) -> Batch:
    """All action sequences of a uniform policy, each once: what is averaged over it is an expectation without error.

    States are the prefixes of actions, so that every state has one way to it. wins: sequence → success; 0 for all others.
    """
    sequences = np.array(np.meshgrid(*[np.arange(actions)] * depth, indexing="ij")).reshape(depth, -1).T
    rows, step = np.divmod(np.arange(len(sequences) * depth), depth)
    weights = (actions + 1) ** np.arange(depth)
    prefix = np.stack([((sequences[:, :at] + 1) * weights[:at]).sum(1) for at in range(depth + 1)], axis=1)
    success = np.array([wins.get(tuple(sequence), 0.0) for sequence in sequences.tolist()])
    last = step == depth - 1
    return Batch(
        group=np.zeros(len(rows), dtype=np.int64),
        trajectory=rows,
        state=prefix[rows, step],
        next_state=prefix[rows, step + 1],
        action=sequences[rows, step],
        reward=np.where(last, success[rows], 0.0),
        terminated=last,
        truncated=np.zeros(len(rows), dtype=bool),
        success=success,
        policy=np.full((len(rows), actions), -np.log(actions)),
    )
