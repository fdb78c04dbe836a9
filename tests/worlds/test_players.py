"""The scripted players of the greenhouse: clearly ordered, reproducible, and honest reporters."""

from __future__ import annotations

from typing import Any

import pytest

from overwinter.worlds import Outcome, Policy, open_policy, open_world
from overwinter.worlds.greenhouse import SeasonLog, season_report

SEEDS = range(5000, 5030)
COUNTED = [
    *("storm_nights", "orders", "fuel_ordered_l", "spent_eur", "earned_eur", "inspections"),
    *("sensors_replaced", "loan_repaid_day", "late_fee_eur", "score"),
]
"""What a report tells and the judge knows under the same name."""


def play(name: str, policy: Policy, seed: int) -> tuple[Outcome, list[tuple[str | None, dict[str, Any]]]]:
    world = open_world(name)
    observation = world.reset(seed)
    policy.reset(seed)
    log: list[tuple[str | None, dict[str, Any]]] = [(None, observation.data)]
    done = False
    while not done:
        action = policy.act(observation, world.actions())
        transition = world.step(action)
        observation, done = transition.observation, transition.done
        log.append((action, observation.data))
    return world.outcome(), log


def test_expert_beats_rules_and_rules_beat_random_by_clear_margins() -> None:
    mean, success = {}, {}
    for player in ("random", "rules", "expert"):
        outcomes = [play("greenhouse", open_policy("greenhouse", player), seed)[0] for seed in SEEDS]
        mean[player] = sum(o.score for o in outcomes) / len(outcomes)
        success[player] = sum(bool(o.success) for o in outcomes) / len(outcomes)
    assert mean["random"] < 5 < mean["rules"] - 20
    assert mean["expert"] > mean["rules"] + 20
    assert success["random"] == 0.0
    assert 0.2 < success["rules"] < 0.8
    assert success["expert"] >= 0.8
    assert mean["expert"] < 97, "the expert should leave room to learn"


@pytest.mark.parametrize("player", ["random", "rules", "expert"])
def test_a_player_repeats_its_game(player: str) -> None:
    name = "greenhouse:days=40,winters=2"
    policy = open_policy(name, player)
    assert play(name, policy, 3) == play(name, policy, 3) == play(name, open_policy(name, player), 3)


@pytest.mark.parametrize("player", ["random", "rules", "expert"])
def test_the_season_report_agrees_with_the_facts(player: str) -> None:
    """What the player counted from its observations is what the judge counted from inside."""
    name = "greenhouse:days=50,winters=2"
    for seed in range(6):
        outcome, log = play(name, open_policy(name, player), seed)
        season = SeasonLog()
        for action, data in log:
            season.add(action, data)
        for told, fact in zip(season.winters, outcome.facts["winters"], strict=True):
            for key in COUNTED:
                assert getattr(told, key) == fact[key], (key, seed)
            assert list(told.aphid_treatments.values()) == fact["aphid_treatments"]
            assert list(told.mould_treatments.values()) == fact["mould_treatments"]
            assert told.crop_eur == sum(fact["crop_eur"].values())


def test_the_report_is_readable_and_can_be_written_midway() -> None:
    _, log = play("greenhouse:days=30", open_policy("greenhouse:days=30", "expert"), 1)
    assert "I ordered fuel 0 times" in season_report(log[:1])
    report = season_report(log)
    assert report.startswith("Season report, winter 1.")
    assert "In spring the beds brought" in report
