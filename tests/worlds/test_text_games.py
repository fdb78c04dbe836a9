"""TextWorldExpress and ScienceWorld behind stand-ins that speak like their Java servers; and the real ones where installed."""

from __future__ import annotations

import gc
import importlib.util
import json
import shutil
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import open_policy, open_world, policy_names, state_key
from overwinter.worlds.gold import GoldPolicy
from overwinter.worlds.scienceworld import ScienceWorld
from overwinter.worlds.text_game import Options, TextGame, parse_options
from overwinter.worlds.textworld_express import TextWorldExpress


class CoinServer:
    """Two rooms and a coin, as TextWorldExpress's server would put it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seed, self.fold, self.east, self.coin = -1, "", False, False

    def load(self, game: str, params: str) -> str:
        self.calls.append(f"load {game} {params}")
        return "" if game == "coin" else f"ERROR: Unknown game ({game})."

    def getSeedsTrain(self) -> list[int]:
        return list(range(1000))

    def getSeedsDev(self) -> list[int]:
        return list(range(10000, 11000))

    def getSeedsTest(self) -> list[int]:
        return list(range(20000, 21000))

    def getTaskDescription(self) -> str:
        self.calls.append("task")
        return "Take the coin."

    def generateNewGameJSON(self, seed: int, fold: str, gold: bool) -> str:
        self.calls.append(f"generate {seed} {fold} {gold}")
        self.seed, self.east, self.coin = seed, False, False
        return self._say("You wake up.")

    def getGoldActionSequence(self) -> list[str]:
        assert self.calls[-1].endswith("True"), "gold paths must be asked for when the game is made"
        return ["move east", "take coin"]

    def stepJSON(self, action: str) -> str:
        if action == "move east":
            self.east = True
        elif action == "take coin":
            self.coin = True
        elif action == "eat lamp":
            return self._say("Ouch.", failure=True)
        return self._say(f"You {action}.")

    def _say(self, observation: str, failure: bool = False) -> str:
        listed = ["look around", "move east", "inventory", "eat lamp"]
        if self.east:
            listed = ["take coin", "look around", "inventory", "look around"]
        said = {
            "observation": observation,
            "look": f"You are in the {'east' if self.east else 'west'}.",
            "inventory": "Inventory:\n  a coin\n" if self.coin else "Inventory: empty\n",
            "validActions": listed,
            "score": 1.0 if self.coin else 0.25 if self.east else 0.0,
            "tasksuccess": self.coin,
            "taskfailure": failure,
        }
        return json.dumps(said)


def coin(**options: Any) -> TextWorldExpress:
    return TextWorldExpress(Options(game="coin", **options), name="textworld-express:coin", server=CoinServer())


class StovesServer:
    """A pot and a stove, as ScienceWorld's server would put it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.hot, self.asked, self.score, self.over, self.stale = False, False, 1.0, True, True

    def getTaskNames(self) -> list[str]:
        return ["boil", "melt"]

    def getPossibleSimplifications(self) -> str:
        return "openDoors, teleportAction"

    def load(self, task: str, variation: int, simplifications: str, gold: bool) -> None:
        self.calls.append(f"load {task} {variation} {simplifications} {gold}")

    def reset(self) -> None:
        """Like the real one, it goes on telling the old score until the next step."""
        self.calls.append("reset")
        self.hot, self.asked, self.stale = False, False, True

    def getVariationsTrain(self) -> list[int]:
        return [0, 1, 2]

    def getVariationsDev(self) -> list[int]:
        return [3, 4]

    def getVariationsTest(self) -> list[int]:
        return [5]

    def freeActionTaskDesc(self) -> str:
        return "Task Description:\nYour task is to boil  water.\n"

    def freeActionLook(self) -> str:
        return f"The stove is {'on' if self.hot else 'off'}."

    def freeActionInventory(self) -> str:
        return "an orange"

    def getValidActionObjectCombinationsJSON(self) -> str:
        self.calls.append("list")
        return json.dumps(
            {"validActions": [{"action": name} for name in ("wait", "activate stove", "wait", "use pot", "mend pot")]}
        )

    def step(self, action: str) -> str:
        self.calls.append(action)
        if self.stale:
            self.score, self.over, self.stale = 0.0, False, False
        if action == "look around":
            return self.freeActionLook()
        if self.asked and action in ("0", "1"):
            self.asked, self.score, self.over = False, 1.0 if action == "0" else -1.0, True
            return "You focus."
        if action in ("activate stove", "turn on stove"):
            self.hot, self.score = True, 0.5
            return "The stove is now on."
        if action == "use pot":
            self.asked = True
            return "Ambiguous request: Please enter the number for the action you intended:\n0:\tuse steel pot\n1:\tuse clay pot\n"
        return "You wait." if action == "wait" else "No known action matches that input."

    def getScore(self) -> float:
        return self.score

    def getCompleted(self) -> bool:
        return self.over

    def getGoldActionSequence(self) -> list[str]:
        return ["turn on stove", "use pot", "0"]


