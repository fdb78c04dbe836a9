"""What reads a run copes with entries that were erased: its state, its view, resume, replay, why, and what learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loop_kit import FINISH, Outside, Pond, call, kinds, last, of_kind, parts, resume, run_through, shown

from overwinter.errors import StoreError, UsageError
from overwinter.journal import ERASED, erase, verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import fork
from overwinter.loop.model import View
from overwinter.loop.replay import replay
from overwinter.loop.run import Run, answer_approval
from overwinter.loop.session import fold, load_state
from overwinter.loop.state import GONE, RunState
from overwinter.loop.view import render
from overwinter.loop.why import describe, why
from overwinter.loop.world import WorldSession

SECRET = "the vault opens with 4711"
SCRIPT: list[Any] = [
    call("look", text=SECRET),
    call("send", text="c"),
    call("commit_to", text="remember the vault"),
    FINISH,
]


def made(outside: Outside, **more: Any) -> Any:
    return parts(SCRIPT, outside.tools(), rules=[], **more)


def gone(store: SqliteStore, *seqs: int) -> None:
    erase(store, "r", seqs, reason="asked for", by="ann")


def said(store: SqliteStore) -> list[int]:
    """The entries that hold the secret: completion, gate, intent, receipt."""
    return sorted({seq for run, seq in store.mentions(SECRET.encode()) if run == "r"})


def steady(state: RunState) -> dict[str, Any]:
    """What of a state does not rest on words."""
    raw = state.to_json()
    return {
        name: raw[name] for name in ("step", "sample", "completion", "items", "waiting", "ended", "claim", "stalls")
    }


def test_a_waiting_run_goes_on_after_its_past_was_erased(store: SqliteStore, outside: Outside) -> None:
    assert run_through(store, made(outside)) == "waiting:approval"
    before = load_state(store, "r")
    assert len(said(store)) == 3, "answer, intent, receipt"
    gone(store, *said(store))
    after = load_state(store, "r")
    assert steady(after) == steady(before)
    assert [(c.tool, c.decision) for c in after.calls] == [("send", "ask")]
    assert fold("r", store.read("r")) == after
    answer_approval(store, "r", approve=True, by="ann")
    assert resume(store, lambda: made(outside)) == "unverified"
    assert outside.effects("send") == ["c"]
    assert verify(store, "r").ok


def test_the_view_keeps_the_place_and_loses_the_words(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    gone(store, *said(store))
    seen: list[View] = []

    def looking() -> Any:
        def answer(view: View) -> Any:
            seen.append(view)
            return FINISH

        return parts([*SCRIPT[:2], answer], outside.tools(), rules=[])

    answer_approval(store, "r", approve=True, by="ann")
    resume(store, looking)
    assert SECRET not in shown(seen[0])
    assert shown(seen[0]).count(GONE) == 2
    asked = [message for message in seen[0].messages if message.text == GONE and message.role == "assistant"]
    answered = [message for message in seen[0].messages if message.text == GONE and message.role == "tool"]
    assert [each.id for each in asked[0].tool_calls] == [answered[0].tool_call_id]


def test_what_a_run_is_about_to_do_stays(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    for kind in ("run.started", "gate.decision", "sample.completion"):
        with pytest.raises(UsageError, match="run 'r' is open"):
            gone(store, last(store, kind).seq)


def test_every_kind_of_an_ended_run_can_go(store: SqliteStore, outside: Outside) -> None:
    run_through(store, parts([*SCRIPT[:1], *SCRIPT[2:]], outside.tools()))
    before = load_state(store, "r")
    every = [entry.seq for entry in store.read("r")]
    gone(store, *every)
    assert set(kinds(store)) == {ERASED, "entries.erased"}
    after = fold("r", store.read("r"))
    assert steady(after) == steady(before)
    assert after.ended == "unverified"
    assert after.goal == GONE
    assert verify(store, "r").erased == len(every)
    for entry in store.read("r", kinds=[ERASED]):
        assert SECRET not in describe(store, entry)
        assert "erased by r#" in describe(store, entry)
        render(store, entry)
    assert why(store, "r").entry.kind == "entries.erased"
    with pytest.raises(UsageError, match="beginning of run 'r' was erased"):
        replay(store, "r", parts=made(outside))


def test_why_still_walks_back(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    receipt = of_kind(store, "effect.receipt")[0]
    before = [reason.entry.seq for reason in why(store, "r", receipt.seq).reasons]
    gone(store, *said(store))
    assert [reason.entry.seq for reason in why(store, "r", receipt.seq).reasons] == before


def test_replay_goes_on_without_what_was_erased(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    whole = replay(store, "r", parts=made(outside))
    assert (whole.ok, whole.erased_at) == (True, None)
    first = said(store)[0]
    gone(store, *said(store))
    report = replay(store, "r", parts=made(outside))
    assert (report.ok, report.erased_at) == (True, first)
    assert report.views < whole.views


def test_a_world_whose_state_was_erased_says_so(store: SqliteStore) -> None:
    def pond() -> Any:
        return parts(["cast"] * 4, world=WorldSession(Pond(), seed=1), controls={})

    run_through(store, pond())
    saved = [entry.seq for entry in of_kind(store, "world.saved")]
    receipts = [entry.seq for entry in of_kind(store, "effect.receipt")]
    gone(store, *saved, receipts[1])
    report = replay(store, "r", parts=pond())
    assert (report.ok, report.erased_at) == (True, receipts[1])
    with pytest.raises(StoreError, match="was erased by r#"):
        Run.open(store, "r", parts=pond)


def test_nothing_is_learnt_from_a_run_with_holes(store: SqliteStore, outside: Outside) -> None:
    pytest.importorskip("torch", reason="learning needs overwinter[local]")
    from overwinter.learn.reinforce.journal import read_episodes

    run_through(store, made(outside))
    gone(store, *said(store))
    with pytest.raises(UsageError, match="was erased"):
        read_episodes(store, ["r"])


def test_a_page_and_a_log_show_the_hole(store: SqliteStore, outside: Outside, tmp_path: Path) -> None:
    from overwinter.cli.live import describe_safely
    from overwinter.cli.page import write_page

    run_through(store, made(outside))
    gone(store, *said(store))
    write_page(store, store.info("r"), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert SECRET not in page
    assert "erased by r#" in page
    assert all(describe_safely(store, entry) for entry in store.read("r"))


def test_a_fork_of_a_run_with_holes_goes_on(store: SqliteStore, outside: Outside) -> None:
    run_through(store, made(outside))
    gone(store, *said(store))
    at = of_kind(store, "effect.receipt")[0].body if of_kind(store, "effect.receipt") else None
    assert at is None, "the only receipt was erased"
    head = store.info("r").head_seq
    name = fork(store, "r", head, name="f")
    with Run.open(store, name, parts=lambda: made(outside)) as run:
        assert run.finish() == "waiting:approval"
