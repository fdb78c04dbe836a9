"""The conformance suite on the two stores that ship, and what only one of them promises."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conformance import StoreConformance
from journal_kit import REMOTE, Place, append_texts, begin, branch, intent, started, texts

from overwinter.errors import BudgetExhausted, LeaseLost, StoreError, UsageError
from overwinter.journal import NewRun, Store, open_store
from overwinter.journal.schema import LATEST
from overwinter.journal.sqlite import SqliteStore


class TestSqlite(StoreConformance):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = str(tmp_path / "journal.db")
        return Place(
            open=partial(SqliteStore, path),
            code=f"from overwinter.journal import open_store; store = open_store({path!r})\n",
        )

    def test_leases_expire_by_the_given_clock(self, place: Place) -> None:
        now = [0]
        store = place.open(clock_us=lambda: now[0])
        store.create(NewRun(run="r"))
        assert store.acquire("r", REMOTE, 60).expires_us == 60_000_000
        now[0] = 59_999_999
        with pytest.raises(LeaseLost):
            store.acquire("r", "me", 60)
        now[0] = 60_000_000
        assert store.acquire("r", "me", 60).fence == 2

    def test_a_clock_set_back_keeps_the_fence(self, place: Place) -> None:
        """The old owner's lease never expires on such a clock; taking over is still possible, and safe."""
        now = [10**15]
        store = place.open(clock_us=lambda: now[0])
        lease = begin(store)
        now[0] = 0
        with pytest.raises(LeaseLost):
            store.acquire("r", "me", 60)
        store.acquire("r", "me", 60, take_over=True)
        with pytest.raises(LeaseLost):
            append_texts(store, lease, "ghost")


@pytest.mark.postgres
class TestPostgres(StoreConformance):
    @pytest.fixture
    def place(self, postgres_url: str) -> Iterator[Place]:
        import psycopg

        from overwinter.journal.postgres import PostgresStore

        schema = f"t_{uuid.uuid4().hex}"
        source = "from overwinter.journal.postgres import PostgresStore\n"
        yield Place(
            open=partial(PostgresStore, postgres_url, schema=schema),
            code=f"{source}store = PostgresStore({postgres_url!r}, schema={schema!r})\n",
        )
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())

    def test_leases_expire_by_the_servers_clock(self, place: Place) -> None:
        store = place.open(clock_us=lambda: 10**17)
        store.create(NewRun(run="r"))
        assert store.acquire("r", REMOTE, 60).expires_us < 10**17
        with pytest.raises(LeaseLost):
            place.open(clock_us=lambda: 2 * 10**17).acquire("r", "me", 60)

    def test_a_branch_sees_what_the_other_is_just_taking(self, place: Place, store: Any, postgres_url: str) -> None:
        """Uncommitted changes are invisible: one that looked before taking would find the whole budget there."""
        import psycopg

        begin(store, "a", caps={"tokens": 100})
        lease = branch(store, "b", "a", 0, shared=("a",))
        waiting_backends = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with ThreadPoolExecutor(1) as pool, psycopg.connect(postgres_url, autocommit=True) as db:
            with store._transaction():
                store._lock_budgets(["a"])
                store._reserve("a", "tokens", 60)
                late = pool.submit(place.open().append, "b", [intent(tokens=60)], fence=lease.fence)
                while not late.done() and db.execute(waiting_backends).fetchone() == (0,):
                    pass
            with pytest.raises(BudgetExhausted, match="has 40 tokens left"):
                late.result()
        assert store.budget("a")["tokens"].reserved == 60

    def test_a_lost_connection_fails_one_call_and_comes_back(
        self, place: Place, store: Store, postgres_url: str
    ) -> None:
        import psycopg

        lease = begin(store)
        (row,) = store._execute("SELECT pg_backend_pid()")  # type: ignore[attr-defined]
        with psycopg.connect(postgres_url, autocommit=True) as db:
            db.execute("SELECT pg_terminate_backend(%s, 5000)", row)
        with pytest.raises(StoreError, match="connection"):
            append_texts(store, lease, "lost")
        append_texts(store, lease, "kept")
        assert texts(store, "r") == ["kept"]

    def test_a_newer_database_is_refused(self, place: Place, store: Store) -> None:
        store._execute("UPDATE schema_version SET version = ?", (LATEST + 1,))  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="newer overwinter"):
            place.open()

    def test_the_password_stays_out_of_messages(self) -> None:
        from overwinter.journal.postgres import PostgresStore

        with pytest.raises(StoreError) as caught:
            PostgresStore("postgresql://me:secret@127.0.0.1:1/db")
        assert "secret" not in str(caught.value)
        assert "me:***@127.0.0.1" in str(caught.value)
        with pytest.raises(UsageError, match="plain name"):
            PostgresStore("postgresql://me@127.0.0.1:1/db", schema="a; DROP")


def test_open_store_reads_urls(tmp_path: Path) -> None:
    for url in (str(tmp_path / "a" / "b.db"), f"sqlite:{tmp_path}/c.db"):
        store = open_store(url)
        store.create(NewRun(run="r"))
        store.close()
    assert (tmp_path / "a" / "b.db").exists()
    assert (tmp_path / "c.db").exists()
    for url in ("mysql://x/y", "http://x"):
        with pytest.raises(UsageError, match="unknown store"):
            open_store(url)


def test_the_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})


def test_reading_only_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no journal"):
        open_store(str(tmp_path / "none.db"), read_only=True)
    assert list(tmp_path.iterdir()) == []
    lease = begin(SqliteStore(tmp_path / "a.db"))
    reader = open_store(str(tmp_path / "a.db"), read_only=True)
    assert [entry.body for entry in reader.read("r")] == [started().body]
    with pytest.raises(StoreError, match="cannot be read"):
        append_texts(reader, lease, "no")
