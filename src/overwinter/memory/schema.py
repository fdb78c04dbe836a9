"""Tables of an index and their migrations, for both databases. Append-only: a migration that has shipped is never edited.

In SQLite a file is one namespace. In Postgres all namespaces share tables, so each has a column more, `{own}`, which is part of
every key (`{key}`); statements never name it, since they go through views that show one namespace (`postgres.py`).

What filters and neighbours need stands in `units`, narrow, so that many rows share a page; what is only read for the few units
that are shown stands in `texts`. `sum` is a checksum over the row: a database keeps none of its own, and a flipped bit must not
become a memory. Words and vectors' search structures are the databases' own and stand in `sqlite.py` and `postgres.py`.
"""

from __future__ import annotations

TABLES = (
    "counters", "sessions", "units", "texts", "marks", "notes", "claims", "evidence", "depends", "spans", "models", "vectors",
)  # fmt: skip

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE {counters} ({own}one BIGINT NOT NULL, units BIGINT NOT NULL, words BIGINT NOT NULL,
            sessions BIGINT NOT NULL, next_num BIGINT NOT NULL, next_session BIGINT NOT NULL, PRIMARY KEY ({key}one))""",
        """CREATE TABLE {sessions} ({own}id BIGINT NOT NULL, run TEXT NOT NULL, name TEXT NOT NULL, units BIGINT NOT NULL,
            words BIGINT NOT NULL, PRIMARY KEY ({key}id))""",
        "CREATE UNIQUE INDEX {sessions}_name ON {sessions} ({key}name, run)",
        "CREATE INDEX {sessions}_run ON {sessions} ({key}run)",
        """CREATE TABLE {units} ({own}num {num} NOT NULL, session BIGINT NOT NULL, place BIGINT NOT NULL, seq BIGINT NOT NULL,
            first BIGINT NOT NULL, last BIGINT NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL, flags BIGINT NOT NULL,
            happened_us BIGINT NOT NULL, happened_until_us BIGINT NOT NULL, told_us BIGINT NOT NULL, tokens BIGINT NOT NULL,
            PRIMARY KEY ({key}num))""",
        "CREATE INDEX {units}_session ON {units} ({key}session, place)",
        "CREATE INDEX {units}_happened ON {units} ({key}happened_us)",
        """CREATE TABLE {texts} ({own}num {num} NOT NULL, id TEXT NOT NULL, trust TEXT NOT NULL, digest TEXT NOT NULL,
            text TEXT NOT NULL, sum BIGINT NOT NULL, PRIMARY KEY ({key}num))""",
        "CREATE UNIQUE INDEX {texts}_id ON {texts} ({key}id)",
        """CREATE TABLE {marks} ({own}run TEXT NOT NULL, seq BIGINT NOT NULL, head TEXT NOT NULL, sum BIGINT NOT NULL,
            PRIMARY KEY ({key}run))""",
        "CREATE TABLE {notes} ({own}name TEXT NOT NULL, data {blob} NOT NULL, sum BIGINT NOT NULL, PRIMARY KEY ({key}name))",
        """CREATE TABLE {claims} ({own}id TEXT NOT NULL, subject TEXT NOT NULL, predicate TEXT NOT NULL, object TEXT NOT NULL,
            polarity BIGINT NOT NULL, confidence DOUBLE PRECISION NOT NULL, valid_from_us BIGINT NOT NULL, valid_to_us BIGINT,
            known_from_us BIGINT NOT NULL, known_to_us BIGINT, superseded_by TEXT NOT NULL, reason TEXT NOT NULL,
            sum BIGINT NOT NULL, PRIMARY KEY ({key}id))""",
        "CREATE INDEX {claims}_key ON {claims} ({key}subject, predicate)",
        "CREATE INDEX {claims}_valid ON {claims} ({key}valid_from_us)",
        """CREATE TABLE {evidence} ({own}claim TEXT NOT NULL, place BIGINT NOT NULL, unit TEXT NOT NULL, first BIGINT NOT NULL,
            last BIGINT NOT NULL, supports BIGINT NOT NULL, PRIMARY KEY ({key}claim, place))""",
        "CREATE INDEX {evidence}_unit ON {evidence} ({key}unit)",
        """CREATE TABLE {depends} ({own}claim TEXT NOT NULL, place BIGINT NOT NULL, basis TEXT NOT NULL,
            PRIMARY KEY ({key}claim, place))""",
        "CREATE INDEX {depends}_basis ON {depends} ({key}basis)",
        """CREATE TABLE {spans} ({own}level TEXT NOT NULL, period TEXT NOT NULL, id TEXT NOT NULL, since_us BIGINT NOT NULL,
            until_us BIGINT NOT NULL, text TEXT NOT NULL, covers TEXT NOT NULL, root TEXT NOT NULL, version BIGINT NOT NULL,
            sum BIGINT NOT NULL, PRIMARY KEY ({key}level, period))""",
        "CREATE INDEX {spans}_id ON {spans} ({key}id)",
        # Both ends, so that which periods overlap a time is seen without reading their texts.
        "CREATE INDEX {spans}_time ON {spans} ({key}since_us, until_us)",
        """CREATE TABLE {models} ({own}id BIGINT NOT NULL, name TEXT NOT NULL, dim BIGINT NOT NULL, vectors BIGINT NOT NULL,
            PRIMARY KEY ({key}id))""",
        """CREATE TABLE {vectors} ({own}model BIGINT NOT NULL, num BIGINT NOT NULL, data {blob} NOT NULL, sum BIGINT NOT NULL,
            PRIMARY KEY ({key}model, num))""",
        "CREATE INDEX {vectors}_num ON {vectors} ({key}num)",
    ),
)
"""One tuple of statements per schema version, starting with version 1."""

LATEST = len(MIGRATIONS)
