"""Hindsight ratios: how much likelier an action is once its outcome is known. HCAPO (2603.08754) and its controls.

    rho = h(a | s, outcome) / pi(a | s);   at every state E_pi[rho] = 1;   for a binary outcome A = V (rho - 1)

HCAPO scores the tokens that were sampled once more with the outcome in the prompt and divides by the mean over the turns of the
trajectory, not by the policy; a learned head (`hcapo_head`) has h and pi over the same candidates and divides by pi:

    Q_t = clip(rho_t) gamma^(T-t) R  →  smoothed  →  normalised in the group  →  no harm to successes  →  A = A^GRPO + omega Q~

What it cannot do: R = 0 makes Q the same for every step of a failure, and the ratio enters twice for the taken action,
E[rho G | s, a] = rho² V. `rho_one` is the control without any ratio; run it beside every ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch, Floats
from overwinter.learn.credit.arrays import Array, Frame, buckets_of
from overwinter.learn.credit.groups import Grpo, demand, grpo_outcomes
from overwinter.learn.credit.parts import Parts


@dataclass(frozen=True, kw_only=True)
class Hindsight:
    """What all forms of HCAPO share.

    Args:
        gamma: the outcome counts gamma^(T-t) at step t.
        omega: weight of the step term; 0 is exactly GRPO.
        smoothing: alpha, weight of the step's own Q beside that of the next one; 1 is off, the paper's option is 0.5.
        statistics: "cross_state" over all steps of the group (the paper's theory), "per_step" over steps at the same time.
        do_no_harm: negative step terms of successes become 0.
        recentre: a group whose mean advantage is beyond ± this has it subtracted; inf is off.
        eps: added to the deviation.
        macro: the GRPO term.
    """

    gamma: float
    omega: float
    smoothing: float
    statistics: Literal["cross_state", "per_step"]
    do_no_harm: bool
    recentre: float
    eps: float
    macro: Grpo

    def __post_init__(self) -> None:
        demand(0 <= self.gamma <= 1, f"gamma is {self.gamma}", "give a number from 0 to 1")
        demand(0 <= self.smoothing <= 1, f"smoothing is {self.smoothing}", "give a number from 0 to 1; 1 is off")
        demand(self.recentre >= 0, f"recentre is {self.recentre}", "give 0.1, or inf to switch it off")
        demand(
            self.statistics in ("cross_state", "per_step"),
            f"statistics is {self.statistics!r}",
            "give cross_state or per_step",
        )


@dataclass(frozen=True, kw_only=True)
class Hcapo(Hindsight):
    """Args:
    temperature: T_temp, the hindsight log-probabilities are divided by it.
    clip_low, clip_high: bounds of rho.
    """

    temperature: float
    clip_low: float
    clip_high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        demand(self.temperature > 0, f"temperature is {self.temperature}", "give a positive number; the paper has 5")
        _demand_clip(self.clip_low, self.clip_high)


@dataclass(frozen=True, kw_only=True)
class HcapoHead(Hindsight):
    """Args:
    clip_low, clip_high: bounds of rho.
    """

    clip_low: float
    clip_high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _demand_clip(self.clip_low, self.clip_high)


def _demand_clip(low: float, high: float) -> None:
    demand(
        0 <= low <= 1 <= high, f"rho is clipped to [{low}, {high}]", "give bounds around 1; the paper has 0.8 and 1.2"
    )


def prompted_ratio(frame: Frame, temperature: float) -> Array:
    """[S] pi_hind over its mean in the trajectory: before clipping its mean over every trajectory is 1."""
    batch, x = frame.batch, frame.x
    likelihood = x.exp(frame.column("hindsight_score") / temperature)
    mean = x.segment_sum(likelihood, batch.trajectory, batch.trajectories) / x.of(batch.length)
    return likelihood / frame.by_step(mean)


def hindsight_term(frame: Frame, ratio: Array, options: Hindsight) -> Array:
    """[S] omega times the normalised, masked Q^H of clipped ratios."""
    batch, x = frame.batch, frame.x
    to_go = batch.length[batch.trajectory] - 1 - batch.step
    q = ratio * x.of(options.gamma**to_go) * frame.by_step(frame.outcome)
    if options.smoothing < 1:
        following = frame.next_of(q, x.take(q, batch.last))
        q = options.smoothing * q + (1.0 - options.smoothing) * following
    within = frame.row_groups if options.statistics == "cross_state" else buckets_of(batch.group, batch.step)
    micro = frame.normalised(q, within, 0, options.eps)
    if options.do_no_harm:
        successful = x.of(batch.success[batch.trajectory] > 0)
        micro = x.where(successful, x.clip(micro, 0.0, math.inf), micro)
    return options.omega * micro


def combine(frame: Frame, micro: Array, options: Hindsight) -> tuple[Array, Array]:
    """(A, A^GRPO) [S], re-centred where a group's mean is beyond the guard."""
    x = frame.x
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    total = macro + micro
    if options.recentre == math.inf:
        return total, macro
    mean = x.take(frame.mean(total, frame.row_groups), frame.row_groups.index)
    return x.where(mean * mean > options.recentre**2, total - mean, total), macro


def hcapo(frame: Frame, options: Hcapo) -> Parts:
    """Prompted HCAPO, from the column hindsight_score."""
    raw = prompted_ratio(frame, options.temperature)
    return _with_ratio(frame, raw, options, options.clip_low, options.clip_high)


def hcapo_head(frame: Frame, options: HcapoHead) -> Parts:
    """HCAPO with h from a head over the candidates: no tokens are scored, so length cannot enter."""
    difference = chosen(frame.batch, "hindsight") - chosen(frame.batch, "policy")
    return _with_ratio(frame, frame.x.exp(frame.x.of(difference)), options, options.clip_low, options.clip_high)


def demand_candidates(batch: Batch, name: str) -> None:
    """Raises UsageError unless every action is the number of a candidate of column `name`."""
    candidates = np.asarray(getattr(batch, name)).shape[1]
    low, high = int(batch.action.min()), int(batch.action.max())
    demand(
        low >= 0 and high < candidates,
        f"actions run from {low} to {high}, and column {name} has {candidates} candidates",
        "number actions by candidate, from 0",
    )


def chosen(batch: Batch, name: str) -> Floats:
    """[S] the candidate that was taken, of a column [S, A] of log-probabilities; raises UsageError where it has probability 0."""
    batch.need(name)
    demand_candidates(batch, name)
    values: Floats = getattr(batch, name)[np.arange(len(batch)), batch.action]
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise UsageError(
            f"the action taken in row {row} has probability 0 in column {name}",
            "number actions as the columns of the candidates, and smooth a learned h towards the policy",
        )
    return values


def _with_ratio(frame: Frame, raw: Array, options: Hindsight, low: float, high: float) -> Parts:
    ratio = frame.x.clip(raw, low, high)
    micro = hindsight_term(frame, ratio, options)
    advantages, macro = combine(frame, micro, options)
    return Parts(advantages=advantages, macro=macro, micro=micro, ratio=ratio, raw_ratio=raw, states=frame.states)


def rho_one(frame: Frame, options: Hindsight) -> Parts:
    """Control: HCAPO with the ratio fixed to 1, so that only the discount by position is left."""
    micro = hindsight_term(frame, frame.x.of(np.ones(len(frame.batch))), options)
    advantages, macro = combine(frame, micro, options)
    return Parts(advantages=advantages, macro=macro, micro=micro)


@dataclass(frozen=True, kw_only=True)
class Random:
    """Args:
    omega: weight of the noise.
    seed: of the noise; give every batch its own.
    macro: the GRPO term.
    """

    omega: float
    seed: int
    macro: Grpo


def random(frame: Frame, options: Random) -> Parts:
    """Control: GRPO plus normal noise at every step. An estimator that does not beat it knows nothing about steps."""
    noise = np.random.default_rng(options.seed).standard_normal(len(frame.batch))
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    micro = options.omega * frame.x.of(noise)
    return Parts(advantages=macro + micro, macro=macro, micro=micro)
