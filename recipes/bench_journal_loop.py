"""Cases of `bench_journal.py` that need the whole loop: view, model, gate, tool, and the four appends of a step.

python recipes/bench_journal_loop.py CASE FOLDER NUMBER      # prints one JSON value
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_journal_cases import REPLY_CHARS, RESULT_CHARS, Laps, _bytes, words
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.controls import CONTROLS
from overwinter.loop.goal import Goal
from overwinter.loop.model import Completion, Constraint, Limits, View
from overwinter.loop.models import ScriptedModel
from overwinter.loop.run import Run
from overwinter.loop.session import Pace, Parts
from overwinter.tools import Effect, Toolbox, ToolContext, tool


def counting_parts() -> Any:
    """A model that orders 0, 1, 2 … and a keyed tool that confirms it, with a view of at most 8,000 tokens."""
    numbers = itertools.count()

    class Counting(ScriptedModel):
        def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> list[Completion]:
            call = json.dumps({"tool": "order", "arguments": {"number": next(numbers)}})
            return [Completion(text=words(REPLY_CHARS, next(numbers)) + call)] * n

    @tool(effect=Effect.KEYED)
    def order(number: int, context: ToolContext) -> str:
        """Order something.

        Args:
            number: which.
        """
        return words(RESULT_CHARS, number)

    return Parts(
        model=Counting([]), toolbox=Toolbox([order]), controls=CONTROLS, pace=Pace(window_tokens=8000, max_stalls=10**9)
    )


def overwinter_loop(folder: Path, steps: int) -> Any:
    """Steps of a real run: four appends each, the model's answer and the tool's result among them."""
    laps = Laps(steps)
    with Run.start(SqliteStore(folder / "run.db"), Goal(text="Order."), parts=counting_parts(), name="bench") as run:
        done = 0
        for entry in run.work():
            if entry.kind == "effect.receipt":
                done += 1
                laps.done(done)
            if done == steps:
                return laps.seconds
    raise AssertionError("the run ended early")


def long_loop(folder: Path, entries: int) -> Any:
    """A run of that many entries, interrupted; bytes on disk."""
    store = SqliteStore(folder / "run.db")
    store._execute("PRAGMA synchronous = OFF")
    with Run.start(store, Goal(text="Order."), parts=counting_parts(), name="bench") as run:
        for entry in run.work():
            if entry.seq >= entries:
                break
    store.close()
    return _bytes(folder)


def resume_loop(folder: Path, with_cache: int) -> Any:
    """Resume that run in a fresh process, up to its first new completion. Seconds count from the start of the process."""
    store = SqliteStore(folder / "run.db")
    if not with_cache:
        store._execute("DELETE FROM caches")
    with Run.open(store, "bench", parts=counting_parts) as run:
        first = run.state.head_seq
        for entry in run.work():
            if entry.kind == "sample.completion":
                seconds = time.time() - float(os.environ["BENCH_STARTED"])
                peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                return {"seconds": seconds, "entries": first + 1, "peak_mb": peak_mb}
    raise AssertionError("the run did not go on")


CASES: dict[str, Callable[[Path, int], Any]] = {
    case.__name__: case for case in (overwinter_loop, long_loop, resume_loop)
}

if __name__ == "__main__":
    name, folder, number = sys.argv[1:]
    print(json.dumps(CASES[name](Path(folder), int(number))))
