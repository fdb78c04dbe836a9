"""The promises of `overwinter.journal.store.Store`, as tests. A third store passes by subclassing `StoreConformance`:

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def place(self):
            return Place(open=lambda **clock: MyStore(URL, **clock), code="from my import MyStore; store = MyStore(URL)")

Each test gets an empty journal. `open` is called more than once for the same journal, `code` runs in other processes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
from conformance_budgets import BudgetConformance
from conformance_crashes import CrashConformance
from conformance_erasure import AdoptionConformance, ErasureConformance
from conformance_leases import LeaseConformance
from journal_kit import Place, append_blob, append_texts, begin, branch, forked, observed, started, texts, ticking

from overwinter.errors import StoreError, UsageError
from overwinter.journal import Draft, NewRun, Packer, Store, unpack, unpack_json, verify
from overwinter.journal.canonical import canonical, digest
from overwinter.journal.entry import GENESIS, unseal
from overwinter.journal.rebuild import status_from_entries


class EntryConformance:
    def test_an_entry_reads_back_as_it_was_written(self, store: Store) -> None:
        lease = begin(store)
        body = {"source": "α\u2028\x00", "text": {"text": '🌱 \\ " \n'}, "data": {"b": [1, 2.5, None, True], "a": -0.0}}
        (written,) = store.append("r", [Draft(kind="observed", body=body)], fence=lease.fence)
        first, second = store.read("r")
        assert second == written
        assert second.body == body
        assert (first.prev, second.prev) == (GENESIS, first.hash)
        assert [entry.seq for entry in (first, second)] == [0, 1]

    def test_it_is_on_disk_for_others_when_append_returns(self, place: Place, store: Store) -> None:
        other = place.open()
        lease = begin(store)
        append_texts(store, lease, "a", "b")
        assert texts(other, "r") == ["a", "b"]
        assert other.info("r").head_seq == 2
        other.close()

    def test_one_append_is_all_or_nothing(self, store: Store) -> None:
        lease = begin(store)
        missing = Draft(kind="observed", body=observed().body, refs=("0" * 64,))
        packer = Packer()
        ref = packer.text("x" * 5000)["ref"]
        with pytest.raises(UsageError, match="not here"):
            store.append("r", [observed(), missing], fence=lease.fence, blobs=packer.blobs)
        assert [entry.seq for entry in store.read("r")] == [0]
        assert store.blob_state(ref) == "missing"
        assert store.info("r").head_seq == 0

    def test_reading_pages_of_a_long_run(self, store: Store) -> None:
        lease = begin(store)
        append_texts(store, lease, *map(str, range(1, 2501)))
        assert texts(store, "r") == [str(i) for i in range(1, 2501)]
        assert texts(store, "r", 999, 1002) == ["999", "1000", "1001"]
        assert texts(store, "r", 2500) == ["2500"]
        assert [entry.seq for entry in store.read("r", 1000, 2000)] == list(range(1000, 2000))
        assert list(store.read("r", 2501)) == []
        assert list(store.read("r", 0, 0)) == []

    def test_kinds_are_chosen_across_pages(self, store: Store) -> None:
        lease = begin(store)
        for _ in range(3):
            store.append("r", [observed()] * 700 + [started()], fence=lease.fence)
        assert [entry.seq for entry in store.read("r", kinds=["run.started"])] == [0, 701, 1402, 2103]
        assert [entry.seq for entry in store.read("r", 1, 1402, kinds={"run.started", "verdict"})] == [701]
        assert list(store.read("r", kinds=[])) == []

    def test_a_reader_ends_at_the_head_it_found(self, store: Store) -> None:
        lease = begin(store)
        append_texts(store, lease, "a")
        reader = store.read("r")
        next(reader)
        append_texts(store, lease, "b")
        assert [entry.seq for entry in reader] == [1]

    def test_unknown_runs_and_taken_names(self, store: Store) -> None:
        begin(store)
        with pytest.raises(UsageError, match="exists already"):
            store.create(NewRun(run="r", caps={"tokens": 1}))
        assert store.budget("r") == {}
        for call in (store.info, lambda run: list(store.read(run)), lambda run: store.post(run, observed())):
            with pytest.raises(UsageError, match="does not exist"):
                call("nobody")
        for name in ("", "a/b", "x" * 101, "a b"):
            with pytest.raises(UsageError, match="not allowed"):
                store.create(NewRun(run=name))
        store.create(NewRun(run="x" * 100, title="Wärme 🌡"))
        assert store.info("x" * 100).title == "Wärme 🌡"

    def test_runs_are_listed_newest_first(self, place: Place) -> None:
        store = place.open(clock_us=ticking())
        for name in ("a", "c", "b"):
            store.create(NewRun(run=name))
        assert [info.run for info in store.runs()] == ["b", "c", "a"]
        store.close()

    def test_time_never_runs_backwards(self, place: Place) -> None:
        store = place.open(clock_us=ticking(start_us=10**12, step_us=-1000))
        lease = begin(store)
        append_texts(store, lease, "a", "b")
        branch(store, "f", "r", 1)
        times = [entry.time_us for entry in store.read("f")]
        assert times == sorted(times)
        assert times[0] > 0
        store.close()

    def test_status_follows_the_entries(self, store: Store) -> None:
        lease = begin(store)
        assert store.info("r").status == "running"
        steps = [
            ("run.suspended", {"reason": "approval", "detail": ""}, "waiting:approval"),
            ("run.resumed", {"fence": 2, "owner": "test", "state": "ready"}, "running"),
            ("run.ended", {"status": "unverified", "detail": ""}, "unverified"),
        ]
        for kind, body, status in steps:
            store.append("r", [Draft(kind=kind, body=body)], fence=lease.fence)
            assert store.info("r").status == status == status_from_entries(store, "r")


class ForkConformance:
    def test_a_fork_shares_the_line_of_its_parents(self, store: Store) -> None:
        first = begin(store, "a")
        append_texts(store, first, "a1", "a2", "a3", "a4")
        second = branch(store, "b", "a", 3)
        append_texts(store, second, "b5")
        third = branch(store, "c", "b", 5)
        append_texts(store, third, "c7")
        append_texts(store, first, "a5")
        assert texts(store, "a") == ["a1", "a2", "a3", "a4", "a5"]
        assert texts(store, "b") == ["a1", "a2", "a3", "b5"]
        assert texts(store, "c") == ["a1", "a2", "a3", "b5", "c7"]
        assert [entry.run for entry in store.read("c")] == ["a"] * 4 + ["b"] * 2 + ["c"] * 2
        assert [entry.seq for entry in store.read("c", 2, 7)] == [2, 3, 4, 5, 6]
        chain = list(store.read("c"))
        assert all(after.prev == before.hash for before, after in itertools.pairwise(chain))
        assert all(verify(store, run).ok for run in "abc")

    def test_a_fork_point_may_lie_in_the_grandparent(self, store: Store) -> None:
        append_texts(store, begin(store, "a"), "a1", "a2", "a3")
        append_texts(store, branch(store, "b", "a", 3), "b5")
        append_texts(store, branch(store, "c", "b", 1), "c3")
        append_texts(store, branch(store, "d", "c", 2), "d4")
        assert texts(store, "c") == ["a1", "c3"]
        assert texts(store, "d") == ["a1", "d4"]
        assert [entry.run for entry in store.read("d")] == ["a", "a", "c", "d", "d"]
        assert verify(store, "d").ok

    def test_a_fork_without_entries_is_its_parents_line(self, store: Store) -> None:
        append_texts(store, begin(store, "a"), "a1", "a2")
        info = store.create(NewRun(run="b", parent="a", fork_seq=1))
        assert (info.head_seq, info.status) == (1, "new")
        store.create(NewRun(run="c", parent="b", fork_seq=0))
        assert texts(store, "b") == ["a1"]
        assert texts(store, "c") == []
        assert verify(store, "b").head == info.head_hash

    @pytest.mark.parametrize("seq", [-1, 2, 99])
    def test_a_fork_needs_an_entry_to_start_from(self, store: Store, seq: int) -> None:
        append_texts(store, begin(store, "a"), "a1")
        with pytest.raises(UsageError, match="no entry"):
            store.create(NewRun(run="b", parent="a", fork_seq=seq))
        with pytest.raises(UsageError, match="does not exist"):
            store.info("b")


class BlobConformance:
    @pytest.mark.parametrize("data", [b"", b"\x00", b"short", b"ab" * 40_000, bytes(range(256)) * 3])
    def test_a_blob_comes_back(self, store: Store, data: bytes) -> None:
        hash_ = store.put_blob(data)
        assert hash_ == digest(data) == store.put_blob(data)
        assert store.get_blob(hash_) == data
        assert store.blob_state(hash_) == "present"

    def test_a_collected_blob_is_known_and_can_come_back(self, store: Store) -> None:
        hash_ = store.put_blob(b"winter" * 1000)
        assert 0 < store.drop_blobs([hash_, "0" * 64]) < 6000
        assert store.drop_blobs([hash_]) == 0
        assert store.blob_state(hash_) == "collected"
        with pytest.raises(StoreError, match="collected"):
            store.get_blob(hash_)
        store.put_blob(b"winter" * 1000)
        assert store.get_blob(hash_) == b"winter" * 1000

    def test_unknown_and_misnamed_blobs(self, store: Store) -> None:
        lease = begin(store)
        with pytest.raises(StoreError, match="missing"):
            store.get_blob("0" * 64)
        with pytest.raises(UsageError, match="not the hash"):
            store.append("r", [observed()], fence=lease.fence, blobs={"0" * 64: b"x"})
        assert store.info("r").head_seq == 0

    def test_payloads_are_inline_when_short_and_stored_once_when_long(self, store: Store) -> None:
        lease = begin(store)
        packer = Packer()
        values = [packer.text("short"), packer.json({"ids": list(range(1000))}), packer.text("\udc80" + "é" * 2000)]
        refs = packer.take_refs()
        assert len(refs) == 2
        assert packer.take_refs() == ()
        body = {"source": "test", "text": values[0], "data": {"values": values}}
        store.append("r", [Draft(kind="observed", body=body, refs=refs)], fence=lease.fence, blobs=packer.blobs)
        (entry,) = store.read("r", 1)
        short, numbers, long = entry.body["data"]["values"]
        assert unpack(store, short) == "short"
        assert unpack_json(store, numbers) == {"ids": list(range(1000))}
        assert unpack(store, long) == "?" + "é" * 2000
        assert long["chars"] == 2001

    def test_a_repeated_text_is_stored_once(self, store: Store) -> None:
        lease = begin(store)
        refs = {append_blob(store, lease, "the same view " * 500) for _ in range(5)}
        assert len(refs) == 1
        assert verify(store, "r").blobs == 1


class InboxConformance:
    def test_a_letter_is_consumed_once(self, place: Place, store: Store) -> None:
        lease = begin(store)
        other = place.open()
        draft = Draft(kind="event.received", body={"name": "storm", "data": {"p": 0.3}, "by": "test"})
        id_ = other.post("r", draft)
        (letter,) = store.letters("r")
        assert (letter.id, letter.draft) == (id_, draft)
        store.append("r", [letter.draft], fence=lease.fence, letters=[id_])
        assert other.letters("r") == []
        with pytest.raises(StoreError, match="consumed already"):
            store.append("r", [letter.draft], fence=lease.fence, letters=[id_])
        assert store.info("r").head_seq == 1
        other.close()

    def test_letters_wait_in_order_and_belong_to_one_run(self, place: Place) -> None:
        store = place.open(clock_us=ticking())
        lease = begin(store)
        begin(store, "other")
        ids = [store.post("r", observed(str(i))) for i in range(5)]
        elsewhere = store.post("other", observed())
        assert [letter.id for letter in store.letters("r")] == ids
        with pytest.raises(StoreError, match="consumed already"):
            store.append("r", [observed()], fence=lease.fence, letters=[ids[0], elsewhere])
        assert [letter.id for letter in store.letters("r")] == ids
        assert len(store.letters("other")) == 1
        store.close()

    def test_caches_may_be_replaced_and_absent(self, store: Store) -> None:
        begin(store)
        assert store.load_cache("r", "fold") is None
        store.save_cache("r", "fold", 1, b"one" * 100)
        store.save_cache("r", "fold", 2, b"two")
        store.save_cache("r", "index", 3, b"")
        assert store.load_cache("r", "fold") == (2, b"two")
        assert store.load_cache("r", "index") == (3, b"")


class VerifyConformance:
    def test_a_good_run_verifies_and_its_head_can_be_anchored(self, store: Store) -> None:
        lease = begin(store)
        append_blob(store, lease, "leaf " * 1000)
        anchor = verify(store, "r").head
        collected = append_blob(store, lease, "root " * 1000)
        store.drop_blobs([collected])
        report = verify(store, "r", expect_head=anchor)
        assert (report.ok, report.entries, report.blobs, report.collected) == (True, 3, 2, 1)
        assert not verify(store, "r", expect_head="f" * 64).ok

    def test_raw_bytes_are_the_sealed_ones(self, store: Store) -> None:
        lease = begin(store)
        append_texts(store, lease, "a")
        branch(store, "f", "r", 1)
        for raw, entry in zip(store.raw("f"), store.read("f"), strict=True):
            assert raw.data is not None
            assert unseal(raw.data, raw.hash) == entry
            assert canonical(json.loads(raw.data)) == raw.data
            assert (raw.run, raw.seq, raw.kind) == (entry.run, entry.seq, entry.kind)
        assert list(store.read("f"))[2].body == forked("r", 1).body

    def test_the_database_finds_itself_whole(self, store: Store) -> None:
        begin(store)
        assert store.check_integrity() == []


class StoreConformance(
    EntryConformance,
    ForkConformance,
    BlobConformance,
    InboxConformance,
    VerifyConformance,
    LeaseConformance,
    BudgetConformance,
    CrashConformance,
    ErasureConformance,
    AdoptionConformance,
):
    """Everything a store promises."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError("name the store under test: see the module's docstring")

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        store = place.open()
        yield store
        store.close()
