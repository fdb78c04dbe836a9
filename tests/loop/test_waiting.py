"""Waiting is free (docs/design.md §4.9): approvals, sleep, events and requests to stop."""

from __future__ import annotations

from typing import Any

import pytest
from loop_kit import (
    FINISH,
    Clock,
    Outside,
    begin,
    call,
    kinds,
    last,
    parts,
    receipts,
    resume,
    run_through,
)

from overwinter.errors import UsageError
from overwinter.journal import verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.model import View
from overwinter.loop.run import answer_approval, request_stop, send_event


def test_waiting_for_an_approval_holds_no_lease_and_writes_nothing(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools(), rules=[])

    assert run_through(store, made()) == "waiting:approval"
    assert store.info("r").owner == ""
    before = kinds(store)
    for _ in range(3):
        assert resume(store, made) == "waiting:approval"
    assert kinds(store) == before
    assert outside.done == []

    gate = last(store, "gate.decision").seq
    assert answer_approval(store, "r", approve=True, by="ann", gate=gate) == gate
    assert store.info("r").status == "waiting:approval", "nobody has gone on yet"
    assert resume(store, made) == "unverified"
    assert outside.effects("send") == ["c"]
    assert last(store, "effect.intent").body["rule"] == f"approved:{gate}"


def test_a_denied_call_is_not_made_and_the_actor_is_told_why(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools(), rules=[])

    run_through(store, made())
    answer_approval(store, "r", approve=False, by="ann", reason="too dear")
    assert resume(store, made) == "unverified"
    assert outside.done == []
    assert receipts(store)[0] == (
        False,
        "This call was not made: denied by ann: too dear. Choose another way, or ask_person.",
    )


def test_answers_that_nobody_waits_for_are_refused(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools(), rules=[])

    run_through(store, made())
    gate = last(store, "gate.decision").seq
    with pytest.raises(UsageError, match=rf"no approval at entry {gate + 7} \(open: \[{gate}\]\)"):
        answer_approval(store, "r", approve=True, by="ann", gate=gate + 7)
    answer_approval(store, "r", approve=True, by="ann")
    with pytest.raises(UsageError, match="open: none"):
        answer_approval(store, "r", approve=False, by="bob")
    assert resume(store, made) == "unverified"
    with pytest.raises(UsageError, match="no approval"):
        answer_approval(store, "r", approve=True, by="ann")


def test_a_sleep_ends_by_time_or_event_whichever_comes_first(store: SqliteStore, clock: Clock) -> None:
    def made() -> Any:
        return parts([call("sleep", reason="spring", seconds=100, event="bell")] * 2 + [FINISH])

    assert run_through(store, made()) == "waiting:sleep"
    suspended = last(store, "run.suspended").body
    assert suspended["event"] == "bell"
    assert suspended["until_us"] > clock.now_us
    before = kinds(store)
    clock.now_us += 50_000_000
    assert resume(store, made) == "waiting:sleep"
    assert kinds(store) == before
    clock.now_us += 51_000_000
    assert resume(store, made) == "waiting:sleep"  # woken by time, and asleep again
    assert last(store, "sleep.ended").body["cause"] == "time"
    send_event(store, "r", "noise", {}, "test")
    assert resume(store, made) == "waiting:sleep"
    send_event(store, "r", "bell", {"loud": True}, "test")
    assert resume(store, made) == "unverified"
    assert last(store, "sleep.ended").body["cause"] == "event bell"


def test_a_clock_that_is_set_back_neither_wakes_early_nor_breaks_the_order(store: SqliteStore, clock: Clock) -> None:
    def made() -> Any:
        return parts([call("sleep", reason="spring", seconds=100), FINISH])

    run_through(store, made())
    clock.now_us -= 3_600_000_000
    assert resume(store, made) == "waiting:sleep"
    clock.now_us += 3_600_000_000 + 101_000_000
    assert resume(store, made) == "unverified"
    times = [entry.time_us for entry in store.read("r")]
    assert times == sorted(times)
    assert verify(store, "r").ok


def test_an_event_that_comes_between_the_answer_and_the_sleep_is_not_slept_through(store: SqliteStore) -> None:
    """The model could not have seen it when it decided to wait for it."""

    def says(_: View) -> Any:
        send_event(store, "r", "bell", {}, "test")
        return call("sleep", reason="the bell", event="bell")

    assert run_through(store, parts([says, FINISH])) == "unverified"
    assert "sleep.ended" in kinds(store)


def test_an_event_that_was_in_view_before_does_not_end_a_later_sleep(store: SqliteStore) -> None:
    def made() -> Any:
        return parts([call("ask_person", question="which?"), call("ask_person", question="sure?"), FINISH])

    assert run_through(store, made()) == "waiting:sleep"
    send_event(store, "r", "answer", {"text": "left"}, "ann")
    assert resume(store, made) == "waiting:sleep"
    send_event(store, "r", "answer", {"text": "yes"}, "ann")
    assert resume(store, made) == "unverified"


def test_an_answer_while_the_owner_lives_goes_through_its_inbox(store: SqliteStore, outside: Outside) -> None:
    made = parts([call("send", text="c"), FINISH], outside.tools(), rules=[])
    with begin(store, made) as run:
        assert run.finish() == "waiting:approval"
        before = kinds(store)
        answer_approval(store, "r", approve=True, by="ann")
        assert kinds(store) == before
        assert len(store.letters("r")) == 1
        assert run.finish() == "unverified", "the session kept its lease"
    assert store.letters("r") == []
    with pytest.raises(UsageError, match="has ended"):
        send_event(store, "r", "late", {}, "ann")


def test_an_answer_that_comes_while_the_run_lies_down_to_wait_is_taken(store: SqliteStore, outside: Outside) -> None:
    run = begin(store, parts([call("send", text="c"), FINISH], outside.tools(), rules=[]))
    run.session.listeners.append(
        lambda entry: entry.kind == "run.suspended" and answer_approval(store, "r", approve=True, by="ann")
    )
    assert run.finish() == "unverified"
    run.close()


def test_a_request_to_stop_stops_behind_the_entry_and_resuming_goes_on(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("put", text="a"), call("put", text="b"), FINISH], outside.tools())

    run = begin(store, made())
    outside.watch = lambda *_: request_stop(store, "r", "ann")
    assert run.finish() == "waiting:stopped"
    run.close()
    assert outside.effects("put") == ["a"]
    outside.watch = None
    assert resume(store, made) == "unverified"
    assert outside.effects("put") == ["a", "b"]


def test_a_stop_that_comes_too_late_leaves_the_end_alone(store: SqliteStore) -> None:
    run = begin(store, parts([FINISH]))
    run.session.listeners.append(lambda entry: entry.kind == "run.ended" and request_stop(store, "r", "ann"))
    assert run.finish() == "unverified"
    assert run.finish() == "unverified"
    run.close()
    assert kinds(store)[-1] == "run.ended"
    assert store.info("r").status == "unverified"
