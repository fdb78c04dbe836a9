"""Rungs 1 and 2: samples that are no numbers, and tokens that were sampled too far from the policy that learns from them.

Three policies: μ sampled, π_old is the trainer's at the start of the update, π the one being changed. With ρ = π_old/μ per token:
    truncated weight   min(ρ, C)                              IcePop / MIS   keep where lo ≤ ρ ≤ hi
    geometric          keep the sequence if exp(mean log ρ) in [lo, hi]
    outlier            one token beyond [1e-4, 100] drops its sequence
    off-policy         drop a sequence with a negative advantage and mean log(π_old/π) > δ

Log-ratios are cut to ±20 before the exponential. Products over a sequence are never used: 1.1 per token is 13,780 after 100.
Sources: TIS and geometric masks as in verl's rollout correction, IcePop and MIS as in TRL, outliers as in SkyRL, off-policy
sequence mask DeepSeek-V3.2 (δ is ours, the paper gives none). `plain_ratio_masks` is the twin.

Shapes: R samples, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from overwinter.errors import UsageError

LOG_RATIO_BOUND = 20.0


@dataclass(frozen=True, kw_only=True)
class RatioRules:
    """Which rules apply; None is off. The defaults keep all but what is clearly broken."""

    truncate: float | None = 2.0
    """C: the largest weight of a token."""
    token_band: tuple[float, float] | None = None
    """IcePop, for example (0.5, 2)."""
    geometric_band: tuple[float, float] | None = None
    """For example (0.99, 1.01)."""
    outlier_band: tuple[float, float] | None = (1e-4, 100.0)
    off_policy_delta: float | None = 0.5

    def __post_init__(self) -> None:
        for name in ("token_band", "geometric_band", "outlier_band"):
            band = getattr(self, name)
            if band is not None and not (len(band) == 2 and 0 <= band[0] < band[1]):
                raise UsageError(
                    f"RatioRules.{name} cannot be {band!r}", "give (low, high) with 0 ≤ low < high, or None"
                )
        for name in ("truncate", "off_policy_delta"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"RatioRules.{name} cannot be {value!r}", "give a positive number, or None")


@dataclass(frozen=True, kw_only=True)
class RatioMasks:
    """Which tokens count, and for how much."""

    keep: Tensor
    """[R, T] bool."""
    weight: Tensor
    """[R, T] the weight of each token; 0 where it does not count."""
    reasons: Mapping[str, int]
    """Rule → tokens (or sequences, for rules on sequences) that it took out; rules that took none are not named."""

    def untouched(self, mask_RT: Tensor) -> RatioMasks:
        """What a guard that only watches gives out."""
        mask_RT = mask_RT.bool()
        return RatioMasks(keep=mask_RT, weight=mask_RT.to(self.weight.dtype), reasons=self.reasons)


def finite_rows(columns: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, int]]:
    """Which samples are finite in every column [R], and how many are not, by column."""
    if not columns:
        raise UsageError("no columns to screen", "give at least the rewards")
    sizes = {len(column) for column in columns.values()}
    if len(sizes) > 1:
        raise UsageError(f"columns of {sorted(sizes)} samples", "give columns of the same samples")
    keep_R, bad = None, {}
    for name, column in columns.items():
        finite_R = torch.isfinite(column).reshape(len(column), -1).all(-1)
        keep_R = finite_R if keep_R is None else keep_R & finite_R.to(keep_R.device)
        if not bool(finite_R.all()):
            bad[name] = int((~finite_R).sum())
    assert keep_R is not None
    return keep_R, bad


def ratio_masks(
    log_ratio_RT: Tensor,
    mask_RT: Tensor,
    rules: RatioRules,
    *,
    advantage_R: Tensor | None = None,
    log_policy_ratio_RT: Tensor | None = None,
) -> RatioMasks:
    """Apply the rules.

    Args:
        log_ratio_RT: log π_old − log μ.
        mask_RT: true at the tokens that were sampled.
        rules: which apply.
        advantage_R: of each sample; the off-policy rule needs it.
        log_policy_ratio_RT: log π_old − log π; without it the off-policy rule does not apply.
    """
    mask_RT = mask_RT.bool()
    log_ratio_RT = log_ratio_RT.detach().float().clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)
    log_ratio_RT = torch.where(mask_RT, log_ratio_RT, 0.0)
    ratio_RT = log_ratio_RT.exp()
    count_R = mask_RT.sum(-1).clamp(min=1)
    drop_R = torch.zeros(len(mask_RT), dtype=torch.bool, device=mask_RT.device)
    keep_RT, reasons = mask_RT, {}
    if rules.token_band is not None:
        low, high = rules.token_band
        outside_RT = mask_RT & ((ratio_RT < low) | (ratio_RT > high))
        keep_RT = keep_RT & ~outside_RT
        reasons["token_band"] = outside_RT.sum()
    for name, dropped_R in _sequence_rules(rules, log_ratio_RT, ratio_RT, mask_RT):
        drop_R = drop_R | dropped_R
        reasons[name] = dropped_R.sum()
    if rules.off_policy_delta is not None and log_policy_ratio_RT is not None:
        if advantage_R is None:
            raise UsageError("the off-policy rule needs the advantage of each sample", "give advantage_R")
        gap_R = torch.where(mask_RT, log_policy_ratio_RT.detach().float(), 0.0).sum(-1) / count_R
        dropped_R = (advantage_R < 0) & (gap_R > rules.off_policy_delta)
        drop_R = drop_R | dropped_R
        reasons["off_policy"] = dropped_R.sum()
    keep_RT = keep_RT & ~drop_R[:, None]
    weight_RT = ratio_RT if rules.truncate is None else ratio_RT.clamp(max=rules.truncate)
    found = {name: int(count) for name, count in reasons.items()}
    return RatioMasks(keep=keep_RT, weight=weight_RT * keep_RT, reasons={name: n for name, n in found.items() if n})


def _sequence_rules(
    rules: RatioRules, log_ratio_RT: Tensor, ratio_RT: Tensor, mask_RT: Tensor
) -> Sequence[tuple[str, Tensor]]:
    found = []
    if rules.geometric_band is not None:
        low, high = rules.geometric_band
        geometric_R = (log_ratio_RT.sum(-1) / mask_RT.sum(-1).clamp(min=1)).exp()
        found.append(("geometric_band", (geometric_R < low) | (geometric_R > high)))
    if rules.outlier_band is not None:
        low, high = rules.outlier_band
        found.append(("outlier_band", (mask_RT & ((ratio_RT < low) | (ratio_RT > high))).any(-1)))
    return found


def plain_ratio_masks(
    log_ratios: Sequence[Sequence[float]], rules: RatioRules
) -> tuple[list[list[bool]], list[list[float]]]:
    """The twin, sample by sample and token by token, without the off-policy rule: keep and weight of samples without padding."""
    keeps, weights = [], []
    for row in log_ratios:
        cut = [max(-LOG_RATIO_BOUND, min(LOG_RATIO_BOUND, each)) for each in row]
        ratios = [math.exp(each) for each in cut]
        dropped = False
        if rules.geometric_band is not None:
            mean = math.exp(sum(cut) / len(cut))
            dropped |= not rules.geometric_band[0] <= mean <= rules.geometric_band[1]
        if rules.outlier_band is not None:
            dropped |= any(not rules.outlier_band[0] <= each <= rules.outlier_band[1] for each in ratios)
        keep = [
            not dropped and (rules.token_band is None or rules.token_band[0] <= each <= rules.token_band[1])
            for each in ratios
        ]
        most = math.inf if rules.truncate is None else rules.truncate
        keeps.append(keep)
        weights.append([min(each, most) * kept for each, kept in zip(ratios, keep, strict=True)])
    return keeps, weights
