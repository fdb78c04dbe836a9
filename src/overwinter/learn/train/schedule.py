"""The learning rate over time, as a pure function of the step: warm up, hold, decay.

    factor(s) = (s + 1) / warmup                    while s < warmup, whatever the kind
    wsd         1, then over the last `decay` of all steps down to `final` (MiniCPM, arXiv 2404.06395)
    linear      from 1 at the end of the warm-up down to `final` at the end
    cosine      the same along half a cosine (SGDR, arXiv 1608.03983)
    constant    1

A schedule is a factor on the rates of all groups, so groups keep their proportions. Nothing here has a state: a training that is
resumed asks for the same step and gets the same number. `sqrt` decays by 1 − √progress, which falls fast first (arXiv 2405.18392).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the rate goes over `steps` optimiser steps."""

    steps: int
    kind: Literal["wsd", "linear", "cosine", "constant"] = "wsd"
    warmup: int = 0
    """Steps until the full rate. The first step has 1/warmup of it, never nothing."""
    decay: float = 0.4
    """Of `wsd`: the share of all steps that decays."""
    final: float = 0.05
    """Where the decay ends, as a share of the full rate."""
    shape: Literal["linear", "sqrt"] = "linear"
    """Of the decay of `wsd`."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup <= self.steps:
            raise UsageError(
                f"a schedule of {self.steps} steps cannot warm up for {self.warmup}", "give 0 <= warmup <= steps"
            )
        if not (0 <= self.decay <= 1 and 0 <= self.final <= 1):
            raise UsageError(
                f"decay {self.decay} and final {self.final} are shares", "give numbers from 0 to 1 for both"
            )
        if self.kind not in ("wsd", "linear", "cosine", "constant") or self.shape not in ("linear", "sqrt"):
            raise UsageError(
                f"there is no schedule {self.kind!r} with decay {self.shape!r}",
                "use wsd, linear, cosine or constant, and the shape linear or sqrt",
            )

    def factor(self, step: int) -> float:
        """The factor for the step with this number, from 0; from `steps` on, that of the last one."""
        step = min(step, self.steps - 1)
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.kind == "constant":
            return 1.0
        begin = max(self.warmup, self.steps - round(self.decay * self.steps)) if self.kind == "wsd" else self.warmup
        if step < begin:
            return 1.0
        # The last step has the final rate itself.
        progress = (step - begin + 1) / (self.steps - begin)
        if self.kind == "cosine":
            left = (1 + math.cos(math.pi * progress)) / 2
        else:
            left = 1 - (math.sqrt(progress) if self.kind == "wsd" and self.shape == "sqrt" else progress)
        return self.final + (1 - self.final) * left
