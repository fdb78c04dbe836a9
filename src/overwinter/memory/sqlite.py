"""The index in SQLite: one file a namespace, so that no missing condition can show another's rows.

Words stand in an FTS5 table without content. It is given index terms (`names.py`) and takes them as they are, so that this index,
the one in Postgres and the plain one count the same words. Its `bm25()` is BM25 with k1 = 1.2, b = 0.75.

Reading uses a connection of its own: what another thread has not committed is not seen, and nobody waits for it. Deleted rows are
overwritten (`secure_delete`); `purge` also clears what the text index and the log still hold of them.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from overwinter.errors import StoreError
from overwinter.memory.index import Found
from overwinter.memory.rows import CHECKSUM, Condition, Row
from overwinter.memory.schema import LATEST, MIGRATIONS, TABLES
from overwinter.memory.sql import SqlIndex, Words

BUSY_TIMEOUT_S = 30.0
CACHE_KIB = 32 * 1024
APPLICATION = 0x6F774D31  # "owM1": this file is a memory index of overwinter

_WORD_TABLES = (
    # Terms come folded and joined: `ascii` splits at spaces only, since all other characters in them are letters to it.
    "CREATE VIRTUAL TABLE terms USING fts5(said, content='', tokenize='ascii')",
    "CREATE VIRTUAL TABLE vocabulary USING fts5vocab(terms, row)",
    "CREATE VIRTUAL TABLE sayings USING fts5vocab(terms, instance)",
    "CREATE TABLE owner (namespace TEXT NOT NULL)",
)


class SqliteIndex(SqlIndex):
    """The index of one namespace in one file. Safe for several processes and threads on one machine.

    Args:
        path: the database file; created with its folder when missing.

    Raises:
        StoreError: it cannot be opened, is damaged (`index_is_damaged`), is another namespace's, or a newer overwinter's.
    """

    def __init__(self, path: str | Path, namespace: str) -> None:
        self.path = Path(path)
        super().__init__(namespace, f"sqlite:{self.path}")
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._translate(error) from error
        self._db = self._connect()
        self._reader: sqlite3.Connection | None = None
        try:
            self._prepare()
            self._reader = self._connect()
            self._settle(self._reader)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._translate(error) from error

    def _prepare(self) -> None:
        self._refuse_others()
        self._use_wal()
        self._settle(self._db)
        with self.transaction():
            # Inside the write transaction: another process may be making the same file.
            version = self._version()
            if version > LATEST:
                raise StoreError(
                    f"{self.path} was written by a newer overwinter (schema {version}, this program knows {LATEST})",
                    "update overwinter, or delete the file: it is made again from the journal",
                )
            if version < LATEST:
                self._migrate(version)
            rows = self._execute("SELECT namespace FROM owner")
            if rows != [(self.namespace,)]:
                raise StoreError(
                    f"{self.path} is the index of namespace {rows[0][0] if rows else None!r}, not of {self.namespace!r}",
                    "choose a namespace that differs in more than case",
                )

    def _refuse_others(self) -> None:
        """Leave alone what is no index of ours."""
        application, version = self._pragma("application_id"), self._version()
        if application not in {0, APPLICATION} or (application == 0 and version):
            raise StoreError(f"{self.path} is not an overwinter memory index", "move that file elsewhere")

    def _version(self) -> int:
        return self._pragma("user_version")

    def _pragma(self, name: str) -> int:
        return int(self._run(self._db, f"PRAGMA {name}")[0][0])

    def _settle(self, db: sqlite3.Connection) -> None:
        for setting in (
            "synchronous = FULL",
            "fullfsync = ON",
            "checkpoint_fullfsync = ON",
            "secure_delete = ON",
            f"cache_size = -{CACHE_KIB}",
        ):
            self._run(db, f"PRAGMA {setting}")

    def _use_wal(self) -> None:
        # Changing the mode fails at once, busy timeout or not, while another process opens the new file too.
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._run(self._db, "PRAGMA journal_mode = WAL")
                return
            except StoreError as error:
                if not _is_busy(error.__cause__) or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

    def _migrate(self, version: int) -> None:
        if version == 0:
            for statement in _WORD_TABLES:
                self._execute(statement)
            self._execute("INSERT INTO owner (namespace) VALUES (?)", (self.namespace,))
        names = {name: name for name in TABLES}
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                self._execute(statement.format(own="", key="", blob="BLOB", num="INTEGER", **names))
        self._start_counters()
        self._execute(f"PRAGMA application_id = {APPLICATION}")
        self._execute(f"PRAGMA user_version = {LATEST}")

    # The dialect

    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        if self._writer == threading.get_ident():
            return self._run(self._db, sql, args)
        with self._read_lock:
            return self._run(self._open_reader(), sql, args)

    def _open_reader(self) -> sqlite3.Connection:
        if self._reader is None:
            raise StoreError(f"{self.path} was closed", "open the index again")
        return self._reader

    def _run(self, db: sqlite3.Connection, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        try:
            return db.execute(sql, args).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translate(error) from error

    def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._must_write()
        try:
            self._db.executemany(sql, rows)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._translate(error) from error

    @contextmanager
    def _begin(self) -> Iterator[None]:
        with self._write_lock:
            # IMMEDIATE: the busy timeout does not apply to a reader that wants to become a writer.
            self._run(self._db, "BEGIN IMMEDIATE")
            try:
                yield
                self._run(self._db, "COMMIT")
            except BaseException:
                # A full disk may already have rolled back by itself; a damaged file may not let us.
                with suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.rollback()
                raise

    def _among(self, column: str, values: Collection[Any]) -> Condition:
        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(list(values))]

    def _put_words(self, rows: Sequence[Words]) -> None:
        self._execute_many(
            "INSERT INTO terms (rowid, said) VALUES (?, ?)", [(num, " ".join(said)) for num, said in rows]
        )

    def _remove_words(self, rows: Sequence[Words]) -> None:
        # A table without content must be told what it forgets.
        self._execute_many(
            "INSERT INTO terms (terms, rowid, said) VALUES ('delete', ?, ?)",
            [(num, " ".join(said)) for num, said in rows],
        )

    def _clear_words(self) -> None:
        self._execute("INSERT INTO terms (terms) VALUES ('delete-all')")

    def _rank(self, terms: Sequence[str], condition: Condition | None, k: int) -> list[Found]:
        asked = " OR ".join(f'"{term}"' for term in terms)
        if condition is None:
            sql = "SELECT rowid, rank FROM terms WHERE terms MATCH ? ORDER BY rank LIMIT ?"
            rows = self._execute(sql, (asked, k))
        else:
            sql = (
                "SELECT u.num, terms.rank FROM terms JOIN units u ON u.num = terms.rowid "
                f"WHERE terms MATCH ? AND {condition[0]} ORDER BY terms.rank, u.num LIMIT ?"
            )
            rows = self._execute(sql, (asked, *condition[1], k))
        found = [Found(row=row, score=-score) for row, score in rows]
        return sorted(found, key=lambda each: (-each.score, each.row))

    def _frequency(self, term: str) -> int:
        rows = self._execute("SELECT doc FROM vocabulary WHERE term = ?", (term,))
        return int(rows[0][0]) if rows else 0

    def _times_by_session(self, term: str) -> list[tuple[int, int]]:
        sql = "SELECT u.session, count(*) FROM sayings v JOIN units u ON u.num = v.doc WHERE v.term = ? GROUP BY u.session"
        return [(session, times) for session, times in self._execute(sql, (term,))]

    def _vocabulary(self) -> Iterable[tuple[str, int]]:
        return [(term, units) for term, units in self._execute("SELECT term, doc FROM vocabulary")]

    def _check_files(self) -> list[str]:
        try:
            found = [str(row[0]) for row in self._execute("PRAGMA integrity_check") if row[0] != "ok"]
            with self.transaction():
                self._execute("INSERT INTO terms (terms) VALUES ('integrity-check')")
        except StoreError as error:
            return [error.problem]
        return found

    def purge(self) -> None:
        """Leave nothing of removed rows in any file of the index: merge the text index, empty the log, rewrite the database.

        Raises:
            StoreError: another process reads or writes just now, so that the log cannot be emptied.
        """
        with self.transaction():
            self._execute("INSERT INTO terms (terms) VALUES ('optimize')")
        with self._write_lock, self._read_lock:
            self._run(self._db, "VACUUM")
            busy = self._run(self._db, "PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
        if busy:
            raise StoreError(f"{self.path} is being read by another process", "try again when it has finished")

    def close(self) -> None:
        for db in (self._reader, self._db):
            if db is not None:
                with suppress(sqlite3.Error):
                    db.close()
        self._reader = None

    def _translate(self, error: Exception) -> StoreError:
        # Of text that is none any more SQLite's message quotes what is left; it does not belong into ours.
        text, code = str(error).partition(" with text ")[0], _code(error)
        if _is_busy(error):
            problem = f"{self.path} stayed locked for {BUSY_TIMEOUT_S:.0f} s"
            return StoreError(problem, "find the process that writes to it, or try again")
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"the disk that holds {self.path} is full", "free some space and try again")
        if index_is_damaged(error):
            return StoreError(f"{self.path} is damaged: {text}", "`overwinter memory rebuild` makes it anew")
        return StoreError(f"{self.path} cannot be used: {text}", "check the file, its folder and their permissions")


_NOT_THE_FILE = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
    | {sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH}
)
"""Errors that say nothing of what the file holds. All others a sound file does not give: the statements are ours and tested."""


def index_is_damaged(error: BaseException | None) -> bool:
    """Whether an error says that an index's file does not hold what was written, so that only a new one helps."""
    if isinstance(error, StoreError):
        return index_is_damaged(error.__cause__)
    if isinstance(error, UnicodeDecodeError) or (isinstance(error, ValueError) and str(error) == CHECKSUM):
        return True
    if not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.ProgrammingError):
        return False
    short = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHORT_READ
    return short or _code(error) not in _NOT_THE_FILE


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; 0 for other errors."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_busy(error: BaseException | None) -> bool:
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
