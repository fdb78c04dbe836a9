"""What must hold exactly, whatever the numbers are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from credit_kit import NAMES, every_path, of, random_batch, three_rollouts
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.learn.credit import ESTIMATORS, Config, advantages
from overwinter.learn.credit.arrays import Frame, NumpyArrays
from overwinter.learn.credit.graph import graph_credit, rollout_graph
from overwinter.learn.credit.hindsight import prompted_ratio
from overwinter.learn.credit.learners import with_return_hindsight
from overwinter.learn.credit.potentials import solve

SEEDS = st.integers(0, 2**32 - 1)
SOME = settings(max_examples=25)
TREE = every_path({(0, 0, 0): 1.0, (0, 0, 1): 1.0, (0, 1, 0): 1.0, (1, 0, 1): 1.0})
EXACT_GRAPH = {"gamma": 1.0, "floor": 1e-12, "standardise": "none"}


def graph_ratio(batch: object, **options: object) -> np.ndarray:
    frame = Frame(batch, NumpyArrays())
    return np.exp(graph_credit(frame, Config(estimator="graphhca", options=options).resolved())[0])


def by_state(values: np.ndarray) -> dict[int, np.ndarray]:
    return {state: values[TREE.state == state] for state in np.unique(TREE.state).tolist()}


def values_of_states() -> np.ndarray:
    """[S] probability of success from each row's state, by counting."""
    means = {state: outcomes.mean() for state, outcomes in by_state(TREE.success[TREE.trajectory]).items()}
    return np.array([means[state] for state in TREE.state.tolist()])


def test_the_mean_ratio_of_the_policy_is_1_at_every_state() -> None:
    ratio, value = graph_ratio(TREE, **EXACT_GRAPH), values_of_states()
    for state, ratios in by_state(ratio).items():
        if value[TREE.state == state][0] > 0:
            assert ratios.mean() == pytest.approx(1.0), state


def test_a_discounted_graph_has_a_mean_ratio_of_1_over_gamma() -> None:
    ratio = graph_ratio(TREE, **(EXACT_GRAPH | {"gamma": 0.9}))
    assert ratio[TREE.state == 0].mean() == pytest.approx(1 / 0.9)


def test_the_advantage_is_the_value_times_the_ratio_less_1() -> None:
    ratio, value = graph_ratio(TREE, **EXACT_GRAPH), values_of_states()
    pairs = list(zip(TREE.state.tolist(), TREE.action.tolist(), strict=True))
    outcome = TREE.success[TREE.trajectory]
    q = np.array([np.mean([outcome[row] for row, other in enumerate(pairs) if other == pair]) for pair in pairs])
    np.testing.assert_allclose(value * (ratio - 1), q - value, atol=1e-9)


def test_the_graph_s_ratio_is_the_one_that_counting_actions_gives() -> None:
    counted = with_return_hindsight(TREE, bins=2, strength=1e-9)
    assert counted.hindsight is not None
    h = np.exp(counted.hindsight[np.arange(len(TREE)), TREE.action])
    won = TREE.success[TREE.trajectory] > 0
    np.testing.assert_allclose((h / 0.5)[won], graph_ratio(TREE, **EXACT_GRAPH)[won], rtol=1e-6)


def test_among_successes_the_mean_ratio_is_1_plus_chi_squared() -> None:
    ratio, won = graph_ratio(TREE, **EXACT_GRAPH), TREE.success[TREE.trajectory] > 0
    for state in np.unique(TREE.state[won]).tolist():
        here = TREE.state == state
        chi_squared = np.mean((ratio[here] - 1) ** 2)
        assert ratio[here & won].mean() == pytest.approx(1 + chi_squared)


def test_the_ratio_of_the_taken_action_times_the_return_squares_it() -> None:
    ratio, value, outcome = graph_ratio(TREE, **EXACT_GRAPH), values_of_states(), TREE.success[TREE.trajectory]
    for state, action in {(0, 0), (0, 1), (int(TREE.state[1]), 0)}:
        here = (TREE.state == state) & (TREE.action == action)
        product = (ratio * outcome)[here].mean()
        assert product == pytest.approx((ratio**2 * value)[here][0])


@SOME
@given(SEEDS)
def test_graph_credits_telescope(seed: int) -> None:
    batch = random_batch(seed, groups=2)
    options = Config(estimator="graphhca").resolved()
    frame = Frame(batch, NumpyArrays())
    credit, rollouts = graph_credit(frame, options)
    phi, _ = solve(rollouts.graph, NumpyArrays(), gamma=options.gamma, order=1.0)
    end = np.where(rollouts.ended, rollouts.graph.end, phi[rollouts.target])[batch.last]
    start = phi[rollouts.source[batch.first]]
    log = lambda p: np.log(np.maximum(p, options.floor))  # noqa: E731
    sums = np.bincount(batch.trajectory, weights=credit)
    np.testing.assert_allclose(sums, log(end) - log(start), atol=1e-9)
    assert np.abs(credit).max() <= math.log(1 / options.floor) + 1e-12


