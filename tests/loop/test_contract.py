"""The contract of a run, line by line (docs/design.md). Effects in doubt, budgets and the view have files of their own."""

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
    Clock,
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
from overwinter.loop.run import Run, answer_approval, deliver, request_stop, send_event, status
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


# 9. Waiting is free


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
