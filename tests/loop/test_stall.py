"""Loops are noticed; honest waiting is not punished."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_kit import FINISH, Clock, Outside, begin, call, forever, kinds, last, of_kind, parts, run_through

from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.run import Run
from overwinter.loop.stall import HISTORY, MAX_PERIOD, Turn, find_stall
from overwinter.tools import Effect, tool


def turns(text: str) -> list[Turn]:
    """One letter is one call with one result; '.' asks for nothing; upper case failed."""
    return [Turn(call="" if c == "." else c, result=c, ok=c.islower()) for c in text]


def pattern(text: str) -> str:
    stall = find_stall(turns(text))
    return stall.pattern if stall else ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("aaa", ""),
        ("aaaa", "cycle_1"),
        ("xyaaaa", "cycle_1"),
        ("aaaab", ""),
        ("ababa", ""),
        ("ababab", "cycle_2"),
        ("abcabcabc", "cycle_3"),
        ("abcdabcdabcd", "cycle_4"),
        ("abcdeabcdeabcde", "cycle_5"),
        ("abcdefabcdefabcdef", "cycle_6"),
        ("abcdefgabcdefgabcdefg", ""),
        ("a..", ""),
        ("a...", "no_call"),
        ("a..a..a..", ""),
        ("ABCDE", ""),
        ("ABCDEF", "errors"),
        ("ABCDEfGHIJK", ""),
        ("AAAA", "cycle_1"),
    ],
)
def test_patterns(text: str, expected: str) -> None:
    assert pattern(text) == expected


@given(st.text("abcdefgh", min_size=1, max_size=MAX_PERIOD), st.integers(0, 5), st.text("xyz", max_size=6))
def test_a_cycle_of_any_period_is_found_wherever_it_begins(unit: str, shift: int, before: str) -> None:
    shift %= len(unit)
    repeated = (unit * (4 + HISTORY // len(unit)))[shift : shift + HISTORY]
    assert pattern((before + repeated)[-HISTORY:]).startswith("cycle")


@given(st.lists(st.integers(), unique=True, max_size=HISTORY))
def test_changing_results_are_progress(results: list[int]) -> None:
    assert find_stall([Turn(call="look", result=str(r), ok=True) for r in results]) is None


@given(st.text(".abAB", max_size=HISTORY))
def test_a_stall_found_holds_for_what_stands_at_the_end(text: str) -> None:
    found = find_stall(turns(text))
    if found is not None:
        assert found == find_stall(turns(text[-HISTORY:]))
        assert found.count >= 3


def test_watching_something_change_is_not_a_loop(store: SqliteStore, outside: Outside) -> None:
    @tool(effect=Effect.PURE, name="thermometer")
    def thermometer() -> str:
        """Read it."""
        outside.reads += 1
        return f"{outside.reads} degrees"

    script = [call("thermometer")] * 12 + [FINISH]
    assert run_through(store, parts(script, [thermometer])) == "unverified"
    assert "stall.noticed" not in kinds(store)


def test_the_same_answer_again_and_again_is_noticed_once_per_four(store: SqliteStore, outside: Outside) -> None:
    made = parts(forever(call("look")), outside.tools())
    assert run_through(store, made) == "waiting:stalled"
    assert outside.reads == 12
    assert [e.body["pattern"] for e in of_kind(store, "stall.noticed")] == ["cycle_1"] * 3
    assert "You are not getting on" in made.model.views[-1].messages[-1].text or any(
        "You are not getting on" in m.text for m in made.model.views[-1].messages
    )
    assert str(last(store, "stall.noticed").seq) in last(store, "run.suspended").body["detail"]


def test_a_tool_tagged_wait_is_never_counted(store: SqliteStore) -> None:
    @tool(effect=Effect.PURE, name="poll", tags=["wait"])
    def poll() -> str:
        """Ask whether it is done."""
        return "not yet"

    assert run_through(store, parts([call("poll")] * 20 + [FINISH], [poll])) == "unverified"
    assert "stall.noticed" not in kinds(store)


def test_sleeping_clears_the_record(store: SqliteStore, outside: Outside, clock: Clock) -> None:
    def made() -> object:
        return parts(
            [call("look")] * 3 + [call("sleep", reason="x", seconds=1)] + [call("look")] * 3 + [FINISH], outside.tools()
        )

    run_through(store, made())  # type: ignore[arg-type]
    clock.now_us += 2_000_000
    with Run.open(store, "r", parts=made) as run:  # type: ignore[arg-type]
        assert run.finish() == "unverified"
    assert "stall.noticed" not in kinds(store)


def test_who_gets_out_of_a_stall_has_it_forgotten(store: SqliteStore, outside: Outside) -> None:
    script = [call("look")] * 4 + [call("look", text=str(i)) for i in range(HISTORY)]
    with begin(store, parts([*script, FINISH], outside.tools())) as run:
        assert run.finish() == "unverified"
        assert len(of_kind(store, "stall.noticed")) == 1
        assert run.state.stalls == 0


def test_failing_calls_of_all_kinds_are_noticed(store: SqliteStore, outside: Outside) -> None:
    script = [call(f"tool{i}") for i in range(6)] + [FINISH]
    assert run_through(store, parts(script, outside.tools())) == "unverified"
    assert [e.body["pattern"] for e in of_kind(store, "stall.noticed")] == ["errors"]
