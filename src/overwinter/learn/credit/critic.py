"""Credit from a critic: generalised advantage estimation (1506.02438) over turns or over tokens.

    delta_t = r_t + gamma V_{t+1} - V_t;   A_t = sum_l (gamma lambda)^l delta_{t+l}

A terminated episode has no value after its end. One that was cut short has: it bootstraps with `end_value`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit.arrays import Array, Frame
from overwinter.learn.credit.groups import demand
from overwinter.learn.credit.parts import Parts


@dataclass(frozen=True, kw_only=True)
class Gae:
    """Args:
    gamma: discount of one turn (gae_turn) or one token (gae_token).
    lam: lambda, from 0 (one-step difference) to 1 (return minus value).
    """

    gamma: float
    lam: float

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            demand(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}", "give a number from 0 to 1")


def end_values(frame: Frame) -> Array:
    """[T] value after the last row: `end_value` where the episode was truncated, 0 where it terminated."""
    batch, x = frame.batch, frame.x
    truncated = batch.truncated[batch.last]
    if not truncated.any():
        return x.of(np.zeros(batch.trajectories))
    if batch.end_value is None:
        raise UsageError(
            "truncated trajectories need the critic's value of the state they were cut off in",
            "fill the column end_value; a time limit is no failure",
        )
    return x.of(np.where(truncated, batch.end_value, 0.0))


def gae_turn(frame: Frame, options: Gae) -> Parts:
    """One decision is one step, whatever its number of tokens."""
    value = frame.column("value")
    following = frame.next_of(value, end_values(frame))
    delta = frame.column("reward") + options.gamma * following - value
    return Parts(advantages=frame.backwards(delta, options.gamma * options.lam))


def gae_token(frame: Frame, options: Gae) -> Parts:
    """One token is one step. Needs `tokens` and `token_value`; a step's reward stands at its last token.

    `Credit.tokens` has the advantages of the tokens, `advantages` their means within each step.
    """
    batch, x = frame.batch, frame.x
    batch.need("tokens", "token_value")
    tokens = np.asarray(batch.tokens)
    demand(bool((tokens > 0).all()), "a step has no tokens", "leave such steps out, or choose gae_turn")
    step_of = np.repeat(np.arange(len(batch)), tokens)
    ends = np.cumsum(tokens) - 1
    is_end = np.zeros(len(step_of), dtype=np.bool_)
    is_end[ends] = True
    by_token = Batch(
        group=batch.group[step_of],
        trajectory=batch.trajectory[step_of],
        state=np.zeros(len(step_of), dtype=np.int64),
        next_state=np.zeros(len(step_of), dtype=np.int64),
        action=np.zeros(len(step_of), dtype=np.int64),
        reward=np.where(is_end, batch.reward[step_of], 0.0),
        terminated=is_end & batch.terminated[step_of],
        truncated=is_end & batch.truncated[step_of],
        success=batch.success,
        end_value=batch.end_value,
        value=batch.token_value,
    )
    advantages = gae_turn(Frame(by_token, x), options).advantages
    per_step = x.segment_sum(advantages, step_of, len(batch)) / x.of(tokens)
    return Parts(advantages=per_step, tokens=advantages)
