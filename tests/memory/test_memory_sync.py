"""From a journal into its index: incrementally, in any order, by several processes, killed at any time, and rebuilt."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_kit import SRC, append, begin, everything, in_namespace, observed

from overwinter.errors import StoreError, UsageError
from overwinter.journal import Lease, NewRun, Store
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory import sync as sync_module
from overwinter.memory.memory import Memory
from overwinter.memory.namespace import check_namespace, namespace_of, namespace_of_setup
from overwinter.memory.notebook import Notebook
from overwinter.memory.place import index_path, set_aside_files
from overwinter.memory.unit import Filter


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "j.db")


def fill(store: Store, lease: Lease, count: int, word: str = "reading") -> None:
    drafts = [
        observed(f"{word} {i}: the pump of house {i % 7} is {'loud' if i % 3 else 'still'}") for i in range(count)
    ]
    append(store, lease, *drafts)


def words_of(memory: Memory, term: str) -> list[str]:
    hits = memory.index.lexical([term], Filter(), 1000)
    return [unit.text for unit in memory.index.units([hit.row for hit in hits])]


def test_sync_derives_what_is_new(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_module, "BATCH_ENTRIES", 40)
    lease = begin(store)
    fill(store, lease, 100)
    memory, seen = Memory.open(store), list[tuple[int, int]]()
    done = memory.sync(lambda at, of: seen.append((at, of)))
    assert (done.entries, done.units, done.rebuilt, done.messages) == (101, 101, False, [])
    assert seen == [(40, 101), (80, 101), (101, 101)]
    assert memory.sync().entries == 0
    fill(store, lease, 3, "later")
    assert memory.stats()["behind"] == 3
    assert memory.sync().units == 3
    assert len(words_of(memory, "later")) == 3
    assert memory.index.watermarks()["r"][0] == 103
    assert memory.index.check() == []
    assert (memory.stats()["units"], memory.stats()["runs"]) == (104, 1)


def test_only_the_namespaces_own_runs(store: SqliteStore) -> None:
    begin(store, "mine", in_namespace("a"))
    fill(store, begin(store, "theirs", in_namespace("b")), 2, "foreign")
    begin(store, "answer", {"response": {"tenant": "t"}})
    memory = Memory.open(store, "a")
    memory.sync()
    assert set(memory.index.watermarks()) == {"mine"}
    assert words_of(memory, "foreign") == []
    store.create(NewRun(run="f", parent="theirs", fork_seq=1))
    lease = store.acquire("f", "test", 60)
    from overwinter.journal import Draft

    change = {"parent": "theirs", "seq": 1, "reason": "", "budgets": [], "caps": {}, "setup": in_namespace("a")}
    append(store, lease, Draft(kind="run.forked", body=change), observed("across"))
    assert namespace_of(store, "f") == "b"
    assert memory.sync().entries == 0


def test_the_namespace_is_read_from_the_setup() -> None:
    assert namespace_of_setup({}) == namespace_of_setup({"memory": {}}) == "default"
    assert namespace_of_setup(in_namespace("x")) == "x"
    assert namespace_of_setup({"response": {}}) is None
    assert namespace_of_setup({"response": {}} | in_namespace("x")) == "x"
    assert namespace_of_setup({"memory": {"namespace": ""}}) is namespace_of_setup({"memory": {"namespace": 3}}) is None
    for name in ("", "a/b", "..", ".a", "x" * 91, "a b"):
        with pytest.raises(UsageError, match="not allowed"):
            check_namespace(name)


def test_rebuild_gives_the_same(store: SqliteStore) -> None:
    lease = begin(store)
    fill(store, lease, 30)
    memory = Memory.open(store)
    memory.sync()
    fill(store, lease, 30, "more")
    memory.write("a note", data={"session": "notes"})
    memory.sync()
    before = everything(memory.index)
    assert memory.rebuild().rebuilt
    assert everything(memory.index) == before
    memory.close()
    shutil.rmtree(tmp_folder(store))
    again = Memory.open(store)
    assert again.sync().units == len(before["units"])
    assert everything(again.index) == before


def tmp_folder(store: SqliteStore) -> Path:
    return index_path(store.path, "default").parent


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans()), min_size=1, max_size=8))
def test_the_order_of_syncs_does_not_matter(
    steps: list[tuple[str, int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("j") / "j.db")
    leases = {run: begin(store, run) for run in "abc"}
    memory = Memory.open(store)
    for run, count, synced in steps:
        append(store, leases[run], *(observed(f"{run} says {i}", session=f"s{i % 2}") for i in range(count)))
        if synced:
            memory.sync()
    memory.sync()
    before = everything(memory.index)
    memory.rebuild()
    assert everything(memory.index) == before
    memory.close()
    store.close()


def test_another_journal_is_noticed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "j.db")
    lease = begin(store)
    fill(store, lease, 5)
    store.close()
    shutil.copy(tmp_path / "j.db", tmp_path / "backup.db")
    store = SqliteStore(tmp_path / "j.db")
    append(store, lease, observed("lost later"))
    memory = Memory.open(store)
    memory.sync()
    memory.close()
    store.close()
    for file in tmp_path.glob("j.db-*"):
        file.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "j.db")
    store = SqliteStore(tmp_path / "j.db")
    append(store, lease, observed("other words"), observed("and more"))
    memory = Memory.open(store)
    done = memory.sync()
    assert done.rebuilt
    assert "another journal" in done.messages[0]
    assert words_of(memory, "lost") == []
    assert len(words_of(memory, "other")) == 1


def test_what_was_erased_goes(store: SqliteStore) -> None:
    from overwinter.journal.erase import erase

    lease = begin(store)
    append(store, lease, observed("first"), observed("the secret place"), observed("last"))
    memory = Memory.open(store)
    memory.sync()
    store.release(lease)
    erase(store, "r", [2], reason="asked to", by="user")
    memory.sync()
    assert words_of(memory, "secret") == []
    before = everything(memory.index)
    memory.rebuild()
    assert everything(memory.index) == before
    assert [unit.place for unit in before["units"].values()] == [0, 1, 2]


def test_damaged_texts_are_passed_over(store: SqliteStore) -> None:
    from overwinter.journal import Draft, Packer

    lease, packer = begin(store), Packer()
    body = {"source": "s", "text": packer.text("long " * 1000), "data": {}}
    append(store, lease, Draft(kind="observed", body=body, refs=packer.take_refs()), observed("after"), packer=packer)
    store._execute("UPDATE blobs SET data = ?", (b"something else",))
    memory = Memory.open(store)
    done = memory.sync()
    assert (done.unreadable, done.entries) == (1, 3)
    assert len(words_of(memory, "after")) == 1


# The notebook


def test_the_notebook_takes_notes_and_letters(store: SqliteStore) -> None:
    memory = Memory.open(store, "a")
    entry = memory.write("Ann likes tea", cites=["r#1"], actor="person:ann", data={"session": "kitchen"})
    assert (entry.run, entry.kind, entry.body["by"]) == ("memory-a", "noted", "person:ann")
    assert words_of(memory, "tea") == ["Ann likes tea"]
    store.post("memory-a", observed("left in the inbox"))
    memory.write("another")
    memory.sync()
    assert words_of(memory, "inbox") == ["left in the inbox"]
    assert store.letters("memory-a") == []
    assert store.info("memory-a").status == "waiting:notebook"
    assert [unit.text for unit in memory.index.timeline(Filter(), limit=1)] == ["Ann likes tea"]
    with pytest.raises(UsageError, match="not allowed"):
        Notebook(store, "no/way")


def test_a_run_of_that_name_is_no_notebook(store: SqliteStore) -> None:
    begin(store, "memory-a")
    with pytest.raises(UsageError, match="no notebook"):
        Notebook(store, "a").append([observed("x")])


def test_it_waits_for_whoever_is_writing(store: SqliteStore) -> None:
    Notebook(store, "a").append([observed("first")])
    held = store.acquire("memory-a", "elsewhere/boot/1/1", 3600)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            store.release(held)

    assert Notebook(store, "a", wait=wait).append([observed("second")])[0].seq == 3
    assert len(waited) == 3


# Several processes

WRITER = """
import sys
sys.path[:0] = {paths!r}
from memory_kit import observed
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory.memory import Memory
store = SqliteStore({path!r})
memory = Memory.open(store)
"""


def python(store: SqliteStore, body: str) -> subprocess.Popen[str]:
    source = WRITER.format(paths=[str(SRC), str(Path(__file__).parent)], path=str(store.path)) + body
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)


def test_two_processes_write_and_sync_at_once(store: SqliteStore) -> None:
    fill(store, begin(store), 50)
    body = (
        "for i in range(12):\n    memory.write(f'{sys.argv} process NAME note {i}')\n    memory.sync()\nprint('done')"
    )
    both = [python(store, body.replace("NAME", name)) for name in ("ada", "bob")]
    assert [process.communicate(timeout=100)[0] for process in both] == ["done\n"] * 2
    memory = Memory.open(store)
    memory.sync()
    assert (len(words_of(memory, "ada")), len(words_of(memory, "bob"))) == (12, 12)
    assert memory.index.check() == []
    before = everything(memory.index)
    memory.rebuild()
    assert everything(memory.index) == before


def test_killed_while_syncing(store: SqliteStore) -> None:
    """What was acknowledged is there, nothing is twice, the files are sound, and the next sync goes on."""
    rng = random.Random(3)
    lease = begin(store)
    body = (
        "from overwinter.memory import sync\nsync.BATCH_ENTRIES = 20\n"
        "memory.sync(lambda at, of: print(at, flush=True))\nprint('done', flush=True)\nsys.stdin.read()"
    )
    for number in range(4):
        fill(store, lease, 120, f"round{number}")
        with python(store, body) as process:
            assert process.stdout is not None
            acknowledged = 0
            for _ in range(rng.randint(1, 6)):
                acknowledged = int(process.stdout.readline())
            os.kill(process.pid, signal.SIGKILL)
        memory = Memory.open(store)
        assert memory.index.count() >= 120 * number + acknowledged
        assert memory.index.check() == []
        memory.sync()
        assert memory.index.count() == 121 + 120 * number
        memory.close()
    memory = Memory.open(store)
    before = everything(memory.index)
    memory.rebuild()
    assert everything(memory.index) == before


# Damage


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with an index whose last batches stand in the log only."""
    folder = tmp_path_factory.mktemp("original")
    store = SqliteStore(folder / "j.db")
    lease = begin(store)
    fill(store, lease, 60)
    memory = Memory.open(store)
    memory.sync()
    memory.close()
    memory = Memory.open(store)
    fill(store, lease, 20, "logged")
    memory.sync()
    for name in ("default.db", "default.db-wal"):
        (folder / "kept").mkdir(exist_ok=True)
        shutil.copy(folder / "j.db.memory" / name, folder / "kept" / name)
    truth = everything(memory.index)
    memory.close()
    store.close()
    assert (folder / "kept" / "default.db-wal").stat().st_size > 10_000
    assert len(truth["units"]) == 81
    return folder


