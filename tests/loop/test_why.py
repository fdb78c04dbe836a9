"""Why did it do that? The entries behind a decision, for each kind of entry."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from loop_kit import FINISH, Outside, begin, call, forever, goal, last, of_kind, parts, resume, run_through

from overwinter.errors import UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.run import answer_approval, send_event
from overwinter.loop.why import describe, why


def causes(store: SqliteStore, seq: int | None = None, run: str = "r") -> list[tuple[str, str]]:
    return [(reason.how, reason.entry.kind) for reason in why(store, run, seq).reasons]


@pytest.fixture
def told(store: SqliteStore, outside: Outside) -> SqliteStore:
    """A run in which everything happens that can be asked about."""

    def made() -> Any:
        script = [
            call("look"),
            call("commit_to", text="water", due="noon"),
            call("send", text="c"),
            call("lok"),
            call("sleep", reason="rest", event="bell"),
            FINISH,
            lambda _: call("fulfil", commitment=last(store, "commitment.opened").seq, outcome="ok"),
            FINISH,
        ]
        return parts(script, outside.tools(), rules=[], max_rejections=2)

    check = goal({"kind": "tool", "tool": "look", "contains": "never"})
    assert run_through(store, made(), check) == "waiting:approval"
    answer_approval(store, "r", approve=True, by="ann", reason="fine")
    run = begin(store, made(), check, name="doubtful")
    list(islice(run.work(), 9))
    run.close()
    assert resume(store, made) == "waiting:sleep"
    send_event(store, "r", "bell", {}, "x")
    assert resume(store, made) == "waiting:stalled"
    return store


def test_each_kind_names_what_it_follows_from(told: SqliteStore) -> None:
    asked = ("was asked for by", "sample.intent")
    first = of_kind(told, "effect.intent")[0].seq
    assert causes(told, first) == [("carries out a call of", "sample.completion"), asked]
    assert causes(told, of_kind(told, "effect.receipt")[0].seq)[0] == ("is the result of", "effect.intent")
    gate = last(told, "gate.decision").seq
    assert causes(told, gate) == [("is about a call of", "sample.completion"), asked]
    assert causes(told, last(told, "approval.answered").seq)[0] == ("answers", "gate.decision")
    approved = causes(told, of_kind(told, "effect.intent")[1].seq)
    assert ("was let through after", "gate.decision") in approved
    assert ("was approved by", "approval.answered") in approved
    refused = next(e for e in of_kind(told, "effect.receipt") if e.body["error"] == "unknown")
    assert causes(told, refused.seq)[0] == ("answers a call of", "sample.completion")
    assert causes(told, last(told, "sleep.ended").seq) == [("ends", "sleep.started")]
    assert causes(told, last(told, "done.claimed").seq)[0] == ("was claimed by", "sample.completion")
    verdict = causes(told, last(told, "verdict").seq)
    assert verdict[0] == ("judges", "done.claimed")
    assert ("rests on the evidence of", "observed") in verdict
    assert causes(told, last(told, "commitment.closed").seq) == [("closes", "commitment.opened")]
    assert causes(told, 0) == []


def test_without_an_entry_it_explains_where_the_run_stands(store: SqliteStore, outside: Outside) -> None:
    made = lambda: parts([call("look"), call("send", text="c"), FINISH], outside.tools(), rules=[])  # noqa: E731
    run_through(store, made())
    waiting = why(store, "r")
    assert waiting.entry.kind == "run.suspended"
    assert next((r.how, r.entry.kind) for r in waiting.reasons) == ("waits for", "gate.decision")
    answer_approval(store, "r", approve=True, by="ann")
    resume(store, made)
    ended = why(store, "r")
    assert ended.entry.kind == "run.ended"
    assert [r.entry.kind for r in ended.reasons][:2] == ["verdict", "done.claimed"]
    begin(store, made(), name="fresh").close()
    assert why(store, "fresh").entry.kind == "run.started"


def test_it_shows_what_the_model_saw(store: SqliteStore, outside: Outside) -> None:
    replies = iter([call("look", text=f"bed {i} " + "w " * 90) for i in range(12)] + [FINISH])
    run_through(store, parts(forever(lambda _: next(replies)), outside.tools(), window_tokens=900))
    decision = of_kind(store, "sample.completion")[-1]
    told = why(store, "r", decision.seq)
    intent = next(store.read("r", decision.body["intent"]))
    assert told.hidden == intent.body["view"]["hidden"] > 0
    assert told.shown_ranges == tuple(map(tuple, intent.body["view"]["shown"]))
    assert told.shown
    assert all(any(a <= r.entry.seq <= b for a, b in told.shown_ranges) for r in told.shown)
    assert told.shown[0].entry.seq > told.shown[-1].entry.seq
    assert why(store, "r", intent.seq).hidden == told.hidden


def test_doubt_and_its_answer(store: SqliteStore, outside: Outside) -> None:
    made = lambda: parts([call("send", text="c"), FINISH], outside.tools())  # noqa: E731
    run = begin(store, made())
    list(islice(run.work(), 3))
    run.close()
    resume(store, made)
    assert causes(store)[0] == ("waits for", "effect.in_doubt")
    assert causes(store, last(store, "effect.in_doubt").seq)[0] == ("cannot tell the outcome of", "effect.intent")
    answer_approval(store, "r", approve=True, by="ann")
    assert causes(store, last(store, "doubt.answered").seq)[0] == ("answers", "effect.in_doubt")


def test_every_entry_can_be_explained_in_one_line(told: SqliteStore) -> None:
    for run in ("r", "doubtful"):
        for entry in told.read(run):
            explained = why(told, run, entry.seq)
            for line in [describe(told, entry), *(r.text for r in (*explained.reasons, *explained.shown))]:
                assert line
                assert "\n" not in line
                assert len(line) <= 400


def test_entries_that_do_not_exist(store: SqliteStore) -> None:
    run_through(store, parts([FINISH]))
    for seq in (-1, 999):
        with pytest.raises(UsageError, match="has no entry"):
            why(store, "r", seq)