def boil(**options: Any) -> ScienceWorld:
    return ScienceWorld(Options(game="boil", **options), name="scienceworld:boil", server=StovesServer())


@pytest.mark.parametrize("make", [coin, boil])
def test_a_gold_path_earns_the_whole_score_step_by_step(make: Any) -> None:
    world: TextGame = make()
    policy = GoldPolicy(make)
    world.reset(1)
    policy.reset(1)
    rewards, transition = [], None
    while transition is None or not transition.done:
        action = policy.act(world._observe(), world.actions())
        transition = world.step(action)
        rewards.append(transition.reward)
    assert (transition.terminated, transition.truncated, sum(rewards)) == (True, False, 1.0)
    assert (world.outcome().success, world.outcome().score) == (True, 1.0)
    assert world.actions() == ()
    with pytest.raises(UsageError, match="at the start only"):
        world.gold_path()
    with pytest.raises(UsageError, match="gold path is at its end"):
        policy.act(transition.observation, ())


@pytest.mark.parametrize("make", [coin, boil])
def test_the_step_limit_is_not_a_failure_of_the_game(make: Any) -> None:
    world: TextGame = make(steps=2)
    world.reset(0)
    action = "look around" if "look around" in world.actions() else "wait"
    assert not world.step(action).done
    last = world.step(action)
    assert (last.terminated, last.truncated, world.outcome().success) == (False, True, False)
    assert not world.outcome().facts["failure"]
    assert world.actions() == ()
    with pytest.raises(UsageError, match="not a legal action"):
        world.step(action)


def test_a_failure_of_the_game_is_an_end_and_not_a_limit() -> None:
    first = coin()
    first.reset(0)
    second = boil()
    second.reset(0)
    second.step("use pot")
    assert second.actions() == ("0", "1"), "an ambiguous request is answered by a number"
    for last in (first.step("eat lamp"), second.step("1")):
        assert (last.terminated, last.truncated) == (True, False)
    assert (first.outcome().success, second.outcome().success) == (False, False)
    assert second.outcome().score == -1.0


def test_actions_are_listed_once_each_and_in_order() -> None:
    world = coin()
    world.reset(0)
    world.step("move east")
    assert world.actions() == ("inventory", "look around", "take coin")
    assert [world.effect(action) for action in world.actions()] == ["pure", "pure", "keyed"]


def test_scienceworld_lists_its_actions_only_when_asked() -> None:
    world = boil()
    calls = world._server.calls
    world.reset(0)
    world.step("wait")
    assert "list" not in calls
    assert world.actions() == world.actions() == ("activate stove", "mend pot", "use pot", "wait")
    assert calls.count("list") == 1
    world.step("turn on stove")  # understood, not listed
    with pytest.raises(UsageError, match="not a legal action"):
        world.step("dance")
    assert world.outcome().facts["steps"] == 2
    told = world.step("mend pot").observation  # listed, not understood
    assert "No known action" in told.text
    assert world.outcome().facts["steps"] == 3


def test_scienceworld_loads_a_variation_once() -> None:
    world = boil(split="dev", rest=(("simplifications", "openDoors+teleportAction"),))
    for seed in (0, 0, 2, 1):
        world.reset(seed)
    world.gold_path()
    loads = [call for call in world._server.calls if call.startswith("load")]
    assert [call.split()[2:] for call in loads[1:]] == [
        ["3", "openDoors,teleportAction", "False"],
        ["4", "openDoors,teleportAction", "False"],
        ["4", "openDoors,teleportAction", "True"],
    ]


def test_splits_share_no_seed() -> None:
    played = {}
    for split in ("train", "dev", "test"):
        world = coin(split=split)
        for seed in (0, 999, 1000):
            world.reset(seed)
        made = [call for call in world._server.calls if call.startswith("generate")]
        assert all(f" {split} " in call for call in made)
        assert made[2] == made[0], "the list starts again"
        played[split] = {int(call.split()[1]) for call in made}
    assert not played["train"] & played["dev"]
    assert not played["dev"] & played["test"]


def test_the_task_is_asked_for_once_an_episode() -> None:
    world = coin()
    world.reset(0)
    for action in ("look around", "move east", "look around"):
        assert "Task: Take the coin." in world.step(action).observation.text
    assert world._server.calls.count("task") == 1


