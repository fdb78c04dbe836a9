"""Imagined greenhouses show what was shown, are drawn anew in all else, and know nothing that the player was not told."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import World, open_policy, open_world
from overwinter.worlds.greenhouse.config import Config
from overwinter.worlds.greenhouse.imagined import Shown, imagined_tape
from overwinter.worlds.imagination import Imagination, Plain, can_imagine, imagine


def season(name: str, seed: int, policy: str, every: int) -> Any:
    """(world, imagination, observation, actions so far) at every `every`-th step of a season."""
    world, player = open_world(name), open_policy(name, policy)
    imagination: Imagination = world.imagination()  # type: ignore[attr-defined]
    player.reset(seed)
    observation = world.reset(seed)
    imagination.take_in(None, observation)
    done: list[str] = []
    while world.actions() and len(done) < 700:
        if len(done) % every == 0:
            yield world, imagination, observation, done
        action = player.act(observation, world.actions())
        observation = world.step(action).observation
        imagination.take_in(action, observation)
        done.append(action)


@pytest.mark.parametrize(
    ("name", "policy"),
    [("greenhouse:days=60", "expert"), ("greenhouse:days=60", "random"), ("greenhouse:days=25,winters=3", "rules")],
)
def test_an_imagined_world_shows_what_was_shown(name: str, policy: str) -> None:
    other = open_world(name)
    for seed in range(2):
        for world, imagination, observation, _ in season(name, seed, policy, 7):
            drawn = json.loads(json.dumps(imagination.draw(seed)))
            assert other.restore(drawn).data == observation.data
            assert other.actions() == world.actions()


def test_what_is_drawn_depends_on_what_was_shown_alone() -> None:
    """Two greenhouses, of which one has shown nothing yet: fed with the other's observations, it draws the same."""
    stranger = open_world("greenhouse")
    stranger.reset(99)
    told: Imagination = stranger.imagination()  # type: ignore[attr-defined]
    world = open_world("greenhouse")
    told.take_in(None, world.reset(5))
    for _, imagination, observation, done in season("greenhouse", 5, "expert", 1):
        if done:
            told.take_in(done[-1], observation)
        if len(done) == 120:
            assert told.draw(3) == imagination.draw(3)
            assert told.draw(3) != told.draw(4)
            return


def test_the_night_to_come_is_not_the_real_one() -> None:
    """A copy would always meet the real night. An imagined one meets it no more often than chance, and is right on average."""
    errors, same, count = [], 0, 0
    name = "greenhouse:days=40"
    other = open_world(name)
    for seed in range(8):
        for world, imagination, _, done in season(name, seed, "rules", 10):
            real: World = open_world(name)
            real.restore(world.snapshot())
            truth = real.step("wait").observation.data["readings"]["outside_low_c"]
            for number in range(3):
                other.restore(imagination.draw(1000 * len(done) + number))
                drawn = other.step("wait").observation.data["readings"]["outside_low_c"]
                same, count = same + (drawn == truth), count + 1
                errors.append(drawn - truth)
    assert same < 0.15 * count
    assert abs(sum(errors) / len(errors)) < 0.8


def test_an_imagined_season_goes_on_exactly_from_its_snapshot() -> None:
    draw = random.Random(4)
    for _, imagination, _, done in season("greenhouse", 2, "rules", 60):
        first, second = open_world("greenhouse"), open_world("greenhouse")
        first.restore(imagination.draw(len(done)))
        for _ in range(20):
            if not first.actions():
                break
            action = draw.choice(list(first.actions()))
            second.restore(json.loads(json.dumps(first.snapshot())))
            a, b = first.step(action), second.step(action)
            assert a == b
            assert a.observation.data == b.observation.data


@pytest.mark.parametrize("ahead", range(4))
def test_imagined_storms_come_as_often_as_announced(ahead: int) -> None:
    config = Config(days=48)
    announced = [(-3, 0)] * 4
    announced[ahead] = (-3, 30)
    arrived = 0
    for seed in range(500):
        shown = Shown(winter=1, day=40, forecast=tuple(announced), price_cents=120, storm_night=0)
        arrived += imagined_tape(seed, shown, config).nights[40 + ahead].storm_night == 1
    assert 0.24 < arrived / 500 < 0.36


def test_what_the_notes_said_is_kept_and_what_they_did_not_is_drawn() -> None:
    for _, imagination, _, done in season("greenhouse", 3, "expert", 1):
        facts = imagination.draw(1)["imagined"]
        if not done:
            assert (facts["seed_bed"], facts["holiday_start"], facts["loan_due"]) == (None, None, None)
        if len(done) == 30:
            assert None not in (facts["seed_bed"], facts["holiday_start"], facts["loan_due"], facts["outbreak_day"])
            return


def test_reading_an_episode_leaves_the_world_where_it_stands() -> None:
    for world, imagination, _, done in season("greenhouse", 6, "expert", 50):
        before = world.snapshot()
        assert imagine(world, 6, done).draw(2) == imagination.draw(2)
        assert world.snapshot() == before


def test_a_world_without_an_imagination_says_so() -> None:
    household = open_world("household")
    assert not can_imagine(household)
    with pytest.raises(UsageError, match="cannot be imagined"):
        imagine(household, 1, [])


def test_a_world_that_hides_nothing_is_its_own_imagination() -> None:
    state = {"at": 3}
    plain = Plain(lambda: dict(state))
    plain.take_in(None, open_world("greenhouse").reset(1))
    assert plain.draw(1) == plain.draw(2) == {"at": 3}
