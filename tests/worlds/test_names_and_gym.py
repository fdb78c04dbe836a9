"""Worlds by name, Gymnasium both ways, MiniGrid."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import open_policy, open_world, policy_names
from overwinter.worlds.gym import EnvWorld, WorldEnv, open_gym
from overwinter.worlds.minigrid_policy import parse_mission


@pytest.mark.parametrize("name", ["greenhouse", "greenhouse:winters=3", "greenhouse:days=30,winters=2"])
def test_a_name_opens_the_world_that_carries_it(name: str) -> None:
    assert open_world(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "house",
        "greenhouse:",
        "greenhouse:months=3",
        "greenhouse:days",
        "greenhouse:days=3",
        "greenhouse:days=-30",
        "greenhouse:days=30,days=40",
        "greenhouse:winters=0",
        "minigrid:",
        "minigrid:Nothing-v0",
        "minigrid:CartPole-v1",
        "gym:Nothing-v0",
    ],
)
def test_unknown_names_and_options_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        open_world(name)


def test_policies_by_name() -> None:
    assert policy_names("greenhouse:days=30") == ("random", "rules", "expert")
    for world in ("greenhouse", "minigrid:BabyAI-GoToLocal-v0"):
        for player in policy_names(world):
            assert open_policy(world, player).name == player
    with pytest.raises(UsageError, match="no policy called"):
        open_policy("greenhouse", "oracle")
    with pytest.raises(UsageError):
        policy_names("house")


def test_the_package_and_the_greenhouse_need_no_optional_package() -> None:
    code = (
        "import sys; from overwinter.worlds import open_world; import overwinter.worlds.gym; open_world('greenhouse');"
        "print([m for m in ('numpy', 'gymnasium', 'minigrid') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env())
    assert ran.stdout.strip() == "[]"


def _env() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_gymnasium(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "gymnasium":
            raise ModuleNotFoundError(f"No module named {name!r}", name="gymnasium")
        return real(name, *args, **kwargs)

    for module in [m for m in sys.modules if m.split(".")[0] == "gymnasium"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without_gymnasium)
    monkeypatch.setattr("importlib.import_module", without_gymnasium)
    with pytest.raises(UsageError, match=r"pip install 'overwinter\[worlds\]'"):
        open_gym("Taxi-v3")


@pytest.mark.filterwarnings("ignore")
def test_the_greenhouse_passes_gymnasiums_own_check() -> None:
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    check_env(WorldEnv(open_world("greenhouse:days=20")), skip_render_check=True)


def test_a_world_as_an_env_masks_illegal_actions() -> None:
    pytest.importorskip("gymnasium")
    world = open_world("greenhouse:days=20")
    env = WorldEnv(world)
    text, info = env.reset(seed=3)
    assert text == open_world("greenhouse:days=20").reset(3).text
    assert [a for a, legal in zip(info["actions"], info["action_mask"], strict=True) if legal]
    illegal = info["actions"].index("repay the neighbour")
    assert not info["action_mask"][illegal]
    before = world.snapshot()
    again, reward, terminated, _, info = env.step(illegal)
    assert (again, reward, terminated, info["illegal"]) == (text, -0.01, False, True)
    assert world.snapshot() == before
    wait = info["actions"].index("wait")
    while not terminated:
        text, reward, terminated, truncated, info = env.step(wait)
        assert not truncated
    assert reward == pytest.approx(world.outcome().score / 100)
    assert not info["action_mask"].any()


def test_an_env_as_a_world_replays_to_its_snapshot() -> None:
    pytest.importorskip("gymnasium")
    world, twin = open_world("gym:CartPole-v1"), open_world("gym:CartPole-v1")
    world.reset(5)
    for i in range(6):
        world.step(world.actions()[i % 2])
    twin.restore(world.snapshot())
    assert twin.step("action 1") == world.step("action 1")
    with pytest.raises(UsageError, match="not a legal action"):
        world.step("action 9")
    with pytest.raises(UsageError, match="discrete"):
        open_world("gym:Pendulum-v1")
    with pytest.raises(UsageError, match="one name for each"):
        EnvWorld(world._env, name="x", goal="", action_names=["left"])  # type: ignore[attr-defined]


def test_both_adapters_in_a_row_are_the_same_world() -> None:
    pytest.importorskip("gymnasium")
    inner = open_world("greenhouse:days=20")
    outer = EnvWorld(WorldEnv(inner), name="twice", goal="", action_names=inner.all_actions)  # type: ignore[attr-defined]
    plain = open_world("greenhouse:days=20")
    assert outer.reset(9).text == plain.reset(9).text
    while plain.actions():
        assert set(outer.actions()) == set(plain.actions())
        assert outer.step("wait").observation.text == plain.step("wait").observation.text


@pytest.mark.parametrize(
    ("level", "seeds"),
    [("BabyAI-GoToLocal-v0", 12), ("BabyAI-OpenDoor-v0", 6), ("MiniGrid-DoorKey-6x6-v0", 6)],
)
def test_the_explorer_is_clearly_better_than_random_on_minigrid(level: str, seeds: int) -> None:
    pytest.importorskip("minigrid")
    name = f"minigrid:{level}"
    world = open_world(name)
    solved = {}
    for player in ("random", "explorer"):
        policy = open_policy(name, player)
        solved[player] = 0
        for seed in range(seeds):
            observation, done = world.reset(seed), False
            policy.reset(seed)
            while not done:
                transition = world.step(policy.act(observation, world.actions()))
                observation, done = transition.observation, transition.done
            solved[player] += bool(world.outcome().success)
    assert solved["explorer"] == seeds
    assert solved["random"] <= 0.7 * seeds


def test_minigrid_is_deterministic_and_restores_by_replay() -> None:
    pytest.importorskip("minigrid")
    world, twin = (open_world("minigrid:BabyAI-GoToLocal-v0") for _ in range(2))
    first = world.reset(4)
    assert first == twin.reset(4)
    assert "Mission: go to" in first.text
    for action in ("turn left", "go forward", "go forward", "turn right"):
        last = world.step(action).observation
    assert twin.restore(world.snapshot()) == last
    with pytest.raises(UsageError, match="this snapshot is of"):
        open_world("minigrid:BabyAI-OpenDoor-v0").restore(world.snapshot())


def test_missions_are_taken_apart_in_the_right_order() -> None:
    verbs = [(t.verb, sorted(t.what)) for t in parse_mission("go to a red ball after you open the blue door")]
    assert verbs == [("open", ["blue", "door"]), ("go to", ["ball", "red"])]
    put = parse_mission("put the grey key next to the green box")[0]
    assert (put.verb, put.what, put.beside) == ("put", {"grey", "key"}, {"green", "box"})
    chain = parse_mission("pick up the box, then go to the door and go to a key")
    assert [t.verb for t in chain] == ["pick up", "go to", "go to"]
