"""Credit from a critic: generalised advantage estimation (1506.02438) over turns or over tokens.

    delta_t = r_t + gamma V_{t+1} - V_t;   A_t = sum_l (gamma lambda)^l delta_{t+l}

A terminated episode has no value after its end. One that was cut short has: it bootstraps with `end_value`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overwinter.errors import UsageError
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
