"""Losses and corrections against numbers worked out by hand; weights that sum to one; gradients where they belong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from overwinter.errors import UsageError
from overwinter.learn.reinforce.corrections import CorrectionConfig, correct, off_policy_mask
from overwinter.learn.reinforce.losses import (
    AGGREGATIONS,
    EntropyConfig,
    LossConfig,
    Segments,
    is_informative,
    kl,
    log_ratio,
    token_losses,
    weights_of,
)

NEW, OLD = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.1, -1.9, -0.7])
RATIO = [1.105171, 0.904837, 1.221403]
ONE = Segments(decision=torch.tensor([0, 0, 0]), count=1)


def losses(advantage: float, config: LossConfig, segments: Segments = ONE) -> tuple[list[float], list[float]]:
    """Losses of three tokens, and the gradient of their sum."""
    new = NEW.clone().requires_grad_(True)
    found = token_losses(new, OLD, torch.full((3,), advantage), segments, config)
    (gradient,) = torch.autograd.grad(found.loss.sum(), new)
    return found.loss.tolist(), gradient.tolist()


def approx(*values: float) -> Any:
    return pytest.approx(list(values), abs=2e-6)


def test_ratios() -> None:
    assert log_ratio(NEW, OLD).exp().tolist() == approx(*RATIO)
    assert log_ratio(torch.tensor([100.0, -100.0]), torch.zeros(2)).tolist() == [20, -20]


@pytest.mark.parametrize(
    ("advantage", "loss", "gradient"),
    [
        (1.0, (-1.1, -0.904837, -1.1), (0, -0.904837, 0)),  # above 1.1 nothing is gained, so nothing is pushed
        (-1.0, (1.105171, 0.95, 1.221403), (1.105171, 0, 1.221403)),
    ],
)
def test_ppo(advantage: float, loss: tuple[float, ...], gradient: tuple[float, ...]) -> None:
    found = losses(advantage, LossConfig(kind="ppo", clip_low=0.05, clip_high=0.1))
    assert found == (approx(*loss), approx(*gradient))


def test_dual_clip_bounds_what_a_bad_action_can_cost() -> None:
    new, old = torch.tensor([0.0, 0.0], requires_grad=True), torch.tensor([-3.0, -0.5])
    found = token_losses(new, old, torch.tensor([-2.0, -2.0]), _two(), LossConfig(dual_clip=3.0))
    assert found.loss.tolist() == approx(6.0, 2 * math.exp(0.5))
    assert found.is_clipped.tolist() == [True, False]
    (gradient,) = torch.autograd.grad(found.loss.sum(), new)
    assert gradient[0] == 0


def _two() -> Segments:
    return Segments(decision=torch.tensor([0, 1]), count=2)


def test_gspo() -> None:
    # s = exp(mean of 0.1, −0.1, 0.2) = 1.068939 for each token; its gradient is s, on each token's own log-probability.
    loss, gradient = losses(1.0, LossConfig(kind="gspo", clip_low=0.5, clip_high=0.5))
    assert loss == approx(-1.068939, -1.068939, -1.068939)
    assert gradient == approx(-1.068939, -1.068939, -1.068939)
    loss, gradient = losses(1.0, LossConfig(kind="gspo"))
    assert loss == approx(-1.004, -1.004, -1.004)
    assert gradient == [0, 0, 0]


def test_gmpo() -> None:
    # Clipped above at 0.15 for A > 0: mean of 0.1, −0.1, 0.15; below at −0.05 for A < 0: mean of 0.1, −0.05, 0.2.
    config = LossConfig(kind="gmpo", clip_low=0.05, clip_high=0.15)
    loss, gradient = losses(1.0, config)
    s = math.exp(0.05)
    assert loss == approx(-s, -s, -s)
    assert gradient == approx(-s, -s, 0)
    loss, _ = losses(-1.0, config)
    assert loss == approx(*[math.exp(0.25 / 3)] * 3)


def test_cispo_and_reinforce_and_sapo() -> None:
    loss, gradient = losses(2.0, LossConfig(kind="cispo", clip_high=0.2))
    assert loss == approx(2 * RATIO[0] * 1.0, 2 * RATIO[1] * 2.0, 2 * 1.2 * 0.5)
    assert gradient == approx(-2 * RATIO[0], -2 * RATIO[1], -2 * 1.2)  # clipped tokens still learn
    loss, gradient = losses(2.0, LossConfig(kind="reinforce"))
    assert (loss, gradient) == (approx(2.0, 4.0, 1.0), approx(-2, -2, -2))
    loss, gradient = losses(-1.0, LossConfig(kind="sapo"))
    gate = [4 / 1.05 / (1 + math.exp(-1.05 * (ratio - 1))) for ratio in RATIO]
    assert loss == approx(*gate)
    assert all(value > 0 for value in gradient)


@pytest.mark.parametrize("kind", ["ppo", "gspo", "gmpo", "cispo", "sapo", "reinforce"])
def test_on_policy_all_losses_have_one_gradient(kind: Any) -> None:
    new = NEW.clone().requires_grad_(True)
    found = token_losses(new, NEW, torch.full((3,), 1.5), ONE, LossConfig(kind=kind))
    (gradient,) = torch.autograd.grad(found.loss.sum(), new)
    assert gradient.tolist() == approx(-1.5, -1.5, -1.5)


def test_kl_estimates() -> None:
    reference = torch.tensor([-1.2, -2.2, -0.4])
    assert kl(NEW, reference, "k1").tolist() == approx(0.2, 0.2, -0.1)
    assert kl(NEW, reference, "k2").tolist() == approx(0.02, 0.02, 0.005)
    assert kl(NEW, reference, "k3").tolist() == approx(0.018731, 0.018731, 0.005171)
    assert kl(torch.tensor([-9.0]), torch.tensor([0.0]), "k3").tolist() == [10]
    with pytest.raises(UsageError):
        kl(NEW, reference, "k4")  # type: ignore[arg-type]


def test_kl_estimates_agree_with_the_divergence() -> None:
    policy = torch.tensor([0.5, 0.3, 0.2]).log()
    reference = torch.tensor([0.2, 0.3, 0.5]).log()
    exact = (policy.exp() * (policy - reference)).sum()
    for kind in ("k1", "k3"):
        assert (policy.exp() * kl(policy, reference, kind)).sum() == pytest.approx(float(exact), abs=1e-6)


# --- weights ----------------------------------------------------------------------------------------------------------

DECISION = torch.tensor([0, 0, 0, 1, 2, 2])
TRAJECTORY = torch.tensor([0, 0, 0, 0, 1, 1])
GROUP = torch.tensor([4, 4, 4, 4, 9, 9])
ALL = torch.ones(6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("aggregation", "wanted"),
    [
        ("token", [1 / 6] * 6),
        ("decision", [1 / 9, 1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 6]),
        ("trajectory", [1 / 8, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4]),
        ("group", [1 / 8, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4]),
    ],
)
def test_weights(aggregation: Any, wanted: list[float]) -> None:
    assert weights_of(aggregation, DECISION, TRAJECTORY, GROUP, ALL).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_weights_sum_to_one_over_what_is_kept(aggregation: Any) -> None:
    kept = torch.tensor([True, False, True, True, False, False])
    weights = weights_of(aggregation, DECISION, TRAJECTORY, GROUP, kept)
    assert weights.sum() == pytest.approx(1)
    assert not weights[~kept].any()
    assert not weights_of(aggregation, DECISION, TRAJECTORY, GROUP, ~ALL).any()


def test_groups_without_a_difference_teach_nothing() -> None:
    reward = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    group = torch.tensor([7, 7, 3, 3, 5])
    assert is_informative(reward, group).tolist() == [False, False, True, True, False]


# --- corrections ------------------------------------------------------------------------------------------------------

MU = np.log([0.5, 0.5, 0.5, 0.5])
PI = np.log([0.5, 0.25, 1.0, 0.05])  # ρ = 1, ½, 2, 0.1
PLACES = np.array([0, 0, 1, 1])
GAIN = np.array([1.0, 1.0, -1.0, -1.0])


def corrected(**rules: Any) -> list[float]:
    found: list[float] = correct(MU, PI, PLACES, GAIN, CorrectionConfig(**rules)).weight.tolist()
    return found


def test_corrections() -> None:
    assert corrected() == [1, 1, 1, 1]
    assert corrected(truncate=1.5) == pytest.approx([1, 0.5, 1.5, 0.1])
    assert corrected(keep_within=(0.5, 1.5)) == pytest.approx([1, 0.5, 0, 0])
    # Geometric means of the two trajectories: √½ and √0.2.
    assert corrected(geometric=(0.6, 1.2)) == [1, 1, 0, 0]
    assert corrected(outlier=(0.2, 100.0)) == [1, 1, 0, 0]
    assert corrected(outlier=(0.2, 100.0), truncate=1.0) == pytest.approx([1, 0.5, 0, 0])


def test_stale_decisions_are_left_out() -> None:
    found = correct(MU, PI, PLACES, GAIN, CorrectionConfig(max_staleness=2), staleness_N=np.array([0, 2, 3, -1]))
    assert found.weight.tolist() == [1, 1, 0, 0]  # unknown is too old


def test_figures_of_the_mismatch() -> None:
    figures = correct(MU, PI, PLACES, GAIN, CorrectionConfig(truncate=10.0)).figures
    ratios = [1, 0.5, 2, 0.1]
    assert figures["k1_rollout"] == pytest.approx(-sum(map(math.log, ratios)) / 4)
    assert figures["chi2_rollout"] == pytest.approx((1 + 0.25 + 4 + 0.01) / 4 - 1)
    assert figures["ess_share"] == pytest.approx(3.6**2 / (4 * 5.26))
    assert figures["ratio_outside"] == pytest.approx(0.25)


def test_bad_actions_the_policy_has_left_are_let_be() -> None:
    segments = Segments(decision=torch.tensor([0, 0, 1, 2]), count=3)
    new, old = torch.tensor([-3.0, -3.0, -3.0, -1.1]), torch.tensor([-1.0, -1.0, -1.0, -1.0])
    kept = off_policy_mask(new, old, torch.tensor([-1.0, -1.0, 1.0, -1.0]), segments, 0.5)
    assert kept.tolist() == [False, False, True, True]


def test_an_adaptive_entropy_bonus() -> None:
    config = EntropyConfig(coef=0.01, target=0.5, step=0.005)
    assert (config.now(0.01, 0.4), config.now(0.01, 0.6)) == (0.01, 0.0)
    assert config.moved(0.01, 0.4) == pytest.approx(0.015)
    assert config.moved(0.003, 0.6) == 0
    fixed = EntropyConfig(coef=0.02)
    assert (fixed.now(0.02, 9.0), fixed.moved(0.02, 9.0)) == (0.02, 0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LossConfig(kind="a2c"),  # type: ignore[arg-type]
        lambda: LossConfig(clip_low=1.5),
        lambda: LossConfig(dual_clip=0.5),
        lambda: EntropyConfig(coef=-1.0),
        lambda: CorrectionConfig(truncate=2.0, keep_within=(0.5, 2.0)),
        lambda: CorrectionConfig(geometric=(1.1, 2.0)),
        lambda: weights_of("line", DECISION, TRAJECTORY, GROUP, ALL),  # type: ignore[arg-type]
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()
