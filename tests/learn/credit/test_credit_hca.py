"""Reference values of hindsight credit assignment: the ambiguous bandit, the delayed effect, and the tabular learners."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from credit_kit import every_path, of, random_batch

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit import Config, advantages
from overwinter.learn.credit.learners import StateHindsight, fit_state_hindsight, with_return_hindsight

MEAN, SIGMA = {0: 1.0, 1: 2.0}, 1.5


def bandit(draws: list[tuple[int, int]], rewards: list[float]) -> Batch:
    """One step each: (action, state reached); two actions lead to two states and, one time in ten, to the other one."""
    rows = len(draws)
    action, reached = (np.array(column) for column in zip(*draws, strict=True))
    return Batch(
        group=np.zeros(rows, dtype=np.int64),
        trajectory=np.arange(rows),
        state=np.zeros(rows, dtype=np.int64),
        next_state=10 + reached,
        action=action,
        reward=np.array(rewards),
        terminated=np.ones(rows, dtype=bool),
        truncated=np.zeros(rows, dtype=bool),
        success=np.ones(rows),
        policy=np.full((rows, 2), -math.log(2)),
    )


def enumerated() -> Batch:
    """Twenty pulls in their exact proportions, each paying its state's mean."""
    draws = [(action, action if at else 1 - action) for action in (0, 1) for at in range(10)]
    return bandit(draws, [MEAN[reached] for _, reached in draws])


def test_the_bandit_s_h_and_values() -> None:
    batch = enumerated()
    table = fit_state_hindsight(batch, strength=0.0)
    same = np.zeros(2, dtype=np.int64)
    h = table.probabilities(same, same, np.array([10, 11]), np.full((2, 2), 0.5))
    np.testing.assert_allclose(h, [[0.9, 0.1], [0.1, 0.9]])
    np.testing.assert_allclose(h / 0.5 - 1, [[0.8, -0.8], [-0.8, 0.8]])
    config = Config(estimator="hca_state", options={"reward_at": "next_state"})
    credit = advantages(replace(batch, meta={"state_hindsight": table}), config)
    assert credit.candidates is not None
    np.testing.assert_allclose(credit.candidates, [[-0.4, 0.4]] * 20)
    np.testing.assert_allclose(credit.advantages, np.where(batch.action == 1, 0.4, -0.4))
    # Q = A + V, and V is 1.5.
    np.testing.assert_allclose(credit.candidates[0] + batch.reward.mean(), [1.1, 1.9])


def gradient_moments(estimate: Any) -> tuple[float, float]:
    """Mean and variance of one logit's gradient: exact over actions, states and both points of a two-point reward law."""
    values, weights = [], []
    for action in (0, 1):
        for reached in (0, 1):
            for sign in (-1.0, 1.0):
                reward = MEAN[reached] + sign * SIGMA
                values.append(estimate(action, reached, reward))
                weights.append(0.25 * (0.9 if action == reached else 0.1))
    mean = float(np.average(values, weights=weights))
    return mean, float(np.average((np.array(values) - mean) ** 2, weights=weights))


def ours(baseline: float) -> Any:
    """The gradient of the second action's logit, pi (A_1 - sum pi A), from the candidates of a single pull."""
    table = fit_state_hindsight(enumerated(), strength=0.0)
    config = Config(estimator="hca_state", options={"reward_at": "next_state", "pool": "row"})

    def estimate(action: int, reached: int, reward: float) -> float:
        pull = replace(bandit([(action, reached)], [reward - baseline]), meta={"state_hindsight": table})
        candidates = advantages(pull, config).candidates
        assert candidates is not None
        return float(0.5 * (candidates[0, 1] - candidates[0].mean()))

    return estimate


@pytest.mark.parametrize(
    ("estimate", "variance"),
    [
        (lambda action, reached, reward: (action - 0.5) * (reward - 1.5), 0.586),
        (ours(0.0), 0.722),
        (ours(1.5), 0.360),
    ],
    ids=["policy gradient with baseline", "state HCA", "state HCA with baseline"],
)
def test_the_bandit_s_gradient_has_the_known_variance(estimate: Any, variance: float) -> None:
    # Only mean and deviation of the reward enter, so two points stand for the normal law; the figures are of a simulation.
    mean, spread = gradient_moments(estimate)
    assert mean == pytest.approx(0.2)
    assert spread == pytest.approx(variance, abs=0.003)


