"""Flip bytes of the database file and of its log: what is read is what was written, or the damage is reported.

SQLite keeps no checksum of its pages, so a flipped byte may hit anything: an entry, the tree above it, or nothing at all.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from journal_kit import append_blob, append_texts, begin, branch

from overwinter.errors import OverwinterError
from overwinter.journal import Entry, verify
from overwinter.journal.sqlite import SqliteStore

FLIPS = 100
"""Per seed; four seeds."""


@dataclass(frozen=True, kw_only=True)
class Original:
    path: Path
    entries: dict[str, list[dict[str, Any]]]
    blobs: dict[str, bytes]


def write_journal(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    lease = begin(store, "r", caps={"tokens": 100})
    for i in range(30):
        append_texts(store, lease, f"reading {i}: " + "cold " * (i % 7) * 10)
        if i % 6 == 5:
            append_blob(store, lease, f"day {i} " * 500)
    append_texts(store, branch(store, "f", "r", 12, shared=("r",)), "a fork", "goes on")
    return store


def as_json(entries: list[Entry]) -> list[dict[str, Any]]:
    return [entry.as_json() for entry in entries]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    path = tmp_path_factory.mktemp("original") / "journal.db"
    store = write_journal(path)
    entries = {run: as_json(list(store.read(run))) for run in "rf"}
    refs = {ref for entry in entries["r"] for ref in entry["refs"]}
    blobs = {ref: store.get_blob(ref) for ref in refs}
    store.close()
    assert not path.with_name("journal.db-wal").exists()
    return Original(path=path, entries=entries, blobs=blobs)


class Reported(Exception):
    """The store said that something is wrong."""


def reporting(call: Callable[[], Any]) -> Any:
    """The result; any error but overwinter's own is a failure of the test."""
    try:
        return call()
    except OverwinterError as error:
        raise Reported(str(error)) from error


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_byte_is_harmless_or_reported(original: Original, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = original.path.read_bytes()
    named = 0
    for _ in range(FLIPS):
        damaged = bytearray(data)
        offset, flip = rng.randrange(len(data)), rng.randint(1, 255)
        damaged[offset] ^= flip
        (tmp_path / "copy.db").write_bytes(damaged)
        named += _check_copy(original, tmp_path / "copy.db", f"byte {offset} ^ {flip:#x}")
        for file in tmp_path.iterdir():
            file.unlink()
    assert named > FLIPS // 8, "a good part of the file is entries and blobs; their damage is laid at their door"


def _check_copy(original: Original, path: Path, where: str) -> bool:
    """True when the damage was found and its entry named. Fails on a silent difference."""
    try:
        store = reporting(lambda: SqliteStore(path))
    except Reported:
        return False
    try:
        runs_whole = [_same_or_reported(store, original, run, where) for run in "rf"]
        reports = [reporting(lambda run=run: verify(store, run)) for run in "rf"]
        problems = [problem for report in reports for problem in report.problems]
        assert all(runs_whole) or problems, f"{where}: reading failed and verify found nothing"
        return any(problem.seq is not None for problem in problems)
    except Reported:
        return False
    finally:
        store.close()


def _same_or_reported(store: SqliteStore, original: Original, run: str, where: str) -> bool:
    """Whether everything reads as it was written. What cannot be read must say so; what differs fails."""
    whole = True
    try:
        assert as_json(reporting(lambda: list(store.read(run)))) == original.entries[run], where
        # Chosen by a column that the hash does not cover: verify has to notice.
        chosen = as_json(reporting(lambda: list(store.read(run, kinds=["observed"]))))
        whole = chosen == [entry for entry in original.entries[run] if entry["kind"] == "observed"]
    except Reported:
        whole = False
    for ref, content in original.blobs.items():
        try:
            assert reporting(lambda ref=ref: store.get_blob(ref)) == content, where
        except Reported:
            whole = False
    return whole


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_log_gives_a_clean_prefix(tmp_path: Path, damage: str) -> None:
    """The write-ahead log has checksums: it ends, for the reader, at the first frame that does not fit.

    So the end of a run can be lost without a trace in the file, and only a head that was noted elsewhere tells.
    """
    rng = random.Random(7)
    live = write_journal(tmp_path / "journal.db")
    whole = as_json(list(live.read("r")))
    anchor = verify(live, "r").head
    log = (tmp_path / "journal.db-wal").read_bytes()
    lost = 0
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(tmp_path / "journal.db", folder / "journal.db")
        offset = rng.randrange(len(log))
        damaged = log[:offset]
        if damage == "flip":
            damaged += bytes([log[offset] ^ rng.randint(1, 255)]) + log[offset + 1 :]
        (folder / "journal.db-wal").write_bytes(damaged)
        store = SqliteStore(folder / "journal.db")
        names = {info.run for info in store.runs()}
        found = as_json(list(store.read("r"))) if "r" in names else []
        assert found == whole[: len(found)]
        if found:
            assert verify(store, "r").ok
            assert verify(store, "r", expect_head=anchor).ok == (len(found) == len(whole))
        lost += len(found) < len(whole)
        store.close()
    live.close()
    assert lost > 20
