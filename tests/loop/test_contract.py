"""The contract of a run, line by line (docs/design.md). Effects in doubt, budgets, waiting and the view have files of their own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from loop_kit import (
    FINISH,
    Outside,
    Pond,
    begin,
    call,
    goal,
    kinds,
    last,
    of_kind,
    open_store,
    parts,
    receipts,
    resume,
    run_through,
    shown,
)

from overwinter.errors import LeaseLost, StoreError, UsageError
from overwinter.journal import verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import commit, fork
from overwinter.loop.model import View
from overwinter.loop.run import Run, deliver, send_event, status
from overwinter.loop.session import load_state
from overwinter.loop.world import WorldSession
from overwinter.tools import ToolContext

# 1. Write-ahead


def test_the_intent_is_on_disk_when_a_tool_is_called(store: SqliteStore, outside: Outside, tmp_path: Path) -> None:
    seen: list[tuple[str, str, bool]] = []

    def watch(name: str, context: ToolContext) -> None:
        # Another connection sees only what is committed.
        other = open_store(tmp_path / "journal.db")
        found = list(other.read("r"))
        seen.append((found[-1].kind, found[-1].body["key"], found[-1].seq == context.entry))
        assert found[-1].body["key"] == context.idempotency_key
        other.close()

    outside.watch = watch
    script = [call("put", text="a"), call("order", text="b"), call("send", text="c"), FINISH]
    run_through(store, parts(script, outside.tools()))
    assert [(kind, ours) for kind, _, ours in seen] == [("effect.intent", True)] * 3


def test_the_question_is_on_disk_when_the_model_is_asked_and_the_receipt_before_it_sees_the_result(
    store: SqliteStore, outside: Outside, tmp_path: Path
) -> None:
    last_kinds: list[str] = []

    def look_first(view: View) -> Any:
        other = open_store(tmp_path / "journal.db")
        entries = list(other.read("r"))
        other.close()
        last_kinds.append(entries[-1].kind)
        done = [e for e in entries if e.kind == "effect.receipt"]
        assert ("saw sky" in shown(view)) == bool(done)
        return call("look", text="sky") if not done else FINISH

    run_through(store, parts([look_first, look_first], outside.tools()))
    assert last_kinds == ["sample.intent", "sample.intent"]


# 2. Finished work is never done again


def busy_script(judge_says: str) -> Callable[[Outside, list[Any]], Any]:
    """Parts for a run that uses every effect class, controls, two calls at once, a rejected claim, a check and a judge."""

    def make(outside: Outside, models: list[Any]) -> Any:
        script = [
            call("look", text="round"),
            [call("put", text="a"), call("order", text="b")],
            "let me think",
            call("commit_to", text="water the plants", due="noon"),
            call("launch", text="rocket"),
            call("nonsense", text="x"),
            call("put", text=7),
            FINISH,
        ]
        made = parts(script, outside.tools(), judge=[judge_says] * 9)
        models.append(made)
        return made

    return make


BUSY_GOAL = goal({"kind": "tool", "tool": "look", "contains": "saw here"}, {"kind": "judge"})
JUDGE_SAYS = json.dumps({"met": True, "entries": list(range(40)), "note": "seen"})


def meaning(store: SqliteStore, run: str = "r") -> list[tuple[str, Any]]:
    """What a journal says, without what an interruption adds: resumptions, retried questions and repeats."""
    rows = []
    for entry in store.read(run):
        body = entry.body
        if entry.kind == "sample.completion":
            said = body["text"] if body["calls"] == [] else [(c["tool"], c["arguments"]) for c in body["calls"]]
            rows.append((entry.kind, said))
        elif entry.kind == "effect.receipt":
            rows.append((entry.kind, (body["ok"], body["text"], body["error"])))
        elif entry.kind == "verdict":
            rows.append((entry.kind, (body["status"], [(f["id"], f["met"]) for f in body["findings"]])))
        elif entry.kind in {"run.ended", "commitment.opened", "done.claimed", "observed"}:
            rows.append((entry.kind, body.get("status", body.get("text", body.get("summary")))))
    return rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[str, Any]], int]:
    store, outside = open_store(tmp_path_factory.mktemp("calm") / "j.db"), Outside()
    make = busy_script(JUDGE_SAYS)
    assert run_through(store, make(outside, []), BUSY_GOAL) == "verified"
    return meaning(store), len(kinds(store))


@pytest.mark.parametrize("boundary", range(40))
def test_a_run_that_stops_behind_any_entry_goes_on_as_if_it_had_not(
    store: SqliteStore, outside: Outside, boundary: int, undisturbed: tuple[list[tuple[str, Any]], int]
) -> None:
    expected, length = undisturbed
    assert length <= 40, "more boundaries than are tried"
    make, models = busy_script(JUDGE_SAYS), []
    run = begin(store, make(outside, models), BUSY_GOAL)
    seen = [entry.seq for entry in islice(run.work(), boundary)]
    judged = models[0].judge.calls
    run.close()
    # A repeat of a finished question to the judge would be a second call in another process.
    assert resume(store, lambda: make(outside, models)) == "verified"
    assert meaning(store) == expected
    for name, wanted in (("put", ["a"]), ("order", ["b"]), ("launch", ["rocket"])):
        assert outside.effects(name) == wanted, name
    assert len([row for row in outside.done if row[0] == "launch"]) == 1
    finished = [e for e in of_kind(store, "sample.completion") if e.seq in seen]
    assert len([e for e in finished if e.body.get("purpose")]) <= judged
    asked = sum(made.model.calls + made.judge.calls for made in models)
    assert asked == len(of_kind(store, "sample.completion")), "an answer was asked for twice"
    assert verify(store, "r").ok


def test_going_on_in_the_same_process_after_dropping_the_iteration(store: SqliteStore, outside: Outside) -> None:
    run = begin(store, parts([call("order", text="b"), FINISH], outside.tools()))
    while not run.state.ended:
        for _ in islice(run.work(), 3):
            pass
    assert outside.effects("order") == ["b"]
    assert "run.resumed" not in kinds(store)
    run.close()


# 5. One writer


def test_a_session_that_was_taken_over_writes_nothing_more(store: SqliteStore, outside: Outside) -> None:
    script = [call("put", text="a"), call("put", text="b"), FINISH]
    old = begin(store, parts(script, outside.tools()))
    steps = old.work()
    next(steps)
    new = Run.open(store, "r", parts=lambda: parts(script, outside.tools()), take_over=True)
    with pytest.raises(LeaseLost):
        list(steps)
    before = kinds(store)
    with pytest.raises(LeaseLost):
        old.finish()
    old.close()
    assert kinds(store) == before
    assert new.finish() == "unverified"
    new.close()
    assert outside.effects("put") == ["a", "b"]


def test_another_living_process_is_refused(store: SqliteStore, outside: Outside) -> None:
    with begin(store, parts([FINISH], outside.tools())):
        store._execute("UPDATE runs SET owner = 'elsewhere/boot/1/1'")
        with pytest.raises(LeaseLost, match="owned by"):
            Run.open(store, "r", parts=lambda: parts([FINISH], outside.tools()))


# 7. Branches speculate with pure tools only; one branch commits


def test_a_branch_has_no_effects_and_one_branch_commits(store: SqliteStore, outside: Outside) -> None:
    run = begin(store, parts([call("look"), call("order", text="real"), FINISH], outside.tools()))
    list(islice(run.work(), 4))  # one finished turn; the model would be asked next
    head = run.state.head_seq
    names = []
    for number in range(2):
        name = fork(store, "r", head, speculative=True)
        script = [call("look"), [call("order", text=f"branch {number}"), call("send", text="x")], FINISH]
        # The branch's own code asks for nothing but open gates, and gets none.
        with Run.open(store, name, parts=lambda script=script: parts(script, outside.tools())) as branch:
            assert branch.finish() == "unverified"
        assert [(ok, text[:22]) for ok, text in receipts(store, name)][1:3] == [(False, "This call was not made")] * 2
        names.append(name)
    assert outside.done == []

    commit(run.session, names[1])
    with pytest.raises(UsageError, match="present head"):
        commit(run.session, names[0])
    assert run.finish() == "unverified"
    run.close()
    assert outside.effects("order") == ["branch 1"]
    assert outside.effects("send") == ["x"]
    assert last(store, "branch.committed").body["branch"] == names[1]


def test_commit_refuses_what_is_no_branch_of_the_present(store: SqliteStore, outside: Outside) -> None:
    script = [call("look"), call("put", text="a"), FINISH]
    run = begin(store, parts(script, outside.tools()))
    list(islice(run.work(), 2))  # a completion whose call is open
    early = fork(store, "r", run.state.head_seq, speculative=True)
    with pytest.raises(UsageError, match="not at a decision"):
        commit(run.session, early)
    list(islice(run.work(), 2))
    acting = fork(store, "r", run.state.head_seq)
    with pytest.raises(UsageError, match="acts for itself"):
        commit(run.session, acting)
    undecided = fork(store, "r", run.state.head_seq, speculative=True)
    with pytest.raises(UsageError, match="decided nothing"):
        commit(run.session, undecided)
    run.close()


def test_a_branch_leaves_open_calls_of_its_parent_alone(store: SqliteStore, outside: Outside) -> None:
    run = begin(store, parts([call("order", text="b"), FINISH], outside.tools()))
    list(islice(run.work(), 3))  # the intent
    assert last(store, "effect.intent").seq == run.state.head_seq
    name = fork(store, "r", run.state.head_seq, speculative=True)
    made = parts([call("order", text="b"), FINISH], outside.tools())
    with Run.open(store, name, parts=lambda: made) as branch:
        assert branch.finish() == "unverified"
    assert outside.done == []
    assert receipts(store, name)[0][0] is False
    run.close()


def test_a_branch_acts_in_its_own_copy_of_the_world(store: SqliteStore) -> None:
    ponds: list[Pond] = []

    def made() -> Any:
        ponds.append(Pond())
        return parts(["look", "cast", "cast", "cast", "cast"], world=WorldSession(ponds[-1], 0))

    run = begin(store, made(), goal({"kind": "world"}))
    list(islice(run.work(), 8))
    hour, head = ponds[0].hour, run.state.head_seq
    assert hour == 1
    name = fork(store, "r", head, speculative=True)
    with Run.open(store, name, parts=made) as branch:
        assert branch.finish() == "verified"
    assert ponds[0].hour == hour
    assert run.finish() == "verified"
    run.close()


# 11. Anyone can check


def test_a_changed_byte_is_named(store: SqliteStore, outside: Outside, tmp_path: Path) -> None:
    run_through(store, parts([call("put", text="apple"), FINISH], outside.tools()))
    assert verify(store, "r").ok
    seq = last(store, "effect.intent").seq
    with sqlite3.connect(tmp_path / "journal.db") as db:
        (data,) = db.execute("SELECT data FROM entries WHERE seq = ?", (seq,)).fetchone()
        changed = bytes(data).replace(b"apple", b"apply")
        db.execute("UPDATE entries SET data = ? WHERE seq = ?", (changed, seq))
    report = verify(store, "r")
    assert [problem.seq for problem in report.problems] == [seq]
    assert "byte" in report.problems[0].what
    with pytest.raises(StoreError, match="does not match its hash"):
        list(store.read("r"))


# 12. Old runs open


def test_a_cache_of_another_version_is_folded_anew(store: SqliteStore, outside: Outside) -> None:
    run_through(store, parts([call("put", text="a"), FINISH], outside.tools()))
    true = load_state(store, "r")
    for raw in (b"no json", b"[]", b'{"state_version": 99}', b'{"state_version": 1, "calls": [{}]}', b'{"calls": 1}'):
        store.save_cache("r", "state", 3, raw)
        assert load_state(store, "r") == true
    lying = {**true.to_json(), "head_hash": "0" * 64, "goal": "something else"}
    store.save_cache("r", "state", true.head_seq, json.dumps(lying).encode())
    assert load_state(store, "r") == true


# 13. Linear size


def test_a_step_costs_the_same_whether_the_run_is_young_or_old(store: SqliteStore, outside: Outside) -> None:
    script = [call("look", text=f"{i:05d}") for i in range(120)] + [FINISH]
    run_through(store, parts(script, outside.tools()))
    sizes = [len(json.dumps(entry.as_json())) for entry in store.read("r")]
    quarter = len(sizes) // 4
    assert sum(sizes[-quarter:]) < 1.1 * sum(sizes[quarter : 2 * quarter])
    blobs = store._execute("SELECT sum(length(data)), count(*) FROM blobs")[0]
    assert (blobs[0] or 0) < 120 * 1500


# Starting and opening


def test_a_run_that_never_began_says_so(store: SqliteStore, outside: Outside) -> None:
    from overwinter.journal import NewRun

    store.create(NewRun(run="empty", caps={}))
    with pytest.raises(UsageError, match="no entry of its own"):
        Run.open(store, "empty")
    run_through(store, parts([FINISH]))
    store.create(NewRun(run="half", parent="r", fork_seq=2))
    with pytest.raises(UsageError, match="no entry of its own"):
        Run.open(store, "half", parts=lambda: parts([FINISH]))


def test_a_run_made_in_code_opens_only_with_the_same_tools(store: SqliteStore, outside: Outside) -> None:
    with begin(store, parts([call("put", text="a"), FINISH], outside.tools())) as run:
        assert status(run.state) == "running"
    with pytest.raises(UsageError, match="from Python code"):
        Run.open(store, "r")
    with pytest.raises(UsageError, match="not those run 'r' was started with"):
        Run.open(store, "r", parts=lambda: parts([FINISH], outside.tools()[:2]))
    assert resume(store, lambda: parts([call("put", text="a"), FINISH], outside.tools())) == "unverified"


def test_a_start_that_fails_gives_everything_back(store: SqliteStore) -> None:
    class NoWorld(Pond):
        def reset(self, seed: int) -> Any:
            raise RuntimeError("frozen over")

    closed: list[str] = []
    made = parts([FINISH], world=WorldSession(NoWorld(), 0))
    made.model.close = lambda: closed.append("model")  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="frozen over"):
        begin(store, made)
    assert closed == ["model"]
    assert store.info("r").owner == ""
    with pytest.raises(UsageError, match="either a setup or parts"):
        Run.start(store, goal())
    assert run_through(store, parts([FINISH])) == "unverified", "the name is free again"
    with pytest.raises(UsageError, match="exists already"):
        begin(store, parts([FINISH]))


def test_delivering_to_a_run_without_a_process_writes_at_once(store: SqliteStore) -> None:
    from overwinter.journal import Draft

    run_through(store, parts([call("ask_person", question="?"), FINISH]))
    deliver(store, "r", Draft(kind="event.received", body={"name": "answer", "data": {}, "by": "ann"}))
    assert kinds(store)[-1] == "event.received"
    assert store.info("r").owner == ""
    with pytest.raises(UsageError, match="does not exist"):
        send_event(store, "nobody", "x", {}, "ann")
