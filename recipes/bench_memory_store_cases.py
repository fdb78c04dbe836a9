"""What `bench_memory_store.py` measures, each in a process of its own:

    python bench_memory_store_cases.py CASE FOLDER COUNT

prints one line of JSON. Writers store the same texts: about 60 words each, drawn with falling frequency, 25 to a session. All
sync fully: SQLite's `synchronous = FULL`, which is also what the peers leave as the default.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import sys
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_journal_cases import WORDS
from overwinter.journal import Draft, NewRun
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory.index import Index
from overwinter.memory.memory import Memory
from overwinter.memory.place import index_path
from overwinter.memory.sqlite import SqliteIndex
from overwinter.memory.unit import Filter, Unit, rough_tokens, text_digest

BATCH = 2000
ALL = Filter(exclude_flags=frozenset())
Measured = dict[str, Any]


def text_of(number: int) -> str:
    rng = random.Random(number)
    drawn = [WORDS[int(len(WORDS) * rng.random() ** 3)] for _ in range(58)]
    return " ".join([*drawn, f"order-{number}", f"src/part{number % 997}.py"])


def unit_of(number: int, namespace: str = "") -> Unit:
    text = text_of(number)
    return Unit(
        id=f"{hash_of(namespace)}{number:016x}",
        run=f"run{namespace}",
        seq=number,
        first=0,
        last=len(text),
        session=f"s{number // 25}",
        place=number % 25,
        kind="message",
        actor="user",
        trust="trusted",
        happened_us=number,
        happened_until_us=number,
        told_us=number,
        text=text,
        tokens=rough_tokens(text),
        digest=text_digest(text),
    )


def hash_of(namespace: str) -> str:
    return text_digest(namespace)[:16]


def timed(work: Callable[[], Any], count: int) -> Measured:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"count": count, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


# Writers


def ours(folder: Path, count: int, batch: int) -> Measured:
    units = [unit_of(number) for number in range(count)]
    index = SqliteIndex(folder / "m.db", "bench")

    def work() -> None:
        for first in range(0, count, batch):
            with index.transaction():
                index.put_units(units[first : first + batch])

    done = timed(work, count)
    index.close()
    return done | {"bytes": (folder / "m.db").stat().st_size}


def floor(folder: Path, count: int, batch: int) -> Measured:
    """The least that stores and finds the same texts: a row and a row in FTS5, with nothing to filter, check or rebuild by."""
    units = [unit_of(number) for number in range(count)]
    db = sqlite3.connect(folder / "f.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE units (num INTEGER PRIMARY KEY, id TEXT UNIQUE, text TEXT)")
    db.execute("CREATE VIRTUAL TABLE said USING fts5(text, content='units', content_rowid='num', tokenize='porter')")

    def work() -> None:
        for first in range(0, count, batch):
            rows = [(unit.seq, unit.id, unit.text) for unit in units[first : first + batch]]
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO units VALUES (?, ?, ?)", rows)
            db.executemany("INSERT INTO said (rowid, text) VALUES (?, ?)", [(row[0], row[2]) for row in rows])
            db.execute("COMMIT")

    done = timed(work, count)
    db.close()
    return done | {"bytes": (folder / "f.db").stat().st_size}


def langgraph(folder: Path, count: int, batch: int) -> Measured:
    """A store of values by key; it has no text search."""
    from langgraph.store.base import PutOp
    from langgraph.store.sqlite import SqliteStore as LangGraphStore

    units = [unit_of(number) for number in range(count)]
    with LangGraphStore.from_conn_string(str(folder / "l.db")) as store:
        store.setup()

        def work() -> None:
            for first in range(0, count, batch):
                store.batch(
                    [
                        PutOp(namespace=(unit.session,), key=unit.id, value={"text": unit.text, "actor": unit.actor})
                        for unit in units[first : first + batch]
                    ]
                )

        done = timed(work, count)
    return done | {"bytes": (folder / "l.db").stat().st_size}


def chroma(folder: Path, count: int, batch: int) -> Measured:
    """With given vectors of two numbers, so that no model is measured."""
    import chromadb

    units = [unit_of(number) for number in range(count)]
    collection = chromadb.PersistentClient(str(folder / "c")).create_collection("bench", embedding_function=None)

    def work() -> None:
        for first in range(0, count, batch):
            part = units[first : first + batch]
            collection.add(
                ids=[unit.id for unit in part],
                documents=[unit.text for unit in part],
                embeddings=[[1.0, unit.seq / count] for unit in part],
            )

    done = timed(work, count)
    size = sum(file.stat().st_size for file in (folder / "c").rglob("*") if file.is_file())
    return done | {"bytes": size}


def sync(folder: Path, count: int, _: int) -> Measured:
    """From a journal that is written already: read and checked, derived, redacted, claims learnt, stored."""
    store = journal(folder / "j.db", count)
    memory = Memory.open(store)
    done = timed(memory.sync, count)
    size = index_path(store.path, "default").stat().st_size
    memory.close()
    return done | {"bytes": size}


def journal(path: Path, count: int, namespace: str = "default", run: str = "r") -> SqliteStore:
    store = SqliteStore(path)
    store.create(NewRun(run=run))
    lease = store.acquire(run, "bench", 3600)
    store.append(run, [started(namespace)], fence=lease.fence)
    for first in range(0, count, 1000):
        drafts = [observed(text_of(number)) for number in range(first, min(first + 1000, count))]
        store.append(run, drafts, fence=lease.fence)
    return store


def started(namespace: str) -> Draft:
    setup = {"memory": {"namespace": namespace}}
    body: dict[str, Any] = {"goal": "bench", "acceptance": [], "setup": setup, "budgets": [], "caps": {}}
    return Draft(kind="run.started", body=body | {"version": "0"})


def observed(text: str) -> Draft:
    return Draft(kind="observed", body={"source": "user", "text": {"text": text}, "data": {}})


# Reading


def read(folder: Path, count: int, _: int) -> Measured:
    """Milliseconds of processor per call at `count` units, of what a search asks for."""
    index = SqliteIndex(folder / "m.db", "bench")
    for first in range(0, count, BATCH):
        with index.transaction():
            index.put_units([unit_of(number) for number in range(first, min(first + BATCH, count))])
    rng = random.Random(1)
    # Words of a question, stop words left out: one that stands in a few percent of all units, the others rarer.
    asked = [[WORDS[rng.randrange(60, 400)], *(WORDS[rng.randrange(400, 4000)] for _ in range(3))] for _ in range(100)]
    rows = [rng.sample(range(count), min(200, count)) for _ in range(100)]
    calls: dict[str, Callable[[int], Any]] = {
        "lexical": lambda i: index.lexical(asked[i], Filter(), 200),
        "lexical_filtered": lambda i: index.lexical(asked[i], Filter(since_us=count // 2), 200),
        "document_frequency": lambda i: index.document_frequency(asked[i]),
        "session_scores": lambda i: index.session_scores(asked[i], 50),
        "neighbours": lambda i: index.neighbours(rows[i]),
        "units": lambda i: index.units(rows[i]),
    }
    measured: Measured = {}
    for name, ask in calls.items():
        ask(0)
        taken = []
        for i in range(100):
            cpu = time.process_time()
            ask(i)
            taken.append((time.process_time() - cpu) * 1e3)
        measured[name] = [statistics.median(taken), sorted(taken)[95]]
    index.close()
    return {"count": count, "ms": measured}


# Kills


def kill(folder: Path, rounds: int, _: int) -> Measured:
    """Kill a process that appends and syncs, at a random moment after a random number of acknowledged syncs."""
    rng = random.Random(7)
    path = folder / "j.db"
    journal(path, 1).close()
    totals = Counter[str]()
    for number in range(rounds):
        acknowledged = _kill_one(path, rng)
        store = SqliteStore(path)
        memory = Memory.open(store)
        found = {unit.seq for _, unit in memory.index.scan(ALL, limit=10**6)}
        totals["acknowledged"] += len(acknowledged)
        totals["lost"] += len(acknowledged - found)
        totals["corrupt"] += bool(memory.index.check()) if number % 10 == 9 or number == rounds - 1 else 0
        memory.sync()
        head = store.info("r").head_seq
        totals["incomplete"] += {unit.seq for _, unit in memory.index.scan(ALL, limit=10**6)} != set(range(head + 1))
        memory.close()
        store.close()
        if number % 20 == 19:
            print(f"kills: {number + 1} of {rounds}", file=sys.stderr, flush=True)
    store = SqliteStore(path)
    memory = Memory.open(store)
    before = contents(memory.index)
    memory.rebuild()
    totals["differs_after_rebuild"] = contents(memory.index) != before
    return {
        "rounds": rounds,
        **{name: int(totals[name]) for name in ("acknowledged", "lost", "corrupt", "incomplete")},
    } | {"differs": int(totals["differs_after_rebuild"])}


def _kill_one(path: Path, rng: random.Random) -> set[int]:
    """The entries that were derived for certain before the kill."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _write_until_killed(path, write_end, rng.random())
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        lines = [pipe.readline() for _ in range(rng.randint(1, 6))]
        for _ in range(rng.randint(0, 50_000)):
            pass
        os.kill(pid, signal.SIGKILL)
        lines += [line for line in pipe if line.endswith("\n")]
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise AssertionError("the writer ended by itself")
    return {int(line) for line in lines}


