"""The promises of `overwinter.memory.index.Index`, as tests. A further index passes by subclassing `IndexConformance`:

    class TestMyIndex(IndexConformance):
        @pytest.fixture
        def open_index(self):
            return lambda namespace="default": MyIndex(URL, namespace)

`open_index` gives the same index again for the same namespace.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from memory_kit import ALL, claim, everything, put, says, span, unit

from overwinter.errors import StoreError
from overwinter.memory.index import Index
from overwinter.memory.unit import AsOf, Filter, Unit

Opener = Callable[..., Index]
TEXTS = (
    "The boiler in house two failed during the night",
    "Frost warning: temperatures fall to minus eleven",
    "Ann repaired the boiler and replaced its pump",
    "Tomato seedlings look healthy; watered twice",
    "Order-17 for diesel was confirmed, see src/orders.py",
    "The pump makes noises again, the pump is old",
)


def some(**changes: object) -> list[Unit]:
    return [unit(text, seq, **changes) for seq, text in enumerate(TEXTS)]


def _write_and_fail(index: Index) -> None:
    with index.transaction():
        index.put_units(some()[2:])
        index.mark("r", 5, "h")
        index.remove_units([some()[0].id])
        index.put_claims([claim(1, evidence=(says(some()[1]),))])
        assert index.count() == 5
        raise ZeroDivisionError


class UnitConformance:
    def test_a_unit_reads_back_as_it_was_stored(self, index: Index) -> None:
        odd = unit(
            'α\u2028 "x" \\ \' 🌱\n\ttab',
            3,
            session="chat 7/b",
            kind="document",
            actor="person:Ånn",
            happened_us=-5,
            happened_until_us=10**16,
            flags=frozenset({"secret", "instruction"}),
        )
        (row,) = put(index, odd)
        assert index.units([row]) == [odd]
        assert index.unit(odd.id) == odd
        assert index.rows([odd.id, "0" * 32]) == [row]
        assert index.count() == 1
        assert index.unit("0" * 32) is None
        assert index.units([row + 1]) == []

    def test_storing_twice_changes_nothing(self, index: Index) -> None:
        rows = put(index, *some())
        before = everything(index)
        assert put(index, *some()) == rows
        assert put(index, some()[2], some()[2]) == [rows[2]] * 2
        assert everything(index) == before

    def test_rows_ascend_in_order_of_storing(self, index: Index) -> None:
        units = some()
        first, later = put(index, *units[:3]), put(index, *units[3:])
        rows = first + later
        assert rows == sorted(rows)
        assert [row for row, _ in index.scan(ALL)] == rows
        assert [row for row, _ in index.scan(ALL, after_row=rows[1], limit=2)] == rows[2:4]
        assert index.units([rows[4], rows[0]]) == [units[4], units[0]]

    def test_a_row_is_not_given_to_another(self, index: Index) -> None:
        units = some()
        rows = put(index, *units)
        with index.transaction():
            assert index.remove_units([units[5].id, "0" * 32]) == 1
        assert put(index, units[5])[0] > rows[5]

    def test_a_transaction_is_all_or_nothing(self, index: Index) -> None:
        put(index, *some()[:2])
        before = everything(index)
        with pytest.raises(ZeroDivisionError):
            _write_and_fail(index)
        assert everything(index) == before
        assert put(index, *some()[2:])
        assert index.check() == []

    def test_writing_needs_a_transaction(self, index: Index) -> None:
        for write in (
            lambda: index.put_units(some()),
            lambda: index.put_claims([claim(1)]),
            lambda: index.put_spans([span("day", "d", 0, 1)]),
            lambda: index.mark("r", 0, ""),
            lambda: index.set_note("a", b"b"),
            index.drop_all,
        ):
            with pytest.raises(StoreError, match="transaction"):
                write()
        with index.transaction(), pytest.raises(StoreError, match="open already"), index.transaction():
            pass

    def test_an_index_is_there_again_when_opened_again(self, index: Index, open_index: Opener) -> None:
        put(index, *some())
        with index.transaction():
            index.mark("r", 5, "h5")
            index.set_note("weights", b"\x00\xff")
        again = open_index()
        assert everything(again) == everything(index)
        assert again.note("weights") == b"\x00\xff"
        assert again.watermarks() == {"r": (5, "h5")}

    def test_notes_and_marks(self, index: Index) -> None:
        with index.transaction():
            index.set_note("a", b"1")
            index.set_note("a", b"2")
            index.set_note("b", b"3")
            index.set_note("b", b"")
            index.mark("r", 1, "x")
            index.mark("r", 2, "y")
        assert (index.note("a"), index.note("b")) == (b"2", None)
        assert index.watermarks() == {"r": (2, "y")}

    def test_drop_all_leaves_nothing(self, index: Index) -> None:
        first = some()[0]
        put(index, *some())
        full = everything(index)
        with index.transaction():
            index.put_claims([claim(1, evidence=(says(first),))])
            index.put_spans([span("day", "2031-04-07", 0, 10)])
            index.put_vectors("m", 2, [(index.rows([first.id])[0], b"1234")])
            index.set_note("n", b"x")
            index.mark("r", 9, "z")
            index.drop_all()
        assert (index.count(), index.claims(), index.spans(), index.vector_models()) == (0, [], [], {})
        assert (dict(index.watermarks()), index.note("n")) == ({}, None)
        assert index.lexical(["boiler"], ALL, 9) == []
        put(index, *some())
        assert everything(index) == full
        assert index.check() == []

    def test_places_follow_when_a_unit_is_removed(self, index: Index) -> None:
        units = some()
        put(index, *units)
        with index.transaction():
            assert index.remove_units([units[1].id, units[4].id]) == 2
        left = [each for each in units if each not in (units[1], units[4])]
        assert [each.place for _, each in index.scan(ALL)] == [0, 1, 2, 3]
        assert index.next_place("r", "r") == 4
        rows = index.rows([each.id for each in left])
        assert index.neighbours(rows)[rows[1]] == (rows[0], rows[2])
        assert index.lexical(["order-17"], ALL, 9) == []
        assert index.document_frequency(["frost", "pump"]) == {"frost": 0, "pump": 2}
        assert index.check() == []

    def test_removing_and_deriving_again_is_as_if_nothing_had_been(self, index: Index) -> None:
        put(index, *some())
        before = everything(index)
        with index.transaction():
            index.remove_units([each.id for each in some()[3:]])
        put(index, *some()[3:])
        assert everything(index) == before

    def test_places_are_counted_per_run_and_session(self, index: Index) -> None:
        put(index, unit("a b", 0), unit("c d", 1, session="chat"), unit("e f", 0, run="q", session="chat"))
        assert index.next_place("r", "r") == 1
        assert index.next_place("r", "chat") == 1
        assert index.next_place("q", "chat") == 1
        assert index.next_place("q", "q") == 0


class FindingConformance:
    def test_words_are_found_by_their_stems(self, index: Index) -> None:
        rows = put(index, *some())
        assert [hit.row for hit in index.lexical(["repair"], ALL, 9)] == [rows[2]]
        assert [hit.row for hit in index.lexical(["SEEDLING"], ALL, 9)] == [rows[3]]
        found = index.lexical(["pumps", "boilers"], ALL, 9)
        assert {hit.row for hit in found} == {rows[0], rows[2], rows[5]}
        assert found[0].row == rows[2]
        assert all(a.score >= b.score > 0 for a, b in pairwise(found))
        assert index.lexical(["pumps", "boilers"], ALL, 2) == found[:2]
        assert index.lexical([], ALL, 9) == index.lexical(["zzz"], ALL, 9) == index.lexical(["?!"], ALL, 9) == []

    def test_names_of_things_are_found_in_one_piece(self, index: Index) -> None:
        names = ["order-17 is late", "order 17 is late", "order-18 is late", "17 late orders", "src/a.py is late"]
        rows = put(index, *(unit(text, seq) for seq, text in enumerate(names)))
        assert index.lexical(["order-17"], ALL, 9)[0].row == rows[0]
        assert index.lexical(["src/a.py"], ALL, 9)[0].row == rows[4]
        assert index.lexical(["a.py"], ALL, 9)[0].row == rows[4]
        assert index.document_frequency(["order-17", "order", "a.py", "nothing-1"]) == {
            "order-17": 1,
            "order": 4,
            "a.py": 1,
            "nothing-1": 0,
        }

    def test_ties_are_in_order_of_rows(self, index: Index) -> None:
        rows = put(index, *(unit("the same words", seq) for seq in range(70)))
        assert [hit.row for hit in index.lexical(["words"], ALL, 70)] == rows

    def test_scores_are_bm25(self, index: Index) -> None:
        """Two texts of 2 and 4 words and a third: k1 = 1.2, b = 0.75, as computed by hand."""
        rows = put(
            index, unit("pump frost", 0), unit("pump pump night cold", 1), unit("one two three", 2), unit("x", 3)
        )
        found = {hit.row: hit.score for hit in index.lexical(["frost"], ALL, 9)}
        assert found == {rows[0]: pytest.approx(math.log(3.5 / 1.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 2.5)))}
        found = {hit.row: hit.score for hit in index.lexical(["pump"], ALL, 9)}
        assert found[rows[1]] == pytest.approx(1e-6 * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4 / 2.5)), rel=1e-4)
        assert found[rows[0]] == pytest.approx(1e-6 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 2.5)), rel=1e-4)

    def test_document_frequency_counts_units(self, index: Index) -> None:
        put(index, *some())
        assert index.document_frequency(["pump", "pumps", "the", "frost", "nowhere"]) == {
            "pump": 2,
            "pumps": 2,
            "the": 3,
            "frost": 1,
            "nowhere": 0,
        }

    def test_filters(self, index: Index) -> None:
        units = [
            unit("pump one", 0, kind="note"),
            unit("pump two", 1, actor="tool:read", session="chat"),
            unit("pump three", 2, flags=frozenset({"injected"})),
            unit("pump four", 3, happened_us=-50, happened_until_us=-50),
            unit("pump five", 4, told_us=99_000),
            unit("pump six", 0, run="q", session="chat", place=0),
        ]
        rows = put(index, *units)
        cases = {
            Filter(): [0, 1, 3, 4, 5],
            ALL: [0, 1, 2, 3, 4, 5],
            Filter(kinds=frozenset({"note"})): [0],
            Filter(actors=frozenset({"tool:read", "user"}), runs=frozenset({"r"})): [0, 1, 3, 4],
            Filter(sessions=frozenset({"chat"})): [1, 5],
            Filter(sessions=frozenset({"chat"}), runs=frozenset({"q"})): [5],
            Filter(sessions=frozenset({"nowhere"})): [],
            Filter(since_us=0, until_us=1000): [0, 5],
            Filter(until_us=0): [3],
            Filter(known_us=3000): [0, 1, 3, 5],
            replace(ALL, since_us=2000): [2, 4],
        }
        for where, expected in cases.items():
            wanted = [rows[i] for i in expected]
            assert sorted(hit.row for hit in index.lexical(["pump"], where, 9)) == wanted, where
            assert [row for row, _ in index.scan(where)] == wanted, where
            assert index.allowed(rows, where) == set(wanted), where
            assert len(index.timeline(where)) == len(wanted), where

    def test_a_filter_does_not_change_scores(self, index: Index) -> None:
        put(index, *some())
        whole = {hit.row: hit.score for hit in index.lexical(["pump", "boiler"], ALL, 9)}
        some_of = index.lexical(["pump", "boiler"], Filter(since_us=2000), 9)
        assert {hit.row: hit.score for hit in some_of}.items() <= {
            k: pytest.approx(v) for k, v in whole.items()
        }.items()
        assert len(some_of) == 2

    def test_timeline_goes_by_what_happened(self, index: Index) -> None:
        late = [unit("late", 0, happened_us=900), unit("early", 1, happened_us=5), unit("same", 2, happened_us=5)]
        put(index, *late)
        assert [each.text for each in index.timeline(ALL)] == ["early", "same", "late"]
        assert [each.text for each in index.timeline(ALL, newest_first=True, limit=2)] == ["late", "same"]

    def test_sessions_are_scored_as_wholes(self, index: Index) -> None:
        units = [
            unit("the pump is loud", 0, session="a", place=0),
            unit("and the pump leaks", 1, session="a", place=1),
            unit("a pump was ordered", 2, session="b", place=0),
            unit("sun and rain", 3, session="c", place=0),
            unit("nothing new", 4, session="d", place=0),
            unit("all is well", 5, session="e", place=0),
        ]
        put(index, *units)
        scores = index.session_scores(["pumps"], 9)
        assert list(scores) == ["a", "b"]
        assert list(index.session_scores(["pump", "sun"], 1)) == ["c"]
        assert index.session_scores(["zzz"], 9) == index.session_scores([], 9) == {}
        # Words of all sessions: 8, 4, 3, 2, 3. The term stands in 2 of 5.

        def bm25(times: int, words: int) -> float:
            return math.log(3.5 / 2.5) * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * words / 4))

        assert scores == {"a": pytest.approx(bm25(2, 8)), "b": pytest.approx(bm25(1, 4))}

    def test_a_session_of_several_runs_is_one(self, index: Index) -> None:
        texts = ["sun and rain", "the pump is loud", "nothing new", "all is well", "a pump came"]
        runs = [("q", "chat"), ("r", "chat"), ("r", "x"), ("r", "y"), ("r", "z")]
        units = [
            unit(text, seq, run=run, session=session, place=0)
            for seq, (text, (run, session)) in enumerate(zip(texts, runs, strict=True))
        ]
        put(index, *units)
        # Words: 7, 2, 3, 3. The term stands in 2 of 4.
        weight = 1e-6
        assert index.session_scores(["pump"], 9) == {
            "z": pytest.approx(weight * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / 3.75))),
            "chat": pytest.approx(weight * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 7 / 3.75))),
        }
        assert list(index.session_scores(["pump", "loud"], 1)) == ["chat"]

    def test_neighbours_stay_in_their_session(self, index: Index) -> None:
        rows = put(
            index,
            unit("a", 0),
            unit("x", 1, session="other", place=0),
            unit("b", 2, place=1),
            unit("c", 3, place=2),
        )
        assert index.neighbours(rows) == {
            rows[0]: (None, rows[2]),
            rows[1]: (None, None),
            rows[2]: (rows[0], rows[3]),
            rows[3]: (rows[2], None),
        }
        assert index.sessions_of([*rows, 10**6]) == dict(zip(rows, ["r", "other", "r", "r"], strict=True))
        assert index.neighbours([]) == index.sessions_of([]) == {}


class ClaimConformance:
    def test_a_claim_reads_back_and_is_replaced_by_its_id(self, index: Index) -> None:
        first, second, *_ = some()
        put(index, first, second)
        whole = claim(
            1,
            polarity=False,
            evidence=(says(first), says(second, 1, 2, supports=False)),
            depends=("x", "a"),
            reason="r",
        )
        with index.transaction():
            index.put_claims([whole, claim(2)])
        assert index.claims_by_id([whole.id]) == [whole]
        closed = replace(whole, valid_to_us=500, superseded_by="z", evidence=(says(second),), depends=())
        with index.transaction():
            index.put_claims([closed])
        assert index.claims_by_id([whole.id, claim(2).id]) == [claim(2), closed]
        assert index.claims_of([first.id]) == []
        assert index.claims_of([second.id]) == [closed]
        assert index.dependants(["x"]) == []
        with index.transaction():
            index.remove_claims([whole.id, "unknown"])
            index.remove_claims([])
        assert index.claims() == [claim(2)]
        assert index.claims_of([second.id]) == []
        assert index.check() == []

    def test_claims_by_key_newest_first(self, index: Index) -> None:
        with index.transaction():
            index.put_claims([claim(1), claim(3), claim(2, subject="bob"), claim(4, predicate="works as")])
        assert [each.valid_from_us for each in index.claims()] == [400, 300, 200, 100]
        assert [each.valid_from_us for each in index.claims(subject="ann", predicate="lives in")] == [300, 100]
        assert len(index.claims(limit=2)) == 2

    def test_claims_as_of_both_times(self, index: Index) -> None:
        with index.transaction():
            index.put_claims(
                [
                    claim(1, valid_to_us=500, known_from_us=150),
                    claim(5, known_from_us=700),
                    claim(2, subject="bob", known_from_us=200, known_to_us=300),
                ]
            )
        towns = lambda at: [each.object for each in index.claims(at=at)]  # noqa: E731
        assert towns(AsOf()) == ["town 5"]
        assert towns(AsOf(valid_us=499, known_us=700)) == ["town 1"]
        assert towns(AsOf(valid_us=500, known_us=700)) == ["town 5"]
        assert towns(AsOf(valid_us=500, known_us=699)) == []
        assert towns(AsOf(valid_us=250, known_us=250)) == ["town 2", "town 1"]
        assert towns(AsOf(valid_us=250, known_us=300)) == ["town 1"]
        assert len(index.claims(at=None)) == 3

    def test_claims_without_support_go_with_their_units(self, index: Index) -> None:
        first, second, *_ = some()
        put(index, first, second)
        both, one, against = (
            claim(1, evidence=(says(first), says(second))),
            claim(2, evidence=(says(first),), depends=(claim(1).id,)),
            claim(3, evidence=(says(first), says(second, supports=False))),
        )
        with index.transaction():
            index.put_claims([both, one, against, claim(4)])
            index.remove_units([first.id])
        assert index.claims() == [claim(4), replace(both, evidence=(says(second),))]
        assert index.dependants([both.id]) == []
        assert index.check() == []

    def test_digests(self, index: Index) -> None:
        days = [span("day", f"2031-04-0{day}", 10 * day, 10 * day + 10) for day in (3, 1, 2)]
        with index.transaction():
            index.put_spans([*days, span("week", "2031-W14", 0, 70)])
        assert [each.period for each in index.spans("day")] == ["2031-04-01", "2031-04-02", "2031-04-03"]
        assert len(index.spans()) == 4
        assert [each.period for each in index.spans(since_us=40, until_us=60)] == ["2031-W14"]
        assert [each.period for each in index.spans("day", since_us=20, until_us=30)] == ["2031-04-02"]
        again = span("day", "2031-04-02", 20, 30, "stormy")
        with index.transaction():
            index.put_spans([again])
            index.remove_spans([days[0].id, "unknown"])
        assert index.spans("day") == [days[1], again]


class VectorConformance:
    def test_vectors_of_several_models(self, index: Index) -> None:
        rows = put(index, *some()[:3])
        data = [struct.pack("<3e", i, 0.5, -1) for i in range(3)]
        assert index.without_vector("m", 9) == rows
        with index.transaction():
            index.put_vectors("m", 3, zip(rows[:2], data[:2], strict=True))
            index.put_vectors("n", 1, [(rows[0], b"ab"), (rows[0] + 10**6, b"cd")])
        assert index.vector_models() == {"m": (3, 2), "n": (1, 1)}
        assert list(index.vectors("m")) == list(zip(rows[:2], data[:2], strict=True))
        assert list(index.vectors("m", after_row=rows[0])) == [(rows[1], data[1])]
        assert list(index.vectors("unknown")) == []
        assert index.without_vector("m", 9) == [rows[2]]
        assert index.without_vector("n", 1) == [rows[1]]
        with index.transaction():
            index.put_vectors("m", 3, [(rows[0], data[2]), (rows[2], data[2])])
        assert dict(index.vectors("m"))[rows[0]] == data[2]
        assert index.without_vector("m", 9) == []
        with index.transaction():
            index.remove_units([some()[1].id])
            index.drop_vectors("n")
        assert index.vector_models() == {"m": (3, 2)}
        assert [row for row, _ in index.vectors("m")] == [rows[0], rows[2]]
        assert index.check() == []

    def test_wrong_sizes_are_refused(self, index: Index) -> None:
        rows = put(index, *some()[:1])
        with pytest.raises(StoreError, match="float16"), index.transaction():
            index.put_vectors("m", 3, [(rows[0], b"12345")])
        with index.transaction():
            index.put_vectors("m", 3, [(rows[0], b"123456")])
        with pytest.raises(StoreError, match="another name"), index.transaction():
            index.put_vectors("m", 2, [(rows[0], b"1234")])


class IsolationConformance:
    def test_namespaces_do_not_see_each_other(self, open_index: Opener) -> None:
        a, b = open_index("a"), open_index("b")
        put(a, *some())
        put(b, *some(), unit("frost in another house", 9))
        before = everything(b)
        with b.transaction():
            b.put_claims([claim(1)])
            b.put_spans([span("day", "d", 0, 1)])
            b.put_vectors("m", 2, [(b.rows([some()[0].id])[0], b"1234")])
            b.mark("r", 1, "x")
            b.set_note("n", b"x")
        assert (a.claims(), a.spans(), a.vector_models(), dict(a.watermarks()), a.note("n")) == ([], [], {}, {}, None)
        assert a.document_frequency(["frost"]) == {"frost": 1}
        assert (a.count(), b.count()) == (6, 7)
        with a.transaction():
            a.remove_units([each.id for each in some()])
            a.drop_all()
        assert everything(b)["units"] == before["units"]
        assert everything(b)["found"] == before["found"]


class IndexConformance(UnitConformance, FindingConformance, ClaimConformance, VectorConformance, IsolationConformance):
    """Subclass it and give `open_index`."""

    @pytest.fixture
    def open_index(self) -> Opener:
        pytest.skip("give one")

    @pytest.fixture
    def index(self, open_index: Opener) -> Iterator[Index]:
        index = open_index()
        yield index
        index.close()
