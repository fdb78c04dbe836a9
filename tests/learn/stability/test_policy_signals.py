"""Signals of reinforcement learning and masks by ratio, against plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from overwinter.errors import UsageError
from overwinter.learn.stability import PolicyBatch, RatioRules, finite_rows, policy_signals, ratio_masks, repetition
from overwinter.learn.stability.masks import plain_ratio_masks

torch.set_num_threads(1)


def test_nothing_given_nothing_measured() -> None:
    assert policy_signals(PolicyBatch()) == {}
    with pytest.raises(UsageError, match="samples"):
        PolicyBatch(reward=torch.zeros(3), group=torch.zeros(4))


def test_groups_and_rewards_by_hand() -> None:
    found = policy_signals(
        PolicyBatch(
            group=torch.tensor([7, 7, 9, 9, 4, 4]),
            prompt=torch.tensor([1, 1, 2, 3, 1, 1]),
            reward=torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, 2.0]),
            advantage=torch.tensor([-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
            first_action=torch.tensor([0, 1, 5, 5, 2, 2]),
            success=torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, 1.0]),
        )
    )
    assert found["reward"] == pytest.approx(5 / 6)
    assert found["reward_std"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert found["zero_variance_share"] == pytest.approx(1 / 3)
    # Group 4 has rewards that differ and advantages that are all zero.
    assert found["silent_share"] == pytest.approx(1 / 3)
    assert found["mixed_group_share"] == pytest.approx(1 / 3)
    # Groups 7 and 4 have one prompt.
    assert found["duplicate_share"] == pytest.approx(1 / 3)
    assert found["first_actions"] == pytest.approx(4 / 3)
    assert found["advantage_most"] == 1
    assert (found["groups"], found["group_size_most"]) == (3, 2)


def test_ratios_by_hand() -> None:
    new = torch.tensor([[0.1, -0.4], [0.0, 9.0]])
    old = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])
    found = policy_signals(
        PolicyBatch(
            logprob=new, old_logprob=old, rollout_logprob=old - 0.2, reference_logprob=old, entropy=new.abs(), mask=mask
        )
    )
    ratios = [math.exp(0.1), math.exp(-0.4), 1.0]
    assert found["ratio_most"] == pytest.approx(max(ratios))
    assert found["clip_low_share"] == pytest.approx(1 / 3)
    assert found["clip_high_share"] == 0
    assert found["k1_old"] == pytest.approx(-0.1)
    assert found["k3_old"] == pytest.approx(sum(1 / r - 1 + math.log(r) for r in ratios) / 3)
    assert found["kl"] == found["k3_reference"]
    assert found["weight_mean"] == pytest.approx(math.exp(0.2))
    assert found["ess_share"] == pytest.approx(1)
    assert found["entropy"] == pytest.approx(0.5 / 3)


def test_other_shapes() -> None:
    found = policy_signals(
        PolicyBatch(
            length=torch.tensor([10, 20, 30, 40]),
            capped=torch.tensor([False, True, False, False]),
            valid=torch.tensor([1.0, 0.5, 1.0, 1.0]),
            version_lag=torch.tensor([0, 1, 2, 1]),
            value=torch.tensor([0.0, 1.0, 0.0, 1.0]),
            reward=torch.tensor([0.0, 1.0, 0.0, float("nan")]),
        )
    )
    assert (found["length"], found["cap_hit_share"], found["staleness"]) == (25, 0.25, 1)
    assert found["nonfinite_rewards"] == 1
    assert found["reward"] == pytest.approx(1 / 3)
    assert repetition([1, 2, 3, 4] * 4) == pytest.approx(1 - 4 / 13)
    assert repetition(list(range(20))) == 0
    assert repetition([1]) == 0


@pytest.mark.parametrize(
    "rules",
    [
        RatioRules(),
        RatioRules(truncate=None, token_band=(0.5, 2.0), outlier_band=None),
        RatioRules(geometric_band=(0.8, 1.2)),
    ],
)
def test_masks_agree_with_the_twin(rules: RatioRules) -> None:
    log_ratio_RT = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * 0.6
    log_ratio_RT[3, 2], log_ratio_RT[7, 0] = 50.0, -30.0
    found = ratio_masks(log_ratio_RT, torch.ones(40, 6), rules)
    keep, weight = plain_ratio_masks(log_ratio_RT.tolist(), rules)
    assert found.keep.tolist() == keep
    torch.testing.assert_close(found.weight, torch.tensor(weight))
    assert 0 < int(found.keep.sum()) < 240
    assert found.reasons


def test_sequences_too_far_from_the_policy_lose_their_punishment() -> None:
    zero_RT, ones_RT = torch.zeros(3, 2), torch.ones(3, 2)
    gap_RT = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.1, 0.1]])
    found = ratio_masks(
        zero_RT, ones_RT, RatioRules(), advantage_R=torch.tensor([-1.0, 1.0, -1.0]), log_policy_ratio_RT=gap_RT
    )
    assert found.keep.all(-1).tolist() == [False, True, True]
    assert found.reasons == {"off_policy": 1}
    with pytest.raises(UsageError, match="advantage"):
        ratio_masks(zero_RT, ones_RT, RatioRules(), log_policy_ratio_RT=gap_RT)
    with pytest.raises(UsageError, match="token_band"):
        RatioRules(token_band=(2.0, 1.0))


def test_padding_decides_nothing() -> None:
    log_ratio_RT = torch.tensor([[0.1, 99.0], [float("nan"), 0.0]])
    mask_RT = torch.tensor([[True, False], [False, True]])
    found = ratio_masks(log_ratio_RT, mask_RT, RatioRules())
    assert found.keep.tolist() == mask_RT.tolist()
    assert torch.isfinite(found.weight).all()


def test_rows_that_are_finite() -> None:
    keep_R, bad = finite_rows({"a": torch.tensor([[1.0, 2.0], [float("inf"), 0.0]]), "b": torch.tensor([1, 2])})
    assert keep_R.tolist() == [True, False]
    assert bad == {"a": 1}
    with pytest.raises(UsageError):
        finite_rows({})
    with pytest.raises(UsageError):
        finite_rows({"a": torch.zeros(2), "b": torch.zeros(3)})
