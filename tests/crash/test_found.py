"""What the crash matrix found, each as a small test of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from overwinter.errors import LeaseLost, UsageError
from overwinter.journal import Draft, NewRun, Store, open_store, verify
from overwinter.journal.rebuild import budgets_from_entries
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.model import Completion, Constraint, Limits, ToolCall, View
from overwinter.loop.models.scripted import Reply, ScriptedModel
from overwinter.loop.run import Run, send_event, status
from overwinter.loop.session import Pace, Parts, load_state
from overwinter.loop.setup import CONTROLS
from overwinter.tools import Effect, Toolbox, tool

GOAL = Goal(text="spring")
CAPS = {"tokens": 100_000}
DEAD = "nobody"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "journal.db"))
    yield opened
    opened.close()


@tool(effect=Effect.PURE)
def look(page: int) -> str:
    """Look at a page."""
    return " ".join(f"page{page}-{word}" for word in range(200))


def parts(*replies: Reply, judge: Reply | None = None, window_tokens: int = 0) -> Parts:
    def answer(view: View) -> Reply:
        return replies[min(len(replies) - 1, sum(m.role == "assistant" for m in view.messages))]

    model = ScriptedModel([answer] * 100)
    judging = Remote([judge] * 10, micro_usd_per_token=1) if judge is not None else None
    pace = Pace(window_tokens=window_tokens, max_tokens=64)
    return Parts(model=model, judge=judging, toolbox=Toolbox([look]), controls=CONTROLS, pace=pace)


class Remote(ScriptedModel):
    """Plays a server that bills, and during whose answer the process dies."""

    local = False
    dying = True

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        if Remote.dying:
            raise KeyboardInterrupt
        return super().sample(view, n, constraint, limits)


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="", tool=name, arguments=arguments)


def test_a_resumed_run_that_compacts_reads_what_it_still_shows(store: Store) -> None:
    pages = [call("look", page=page) for page in range(12)]
    with Run.start(store, GOAL, parts=parts(*pages, window_tokens=900), name="r") as run:
        for entry in run.work():
            if entry.kind == "compacted":
                break
    for _ in range(3):
        with Run.open(store, "r", parts=lambda: parts(*pages, window_tokens=900)) as run:
            for number, _ in enumerate(run.work()):
                if number > 12:
                    break
    assert len(list(store.read("r", kinds=["compacted"]))) > 1
    assert verify(store, "r").ok


def test_a_run_without_entries_can_be_started_again_and_its_fence_goes_on(store: Store) -> None:
    store.create(NewRun(run="r", caps={"tokens": 5, "tool_calls": 7}))
    fence = store.acquire("r", DEAD, 0).fence
    store.release(store.acquire("r", DEAD, 60))
    with Run.start(store, GOAL, parts=parts("done"), caps=CAPS, name="r") as run:
        assert run.session.fence > fence
    assert dict(store.budget("r")) == budgets_from_entries(store)["r"]


def test_a_run_without_entries_is_neither_resumed_nor_written_to(store: Store) -> None:
    store.create(NewRun(run="r"))
    with pytest.raises(UsageError, match="no entry of its own"):
        Run.open(store, "r", parts=lambda: parts("done"))
    with pytest.raises(UsageError, match="no entry of its own"):
        send_event(store, "r", "frost", {}, by="test")
    assert store.info("r").owner == ""
    assert store.info("r").unborn


def test_a_run_that_somebody_is_starting_is_not_replaced(store: Store) -> None:
    store.create(NewRun(run="r"))
    store.acquire("r", "elsewhere/boot/1/1", 60)
    with pytest.raises(UsageError, match="exists already"):
        store.create(NewRun(run="r"))


def test_a_fork_without_entries_is_refused_since_it_lost_its_restrictions(store: Store) -> None:
    with Run.start(store, GOAL, parts=parts("done"), name="r"):
        pass
    store.create(NewRun(run="f", parent="r", fork_seq=0, shared=("r",)))
    with pytest.raises(UsageError, match="no entry of its own"):
        Run.open(store, "f", parts=lambda: parts("done"))


def test_an_event_from_the_process_that_works_on_the_run_does_not_cut_it_off(store: Store) -> None:
    actor = parts(call("sleep", reason="frost", event="frost"), call("finish", summary="done"))
    with Run.start(store, GOAL, parts=actor, name="r") as run:
        for entry in run.work():
            if entry.kind == "sleep.started":
                send_event(store, "r", "frost", {}, by="a thread of this process")
        assert status(run.state) == "unverified"


def test_an_event_for_a_finished_run_is_refused(store: Store) -> None:
    with Run.start(store, GOAL, parts=parts(call("finish", summary="done")), name="r") as run:
        assert run.finish() == "unverified"
    with pytest.raises(UsageError, match="has ended"):
        send_event(store, "r", "frost", {}, by="test")
    assert store.letters("r") == []


def test_a_question_to_a_judge_that_was_lost_is_charged_as_the_judges(store: Store) -> None:
    goal = Goal(text="spring", acceptance=(Criterion(id="a", text="it is spring", check={"kind": "judge"}),))
    actor = (call("look", page=1), call("finish", summary="done"))

    def judge(view: View) -> str:
        return '{"met": null, "entries": [], "note": "who knows"}'

    Remote.dying = True
    with Run.start(store, goal, parts=parts(*actor, judge=judge), caps=CAPS, name="r") as run:
        with pytest.raises(KeyboardInterrupt):
            run.finish()
        reserved = run.state.sample_reserve["tokens"]
    Remote.dying = False
    with Run.open(store, "r", parts=lambda: parts(*actor, judge=judge)) as run:
        assert run.finish() == "unverified"
    lost = next(store.read("r", kinds=["sample.failed"])).body["settle"]["spent"]
    assert lost["tokens"] == reserved > 0
    assert load_state(store, "r").ended == "unverified"


def test_a_stale_owner_cannot_write_after_another_took_over(store: Store) -> None:
    with Run.start(store, GOAL, parts=parts("done"), name="r") as run:
        store.acquire("r", "elsewhere/boot/1/1", 60, take_over=True)
        with pytest.raises(LeaseLost):
            run.session.append([Draft(kind="observed", body={"source": "t", "text": {"text": "x"}, "data": {}})])
    assert store.info("r").head_seq == 0
