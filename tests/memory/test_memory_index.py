"""The conformance suite on the indexes that ship, that they agree with each other, and what only one of them promises."""

from __future__ import annotations

import random
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from memory_conformance import IndexConformance, Opener, some
from memory_kit import ALL, everything, put, unit

from overwinter.errors import StoreError, UsageError
from overwinter.memory.index import Index
from overwinter.memory.schema import LATEST
from overwinter.memory.sqlite import SqliteIndex, index_is_damaged
from overwinter.memory.unit import Filter, Unit


class TestSqliteIndex(IndexConformance):
    @pytest.fixture
    def open_index(self, tmp_path: Path) -> Opener:
        return lambda namespace="default": SqliteIndex(tmp_path / "m" / f"{namespace}.db", namespace)

    def test_a_file_belongs_to_one_namespace(self, tmp_path: Path) -> None:
        SqliteIndex(tmp_path / "a.db", "a").close()
        with pytest.raises(StoreError, match="namespace 'a', not of 'A'"):
            SqliteIndex(tmp_path / "a.db", "A")

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "other.db"
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (a)")
            db.execute("PRAGMA user_version = 3")
        before = path.read_bytes()
        with pytest.raises(StoreError, match="not an overwinter memory index"):
            SqliteIndex(path, "a")
        assert path.read_bytes() == before

    def test_a_newer_schema_is_refused(self, tmp_path: Path) -> None:
        SqliteIndex(tmp_path / "a.db", "a").close()
        with sqlite3.connect(tmp_path / "a.db") as db:
            db.execute(f"PRAGMA user_version = {LATEST + 1}")
        with pytest.raises(StoreError, match="newer overwinter") as refused:
            SqliteIndex(tmp_path / "a.db", "a")
        assert not index_is_damaged(refused.value)

    def test_readers_see_what_is_committed_and_do_not_wait(self, index: Index) -> None:
        put(index, *some()[:2])
        counted: list[int] = []
        with index.transaction():
            index.put_units(some()[2:])
            reader = threading.Thread(target=lambda: counted.append(index.count()))
            reader.start()
            reader.join()
            assert (counted, index.count()) == ([2], 6)

    def test_purge_leaves_no_byte(self, index: Index, open_index: Opener, tmp_path: Path) -> None:
        put(index, *some(), unit("the zebrafish password is xylophone", 9, place=6))
        with index.transaction():
            index.remove_units([unit("the zebrafish password is xylophone", 9).id])
        index.purge()  # type: ignore[attr-defined]
        held = b"".join(file.read_bytes() for file in (tmp_path / "m").iterdir())
        assert b"Frost warning" in held
        for word in (b"zebrafish", b"xylophon"):
            assert word not in held
        assert index.check() == []

    def test_changed_bytes_are_noticed(self, index: Index, tmp_path: Path) -> None:
        rows = put(index, *some())
        with sqlite3.connect(tmp_path / "m" / "default.db") as db:
            db.execute("UPDATE texts SET text = replace(text, 'night', 'nigth')")
        with pytest.raises(StoreError, match="damaged") as noticed:
            index.units(rows)
        assert index_is_damaged(noticed.value)
        assert index.check() != []

    def test_check_finds_lost_words(self, index: Index) -> None:
        put(index, *some())
        assert index.check() == []
        with index.transaction():
            index._remove_words([(0, ["the"])])  # type: ignore[attr-defined]
        assert index.check() == ["the text index does not fit the texts"]


@pytest.fixture
def postgres_schema(postgres_url: str) -> Iterator[str]:
    import psycopg

    schema = f"t_{uuid.uuid4().hex}"
    yield schema
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


def _postgres_opener(url: str, schema: str, stack: ExitStack) -> Opener:
    from overwinter.memory.postgres import PostgresIndex

    def open_index(namespace: str = "default") -> Index:
        index = PostgresIndex(url, namespace, schema=schema)
        stack.callback(index.close)
        return index

    return open_index


