"""An index's logic, once, over a small SQL dialect. `sqlite.py` and `postgres.py` supply connection, transactions and words.

Statements are written with `?`, name tables and never namespaces, and use only what both databases understand. Writing happens in
one transaction at a time and namespace, so that numbers can be counted on without asking twice.
"""

from __future__ import annotations

import abc
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from overwinter.errors import StoreError
from overwinter.memory.index import Found
from overwinter.memory.names import asked_terms, counted_terms, index_terms
from overwinter.memory.rows import (
    UNIT_COLUMNS,
    UNIT_TABLES,
    Condition,
    Row,
    checksum,
    damaged,
    flag_bits,
    limits,
    unit_of,
    unit_sum,
    whole,
)
from overwinter.memory.schema import TABLES
from overwinter.memory.scoring import bm25_of_sessions
from overwinter.memory.sql_claims import ClaimTables
from overwinter.memory.sql_vectors import VectorTables
from overwinter.memory.unit import Filter, Unit

Words = tuple[int, list[str]]
"""A row and the terms it is found by, with repetitions."""

FIRST_LOOK = 64
"""Rows beyond the wanted ones that the text index is asked for before the filter is put into the search itself."""


class SqlIndex(ClaimTables, VectorTables, abc.ABC):
    """Everything of the Index protocol that does not depend on the database."""

    def __init__(self, namespace: str, url: str) -> None:
        self.namespace = namespace
        self.url = url
        self._writer: int | None = None  # the thread that holds the transaction

    # What a dialect supplies

    @abc.abstractmethod
    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; all its rows. In this thread's transaction if it has one. Raises StoreError."""

    @abc.abstractmethod
    def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None: ...

    @abc.abstractmethod
    def _begin(self) -> AbstractContextManager[None]:
        """The namespace's only write transaction: durable when it ends, rolled back when it raises."""

    @abc.abstractmethod
    def _among(self, column: str, values: Collection[Any]) -> Condition:
        """That a column has one of these values."""

    @abc.abstractmethod
    def _put_words(self, rows: Sequence[Words]) -> None: ...

    @abc.abstractmethod
    def _remove_words(self, rows: Sequence[Words]) -> None: ...

    @abc.abstractmethod
    def _clear_words(self) -> None: ...

    @abc.abstractmethod
    def _rank(self, terms: Sequence[str], condition: Condition | None, k: int) -> list[Found]:
        """The `k` best rows by BM25 among those of `units u` that fulfil the condition, best first, ties by row."""

    @abc.abstractmethod
    def _frequency(self, term: str) -> int:
        """In how many units an index term occurs."""

    @abc.abstractmethod
    def _times_by_session(self, term: str) -> list[tuple[int, int]]:
        """How often each session says an index term."""

    @abc.abstractmethod
    def _check_files(self) -> list[str]: ...

    @abc.abstractmethod
    def close(self) -> None: ...

    # Writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._writer == threading.get_ident():
            raise StoreError("a transaction of this index is open already", "put the work into that one")
        with self._begin():
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    def _must_write(self) -> None:
        if self._writer != threading.get_ident():
            raise StoreError(
                "an index is written inside a transaction only", "wrap the call in `with index.transaction()`"
            )

    def put_units(self, units: Sequence[Unit]) -> list[int]:
        self._must_write()
        known = self._rows_by_id([unit.id for unit in units])
        counters = self._counters()
        sessions = _Sessions(self, counters)
        words: list[Words] = []
        narrow, wide = [], []
        for unit in units:
            if unit.id in known:
                continue
            num = known[unit.id] = counters["next_num"]
            counters["next_num"] += 1
            terms, bits = index_terms(unit.text), flag_bits(unit.flags)
            words.append((num, terms))
            session = sessions.add(unit.run, unit.session, len(terms))
            times = unit.happened_us, unit.happened_until_us, unit.told_us
            span = unit.place, unit.seq, unit.first, unit.last
            narrow.append((num, session, *span, unit.kind, unit.actor, bits, *times, unit.tokens))
            wide.append((num, unit.id, unit.trust, unit.digest, unit.text, unit_sum(unit, bits)))
        if narrow:
            self._execute_many(f"INSERT INTO units (num, {_NARROW}) VALUES ({_marks(13)})", narrow)
            self._execute_many(f"INSERT INTO texts (num, {_WIDE}) VALUES ({_marks(6)})", wide)
            self._put_words(words)
            sessions.save()
            counters["units"] += len(narrow)
            self._save_counters(counters)
        return [known[unit.id] for unit in units]

    def remove_units(self, ids: Collection[str]) -> int:
        self._must_write()
        gone = [(num, unit) for num, unit in self._numbered(self._among("t.id", set(ids)))]
        if not gone:
            return 0
        nums = [num for num, _ in gone]
        words = [(num, index_terms(unit.text)) for num, unit in gone]
        self._remove_words(words)
        self._drop_vectors_of(nums)
        self._drop_evidence({unit.id for _, unit in gone})
        counters = self._counters()
        sessions = _Sessions(self, counters)
        for (_, unit), (_, terms) in zip(gone, words, strict=True):
            sessions.take(unit.run, unit.session, len(terms))
        for table in ("units", "texts"):
            condition, args = self._among("num", nums)
            self._execute(f"DELETE FROM {table} WHERE {condition}", args)
        sessions.save()
        for session in sessions.touched():
            self._close_gaps(session)
        counters["units"] -= len(gone)
        self._save_counters(counters)
        return len(gone)

    def _close_gaps(self, session: int) -> None:
        """Number the places of a session anew, as a derivation of what is left would."""
        rows = self._execute("SELECT num, place FROM units WHERE session = ? ORDER BY seq, first", (session,))
        moved = [(place, row[0]) for place, row in enumerate(rows) if row[1] != place]
        if moved:
            self._execute_many("UPDATE units SET place = ? WHERE num = ?", moved)

    def mark(self, run: str, seq: int, head: str) -> None:
        self._must_write()
        self._execute("DELETE FROM marks WHERE run = ?", (run,))
        values = run, seq, head
        self._execute("INSERT INTO marks (run, seq, head, sum) VALUES (?, ?, ?, ?)", (*values, checksum(values)))

    def set_note(self, name: str, data: bytes) -> None:
        self._must_write()
        self._execute("DELETE FROM notes WHERE name = ?", (name,))
        if data:
            self._execute("INSERT INTO notes (name, data, sum) VALUES (?, ?, ?)", (name, data, checksum((name, data))))

    def drop_all(self) -> None:
        self._must_write()
        for table in TABLES:
            self._execute(f"DELETE FROM {table}")
        self._clear_words()
        self._start_counters()

    def _start_counters(self) -> None:
        self._execute(
            "INSERT INTO counters (one, units, words, sessions, next_num, next_session) "
            "SELECT 1, 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM counters)"
        )

    def _counters(self) -> dict[str, int]:
        rows = self._execute(f"SELECT {', '.join(_COUNTERS)} FROM counters")
        if len(rows) != 1 or not all(type(value) is int and value >= 0 for value in rows[0]):
            raise damaged("the counting row")
        return dict(zip(_COUNTERS, rows[0], strict=True))

    def _save_counters(self, counters: Mapping[str, int]) -> None:
        changes = ", ".join(f"{name} = ?" for name in _COUNTERS)
        self._execute(f"UPDATE counters SET {changes}", [counters[name] for name in _COUNTERS])

    # Reading

    def watermarks(self) -> Mapping[str, tuple[int, str]]:
        marks: dict[str, tuple[int, str]] = {}
        for run, seq, head, written in self._execute("SELECT run, seq, head, sum FROM marks"):
            if checksum((run, seq, head)) != written:
                raise damaged(f"the watermark of run {run!r}")
            marks[run] = seq, head
        return marks

    def note(self, name: str) -> bytes | None:
        rows = self._execute("SELECT data, sum FROM notes WHERE name = ?", (name,))
        if not rows:
            return None
        data = bytes(rows[0][0])
        if checksum((name, data)) != rows[0][1]:
            raise damaged(f"note {name!r}")
        return data

    def count(self) -> int:
        return self._counters()["units"]

    def next_place(self, run: str, session: str) -> int:
        rows = self._execute("SELECT units FROM sessions WHERE run = ? AND name = ?", (run, session))
        return whole(rows[0][0], "the list of sessions") if rows else 0

    def unit(self, id_: str) -> Unit | None:
        found = self._numbered(("t.id = ?", [id_]))
        return found[0][1] if found else None

    def units(self, rows: Sequence[int]) -> list[Unit]:
        found = dict(self._numbered(self._among("u.num", set(rows)))) if rows else {}
        return [found[row] for row in rows if row in found]

    def rows(self, ids: Sequence[str]) -> list[int]:
        found = self._rows_by_id(ids)
        return [found[id_] for id_ in ids if id_ in found]

    def _rows_by_id(self, ids: Collection[str]) -> dict[str, int]:
        if not ids:
            return {}
        condition, args = self._among("id", set(ids))
        return {row[0]: row[1] for row in self._execute(f"SELECT id, num FROM texts WHERE {condition}", args)}

    def _numbered(self, condition: Condition, rest: str = "") -> list[tuple[int, Unit]]:
        sql = f"SELECT {UNIT_COLUMNS} FROM {UNIT_TABLES} WHERE {condition[0]} {rest}"
        return [(row[18], unit_of(row)) for row in self._execute(sql, condition[1])]

    def _where(self, where: Filter) -> Condition:
        """A filter as a condition on `units u`; "" when it lets everything through."""
        term, args = limits(where)
        terms = [term] if term else []
        for column, values in (("u.kind", where.kinds), ("u.actor", where.actors)):
            if values:
                condition, more = self._among(column, values)
                terms.append(condition)
                args += more
        chosen = [(column, values) for column, values in (("name", where.sessions), ("run", where.runs)) if values]
        if chosen:
            conditions = [self._among(column, values) for column, values in chosen]
            inner = " AND ".join(condition for condition, _ in conditions)
            terms.append(f"u.session IN (SELECT id FROM sessions WHERE {inner})")
            args += [value for _, more in conditions for value in more]
        return " AND ".join(terms), args

    def scan(self, where: Filter, *, after_row: int = -1, limit: int = 1000) -> list[tuple[int, Unit]]:
        term, args = self._where(where)
        condition = f"u.num > ?{' AND ' + term if term else ''}"
        return self._numbered((condition, [after_row, *args, limit]), "ORDER BY u.num LIMIT ?")

    def timeline(self, where: Filter, *, limit: int = 1000, newest_first: bool = False) -> list[Unit]:
        term, args = self._where(where)
        way = "DESC" if newest_first else "ASC"
        order = ", ".join(f"{column} {way}" for column in ("u.happened_us", "s.run", "u.seq", "u.first"))
        return [unit for _, unit in self._numbered((term or "1 = 1", [*args, limit]), f"ORDER BY {order} LIMIT ?")]

    def lexical(self, terms: Sequence[str], where: Filter, k: int) -> list[Found]:
        asked = asked_terms(terms)
        if not asked or k < 1:
            return []
        condition = self._where(where)
        if not condition[0]:
            return self._rank(asked, None, k)
        # Most filters leave out a few rows: then ranking all and looking again is twice as fast as a filtered ranking.
        if _is_wide(where):
            found = self._rank(asked, None, k + FIRST_LOOK)
            allowed = self.allowed([each.row for each in found], where)
            kept = [each for each in found if each.row in allowed]
            if len(kept) >= k or len(found) < k + FIRST_LOOK:
                return kept[:k]
        return self._rank(asked, condition, k)

    def document_frequency(self, terms: Sequence[str]) -> dict[str, int]:
        return {term: self._frequency_of(counted_terms(term)) for term in terms}

    def _frequency_of(self, terms: Sequence[str]) -> int:
        if len(terms) == 1:
            return self._frequency(terms[0])
        # Of a term of several words: units that say any of them. Rare, so the rows may be looked at.
        return len(self._rank(terms, None, self.count())) if terms else 0

    def session_scores(self, terms: Sequence[str], k: int) -> dict[str, float]:
        counters = self._counters()
        times = {term: dict(self._times_by_session(term)) for term in asked_terms(terms)}
        saying = {session for counted in times.values() for session in counted}
        if not saying:
            return {}
        condition, args = self._among("id", saying)
        rows = self._execute(f"SELECT id, name, words FROM sessions WHERE {condition}", args)
        names = {row[0]: row[1] for row in rows}
        if names.keys() != saying:
            raise damaged("the list of sessions")
        lengths = {row[0]: whole(row[2], "the list of sessions") for row in rows}
        if self._execute("SELECT count(*) FROM sessions")[0][0] != counters["sessions"]:
            lengths = self._join_namesakes(times, names)
        mean = counters["words"] / max(counters["sessions"], 1)
        return bm25_of_sessions(times, lengths, names, sessions=counters["sessions"], mean=mean, k=k)

    def _join_namesakes(self, times: dict[str, dict[int, int]], names: dict[int, str]) -> dict[int, int]:
        """Count what several runs say in a session of one name for the first of them; words by session, of all its runs."""
        condition, args = self._among("name", set(names.values()))
        first: dict[str, int] = {}
        lengths: Counter[int] = Counter()
        for session, name, words in self._execute(
            f"SELECT id, name, words FROM sessions WHERE {condition} ORDER BY id", args
        ):
            lengths[first.setdefault(name, session)] += words
        names |= {session: name for name, session in first.items()}
        for term, counted in times.items():
            joined: Counter[int] = Counter()
            for session, often in counted.items():
                joined[first[names[session]]] += often
            times[term] = joined
        return {session: lengths[session] for counted in times.values() for session in counted}

    def neighbours(self, rows: Collection[int]) -> dict[int, tuple[int | None, int | None]]:
        if not rows:
            return {}
        condition, args = self._among("u.num", set(rows))
        found = self._execute(
            "SELECT u.num, b.num, a.num FROM units u "
            "LEFT JOIN units b ON b.session = u.session AND b.place = u.place - 1 "
            f"LEFT JOIN units a ON a.session = u.session AND a.place = u.place + 1 WHERE {condition}",
            args,
        )
        return {row: (before, after) for row, before, after in found}

    def sessions_of(self, rows: Collection[int]) -> dict[int, str]:
        if not rows:
            return {}
        condition, args = self._among("u.num", set(rows))
        sql = f"SELECT u.num, s.name FROM units u JOIN sessions s ON s.id = u.session WHERE {condition}"
        return {row[0]: row[1] for row in self._execute(sql, args)}

    def allowed(self, rows: Collection[int], where: Filter) -> set[int]:
        if not rows:
            return set()
        condition, args = self._among("u.num", set(rows))
        term, more = self._where(where)
        sql = f"SELECT u.num FROM units u WHERE {condition}{' AND ' + term if term else ''}"
        return {row[0] for row in self._execute(sql, [*args, *more])}

    def check(self) -> list[str]:
        """See `Index.check`; reads everything."""
        problems = self._check_files()
        return problems or self._check_rows()

    def _check_rows(self) -> list[str]:
        """Whether every row is what was written, and the text index says what the texts say."""
        try:
            return self._compare()
        except StoreError as error:
            return [error.problem]

    def _compare(self) -> list[str]:
        said: Counter[str] = Counter()
        sizes: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        places: dict[tuple[str, str], list[int]] = defaultdict(list)
        after = -1
        while page := self.scan(Filter(exclude_flags=frozenset()), after_row=after):
            after = page[-1][0]
            for _, unit in page:
                terms, key = index_terms(unit.text), (unit.run, unit.session)
                said.update(set(terms))
                sizes[key][0] += 1
                sizes[key][1] += len(terms)
                places[key].append(unit.place)
        self._check_claims()
        self._check_vectors()
        self.watermarks()
        counters = self._counters()
        listed = {
            (run, name): [units, words]
            for run, name, units, words in self._execute("SELECT run, name, units, words FROM sessions")
        }
        totals = [sum(size[i] for size in sizes.values()) for i in (0, 1)]
        wrong = {
            "the places of a session have gaps": any(
                sorted(each) != list(range(len(each))) for each in places.values()
            ),
            "the list of sessions does not fit the units": listed != sizes,
            "the counts do not fit the units": [counters["units"], counters["words"], counters["sessions"]]
            != [*totals, len({name for _, name in sizes})],
            "the text index does not fit the texts": dict(self._vocabulary()) != said,
        }
        return [problem for problem, found in wrong.items() if found]

    @abc.abstractmethod
    def _vocabulary(self) -> Iterable[tuple[str, int]]:
        """Every index term and in how many units it occurs."""


