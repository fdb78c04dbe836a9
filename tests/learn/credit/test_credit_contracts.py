"""Promises to every caller; each is a bug that some trainer had."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from credit_kit import NAMES, of, random_batch, reordered, three_rollouts
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit import ESTIMATORS, Config, advantages, estimator_names
from overwinter.learn.credit import filters as credit_filters
from overwinter.learn.credit.arrays import Frame, NumpyArrays

SEEDS = st.integers(0, 2**32 - 1)
FEW, SOME = settings(max_examples=6), settings(max_examples=25)
"""Examples run through every estimator, or through one."""

BROADCAST = ["grpo", "rloo", "dr_grpo", "batch_normalised", "maxrl"]
ACROSS_GROUPS = {"batch_normalised", "pg", "calibrated", "empg", "random"}
"""These compare with the whole batch, so another group changes them."""


@FEW
@given(SEEDS)
def test_the_order_of_trajectories_does_not_matter(seed: int) -> None:
    batch = random_batch(seed)
    other, rows = reordered(batch, np.random.default_rng(seed).permutation(batch.trajectories))
    for estimator in NAMES:
        if estimator != "random":
            np.testing.assert_allclose(of(estimator, other), of(estimator, batch)[rows], atol=1e-7, err_msg=estimator)


@FEW
@given(SEEDS)
def test_other_groups_do_not_matter(seed: int) -> None:
    batch = random_batch(seed, groups=3)
    alone = credit_filters.keep(batch, batch.trajectory_group == 1)
    mine = batch.group == 1
    for estimator in NAMES:
        if estimator not in ACROSS_GROUPS:
            np.testing.assert_allclose(of(estimator, alone), of(estimator, batch)[mine], atol=1e-7, err_msg=estimator)


@FEW
@given(SEEDS)
def test_names_of_states_groups_do_not_matter(seed: int) -> None:
    batch = random_batch(seed)
    names = np.random.default_rng(seed).integers(-(2**62), 2**62, size=2000)
    renamed = replace(
        batch, state=names[batch.state], next_state=names[batch.next_state], group=-7 * batch.group, meta={}
    )
    for estimator in NAMES:
        if estimator != "hca_state":  # its table of h is keyed by these names
            np.testing.assert_allclose(of(estimator, renamed), of(estimator, batch), atol=1e-7, err_msg=estimator)


def split_a_turn(batch: Batch, row: int) -> Batch:
    """The turn `row` in two, the reward with the second."""
    once = {name: np.insert(getattr(batch, name), row, getattr(batch, name)[row]) for name in ("group", "trajectory")}
    state = np.insert(batch.state, row + 1, 555)
    next_state = np.insert(batch.next_state, row, 555)
    parts = {
        "action": np.insert(batch.action, row, 0),
        "reward": np.insert(batch.reward, row, 0.0),
        "terminated": np.insert(batch.terminated, row, False),
        "truncated": np.insert(batch.truncated, row, False),
    }
    return Batch(**once, **parts, state=state, next_state=next_state, success=batch.success)


@pytest.mark.parametrize("estimator", BROADCAST)
def test_splitting_a_turn_changes_no_outcome_credit(estimator: str) -> None:
    batch = three_rollouts()
    for row in range(len(batch)):
        parts = of(estimator, split_a_turn(batch, row))
        np.testing.assert_allclose(np.delete(parts, row), of(estimator, batch), atol=1e-12)
        assert parts[row] == parts[row + 1]


@SOME
@given(SEEDS)
def test_rewards_of_steps_add_up_to_the_trajectory_s(seed: int) -> None:
    batch = random_batch(seed)
    batch = replace(batch, reward=np.random.default_rng(seed).normal(size=len(batch)))
    frame = Frame(batch, NumpyArrays())
    np.testing.assert_allclose(frame.backwards(batch.reward, 1.0)[batch.first], batch.total_reward, atol=1e-12)
    np.testing.assert_allclose(frame.outcome, batch.total_reward, atol=1e-12)


@SOME
@given(SEEDS, st.floats(-3, 3), st.floats(0.1, 10))
def test_grpo_ignores_shift_and_scale_of_rewards(seed: int, shift: float, scale: float) -> None:
    batch = random_batch(seed)
    ends = batch.terminated | batch.truncated
    moved = replace(batch, reward=np.where(ends, scale * batch.reward + shift, 0.0))
    np.testing.assert_allclose(of("grpo", moved, eps=0.0), of("grpo", batch, eps=0.0), atol=1e-7)


@pytest.mark.parametrize("estimator", [*BROADCAST, "rho_one", "gigpo"])
@pytest.mark.parametrize("seed", range(5))
def test_no_row_of_a_group_that_differs_is_silent(estimator: str, seed: int) -> None:
    batch = random_batch(seed)
    kept = credit_filters.keep(batch, credit_filters.varied(batch))
    credit = advantages(kept, Config(estimator=estimator, options={}))
    if estimator in BROADCAST:
        assert len(kept)
        assert (credit.advantages != 0).all()
    assert credit.diagnostics["silent_rows"] == (credit.advantages == 0).mean()


@pytest.mark.parametrize("estimator", NAMES)
def test_a_reward_that_is_no_number_is_refused(estimator: str) -> None:
    batch = random_batch(1)
    for wrong in (math.nan, math.inf):
        reward = batch.reward.copy()
        reward[4] = wrong
        broken = replace(batch, reward=reward)
        with pytest.raises(UsageError, match=r"reward is not a finite number in rows \[4\]"):
            of(estimator, broken)
        healed = credit_filters.keep(broken, credit_filters.finite(broken))
        assert healed.trajectories == batch.trajectories - 1
        assert np.isfinite(of(estimator, healed)).all()


@pytest.mark.parametrize("estimator", [name for name in NAMES if ESTIMATORS[name].needs])
def test_missing_and_broken_columns_are_named(estimator: str) -> None:
    batch = random_batch(1)
    for column in ESTIMATORS[estimator].needs:
        dependants = {"token_value": None} if column == "tokens" else {}
        with pytest.raises(UsageError, match=column):
            of(estimator, replace(batch, **({column: None} | dependants)))
        values = np.array(getattr(batch, column), dtype=np.float64)
        if column != "tokens":
            values[2] = math.nan
            with pytest.raises(UsageError, match=column):
                of(estimator, replace(batch, **{column: values}))


@pytest.mark.parametrize("estimator", NAMES)
def test_credit_is_pure_and_finite(estimator: str) -> None:
    batch = random_batch(2)
    before = {name: np.copy(value) for name, value in vars(batch).items() if isinstance(value, np.ndarray)}
    first, second = of(estimator, batch), of(estimator, batch)
    np.testing.assert_array_equal(first, second)
    assert first.shape == (len(batch),)
    assert np.isfinite(first).all()
    for name, value in before.items():
        np.testing.assert_array_equal(value, getattr(batch, name))


@pytest.mark.parametrize("estimator", NAMES)
def test_a_group_of_one_is_compared_with_nothing(estimator: str) -> None:
    batch = credit_filters.keep(random_batch(4, groups=1), np.array([True, False, False, False]))
    values = of(estimator, batch)
    assert np.isfinite(values).all()
    if estimator in [*BROADCAST, "gigpo", "graphhca"] and len(np.unique(batch.state)) == len(batch):
        assert (values == 0).all()


def test_the_baseline_does_not_know_when_its_own_trajectory_stopped() -> None:
    """E[baseline · score] = 0, by enumeration: a policy that stops each turn with probability p and earns -0.2 per turn."""
    p, longest = 0.3, 3
    lengths = range(1, longest + 1)
    chance = {n: (1 - p) ** (n - 1) * (p if n < longest else 1.0) for n in lengths}
    # d log pi / d p of every turn: going on, or stopping; the last possible turn is no choice.
    score = {n: [-1 / (1 - p)] * (n - 1) + ([1 / p] if n < longest else [0.0]) for n in lengths}
    true_gradient = 2 * sum(chance[n] * -0.2 * n * sum(score[n]) for n in lengths)
    ours = per_turn = 0.0
    for pair in product(lengths, repeat=2):
        weight = chance[pair[0]] * chance[pair[1]]
        batch = stopped(list(pair))
        scores = np.bincount(batch.trajectory, weights=np.concatenate([score[n] for n in pair]))
        ours += weight * float((of("rloo", batch)[batch.first] * scores).sum())
        # What is biased: a baseline per turn number, with as many terms as the own trajectory has turns.
        baseline = -0.2 * min(pair)
        per_turn += weight * float(((batch.total_reward - baseline) * scores).sum())
    assert ours == pytest.approx(true_gradient)
    assert abs(true_gradient) > 0.1
    assert abs(per_turn - true_gradient) > 0.1


def stopped(lengths: list[int]) -> Batch:
    rows = sum(lengths)
    last = np.cumsum(lengths) - 1
    terminated = np.zeros(rows, dtype=bool)
    terminated[last] = True
    return Batch(
        group=np.zeros(rows, dtype=np.int64),
        trajectory=np.repeat(np.arange(len(lengths)), lengths),
        state=np.arange(rows),
        next_state=np.arange(rows) + 1,
        action=np.zeros(rows, dtype=np.int64),
        reward=np.full(rows, -0.2),
        terminated=terminated,
        truncated=np.zeros(rows, dtype=bool),
        success=np.ones(len(lengths)),
    )


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        ("grpo", {"gamma": 0.9}, "grpo has no option gamma"),
        ("grpo", {"ddof": 2}, "ddof is 2"),
        ("grpo", {"clip": 0.0}, "clip is 0"),
        ("rloo", {"eps": 0.1}, "it has none"),
        ("graphhca", {"macro": {"epsilon": 1}}, r"graphhca\.macro has no option epsilon"),
        ("graphhca", {"order": 0.5}, "order is 0.5"),
        ("graphhca", {"open_end": "fail"}, "open_end is 'fail'"),
        ("hcapo", {"clip_low": 1.1}, "rho is clipped"),
        ("gigpo", {"similarity": 0.0}, "similarity is 0"),
        ("hgpo", {"history": -1}, "history is -1"),
        ("pg", {"forget": 0.0}, "forget is 0"),
        ("gae_turn", {"lam": 1.5}, "lam is 1.5"),
        ("best", {}, "there is no estimator 'best'"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_configured(estimator: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(estimator=estimator, options=options)


def test_names_are_those_of_the_table() -> None:
    assert estimator_names()[: len(ESTIMATORS)] == NAMES
    assert Config().estimator == "grpo"


def test_a_memory_is_refused_where_none_is_read() -> None:
    batch = random_batch(0)
    memory = advantages(batch, Config(estimator="pg")).memory
    with pytest.raises(UsageError, match="grpo has no memory"):
        advantages(batch, Config(), memory)


def test_actions_must_be_candidates() -> None:
    batch = random_batch(0)
    wrong = replace(batch, action=batch.action + 1)
    for estimator in ("hcapo_head", "hca_state", "hca_return"):
        with pytest.raises(UsageError, match="number actions"):
            of(estimator, wrong)


def test_token_values_are_one_per_token() -> None:
    batch = random_batch(0)
    with pytest.raises(UsageError, match="token_value"):
        replace(batch, token_value=batch.token_value[1:])  # type: ignore[index]
