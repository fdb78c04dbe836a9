"""Budgets: reserved before, settled after, durable, shared; exhaustion ends the run cleanly and resumably."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from loop_kit import FINISH, Clock, Outside, begin, call, forever, last, of_kind, parts, resume, run_through

from overwinter.errors import UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.fork import fork
from overwinter.loop.models import ScriptedModel
from overwinter.loop.run import Run

PLENTY = {"tokens": 1_000_000, "micro_usd": 1_000_000, "wall_ms": 10_000_000, "tool_calls": 1000}


def settled(store: SqliteStore, budget: str = "r") -> dict[str, int]:
    """What was spent; nothing may be held any more."""
    lines = store.budget(budget)
    assert all(line.reserved == 0 for line in lines.values()), lines
    return {name: line.spent for name, line in lines.items()}


def priced(script: list[Any]) -> ScriptedModel:
    return ScriptedModel(script, by_turn=True, micro_usd_per_token=2)


def test_what_was_held_is_given_back_and_what_was_used_is_booked(store: SqliteStore, outside: Outside) -> None:
    held: list[dict[str, int]] = []
    outside.watch = lambda *_: held.append({name: line.reserved for name, line in store.budget("r").items()})
    script = [call("put", text="a"), call("put", text="b"), call("lok"), FINISH]
    assert run_through(store, parts(priced(script), outside.tools()), **PLENTY) == "unverified"
    assert [row["tool_calls"] for row in held] == [1, 1]
    assert all(row["tokens"] == 0 and row["wall_ms"] > 0 for row in held)
    spent = settled(store)
    usage = [e.body["usage"] for e in of_kind(store, "sample.completion")]
    assert spent["tokens"] == sum(u["prompt_tokens"] + u["completion_tokens"] for u in usage)
    assert spent["micro_usd"] == 2 * spent["tokens"]
    assert spent["tool_calls"] == 2, "a call that was never made costs nothing"
    for intent in of_kind(store, "sample.intent"):
        assert intent.body["reserve"]["tokens"] >= intent.body["view"]["tokens"]
        assert intent.body["reserve"]["micro_usd"] == 2 * intent.body["reserve"]["tokens"]


@pytest.mark.parametrize(
    ("resource", "cap"),
    [("tokens", 1200), ("micro_usd", 2400), ("wall_ms", 1), ("tool_calls", 2), ("tokens", 0), ("tool_calls", 0)],
)
def test_exhaustion_ends_cleanly_and_more_budget_goes_on(
    store: SqliteStore, outside: Outside, resource: str, cap: int
) -> None:
    def made() -> Any:
        script = [call("put", text=str(i)) for i in range(6)] + [FINISH]
        return parts(priced(script), outside.tools())

    caps = {**PLENTY, resource: cap}
    if resource == "wall_ms":
        caps["wall_ms"] = 1
    with begin(store, made(), **caps) as run:
        status = run.finish()
        if resource == "wall_ms" and status != "waiting:budget":
            pytest.skip("six steps in less than a millisecond")
        assert status == "waiting:budget"
        settled(store)
        line = store.budget("r")[resource]
        assert line.spent <= cap or resource == "wall_ms"
        detail = last(store, "run.suspended").body["detail"]
        assert resource in detail or "tokens, " in detail or "working time" in detail
        done = outside.effects("put")
        # Resuming without more: says the same, does nothing.
        assert run.finish() == "waiting:budget"
        assert outside.effects("put") == done
    with Run.open(store, "r", parts=made) as run:
        run.add_budget({resource: 10**6}, by="ann")
        assert run.finish() == "unverified"
    assert outside.effects("put") == [str(i) for i in range(6)]
    settled(store)


def test_a_short_budget_shortens_the_answer_before_it_ends_the_run(store: SqliteStore, outside: Outside) -> None:
    made = parts(forever("word " * 500), outside.tools(), max_tokens=100)
    with begin(store, made) as run:
        next(run.work())
        need = last(store, "sample.intent").body["view"]["tokens"]
    made = parts(forever("word " * 500), outside.tools(), max_tokens=100)
    assert run_through(store, made, name="s", tokens=need + 20 + 10) == "waiting:budget"
    limit = of_kind(store, "sample.intent", "s")[0].body["limits"]["max_tokens"]
    assert 16 <= limit <= 30
    assert settled(store, "s")["tokens"] <= need + 30


def test_wall_time_is_work_not_waiting(store: SqliteStore, clock: Clock, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("sleep", reason="night", seconds=3600), call("put", text="a"), FINISH], outside.tools())

    run_through(store, made(), wall_ms=10**9)
    clock.now_us += 3_700_000_000
    assert resume(store, made) == "unverified"
    assert settled(store)["wall_ms"] < 60_000


def test_a_call_that_died_is_charged_what_passed_at_most_what_was_held(
    store: SqliteStore, clock: Clock, outside: Outside
) -> None:
    def made() -> Any:
        return parts([call("send", text="a"), FINISH], outside.tools())

    run = begin(store, made(), wall_ms=10**9, tool_calls=5)
    list(islice(run.work(), 3))
    held = last(store, "effect.intent").body["reserve"]["wall_ms"]
    run.close()
    clock.now_us += 10**12
    resume(store, made)
    from overwinter.loop.run import answer_approval

    answer_approval(store, "r", approve=True, by="ann")
    resume(store, made)
    spent = settled(store)
    assert spent["tool_calls"] == 1
    assert held <= spent["wall_ms"] < held + 5000


@pytest.mark.parametrize("local", [True, False])
def test_a_lost_question_is_charged_in_full_where_it_may_have_been_billed(
    store: SqliteStore, outside: Outside, local: bool
) -> None:
    def made() -> Any:
        model = priced([FINISH])
        model.local = local
        return parts(model, outside.tools())

    run = begin(store, made(), **PLENTY)
    next(run.work())
    run.close()
    held = last(store, "sample.intent").body["reserve"]
    assert resume(store, made) == "unverified"
    lost = last(store, "sample.failed").body["settle"]["spent"]
    assert (lost["tokens"], lost["micro_usd"]) == ((0, 0) if local else (held["tokens"], held["micro_usd"]))
    settled(store)


def test_forks_draw_on_their_parent_s_budget(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("put", text="a"), call("put", text="b"), call("put", text="c"), FINISH], outside.tools())

    with begin(store, made(), tool_calls=4) as run:
        assert run.finish() == "unverified"
    child = fork(store, "r", 0)
    assert store.info(child).budgets == ("r",)
    assert resume(store, made, child) == "waiting:budget"
    assert settled(store)["tool_calls"] == 4
    with Run.open(store, child, parts=made) as run:
        run.add_budget({"tool_calls": 5})
        assert run.finish() == "unverified"


def test_a_run_with_two_budgets_stops_at_the_tighter_one(store: SqliteStore, outside: Outside) -> None:
    def made() -> Any:
        return parts([call("put", text=str(i)) for i in range(5)] + [FINISH], outside.tools())

    begin(store, made(), tool_calls=3, tokens=100_000).close()
    child = fork(store, "r", 0, caps={"tool_calls": 2, "wall_ms": 100_000})
    grandchild = fork(store, child, store.info(child).head_seq, caps={"tool_calls": 9})
    assert store.info(grandchild).budgets == (grandchild, child, "r")
    with Run.open(store, grandchild, parts=made) as run:
        assert run.session.left() == {"tool_calls": 2, "tokens": 100_000, "wall_ms": 100_000}
        assert run.finish() == "waiting:budget"
        run.add_budget({"tool_calls": 9}, budget=child)
        assert run.finish() == "waiting:budget"
        assert "'r'" in last(store, "run.suspended", grandchild).body["detail"]
        run.add_budget({"tool_calls": 9}, budget="r")
        assert run.finish() == "unverified"
    for name in ("r", child, grandchild):
        assert settled(store, name)["tool_calls"] == 5


def test_budgets_that_cannot_be_raised_are_refused(store: SqliteStore) -> None:
    with begin(store, parts([FINISH]), tokens=100_000) as run:
        with pytest.raises(UsageError, match="does not draw on"):
            run.add_budget({"tokens": 5}, budget="elsewhere")
        with pytest.raises(UsageError, match="does not limit tool_calls"):
            run.add_budget({"tool_calls": 5})
        with pytest.raises(UsageError, match="unknown resource"):
            run.add_budget({"patience": 5})
