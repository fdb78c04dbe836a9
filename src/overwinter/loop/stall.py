"""Loop and no-progress detection that does not punish honest waiting.

Progress is judged by results, not by calls: the same call with a new answer is watching, not looping. A pattern counts only
when call *and* result repeat. Sleeping clears the record, and a tool tagged "wait" is never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

HISTORY = 24
"""Turns remembered: four periods of the longest cycle that is looked for."""
REPEATS = 4
"""The same call with the same result this often in a row is a loop."""
PERIODS = 3
"""A longer cycle (A B A B …) must come round this often."""
MAX_PERIOD = 6
SILENT_TURNS = 3
"""Completions in a row that call nothing that can be understood."""
ERRORS = 6
"""Calls in a row that fail, whatever they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A call and its result, as short hashes. `call` "" means the completion asked for nothing understandable."""

    call: str
    result: str
    ok: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Stall:
    """A pattern found. `count` is how often it came round."""

    pattern: str
    detail: str
    count: int


def find_stall(turns: Sequence[Turn]) -> Stall | None:
    """The most specific pattern at the end of `turns` (oldest first), or None while there is progress."""
    silent = _count_from_end(turns, lambda turn: not turn.call)
    if silent >= SILENT_TURNS:
        return Stall(
            pattern="no_call",
            detail=f"{silent} answers in a row asked for nothing that can be carried out",
            count=silent,
        )
    for period in range(1, MAX_PERIOD + 1):
        needed = REPEATS if period == 1 else PERIODS
        if _repeats(turns, period) >= needed:
            what = (
                "the same call gave the same result"
                if period == 1
                else f"a cycle of {period} calls gave the same results"
            )
            return Stall(pattern=f"cycle_{period}", detail=f"{what} {needed} times", count=needed)
    failed = _count_from_end(turns, lambda turn: not turn.ok)
    if failed >= ERRORS:
        return Stall(pattern="errors", detail=f"{failed} calls in a row failed", count=failed)
    return None


def _repeats(turns: Sequence[Turn], period: int) -> int:
    """How often the last `period` turns stand at the end, one after the other."""
    unit = list(turns[-period:])
    if len(unit) < period or any(not turn.call for turn in unit):
        return 0
    count = 0
    while list(turns[len(turns) - (count + 1) * period : len(turns) - count * period]) == unit:
        count += 1
        if (count + 1) * period > len(turns):
            break
    return count


def _count_from_end(turns: Sequence[Turn], test: Callable[[Turn], bool]) -> int:
    count = 0
    for turn in reversed(turns):
        if not test(turn):
            break
        count += 1
    return count
