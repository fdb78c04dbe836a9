"""The settings of the guard, with the source of each number; docs/stability.md says when they matter."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """When the guard acts, and how hard. The defaults suit the pre-training of a language model with AdamW."""

    enabled: bool = True
    """False: every question is answered "go" and nothing is measured."""
    dry_run: bool = False
    """True: measure, judge and log, and touch nothing: the training has the bits of one without a guard."""

    # What is usual. OLMo-core, SkipStepOptimizer and StabilityMonitor: window 128, from 64 values on, 6 sigma.
    window: int = 128
    window_least: int = 64
    spike_sigma: float = 6.0
    spike_factor: float = 3.0
    """A long gradient must also be so many times the mean, or clipping is the answer to it."""
    points: int = 3
    """Consecutive points that a trend needs before it is an alarm."""

    # Adaptive clipping. ZClip, arXiv 2504.02507, and its published code.
    zclip: bool = True
    zclip_alpha: float = 0.97
    zclip_z: float = 2.5
    zclip_warmup: int = 25
    max_norm: float | None = 1.0
    """Hard cap on the gradient norm; None for none. Do not clip in your loop as well."""

    # Refused steps. A step that was not taken has done no harm, so the first answer to a bad batch is to wait for a better one.
    skips_allowed: int = 5
    skips_span: int = 100
    """More than `skips_allowed` mild spikes in `skips_span` steps are not bad luck: take them, clipped and tightened, or a real
    change freezes training."""
    hold_steps: int = 50
    """Grave refusals in a row (a loss far off or no number, data that cannot be meant) before the next rung is tried."""
    probation_steps: int = 100
    """Steps for which changed data are tried with a lowered rate; a collapse in them puts the state from before back, and stops."""
    doubt_points: int = 3
    """Refusals in a row after which weights that moved oddly are given up."""
    weight_jump: float = 0.02
    """Relative change of the weights' norm in one step that makes them suspect, if it is also ten times what is usual."""

    # Tightening.
    tighten_steps: int = 200
    tighten_lr: float = 0.5
    tighten_coefficient: float = 2.0
    """Factor on the coefficients of the KL and entropy terms, for loops that read `guard.coefficient_scale`."""
    tighten_patience: int = 20
    """Steps that tightening is given to work; an alarm of a trend after them rolls back."""
    lr_jump: float = 5.0
    """A learning rate so many times over its highest so far is held at that for `tighten_steps`."""

    # Rolling back. PaLM: about 100 steps back, 200 to 500 batches skipped.
    checkpoint_every: int = 25
    checkpoints_kept: int = 4
    """The newest, and older ones that lie ever further apart."""
    quiet_steps: int = 20
    """Steps without an alarm before a state is kept, and after it before it counts as healthy."""
    max_rollbacks: int = 3
    rollback_span: int = 2000
    """One more than `max_rollbacks` within so many steps stops the training; older ones are forgiven."""
    rollback_lr: float = 0.5
    rollback_steps: int = 100
    """The learning rate is multiplied by `rollback_lr`, and kept at or below that of the healthy state, for so many steps."""
    relapse_lr: float = 0.3
    """Factor on the learning rate for good, if a rollback follows soon upon another."""
    restart_lr: float = 0.1
    """Factor on the learning rate for good, if a training never got going and had to begin anew."""
    skip_batches: int = 200
    """Batches that are skipped after a rollback, at least; never fewer than lie between the checkpoint and the alarm."""
    loss_margin: float | None = 0.5
    loss_margin_steps: int = 50
    """A loss this far above its best for so many steps: roll back; three times as far, after a fifth of the steps. In nats; None for
    losses that are no likelihood, as in RL."""
    success_drop: float = 0.1
    """Success this far, and beyond its noise, below its best: roll back."""

    # Trends.
    drift_slack: float = 2.0
    """Sigmas per step that a CUSUM forgives. The end of a steady ramp is √3 sigma above the mean of its window: no alarm."""
    drift_limit: float = 12.0
    trend_steps: int = 20
    length_slope: float = 0.03
    collapse_share: float = 0.5
    format_drop: float = 0.10
    dead_share: float = 0.8
    jump_sigma: float = 5.0
    """In deviations of the noise between neighbouring values, three points in a row."""
    ess_least: float = 0.3
    weight_low: float = 0.5
    weight_high: float = 2.0
    staleness_most: float = 8.0
    """Versions of the policy between sampling and training; ScaleRL works with 8."""

    # Looking inside.
    update_ratio_every: int = 10
    """Steps between measurements of update/weight; needs a copy of the weights for the time of the step. 0 is never."""
    monitor_every: int = 50
    """Steps between looks inside a decoder. 0 is never."""
    attention_logit: float = 100.0
    logsumexp_square: float = 400.0
    output_rms_growth: float = 2.0
    """Factor per 1,000 steps."""
    output_rms_warmup: int = 1000
    ssm_state_rms: float = 1e3
    gate_entropy: float = 0.05
    """Share of log T."""
    qk_clip: float | None = None
    """τ of QK-clip (Kimi K2 takes 100); None is off."""

    incidents_kept: int = 3
    """Batches with the state they met, for `replay`; 0 keeps none. Each costs a copy of the weights."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, annotation = getattr(self, field.name), str(field.type)
            if annotation == "bool":
                right = isinstance(value, bool)
            elif value is None:
                right = "None" in annotation
            else:
                kind = int if annotation == "int" else int | float
                right = isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
            if not right:
                raise UsageError(f"GuardConfig.{field.name} cannot be {value!r}", "see the tables of docs/stability.md")
        if not 2 <= self.window_least <= self.window:
            raise UsageError(
                f"a window of {self.window} cannot be judged from {self.window_least} values on",
                "let 2 ≤ window_least ≤ window",
            )
        least = (self.checkpoint_every, self.checkpoints_kept, self.points, self.zclip_warmup, self.doubt_points)
        if min(least) < 1:
            raise UsageError(
                "checkpoint_every, checkpoints_kept, points, zclip_warmup and doubt_points must be at least 1",
                "to go without rollbacks set max_rollbacks=0",
            )
