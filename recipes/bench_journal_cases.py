"""The writers and readers that `bench_journal.py` compares, each run in a process of its own:

    python bench_journal_cases.py CASE FOLDER STEPS

prints one line of JSON: what the case measured. A case that writes steps gives the seconds after each hundred of them.

Every writer stores the same three records per step, one after the other, each on disk before the next begins: the intent, the
completion, the receipt. All sync fully: SQLite's `synchronous = FULL`, which is also what SQLite, LangGraph and DBOS leave as
the default. LangGraph's state is the history so far, as in every chat agent; DBOS records each step's result.
"""

from __future__ import annotations

import hashlib
import json
import operator
import random
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from overwinter.journal import Draft, Lease, NewRun
from overwinter.journal.sqlite import SqliteStore

KINDS = ("sample.intent", "sample.completion", "effect.receipt")
REPLY_CHARS, RESULT_CHARS, VIEW_CHARS = 300, 700, 50_000
WORDS = ["".join(random.Random(i).choices("aeioulnrstmdkpgbvfh", k=2 + i % 9)) for i in range(4000)]
Record = dict[str, Any]


def words(chars: int, seed: int) -> str:
    """A text that compresses about as well as prose: words drawn with falling frequency."""
    rng = random.Random(seed)
    text = ""
    while len(text) < chars:
        text += " ".join(WORDS[int(len(WORDS) * rng.random() ** 3)] for _ in range(chars // 6)) + " "
    return text[:chars]


def records(step: int) -> list[Record]:
    """The bodies of one step's three records: realistic in size, and with the budget movements a run makes."""
    first = 3 * step
    held, used = {"tokens": 4096, "micro_usd": 900}, {"tokens": 1200 + step % 50, "micro_usd": 260}
    shown = {"shown": [[0, 0], [max(1, first - 150), first]], "hidden": max(0, first - 150)}
    digest = hashlib.sha256(str(step).encode()).hexdigest()
    intent = {"step": step, "view": shown | {"digest": digest, "tokens": 12_000}, "constraint": {}, "reserve": held}
    call = {"id": f"c{step}", "tool": "read_sensor", "arguments": {"bench": step % 7, "sensor": "soil"}}
    completion = {
        "intent": first,
        "text": {"text": words(REPLY_CHARS, 2 * step)},
        "calls": [call],
        "text_only": True,
        "finish_reason": "tool_calls",
        "usage": {"prompt_tokens": 12_000, "completion_tokens": 80},
        "model": "bench",
        "settle": {"reserved": held, "spent": used},
    }
    receipt = {"intent": first + 1, "call_id": f"c{step}", "ok": True, "data": {}, "error": None}
    receipt["text"] = {"text": words(RESULT_CHARS, 2 * step + 1)}
    return [intent | {"limits": {"max_tokens": 512}}, completion, receipt]


class Laps:
    """Seconds since the start, noted after each hundred steps. Making the records is not counted."""

    def __init__(self, steps: int) -> None:
        self.all = [records(step) for step in range(steps)]
        self.every = max(1, min(100, steps // 10))
        self.seconds: list[float] = []
        self.start = time.perf_counter()

    def done(self, steps: int) -> None:
        if steps % self.every == 0:
            self.seconds.append(time.perf_counter() - self.start)


@contextmanager
def new_run(folder: Path) -> Iterator[tuple[SqliteStore, Lease]]:
    store = SqliteStore(folder / "overwinter.db")
    store.create(NewRun(run="bench", caps={"tokens": 10**12, "micro_usd": 10**12}))
    yield store, store.acquire("bench", "bench", 3600)
    store.close()


def overwinter(folder: Path, steps: int) -> Any:
    """Three appends per step, with the chain, the fencing check and two budgets."""
    with new_run(folder) as (store, lease):
        laps = Laps(steps)
        for step in range(steps):
            for kind, body in zip(KINDS, laps.all[step], strict=True):
                store.append("bench", [Draft(kind=kind, body=body)], fence=lease.fence)
            laps.done(step + 1)
    return laps.seconds


def sqlite_floor(folder: Path, steps: int) -> Any:
    """The least any store on SQLite can do: insert the bytes, sync, three times per step."""
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, data BLOB)")
    laps = Laps(steps)
    for step in range(steps):
        for body in laps.all[step]:
            db.execute("INSERT INTO entries (data) VALUES (?)", (json.dumps(body).encode(),))
        laps.done(step + 1)
    return laps.seconds


def langgraph(folder: Path, steps: int) -> Any:
    """Three nodes per step; the state is the history."""
    laps = Laps(steps)
    _langgraph(folder / "langgraph.db", laps, operator.add)
    return laps.seconds


def langgraph_delta(folder: Path, steps: int) -> Any:
    """The same with LangGraph's DeltaChannel (beta), which checkpoints the history every hundred updates only."""
    from langgraph.channels.delta import DeltaChannel

    laps = Laps(steps)
    _langgraph(folder / "langgraph.db", laps, DeltaChannel(_add_all))
    return laps.seconds


def langgraph_small(folder: Path, steps: int) -> Any:
    """The same with a state that holds only the last record: what LangGraph costs when nothing is remembered."""
    laps = Laps(steps)
    _langgraph(folder / "langgraph.db", laps, _keep_last)
    return laps.seconds


def _add_all(history: list[Record], writes: list[list[Record]]) -> list[Record]:
    return history + [record for write in writes for record in write]


def _keep_last(_: list[Record], new: list[Record]) -> list[Record]:
    return new


def _langgraph(path: Path, laps: Laps, channel: Any) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    # Not as a class: its annotations would be strings, and LangGraph could not find `channel` behind them.
    state_type = TypedDict("State", {"history": Annotated[list, channel], "step": int})  # noqa: UP013
    last = len(laps.all)

    def node(place: int) -> Callable[[Any], Record]:
        def write(state: Any) -> Record:
            if place == 0:
                # The step before is on disk by now: with durability "sync" the next node starts after its checkpoint.
                laps.done(state["step"])
            advance = {"step": state["step"] + 1} if place == 2 else {}
            return {"history": [{"kind": KINDS[place], **laps.all[state["step"]][place]}]} | advance

        return write

    graph = StateGraph(state_type)
    for place, kind in enumerate(KINDS):
        graph.add_node(kind, node(place))
    graph.add_edge(START, KINDS[0])
    graph.add_edge(KINDS[0], KINDS[1])
    graph.add_edge(KINDS[1], KINDS[2])
    graph.add_conditional_edges(KINDS[2], lambda state: END if state["step"] == last else KINDS[0])
    db = sqlite3.connect(path, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    app = graph.compile(checkpointer=SqliteSaver(db))
    config = {"configurable": {"thread_id": "bench"}, "recursion_limit": 3 * last + 10}
    laps.start, laps.seconds = time.perf_counter(), []
    app.invoke({"history": [], "step": 0}, config, durability="sync")
    laps.seconds = laps.seconds[1:]  # step 0 ends nothing
    laps.done(last)
    db.close()


def dbos(folder: Path, steps: int) -> Any:
    """One workflow, three steps per iteration, as DBOS comes: rollback journal."""
    return _dbos(folder, steps, "DELETE")


def dbos_wal(folder: Path, steps: int) -> Any:
    """The same on a write-ahead log, which DBOS does not choose by itself."""
    return _dbos(folder, steps, "WAL")


def _dbos(folder: Path, steps: int, journal_mode: str) -> Any:
    import sqlalchemy
    from dbos import DBOS

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
    def settings(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("PRAGMA synchronous = FULL")

    url = f"sqlite:///{folder}/dbos.db"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False})
    laps = Laps(steps)

    @DBOS.step()
    def write(step: int, place: int) -> Record:
        return laps.all[step][place]

    @DBOS.workflow()
    def run() -> None:
        laps.start = time.perf_counter()
        for step in range(steps):
            for place in range(3):
                write(step, place)
            laps.done(step + 1)

    DBOS.launch()
    run()
    DBOS.destroy()
    return laps.seconds


# Sizes: nothing here is timed, so nothing is synced.


def overwinter_bytes(folder: Path, steps: int) -> Any:
    """A run whose view is the last 50 kB: the intents name ranges of entries, the texts are stored once."""
    with new_run(folder) as (store, lease):
        store._execute("PRAGMA synchronous = OFF")
        for step in range(steps):
            drafts = [Draft(kind=kind, body=body) for kind, body in zip(KINDS, records(step), strict=True)]
            store.append("bench", drafts, fence=lease.fence)
    return _bytes(folder)


def twin_bytes(folder: Path, steps: int) -> Any:
    """A checkpoint of the view at each of the three durable points of a step."""
    return _twin(folder, steps, lambda state: state)


def twin_step_bytes(folder: Path, steps: int) -> Any:
    """One checkpoint of the view at the end of each step."""
    return _twin(folder, steps, lambda state: state, every=len(KINDS))


def twin_zlib_bytes(folder: Path, steps: int) -> Any:
    """The same, each checkpoint compressed."""
    return _twin(folder, steps, lambda state: zlib.compress(state, 6))


def _twin(folder: Path, steps: int, pack: Callable[[bytes], bytes], every: int = 1) -> Any:
    db = sqlite3.connect(folder / "twin.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY, state BLOB)")
    view = [{"text": words(VIEW_CHARS, 0)}]
    for step in range(steps):
        for place, body in enumerate(records(step), 1):
            view = _last_50_kb(view, [body])
            if place % every == 0:
                db.execute("INSERT INTO checkpoints (state) VALUES (?)", (pack(json.dumps(view).encode()),))
    db.close()
    return _bytes(folder)


def langgraph_bytes(folder: Path, steps: int) -> Any:
    """LangGraph with that view as its state: the nodes write what is new, the reducer drops what is too long ago."""
    _langgraph(folder / "langgraph.db", Laps(steps), _last_50_kb)
    return _bytes(folder)


def _last_50_kb(view: list[Record], new: list[Record]) -> list[Record]:
    """The newest records that fit into the view; it starts full, since the run had a long life before."""
    if not view:
        view = [{"text": words(VIEW_CHARS, 0)}]
    view = view + new
    size = sum(len(json.dumps(record)) for record in view)
    while size > VIEW_CHARS + 2000 and len(view) > 1:
        excess = size - VIEW_CHARS
        oldest = view[0]
        if len(oldest) == 1 and len(oldest["text"]) > excess:
            view = [{"text": oldest["text"][excess:]}, *view[1:]]
            size -= excess
        else:
            size -= len(json.dumps(oldest))
            view = view[1:]
    return view


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def long_run(folder: Path, steps: int) -> Any:
    """The run that `resume` reads."""
    return overwinter_bytes(folder, steps)


def resume(folder: Path, _: int) -> Any:
    """Open that run in a fresh process and read it: all of it, and only the last 200 entries."""
    import resource

    started = time.perf_counter()
    store = SqliteStore(folder / "overwinter.db")
    head = store.info("bench").head_seq
    tail = sum(1 for _ in store.read("bench", head - 199))
    tail_s = time.perf_counter() - started
    started = time.perf_counter()
    entries = sum(1 for _ in store.read("bench"))
    read_s = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"tail": tail, "tail_s": tail_s, "entries": entries, "read_s": read_s, "peak_mb": peak_mb}


CASES: dict[str, Callable[[Path, int], Any]] = {
    case.__name__: case
    for case in (
        overwinter,
        sqlite_floor,
        langgraph,
        langgraph_delta,
        langgraph_small,
        dbos,
        dbos_wal,
        overwinter_bytes,
        twin_bytes,
        twin_zlib_bytes,
        langgraph_bytes,
        twin_step_bytes,
        long_run,
        resume,
    )
}

if __name__ == "__main__":
    name, folder, steps = sys.argv[1:]
    print(json.dumps(CASES[name](Path(folder), int(steps))))