@pytest.mark.postgres
class TestPostgresIndex(IndexConformance):
    @pytest.fixture
    def open_index(self, postgres_url: str, postgres_schema: str) -> Iterator[Opener]:
        with ExitStack() as stack:
            yield _postgres_opener(postgres_url, postgres_schema, stack)

    def test_row_security_holds_for_ordinary_users(
        self, open_index: Opener, postgres_url: str, postgres_schema: str
    ) -> None:
        """Asked past the views, as a user who is no superuser: only rows of the namespace that was named."""
        import psycopg

        put(open_index("a"), *some())
        put(open_index("b"), *some()[:2])
        role = f"u_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(f"CREATE ROLE {role}".encode())
            try:
                db.execute(f"GRANT USAGE ON SCHEMA {postgres_schema} TO {role}".encode())
                db.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {postgres_schema} TO {role}".encode())
                db.execute(f"SET ROLE {role}".encode())
                for namespace, units in (("a", 6), ("b", 2), ("c", 0)):
                    db.execute("SELECT set_config('overwinter.namespace', %s, false)", (namespace,))
                    count = db.execute(f"SELECT count(*) FROM {postgres_schema}.all_texts".encode()).fetchone()
                    assert count == (units,)
                with pytest.raises(psycopg.Error, match="row-level security"):
                    db.execute(
                        f"INSERT INTO {postgres_schema}.all_marks (namespace, run, seq, head, sum) VALUES ('a', 'r', 1, '', 0)".encode()
                    )
            finally:
                db.execute("RESET ROLE")
                db.execute(f"DROP OWNED BY {role}".encode())
                db.execute(f"DROP ROLE {role}".encode())

    def test_a_newer_schema_is_refused(self, open_index: Opener, index: Index) -> None:
        index._run(index._db, "UPDATE schema_version SET version = ?", (LATEST + 1,))  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="newer overwinter"):
            open_index()

    def test_names_of_schemas_are_plain(self, postgres_url: str) -> None:
        from overwinter.memory.postgres import PostgresIndex

        with pytest.raises(UsageError, match="plain name"):
            PostgresIndex(postgres_url, "a", schema="a; DROP")

    def test_it_finds_what_sqlite_finds(self, open_index: Opener, tmp_path: Path) -> None:
        _compare(SqliteIndex(tmp_path / "a.db", "default"), open_index())


def _compare(one: Index, other: Index) -> None:
    """Two indexes of the same drawn units, some of which were removed, say the same of everything."""
    rng = random.Random(7)
    units = drawn(rng, 120)
    gone = rng.sample([each.id for each in units], 15)
    for index in (one, other):
        for first in range(0, len(units), 50):
            put(index, *units[first : first + 50])
        with index.transaction():
            index.remove_units(gone)
    mine, theirs = everything(one), everything(other)
    for part in mine:
        assert mine[part] == (pytest.approx(theirs[part], rel=1e-5) if part == "sessions" else theirs[part]), part
    for _ in range(40):
        asked = rng.sample(VOCABULARY, rng.randint(1, 4))
        where = rng.choice([Filter(), ALL, Filter(since_us=30_000), Filter(sessions=frozenset({"s1", "s2"}))])
        a, b = ([(_id(index, hit.row), hit.score) for hit in index.lexical(asked, where, 20)] for index in (one, other))
        assert [score for _, score in a] == pytest.approx([score for _, score in b], rel=1e-5)
        assert one.session_scores(asked, 5) == pytest.approx(other.session_scores(asked, 5), rel=1e-5)


def _id(index: Index, row: int) -> str:
    return index.units([row])[0].id


VOCABULARY = [f"{a}{b}" for a in ("frost", "pump", "order-1", "boil", "leaf") for b in ("", "s", "ing", "7")]


def drawn(rng: random.Random, count: int) -> list[Unit]:
    places: dict[str, int] = {}
    units = []
    for seq in range(count):
        session = f"s{rng.randrange(6)}"
        text = " ".join(rng.choices(VOCABULARY, [1 / (1 + i) for i in range(len(VOCABULARY))], k=rng.randint(1, 30)))
        flags = frozenset(rng.sample(["injected", "secret"], rng.randrange(2)))
        units.append(unit(text, seq, session=session, place=places.get(session, 0), flags=flags))
        places[session] = places.get(session, 0) + 1
    return units


@cache
def plain_index() -> Callable[[str], Index] | None:
    try:
        from overwinter.memory.plain import PlainIndex
    except ImportError:
        return None
    return PlainIndex


@pytest.mark.skipif(plain_index() is None, reason="the plain index has not landed")
class TestPlainIndex(IndexConformance):
    @pytest.fixture
    def open_index(self) -> Opener:
        make = plain_index()
        assert make is not None
        return cache(lambda namespace="default": make(namespace))

    def test_sqlite_finds_what_it_finds(self, open_index: Opener, tmp_path: Path) -> None:
        _compare(SqliteIndex(tmp_path / "a.db", "default"), open_index())
