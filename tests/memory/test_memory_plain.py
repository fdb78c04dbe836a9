"""The index in memory: what only it can be asked, and that its BM25 is SQLite's. The conformance suite asks it the rest."""

from __future__ import annotations

import sqlite3

import pytest
from find_kit import filled, make_unit, small_talk

from overwinter.errors import StoreError
from overwinter.memory.plain import PlainIndex
from overwinter.memory.unit import Filter


def test_bm25_is_that_of_sqlite() -> None:
    units = small_talk(120)
    index = filled(units)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = 'porter unicode61')")
    database.executemany("INSERT INTO texts(rowid, text) VALUES (?, ?)", enumerate(unit.text for unit in units))
    query = "SELECT rowid, -bm25(texts) FROM texts WHERE texts MATCH ? ORDER BY rank, rowid"
    for terms in (["stove"], ["Ada", "harvest"], ["painting", "lanterns", "7"], ["the", "violin"], ["nothing"]):
        expected = database.execute(query, (" OR ".join(f'"{term}"' for term in terms),)).fetchall()
        found = [(hit.row, hit.score) for hit in index.lexical(terms, Filter(), 1000)]
        assert {row for row, _ in found} == {row for row, _ in expected}
        assert dict(found) == pytest.approx(dict(expected), rel=1e-6)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_a_transaction_that_raises_leaves_nothing() -> None:
    index = filled([make_unit(0, "kept")])

    def fail() -> None:
        with index.transaction():
            index.put_units([make_unit(1, "rolled back")])
            index.set_note("name", b"data")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert index.count() == 1
    assert index.note("name") is None
    assert not index.lexical(["rolled"], Filter(), 10)


def test_writing_needs_a_transaction() -> None:
    index = PlainIndex()
    with pytest.raises(StoreError, match="inside a transaction"):
        index.put_units([])
    with index.transaction(), pytest.raises(StoreError, match="open already"), index.transaction():
        pass


def test_rows_are_never_given_twice() -> None:
    """The arrays of the dense channel hold rows: one used again would lend a new unit a removed unit's vector."""
    units = [make_unit(i, f"unit {i}") for i in range(3)]
    index = filled(units)
    with index.transaction():
        index.put_vectors("m", 1, [(row, b"\0\0") for row in range(3)])
        assert index.remove_units([units[2].id, "unknown"]) == 1
        assert index.put_units([make_unit(3, "new")]) == [3]
    assert index.vector_models() == {"m": (1, 2)}
    assert index.without_vector("m", 10) == [3]
    assert index.neighbours([0, 1]) == {0: (None, 1), 1: (0, 3)}
