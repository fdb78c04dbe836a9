"""The loop's own tools: the deed and its receipt are one append."""

from __future__ import annotations

from typing import Any

import pytest
from loop_kit import (
    FINISH,
    Clock,
    Outside,
    begin,
    call,
    forever,
    kinds,
    last,
    of_kind,
    parts,
    receipts,
    resume,
    run_through,
    shown,
)

from overwinter.errors import UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.controls import CONTROLS
from overwinter.loop.run import send_event
from overwinter.tools import Effect, tool


def test_finish_claims_and_does_not_decide(store: SqliteStore) -> None:
    run_through(store, parts([FINISH]))
    claim = last(store, "done.claimed")
    assert claim.body["summary"] == "all done"
    assert claim.body["completion"] == last(store, "sample.completion").seq
    assert kinds(store)[claim.seq + 1] == "effect.receipt"
    assert receipts(store) == [(True, "Your claim is being checked.")]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"seconds": 0}, "give seconds, or an event"),
        ({"seconds": -1}, "between 0 and"),
        ({"seconds": 4e9}, "between 0 and"),
        ({"seconds": "NaN"}, "seconds"),
    ],
)
def test_a_sleep_without_an_end_is_refused(store: SqliteStore, arguments: dict[str, Any], problem: str) -> None:
    run_through(store, parts([call("sleep", reason="x", **arguments), FINISH]))
    ok, text = receipts(store)[0]
    assert not ok
    assert problem in text
    assert "sleep.started" not in kinds(store)


def test_sleep_until_a_time(store: SqliteStore, clock: Clock) -> None:
    before = clock.now_us
    assert run_through(store, parts([call("sleep", reason="frost", seconds=2.5)])) == "waiting:sleep"
    body = last(store, "sleep.started").body
    assert before + 2_500_000 <= body["until_us"] <= clock.now_us + 2_500_000
    assert last(store, "run.suspended").body["until_us"] == body["until_us"]
    assert "event" not in body


def test_a_question_to_a_person_waits_for_the_answer_and_shows_it(store: SqliteStore) -> None:
    models = []

    def made() -> Any:
        models.append(parts([call("ask_person", question="Which bed?"), FINISH]))
        return models[-1]

    assert run_through(store, made()) == "waiting:sleep"
    assert "Which bed?" in last(store, "run.suspended").body["detail"]
    send_event(store, "r", "answer", {"text": "the north one"}, "ann")
    assert resume(store, made) == "unverified"
    assert "the north one" in shown(models[-1].model.views[0])


def test_commitments_stay_in_view_until_they_are_fulfilled(store: SqliteStore, outside: Outside) -> None:
    opened: list[int] = []

    def fulfil(_: Any) -> Any:
        opened.append(last(store, "commitment.opened").seq)
        return call("fulfil", commitment=opened[0], outcome="watered")

    script = [call("commit_to", text="water the ferns", due="noon"), *[call("look", text="w " * 200)] * 3, fulfil]
    replies = iter([*script, call("fulfil", commitment=3, outcome="again"), FINISH])
    made = parts(forever(lambda _: next(replies)), outside.tools(), window_tokens=600)
    with begin(store, made) as run:
        assert run.finish() == "unverified"
        assert run.state.commitments == {}
    assert "compacted" in kinds(store)
    heads = [view.messages[0].text for view in made.model.views]
    assert ["water the ferns (due noon)" in head for head in heads] == [False, True, True, True, True, False, False]
    assert f"- [{opened[0]}]" in heads[1]
    assert "is not open; open are none" in receipts(store)[5][1]


def test_tools_and_controls_do_not_share_names(store: SqliteStore) -> None:
    @tool(effect=Effect.PURE, name="finish")
    def finish() -> str:
        """Not that one."""
        return ""

    with pytest.raises(UsageError, match="names of controls"):
        parts([FINISH], [finish])
    assert parts([FINISH], [finish], controls={}).controls == {}


def test_controls_need_no_gate_and_no_intent(store: SqliteStore) -> None:
    run_through(store, parts([call("commit_to", text="x"), FINISH], rules=[{"decision": "deny"}]))
    assert "gate.decision" not in kinds(store)
    assert "effect.intent" not in kinds(store)
    assert set(CONTROLS) == {"finish", "sleep", "ask_person", "commit_to", "fulfil", "read_entries"}


def test_what_a_judge_said_cannot_be_read_back(store: SqliteStore, outside: Outside) -> None:
    from loop_kit import goal

    judge = ['{"met": false, "entries": [], "note": "n"}'] * 2
    replies = iter([call("look"), FINISH, call("read_entries", first=0, last=10), FINISH])
    made = parts(forever(lambda _: next(replies)), outside.tools(), judge=judge, max_rejections=2)
    run_through(store, made, goal({"kind": "judge"}))
    text = receipts(store)[2][1]
    asked = next(e for e in of_kind(store, "sample.completion") if e.body.get("purpose"))
    assert f"#{asked.seq} " not in text
    assert "#2 look(" in text