def _write_until_killed(path: Path, write_end: int, seed: float) -> None:
    try:
        rng = random.Random(seed)
        store = SqliteStore(path)
        memory = Memory.open(store)
        lease = store.acquire("r", f"bench-{uuid.uuid4().hex}", 0.001, take_over=True)
        while True:
            drafts = [observed(text_of(rng.randrange(10**6))) for _ in range(rng.randint(1, 3))]
            entries = store.append("r", drafts, fence=lease.fence)
            memory.sync()
            os.write(write_end, "".join(f"{entry.seq}\n" for entry in entries).encode())
    finally:
        # Never back into the parent's code; a writer that gets here has failed, and its traceback says why.
        traceback.print_exc()
        os._exit(1)


def contents(index: Index) -> Any:
    """All that an index says of its units, without row numbers."""
    units = {unit.id: unit for _, unit in index.scan(ALL, limit=10**6)}
    rows = index.rows(list(units))
    name = dict(zip(rows, units, strict=True))
    terms = sorted({word for unit in units.values() for word in unit.text.split()})[::7]
    found = [
        # Of a damaged index a row may be found that no unit has: then the row says so.
        (term, [(name.get(hit.row, hit.row), round(hit.score, 6)) for hit in index.lexical([term], ALL, 50)])
        for term in terms[:60]
    ]
    beside = {name[row]: tuple(name.get(other or -1) for other in pair) for row, pair in index.neighbours(rows).items()}
    sessions = {key: round(value, 6) for key, value in index.session_scores(terms[:20], 100).items()}
    claims = sorted(claim.id for claim in index.claims(limit=10**6))
    return units, sorted(index.watermarks().items()), index.document_frequency(terms), found, beside, sessions, claims


