"""Mistakes that others made, each by its name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from credit_kit import GOAL, PIT, every_path, of, random_batch, three_rollouts

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit import Config, advantages
from overwinter.learn.credit.arrays import Frame, NumpyArrays
from overwinter.learn.credit.filters import keep
from overwinter.learn.credit.graph import graph_credit
from overwinter.learn.credit.memory import remember
from overwinter.learn.credit.table import estimate


def walk(steps: list[tuple[int, int, int]], *, success: list[float], lengths: list[int], cut: list[bool]) -> Batch:
    """Trajectories from (state, action, next state) triples; the outcome is the last reward."""
    rows = len(steps)
    last = np.cumsum(lengths) - 1
    state, action, next_state = (np.array(column) for column in zip(*steps, strict=True))
    reward, terminated, truncated = np.zeros(rows), np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    reward[last], truncated[last], terminated[last] = success, cut, ~np.array(cut)
    return Batch(
        group=np.zeros(rows, dtype=np.int64),
        trajectory=np.repeat(np.arange(len(lengths)), lengths),
        state=state,
        next_state=next_state,
        action=action,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        success=np.array(success),
    )


def test_near_equal_outcomes_do_not_blow_up() -> None:
    batch = three_rollouts()
    nearly = replace(batch, reward=batch.reward * 1e-5 + 0.0)
    assert np.abs(of("grpo", nearly)).max() < 0.01
    assert np.abs(of("grpo", nearly, eps=1e-9)).max() > 1
    one_in_many = every_path({(0,) * 6: 1.0}, depth=6)
    assert np.abs(of("grpo", one_in_many)).max() == 5.0
    assert np.abs(of("grpo", one_in_many, clip=math.inf)).max() > 7


def test_equal_outcomes_are_exactly_0_with_any_eps() -> None:
    # Three rewards of 0.1 have a mean that is not 0.1 in binary; without care the difference is divided by itself.
    batch = replace(
        three_rollouts(), reward=np.where(three_rollouts().terminated | three_rollouts().truncated, 0.1, 0.0)
    )
    assert (of("grpo", batch, eps=0.0) == 0).all()


def test_ddof_is_a_switch() -> None:
    batch = three_rollouts()
    ratio = of("grpo", batch, ddof=1, eps=0.0) / of("grpo", batch, ddof=0, eps=0.0)
    np.testing.assert_allclose(ratio, math.sqrt(2 / 3))


def test_statistics_over_steps_let_long_trajectories_weigh_more() -> None:
    batch = walk(
        [(0, 0, 1), *[(5 + at, 0, 6 + at) for at in range(9)]], success=[1.0, 0.0], lengths=[1, 9], cut=[False, False]
    )
    steps = of("gigpo", batch, over="steps", normalise="mean", omega=0.0)
    trajectories = of("gigpo", batch, over="trajectories", normalise="mean", omega=0.0)
    assert steps[[0, 1]] == pytest.approx([0.9, -0.1])
    assert trajectories[[0, 1]] == pytest.approx([0.5, -0.5])


def test_statistics_per_time_step_lose_what_a_bottleneck_shows() -> None:
    rng = np.random.default_rng(0)
    batch = three_rollouts(hindsight_score=-rng.uniform(0.1, 1.0, 10))
    options = {"do_no_harm": False}
    across = of("hcapo", batch, **options)
    per_step = of("hcapo", batch, statistics="per_step", **options)
    assert not np.allclose(across, per_step)
    # The last step of the longest rollout is alone at its time, and is told nothing.
    assert per_step[9] == pytest.approx(of("grpo", batch)[9])


def test_the_same_state_with_another_history_is_another_bucket() -> None:
    # Everybody passes state 5; who came through 1 wins. Only the history says so.
    batch = walk(
        [(1, 0, 5), (5, 0, GOAL), (1, 0, 5), (5, 0, GOAL), (2, 0, 5), (5, 0, PIT), (2, 0, 5), (5, 0, PIT)],
        success=[1.0, 1.0, 0.0, 0.0],
        lengths=[2, 2, 2, 2],
        cut=[False] * 4,
    )
    anchors = estimate(batch, Config(estimator="gigpo"), None, NumpyArrays())[1].micro
    assert abs(np.asarray(anchors)[1]) > 0.5
    levels = [of("hgpo", batch, history=history, base=False, normalise="mean") for history in (0, 1)]
    assert levels[0][1] == pytest.approx(0.5)
    # With one state of history, the steps of a bucket have equal returns: that level is silent, and the coarser one stays.
    assert levels[1][1] == pytest.approx(0.5)
    assert levels[1][0] == pytest.approx(0.0)


def test_a_time_limit_is_no_failure_for_a_critic() -> None:
    batch = walk([(0, 0, 1), (1, 0, 2)], success=[0.0], lengths=[2], cut=[True])
    batch = replace(batch, value=np.array([0.5, 0.5]), end_value=np.array([0.5]))
    np.testing.assert_allclose(of("gae_turn", batch, gamma=1.0), [0.0, 0.0])
    ended = replace(batch, terminated=batch.truncated, truncated=batch.terminated)
    assert of("gae_turn", ended, gamma=1.0)[1] == pytest.approx(-0.5)
    with pytest.raises(UsageError, match="end_value"):
        of("gae_turn", replace(batch, end_value=None))


def test_a_critic_s_opinion_of_a_terminal_state_is_not_asked() -> None:
    batch = random_batch(9)
    assert batch.terminated.any()
    sure = replace(batch, end_value=np.where(batch.terminated[batch.last], 50.0, batch.end_value))
    for estimator in ("gae_turn", "gae_token", "hca_state"):
        np.testing.assert_array_equal(of(estimator, sure), of(estimator, batch))


def test_a_time_limit_is_no_failure_for_a_graph() -> None:
    batch = three_rollouts()
    frame = Frame(batch, NumpyArrays())

    def last_step(open_end: str) -> float:
        options = Config(estimator="graphhca", options={"open_end": open_end}).resolved()
        return float(graph_credit(frame, options)[0][5])

    # The rollout was cut short in s3, from which another one won.
    assert last_step("graph") == pytest.approx(0.025318, abs=1e-6)
    assert last_step("sink") == pytest.approx(-3.515687, abs=1e-6)
    # And in a state that nobody left: what the graph does not know costs all, or nothing.
    nowhere = replace(batch, next_state=np.where(np.arange(10) == 5, 77, batch.next_state))
    frame = Frame(nowhere, NumpyArrays())
    assert last_step("graph") < -3
    assert last_step("neutral") == 0.0


def test_a_goal_met_in_the_very_last_step_allowed_is_a_goal() -> None:
    batch = walk([(0, 0, 1), (1, 0, GOAL), (0, 1, 2)], success=[1.0, 0.0], lengths=[2, 1], cut=[True, True])
    frame = Frame(batch, NumpyArrays())
    credit = graph_credit(frame, Config(estimator="graphhca").resolved())[0]
    np.testing.assert_allclose(credit[:2], [math.log(0.95 / (0.95**2 / 2)), math.log(1 / 0.95)])
    assert (of("graphgpo", batch)[[0, 2]] * [1, -1] > 0).all()


def test_counts_fade_and_are_forgotten_and_unknown_ends_leave_none() -> None:
    batch = three_rollouts(success=np.array([1.0, math.nan, 1.0]))
    memory = remember(None, batch, decay=0.5, forget=0.2)
    assert memory.count.sum() == 10
    assert (memory.goal.sum(), memory.other.sum()) == (2.0, 0.0)
    nothing = keep(batch, np.zeros(3, dtype=bool))
    memory = remember(memory, nothing, decay=0.5, forget=0.2)
    assert (memory.count.sum(), memory.goal.sum()) == (5.0, 1.0)
    memory = remember(memory, nothing, decay=0.1, forget=0.2)
    assert len(memory.count) == len(memory.goal) == 0


def test_luck_is_credited_to_the_action_only_when_it_is_asked_for() -> None:
    # The same action from state 0 leads to the goal or to the pit, evenly.
    batch = walk([(0, 0, GOAL), (0, 0, PIT), (0, 1, PIT)], success=[1.0, 0.0, 0.0], lengths=[1, 1, 1], cut=[False] * 3)
    frame = Frame(batch, NumpyArrays())
    realised, average = (
        graph_credit(frame, Config(estimator="graphhca", options={"successor": kind}).resolved())[0]
        for kind in ("realised", "average")
    )
    assert realised[0] > 1
    assert realised[1] < 0
    assert average[0] == average[1] > 0 > average[2]


def test_length_shows_in_the_diagnostics_before_it_runs_away() -> None:
    rng = np.random.default_rng(2)
    batch = random_batch(2, groups=4, size=6)
    tokens = rng.integers(1, 60, len(batch))
    # A per-token mean: the outcome moves the first tokens, the rest dilutes it.
    diluted = replace(batch, tokens=tokens, token_value=None, hindsight_score=-2.0 / tokens)
    healthy = replace(diluted, hindsight_score=-rng.uniform(0, 1, len(batch)))
    wide = {"clip_low": 0.0, "clip_high": 10.0}
    ill = advantages(diluted, Config(estimator="hcapo", options=wide)).diagnostics["rho_length"]
    well = advantages(healthy, Config(estimator="hcapo", options=wide)).diagnostics["rho_length"]
    assert ill > 0.3
    assert abs(well) < 0.2


def test_a_head_over_candidates_has_no_length_to_reward() -> None:
    batch = random_batch(4)
    longer = replace(batch, tokens=np.asarray(batch.tokens) * 7, token_value=None)
    np.testing.assert_array_equal(of("hcapo_head", longer), of("hcapo_head", batch))


def test_harmless_successes_leave_a_batch_that_is_not_centred() -> None:
    batch = random_batch(6, groups=4, size=6)
    plain = advantages(batch, Config(estimator="hcapo"))
    guarded = advantages(batch, Config(estimator="hcapo", options={"recentre": 0.1}))
    means = [
        np.bincount(batch.group, weights=credit.advantages) / np.bincount(batch.group) for credit in (plain, guarded)
    ]
    assert np.abs(means[0]).max() > 0.1
    assert np.abs(means[1]).max() <= 0.1 + 1e-12


def test_an_end_of_unknown_success_is_not_guessed() -> None:
    batch = three_rollouts(success=np.array([1.0, 0.0, math.nan]))
    with pytest.raises(UsageError, match="success is not known"):
        of("graphhca", batch)
    cut = three_rollouts(success=np.array([1.0, math.nan, 1.0]))
    np.testing.assert_array_equal(of("graphhca", cut), of("graphhca", three_rollouts()))


def test_similar_texts_share_an_anchor_and_equal_ones_are_exact() -> None:
    base = "You are in the kitchen. You see a fridge, a table and an apple. Time "
    texts = [
        f"{base}{at}" if state == 0 else f"state {state} " * 12
        for at, state in enumerate([0, 1, 2, 0, 1, 0, 0, 3, 1, 2])
    ]
    batch = replace(three_rollouts(), state=np.arange(10), meta={"state_text": texts})
    exact = advantages(batch, Config(estimator="gigpo"))
    assert exact.diagnostics["singleton_states"] == 1.0
    alike = advantages(batch, Config(estimator="gigpo", options={"similarity": 0.95}))
    np.testing.assert_allclose(alike.advantages, of("gigpo", three_rollouts()), atol=1e-12)
    with pytest.raises(UsageError, match="state_text"):
        of("gigpo", replace(batch, meta={}), similarity=0.9)


def test_the_random_control_is_seeded_and_knows_nothing() -> None:
    batch = random_batch(7)
    np.testing.assert_array_equal(of("random", batch), of("random", batch, seed=0))
    noise = of("random", batch, seed=1) - of("grpo", batch)
    assert not np.allclose(noise, of("random", batch, seed=2) - of("grpo", batch))
    assert abs(np.corrcoef(noise, of("gigpo", batch))[0, 1]) < 0.5
