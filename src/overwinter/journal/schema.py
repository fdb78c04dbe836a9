"""Tables and migrations, for both databases. Append-only: a migration that has shipped is never edited.

`entries`, `blobs` and `inbox` are truth. `budgets`, the head columns of `runs` and `caches` are derived from entries
(`journal.rebuild`), kept because asking them is faster. `TEXT`, `BIGINT` and `{blob}` mean the same in SQLite and Postgres.

`entries` is not clustered by its key: in such a table SQLite gives each row over a kilobyte a page of its own, and a run would
take more than twice the space (6.2 instead of 2.9 kB per step, at the same speed).
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            run TEXT PRIMARY KEY, parent TEXT, fork_seq BIGINT NOT NULL, budgets TEXT NOT NULL,
            head_seq BIGINT NOT NULL, head_hash TEXT NOT NULL, head_time_us BIGINT NOT NULL,
            status TEXT NOT NULL, title TEXT NOT NULL, created_us BIGINT NOT NULL,
            owner TEXT NOT NULL, fence BIGINT NOT NULL, expires_us BIGINT NOT NULL)""",
        """CREATE TABLE entries (
            run TEXT NOT NULL, seq BIGINT NOT NULL, kind TEXT NOT NULL, data {blob} NOT NULL, hash TEXT NOT NULL,
            PRIMARY KEY (run, seq))""",
        """CREATE TABLE blobs (
            hash TEXT PRIMARY KEY, codec TEXT NOT NULL, bytes BIGINT NOT NULL, data {blob}, created_us BIGINT NOT NULL)""",
        """CREATE TABLE budgets (
            budget TEXT NOT NULL, resource TEXT NOT NULL, cap BIGINT, spent BIGINT NOT NULL, reserved BIGINT NOT NULL,
            PRIMARY KEY (budget, resource)){clustered}""",
        """CREATE TABLE inbox (
            id TEXT PRIMARY KEY, run TEXT NOT NULL, kind TEXT NOT NULL, body {blob} NOT NULL, time_us BIGINT NOT NULL)""",
        """CREATE TABLE caches (
            run TEXT NOT NULL, name TEXT NOT NULL, seq BIGINT NOT NULL, data {blob} NOT NULL,
            PRIMARY KEY (run, name))""",
    ),
    # 2: an entry may be a tombstone (`journal.tombstone`). Nothing changes in the tables, but a program that does not know of
    # them would report damage where something was erased; it is told to be updated instead.
    (),
)
"""One tuple of statements per schema version, starting with version 1."""

LATEST = len(MIGRATIONS)