@pytest.mark.parametrize("make", [coin, boil])
def test_keys_know_states_and_not_answers(make: Any) -> None:
    world: TextGame = make()
    with pytest.raises(UsageError, match="not been started"):
        state_key(world)
    world.reset(0)
    start = state_key(world)
    idle, moving = ("look around", "move east") if make is coin else ("wait", "activate stove")
    world.step(idle)
    assert state_key(world) == start
    world.step(moving)
    moved = state_key(world)
    assert moved != start
    world.reset(1)
    assert state_key(world) not in (start, moved), "another seed is another state"
    if make is boil:
        world.step("use pot")
        asked = state_key(world)
        world.reset(1)
        assert asked != state_key(world), "a question is part of the state"


@pytest.mark.parametrize("make", [coin, boil])
def test_snapshots_replay(make: Any) -> None:
    world, twin = make(), make()
    world.reset(2)
    for action in ("look around", "move east") if make is coin else ("wait", "activate stove"):
        last = world.step(action).observation
    kept = json.loads(json.dumps(world.snapshot()))
    assert twin.restore(kept) == last
    assert (twin.actions(), state_key(twin), twin.outcome()) == (world.actions(), state_key(world), world.outcome())
    with pytest.raises(UsageError, match="this snapshot is of"):
        twin.restore({**kept, "world": "textworld-express:twc"})


def test_names_are_read_and_wrong_ones_refused() -> None:
    read = parse_options("textworld-express", "coin,split=dev,numLocations=11,steps=30")
    assert read == Options(game="coin", split="dev", steps=30, rest=(("numLocations", "11"),))
    for wrong in ("coin,split=valid", "coin,steps=0", "coin,steps=x", "coin,fast", "coin,a=1,a=2", "coin,=3"):
        with pytest.raises(UsageError, match="is not an option"):
            parse_options("textworld-express", wrong)
    with pytest.raises(UsageError, match="'colour=red' is not an option"):
        parse_options("scienceworld", "boil,colour=red", ("simplifications",))
    with pytest.raises(UsageError, match="refuses"):
        TextWorldExpress(Options(game="chess"), name="textworld-express:chess", server=CoinServer())
    with pytest.raises(UsageError, match="choose one of boil, melt"):
        ScienceWorld(Options(game="bake"), name="scienceworld:bake", server=StovesServer())
    with pytest.raises(UsageError, match="no simplification 'lazy'"):
        boil(rest=(("simplifications", "lazy"),))
    assert policy_names("textworld-express:coin") == policy_names("isolated:scienceworld:boil") == ("random", "gold")
    assert open_policy("textworld-express:coin", "gold").name == "gold"


def test_worlds_share_one_java_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[weakref.ref[Package]] = []

    class Package:
        """The package's environment: starts Java, and has a server object that can make others."""

        def __init__(self) -> None:
            started.append(weakref.ref(self))
            self.server = SimpleNamespace(getClass=lambda: SimpleNamespace(newInstance=CoinServer))

    monkeypatch.setitem(sys.modules, "textworld_express", SimpleNamespace(TextWorldExpressEnv=Package))
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    one, other = (open_world("textworld-express:coin") for _ in range(2))
    one.reset(0)
    other.reset(0)
    one.step("move east")
    assert one.actions() != other.actions()
    assert len(started) == 1
    del one
    assert started[0]() is not None
    other.reset(1)
    del other
    gc.collect()
    assert started[0]() is None
    open_world("textworld-express:coin")
    assert len(started) == 2


def test_a_missing_package_or_java_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("textworld_express", "textworld-express:coin"), ("scienceworld", "scienceworld:boil")):
        if importlib.util.find_spec(module) is None:
            extra = name.partition(":")[0]
            with pytest.raises(UsageError, match=rf"overwinter\[{extra}\]"):
                open_world(name)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "which", lambda program: None)
            patch.setattr("importlib.import_module", lambda wanted: object())
            with pytest.raises(UsageError, match="no java on the PATH"):
                open_world(name)


@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java on the PATH")
@pytest.mark.parametrize("name", ["textworld-express:coin,numLocations=4", "scienceworld:find-animal"])
def test_the_real_games_are_played_to_the_end(name: str) -> None:
    pytest.importorskip(name.partition(":")[0].replace("-", "_"), reason="the game is not installed")
    world = open_world(name)
    policy = open_policy(name, "gold")
    world.reset(3)
    policy.reset(3)
    done = False
    while not done:
        done = world.step(policy.act(world._observe(), ())).done  # type: ignore[attr-defined]
    assert world.outcome().success
    key = state_key(world)
    world.restore(world.snapshot())
    assert state_key(world) == key
