"""The registration for verl, against a registry of verl's signature; and turns read off masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from overwinter.errors import UsageError
from overwinter.learn.credit import Config
from overwinter.learn.credit.adapters import read_turns, state_key
from overwinter.learn.credit.adapters.verl import register

REGISTRY: dict[str, Callable[..., Any]] = {}


def register_adv_est(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As verl 0.7 has it: a decorator by name, which refuses a second function under the same one."""

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        assert REGISTRY.setdefault(name, function) is function
        return function

    return decorator


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.set_num_threads(1)
    REGISTRY.clear()


MASK = torch.tensor([[1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
REWARDS = torch.zeros(4, 6)
REWARDS[0, 3] = 1.0
REWARDS[3, 5] = 100.0
UIDS = np.array(["a", "a", "a", "a"], dtype=object)


def call(name: str, **changes: Any) -> Any:
    """As verl's trainer calls any estimator but its own two."""
    known = {"token_level_rewards": REWARDS, "response_mask": MASK, "index": UIDS, "config": {"gamma": 1.0}}
    return REGISTRY[name](**(known | changes))


def test_one_line_registers_it() -> None:
    register(Config(estimator="rloo"), registry=register_adv_est)
    advantages, returns = call("overwinter")
    assert advantages is returns
    assert advantages.shape == (4, 6)
    # The rejected row has no tokens; its reward of 100 must not reach the others' baseline.
    np.testing.assert_allclose(advantages[0], [1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(advantages[1], [-0.5, 0.0, 0.0, -0.5, -0.5, 0.0])
    assert advantages[3].abs().sum() == 0


def test_what_else_verl_passes_is_accepted_and_reaches_states() -> None:
    def states(passed: Any) -> list[list[str]]:
        assert passed["reward_baselines"] == "whatever"
        return [["start", "hall", "won"], ["start", "hall", "lost"], ["start", "gone"], []]

    credit = Config(estimator="gigpo", options={"normalise": "mean", "over": "trajectories", "gamma": 1.0})
    register(credit, name="mine", states=states, registry=register_adv_est)
    advantages, _ = call("mine", reward_baselines="whatever")
    # The start is shared by all three, the hall by two.
    assert advantages[0, 0] == pytest.approx(2 / 3 + 2 / 3)
    assert advantages[0, 3] == pytest.approx(2 / 3 + 1 / 2)
    assert advantages[1, 3] == pytest.approx(-1 / 3 - 1 / 2)


def test_what_verl_cannot_feed_is_refused() -> None:
    for estimator, message in (("gigpo", "states"), ("hcapo", "hindsight_score"), ("pg", "states")):
        with pytest.raises(UsageError, match=message):
            register(Config(estimator=estimator), registry=register_adv_est)
    with pytest.raises(UsageError, match="keep their names"):
        register(Config(estimator="pg"), states=lambda _: [], registry=register_adv_est)
    with pytest.raises(UsageError, match="verl is not installed"):
        register(Config())
    register(Config(), registry=register_adv_est)
    with pytest.raises(UsageError, match="uid"):
        call("overwinter", index=None)


def test_rewards_belong_to_the_turn_before_them() -> None:
    rewards = np.array([[0, 0, 0.5, 0, 0, 1.0]])
    turns = read_turns(np.array([[1, 1, 0, 1, 0, 0]]), rewards, np.zeros(1, dtype=np.int64))
    assert turns.batch.reward.tolist() == [0.5, 1.0]
    assert turns.batch.total_reward.tolist() == [1.5]
    assert turns.batch.tokens is not None
    assert turns.batch.tokens.tolist() == [2, 1]
    with pytest.raises(UsageError, match="before the model wrote"):
        read_turns(np.array([[0, 1, 1]]), np.array([[1.0, 0, 0]]), np.zeros(1, dtype=np.int64))


def test_each_turn_s_tokens_get_its_own_advantage() -> None:
    turns = read_turns(MASK.numpy(), np.array([1.0, 0, 0, 0]), np.zeros(4, dtype=np.int64))
    tokens = turns.spread(np.arange(1.0, 6.0))
    np.testing.assert_array_equal(tokens[0], [1, 1, 0, 2, 0, 0])
    np.testing.assert_array_equal(tokens[1], [3, 0, 0, 4, 4, 0])
    np.testing.assert_array_equal(tokens[2], [5] * 6)
    np.testing.assert_array_equal((tokens != 0), MASK.numpy() != 0)


def test_a_batch_without_any_turn_is_empty() -> None:
    turns = read_turns(np.zeros((2, 3)), np.zeros(2), np.zeros(2, dtype=np.int64))
    assert len(turns.batch) == 0
    assert turns.spread(np.zeros(0)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_states_must_fit_the_turns() -> None:
    with pytest.raises(UsageError, match="row 1 has 2 turns and 2 states"):
        read_turns(MASK.numpy()[:2], np.zeros(2), np.zeros(2, dtype=np.int64), states=[["a", "b", "c"], ["a", "b"]])
    assert state_key("a") == state_key("a") != state_key("b")
    assert state_key(7) == 7
