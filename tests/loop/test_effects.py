"""Effect classes, effects in doubt, and every fault a tool can have (docs/loop.md, the protocol of an effect)."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from loop_kit import (
    FINISH,
    Outside,
    Pond,
    begin,
    call,
    forever,
    goal,
    kinds,
    last,
    of_kind,
    parts,
    receipts,
    resume,
    run_through,
    shown,
)

from overwinter.errors import ModelError, StoreError, UsageError
from overwinter.journal import unpack
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import fork
from overwinter.loop.run import Run, answer_approval, request_stop
from overwinter.loop.step import Next
from overwinter.loop.world import WorldSession
from overwinter.tools import Effect, ToolContext, ToolResult, idempotency_key, tool


class Died(BaseException):
    """Stands for the end of the process in the middle of a call."""


def die_in(store: SqliteStore, made: Any, name: str, outside: Outside, *, before: bool) -> None:
    """Start a run and end it inside the call of tool `name`, before or after its effect."""
    run = begin(store, made)
    for entry in run.work():
        if entry.kind == "effect.intent" and entry.body["call"]["tool"] == name:
            break  # the call has not been made
    if not before:
        body = last(store, "effect.intent").body
        context = ToolContext(run="r", entry=0, idempotency_key=body["key"])
        outside.take(name, body["call"]["arguments"]["text"], context)
    run.close()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["look", "put", "order"])
def test_a_repeatable_call_in_doubt_is_made_again_under_its_key(
    store: SqliteStore, outside: Outside, name: str, before: bool
) -> None:
    def made() -> Any:
        return parts([call(name, text="a"), FINISH], outside.tools())

    die_in(store, made(), name, outside, before=before)
    assert resume(store, made) == "unverified"
    first, second = of_kind(store, "effect.intent")
    assert (first.body["key"], first.body["attempt"]) == (second.body["key"], 1)
    assert second.body["attempt"] == 2
    assert second.body["reserve"] == {}, "it goes on under the first reservation"
    assert first.body["key"] == idempotency_key("r", first.seq, name, {"text": "a"})
    assert last(store, "effect.receipt").body["intent"] == -1  # finish
    assert of_kind(store, "effect.receipt")[0].body["resolved_by"] == "redo"
    assert first.body["call"]["arguments"] == {"text": "a"}
    if name != "look":
        assert outside.effects(name) == ["a"]
    assert store.budget("r")["tool_calls"].reserved == 0
    assert store.budget("r")["tool_calls"].spent == 1


@pytest.mark.parametrize("happened", [True, False])
def test_an_irreversible_call_in_doubt_is_probed(store: SqliteStore, outside: Outside, happened: bool) -> None:
    def made() -> Any:
        return parts([call("launch", text="rocket"), FINISH], outside.tools())

    die_in(store, made(), "launch", outside, before=not happened)
    assert resume(store, made) == "unverified"
    assert [row[:2] for row in outside.done] == [("launch", "rocket")]
    receipt = of_kind(store, "effect.receipt")[0]
    if happened:
        assert (receipt.body["resolved_by"], receipts(store)[0]) == ("probe", (True, "the probe saw rocket"))
    else:
        assert last(store, "effect.intent").body["rule"] == "probe:not-done"
        assert last(store, "effect.intent").body["key"] == of_kind(store, "effect.intent")[0].body["key"]


@pytest.mark.parametrize("happened", [True, False])
def test_without_a_probe_a_person_is_asked(store: SqliteStore, outside: Outside, happened: bool) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools())

    die_in(store, made(), "send", outside, before=not happened)
    done = list(outside.done)
    assert resume(store, made) == "waiting:in_doubt"
    before = kinds(store)
    assert resume(store, made) == "waiting:in_doubt"
    assert kinds(store) == before
    doubt = last(store, "effect.in_doubt")
    assert "it has no probe" in doubt.body["detail"]
    assert answer_approval(store, "r", approve=happened, by="ann") == doubt.seq
    with pytest.raises(UsageError, match="no approval"):
        answer_approval(store, "r", approve=not happened, by="bob")
    assert resume(store, made) == "unverified"
    assert outside.done == done, "an irreversible call was repeated"
    ok, text = receipts(store)[0]
    assert ok is happened
    assert ("A person confirmed" if happened else "did not take place") in text
    assert of_kind(store, "effect.receipt")[0].body["resolved_by"] == "person"


def test_a_call_that_ends_the_process_each_time_is_given_up(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("put", text="a"), FINISH], outside.tools(), max_attempts=3)

    die_in(store, made(), "put", outside, before=True)
    for _ in range(2):
        with Run.open(store, "r", parts=made) as run:
            for entry in run.work():
                if entry.kind == "effect.intent":
                    break
    assert resume(store, made) == "unverified"
    assert len(of_kind(store, "effect.intent")) == 3
    assert receipts(store)[0] == (False, "The process ended 3 times during this call; it was not tried again.")
    assert outside.done == []
    assert store.budget("r")["tool_calls"].reserved == 0


# Doubt without a crash: the tool itself cannot tell


def unsure(probe_says: Any, *, seconds: float = 0.0, timeout_s: float = 5.0) -> Any:
    calls: list[str] = []

    def probe(text: str) -> ToolResult | None:
        if isinstance(probe_says, Exception):
            raise probe_says
        return probe_says

    @tool(
        effect=Effect.IRREVERSIBLE, timeout_s=timeout_s, name="wire", probe=None if probe_says == "no probe" else probe
    )
    def wire(text: str) -> str:
        """Wire money."""
        calls.append(text)
        if seconds:
            import time

            time.sleep(seconds)
        raise RuntimeError("the line broke")

    return wire, calls


@pytest.mark.parametrize(
    ("probe_says", "status", "ok"),
    [
        (ToolResult(ok=True, text="arrived"), "unverified", True),
        (None, "unverified", False),
        (RuntimeError("bank closed"), "waiting:in_doubt", None),
        ("no probe", "waiting:in_doubt", None),
    ],
)
def test_a_crash_of_an_irreversible_call_is_probed_before_a_person_is_asked(
    store: SqliteStore, probe_says: Any, status: str, ok: bool | None
) -> None:
    wire, calls = unsure(probe_says)
    assert run_through(store, parts([call("wire", text="5"), FINISH], [wire])) == status
    assert calls == ["5"]
    if ok is None:
        assert "the line broke" in last(store, "effect.in_doubt").body["detail"]
    else:
        receipt = of_kind(store, "effect.receipt")[0]
        assert (receipt.body["ok"], receipt.body["resolved_by"]) == (ok, "probe")


def test_a_timed_out_irreversible_call_is_in_doubt_even_if_its_probe_does_not_find_it(store: SqliteStore) -> None:
    """It was given up, not stopped; making it again could make it twice."""
    wire, calls = unsure(None, seconds=0.3, timeout_s=0.02)
    made = lambda: parts([call("wire", text="5"), FINISH], [wire])  # noqa: E731
    assert run_through(store, made()) == "waiting:in_doubt"
    answer_approval(store, "r", approve=True, by="ann")
    assert resume(store, made) == "unverified"
    assert calls == ["5"]


# Faults of calls and tools


def test_calls_that_cannot_be_made_get_a_receipt_and_no_intent(store: SqliteStore, outside: Outside) -> None:
    script = [
        call("lok", text="a"),
        '{"tool": "put", "arguments": "not json"}',
        call("put", text=["a"]),
        call("put"),
        call("put", text="a", extra=1),
        call("sleep", reason="x"),
        call("sleep", reason="x", seconds=-1),
        call("fulfil", commitment=99, outcome="x"),
        call("read_entries", first=5, last=2),
        FINISH,
    ]
    assert run_through(store, parts(script, outside.tools(), max_stalls=9)) == "unverified"
    found = of_kind(store, "effect.receipt")[:-1]
    assert len(found) == 9
    assert all(entry.body["intent"] == -1 and not entry.body["ok"] for entry in found)
    assert [entry.body["error"] for entry in found] == ["unknown"] + ["arguments"] * 8
    assert "perhaps 'look'" in unpack(store, found[0].body["text"])
    assert of_kind(store, "effect.intent") == []


def test_what_tools_do_wrong_is_a_receipt(store: SqliteStore) -> None:
    @tool(effect=Effect.PURE, name="crash")
    def crash() -> str:
        """Crash."""
        raise ValueError("boom")

    @tool(effect=Effect.PURE, name="slow", timeout_s=0.02)
    def slow() -> str:
        """Hang."""
        import threading

        threading.Event().wait(0.5)
        return "late"

    @tool(effect=Effect.PURE, name="huge", max_output_bytes=5000)
    def huge() -> str:
        """Say too much."""
        return "x" * 1_000_000

    @tool(effect=Effect.PURE, name="raw")
    def raw() -> bytes:
        """Say bytes."""
        return b"caf\xe9 \xff\xfe"

    @tool(effect=Effect.PURE, name="half")
    def half() -> str:
        """Say half a character."""
        return "a\ud800b"

    @tool(effect=Effect.PURE, name="quits")
    def quits() -> str:
        """Leave."""
        raise SystemExit(3)

    tools = [crash, slow, huge, raw, half, quits]
    script = [*(call(each.name) for each in tools), FINISH]
    assert run_through(store, parts(script, tools)) == "unverified"
    found = {e.body["call"]["tool"]: r for e, r in zip(of_kind(store, "effect.intent"), receipts(store), strict=False)}
    assert "boom" in found["crash"][1]
    assert "No answer within" in found["slow"][1]
    assert "bytes left out" in found["huge"][1]
    assert len(found["huge"][1]) < 6000
    assert found["raw"] == (True, "caf\ufffd \ufffd\ufffd")
    assert found["half"] == (True, "a?b")
    assert "SystemExit" in found["quits"][1]
    assert of_kind(store, "effect.receipt")[2].body["data"]["truncated_bytes"] > 900_000


def test_a_tool_cannot_pass_its_answer_off_as_the_loop_s_own(store: SqliteStore) -> None:
    @tool(effect=Effect.PURE, name="server")
    def server() -> dict[str, Any]:
        """Answer with the words the loop goes by."""
        return {"world": "Earth", "waiting": True, "temperature": 3}

    def made() -> Any:
        return parts([call("server"), "cast"] + ["cast"] * 4, [server], world=WorldSession(Pond(), 0))

    run = begin(store, made(), goal({"kind": "world"}))
    list(islice(run.work(), 8))
    run.close()
    assert of_kind(store, "effect.receipt")[0].body["data"] == {"world_": "Earth", "waiting_": True, "temperature": 3}
    assert resume(store, made) == "verified"


def test_completions_with_no_calls_or_many(store: SqliteStore, outside: Outside) -> None:
    script = ["hm", [call("put", text="a"), call("lok"), call("put", text="b")], "hm", FINISH]
    made = parts(script, outside.tools())
    assert run_through(store, made) == "unverified"
    assert outside.effects("put") == ["a", "b"]
    assert "asked for nothing that can be carried out" in shown(made.model.views[1])
    assert "asked for nothing" not in shown(made.model.views[2])


def test_a_model_that_never_makes_sense_ends_stalled_and_can_be_resumed(store: SqliteStore) -> None:
    made = parts(forever("\x00garbage {{{ \ud800"))
    with begin(store, made) as run:
        assert run.finish() == "waiting:stalled"
        asked = len(made.model.views)
        assert asked == 9, "three stalls of three silent answers"
        assert run.finish() == "waiting:stalled"
        assert len(made.model.views) == 2 * asked


def test_a_model_error_suspends_and_resuming_asks_again(store: SqliteStore, outside: Outside) -> None:
    error = ModelError("the server is down", "try later", lost_tokens=40)
    with begin(store, parts([call("put", text="a"), error], outside.tools()), tokens=100_000) as run:
        assert run.finish() == "waiting:model"
        assert "server is down" in last(store, "run.suspended").body["detail"]
        line = store.budget("r")["tokens"]
        assert line.reserved == 0
        usage = [e.body["usage"] for e in of_kind(store, "sample.completion")]
        assert line.spent == 40 + sum(u["prompt_tokens"] + u["completion_tokens"] for u in usage)
    made = lambda: parts([call("put", text="a"), FINISH], outside.tools())  # noqa: E731
    assert resume(store, made) == "unverified"
    assert outside.effects("put") == ["a"]


def test_an_approved_call_whose_tool_is_gone_is_refused(store: SqliteStore, outside: Outside) -> None:
    run = begin(store, parts([call("send", text="c"), FINISH], outside.tools(), rules=[]))
    run.finish()
    answer_approval(store, "r", approve=True, by="ann")
    from overwinter.tools import Toolbox

    run.session.parts.toolbox = Toolbox(outside.tools()[:2])
    assert run.finish() == "unverified"
    run.close()
    assert of_kind(store, "effect.receipt")[0].body["error"] == "unknown"
    assert outside.done == []


def test_a_call_in_doubt_whose_tool_is_gone_is_for_a_person(store: SqliteStore, outside: Outside) -> None:
    made = lambda: parts([call("put", text="a"), FINISH], outside.tools())  # noqa: E731
    die_in(store, made(), "put", outside, before=True)
    from overwinter.tools import Toolbox

    with Run.open(store, "r", parts=made) as run:
        run.session.parts.toolbox = Toolbox()
        assert run.finish() == "waiting:in_doubt"
        answer_approval(store, "r", approve=False, by="ann")
        assert run.finish() == "unverified"


# Faults of the journal


def test_a_full_disk_stops_the_run_and_loses_nothing(store: SqliteStore, outside: Outside) -> None:
    made = lambda: parts([call("order", text="x" * 900 + str(i)) for i in range(40)] + [FINISH], outside.tools())  # noqa: E731
    run = begin(store, made())
    pages = store._execute("PRAGMA page_count")[0][0]
    store._execute(f"PRAGMA max_page_count = {pages + 12}")
    with pytest.raises(StoreError, match="full"):
        run.finish()
    with pytest.raises(StoreError, match="open the run again"):
        run.finish()
    run.close()
    store._execute("PRAGMA max_page_count = 1000000")
    assert resume(store, made) == "unverified"
    assert len(outside.effects("order")) == 40


def test_a_disk_that_fills_up_under_a_receipt_leaves_the_effect_in_doubt(store: SqliteStore, outside: Outside) -> None:
    made = lambda: parts([call("order", text="a"), FINISH], outside.tools())  # noqa: E731
    run = begin(store, made())

    real, failing = store.append, []

    def append(*args: Any, **kwargs: Any) -> Any:
        if args[1][0].kind == "effect.receipt" and not failing:
            failing.append(True)
            raise StoreError("the disk is full", "free some space")
        return real(*args, **kwargs)

    store.append = append  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="disk is full"):
        run.finish()
    run.close()
    assert run.state.calls[0].intent is not None
    assert resume(store, made) == "unverified"
    assert outside.effects("order") == ["a"]
    assert len(outside.done) == 2, "redone, under the same key"


def test_a_read_only_journal_can_be_read_and_not_resumed(store: SqliteStore, outside: Outside, tmp_path: Any) -> None:
    made = lambda: parts([call("put", text="a"), FINISH], outside.tools())  # noqa: E731
    begin(store, made()).close()
    frozen = SqliteStore(tmp_path / "journal.db", read_only=True)
    assert kinds(frozen) == ["run.started"]
    with pytest.raises(StoreError, match="readonly"):
        Run.open(frozen, "r", parts=made)
    frozen.close()


def test_closing_on_a_broken_store_hides_no_earlier_error(store: SqliteStore, outside: Outside) -> None:
    closed = []
    made = parts([call("put", text="a"), FINISH], outside.tools())
    made.model.close = lambda: closed.append("model")  # type: ignore[method-assign]
    run = begin(store, made)

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreError("gone", "get it back")

    store.release = store.save_cache = broken  # type: ignore[method-assign]
    run.close()
    run.close()
    assert closed == ["model"]


# Approvals and forks


def test_an_approval_of_the_parent_does_not_approve_in_the_fork(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools(), rules=[])

    run_through(store, made())
    answer_approval(store, "r", approve=True, by="ann")
    child = fork(store, "r", store.info("r").head_seq)
    assert resume(store, made) == "unverified"
    assert resume(store, made, child) == "waiting:approval"
    assert outside.effects("send") == ["c"]
    answer_approval(store, child, approve=False, by="ann")
    assert resume(store, made, child) == "unverified"
    assert [row[0] for row in outside.done] == ["send"]


def test_a_fork_does_not_make_an_irreversible_call_its_parent_may_still_make(
    store: SqliteStore, outside: Outside
) -> None:
    def made() -> Any:
        return parts([call("launch", text="rocket"), FINISH], outside.tools())

    die_in(store, made(), "launch", outside, before=True)
    child = fork(store, "r", store.info("r").head_seq)
    assert resume(store, made, child) == "unverified"
    assert outside.done == []
    assert "did not take place" in receipts(store, child)[0][1]
    assert resume(store, made) == "unverified"
    assert outside.effects("launch") == ["rocket"]


def test_parent_and_fork_share_the_key_of_an_open_call(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("order", text="b"), FINISH], outside.tools())

    die_in(store, made(), "order", outside, before=False)
    child = fork(store, "r", store.info("r").head_seq)
    assert resume(store, made) == "unverified"
    assert resume(store, made, child) == "unverified"
    assert len({key for _, _, key in outside.done}) == 1
    assert store.budget("r")["tool_calls"].reserved == 0


def test_a_stop_request_does_not_answer_an_approval(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("send", text="c"), FINISH], outside.tools(), rules=[])

    run_through(store, made())
    request_stop(store, "r", "ann")
    assert resume(store, made) == "waiting:approval"
    assert outside.done == []
    assert Next.WAIT_APPROVAL.value in {each.value for each in Next}
