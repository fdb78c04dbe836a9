"""The index in Postgres: tables of all namespaces in one schema, of which a connection sees one.

Statements go through views that show only the rows of the namespace the connection was opened for, so that none of them can reach
another's; row-level security, forced also on the owner of the tables, says the same once more for whoever asks the tables
themselves. Superusers pass by row-level security, not by the views.

Words stand as `tsvector` under a GIN index, together with a word that only this namespace has, so that a search touches its own
rows. BM25 is computed from them in SQL: how often a row says a term is what `ts_rank` gives back for that term alone, since it
is 0.1 · 6/π² · Σ 1/j² over the occurrences (`_TIMES` turns that round). Where pgvector is installed, `nearest` searches vectors
in the database.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from overwinter.errors import StoreError, UsageError
from overwinter.memory.index import Found
from overwinter.memory.rows import Condition, Row
from overwinter.memory.schema import LATEST, MIGRATIONS, TABLES
from overwinter.memory.scoring import K1, B, weight
from overwinter.memory.sql import SqlIndex, Words

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 10
MIGRATION_LOCK = 0x6F774D  # "owM": one process migrates at a time
MOST_TIMES = 255
"""Occurrences that Postgres keeps of a word in a row."""

_SETTING = "overwinter.namespace"
_OWN = f"namespace TEXT NOT NULL DEFAULT current_setting('{_SETTING}'), "
_MINE = f"namespace = current_setting('{_SETTING}')"
_TIMES = "round(1 / (1.6449340668482264 * (1 - 10 * ts_rank(w.said, {query})::double precision)) - 0.5)"
_WORDS = (
    f"""CREATE TABLE all_words ({_OWN}num BIGINT NOT NULL, length BIGINT NOT NULL, said TSVECTOR NOT NULL,
        PRIMARY KEY (namespace, num))""",
    "CREATE INDEX all_words_said ON all_words USING gin (said)",
)
_SIGNS = "\ue001"
"""In front of the word that names a namespace: no text has it, since it is not a letter of any."""


class PostgresIndex(SqlIndex):
    """The index of one namespace in a Postgres schema of its own.

    Args:
        url: as libpq reads it.
        schema: the Postgres schema that holds the tables; letters, digits and underscores.
    """

    def __init__(self, url: str, namespace: str, *, schema: str = "overwinter_memory") -> None:
        from overwinter.journal.postgres import _without_password

        super().__init__(namespace, f"{_without_password(url)}#{namespace}")
        if not schema.isidentifier():
            raise UsageError(f"Postgres schema {schema!r} is not a plain name", "use letters, digits and underscores")
        self._conninfo = url
        self._schema = schema
        self._sign = _SIGNS + hashlib.sha256(namespace.encode()).hexdigest()[:16]
        self._write_lock = threading.Lock()
        self._read_lock = threading.RLock()
        self._db = self._connect()
        self._reader = self._connect()
        try:
            self._migrate()
            with self.transaction():
                self._start_counters()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            import psycopg
        except ImportError as error:
            raise UsageError("Postgres needs psycopg", "pip install 'overwinter[postgres]'") from error
        try:
            db = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
            db.execute(f"SET search_path TO {self._schema}, public".encode())
            db.execute("SELECT set_config(%s, %s, false)", (_SETTING, self.namespace))
            db.execute("SET synchronous_commit TO on")
        except psycopg.Error as error:
            raise self._translate(error) from error
        return db

    def _migrate(self) -> None:
        with self._begin_plain():
            self._run(self._db, "SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))
            self._run(self._db, f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            self._run(self._db, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            rows = self._run(self._db, "SELECT version FROM schema_version")
            version = int(rows[0][0]) if rows else 0
            if version > LATEST:
                raise StoreError(
                    f"the memory index in {self.url} was written by a newer overwinter "
                    f"(schema {version}, this program knows {LATEST})",
                    "update overwinter",
                )
            if version < LATEST:
                self._make_tables(version)

    def _make_tables(self, version: int) -> None:
        names = {name: f"all_{name}" for name in TABLES}
        statements = [
            statement.format(own=_OWN, key="namespace, ", blob="BYTEA", num="BIGINT", **names)
            for migration in MIGRATIONS[version:]
            for statement in migration
        ]
        tables = [*names.items(), ("words", "all_words")] if version == 0 else []
        for statement in [*statements, *(_WORDS if version == 0 else ())]:
            self._run(self._db, statement)
        for view, table in tables:
            for statement in (
                f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
                f"CREATE POLICY one_namespace ON {table} USING ({_MINE}) WITH CHECK ({_MINE})",
                f"CREATE VIEW {view} AS SELECT * FROM {table} WHERE {_MINE} WITH LOCAL CHECK OPTION",
            ):
                self._run(self._db, statement)
        self._run(self._db, "DELETE FROM schema_version")
        self._run(self._db, "INSERT INTO schema_version (version) VALUES (?)", (LATEST,))

    # The dialect

    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        if self._writer == threading.get_ident():
            return self._run(self._db, sql, args)
        with self._read_lock:
            if self._reader.closed:
                self._reader = self._connect()
            return self._run(self._reader, sql, args)

    def _run(self, db: psycopg.Connection[Any], sql: str, args: Sequence[Any] = ()) -> list[Row]:
        import psycopg

        try:
            cursor = db.execute(sql.replace("?", "%s").encode(), tuple(args) or None)
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as error:
            raise self._translate(error) from error

    def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        import psycopg

        self._must_write()
        try:
            with self._db.cursor() as cursor:
                cursor.executemany(sql.replace("?", "%s").encode(), rows)
        except psycopg.Error as error:
            raise self._translate(error) from error

    @contextmanager
    def _begin(self) -> Iterator[None]:
        with self._begin_plain():
            # One writer per namespace: what is counted on in between stays as it was read.
            self._run(
                self._db, "SELECT pg_advisory_xact_lock(hashtextextended(?, 1))", (f"{self._schema}/{self.namespace}",)
            )
            yield

    @contextmanager
    def _begin_plain(self) -> Iterator[None]:
        import psycopg

        with self._write_lock:
            # Only outside a transaction: a connection lost inside one must fail it, which then is not acknowledged.
            if self._db.closed:
                self._db = self._connect()
            try:
                with self._db.transaction():
                    yield
            except psycopg.Error as error:
                raise self._translate(error) from error

    def _among(self, column: str, values: Collection[Any]) -> Condition:
        return f"{column} = ANY(?)", [list(values)]

    # Words

    def _put_words(self, rows: Sequence[Words]) -> None:
        self._execute_many(
            "INSERT INTO words (num, length, said) VALUES (?, ?, ?::tsvector)",
            [(num, len(said), self._vector(said)) for num, said in rows],
        )

    def _vector(self, said: Sequence[str]) -> str:
        """As Postgres reads one: each word with a position for each time it is said."""
        times: dict[str, int] = {}
        for term in said:
            times[term] = times.get(term, 0) + 1
        shown = (
            f"'{term}':{','.join(map(str, range(1, min(count, MOST_TIMES) + 1)))}" for term, count in times.items()
        )
        return " ".join([f"'{self._sign}'", *shown])

    def _query(self, terms: Sequence[str]) -> str:
        return f"'{self._sign}' & ({' | '.join(_quoted(term) for term in terms)})"

    def _remove_words(self, rows: Sequence[Words]) -> None:
        condition, args = self._among("num", [num for num, _ in rows])
        self._execute(f"DELETE FROM words WHERE {condition}", args)

    def _clear_words(self) -> None:
        self._execute("DELETE FROM words")

    def _rank(self, terms: Sequence[str], condition: Condition | None, k: int) -> list[Found]:
        counters = self._counters()
        if not counters["units"] or not terms:
            return []
        mean = counters["words"] / counters["units"]
        parts, args = [], list[Any]()
        for term in terms:
            times = _TIMES.format(query="?::tsquery")
            parts.append(
                f"CASE WHEN w.said @@ ?::tsquery THEN ? * {K1 + 1} * {times} / ({times} + {K1} * ({1 - B} + {B} * w.length / ?)) "
                "ELSE 0 END"
            )
            quoted = _quoted(term)
            args += [quoted, weight(counters["units"], self._frequency(term)), quoted, quoted, mean]
        chosen, more = condition or ("1 = 1", [])
        sql = (
            f"SELECT w.num, {' + '.join(parts)} AS score FROM words w JOIN units u ON u.num = w.num "
            f"WHERE w.said @@ ?::tsquery AND {chosen} ORDER BY score DESC, w.num LIMIT ?"
        )
        rows = self._execute(sql, [*args, self._query(terms), *more, k])
        return [Found(row=num, score=float(score)) for num, score in rows]

    def _frequency(self, term: str) -> int:
        return int(
            self._execute("SELECT count(*) FROM words w WHERE w.said @@ ?::tsquery", (self._query([term]),))[0][0]
        )

    def _times_by_session(self, term: str) -> list[tuple[int, int]]:
        times = _TIMES.format(query="?::tsquery")
        rows = self._execute(
            f"SELECT u.session, sum({times})::bigint FROM words w JOIN units u ON u.num = w.num "
            "WHERE w.said @@ ?::tsquery GROUP BY u.session",
            (_quoted(term), self._query([term])),
        )
        return [(session, int(times)) for session, times in rows]

    def _vocabulary(self) -> Iterable[tuple[str, int]]:
        sql = "SELECT t.word, count(*) FROM words w, unnest(tsvector_to_array(w.said)) AS t(word) GROUP BY t.word"
        return [(term, units) for term, units in self._execute(sql) if not term.startswith(_SIGNS)]

    def _check_files(self) -> list[str]:
        # Postgres keeps no check of its files for ordinary users; the rows' checksums and counts cover ours.
        return []

    def purge(self) -> None:
        """Leave nothing of removed rows in the tables: rewrite them. What the server's own log still holds is the server's.

        Raises:
            StoreError: this user may not vacuum the tables.
        """
        with self._write_lock:
            for name in (*TABLES, "words"):
                self._run(self._db, f"VACUUM (FULL) all_{name}")

    def close(self) -> None:
        for name in ("_reader", "_db"):
            db = getattr(self, name, None)
            if db is not None:
                db.close()

    def _translate(self, error: Exception) -> StoreError:
        text = " ".join(str(error).split())
        if "connection" in text or "terminating" in text or "server closed" in text:
            return StoreError(f"the connection to {self.url} broke: {text}", "check the server and try again")
        return StoreError(f"{self.url}: {text}", "if it happens again, report it with this message")


def _quoted(term: str) -> str:
    """A term as a tsquery. Index terms hold letters, digits and the joiner only; quotes keep them in one piece."""
    return f"'{term}'"
