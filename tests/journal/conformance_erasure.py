"""What a store promises of erasing: the content goes, also from the files; the chain stays, and says what went."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from journal_kit import (
    REMOTE,
    SRC,
    Place,
    append_blob,
    append_texts,
    begin,
    branch,
    forked,
    intent,
    observed,
    settled,
    texts,
)

from overwinter.errors import LeaseLost, StoreError, UsageError
from overwinter.journal import ERASED, Draft, Lease, NewRun, Store, erase, verify
from overwinter.journal.erase import complete
from overwinter.journal.rebuild import budgets_from_entries, status_from_entries
from overwinter.journal.texts import search
from overwinter.journal.tombstone import kind_of

SECRET = 'the "safe" opens with 4711,\nsaid Reinhold'
LONG = "a long confession of frost " * 60


def written(store: Store) -> Lease:
    """Entries 0 begin, 1 the secret, 2 something else, 3 a long text; the lease is given back."""
    lease = begin(store)
    append_texts(store, lease, SECRET, "something else")
    append_blob(store, lease, LONG)
    store.release(lease)
    return lease


class ErasureConformance:
    def test_an_erased_entry_keeps_its_place_and_hash(self, store: Store) -> None:
        written(store)
        before = list(store.read("r"))
        done = erase(store, "r", [1, 3], reason="asked for", by="Ada")
        assert (done.seqs, done.already, done.witness) == ((1, 3), 0, "r#4")
        assert done.hashes == (before[1].hash, before[3].hash)
        after = list(store.read("r"))
        assert [entry.hash for entry in after[:4]] == [entry.hash for entry in before]
        assert [entry.seq for entry in after] == [0, 1, 2, 3, 4]
        assert [entry.kind for entry in after] == ["run.started", ERASED, "observed", ERASED, "entries.erased"]
        assert after[1].body == {"kind": "observed", "by": "r#4"}
        assert (after[1].time_us, after[1].prev, after[1].refs) == (before[1].time_us, before[1].prev, ())
        assert after[4].body["blobs"] == [before[3].refs[0]]
        assert (after[4].body["reason"], after[4].body["by"]) == ("asked for", "Ada")

    def test_kinds_are_those_of_what_is_there(self, store: Store) -> None:
        written(store)
        erase(store, "r", [1], reason="asked for", by="Ada")
        assert texts(store, "r", 0, 3) == ["something else"]
        assert [kind_of(entry) for entry in store.read("r", kinds=[ERASED])] == ["observed"]

    def test_no_byte_is_left(self, store: Store) -> None:
        lease = written(store)
        store.save_cache("r", "state", 3, LONG.encode())
        store.post("r", observed(f"again: {SECRET}"))
        kept = store.post("r", observed("a letter of something else"))
        places = {found.place.split()[0] for found in search(store, [SECRET, LONG[:200]])}
        assert {"entry", "blob", "letter", "cache"} <= places
        assert erase(store, "r", [1, 3], reason="asked for", by="Ada").letters == 1
        store.scrub()
        assert search(store, [SECRET, LONG[:200], "4711"]) == []
        assert search(store, ["something else"]) != []
        assert [letter.id for letter in store.letters("r")] == [kept]
        assert store.load_cache("r", "state") is None
        store.append("r", [observed("it goes on")], fence=store.acquire("r", "me", 60).fence)
        assert verify(store, "r").ok
        del lease

    def test_verify_wants_a_witness(self, store: Store) -> None:
        written(store)
        erase(store, "r", [1, 3], reason="asked for", by="Ada")
        report = verify(store, "r")
        assert (report.ok, report.erased, report.entries) == (True, 2, 5)
        tombstone = store._execute("SELECT data FROM entries WHERE seq = 1")[0][0]  # type: ignore[attr-defined]
        forged = (
            bytes(tombstone)
            .replace(b'"seq":1', b'"seq":2')
            .replace(list(store.read("r"))[1].prev.encode(), list(store.read("r"))[2].prev.encode())
        )
        store._execute("UPDATE entries SET kind = 'erased', data = ? WHERE seq = 2", (forged,))  # type: ignore[attr-defined]
        report = verify(store, "r")
        assert [problem.seq for problem in report.problems] == [2]
        assert "no entry of run 'r' says that it was erased" in report.problems[0].what

    def test_a_tombstone_at_the_wrong_place_is_damage(self, store: Store) -> None:
        written(store)
        erase(store, "r", [1], reason="asked for", by="Ada")
        (row,) = store._execute("SELECT data FROM entries WHERE seq = 1")  # type: ignore[attr-defined]
        for broken in (bytes(row[0]).replace(b'"seq":1', b'"seq":7'), bytes(row[0])[:-9], b'{"erased":7}'):
            store._execute("UPDATE entries SET data = ? WHERE seq = 1", (broken,))  # type: ignore[attr-defined]
            assert [problem.seq for problem in verify(store, "r").problems] == [1]
        with pytest.raises(StoreError, match="tombstone"):
            list(store.read("r"))

    def test_the_store_refuses_what_no_entry_names(self, store: Store) -> None:
        written(store)
        fence = store.acquire("r", "me", 60).fence
        with pytest.raises(UsageError, match="should witness"):
            store.erase("r", [1], by=2, fence=fence)
        with pytest.raises(LeaseLost):
            store.erase("r", [1], by=2, fence=fence - 1)
        assert texts(store, "r", 0, 2) == [SECRET]

    def test_erasing_twice_changes_nothing(self, store: Store) -> None:
        written(store)
        erase(store, "r", [1], reason="asked for", by="Ada")
        head = store.info("r").head_hash
        again = erase(store, "r", [1], reason="asked for", by="Ada")
        assert (again.seqs, again.already) == ((), 1)
        assert complete(store, "r").seqs == ()
        assert store.info("r").head_hash == head

    def test_a_shared_blob_stays(self, store: Store) -> None:
        lease = begin(store)
        ref = append_blob(store, lease, LONG)
        append_blob(store, lease, LONG)
        store.release(lease)
        done = erase(store, "r", [1], reason="asked for", by="Ada")
        assert (done.blobs, done.shared) == ((), (ref,))
        assert store.get_blob(ref).decode() == LONG
        done = erase(store, "r", [2], reason="asked for", by="Ada")
        assert (done.blobs, done.shared) == ((ref,), ())
        assert store.blob_state(ref) == "collected"
        assert verify(store, "r").ok

    def test_many_blobs_are_looked_up_in_one_pass(self, store: Store) -> None:
        lease = begin(store)
        refs = [append_blob(store, lease, f"{number} {LONG}") for number in range(12)]
        other = begin(store, "other")
        append_blob(store, other, f"3 {LONG}")
        store.release(lease)
        done = erase(store, "r", range(1, 13), reason="asked for", by="Ada")
        assert done.shared == (refs[3],)
        assert sorted(done.blobs) == sorted(refs[:3] + refs[4:])

    def test_an_erased_text_can_be_said_again(self, store: Store) -> None:
        written(store)
        (ref,) = erase(store, "r", [3], reason="asked for", by="Ada").blobs
        lease = store.acquire("r", "me", 60)
        assert append_blob(store, lease, LONG) == ref
        store.release(lease)
        complete(store, "r")
        assert store.get_blob(ref).decode() == LONG

    def test_a_run_at_work_is_refused(self, store: Store) -> None:
        written(store)
        fork = branch(store, "f", "r", 3)
        store.release(fork)
        store.acquire("f", REMOTE, 3600)
        with pytest.raises(LeaseLost, match="holds in memory"):
            erase(store, "r", [1], reason="asked for", by="Ada")
        assert texts(store, "r", 0, 2) == [SECRET]
        assert store.info("r").owner == ""

    def test_forks_read_and_verify_the_tombstone(self, store: Store) -> None:
        written(store)
        store.release(branch(store, "f", "r", 3))
        with pytest.raises(UsageError, match="belongs to 'r'"):
            erase(store, "f", [1], reason="asked for", by="Ada")
        store.save_cache("f", "state", 3, SECRET.encode())
        erase(store, "r", [1], reason="asked for", by="Ada")
        assert store.load_cache("f", "state") is None
        assert list(store.read("f"))[1].kind == ERASED
        assert list(store.read("f"))[4].body == forked("r", 3).body
        assert verify(store, "f").ok
        assert verify(store, "f").erased == 1

    def test_what_an_open_run_needs_is_refused(self, store: Store) -> None:
        lease = begin(store)
        store.append("r", [intent(), world_saved(), receipt(), intent(), completion(3)], fence=lease.fence)
        store.release(lease)
        needed = {0: "how the run is built", 2: "restored from it", 3: "played again", 5: "the step the run is in"}
        for seq, why in needed.items():
            with pytest.raises(UsageError, match=f"run 'r' is open, and .*{why}"):
                erase(store, "r", [seq], reason="asked for", by="Ada")
        lease = store.acquire("r", "me", 60)
        store.append("r", [Draft(kind="run.ended", body={"status": "failed", "detail": ""})], fence=lease.fence)
        store.release(lease)
        assert erase(store, "r", [0, 2, 3, 5], reason="asked for", by="Ada").seqs == (0, 2, 3, 5)
        assert store.info("r").title == ""
        assert verify(store, "r").ok
        with pytest.raises(UsageError, match="says what was erased"):
            erase(store, "r", [7], reason="asked for", by="Ada")

    def test_a_reason_must_not_tell(self, store: Store) -> None:
        written(store)
        with pytest.raises(UsageError, match="repeats a text"):
            erase(store, "r", [1], reason=f"remove: {SECRET}", by="Ada")
        assert texts(store, "r", 0, 2) == [SECRET]

    def test_amounts_and_status_outlive_the_words(self, store: Store) -> None:
        lease = begin(store, caps={"tokens": 1000})
        failed = settled({"tokens": 100}, {"tokens": 40})
        store.append("r", [intent(tokens=100), failed, intent(tokens=30)], fence=lease.fence)
        store.append("r", [Draft(kind="run.ended", body={"status": "failed", "detail": SECRET})], fence=lease.fence)
        store.release(lease)
        erase(store, "r", range(5), reason="asked for", by="Ada")
        assert budgets_from_entries(store)["r"] == store.budget("r")
        assert status_from_entries(store, "r") == store.info("r").status == "failed"

    def test_mentions_finds_bytes(self, store: Store) -> None:
        written(store)
        assert store.mentions(b"something else") == [("r", 2)]
        assert store.mentions(b"opens with 4711") == [("r", 1)]
        assert store.mentions(b"nowhere") == []

    @pytest.mark.crash
    def test_killed_at_any_write_it_can_be_completed(self, place: Place) -> None:
        command = [sys.executable, str(Path(__file__).with_name("erase_rounds.py")), place.code]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SRC)}, timeout=100
        )
        assert done.returncode == 0, done.stderr
        counted = json.loads(done.stdout)
        assert counted["kills"] >= 10
        assert counted["states"] >= 2


def world_saved() -> Draft:
    return Draft(kind="world.saved", body={"world": "test", "state": {"text": "{}"}, "outcome": {}})


def receipt() -> Draft:
    body = {"intent": 1, "call_id": "a", "ok": True, "text": {"text": "done"}, "data": {"world": "test"}, "error": None}
    return Draft(kind="effect.receipt", body=body)


def completion(asked: int) -> Draft:
    body = {
        "intent": asked,
        "text": {"text": "go"},
        "calls": [],
        "text_only": True,
        "finish_reason": "stop",
        "usage": {},
        "model": "test",
        "settle": {"reserved": {}, "spent": {}},
    }
    return Draft(kind="sample.completion", body=body)


class AdoptionConformance:
    def test_a_run_is_adopted_hash_for_hash(self, store: Store) -> None:
        source = begin(store, caps={"tokens": 100})
        store.append("r", [intent(tokens=60), settled({"tokens": 60}, {"tokens": 40})], fence=source.fence)
        ref = append_blob(store, source, LONG)
        store.append("r", [Draft(kind="run.ended", body={"status": "failed", "detail": ""})], fence=source.fence)
        store.release(source)
        rows, info, budget = list(store.raw("r")), store.info("r"), dict(store.budget("r"))
        new = NewRun(run="r", title=info.title, caps={"tokens": 100})
        for table in ("runs", "entries", "blobs", "budgets"):
            store._execute(f"DELETE FROM {table}")  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match="is missing"):
            store.adopt(new, rows)
        assert store.runs() == []
        assert store.adopt(new, rows[:2], blobs={ref: LONG.encode()}) == 2
        assert store.adopt(new, rows) == len(rows) - 2
        assert store.adopt(new, rows) == 0
        assert verify(store, "r", expect_head=info.head_hash).ok
        after = store.info("r")
        assert (after.head_seq, after.head_hash, after.status) == (info.head_seq, info.head_hash, "failed")
        assert dict(store.budget("r")) == budget
        assert list(store.raw("r")) == rows

    def test_what_does_not_fit_is_not_adopted(self, store: Store) -> None:
        written(store)
        rows = list(store.raw("r"))
        other = [dataclasses.replace(raw, run="s") for raw in rows]
        with pytest.raises(StoreError, match="does not follow"):
            store.adopt(NewRun(run="s"), other)
        changed = [*rows[:1], dataclasses.replace(rows[1], hash="0" * 64)]
        with pytest.raises(UsageError, match="another run 'r'"):
            store.adopt(NewRun(run="r"), changed)
        with pytest.raises(StoreError, match="does not follow"):
            store.adopt(NewRun(run="r"), [dataclasses.replace(rows[1], seq=4)])
        assert [info.run for info in store.runs()] == ["r"]
        assert list(store.raw("r")) == rows

    def test_tombstones_are_adopted_with_their_witness(self, store: Store) -> None:
        written(store)
        (ref,) = erase(store, "r", [1, 3], reason="asked for", by="Ada").blobs
        rows = list(store.raw("r"))
        for table in ("runs", "entries", "blobs"):
            store._execute(f"DELETE FROM {table}")  # type: ignore[attr-defined]
        assert store.adopt(NewRun(run="r"), rows, collected=[ref]) == 5
        assert (verify(store, "r").ok, verify(store, "r").erased) == (True, 2)