# Damage


def damage(folder: Path, cases: int, _: int) -> Measured:
    """Flip a bit of the file or its log, or cut the log, then use the memory as ever: what comes of it."""
    original = folder / "original"
    original.mkdir()
    store = journal(original / "j.db", 60)
    memory = Memory.open(store)
    memory.sync()
    memory.close()  # the file is complete; what follows stands in the log alone
    memory = Memory.open(store)
    lease = store.acquire("r", "bench", 3600)
    store.append("r", [observed(text_of(number)) for number in range(60, 90)], fence=lease.fence)
    memory.sync()
    truth = contents(memory.index)
    files = {
        name: index_path(store.path, "default").with_name(name).read_bytes()
        for name in ("default.db", "default.db-wal")
    }
    memory.close()
    store.close()
    outcomes: dict[str, Counter[str]] = {}
    for number in range(cases):
        rng = random.Random(number)
        kind = ("flip file", "flip log", "cut log")[number % 3]
        outcomes.setdefault(kind, Counter())[_one_damage(folder / "copy", original, files, kind, rng, truth)] += 1
        if number % 100 == 99:
            print(f"damage: {number + 1} of {cases}", file=sys.stderr, flush=True)
    return {"cases": cases, "outcomes": {kind: dict(counted) for kind, counted in outcomes.items()}}