_COUNTERS = ("units", "words", "sessions", "next_num", "next_session")
_NARROW = "session, place, seq, first, last, kind, actor, flags, happened_us, happened_until_us, told_us, tokens"
_WIDE = "id, trust, digest, text, sum"


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _is_wide(where: Filter) -> bool:
    """Whether a filter is likely to let most units through."""
    # A point of view (what had happened and was known by then) hides the end of the past, as a rule the smaller part.
    return where.since_us is None and not (where.sessions or where.runs or where.kinds or where.actors)


class _Sessions:
    """The rows of the sessions that a batch touches: how many units and words each has."""

    def __init__(self, index: SqlIndex, counters: dict[str, int]) -> None:
        self._index = index
        self._counters = counters
        self._rows: dict[tuple[str, str], list[int]] = {}  # (run, name) → id, units, words
        self._new: set[tuple[str, str]] = set()

    def add(self, run: str, name: str, words: int) -> int:
        """Count one unit in; the session's id."""
        row = self._row(run, name)
        row[1] += 1
        row[2] += words
        self._counters["words"] += words
        return row[0]

    def take(self, run: str, name: str, words: int) -> None:
        row = self._row(run, name)
        row[1] -= 1
        row[2] -= words
        self._counters["words"] -= words

    def touched(self) -> list[int]:
        return [row[0] for row in self._rows.values() if row[1] > 0]

    def save(self) -> None:
        execute = self._index._execute
        for (run, name), (id_, units, words) in self._rows.items():
            if (run, name) in self._new:
                execute(
                    f"INSERT INTO sessions (id, run, name, units, words) VALUES ({_marks(5)})",
                    (id_, run, name, units, words),
                )
            elif units > 0:
                execute("UPDATE sessions SET units = ?, words = ? WHERE id = ?", (units, words, id_))
            else:
                execute("DELETE FROM sessions WHERE id = ?", (id_,))
                self._counters["sessions"] -= not execute("SELECT 1 FROM sessions WHERE name = ? LIMIT 1", (name,))

    def _row(self, run: str, name: str) -> list[int]:
        row = self._rows.get((run, name))
        if row is not None:
            return row
        execute = self._index._execute
        found = execute("SELECT id, units, words FROM sessions WHERE run = ? AND name = ?", (run, name))
        if found:
            row = [whole(value, "the list of sessions") for value in found[0]]
        else:
            others = any(key[1] == name for key in self._new)
            if not others and not execute("SELECT 1 FROM sessions WHERE name = ? LIMIT 1", (name,)):
                self._counters["sessions"] += 1
            row = [self._counters["next_session"], 0, 0]
            self._counters["next_session"] += 1
            self._new.add((run, name))
        self._rows[run, name] = row
        return row
