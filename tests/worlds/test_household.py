"""The household: generated from seeds, two forms of its rules, honest observations, splits that share nothing."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import open_policy, open_world, state_key
from overwinter.worlds.household import Config, Game, Household, Rules, State, facts, make_game, rules, words
from overwinter.worlds.household.home import PLANS_PER_ROOM, floor_plan, is_unseen
from overwinter.worlds.household.plan import gold_codes
from overwinter.worlds.household.policies import parse_task, shown_contents
from overwinter.worlds.household.tables import FAMILIES, FAMILY_ROOMS, OBJECTS, RECEPTACLES, ROOMS
from overwinter.worlds.rng import Stream

SEEDS = range(24)


def walk(world: Household, seed: int, steps: int) -> None:
    """Random steps in a fresh episode, each verb as likely as any other, so that rare ones come up."""
    draw = Stream(9, seed)
    world.reset(seed)
    for _ in range(steps):
        actions = world.actions()
        if not actions:
            return
        verbs = sorted({action.partition(" ")[0] for action in actions})
        verb = verbs[draw.below(len(verbs))]
        same = [action for action in actions if action.startswith(verb)]
        world.step(same[draw.below(len(same))])


@pytest.mark.parametrize(
    "name",
    ["household", "household:split=seen", "household:split=unseen,family=heat", "household:family=two,steps=20"],
)
def test_a_name_opens_the_household_that_carries_it(name: str) -> None:
    assert open_world(name).name == name


@pytest.mark.parametrize(
    "options",
    ["", "split=", "split=test", "family=cook", "steps=0", "steps=many", "room=kitchen", "split=seen,split=seen", "x"],
)
def test_unknown_options_are_refused(options: str) -> None:
    with pytest.raises(UsageError):
        open_world(f"household:{options}")


def test_the_two_forms_of_the_rules_agree_in_every_state() -> None:
    seen: set[str] = set()
    for seed in range(60):
        family = FAMILIES[seed % len(FAMILIES)]
        game = make_game(Config(family=family), seed)
        laws, draw = Rules(game), Stream(5, seed)
        state, plain = laws.start(), facts.start(game)
        for _ in range(60):
            codes, commands = laws.legal(state), facts.legal(game, plain)
            named = {words.command(game, code): code for code in codes}
            assert len(named) == len(codes)
            assert named.keys() == commands.keys()
            verbs = sorted({code >> 16 for code in codes})
            verb = verbs[draw.below(len(verbs))]
            choices = sorted(name for name, code in named.items() if code >> 16 == verb)
            chosen = choices[draw.below(len(choices))]
            if draw.coin(0.3) and not laws.solved(state):  # or chance would hardly ever cool anything
                chosen = words.command(game, gold_codes(laws, state)[0])
            seen.add(chosen.partition(" ")[0])
            laws.apply(state, named[chosen])
            plain = facts.after(game, plain, chosen)
            assert facts.of_state(laws, state) == plain, chosen
            assert laws.solved(state) == facts.solved(game, plain)
    verbs_of_the_protocol = "look inventory help go open close examine take move use heat cool clean slice"
    assert seen == set(verbs_of_the_protocol.split())


def test_gold_paths_solve_every_family_on_every_split_in_few_steps() -> None:
    for split in ("train", "seen", "unseen"):
        for family in FAMILIES:
            world = Household(Config(split=split, family=family))
            for seed in range(6):
                world.reset(seed)
                assert world.game.family == family
                path = world.gold_path()
                assert 2 <= len(path) <= 14
                for action in path:
                    assert not world.outcome().facts["truncated"]
                    transition = world.step(action)
                assert (transition.reward, transition.terminated, transition.truncated) == (1.0, True, False)
                assert world.actions() == ()
                assert world.gold_path() == []
                assert world.outcome().success


def test_a_gold_path_leads_on_from_any_state() -> None:
    for seed in SEEDS:
        world = Household(Config(family=FAMILIES[seed % len(FAMILIES)], steps=100))
        walk(world, seed, 30)
        path = world.gold_path()
        for action in path:
            world.step(action)
        assert world.outcome().success


def test_a_gold_path_is_as_short_as_breadth_first_search_finds() -> None:
    """On a home small enough to search: a few receptacles of an ordinary one."""
    game = small_home("heat", "mug", "cabinet")
    laws = Rules(game)
    start = laws.start()
    depth, frontier, known = 0, [start], {start.key()}
    while not any(laws.solved(state) for state in frontier):
        depth += 1
        following = []
        for state in frontier:
            for code in laws.legal(state):
                after = state.copy()
                laws.apply(after, code)
                if after.key() not in known:
                    known.add(after.key())
                    following.append(after)
        frontier = following
    assert len(gold_codes(laws, start)) == depth == 7


def small_home(family: str, target: str, destination: str) -> Game:
    places = ("cabinet", "countertop", "microwave", "fridge")
    return Game(
        room="kitchen",
        plan=1,
        family=family,
        target=target,
        destination=destination,
        receptacles=tuple(f"{kind} 1" for kind in places),
        receptacle_kinds=places,
        objects=("knife 1", "mug 1", "mug 2", "tomato 1"),
        object_kinds=("knife", "mug", "mug", "tomato"),
        start=(1, 3, 1, 3),
    )


def test_the_wording_is_the_protocols() -> None:
    world = Household()
    world._begin(0, small_home("heat", "mug", "cabinet"))
    said = {}
    for action in (
        "look",
        "go to countertop 1",
        "look",
        "take knife 1 from countertop 1",
        "go to fridge 1",
        "slice tomato 1 with knife 1",
        "open fridge 1",
        "go to countertop 1",
        "move knife 1 to countertop 1",
        "inventory",
        "take mug 2 from countertop 1",
        "inventory",
        "examine mug 2",
        "go to microwave 1",
        "heat mug 2 with microwave 1",
        "examine mug 2",
        "go to fridge 1",
        "cool mug 2 with fridge 1",
        "examine mug 2",
        "close fridge 1",
        "examine fridge 1",
    ):
        said[action] = world.step(action).observation.data["feedback"]
    assert said["go to countertop 1"] == "You arrive at countertop 1. On the countertop 1, you see a mug 2."
    assert said["look"] == "You are facing the countertop 1. Next to it, you see nothing."
    assert said["slice tomato 1 with knife 1"] == "You sliced the tomato 1 with the knife 1."
    assert (
        said["open fridge 1"] == "You open the fridge 1. The fridge 1 is open. In it, you see a mug 1, and a tomato 1."
    )
    assert said["inventory"] == "You are carrying: a mug 2."
    assert said["examine mug 2"] == "This is a cold mug 2."
    assert said["examine fridge 1"] == "The fridge 1 is closed."
    assert words.task(world.game) == "put a hot mug in cabinet"
    assert not world._state.hot, "cooling takes the heat away"
    assert "move mug 2 to fridge 1" not in world.actions(), "the fridge is closed"
    assert "cool mug 2 with fridge 1" in world.actions(), "and cools all the same"


def test_two_things_must_lie_in_one_receptacle() -> None:
    laws = Rules(small_home("two", "mug", "cabinet"))
    state = laws.start()
    state.inside = [[1], [0], [], [2, 3]]
    assert not laws.solved(state)
    state.inside = [[1, 2], [0], [], [3]]
    assert laws.solved(state)


def test_the_step_limit_truncates_and_the_goal_terminates_even_on_the_last_step() -> None:
    world = Household(Config(family="pick", steps=3))
    world.reset(1)
    endings = [world.step("look") for _ in range(3)]
    assert [(t.terminated, t.truncated) for t in endings] == [(False, False), (False, False), (False, True)]
    assert world.actions() == ()
    assert (world.outcome().success, world.outcome().score) == (False, 0.0)
    world.reset(1)
    exact = Household(Config(family="pick", steps=len(world.gold_path())))
    exact.reset(1)
    for action in exact.gold_path():
        transition = exact.step(action)
    assert (transition.terminated, transition.truncated) == (True, False)


def test_snapshots_are_json_and_go_on_bit_for_bit() -> None:
    for seed in range(8):
        world, twin = open_world("household"), open_world("household")
        assert isinstance(world, Household)
        walk(world, seed, 15)
        kept = json.loads(json.dumps(world.snapshot()))
        shown = twin.restore(kept)
        assert twin.snapshot() == kept
        assert (twin.actions(), state_key(twin)) == (world.actions(), state_key(world))
        assert twin.restore(kept) == shown
        for action in world.gold_path():
            assert twin.step(action) == world.step(action)
        assert json.loads(json.dumps(kept)) == kept, "going on does not reach into a snapshot"
        with pytest.raises(UsageError, match="this snapshot is of"):
            open_world("household:split=unseen").restore(kept)
        with pytest.raises(UsageError, match="another home"):
            twin.restore({**kept, "game": "0" * 16})


def test_the_key_covers_the_facts_and_nothing_else() -> None:
    world = Household()
    world.reset(4)
    start, place = state_key(world), world.game.receptacles[0]
    for action in ("look", "inventory", "help"):
        world.step(action)
        assert state_key(world) == start
    keys = {start}
    for action in world.gold_path():
        world.step(action)
        keys.add(state_key(world))
    assert len(keys) == world._steps - 3 + 1, "every step of a gold path changes the state"
    world.reset(5)
    assert state_key(world) not in keys
    world.reset(4)
    world.step(f"go to {place}")
    assert state_key(world) != start


def test_every_field_of_the_state_is_in_its_key() -> None:
    state = State(0, 1, [[2], [3]])
    for field in ("at", "held", "opened", "clean", "hot", "cool", "toggled", "sliced"):
        assert replace(state, **{field: 5}).key() != state.key()
    assert replace(state, inside=[[3], [2]]).key() != state.key()
    assert state.copy().key() == state.key()


def test_no_unseen_floor_plan_looks_like_a_seen_one_and_no_split_shares_a_task() -> None:
    for room in ROOMS:
        plans = [floor_plan(room, number) for number in range(1, PLANS_PER_ROOM + 1)]
        unseen = {plan.receptacles for plan in plans if is_unseen(plan.number)}
        assert len(unseen) == 6
        assert not unseen & {plan.receptacles for plan in plans if not is_unseen(plan.number)}
        assert len({plan.receptacles for plan in plans}) > 24, "plans differ"
    games = {
        split: [make_game(Config(split=split), seed) for seed in range(150)] for split in ("train", "seen", "unseen")
    }
    assert all(is_unseen(game.plan) == (split == "unseen") for split, many in games.items() for game in many)
    digests = {split: {game.digest() for game in many} for split, many in games.items()}
    assert len(digests["train"] | digests["seen"] | digests["unseen"]) == 450
    for many in games.values():
        assert {game.family for game in many} == set(FAMILIES)
        assert {game.room for game in many} == set(ROOMS)
    assert all(game.room in FAMILY_ROOMS[game.family] for many in games.values() for game in many)


def test_tasks_are_open_at_the_start_and_things_lie_where_they_fit() -> None:
    for seed in range(60):
        game = make_game(Config(), seed)
        laws = Rules(game)
        assert not laws.solved(laws.start())
        for thing, place in enumerate(game.start):
            assert game.receptacle_kinds[place] in OBJECTS[game.object_kinds[thing]].fits
        if game.family != "light":
            assert game.destination in OBJECTS[game.target].fits


def test_the_tables_name_only_what_exists() -> None:
    everywhere = {kind for room in RECEPTACLES.values() for kind in room}
    assert all(set(kind.fits) <= everywhere and set(kind.rooms) <= set(ROOMS) for kind in OBJECTS.values())


def test_games_never_change() -> None:
    """Golden: a change of the generator or its tables makes old seeds other games, and must be meant."""
    digests = [make_game(Config(split=s), seed).digest() for s in ("train", "seen", "unseen") for seed in range(20)]
    assert hashlib.blake2b(" ".join(digests).encode(), digest_size=8).hexdigest() == "1eccab0ce1ccde94"


def test_players_are_clearly_ordered_on_unseen_homes() -> None:
    name = "household:split=unseen"
    world = open_world(name)
    success, steps = {}, {}
    for player in ("random", "rules", "searcher", "expert"):
        policy = open_policy(name, player)
        assert policy.name == player
        success[player] = steps[player] = 0
        for seed in range(40):
            observation, done = world.reset(seed), False
            policy.reset(seed)
            while not done:
                transition = world.step(policy.act(observation, world.actions()))
                observation, done = transition.observation, transition.done
                steps[player] += 1
            success[player] += bool(world.outcome().success)
    assert success["random"] <= 2
    assert success["rules"] >= 30
    assert success["searcher"] == success["expert"] == 40
    assert steps["expert"] < 0.7 * steps["searcher"] < 0.7 * 0.8 * steps["rules"]


def test_observations_say_in_words_what_they_say_in_data() -> None:
    world = Household()
    observation = world.reset(2)
    assert all(name in observation.text for name in world.game.receptacles)
    assert not any(name in observation.text for name in world.game.objects), "what lies in closed places is hidden"
    for action in world.gold_path():
        observation = world.step(action).observation
        data = observation.data
        assert data["feedback"] in observation.text
        assert data["task"] in observation.text
        assert (data["carrying"] or "carry nothing") in observation.text
        assert (data["at"] or "middle") in observation.text


def test_what_players_read_is_what_the_words_say() -> None:
    for family in FAMILIES:
        game = make_game(Config(family=family), 3)
        read = parse_task(words.task(game))
        assert (read.family, read.target, read.destination) == (family, game.target, game.destination)
    assert shown_contents("You open the safe 1. The safe 1 is open. In it, you see a cd 1, and a watch 12.") == [
        "cd 1",
        "watch 12",
    ]
    assert shown_contents("On the desk 1, you see nothing.") == []
    assert shown_contents("The fridge 1 is closed.") is None


def test_illegal_actions_are_refused_and_change_nothing() -> None:
    world = Household()
    with pytest.raises(UsageError, match="not been started"):
        world.actions()
    world.reset(0)
    before = world.snapshot()
    for action in ("take nothing from nowhere", "inventory ", "open fridge 99"):
        with pytest.raises(UsageError, match="not a legal action"):
            world.step(action)
        with pytest.raises(UsageError):
            world.effect(action)
    with pytest.raises(UsageError, match="not legal"):
        world.step_code(rules.code(rules.TAKE, 0, 0))
    assert world.snapshot() == before
    assert (world.effect("look"), world.effect(world.actions()[3])) == ("pure", "keyed")


def test_steps_by_code_are_steps_in_words() -> None:
    spoken, coded = Household(), Household()
    for world in (spoken, coded):
        world.reset(6)
    draw = Stream(2)
    while spoken.actions():
        pick = draw.below(len(spoken.actions()))
        transition = spoken.step(spoken.actions()[pick])
        assert coded.step_code(coded.codes()[pick]) == (transition.reward, transition.terminated, transition.truncated)
        assert state_key(coded) == state_key(spoken)


def test_the_example_of_its_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "household.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "docs/household.md", "exec"), {})
    assert "Task: put a hot" in capsys.readouterr().out
