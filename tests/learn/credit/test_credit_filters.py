"""Filters, the audit of groups, and the figures of a healthy and an unhealthy batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from credit_kit import every_path, of, random_batch, three_rollouts

from overwinter.errors import UsageError
from overwinter.learn.credit import Config, advantages
from overwinter.learn.credit.filters import audit_groups, finite, invalid_action_penalty, keep, varied


def test_groups_of_equal_outcomes_are_left_out() -> None:
    batch = random_batch(1, groups=5)
    mask = varied(batch)
    kept = keep(batch, mask)
    for group in np.unique(batch.group):
        outcomes = batch.total_reward[batch.trajectory_group == group]
        assert mask[batch.trajectory_group == group].tolist() == [np.ptp(outcomes) > 0] * len(outcomes)
    before = advantages(batch).diagnostics["zero_variance_groups"]
    assert 0 < before < 1
    assert before == pytest.approx(1 - len(np.unique(kept.group)) / 5)
    assert advantages(kept).diagnostics["zero_variance_groups"] == 0
    assert varied(batch, tolerance=2.0).sum() == 0


def test_keep_takes_every_column_along() -> None:
    batch = random_batch(2)
    meta = batch.meta | {"state_text": [f"state {row}" for row in range(len(batch))], "array": np.arange(len(batch))}
    batch = replace(batch, meta=meta)
    mask = np.arange(batch.trajectories) % 3 != 1
    kept = keep(batch, mask)
    rows = mask[batch.trajectory]
    assert kept.trajectories == mask.sum()
    np.testing.assert_array_equal(kept.value, batch.value[rows])  # type: ignore[index]
    np.testing.assert_array_equal(kept.success, batch.success[mask])
    np.testing.assert_array_equal(kept.meta["array"], np.flatnonzero(rows))
    assert kept.meta["state_text"] == [f"state {row}" for row in np.flatnonzero(rows)]
    assert kept.meta["state_hindsight"] is batch.meta["state_hindsight"]
    assert len(kept.token_value) == kept.tokens.sum()  # type: ignore[arg-type, union-attr]
    with pytest.raises(UsageError, match="one for each"):
        keep(batch, mask[1:])


def test_finite_finds_the_verifier_that_failed() -> None:
    batch = three_rollouts()
    reward = batch.reward.copy()
    reward[5] = np.nan
    assert finite(replace(batch, reward=reward)).tolist() == [True, False, True]


def test_invalid_actions_cost_something() -> None:
    batch = three_rollouts()
    invalid = np.arange(10) == 7
    charged = invalid_action_penalty(batch, invalid, 0.1)
    assert charged.total_reward.tolist() == pytest.approx([1.0, 0.0, 0.9])
    assert of("dr_grpo", charged)[0] > of("dr_grpo", charged)[9]
    with pytest.raises(UsageError, match="positive"):
        invalid_action_penalty(batch, invalid, -0.1)
    with pytest.raises(UsageError, match="one for each row"):
        invalid_action_penalty(batch, invalid[1:], 0.1)


def test_the_audit_finds_wrong_group_ids() -> None:
    batch = random_batch(3, groups=3)
    offset = replace(batch, state=batch.state + 100 * batch.group, next_state=batch.next_state + 100 * batch.group)
    assert audit_groups(offset, size=4) == []
    assert audit_groups(offset) == []
    mixed = replace(offset, group=(batch.trajectory % 3).astype(np.int64))
    findings = audit_groups(mixed, size=4)
    assert any("start from several states" in finding for finding in findings)
    assert any("belong to several groups" in finding for finding in findings)
    alone = replace(offset, group=batch.trajectory.astype(np.int64))
    assert any("compared with nothing" in finding for finding in audit_groups(alone))
    fewer = keep(offset, np.arange(12) != 5)
    assert any("have not 4 trajectories" in finding for finding in audit_groups(fewer))


def test_figures_of_a_step_level_estimator() -> None:
    figures = advantages(three_rollouts(), Config(estimator="graphhca")).diagnostics
    assert figures["singleton_states"] == pytest.approx(0.1)
    assert figures["rho_bucket_mean"] == pytest.approx(1 / 0.95)
    assert figures["max_abs"] > 1
    assert figures["micro_macro"] > 0
    assert figures["zero_variance_groups"] == 0


def test_the_figure_of_the_last_step() -> None:
    # Discounting by position alone gives the last step of every success the most.
    control = advantages(every_path({(0, 0, 0): 1.0, (1, 1, 1): 1.0}), Config(estimator="rho_one")).diagnostics
    assert control["top_is_last"] == 1.0
    # GRPO tells no steps apart, so the figure is left out.
    assert "top_is_last" not in advantages(three_rollouts()).diagnostics


def test_the_share_of_clipped_ratios() -> None:
    scores = np.array([0.0, -3.0, -3.0, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1])
    figures = advantages(three_rollouts(hindsight_score=scores), Config(estimator="hcapo")).diagnostics
    # One success has ratios far from 1 in all three steps; of those, one lies above and two inside the bounds.
    raw = np.exp(scores[:3] / 5) / np.exp(scores[:3] / 5).mean()
    assert figures["rho_clipped"] == pytest.approx(((raw < 0.8) | (raw > 1.2)).sum() / 10)
    assert figures["rho_std"] > 0
