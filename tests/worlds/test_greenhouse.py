"""The greenhouse keeps its promises: deterministic, restorable, honest in what it shows, legal in what it lists."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.worlds import World, open_policy, open_world
from overwinter.worlds.greenhouse import Config, Greenhouse
from overwinter.worlds.greenhouse.actions import ALL_ACTIONS, LOOKS
from overwinter.worlds.greenhouse.config import HEAT_LEVELS_C
from overwinter.worlds.greenhouse.night import target_c
from overwinter.worlds.greenhouse.state import Sensor
from overwinter.worlds.greenhouse.view import render
from overwinter.worlds.greenhouse.weather import LEADS, STORM_LASTS, make_tape
from overwinter.worlds.rng import Stream

SHORT = Config(days=24)


def play(world: Greenhouse, seed: int, picks: list[int]) -> list[dict[str, Any]]:
    """Takes the listed action at each pick (modulo their number); returns the data of every observation."""
    seen = [world.reset(seed).data]
    for pick in picks:
        legal = world.actions()
        if not legal:
            break
        seen.append(world.step(legal[pick % len(legal)]).observation.data)
    return seen


picks = st.lists(st.integers(0, 10**6), max_size=70)
seeds = st.integers(0, 2**40)


@given(seeds, picks)
@settings(max_examples=40, deadline=None)
def test_same_seed_and_actions_give_the_same_game(seed: int, chosen: list[int]) -> None:
    assert play(Greenhouse(SHORT), seed, chosen) == play(Greenhouse(SHORT), seed, chosen)


@given(seeds, picks, picks)
@settings(max_examples=40, deadline=None)
def test_a_snapshot_restores_bit_for_bit_through_json(seed: int, before: list[int], after: list[int]) -> None:
    config = Config(days=20, winters=2)
    world, twin = Greenhouse(config), Greenhouse(config)
    play(world, seed, before)
    saved = world.snapshot()
    wire = json.dumps(saved)
    assert len(wire) < 4096
    restored = twin.restore(json.loads(wire))
    assert twin.snapshot() == saved
    assert twin.actions() == world.actions()
    for pick in after:
        legal = world.actions()
        if not legal:
            break
        assert twin.step(legal[pick % len(legal)]) == world.step(legal[pick % len(legal)])
    assert twin.snapshot() == world.snapshot()
    assert twin.outcome() == world.outcome()
    assert json.loads(wire) == saved, "playing on must not change a snapshot taken before"
    assert restored.text.startswith("Winter ")


@given(seeds, picks)
@settings(max_examples=30, deadline=None)
def test_listed_actions_are_legal_and_all_others_are_refused_without_a_trace(seed: int, chosen: list[int]) -> None:
    world = Greenhouse(SHORT)
    play(world, seed, chosen)
    before, legal = world.snapshot(), world.actions()
    assert len(legal) == len(set(legal)) <= 40
    for action in {*ALL_ACTIONS, "", "sing", "order fuel 900"} - set(legal):
        with pytest.raises(UsageError, match="not a legal action"):
            world.step(action)
    assert world.snapshot() == before
    for action in legal:
        world.restore(before)
        world.step(action)


@given(seeds, picks)
@settings(max_examples=20, deadline=None)
def test_looks_change_nothing_and_everything_else_does(seed: int, chosen: list[int]) -> None:
    world = Greenhouse(SHORT)
    play(world, seed, chosen)
    before = world.snapshot()
    for action in world.actions():
        world.restore(before)
        world.step(action)
        assert (world.effect(action) == "pure") == (action in LOOKS) == (world.snapshot() == before)


def test_weather_forecasts_and_prices_do_not_depend_on_the_actions() -> None:
    def mornings(pick: int) -> list[Any]:
        world = Greenhouse(SHORT)
        data = world.reset(5).data
        seen = {}
        step = 0
        while not data["over"]:
            r = data["readings"]
            weather = (data["forecast"], data["price_eur"], data["storm_night"], r["outside_low_c"], data["supplier"])
            seen[data["day"]] = weather
            legal = [a for a in world.actions() if a not in LOOKS]
            data = world.step(legal[(pick * step) % len(legal)]).observation.data
            step += 1
        return sorted(seen.items())

    assert mornings(0) == mornings(1) == mornings(7)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 7 if isinstance(value, int | float) else value + "x"


@pytest.mark.parametrize("look", [None, *LOOKS])
def test_text_and_data_say_the_same(look: str | None) -> None:
    """The text is a function of the data alone, and no fact of the data can change without the text changing."""
    world = Greenhouse(SHORT)
    world.reset(3)
    for action in ("order fuel 100", "inspect south bed", "wait", "wait"):
        observation = world.step(action).observation
    if look:
        observation = world.step(look).observation
    assert render(json.loads(json.dumps(observation.data))) == observation.text
    hidden = []
    for path in leaves(observation.data):
        if path[-1] == "kind":
            continue  # picks the sentence; the sentence says it
        data = copy.deepcopy(observation.data)
        place = data
        for key in path[:-1]:
            place = place[key]
        if place[path[-1]] is None:
            continue
        place[path[-1]] = changed(place[path[-1]])
        if render(data) == observation.text:
            hidden.append(path)
    assert hidden == []


def test_what_the_player_may_not_know_is_in_no_observation() -> None:
    world = Greenhouse(SHORT)
    world.reset(11)
    text = ""
    while world.actions():
        text += world.step("wait").observation.text
    for word in ("stress", "vigour", "bias", "drift", "stuck"):
        assert word not in text


def test_a_mutated_observation_does_not_reach_the_world() -> None:
    world = Greenhouse(SHORT)
    world.reset(1)
    data = world.step("inspect north bed").observation.data
    before = copy.deepcopy(world.snapshot())
    data["answer"]["aphids"] = 99
    data["forecast"].clear()
    data["readings"].clear()
    assert world.snapshot() == before


def test_golden_game() -> None:
    """Another hash means other rules: raise SNAPSHOT_VERSION, measure the baselines again, then renew it."""
    world = Greenhouse(Config(winters=2))
    draw = Stream(7)
    world.reset(2026)
    digest = hashlib.sha256()
    while world.actions():
        legal = world.actions()
        digest.update(world.step(legal[draw.below(len(legal))]).observation.text.encode())
        digest.update(json.dumps(world.snapshot(), sort_keys=True).encode())
    assert digest.hexdigest()[:16] == "e891b1970d3c2315"


def test_storm_forecasts_are_calibrated_at_every_lead() -> None:
    config = Config()
    said = [[0.0, 0.0, 0.0] for _ in range(LEADS)]  # nights, announced, arrived; for the chances of 25 % and more
    total = [[0.0, 0.0, 0.0] for _ in range(LEADS)]
    blown, lasted, hazard = 0, 0, 0.0
    for seed in range(150):
        nights = make_tape(seed, 1, config).nights
        for day in range(1, config.days - LEADS):
            for lead in range(LEADS):
                arrives = nights[day + lead].storm_night == 1
                chance = nights[day].forecast[lead][1] / 100
                for table in (total, said) if chance >= 0.25 else (total,):
                    table[lead][0] += 1
                    table[lead][1] += chance
                    table[lead][2] += arrives
            if nights[day].storm_night and nights[day + 1].storm_night != 1:
                blown += 1
                hazard += STORM_LASTS[nights[day].storm_night]
                lasted += nights[day + 1].storm_night > 1
    for lead in range(LEADS):
        count, announced, arrived = total[lead]
        assert arrived == pytest.approx(announced, abs=4 * (announced * 0.92) ** 0.5), f"lead {lead}, all nights"
        assert count == 150 * (config.days - LEADS - 1)
        count, announced, arrived = said[lead]
        assert count > 300
        assert arrived == pytest.approx(announced, abs=4 * (announced * 0.6) ** 0.5), f"lead {lead}, likely storms"
    assert lasted == pytest.approx(hazard, abs=4 * (hazard * 0.5) ** 0.5)
    assert blown > 1000


def test_fuel_arrives_late_in_storms_and_never_in_the_holidays() -> None:
    config = Config()
    world = Greenhouse(config)
    for seed in range(12):
        data = world.reset(seed).data
        holiday = None
        ordered_day, morning = None, 0
        while not data["over"]:
            for item in data["news"] if data["day"] != morning else ():
                if item["kind"] == "note_holiday":
                    holiday = range(item["first_day"], item["last_day"] + 1)
                if item["kind"] == "delivered" and ordered_day is not None:
                    assert data["day"] - ordered_day >= config.lead_days
                    assert holiday is None or data["day"] - 1 not in holiday
                    ordered_day = None
            if holiday is not None:
                open_now = data["day"] not in holiday
                assert (data["supplier"] == "open") == open_now
                assert open_now or not any(world.consequential(a) for a in world.actions())
            action, morning = "wait", data["day"]
            if not data["orders"] and ordered_day is None and "order fuel 100" in world.actions():
                action, ordered_day = "order fuel 100", data["day"]
            data = world.step(action).observation.data


def test_dusting_in_the_noted_days_stops_the_mouldy_seed_and_earlier_dusting_does_not() -> None:
    def mould_stopped(offset: int) -> bool:
        world = Greenhouse(Config())
        data = world.reset(21).data
        note = None
        while not data["over"]:
            note = next((item for item in data["news"] if item["kind"] == "note_seed"), note)
            dust = note is not None and data["day"] == note["dust_from"] + offset
            data = world.step(f"treat {note['bed']} bed for mould" if dust and note else "wait").observation.data
            if dust and data["slots"]:
                data = world.step("wait").observation.data
        return bool(world.outcome().facts["winters"][0]["seed_mould_stopped"])

    assert mould_stopped(0)
    assert mould_stopped(10)
    assert not mould_stopped(-1)
    assert not mould_stopped(11)


def test_the_loan_costs_a_fee_after_its_day_and_not_before() -> None:
    world = Greenhouse(Config())
    data = world.reset(4).data
    due, owed = None, {}
    while not data["over"]:
        due = next((item["due_day"] for item in data["news"] if item["kind"] == "note_loan"), due)
        owed[data["day"]] = data["owed_eur"]
        data = world.step("wait").observation.data
    assert due is not None
    assert owed[due] == world.config.loan_eur
    assert owed[due + 1] == world.config.loan_eur + world.config.late_fee_eur


def test_aphids_are_cheap_early_and_ruinous_late() -> None:
    def left_after_treatment(aphids: float) -> float:
        world = Greenhouse(SHORT)
        world.reset(0)
        saved = world.snapshot()
        saved["state"]["beds"][0]["aphids"] = aphids
        world.restore(saved)
        world.step("treat north bed for aphids")
        return float(world.snapshot()["state"]["beds"][0]["aphids"]) / aphids

    assert left_after_treatment(2.0) < 0.06
    assert left_after_treatment(100.0) > 0.3


@pytest.mark.parametrize("heat_c", HEAT_LEVELS_C[1:])
def test_faulty_sensors_mislead_the_thermostat(heat_c: int) -> None:
    sound, warm = Sensor(), Sensor(fault="bias", size_c=3.0, error_c=3.0)
    stuck_low, stuck_high = Sensor(fault="stuck", size_c=-5.0), Sensor(fault="stuck", size_c=15.0)
    assert target_c([sound, sound], "both", heat_c) == heat_c
    assert target_c([warm, sound], "both", heat_c) == heat_c - 1.5
    assert target_c([warm, sound], "east", heat_c) == heat_c - 3.0
    assert target_c([warm, sound], "west", heat_c) == heat_c
    assert target_c([stuck_low, sound], "east", heat_c) == 99.0
    assert target_c([stuck_high, sound], "east", heat_c) == -99.0
    assert target_c([stuck_high, sound], "both", heat_c) == 2 * heat_c - 15.0


def test_winters_follow_each_other_and_carry_over_what_lasts() -> None:
    world = Greenhouse(Config(days=24, winters=3))
    policy = open_policy("greenhouse:days=24,winters=3", "rules")
    observation = world.reset(8)
    policy.reset(8)
    rewards, done, winters = 0.0, False, set()
    while not done:
        transition = world.step(policy.act(observation, world.actions()))
        observation, done = transition.observation, transition.done
        rewards += transition.reward
        winters.add(observation.data["winter"])
    outcome = world.outcome()
    assert winters == {1, 2, 3}
    assert [w["winter"] for w in outcome.facts["winters"]] == [1, 2, 3]
    assert outcome.success is not None
    assert rewards == pytest.approx(outcome.score / 100, abs=1e-3)
    assert world.actions() == ()
    with pytest.raises(UsageError):
        world.step("wait")


def test_an_open_game_has_a_score_and_no_verdict() -> None:
    world = Greenhouse(SHORT)
    world.reset(0)
    assert world.outcome().success is None
    assert world.outcome().score > 0


def test_orders_are_the_consequential_actions() -> None:
    world = Greenhouse()
    assert [a for a in ALL_ACTIONS if world.consequential(a)] == ["order fuel 100", "order fuel 200", "order fuel 400"]
    assert {world.effect(a) for a in ALL_ACTIONS if world.consequential(a)} == {"keyed"}
    with pytest.raises(UsageError):
        world.effect("sell the house")


def test_a_snapshot_of_other_rules_is_refused() -> None:
    world, other = Greenhouse(SHORT), Greenhouse()
    world.reset(0)
    with pytest.raises(UsageError, match="other rules"):
        other.restore(world.snapshot())
    with pytest.raises(UsageError, match="has not been started"):
        Greenhouse().actions()


def test_it_is_a_world() -> None:
    assert isinstance(open_world("greenhouse"), World)
