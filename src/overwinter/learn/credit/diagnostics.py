"""Figures that say whether credit is healthy. All are floats; one that does not apply is left out.

| name | meaning | look closer when |
|---|---|---|
| mean | mean advantage | far from 0: the estimator is not centred |
| max_abs | largest absolute advantage | above 5: near-equal outcomes, divided by their deviation |
| zero_variance_groups | share of groups whose outcomes are all equal | above 0.8: nothing is learned |
| silent_rows | share of rows with advantage 0 although their group's outcomes differ | above 0 for a broadcast estimator |
| rho_mean, rho_std | hindsight ratio after clipping | deviation falling to 0: the ratio no longer tells steps apart |
| rho_clipped | share of ratios that the clip changed | above 0.5 |
| rho_bucket_mean | mean over state buckets (of two rows or more) of the mean ratio | far from 1: wrong prior |
| rho_bucket_gap | mean over these buckets of abs(mean ratio - 1) | growing |
| rho_length | correlation of ratio and tokens of the step | beyond ±0.2: length is being rewarded |
| singleton_states | share of rows that are alone in their bucket | above 0.35: anchors are too fine, or hashes noisy |
| micro_macro | mean abs step term over mean abs trajectory term | far above or below 1 |
| head_temperature | exponent under which calibrated's head predicts best | 0: the head tells nothing |
| top_is_last | share of trajectories (of unequal steps) whose top advantage is the last step's | near 1: that step is trivially entailed |
"""

from __future__ import annotations

import numpy as np

from overwinter.learn.batch import Batch, Floats
from overwinter.learn.credit.arrays import Arrays, Buckets, Frame
from overwinter.learn.credit.parts import Parts


def diagnose(frame: Frame, parts: Parts) -> dict[str, float]:
    """The figures of one call, computed on the host."""
    batch, x = frame.batch, frame.x
    advantages = x.numpy(parts.advantages)
    outcome = x.numpy(frame.outcome)
    spread = group_spread(outcome, frame.groups)
    varied = (spread > 0)[frame.row_groups.index]
    figures = {
        "mean": float(advantages.mean()),
        "max_abs": float(np.abs(advantages).max()),
        "zero_variance_groups": float((spread == 0).mean()),
        "silent_rows": float(((advantages == 0) & varied).mean()),
    }
    figures |= parts.figures | _of_ratio(frame, parts, x)
    if parts.states is not None:
        figures["singleton_states"] = float((parts.states.size[parts.states.index] == 1).mean())
    if parts.macro is not None and parts.micro is not None:
        macro = float(np.abs(x.numpy(parts.macro)).mean())
        if macro > 0:
            figures["micro_macro"] = float(np.abs(x.numpy(parts.micro)).mean()) / macro
    top = _top_is_last(batch, advantages)
    return figures if top is None else figures | {"top_is_last": top}


def group_spread(outcome: Floats, groups: Buckets) -> Floats:
    """[N] largest minus smallest outcome of each group."""
    high, low = np.full(groups.count, -np.inf), np.full(groups.count, np.inf)
    np.maximum.at(high, groups.index, outcome)
    np.minimum.at(low, groups.index, outcome)
    spread: Floats = high - low
    return spread


def _of_ratio(frame: Frame, parts: Parts, x: Arrays) -> dict[str, float]:
    if parts.ratio is None:
        return {}
    ratio = x.numpy(parts.ratio)
    figures = {"rho_mean": float(ratio.mean()), "rho_std": float(ratio.std())}
    if parts.raw_ratio is not None:
        # Close is equal: a ratio at the clip's edge may differ from it in the last bit, on one processor and not on another.
        figures["rho_clipped"] = float((~np.isclose(x.numpy(parts.raw_ratio), ratio, rtol=1e-9, atol=0.0)).mean())
    states = parts.states or frame.states
    sums = np.bincount(states.index, weights=ratio, minlength=states.count)
    many = states.size > 1
    if many.any():
        means = sums[many] / states.size[many]
        figures["rho_bucket_mean"] = float(means.mean())
        figures["rho_bucket_gap"] = float(np.abs(means - 1).mean())
    tokens = frame.batch.tokens
    if tokens is not None and ratio.std() > 0 and tokens.std() > 0:
        figures["rho_length"] = float(np.corrcoef(ratio, tokens)[0, 1])
    return figures


def _top_is_last(batch: Batch, advantages: Floats) -> float | None:
    highest = np.full(batch.trajectories, -np.inf)
    np.maximum.at(highest, batch.trajectory, advantages)
    lowest = np.full(batch.trajectories, np.inf)
    np.minimum.at(lowest, batch.trajectory, advantages)
    telling = (batch.length > 1) & (highest > lowest)
    if not telling.any():
        return None
    return float((advantages[batch.last] == highest)[telling].mean())
