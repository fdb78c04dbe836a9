"""ZClip: the gradient norm's own history says how much of it is believed.

Idea: keep an exponential mean μ and variance v of the norm. A norm with z = (g − μ)/(√v + ε) above z_t is scaled down to
    μ + z_t·√v / (z/z_t)
which is smaller the larger the spike is. A hard cap applies besides.
    warm-up:  μ, v = plain mean and variance of the first norms        afterwards, with x the clipped norm (or the norm itself):
    μ ← α·μ + (1 − α)·x        v ← α·v + (1 − α)·(x − μ)²   with the new μ

Fed with the clipped norm, or one spike would raise the threshold for the next. Source: arXiv 2504.02507; constants and order of
operations as in bluorion-com/ZClip `zclip.py` (z-score mode, adaptive scaling). What we changed: gradients that are exactly zero
are not counted, for a batch without a learning signal, usual in reinforcement learning, says nothing of the size of the next one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

EPS = 1e-6
"""Of the published code, in z and in the factor."""


class ZClip:
    """Running statistics of gradient norms, and the norm that each may keep."""

    def __init__(
        self,
        *,
        alpha: float = 0.97,
        z: float = 2.5,
        warmup: int = 25,
        max_norm: float | None = 1.0,
        adaptive: bool = True,
    ) -> None:
        self.alpha, self.z, self.warmup, self.max_norm, self.adaptive = alpha, z, warmup, max_norm, adaptive
        self.early: list[float] = []
        self.mean: float | None = None
        self.var = 0.0

    def target(self, norm: float) -> float:
        """The norm to scale this gradient to, `norm` itself if it may stay; moves the statistics on.

        Args:
            norm: finite; whoever finds another has a step to skip, not a gradient to clip.
        """
        adaptive = self._adaptive_target(norm) if self.adaptive and norm > 0 else norm
        return adaptive if self.max_norm is None else min(adaptive, self.max_norm)

    def _adaptive_target(self, norm: float) -> float:
        if self.mean is None:
            self.early.append(norm)
            if len(self.early) >= self.warmup:
                self.mean = sum(self.early) / len(self.early)
                self.var = sum((each - self.mean) ** 2 for each in self.early) / len(self.early)
                self.early = []
            return norm
        std = math.sqrt(self.var)
        z = (norm - self.mean) / (std + EPS)
        target = self.mean + self.z * std / (z / self.z) if z > self.z else norm
        self.mean = self.alpha * self.mean + (1 - self.alpha) * target
        self.var = self.alpha * self.var + (1 - self.alpha) * (target - self.mean) ** 2
        return target

    def state_dict(self) -> dict[str, Any]:
        return {"early": list(self.early), "mean": self.mean, "var": self.var}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.early, self.mean, self.var = list(state["early"]), state["mean"], float(state["var"])


def clip_factor(norm: float, target: float) -> float:
    """What to multiply a gradient by: 1 where it may stay."""
    return target / (norm + EPS) if norm > target else 1.0


def plain_zclip(
    norms: Sequence[float], *, alpha: float = 0.97, z: float = 2.5, warmup: int = 25, max_norm: float | None = None
) -> list[float]:
    """The twin: the target of each norm of a whole history of positive norms, each from all before it, as the paper writes it."""
    targets: list[float] = []
    for at, norm in enumerate(norms):
        target = norm
        if at >= warmup:
            start = norms[:warmup]
            mu = sum(start) / warmup
            v = sum((each - mu) ** 2 for each in start) / warmup
            for seen in targets[warmup:]:
                new = alpha * mu + (1 - alpha) * seen
                mu, v = new, alpha * v + (1 - alpha) * (seen - new) ** 2
            score = (norm - mu) / (v**0.5 + EPS)
            if score > z:
                target = mu + z**2 / score * v**0.5
        targets.append(target)
    return targets if max_norm is None else [min(each, max_norm) for each in targets]
