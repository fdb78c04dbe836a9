"""Forks: at any entry, at no cost, with settings of their own. Budgets and effects of forks: test_budgets, test_effects."""

from __future__ import annotations

from typing import Any

import pytest
from loop_kit import FINISH, Outside, Pond, begin, call, goal, kinds, last, of_kind, parts, resume, run_through, shown

from overwinter.errors import UsageError
from overwinter.journal import verify
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import fork
from overwinter.loop.run import Run, answer_approval
from overwinter.loop.session import load_state
from overwinter.loop.world import WorldSession


def test_a_fork_at_every_entry_goes_on_from_there(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        script = [call("look"), [call("order", text="a"), call("put", text="b")], "hm", FINISH, FINISH]
        return parts(script, outside.tools())

    run_through(store, made())
    before = list(store.read("r"))
    for entry in before:
        child = fork(store, "r", entry.seq)
        assert resume(store, made, child) == "unverified"
        assert list(store.read(child))[: entry.seq + 1] == before[: entry.seq + 1]
        assert verify(store, child).ok
        assert [e.kind for e in store.read(child)].count("run.forked") == 1
    assert list(store.read("r")) == before, "the parent never notices"


def test_a_fork_in_a_world_takes_the_world_along(store: SqliteStore) -> None:
    script = ["look", "cast", "cast", "cast", "cast"]

    def made(world: Pond | None = None) -> Any:
        return parts(script, world=WorldSession(world or Pond(), 0))

    run_through(store, made(), goal({"kind": "world"}))
    whole = [e.body["text"] for e in of_kind(store, "effect.receipt")]
    for entry in list(store.read("r"))[:-4]:
        child = fork(store, "r", entry.seq)
        seen: list[Any] = []
        with Run.open(store, child, parts=made) as run:
            assert run.finish() == "verified"
            seen = run.session.parts.model.views  # type: ignore[attr-defined]
        assert [e.body["text"] for e in of_kind(store, "effect.receipt", child)] == whole
        assert not seen or "hour 0, 0 fish" in shown(seen[0]), "the actor has been shown the world"


def test_a_fork_costs_one_row_and_one_entry(store: SqliteStore, outside: Outside) -> None:
    run_through(store, parts([call("look", text=f"x{i}") for i in range(60)] + [FINISH], outside.tools()))
    head = store.info("r").head_seq
    counted: list[str] = []
    store._db.set_trace_callback(counted.append)
    early = fork(store, "r", 3)
    costs = [len(counted)]
    counted.clear()
    fork(store, "r", head - 2)
    costs.append(len(counted))
    store._db.set_trace_callback(None)
    assert costs[0] == costs[1] < 40
    assert store._execute("SELECT count(*) FROM entries WHERE run = ?", (early,)) == [(1,)]


def test_a_fork_of_a_fork(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("put", text="a"), call("put", text="b"), FINISH], outside.tools())

    run_through(store, made())
    child = fork(store, "r", of_kind(store, "effect.receipt")[0].seq)
    assert resume(store, made, child) == "unverified"
    grandchild = fork(store, child, last(store, "effect.intent", child).seq)
    assert resume(store, made, grandchild) == "unverified"
    uncle = fork(store, child, 2)  # an entry that the child has from its parent
    assert resume(store, made, uncle) == "unverified"
    for name in (child, grandchild, uncle):
        assert verify(store, name).ok
        assert [e.body["call"]["arguments"]["text"] for e in of_kind(store, "effect.intent", name)][-1] == "b"


def test_a_setup_changes_fields_and_keeps_the_rest(store: SqliteStore) -> None:
    model = {"kind": "scripted", "replies": ["hm", '{"tool": "finish", "arguments": {"summary": "x"}}']}
    setup = {"model": model, "pace": {"max_tokens": 40}}
    with Run.start(store, goal(), setup=setup, name="r") as run:
        assert run.finish() == "unverified"
    child = fork(store, "r", 0, setup={"pace": {"max_tokens": 41}}, reason="longer answers")
    with Run.open(store, child) as run:
        assert run.finish() == "unverified"
        assert run.state.setup == {"model": model, "pace": {"max_tokens": 41}}
    assert last(store, "run.forked", child).body["reason"] == "longer answers"
    assert last(store, "sample.intent", child).body["limits"]["max_tokens"] == 41
    again = fork(store, child, store.info(child).head_seq, setup={"controls": ["finish"]})
    assert load_state(store, again).setup == {"model": model, "pace": {"max_tokens": 41}, "controls": ["finish"]}


def test_a_fork_may_have_other_gates_for_a_call_that_is_open(store: SqliteStore, tmp_path: Any) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "from overwinter.tools import Effect, tool\n"
        "@tool(effect=Effect.IRREVERSIBLE)\ndef send(text: str) -> str:\n    '''Send.'''\n    return 'sent ' + text\n"
    )
    replies = ['{"tool": "send", "arguments": {"text": "a"}}', '{"tool": "finish", "arguments": {"summary": "x"}}']
    setup = {"model": {"kind": "scripted", "replies": replies}, "tools": {"modules": [str(source)]}}
    with Run.start(store, goal(), setup=setup, name="r") as run:
        assert run.finish() == "waiting:approval"
    child = fork(store, "r", store.info("r").head_seq, setup={"gates": [{"name": "open", "decision": "allow"}]})
    with Run.open(store, child) as run:
        assert run.finish() == "unverified"
    assert last(store, "effect.intent", child).body["rule"] == "open"
    assert store.info("r").status == "waiting:approval"


def test_a_fork_of_a_waiting_run_waits_for_answers_of_its_own(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools(), rules=[])

    run_through(store, made())
    child = fork(store, "r", store.info("r").head_seq)
    assert resume(store, made, child) == "waiting:approval"
    answer_approval(store, child, approve=True, by="ann")
    assert resume(store, made, child) == "unverified"
    assert resume(store, made) == "waiting:approval"
    assert outside.effects("send") == ["c"]


def test_what_cannot_be_forked(store: SqliteStore, outside: Outside) -> None:
    run_through(store, parts([FINISH], outside.tools()))
    names = [info.run for info in store.runs()]
    for seq in (-1, 999):
        with pytest.raises(UsageError, match="has no entry"):
            fork(store, "r", seq)
    with pytest.raises(UsageError, match="does not exist"):
        fork(store, "nobody", 0)
    with pytest.raises(UsageError, match="unknown fields"):
        fork(store, "r", 0, setup={"modle": {}})
    with pytest.raises(UsageError, match="parts made in code"):
        fork(store, "r", 0, setup={"pace": {}})
    with pytest.raises(UsageError, match="exists already"):
        fork(store, "r", 0, name="r")
    assert [info.run for info in store.runs()] == names
    assert kinds(store)[-1] == "run.ended"


def test_a_fork_of_an_ended_run_may_go_on(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([FINISH, call("put", text="more"), FINISH], outside.tools())

    with begin(store, made()) as run:
        run.finish()
    child = fork(store, "r", store.info("r").head_seq)
    assert resume(store, made, child) == "unverified"
    assert outside.effects("put") == ["more"]