@SOME
@given(SEEDS)
def test_mean_graph_credit_of_a_state_is_bounded_by_the_discount(seed: int) -> None:
    batch = random_batch(seed)
    frame = Frame(batch, NumpyArrays())
    credit, rollouts = graph_credit(frame, Config(estimator="graphhca", options={"floor": 1e-9}).resolved())
    phi, _ = solve(rollouts.graph, NumpyArrays(), gamma=0.95, order=1.0)
    mean = frame.x.numpy(frame.mean(credit, frame.states))
    reached = phi[rollouts.source] > 1e-6
    # By Jensen, E[l] = -KL(q || h) plus what the discount takes.
    assert (mean[frame.states.index][reached] <= -math.log(0.95) + 1e-6).all()


def test_the_best_continuation_is_the_discount_to_the_distance() -> None:
    batch = three_rollouts()
    rollouts = rollout_graph(batch, sinks=False, by_action=False)
    phi, _ = solve(rollouts.graph, NumpyArrays(), gamma=0.95, order=math.inf)
    values = dict(zip(batch.state.tolist(), phi[rollouts.source].tolist(), strict=True))
    for state, distance in {2: 1, 1: 2, 0: 3, 3: 3}.items():
        assert values[state] == pytest.approx(0.95**distance)


WITH_WEIGHT = [name for name in NAMES if hasattr(ESTIMATORS[name].options, "omega") and name not in ("gigpo", "igpo")]


@pytest.mark.parametrize("estimator", WITH_WEIGHT)
def test_weight_0_is_grpo_to_the_bit(estimator: str) -> None:
    batch = random_batch(3)
    if "value" in ESTIMATORS[estimator].uses:  # with a critic, the outcome term is the critic's
        batch = replace(batch, value=None)
    options = {"omega": 0.0} | ({"recentre": math.inf} if hasattr(ESTIMATORS[estimator].options, "recentre") else {})
    np.testing.assert_array_equal(of(estimator, batch, **options), of("grpo", batch))


def test_gigpo_with_weight_0_over_trajectories_is_grpo() -> None:
    batch = random_batch(3)
    without = of("gigpo", batch, omega=0.0, over="trajectories")
    np.testing.assert_allclose(without, of("grpo", batch, clip=math.inf), atol=1e-12)


@SOME
@given(SEEDS, st.integers(2, 6))
def test_rloo_is_dr_grpo_times_n_over_n_less_1(seed: int, size: int) -> None:
    batch = random_batch(seed, size=size)
    np.testing.assert_allclose(of("rloo", batch), size / (size - 1) * of("dr_grpo", batch), atol=1e-12)


@SOME
@given(SEEDS)
def test_hcapo_tells_no_steps_apart_inside_failures(seed: int) -> None:
    batch = random_batch(seed)
    for estimator in ("hcapo", "hcapo_head", "rho_one"):
        values = of(estimator, batch)
        for trajectory in np.flatnonzero(batch.success == 0):
            rows = values[batch.trajectory == trajectory]
            assert np.ptp(rows) == pytest.approx(0.0, abs=1e-12)


@SOME
@given(SEEDS)
def test_the_prompted_ratio_has_mean_1_in_every_trajectory(seed: int) -> None:
    batch = random_batch(seed)
    ratio = prompted_ratio(Frame(batch, NumpyArrays()), 5.0)
    means = np.bincount(batch.trajectory, weights=ratio) / batch.length
    np.testing.assert_allclose(means, 1.0, rtol=1e-12)


def test_equal_scores_are_the_control_without_a_ratio() -> None:
    batch = random_batch(5)
    batch.hindsight_score[:] = -0.3  # type: ignore[index]
    np.testing.assert_allclose(of("hcapo", batch), of("rho_one", batch), atol=1e-12)


@SOME
@given(SEEDS)
def test_gae_between_its_two_ends(seed: int) -> None:
    batch = random_batch(seed)
    assert batch.value is not None
    assert batch.end_value is not None
    frame = Frame(batch, NumpyArrays())
    returns = frame.backwards(batch.reward, 0.9, np.where(batch.truncated[batch.last], batch.end_value, 0.0))
    np.testing.assert_allclose(of("gae_turn", batch, gamma=0.9, lam=1.0), returns - batch.value, atol=1e-12)
    following = frame.next_of(batch.value, np.where(batch.truncated[batch.last], batch.end_value, 0.0))
    difference = batch.reward + 0.9 * following - batch.value
    np.testing.assert_allclose(of("gae_turn", batch, gamma=0.9, lam=0.0), difference, atol=1e-12)


def test_pg_without_a_success_is_grpo() -> None:
    batch = every_path({})
    np.testing.assert_array_equal(of("pg", batch), of("grpo", batch))
    won = every_path({(0, 0, 0): 1.0})
    memory = advantages(won, Config(estimator="pg")).memory
    # What was learned before says something about rollouts that all failed.
    later = advantages(batch, Config(estimator="pg"), memory).advantages
    assert np.ptp(later) > 0
