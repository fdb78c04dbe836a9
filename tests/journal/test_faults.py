"""Full disks, locked and read-only files, newer schemas: nothing half-written, and a message that says what to do."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journal_kit import append_blob, append_texts, begin, observed, python, texts

from overwinter.errors import StoreError
from overwinter.journal import Lease, open_store, sqlite, verify
from overwinter.journal.schema import LATEST
from overwinter.journal.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "journal.db")
    yield store
    store.close()


def write_until_refused(store: SqliteStore, lease: Lease, match: str) -> int:
    """Append incompressible texts until the store refuses; how many it acknowledged."""
    acknowledged, refusal = 0, ""
    while not refusal:
        assert acknowledged < 10_000, "the disk never became full"
        try:
            append_blob(store, lease, os.urandom(2000).hex())
            acknowledged += 1
        except StoreError as error:
            refusal = str(error)
    assert match in refusal
    return acknowledged


def assert_whole(store: SqliteStore, acknowledged: int) -> None:
    assert store.info("r").head_seq == acknowledged
    assert len(list(store.read("r"))) == acknowledged + 1
    assert verify(store, "r").ok


def test_a_full_database_loses_nothing_and_goes_on_with_space(store: SqliteStore) -> None:
    lease = begin(store)
    pages = store._execute("PRAGMA page_count")[0][0]
    store._execute(f"PRAGMA max_page_count = {pages + 20}")
    acknowledged = write_until_refused(store, lease, "is full; nothing was lost")
    assert_whole(store, acknowledged)
    store._execute("PRAGMA max_page_count = 100000")
    append_texts(store, lease, "on we go")
    assert_whole(store, acknowledged + 1)


def test_a_file_that_may_not_grow(store: SqliteStore) -> None:
    """RLIMIT_FSIZE makes `write` itself fail, in the middle of whatever SQLite is doing."""
    lease = begin(store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        acknowledged = write_until_refused(store, lease, "what was acknowledged is safe")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_whole(store, acknowledged)
    append_texts(store, lease, "on we go")
    assert_whole(store, acknowledged + 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "journal.db")
    lease = begin(store)
    (small_disk / "ballast").write_bytes(bytes(200_000))
    acknowledged = write_until_refused(store, lease, "disk")
    assert acknowledged > 10
    assert_whole(store, acknowledged)
    store.close()
    (small_disk / "ballast").unlink()
    again = SqliteStore(small_disk / "journal.db")
    append_texts(again, lease, "on we go")
    assert_whole(again, acknowledged + 1)
    again.close()


READ_ONLY = """
import os
import overwinter.journal.sqlite
from overwinter.errors import StoreError
from overwinter.journal import open_store, verify
path = input()
if os.geteuid() == 0:
    os.setuid(65534)  # root may write to everything
try:
    open_store(path).acquire("r", "me", 60, take_over=True)
except StoreError as error:
    print("refused:", "cannot be written" in str(error))
store = open_store(path, read_only=True)
print(len(list(store.read("r"))), verify(store, "r").ok)
"""


@pytest.fixture
def readable_by_all(tmp_path: Path) -> Iterator[Path]:
    """A folder that a user who is not root can reach, and not write to."""
    folder = Path("/tmp") / f"ow-{os.getpid()}-{tmp_path.name}"
    folder.mkdir(mode=0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "while it is written"])
def test_a_file_one_may_only_read(readable_by_all: Path, closed: bool) -> None:
    path = readable_by_all / "journal.db"
    store = SqliteStore(path)
    append_texts(store, begin(store), "a")
    if closed:
        store.close()
    for file in readable_by_all.iterdir():
        file.chmod(0o444)
    readable_by_all.chmod(0o555)
    with python(READ_ONLY) as reader:
        assert reader.communicate(f"{path}\n")[0].splitlines() == ["refused: True", "2 True"]
    store.close()


def test_a_locked_file_is_waited_for_then_named(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.01)
    lease = begin(store)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store._execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StoreError, match="stayed locked"):
        append_texts(store, lease, "a")
    assert len(list(store.read("r"))) == 1, "reading does not wait for writers"
    other.execute("COMMIT")
    append_texts(store, lease, "a")
    other.close()
    assert_whole(store, 1)


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {LATEST + 1}")


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"This is a text, and a long one. " * 200)


def _another_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE poems (line TEXT)")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_newer, "written by a newer overwinter"),
        (_not_a_database, "is not a SQLite database"),
        (_another_database, "not an overwinter"),
    ],
)
def test_files_that_are_no_journal_of_ours(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "journal.db"
    make(path)
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(StoreError, match=said):
            open_store(str(path), read_only=read_only).runs()
    assert path.read_bytes() == before, "what is not ours is left as it was"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        SqliteStore(tmp_path / "file" / "journal.db")


def test_an_interrupt_in_the_middle_leaves_nothing(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = begin(store)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_move_budget", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.append("r", [observed()], fence=lease.fence)
    monkeypatch.undo()
    assert_whole(store, 0)
    append_texts(store, lease, "a")
    assert texts(store, "r") == ["a"]
