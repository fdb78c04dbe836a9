"""The default store: one SQLite file, write-ahead log, every commit synced to disk before it counts.

BEGIN IMMEDIATE throughout: a transaction that starts as a reader and then wants to write fails at once when another writes
(the busy timeout does not apply to the upgrade), which is where most "database is locked" reports come from.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from overwinter.errors import StoreError, UsageError
from overwinter.journal.rows import RUN_COLUMNS, Row
from overwinter.journal.schema import LATEST, MIGRATIONS
from overwinter.journal.sql import SqlStore, wall_clock_us

BUSY_TIMEOUT_S = 10.0
_NO_ACCESS = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})


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
        if not self.read_only:
            self._make_folder()
        elif not self.path.exists():
            raise UsageError(
                f"no journal at {self.path}", "start a run with `overwinter run`, or name another with --store"
            )
        self._db = self._connect("mode=ro" if self.read_only else "mode=rwc")
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._translate(error) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?{mode}"
        try:
            return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _prepare(self) -> None:
        version = self._version() if self._can_read() else self._version_without_log()
        if version > LATEST:
            raise StoreError(
                f"{self.path} was written by a newer overwinter (schema {version}, this program knows {LATEST})",
                "update overwinter",
            )
        if self.read_only:
            return
        # Everything that writes comes after the look at what is there: a file that is not ours stays as it is.
        self._use_wal()
        # FULL: a commit is on the disk when it returns. NORMAL could lose the last ones when the power fails.
        self._execute("PRAGMA synchronous = FULL")
        # Only macOS heeds these two: there an ordinary sync stops at the drive's own cache.
        self._execute("PRAGMA fullfsync = ON")
        self._execute("PRAGMA checkpoint_fullfsync = ON")
        if version < LATEST:
            self._migrate()

    def _can_read(self) -> bool:
        # Even a reader needs the log's index, a file beside the journal; in a folder one may not write to it cannot be made.
        try:
            self._execute("PRAGMA user_version")
        except StoreError as error:
            log = self.path.with_name(self.path.name + "-wal")
            if not self.read_only or _code(error.__cause__) not in _NO_ACCESS or log.exists():
                raise
            return False
        return True

    def _version_without_log(self) -> int:
        self._db.close()
        self._db = self._connect("mode=ro&immutable=1")
        return self._version()

    def _version(self) -> int:
        """The schema version of the file; 0 for a new one. Another program's file is refused."""
        with self._lock:
            self._execute("BEGIN")
            try:
                version = int(self._execute("PRAGMA user_version")[0][0])
                tables = {str(row[0]) for row in self._execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            finally:
                self._db.rollback()
        if (tables or version) and not (version > LATEST or "entries" in tables):
            raise _not_ours(self.path)
        return version

    def _use_wal(self) -> None:
        # Changing the mode fails at once, busy timeout or not, while another process opens the new file too.
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._execute("PRAGMA journal_mode = WAL")
                return
            except StoreError as error:
                if not _is_busy(error.__cause__) or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

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
            except (sqlite3.Error, UnicodeDecodeError) as error:
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

    def _holds(self, column: str) -> str:
        return f"instr({column}, ?) > 0"

    def scrub(self) -> tuple[str, ...]:
        with self._lock:
            self._execute("PRAGMA secure_delete = ON")
            # VACUUM copies what is alive into a temporary file and from there over the log into place: a kill at any moment leaves
            # the journal as it was or as it shall be. Only then is the log, which holds the old pages too, cut to nothing.
            self._execute("VACUUM")
            busy = self._execute("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
        if busy:
            problem = f"another process reads {self.path}, so its log could not be cut: erased text may be left in it"
            raise StoreError(problem, "end that process, then erase again: it completes what is left")
        return ()

    def files(self) -> list[Path]:
        names = [self.path.name + end for end in ("", "-wal", "-shm", "-journal")]
        return [path for path in map(self.path.with_name, names) if path.exists()]

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
        code = _code(error)
        if _is_busy(error):
            problem = f"{self.path} stayed locked for {BUSY_TIMEOUT_S:.0f} s"
            return StoreError(problem, "find the process that writes to it, or try again")
        if code == sqlite3.SQLITE_FULL:
            problem = f"the disk that holds {self.path} is full; nothing was lost"
            return StoreError(problem, "free some space, then `overwinter resume`")
        if code == sqlite3.SQLITE_IOERR:
            problem = f"{self.path} cannot be written or read: {text}; what was acknowledged is safe"
            return StoreError(problem, "check the disk's space, limits and health, then `overwinter resume`")
        if code in _NO_ACCESS or isinstance(error, OSError):
            problem = f"{self.path} cannot be {'read' if self.read_only else 'written'}: {text}"
            return StoreError(problem, "check the permissions of the file, its -wal and -shm, and the folder")
        if code == sqlite3.SQLITE_NOTADB:
            problem = f"{self.path} is not a SQLite database, or its first page is damaged"
            return StoreError(problem, "name another file with --store, or restore this one from a backup")
        # Messages about a damaged schema quote it, and then may not be UTF-8.
        if code == sqlite3.SQLITE_CORRUPT or isinstance(error, UnicodeDecodeError):
            return StoreError(
                f"{self.path} is damaged: {text}", "see what is intact with `overwinter log RUN --verify`"
            )
        if "no such table" in text:
            return _not_ours(self.path)
        return StoreError(f"{self.path}: {text}", "if it happens again, report it with this message")


def _not_ours(path: Path) -> StoreError:
    return StoreError(f"{path} is not an overwinter journal", "name another file with --store")


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: BaseException | None) -> bool:
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
