"""Importance corrections: when what drew the tokens is not what the loss compares with.

Three policies: μ drew the tokens, π_old is the one that the ratio is taken to, π is trained. With ρ = π_old/μ per token, a constant:

    loss = ρ-weight · min(r A, clip(r) A),   r = π/π_old                    (decoupled PPO, arXiv 2110.00641)

ρ is 1 where π_old is taken from the rollout itself. It is not where the rollout came from older weights, from another program or
in another precision. Products of ratios grow without bound with length (1.1 per token is 13,780 after 100), so what is kept or dropped
as a whole is judged by means.

Rules, each off by default, applied together: a weight, and masks.

    truncate      weight min(ρ, C)                                  TIS; C = 2
    keep_within   weight ρ where low ≤ ρ ≤ high, else the token is out     MIS, IcePop; 0.5 to 2
    geometric     the trajectory is out unless low ≤ exp(mean log ρ) ≤ high      0.99 to 1.01
    outlier       the trajectory is out if any ρ is outside [low, high]          SkyRL: 1e-4 to 100
    off_policy    the action is out if A < 0 and mean log(π_old/π) > δ           DeepSeek-V3.2; 0.5, looked at with each update
    max_staleness the decision is out if its weights are older than this many versions

Shapes: N drawn tokens, S decisions, T trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.batch import Bools, Floats, Ints
from overwinter.learn.reinforce.losses import MOST_LOG_RATIO, Segments


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """See the module docstring; None switches a rule off."""

    truncate: float | None = None
    keep_within: tuple[float, float] | None = None
    geometric: tuple[float, float] | None = None
    off_policy: float | None = None
    outlier: tuple[float, float] | None = None
    max_staleness: int | None = None

    def __post_init__(self) -> None:
        if self.truncate is not None and self.keep_within is not None:
            raise UsageError("truncate and keep_within both weigh tokens", "choose one of them")
        for name in ("keep_within", "geometric", "outlier"):
            bounds = getattr(self, name)
            if bounds is not None and not 0 <= bounds[0] <= 1 <= bounds[1]:
                raise UsageError(f"{name} is {bounds}", "give a lower bound up to 1 and an upper one from 1")


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """Attributes:
    weight: [N] what a token's loss is multiplied by; 0 where it is out.
    figures: for the metrics: KL of μ and π_old (k1, k3), chi², effective sample size as a share, shares outside and out.
    """

    weight: Floats
    figures: dict[str, float]


def correct(
    rollout_N: Floats,
    old_N: Floats,
    trajectory_N: Ints,
    advantage_N: Floats,
    config: CorrectionConfig,
    *,
    staleness_N: Ints | None = None,
) -> Corrected:
    """Weights of tokens.

    Args:
        rollout_N: log-probabilities under μ.
        old_N: under π_old.
        trajectory_N: numbers from 0.
        staleness_N: versions between the weights that drew a token and those that are trained; negative where unknown.
    """
    log_N = np.clip(old_N - rollout_N, -MOST_LOG_RATIO, MOST_LOG_RATIO)
    ratio_N = np.exp(log_N)
    kept_N = np.ones(len(log_N), np.bool_)
    weight_N = np.ones(len(log_N))
    if config.truncate is not None:
        weight_N = np.minimum(ratio_N, config.truncate)
    if config.keep_within is not None:
        kept_N &= _within(ratio_N, config.keep_within)
        weight_N = ratio_N
    mean_T = np.bincount(trajectory_N, weights=log_N) / np.maximum(np.bincount(trajectory_N), 1)
    if config.geometric is not None:
        kept_N &= _within(np.exp(mean_T), config.geometric)[trajectory_N]
    if config.outlier is not None:
        bad_T = np.bincount(trajectory_N, weights=~_within(ratio_N, config.outlier)) > 0
        kept_N &= ~bad_T[trajectory_N]
    if config.max_staleness is not None and staleness_N is not None:
        kept_N &= (staleness_N >= 0) & (staleness_N <= config.max_staleness)
    return Corrected(weight=weight_N * kept_N, figures=_figures(log_N, ratio_N, weight_N * kept_N, kept_N, advantage_N))


def off_policy_mask(new_N: Tensor, old_N: Tensor, advantage_N: Tensor, segments: Segments, most: float) -> Tensor:
    """[N] false for tokens of actions with A < 0 that the policy has left: mean log(π_old/π) above `most`."""
    left_S = segments.mean(old_N - new_N.detach())
    return ~((advantage_N < 0) & segments.spread(left_S > most))


def _within(values: Floats, bounds: tuple[float, float]) -> Bools:
    return np.asarray((values >= bounds[0]) & (values <= bounds[1]), np.bool_)


def _figures(log_N: Floats, ratio_N: Floats, weight_N: Floats, kept_N: Bools, advantage_N: Floats) -> dict[str, float]:
    squares = float(np.square(weight_N).sum())
    return {
        "k1_rollout": float(-log_N.mean()),
        "k3_rollout": float((ratio_N - log_N - 1).mean()),
        "chi2_rollout": float(np.square(ratio_N).mean() - 1),
        "ess_share": float(weight_N.sum() ** 2 / (squares * len(weight_N))) if squares else 0.0,
        "ratio_outside": float(np.mean((ratio_N < 0.5) | (ratio_N > 2))),
        "tokens_out": float(1 - kept_N.mean()),
        "tokens_out_negative": float(np.mean(~kept_N & (advantage_N < 0))),
    }
