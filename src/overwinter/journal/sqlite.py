"""The default store: one SQLite file, write-ahead log, every commit synced to disk before it counts.

BEGIN IMMEDIATE throughout: a transaction that starts as a reader and then wants to write fails at once when another writes
(the busy timeout does not apply to the upgrade), which is where most "database is locked" reports come from.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overwinter.errors import StoreError, UsageError
from overwinter.journal.rows import RUN_COLUMNS, Row
from overwinter.journal.schema import LATEST, MIGRATIONS
from overwinter.journal.sql import SqlStore, wall_clock_us

BUSY_TIMEOUT_S = 10.0


class SqliteStore(SqlStore):
    """A journal in one file. Safe for several processes on one machine; not for network file systems.

    Args:
        path: the database file; created with its folder when missing.
        read_only: open without writing anything, for `log` on a file one may not change.
    """

    def __init__(
        self, path: str | Path, *, read_only: bool = False, clock_us: Callable[[], int] = wall_clock_us
    ) -> None:
        self.path = Path(path)
        super().__init__(f"sqlite:{self.path}", clock_us)
        self.read_only = read_only
        self._db = self._open()
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> sqlite3.Connection:
        if self.read_only and not self.path.exists():
            raise UsageError(
                f"no journal at {self.path}", "start a run with `overwinter run`, or name another with --store"
            )
        try:
            if not self.read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "ro" if self.read_only else "rwc"
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise self._translate(error) from error

    def _prepare(self) -> None:
        if not self.read_only:
            self._execute("PRAGMA journal_mode = WAL")
            # FULL: a commit is on the disk when it returns. NORMAL could lose the last ones when the power fails.
            self._execute("PRAGMA synchronous = FULL")
        version = int(self._execute("PRAGMA user_version")[0][0])
        if version > LATEST:
            raise StoreError(
                f"{self.path} was written by a newer overwinter (schema {version}, this program knows {LATEST})",
                "update overwinter",
            )
        if version < LATEST and not self.read_only:
            self._migrate()

    def _migrate(self) -> None:
        with self._transaction():
            # Read again inside the write transaction: another process may have migrated meanwhile.
            version = int(self._execute("PRAGMA user_version")[0][0])
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self._execute(statement.format(blob="BLOB", clustered=" WITHOUT ROWID"))
            self._execute(f"PRAGMA user_version = {LATEST}")

    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        with self._lock:
            try:
                return self._db.execute(sql, args).fetchall()
            except sqlite3.Error as error:
                raise self._translate(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._execute("BEGIN IMMEDIATE")
            try:
                yield
                self._execute("COMMIT")
            except BaseException:
                # A full disk may already have rolled back by itself.
                if self._db.in_transaction:
                    self._db.rollback()
                raise

    def _lock_run(self, run: str) -> Row | None:
        rows = self._execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE run = ?", (run,))
        return rows[0] if rows else None

    def _lock_budgets(self, budgets: Sequence[str]) -> None:
        pass  # BEGIN IMMEDIATE has locked the whole file

    def _lease_clock_us(self) -> int:
        return self.clock_us()

    def check_integrity(self) -> list[str]:
        try:
            return [str(row[0]) for row in self._execute("PRAGMA integrity_check") if row[0] != "ok"]
        except StoreError as error:
            return [error.problem]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _translate(self, error: Exception) -> StoreError:
        text = str(error)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            problem = f"{self.path} stayed locked for {BUSY_TIMEOUT_S:.0f} s"
            return StoreError(problem, "find the process that writes to it, or try again")
        if code == sqlite3.SQLITE_FULL:
            problem = f"the disk that holds {self.path} is full; nothing was lost"
            return StoreError(problem, "free some space, then `overwinter resume`")
        if code == sqlite3.SQLITE_IOERR:
            problem = f"{self.path} cannot be written or read: {text}; what was acknowledged is safe"
            return StoreError(problem, "check the disk's space, limits and health, then `overwinter resume`")
        if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM} or isinstance(
            error, OSError
        ):
            problem = f"{self.path} cannot be opened for writing: {text}"
            return StoreError(problem, "check that the file and its folder exist and may be written")
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return StoreError(
                f"{self.path} is damaged: {text}", "see what is intact with `overwinter log RUN --verify`"
            )
        if "no such table" in text:
            return StoreError(f"{self.path} is not an overwinter journal", "name another file with --store")
        return StoreError(f"{self.path}: {text}", "if it happens again, report it with this message")
