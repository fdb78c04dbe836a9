"""One outcome for the whole trajectory, compared within its group: the estimators without step-level credit.

    A_i = (R_i - b_i) / s_i,  the same for every row of trajectory i; R_i is its sum of rewards.

Baseline b and scale s are what tells these apart. Sources: GRPO 2402.03300, RLOO 2402.14740, Dr. GRPO 2503.20783,
REINFORCE++ 2501.03262, LitePPO 2508.08221, MaxRL as prime-rl computes it.

A group of one has nothing to be compared with: its advantage is 0 everywhere, never the raw reward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.credit.arrays import Array, Buckets, Frame
from overwinter.learn.credit.parts import Parts


def demand(holds: bool, problem: str, next_step: str) -> None:
    """Raises UsageError unless `holds`."""
    if not holds:
        raise UsageError(problem, next_step)


@dataclass(frozen=True, kw_only=True)
class Grpo:
    """Args:
    ddof: 1 for the sample deviation (verl, TRL), 0 for the population's (most papers).
    eps: added to the deviation; 1e-3 or more keeps near-equal outcomes from becoming large advantages.
    clip: bound of |A|; inf switches it off.
    """

    ddof: int
    eps: float
    clip: float

    def __post_init__(self) -> None:
        demand(self.ddof in (0, 1), f"ddof is {self.ddof}", "give 0 or 1")
        demand(self.eps >= 0, f"eps is {self.eps}", "give 0 or more; 1e-3 is safe")
        demand(self.clip > 0, f"clip is {self.clip}", "give a positive bound, or inf")


def grpo_outcomes(frame: Frame, options: Grpo) -> Array:
    """[T] GRPO's advantages, before they are broadcast."""
    normalised = frame.normalised(frame.outcome, frame.groups, options.ddof, options.eps)
    return frame.x.clip(normalised, -options.clip, options.clip)


def grpo(frame: Frame, options: Grpo) -> Parts:
    """A = clip((R - mean) / (std + eps)) over the trajectories of a group."""
    return Parts(advantages=frame.by_step(grpo_outcomes(frame, options)))


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """An estimator without constants."""


def rloo(frame: Frame, options: NoOptions) -> Parts:  # noqa: ARG001
    """A = R - mean of the others. The baseline does not see the own trajectory, hence E[baseline · score] = 0."""
    others = np.maximum(frame.groups.size - 1, 1)
    factor = frame.x.of(frame.groups.size / others)
    centred = frame.centred(frame.outcome, frame.groups)
    return Parts(advantages=frame.by_step(centred * frame.x.take(factor, frame.groups.index)))


def dr_grpo(frame: Frame, options: NoOptions) -> Parts:  # noqa: ARG001
    """A = R - mean."""
    return Parts(advantages=frame.by_step(frame.centred(frame.outcome, frame.groups)))


@dataclass(frozen=True, kw_only=True)
class BatchNormalised:
    """Args:
    over: what one term of the batch statistics is: "trajectories", "steps" or "tokens" (needs the column).
    centre: subtract the batch mean as well (REINFORCE++-baseline does).
    scale_of: "centred" divides by the deviation of R - group mean (REINFORCE++-baseline), "rewards" by that of R (LitePPO).
    eps: added to the deviation.
    """

    over: Literal["trajectories", "steps", "tokens"]
    centre: bool
    scale_of: Literal["centred", "rewards"]
    eps: float

    def __post_init__(self) -> None:
        demand(
            self.over in ("trajectories", "steps", "tokens"), f"over is {self.over!r}", "trajectories, steps or tokens"
        )
        demand(self.scale_of in ("centred", "rewards"), f"scale_of is {self.scale_of!r}", "centred or rewards")


def batch_normalised(frame: Frame, options: BatchNormalised) -> Parts:
    """A = (R - group mean [- batch mean]) / (batch std + eps)."""
    x, batch = frame.x, frame.batch
    if options.over == "trajectories":
        weight = x.of(np.ones(batch.trajectories))
    else:
        step_weight = frame.column("tokens") if options.over == "tokens" else x.of(np.ones(len(batch)))
        weight = x.segment_sum(step_weight, batch.trajectory, batch.trajectories)
    everything = Buckets(
        index=np.zeros(batch.trajectories, dtype=np.int64), count=1, size=np.array([batch.trajectories])
    )

    def batch_mean(values: Array) -> Array:
        total = x.segment_sum(values * weight, everything.index, 1) / x.segment_sum(weight, everything.index, 1)
        return x.take(total, everything.index)

    centred = frame.centred(frame.outcome, frame.groups)
    scaled = centred if options.scale_of == "centred" else frame.outcome
    spread = scaled - batch_mean(scaled)
    deviation = x.sqrt(batch_mean(spread * spread))
    shifted = centred - batch_mean(centred) if options.centre else centred
    return Parts(advantages=frame.by_step(shifted / (deviation + options.eps)))


@dataclass(frozen=True, kw_only=True)
class MaxRl:
    """Args:
    eps: means at or below it give 0: without a success there is nothing to say.
    clip: bound of |A|; the mean of a hard group is small.
    """

    eps: float
    clip: float

    def __post_init__(self) -> None:
        demand(self.eps > 0, f"eps is {self.eps}", "give a positive number")
        demand(self.clip > 0, f"clip is {self.clip}", "give a positive bound, or inf")


def maxrl(frame: Frame, options: MaxRl) -> Parts:
    """A = (R - mean) / mean, for rewards from 0 up."""
    x = frame.x
    mean = x.take(frame.mean(frame.outcome, frame.groups), frame.groups.index)
    known = mean > options.eps
    safe = x.where(known, mean, x.of(np.ones(frame.batch.trajectories)))
    ratio = x.where(known, (frame.outcome - mean) / safe, x.of(np.zeros(frame.batch.trajectories)))
    return Parts(advantages=frame.by_step(x.clip(ratio, -options.clip, options.clip)))