def damaged_copy(original: Path, folder: Path, name: str, change: Callable[[bytearray], Any]) -> SqliteStore:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "j.db.memory").mkdir(parents=True)
    shutil.copy(original / "j.db", folder / "j.db")
    for each in ("default.db", "default.db-wal"):
        data = bytearray((original / "kept" / each).read_bytes())
        if each == name:
            change(data)
        (folder / "j.db.memory" / each).write_bytes(data)
    return SqliteStore(folder / "j.db")


def flip(rng: random.Random, data: bytearray) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


@pytest.mark.parametrize(
    ("name", "change", "rounds"), [("default.db", flip, 12), ("default.db-wal", flip, 8), ("default.db-wal", cut, 8)]
)
def test_a_damaged_index_mends_itself_or_says_so(
    original: Path, tmp_path: Path, name: str, change: Callable[[random.Random, bytearray], None], rounds: int
) -> None:
    rng = random.Random(f"{name} {change.__name__}")
    truth: dict[str, Any] | None = None
    for _ in range(rounds):
        store = damaged_copy(original, tmp_path / "c", name, lambda data: change(rng, data))
        memory = Memory.open(store)
        memory.sync()
        if memory.index.check():
            memory.rebuild()
        if truth is None:
            reference = Memory.open(damaged_copy(original, tmp_path / "t", "", lambda data: None))
            reference.sync()
            truth = everything(reference.index)
            reference.close()
        assert everything(memory.index) == truth
        memory.close()
        store.close()


