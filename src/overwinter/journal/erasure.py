"""The part of the SQL store that erases: tombstones instead of entries, blobs without content, and files without remains.

What a row held is overwritten in one transaction. It then still lies in freed pages and in the log, until `scrub` has written the
files anew; so `scrub` belongs to every erasure, and can be repeated alone.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from overwinter.errors import LeaseLost, UsageError
from overwinter.journal.rows import Row, as_bytes, decompress, run_info
from overwinter.journal.store import RunInfo, Stored
from overwinter.journal.tombstone import ERASED, bury, is_tombstone, named_by, reopen

PAGE_ROWS = 500
_KIN = (
    "WITH RECURSIVE kin(run) AS (SELECT CAST(? AS TEXT) UNION SELECT runs.run FROM runs JOIN kin ON runs.parent = kin.run) "
    "SELECT run FROM kin"
)


class SqlErasure(abc.ABC):
    """What the two dialects share of erasing. `SqlStore` adds everything else of the Store protocol."""

    # What a dialect supplies

    @abc.abstractmethod
    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; all its rows. Translates driver errors into StoreError."""

    @abc.abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """A write transaction: durable when it ends, rolled back when it raises. Holds `self._lock`."""

    @abc.abstractmethod
    def _lock_run(self, run: str) -> Row | None:
        """The run's row (`RUN_COLUMNS`), locked until the transaction ends."""

    @abc.abstractmethod
    def _holds(self, column: str) -> str:
        """SQL that is true where the bytes of `column` contain those of one `?`."""

    @abc.abstractmethod
    def scrub(self) -> tuple[str, ...]: ...

    @abc.abstractmethod
    def files(self) -> list[Path]: ...

    # The rest

    def _owned(self, run: str, fence: int) -> RunInfo:
        """The run, locked, if `fence` is its newest fencing number. Raises UsageError, LeaseLost."""
        row = self._lock_run(run)
        if row is None:
            raise UsageError(f"run {run!r} does not exist", "list the runs with `overwinter ls`")
        info = run_info(row)
        if info.fence != fence:
            raise LeaseLost(
                f"run {run!r} was taken over: this process holds fencing number {fence}, the newest is {info.fence}",
                f"see who owns it with `overwinter ls`, go on there, or `overwinter resume {run} --take-over`",
            )
        return info

    def erase(
        self,
        run: str,
        seqs: Collection[int],
        *,
        by: int,
        fence: int,
        blobs: Collection[str] = (),
        letters: Collection[str] = (),
    ) -> int:
        with self._transaction():
            self._owned(run, fence)
            named = named_by(reopen(*self._stored(run, by)), run)
            erased, began = 0, False
            for seq in sorted(seqs):
                data, hash_ = self._stored(run, seq)
                if is_tombstone(data):
                    continue
                entry = reopen(data, hash_)
                if (seq, hash_) not in named:
                    problem = f"entry {seq} of run {run!r} is not named by entry {by}, which should witness its erasure"
                    raise UsageError(problem, "append an entries.erased entry that lists it with its hash first")
                self._execute(
                    "UPDATE entries SET kind = ?, data = ? WHERE run = ? AND seq = ?",
                    (ERASED, bury(entry, f"{run}#{by}"), run, seq),
                )
                erased, began = erased + 1, began or entry.kind == "run.started"
            if began:
                # The title repeats the goal.
                self._execute("UPDATE runs SET title = '' WHERE run = ?", (run,))
            self._execute(f"DELETE FROM caches WHERE run IN ({_KIN})", (run,))
            for hash_ in blobs:
                self._execute("UPDATE blobs SET data = NULL WHERE hash = ? AND data IS NOT NULL", (hash_,))
            for letter in letters:
                self._execute("DELETE FROM inbox WHERE id = ?", (letter,))
        return erased

    def _stored(self, run: str, seq: int) -> tuple[bytes, str]:
        rows = self._execute("SELECT data, hash FROM entries WHERE run = ? AND seq = ?", (run, seq))
        if not rows:
            raise UsageError(f"run {run!r} owns no entry {seq}", f"choose one with `overwinter log {run}`")
        return as_bytes(rows[0][0]), str(rows[0][1])

    def mentions(self, text: bytes) -> list[tuple[str, int]]:
        # The database searches: a thousand times faster than reading every entry, and the few it finds can be read.
        rows = self._execute(f"SELECT run, seq FROM entries WHERE {self._holds('data')} ORDER BY run, seq", (text,))
        return [(str(run), int(seq)) for run, seq in rows]

    def contents(self) -> Iterator[Stored]:
        for run, title in self._execute("SELECT run, title FROM runs ORDER BY run"):
            yield Stored(place="title", name=run, data=title.encode())
            yield from self._entries_of(run)
        after = ""
        while rows := self._execute(
            f"SELECT hash, codec, data FROM blobs WHERE hash > ? AND data IS NOT NULL ORDER BY hash LIMIT {PAGE_ROWS}",
            (after,),
        ):
            for hash_, codec, data in rows:
                yield Stored(place="blob", name=hash_, data=decompress(codec, as_bytes(data)) or b"")
            after = rows[-1][0]
        for id_, body in self._execute("SELECT id, body FROM inbox ORDER BY id"):
            yield Stored(place="letter", name=id_, data=as_bytes(body))
        for run, name, data in self._execute("SELECT run, name, data FROM caches ORDER BY run, name"):
            yield Stored(place="cache", name=f"{run}/{name}", data=decompress("zlib", as_bytes(data)) or b"")

    def _entries_of(self, run: str) -> Iterator[Stored]:
        after = -1
        while rows := self._execute(
            f"SELECT seq, data FROM entries WHERE run = ? AND seq > ? ORDER BY seq LIMIT {PAGE_ROWS}", (run, after)
        ):
            for seq, data in rows:
                yield Stored(place="entry", name=run, seq=seq, data=as_bytes(data))
            after = rows[-1][0]
