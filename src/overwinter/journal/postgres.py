"""The store for several machines: Postgres through psycopg 3, chosen by a `postgresql://` URL.

The run's row is locked (`FOR UPDATE`) for the length of each write, so two writers of one run queue up and the fencing number
decides; runs do not block each other. Leases expire by the server's clock: the machines' own clocks do not have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overwinter.errors import StoreError, UsageError
from overwinter.journal.rows import RUN_COLUMNS, Row
from overwinter.journal.schema import LATEST, MIGRATIONS
from overwinter.journal.sql import SqlStore, wall_clock_us

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 10
MIGRATION_LOCK = 0x6F7677  # "ovw": one process migrates at a time


class PostgresStore(SqlStore):
    """A journal in a Postgres database (its own schema `overwinter`, so it can share a database).

    Args:
        url: `postgresql://user@host/database`, as libpq reads it. The password may come from PGPASSWORD or a passfile.
        schema: the Postgres schema that holds the tables; letters, digits and underscores.
    """

    def __init__(self, url: str, *, schema: str = "overwinter", clock_us: Callable[[], int] = wall_clock_us) -> None:
        super().__init__(_without_password(url), clock_us)
        if not schema.isidentifier():
            raise UsageError(f"Postgres schema {schema!r} is not a plain name", "use letters, digits and underscores")
        self._conninfo = url
        self._schema = schema
        self._db = self._connect()
        self._migrate()

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            import psycopg
        except ImportError as error:
            raise UsageError("Postgres needs psycopg", "pip install 'overwinter[postgres]'") from error
        try:
            db = psycopg.connect(self._conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
        except psycopg.Error as error:
            raise StoreError(
                f"cannot reach {self.url}: {error}", "check that the server runs and the URL is right"
            ) from error
        db.execute(f"SET search_path TO {self._schema}".encode())
        # A server may be set to acknowledge before the disk has it; the journal's promise is the stronger one.
        db.execute("SET synchronous_commit TO on")
        return db

    def connection_settings(self) -> tuple[str, str]:
        """URL, password included, and schema: what another reader of the same database connects with."""
        return self._conninfo, self._schema

    def _migrate(self) -> None:
        with self._transaction():
            self._execute("SELECT pg_advisory_xact_lock(?)", (MIGRATION_LOCK,))
            self._execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
            self._execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            rows = self._execute("SELECT version FROM schema_version")
            version = int(rows[0][0]) if rows else 0
            if version > LATEST:
                raise StoreError(
                    f"{self.url} was written by a newer overwinter (schema {version}, this program knows {LATEST})",
                    "update overwinter",
                )
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self._execute(statement.format(blob="BYTEA", clustered=""))
            self._execute("DELETE FROM schema_version")
            self._execute("INSERT INTO schema_version (version) VALUES (?)", (LATEST,))

    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        import psycopg

        statement = sql.replace("?", "%s")
        with self._lock:
            self._reconnect_if_closed()
            try:
                cursor = self._db.execute(statement, tuple(args) or None)
                return cursor.fetchall() if cursor.description is not None else []
            except psycopg.Error as error:
                raise self._translate(error) from error

    def _reconnect_if_closed(self) -> None:
        # Only outside a transaction: a connection lost inside one must fail the append, which then is not acknowledged.
        if self._db.closed:
            self._db = self._connect()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        import psycopg

        with self._lock:
            self._reconnect_if_closed()
            try:
                with self._db.transaction():
                    yield
            except psycopg.Error as error:
                raise self._translate(error) from error

    def _lock_run(self, run: str) -> Row | None:
        rows = self._execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE run = ? FOR UPDATE", (run,))
        return rows[0] if rows else None

    def _lock_budgets(self, budgets: Sequence[str]) -> None:
        # Runs that share a budget lock different rows of `runs`; this is what keeps them from moving it at the same time.
        for budget in budgets:
            self._execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (f"{self._schema}/{budget}",))

    def _lease_clock_us(self) -> int:
        return int(self._execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")[0][0])

    def _holds(self, column: str) -> str:
        return f"position(? in {column}) > 0"

    def scrub(self) -> tuple[str, ...]:
        # FULL: an ordinary vacuum marks dead rows as free and leaves their bytes where they are.
        for table in ("entries", "blobs", "inbox", "caches", "runs"):
            self._execute(f"VACUUM FULL {self._schema}.{table}")
        return (
            "the server's write-ahead log until its segments are recycled, and where it is archived",
            "standbys that lag behind, and backups of the server",
        )

    def files(self) -> list[Path]:
        return []

    def check_integrity(self) -> list[str]:
        # Postgres keeps no whole-database check for ordinary users; the chain and the blob hashes cover our tables.
        return []

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _translate(self, error: Exception) -> StoreError:
        text = " ".join(str(error).split())
        if "No space left" in text or "could not extend file" in text:
            return StoreError(
                f"the disk of {self.url} is full; nothing was lost", "free some space, then `overwinter resume`"
            )
        if "read-only transaction" in text:
            return StoreError(f"{self.url} is read-only (a standby?)", "name the primary server with --store")
        if "connection" in text or "terminating" in text or "server closed" in text:
            return StoreError(
                f"the connection to {self.url} broke: {text}", "check the server, then `overwinter resume`"
            )
        return StoreError(f"{self.url}: {text}", "if it happens again, report it with this message")


def _without_password(url: str) -> str:
    """The URL as it may be shown: passwords never reach messages or journals."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    if parts.password is None:
        return url
    netloc = parts.netloc.replace(f":{parts.password}@", ":***@")
    return urlunsplit(parts._replace(netloc=netloc))