def test_a_file_that_is_none_is_set_aside(original: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def garble(data: bytearray) -> None:
        data[:] = b"no database at all" * 300

    store = damaged_copy(original, tmp_path / "c", "default.db", garble)
    path = index_path(store.path, "default")
    memory = Memory.open(store)
    assert "damaged" in caplog.text
    assert set_aside_files(path)[0].name == "default.db.damaged"
    done = memory.sync()
    assert (done.rebuilt, done.units) == (True, 81)
    assert "derived again" in done.messages[0]
    assert memory.sync().messages == []


def test_damage_is_noticed_at_the_first_read(store: SqliteStore) -> None:
    fill(store, begin(store), 300)
    memory, other = Memory.open(store), Memory.open(store)
    memory.sync()
    index: Any = memory.index
    with index.transaction():
        index._execute("UPDATE texts SET text = 'forged' WHERE num = 17")
    with pytest.raises(StoreError, match="damaged"):
        index.units([17])
    done = memory._mending(lambda: memory.index.units(memory.index.rows(["x"])) or everything(memory.index))
    assert len(done["units"]) == 301
    assert memory.sync().rebuilt
    # Another process that still holds the old file goes over to the new one.
    assert other.sync().entries == 0
    assert len(everything(other.index)["units"]) == 301


def test_isolation_over_many_namespaces(store: SqliteStore) -> None:
    rng = random.Random(5)
    names = [f"tenant-{i}" for i in range(6)]
    for name in names:
        append(
            store, begin(store, f"run-{name}", in_namespace(name)), *(observed(f"{name} knows {i}") for i in range(20))
        )
    memories = {name: Memory.open(store, name) for name in names}
    for memory in memories.values():
        memory.sync()
    ids = {name: list(everything(memory.index)["units"]) for name, memory in memories.items()}
    for _ in range(300):
        name, other = rng.sample(names, 2)
        index = memories[name].index
        assert index.unit(rng.choice(ids[other])) is None
        found = index.units([hit.row for hit in index.lexical([other, "knows"], Filter(), 30)])
        assert found
        assert {unit.run for unit in found} == {f"run-{name}"}


def test_nobody_resumes_a_notebook(tmp_path: Path) -> None:
    from overwinter.cli.working import _newest_unfinished
    from overwinter.cli.workplace import LAST, Workplace

    store = SqliteStore(tmp_path / "j.db")
    store.release(begin(store, "worked"))
    Memory.open(store).write("a note")
    at: Any = Workplace.__new__(Workplace)
    object.__setattr__(at, "store", store)
    assert at.resolve(LAST).run == "worked"
    assert _newest_unfinished(at).run == "worked"
    assert at.resolve("memory-").run == "memory-default"


@pytest.mark.postgres
def test_a_memory_within_a_postgres_journal(postgres_url: str) -> None:
    import uuid

    import psycopg

    from overwinter.journal.postgres import PostgresStore

    schema = f"t_{uuid.uuid4().hex}"
    store = PostgresStore(postgres_url, schema=schema)
    try:
        fill(store, begin(store, setup=in_namespace("a")), 20)
        memory, other = Memory.open(store, "a"), Memory.open(store, "b")
        assert memory.sync().units == 21
        memory.write("the boiler was mended")
        assert (words_of(memory, "boiler"), words_of(other, "boiler")) == (["the boiler was mended"], [])
        memory.sync()  # a note is found at once, and in digests from the next sync on
        before = everything(memory.index)
        memory.rebuild()
        assert everything(memory.index) == before
        assert memory.check() == []
        assert other.sync().entries == 0
        memory.close()
        other.close()
    finally:
        store.close()
        with psycopg.connect(postgres_url, autocommit=True) as db:
            for name in (schema, f"{schema}_memory"):
                db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())
