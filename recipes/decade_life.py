"""One life of the process that lives the decade: it goes on from what the journal says, until it is done or killed.

Each day: the day's events are appended (one durable commit), the day is acknowledged in a file of its own, memory derives what is
new, and what falls due is asked. What was answered is written down line by line; a line that a kill cut off is asked again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from decade_world import DAY_US, FIRST_DAY, Event, Plan, Question, events, make_plan, questions, time_us
from overwinter.journal import Draft, Store
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory.memory import Memory
from overwinter.memory.notebook import Notebook
from overwinter.memory.retrieve.assemble import assemble
from overwinter.memory.unit import AsOf, rough_tokens

WINDOW_TOKENS = 8000
RECALLED_TOKENS, TODAY_TOKENS = 5000, 2500
"""Of the window: what memory brings, and the latest events of the day. The rest is for the question."""
NAMESPACE = "house"


class Clock:
    """The journal's clock: the simulated time."""

    def __init__(self) -> None:
        self.us = time_us(0)

    def __call__(self) -> int:
        return self.us


def open_journal(folder: Path, clock: Clock) -> SqliteStore:
    return SqliteStore(folder / "house.db", clock_us=clock)


def next_day(store: Store) -> int:
    """The first day that has not been told."""
    run = Notebook(store, NAMESPACE).run
    if run not in {info.run for info in store.runs()}:
        return 0
    kept = store.info(run)
    told = next(iter(store.read(run, kept.head_seq, kept.head_seq + 1)), None)
    if told is None or told.kind != "observed":
        return 0
    return (told.body["data"]["happened_us"] - time_us(0)) // DAY_US + 1


def tell(notebook: Notebook, clock: Clock, day: int, rows: list[Event]) -> None:
    """Append a day, in one commit."""
    clock.us = time_us(day, 1439)
    drafts = []
    for row in rows:
        data: dict[str, Any] = {
            "actor": row.actor,
            "session": f"day-{day:05d}",
            "happened_us": time_us(day, row.minute),
        }
        drafts.append(Draft(kind="observed", body={"source": "import", "text": {"text": row.text}, "data": data}))
    notebook.append(drafts)


def ask(memory: Memory, day: int, asked: Question, today: list[Event]) -> dict[str, Any]:
    """Ask one question and see whether what is recalled answers it."""
    at = None
    if asked.at is not None:
        moment = time_us((asked.at - FIRST_DAY).days, 1439)
        at = AsOf(valid_us=moment, known_us=moment)
    began, cpu = time.perf_counter(), time.process_time()
    answer = memory.search(asked.text, k=12, at=at, budget_tokens=RECALLED_TOKENS)
    wall_ms, cpu_ms = 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - cpu)
    recalled = assemble(answer, RECALLED_TOKENS)
    context = rough_tokens(recalled) + _today(today) + rough_tokens(asked.text)
    first = answer.claims[0].object if answer.claims else ""
    return {
        "day": day,
        "kind": asked.kind,
        "found": asked.needle in recalled,
        "first": bool(answer.hits) and asked.needle in answer.hits[0].unit.text,
        "claim": asked.needle in first,
        "hits": len(answer.hits),
        "told": asked.told,
        "tokens": context,
        "wall_ms": round(wall_ms, 3),
        "cpu_ms": round(cpu_ms, 3),
        "text": asked.text,
        "needle": asked.needle,
    }


def _today(rows: list[Event]) -> int:
    """Tokens of the latest events of the day that fit."""
    used = 0
    for row in reversed(rows):
        size = rough_tokens(row.text)
        if used + size > TODAY_TOKENS:
            break
        used += size
    return used


def asked_already(path: Path) -> set[tuple[int, str]]:
    """What whole lines of the file say; a torn last line is cut off."""
    if not path.exists():
        return set()
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    rows = [json.loads(line) for line in whole.splitlines()]
    return {(row["day"], row["text"]) for row in rows}


def live(folder: Path, seed: int, days: int, per_day: int, plan: Plan) -> None:
    clock = Clock()
    store = open_journal(folder, clock)
    notebook = Notebook(store, NAMESPACE)
    answers, acknowledged = folder / "answers.jsonl", folder / "acknowledged"
    done = asked_already(answers)
    start = next_day(store)
    memory = Memory.open(store, NAMESPACE)
    with answers.open("a") as out, acknowledged.open("a") as ack:
        for day in range(max(start - 1, 0), days):
            rows = list(events(seed, plan, day))
            if day >= start:
                tell(notebook, clock, day, rows)
                ack.write(f"{day}\n")
                ack.flush()
                os.fsync(ack.fileno())
            clock.us = time_us(day, 1439)
            began = time.perf_counter()
            memory.sync()
            sync_s = time.perf_counter() - began
            for asked in questions(seed, plan, day, per_day):
                if (day, asked.text) not in done:
                    row = ask(memory, day, asked, rows)
                    out.write(json.dumps(row) + "\n")
            out.flush()
            if day % 365 == 364:
                _year_ends(folder, memory, day, sync_s)
    memory.close()
    store.close()


def _year_ends(folder: Path, memory: Memory, day: int, sync_s: float) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("house.db*") if path.is_file())
    row = {"day": day, "bytes": size, "units": memory.index.count(), "sync_s": sync_s}
    with (folder / "years.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--per-day", type=int, default=2)
    arguments = parser.parse_args()
    plan = make_plan(arguments.seed, arguments.years)
    live(arguments.folder, arguments.seed, 365 * arguments.years, arguments.per_day, plan)


if __name__ == "__main__":
    main()