def _one_damage(copy: Path, original: Path, files: dict[str, bytes], kind: str, rng: random.Random, truth: Any) -> str:
    shutil.rmtree(copy, ignore_errors=True)
    (copy / "j.db.memory").mkdir(parents=True)
    shutil.copy(original / "j.db", copy / "j.db")
    for name, content in files.items():
        data = bytearray(content)
        if kind == "cut log" and name.endswith("-wal"):
            del data[rng.randrange(len(data)) :]
        elif kind.startswith("flip") and name.endswith("-wal") == (kind == "flip log"):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (copy / "j.db.memory" / name).write_bytes(data)
    store = SqliteStore(copy / "j.db")
    memory = Memory.open(store)
    try:
        rebuilt = memory.sync().rebuilt
        seen = memory._mending(lambda: contents(memory.index))
        rebuilt = rebuilt or bool(memory._messages)
        if seen != truth:
            found = memory.check()
            mended = contents(memory.index) == truth
            return "wrong until checked" if found and mended else "wrong"
        if rebuilt:
            return "noticed and rebuilt"
        return "found by check" if memory.check() else "harmless"
    finally:
        memory.close()
        store.close()


# Isolation


def isolation(folder: Path, reads: int, _: int) -> Measured:
    """Random reads over 100 namespaces in turns, half of them with ids and rows of others: how many foreign ids came back."""
    rng = random.Random(11)
    names = [f"n{i}" for i in range(100)]
    indexes = {}
    for name in names:
        indexes[name] = SqliteIndex(folder / f"{name}.db", name)
        with indexes[name].transaction():
            indexes[name].put_units([unit_of(number, name) for number in range(200)])
    foreign = done = own = 0
    while done < reads:
        name, other = rng.sample(names, 2)
        index, mine = indexes[name], hash_of(name)
        rows = rng.sample(range(200), 100)
        ids = [f"{hash_of(rng.choice((name, other)))}{number:016x}" for number in rows]
        got = [unit.id for unit in index.units(rows)]
        got += [unit.id for unit in index.units(index.rows(ids))]
        got += [
            unit.id
            for unit in index.units([hit.row for hit in index.lexical([f"order-{rows[0]}", WORDS[70]], ALL, 20)])
        ]
        done += 2 * len(rows) + 20
        own += len(got)
        foreign += sum(1 for id_ in got if not id_.startswith(mine))
    return {"reads": done, "returned": own, "foreign": foreign, "namespaces": len(names)}


WRITERS: dict[str, Callable[[Path, int, int], Measured]] = {
    "ours": ours,
    "floor": floor,
    "langgraph": langgraph,
    "chroma": chroma,
    "sync": sync,
}
OTHERS: dict[str, Callable[[Path, int, int], Measured]] = {
    "read": read,
    "kill": kill,
    "damage": damage,
    "isolation": isolation,
}


def main() -> None:
    case, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    name, _, batch = case.partition(":")
    work = (WRITERS | OTHERS)[name]
    print(json.dumps(work(folder, count, int(batch or BATCH))))


if __name__ == "__main__":
    main()
