"""The detectors that a guard has, as its settings say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.detectors import (
    GRADIENT_NORM,
    LOSS,
    SUCCESS,
    Detector,
    Level,
    LossAbove,
    LrJump,
    NotFinite,
    Spike,
)
from overwinter.learn.stability.trends import (
    Collapse,
    DeadLearning,
    Drift,
    FormatCollapse,
    Jump,
    LengthRunaway,
    RmsGrowth,
    SuccessFell,
)


def build_detectors(config: GuardConfig) -> list[Detector]:
    """All of them, as the settings say."""
    points = config.points
    drift = partial(
        Drift,
        slack=config.drift_slack,
        limit=config.drift_limit,
        points=points,
        patience=config.tighten_patience,
    )
    jumped = partial(Jump, sigma=config.jump_sigma, points=points, patience=config.tighten_steps)
    found: list[Detector] = [
        NotFinite(),
        Spike(LOSS, config.spike_sigma, margin=config.loss_margin),
        Spike(GRADIENT_NORM, config.spike_sigma, factor=config.spike_factor),
        *_levels(config),
        drift("entropy", directions=(-1, 1)),
        drift("length", directions=(-1, 1)),
        drift("kl", directions=(1,)),
        jumped("reward"),
        jumped(SUCCESS, least=config.success_drop),
        jumped("cap_hit_share", least=0.2),
        Collapse(share=config.collapse_share, steps=config.trend_steps, points=points),
        LengthRunaway(slope=config.length_slope, steps=config.trend_steps, points=points),
        FormatCollapse(drop=config.format_drop, points=points),
        DeadLearning(share=config.dead_share, points=points),
        SuccessFell(drop=config.success_drop, points=points, sigma=config.jump_sigma),
        LrJump(factor=config.lr_jump, patience=config.tighten_steps),
    ]
    if config.loss_margin is not None:
        found.append(
            LossAbove(
                margin=config.loss_margin,
                steps=config.loss_margin_steps,
                sigma=config.spike_sigma,
                points=points,
            )
        )
    if config.monitor_every:
        found.append(
            RmsGrowth(
                factor=config.output_rms_growth,
                every=config.monitor_every,
                warmup=config.output_rms_warmup,
                points=points,
            )
        )
    return found


def _levels(config: GuardConfig) -> Sequence[Detector]:
    points = config.points
    return (
        # Advantages that are all zero where rewards differ: a fault of the credit, which no step and no rollback mends.
        Level("silent_share", high=0.0, remedy="hold", points=points),
        # A baseline of several prompts, or of one prompt many times, is noisier and not wrong: somebody should know, no more.
        Level("mixed_group_share", high=0.0, remedy="tell", points=points),
        Level("duplicate_share", high=0.5, remedy="tell", points=points),
        Level("ess_share", low=config.ess_least, remedy="hold", points=points),
        Level("weight_mean", low=config.weight_low, high=config.weight_high, remedy="hold", points=points),
        Level("staleness", high=config.staleness_most, remedy="hold", points=points),
        Level("attention_logit", high=config.attention_logit, remedy="tighten", points=points),
        Level("logsumexp_square", high=config.logsumexp_square, remedy="tighten", points=points),
        Level("ssm_state_rms", high=config.ssm_state_rms, remedy="tighten", points=points),
        Level("gate_entropy_share", low=config.gate_entropy, remedy="tighten", points=points),
    )
