"""Long runs through a small window: the working context never outgrows it, and what is needed is found again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from loop_kit import FINISH, begin, call, counting, goal, of_kind, shown
from loop_memory_kit import FakeRecaller, memory_parts, say

from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.memory.view import content_rows, find_handle
from overwinter.loop.model import View
from overwinter.loop.replay import replay
from overwinter.loop.run import Run
from overwinter.loop.session import fold
from overwinter.loop.setup import build_parts
from overwinter.memory.working.reward import penalties_of

WORLD_GOAL = goal({"kind": "world"}, text="Keep the archive")
QUIETLY = {"core": False, "recall": {"auto": False}}


def archive(name: str, window: int, memory: dict[str, Any] | None) -> dict[str, Any]:
    setup = {"model": {"kind": "policy", "policy": "clerk"}, "world": {"name": name, "seed": 3}}
    setup["pace"] = {"window_tokens": window}
    return {**setup, "memory": memory} if memory is not None else setup


def start(store: SqliteStore, name: str, setup: dict[str, Any]) -> Run:
    run = Run.start(store, WORLD_GOAL, setup=setup, name=name)
    run.session.parts.recaller = FakeRecaller()
    return run


def test_with_memory_the_task_is_done_and_without_it_fails(store: SqliteStore) -> None:
    """The same clerk, the same seed, the same window, which overflows many times."""
    world = "archive:letters=12,documents=100"
    with start(store, "with", archive(world, 1500, QUIETLY)) as run:
        assert run.finish() == "verified"
    with start(store, "without", archive(world, 1500, None)) as run:
        assert run.finish() == "failed"
    for name, least in (("with", 10), ("without", 10)):
        assert len(of_kind(store, "compacted", name)) >= least
        assert max(entry.body["view"]["tokens"] for entry in of_kind(store, "sample.intent", name)) <= 1500
    acts = [entry.body["data"]["action"] for entry in of_kind(store, "effect.receipt", "without") if entry.body["data"]]
    assert len(acts) == 124, "it played to the end"
    assert penalties_of(store.read("with")).context < 0.05
    parts = build_parts(archive(world, 1500, QUIETLY))
    report = replay(store, "with", parts=parts)
    assert report.ok, report.divergence


def test_many_steps_stay_within_the_window_and_every_handle_is_readable(store: SqliteStore) -> None:
    """A model that works on for 2,000 steps, compresses when it is told to, and now and then forgets to.

    `recipes/check_working_memory.py` does the same for 10,000 steps.
    """
    window, number = 1200, iter(range(1_000_000))

    def act(view: View) -> Any:
        step = next(number)
        if step == 2000:
            return FINISH
        line = view.messages[-1].text
        if "Compress" in line and step % 3:
            return call("compress", summary=f"Step {step}.", keep=[keep_seen(view, step)] if step % 2 else [])
        return call("say", words=f"n{step} " + "snow " * (step % 60))

    def keep_seen(view: View, step: int) -> dict[str, Any]:
        seen = re.findall(r'from="entry (\d+)"', shown(view))
        return {"handle": f"h{step % 50}", "description": "some", "selection": f"{seen[0]}-{seen[-1]}"}

    parts = memory_parts(counting([act] * 2001), [say], window_tokens=window)
    with begin(store, parts, goal({"kind": "none"})) as run:
        assert run.finish() == "unverified"
        state = run.state
    tokens = [entry.body["view"]["tokens"] for entry in of_kind(store, "sample.intent")]
    assert len(tokens) == 2001
    assert max(tokens) <= window
    assert {"agent", "extract"} == {entry.body["by"] for entry in of_kind(store, "compacted")}
    made = of_kind(store, "handle.made")
    assert len(made) > 100
    for entry in made:
        handle = find_handle(store, state, f"{entry.body['name']}@{entry.body['version']}")
        assert handle.seq == entry.seq
        assert [seq for seq, _ in content_rows(store, "r", handle)], handle
    # Every word that was said is still there, under a handle or by the number of its entry.
    assert state == fold("r", store.read("r"))
    assert len(str(state.to_json())) < 100_000


@pytest.mark.parametrize("auto", [False, True])
def test_the_greenhouse_over_several_winters(store: SqliteStore, auto: bool) -> None:
    setup = {
        "model": {"kind": "policy", "policy": "rules"},
        "world": {"name": "greenhouse:days=20,winters=3", "seed": 1},
        "pace": {"window_tokens": 2500},
        "memory": {"core": False, "recall": {"auto": auto, "with_goal": True}},
    }
    with start(store, "g", setup) as run:
        assert run.finish() in {"verified", "failed"}
    assert len(of_kind(store, "compacted", "g")) >= 3
    assert len(of_kind(store, "handle.made", "g")) >= 3
    assert max(entry.body["view"]["tokens"] for entry in of_kind(store, "sample.intent", "g")) <= 2500
