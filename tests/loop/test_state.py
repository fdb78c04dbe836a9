"""The state is a fold over the journal, and what comes next is a pure function of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_kit import (
    FINISH,
    Clock,
    Outside,
    begin,
    call,
    forever,
    goal,
    kinds,
    of_kind,
    open_store,
    parts,
    receipts,
    run_through,
)

from overwinter.errors import StoreError
from overwinter.journal import Draft, verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import fork
from overwinter.loop.run import Run, answer_approval, deliver, send_event, status
from overwinter.loop.session import CACHE_EVERY, fold, load_state
from overwinter.loop.state import OpenCall, RunState
from overwinter.loop.step import WAITS, Circumstances, Next, next_action
from overwinter.tools import Toolbox

AT = Circumstances(now_us=1000)
OVER = Circumstances(now_us=1000, world_over=True)
TURN = {"call": "x", "result": "y", "ok": True}


def opened(**more: Any) -> OpenCall:
    return OpenCall(id="1", tool="put", arguments={}, **more)


TABLE: list[tuple[dict[str, Any], Circumstances, Next]] = [
    ({}, AT, Next.SAMPLE),
    ({"ended": "verified", "sample": 3, "calls": [opened()]}, OVER, Next.NOTHING),
    ({"sample": 3, "calls": [opened()], "claim": 1}, AT, Next.SETTLE_LOST),
    ({"calls": [opened()], "claim": 1}, OVER, Next.CALL),
    ({"calls": [opened(gate=4, decision="ask")]}, AT, Next.WAIT_APPROVAL),
    ({"calls": [opened(gate=4, decision="deny")]}, AT, Next.DENY),
    ({"calls": [opened(gate=4, decision="allow")]}, AT, Next.CALL),
    ({"calls": [opened(intent=5, decision="ask")]}, AT, Next.SETTLE_DOUBT),
    ({"calls": [opened(intent=5, doubt=6)]}, AT, Next.WAIT_DOUBT),
    ({"calls": [opened(intent=5, doubt=6, happened=False)]}, AT, Next.SETTLE_DOUBT),
    ({"calls": [opened(), opened(gate=4, decision="ask")]}, AT, Next.CALL),
    ({"claim": 7, "sleeping": {"reason": "x", "event": "e"}}, OVER, Next.JUDGE),
    ({"sleeping": {"reason": "x", "event": "e"}}, OVER, Next.WAIT_SLEEP),
    ({"sleeping": {"reason": "x", "event": "e"}, "events": ["f"]}, AT, Next.WAIT_SLEEP),
    ({"sleeping": {"reason": "x", "event": "e"}, "events": ["f", "e"]}, AT, Next.WAKE),
    ({"sleeping": {"reason": "x", "until_us": 1000}}, AT, Next.WAKE),
    ({"sleeping": {"reason": "x", "until_us": 1001}}, AT, Next.WAIT_SLEEP),
    ({"sleeping": {"reason": "x", "until_us": 1001, "event": "e"}, "events": ["e"]}, AT, Next.WAKE),
    ({"stalls": 3}, OVER, Next.CLAIM),
    ({"stalls": 3}, AT, Next.GIVE_UP),
    ({"rejections": 5}, AT, Next.GIVE_UP),
    ({"stalls": 2, "rejections": 4}, AT, Next.SAMPLE),
    ({"turns": [TURN] * 4}, AT, Next.STALL),
    ({"turns": [TURN] * 4, "stalls": 3}, AT, Next.GIVE_UP),
    ({"waiting": {"reason": "budget", "detail": ""}}, AT, Next.SAMPLE),
]


@pytest.mark.parametrize(("fields", "at", "expected"), TABLE)
def test_what_comes_next(fields: dict[str, Any], at: Circumstances, expected: Next) -> None:
    state = RunState(run="r", **fields)
    before = state.to_json()
    assert next_action(state, at) is expected
    assert state.to_json() == before, "a pure function"
    again = RunState.from_json(before)
    assert again is not None
    assert next_action(again, at) is expected


def test_each_action_waits_or_is_done() -> None:
    from overwinter.loop.step import DO

    assert WAITS.keys() | DO.keys() | {Next.NOTHING} == set(Next)
    assert not WAITS.keys() & DO.keys()


REPLIES: list[Any] = [
    call("look", text="a"),
    call("put", text="b"),
    [call("order", text="c"), call("send", text="d")],
    call("launch", text="e"),
    call("nothing"),
    call("put", text=3),
    call("sleep", reason="x", seconds=5, event="bell"),
    call("commit_to", text="water", due="noon"),
    call("fulfil", commitment=6, outcome="done"),
    call("read_entries", first=0, last=3),
    "hm",
    FINISH,
]
RULES = [{"decision": "ask", "tool": "launch"}, {"decision": "deny", "tool": "order"}, {"decision": "allow"}]
GOAL = goal({"kind": "tool", "tool": "look", "contains": "never"})


def made(choices: Iterator[int], outside: Outside) -> Any:
    model = forever(lambda _: REPLIES[next(choices, 11)])
    return parts(model, outside.tools(), rules=RULES, window_tokens=600, max_rejections=2)


def live(store: SqliteStore, clock: Clock, choices: list[int], stops: list[int], outside: Outside, name: str) -> str:
    """Work through a script, stopping behind the entries `stops` says, answering whatever is waited for."""
    script = iter(choices)
    for number in range(60):
        with Run.open(store, name, parts=lambda: made(script, outside)) as run:
            limit = stops[number] if number < len(stops) else 10**6
            for count, _ in enumerate(run.work(), 1):
                if count >= limit:
                    break
            state = run.state
        if state.ended or (state.waiting and state.waiting["reason"] == "stalled"):
            return status(state)
        if state.waiting is not None and state.waiting["reason"] in {"approval", "in_doubt"}:
            answer_approval(store, name, approve=number % 2 == 0, by="test")
        clock.now_us += 10_000_000
    raise AssertionError(f"{name} never comes to an end: {kinds(store, name)[-20:]}")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    choices=st.lists(st.integers(0, 11), min_size=1, max_size=9),
    stops=st.lists(st.integers(1, 6), max_size=6),
)
def test_any_journal_goes_on_from_any_of_its_entries(choices: list[int], stops: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock, outside = Clock(), Outside()
        store = open_store(Path(folder) / "j.db", clock)
        begin(store, made(iter(choices), outside), GOAL).close()
        live(store, clock, choices, stops, outside, "r")
        entries = list(store.read("r"))
        assert verify(store, "r").ok

        # One fold, however it is divided.
        whole = fold("r", entries)
        assert load_state(store, "r") == whole
        going = RunState(run="r")
        for entry in entries:
            again = RunState.from_json(going.to_json())
            assert again == going
            going.apply(entry)
            assert next_action(going, AT) in Next
            assert going.sample is None or not going.calls
        assert going == whole

        sent = [row for row in outside.done if row[0] in {"send", "launch"}]
        assert len(sent) == len(set(sent)), "an irreversible call was repeated"
        intents = [e.seq for e in entries if e.kind == "effect.intent"]
        closed = [e.body["intent"] for e in entries if e.kind == "effect.receipt" and e.body["intent"] >= 0]
        assert len(set(closed)) == len(closed)
        assert set(closed) <= set(intents)
        assert all(line.reserved == 0 for line in store.budget("r").values())

        for entry in entries[:: max(1, len(entries) // 12)]:
            child = fork(store, "r", entry.seq, name=f"f{entry.seq}")
            live(store, clock, [], [], outside, child)
            assert verify(store, child).ok
        store.close()


def test_an_entry_out_of_order_is_refused(store: SqliteStore) -> None:
    run_through(store, parts([FINISH]))
    entries = list(store.read("r"))
    with pytest.raises(StoreError, match="follows"):
        fold("r", [entries[0], entries[2]])


def test_a_long_run_is_cached_and_folds_the_rest(store: SqliteStore, outside: Outside) -> None:
    with begin(store, parts(forever("hm"), outside.tools())) as run:
        filler = [Draft(kind="event.received", body={"name": f"n{i}", "data": {}, "by": "x"}) for i in range(100)]
        for _ in range(CACHE_EVERY // 100 + 1):
            run.session.append(filler)
        cached = store.load_cache("r", "state")
        assert cached is not None
        assert cached[0] >= CACHE_EVERY
        run.session.append(filler[:5])
    assert load_state(store, "r") == fold("r", store.read("r"))


def test_a_cache_that_cannot_be_saved_does_not_fail_the_append(store: SqliteStore) -> None:
    def full(*_: Any) -> None:
        raise StoreError("full", "free some space")

    store.save_cache = full  # type: ignore[method-assign]
    with begin(store, parts([FINISH])) as run:
        filler = [Draft(kind="event.received", body={"name": "n", "data": {}, "by": "x"})] * CACHE_EVERY
        assert len(run.session.append(filler)) == CACHE_EVERY


def test_the_state_stays_small(store: SqliteStore, outside: Outside) -> None:
    """What has been answered, finished or compacted leaves it."""
    sizes = []
    for turns in (40, 120):
        script = iter([call("look", text=str(i)) for i in range(turns)])
        made_ = parts(forever(lambda _, script=script: next(script, FINISH)), outside.tools(), window_tokens=700)
        with begin(store, made_, name=f"r{turns}") as run:
            for number in range(30):
                send_event(store, f"r{turns}", f"event {number}", {}, "x")
            run.finish()
            sizes.append(len(str(run.state.to_json())))
    assert sizes[1] < sizes[0] * 1.3


def test_first_answer_wins(store: SqliteStore, outside: Outside) -> None:
    def script() -> Any:
        return parts([call("send", text="x"), FINISH], outside.tools(), rules=[])

    run_through(store, script())
    gate = of_kind(store, "gate.decision")[0].seq
    for decision in ("approve", "deny"):
        body = {"gate": gate, "decision": decision, "by": "x", "reason": ""}
        deliver(store, "r", Draft(kind="approval.answered", body=body))
    with Run.open(store, "r", parts=script) as run:
        assert run.finish() == "unverified"
    assert outside.effects("send") == ["x"]


def test_letters_about_things_that_do_not_exist_change_nothing(store: SqliteStore, outside: Outside) -> None:
    def script() -> Any:
        return parts([call("send", text="x"), FINISH], outside.tools(), rules=[])

    run_through(store, script())
    deliver(
        store, "r", Draft(kind="approval.answered", body={"gate": 0, "decision": "approve", "by": "x", "reason": ""})
    )
    deliver(store, "r", Draft(kind="doubt.answered", body={"doubt": 0, "happened": True, "by": "x", "reason": ""}))
    with Run.open(store, "r", parts=script) as run:
        assert run.finish() == "waiting:approval"
        run.session.parts.toolbox = Toolbox()
    assert receipts(store) == []