def delayed(rng: np.random.Generator, episodes: int, length: int, sigma: float) -> Batch:
    """The first action decides the last reward, ±1; the states between pay noise and do not tell which it was."""
    per = length + 2
    rows = episodes * per
    step = np.tile(np.arange(per), episodes)
    action = rng.integers(0, 2, rows)
    first = np.repeat(action[::per], per)
    state = np.where(step == 0, 0, np.where(step == per - 1, 100 + first, step))
    reward = np.where(step == 0, 0.0, np.where(step == per - 1, 2.0 * first - 1, rng.normal(0, sigma, rows)))
    last = step == per - 1
    return Batch(
        group=np.zeros(rows, dtype=np.int64),
        trajectory=np.repeat(np.arange(episodes), per),
        state=state,
        next_state=np.where(last, 999, np.append(state[1:], 999)),
        action=action,
        reward=reward,
        terminated=last,
        truncated=np.zeros(rows, dtype=bool),
        success=np.ones(episodes),
        policy=np.full((rows, 2), -math.log(2)),
    )


@pytest.mark.parametrize("length", [5, 10])
def test_noise_that_an_action_did_not_cause_drops_out(length: int) -> None:
    batch = delayed(np.random.default_rng(0), 400, length, 2.0)
    # Exact h: the last state names the first action, the middle ones say nothing.
    exact = StateHindsight(
        rows={(0, 0, 100): 0, (0, 0, 101): 1}, counts=np.array([[1.0, 0.0], [0.0, 1.0]]), strength=0.0
    )
    config = Config(estimator="hca_state", options={"gamma": 1.0, "pool": "row"})
    credit = advantages(replace(batch, meta={"state_hindsight": exact}), config)
    assert credit.candidates is not None
    first = credit.candidates[batch.first]
    np.testing.assert_allclose(first, np.tile([-1.0, 1.0], (400, 1)), atol=1e-12)
    # The policy gradient of the same logit has variance n sigma^2 / 4: 4.97 and 9.95 in the reference simulation.
    gradient = (batch.action[batch.first] - 0.5) * batch.total_reward
    assert gradient.var() == pytest.approx({5: 4.97, 10: 9.95}[length], rel=0.15)


def test_a_pair_never_seen_falls_back_on_the_policy() -> None:
    table = fit_state_hindsight(enumerated(), strength=1.0)
    policy = np.array([[0.3, 0.7]])
    unseen = table.probabilities(np.array([0]), np.array([5]), np.array([6]), policy)
    np.testing.assert_allclose(unseen, policy)
    np.testing.assert_allclose(fit_state_hindsight(enumerated(), at="state").counts.sum(), 0.0)


def test_rows_of_h_are_distributions() -> None:
    batch = random_batch(3)
    later = with_return_hindsight(batch, bins=3, gamma=0.9, strength=0.5)
    assert later.hindsight is not None
    np.testing.assert_allclose(np.exp(later.hindsight).sum(1), 1.0)
    with pytest.raises(UsageError, match="strength"):
        with_return_hindsight(batch, strength=0.0)


def test_return_hca_is_v_of_the_return_where_returns_tell_actions_apart() -> None:
    # Only (1, 1, 1) wins. In its last step h(1 | win) = 1, so A = (1 - 0.5) · 1.
    batch = with_return_hindsight(every_path({(1, 1, 1): 1.0}), strength=1e-9)
    values = of("hca_return", batch, gamma=1.0)
    np.testing.assert_allclose(values[-3:], 0.5, atol=1e-6)
    np.testing.assert_allclose(values[:-3], 0.0, atol=1e-12)


def test_a_table_may_come_from_other_rollouts() -> None:
    source = every_path({(1, 1, 1): 1.0, (0, 0, 0): 1.0})
    batch = with_return_hindsight(every_path({(1, 1, 1): 1.0}), pool=source, strength=1e-9)
    assert of("hca_return", batch, gamma=1.0)[-3] == pytest.approx(0.0, abs=1e-6)


def test_truncated_rollouts_bootstrap_with_the_critic() -> None:
    batch = random_batch(8)
    quiet = replace(batch, reward=np.zeros(len(batch)))
    with_critic = of("hca_state", quiet)
    without = of("hca_state", replace(quiet, end_value=None))
    assert np.abs(without).max() == 0
    assert np.abs(with_critic).max() > 0


def test_h_must_be_given() -> None:
    with pytest.raises(UsageError, match="later state"):
        of("hca_state", replace(random_batch(0), meta={}))
