"""Worlds in a process of their own: the same world, whatever happens to the process."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from overwinter.errors import ToolError, UsageError
from overwinter.worlds import open_policy, open_world, policy_names, state_key
from overwinter.worlds.isolated import IsolatedWorld, isolate, serve

NAME = "household:family=pick"


@pytest.fixture(scope="module")
def world() -> Iterator[IsolatedWorld]:
    """One child for most tests: starting one costs a good part of a second."""
    isolated = isolate(NAME)
    yield isolated
    isolated.close()


def pid(world: IsolatedWorld) -> int:
    return world._running()._process.pid


def alive(number: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_it_is_the_same_world_call_by_call(world: IsolatedWorld) -> None:
    plain = open_world(NAME)
    assert (world.name, world.goal) == (f"isolated:{NAME}", plain.goal)
    assert world.reset(5) == plain.reset(5)
    for action in plain.gold_path():  # type: ignore[attr-defined]
        assert world.actions() == plain.actions()
        assert (world.effect(action), state_key(world)) == (plain.effect(action), state_key(plain))
        assert world.step(action) == plain.step(action)
    assert world.actions() == ()
    assert world.outcome() == plain.outcome()
    assert world.snapshot()["inner"] == json.loads(json.dumps(plain.snapshot()))


def test_errors_of_the_world_are_errors_here_and_change_nothing(world: IsolatedWorld) -> None:
    world.reset(1)
    before = (world.snapshot(), pid(world))
    with pytest.raises(UsageError, match="not a legal action now"):
        world.step("fly")
    with pytest.raises(UsageError, match="this snapshot is of"):
        world.restore({"version": 1, "world": "isolated:greenhouse"})
    with pytest.raises(UsageError, match="no call 'destroy'"):
        world._call("destroy")
    assert (world.snapshot(), pid(world)) == before


def test_a_killed_child_is_replaced_and_put_back_where_it_was(world: IsolatedWorld) -> None:
    first = world.reset(2)
    path = world.gold_path()
    world.step(path[0])
    key, kept = state_key(world), world.snapshot()
    for method in ("seed", "snapshot"):
        if method == "snapshot":
            assert world.reset(2) == first
            world.restore(kept)
        old = pid(world)
        os.kill(old, signal.SIGKILL)
        assert state_key(world) == key
        assert pid(world) != old
        for action in path[1:]:
            last = world.step(action)
        assert last.terminated


def test_closing_ends_the_process_and_the_next_call_goes_on(world: IsolatedWorld) -> None:
    world.reset(3)
    world.step("look")
    key, old = state_key(world), pid(world)
    world.close()
    assert not alive(old)
    assert state_key(world) == key


def test_a_dropped_world_takes_its_process_along() -> None:
    dropped = isolate("household")
    number = pid(dropped)
    assert alive(number)
    del dropped
    gc.collect()
    assert not alive(number)


def test_the_child_ends_with_a_parent_that_is_killed() -> None:
    code = (
        "from overwinter.worlds.isolated import isolate; import sys\n"
        "w = isolate('household'); w.reset(0); print(w._running()._process.pid, flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    waiter = os.pidfd_open(child)
    assert alive(child)
    parent.kill()
    parent.communicate()
    assert select.select([waiter], [], [], 30.0)[0], "the child outlives its parent"
    os.close(waiter)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('no such engine')", "ended with code 1; its last words: no such engine"),
        ("print('Welcome to the game!')", "which is no answer"),
        ("print('{\"protocol\": 99}')", "protocol 1"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "was ended by SIGABRT"),
    ],
)
def test_a_child_that_does_not_start_well_is_explained(body: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        IsolatedWorld(command=[sys.executable, "-c", body], name="x")


def test_a_python_that_does_not_exist_is_explained() -> None:
    with pytest.raises(UsageError, match="cannot be started"):
        isolate("household", python="/nowhere/python")


def test_a_missing_package_or_unknown_name_is_told_with_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERWINTER_WORLD_PYTHON", sys.executable)
    with pytest.raises(UsageError, match="not an option") as caught:
        open_world("isolated:household:colour=red")
    assert f"in the environment of {sys.executable}" in caught.value.next_step


GREETING = 'print(\'{"protocol": 1, "name": "x", "goal": "", "all_actions": ["a"]}\', flush=True)'


def test_a_slow_child_is_ended_and_a_dying_one_is_tried_twice() -> None:
    slow = IsolatedWorld(command=[sys.executable, "-c", f"{GREETING}; input(); input()"], name="x", timeout_s=20.0)
    assert slow.all_actions == ("a",)
    number = pid(slow)
    slow._running()._timeout_s = 0.05
    with pytest.raises(ToolError, match=r"did not answer within 0\.05 s"):
        slow.reset(0)
    assert not alive(number)
    dying = IsolatedWorld(
        command=[sys.executable, "-c", f"{GREETING}; input(); raise SystemExit('out of luck')"], name="x"
    )
    first = pid(dying)
    with pytest.raises(ToolError, match="out of luck"):
        dying.reset(0)
    assert not alive(first)


FICKLE = """
import json, os, sys
again = os.path.exists(sys.argv[1])
open(sys.argv[1], "w").close()
for line in sys.stdin:
    request = json.loads(line)
    if request["call"] == "state_key":
        os._exit(3)
    answer = {"id": request["id"], "result": {"text": "", "data": {}}}
    if request["call"] == "step":
        answer["result"] = {"observation": {"text": "", "data": {}}, "reward": 0.0, "terminated": False, "truncated": False}
        if again:
            answer = {"id": request["id"], "error": {"kind": "UsageError", "problem": "no such action", "next_step": ""}}
    print(json.dumps(answer), flush=True)
"""


def test_a_world_that_does_not_repeat_itself_is_not_gone_on_with(tmp_path: Path) -> None:
    fickle = IsolatedWorld(command=[sys.executable, "-c", f"{GREETING}\n{FICKLE}", str(tmp_path / "been")], name="x")
    fickle.reset(0)
    fickle.step("a")
    with pytest.raises(ToolError, match=r"does not repeat itself after a restart: .*no such action"):
        state_key(fickle)


class Strange:
    """A world whose package misbehaves."""

    name = goal = "strange"

    def reset(self, seed: int) -> Any:
        raise RuntimeError("the Java side is gone")


def test_what_a_foreign_package_raises_is_told() -> None:
    calls = {"reset": [0], "gold_path": []}
    requests = [json.dumps({"id": 1, "call": call, "arguments": given}) for call, given in calls.items()]
    said = StringIO()
    serve(Strange(), requests, said)  # type: ignore[arg-type]
    _, error, refusal = (json.loads(line) for line in said.getvalue().splitlines())
    assert error["error"] == {
        "kind": "ToolError",
        "problem": "RuntimeError: the Java side is gone",
        "next_step": "see its package",
    }
    assert refusal["error"]["kind"] == "UsageError"


def test_players_play_through_the_pipe(monkeypatch: pytest.MonkeyPatch, world: IsolatedWorld) -> None:
    assert policy_names(world.name) == policy_names(NAME)
    for player in ("searcher", "expert"):
        policy = open_policy(world.name, player)
        if player == "expert":
            monkeypatch.setattr(policy, "_world", open_world(NAME))  # saves a child
        observation, done = world.reset(8), False
        policy.reset(8)
        while not done:
            transition = world.step(policy.act(observation, world.actions()))
            observation, done = transition.observation, transition.done
        assert world.outcome().success
