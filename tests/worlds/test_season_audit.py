"""A report held against the log of a winter: true ones pass, wrong harvests and wrong days of storm do not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from overwinter.worlds import open_policy, open_world
from overwinter.worlds.greenhouse import season_report
from overwinter.worlds.greenhouse.audit import differences, known, told

NAME = "greenhouse:days=40,winters=2"
Log = list[tuple[str | None, dict[str, Any]]]


def play(player: str, seed: int) -> Log:
    world, policy = open_world(NAME), open_policy(NAME, player)
    observation = world.reset(seed)
    policy.reset(seed)
    log: Log = [(None, observation.data)]
    done = False
    while not done:
        action = policy.act(observation, world.actions())
        transition = world.step(action)
        observation, done = transition.observation, transition.done
        log.append((action, observation.data))
    return log


@pytest.fixture(scope="module")
def log() -> Log:
    """A season with storms and orders in its first winter."""
    logs = (play("random", seed) for seed in range(20))
    return next(log for log in logs if all(known(log)[1].days.values()))


@pytest.mark.parametrize("player", ["random", "rules", "expert"])
def test_what_the_season_report_says_is_read_and_true(player: str) -> None:
    for seed in range(4):
        log = play(player, seed)
        for stop in (2, len(log) // 2, len(log)):
            report = season_report(log[:stop])
            assert len(told(report)) >= 12
            assert differences(report, log[:stop]) == []


def test_every_wrong_figure_of_a_report_is_found(log: Log) -> None:
    report = season_report(log)
    for match in re.finditer(r"(?<![\d.-])\d+(?![\d.]*\d)(?=[^\d])", report):
        if report[: match.start()].endswith("winter "):
            continue
        wrong = report[: match.start()] + str(int(match[0]) + 1) + report[match.end() :]
        found = differences(wrong, log)
        assert len(found) == 1, wrong[max(0, match.start() - 40) : match.end() + 20]
        assert found[0].told.first <= match.start() < found[0].told.last


def test_days_of_storm_and_of_orders(log: Log) -> None:
    days = known(log)[1].days
    storm, order = next(iter(days["storm on day"])), next(iter(days["order on day"]))
    calm = next(day for day in range(2, 30) if not {day, day - 1} & set(days["storm on day"]))
    true = f"Winter 1. The storm came on day {storm}. I ordered fuel on day {order}."
    assert differences(true, log) == []
    (wrong,) = differences(f"Winter 1. It was quiet. The great storm came on day {calm}.", log)
    assert wrong.told.topic == "storm on day"
    assert f"{storm}" in wrong.true


def test_a_harvest_told_in_other_words(log: Log) -> None:
    crop = known(log)[2].values["crop_eur"]
    assert differences(f"In winter 2 we harvested {crop:g} euros.", log) == []
    (wrong,) = differences("The second was winter 2, and its harvest was 99,999 €.", log)
    assert (wrong.told.value, wrong.true) == (99999.0, f"crop in € {crop:g}")


def test_prose_that_says_nothing_of_the_log_is_left_alone(log: Log) -> None:
    assert told("The plants looked well, and I was glad of it.") == []
    assert differences("We shall order more on day 400, and a storm may come on day 300.", log) == []
