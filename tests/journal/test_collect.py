"""Retention: what may be forgotten, what may not, and that forgetting is itself written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_kit import append_blob, begin, branch

from overwinter.errors import UsageError
from overwinter.journal import Draft, Lease, Retention, Store, collect, verify
from overwinter.journal.sqlite import SqliteStore

HOUR_US = 3_600_000_000
LATER = 1000 * HOUR_US


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore(tmp_path / "journal.db", clock_us=lambda: HOUR_US)
    yield store
    store.close()


def end(store: Store, lease: Lease) -> None:
    store.append(lease.run, [Draft(kind="run.ended", body={"status": "verified", "detail": ""})], fence=lease.fence)
    store.release(lease)


def text(name: str) -> str:
    return f"{name} " * 1000


def test_old_ended_runs_give_up_their_blobs_and_say_so(store: Store) -> None:
    lease = begin(store)
    ref = append_blob(store, lease, text("soil"))
    end(store, lease)
    policy = Retention(older_than_s=3600, name="monthly")
    assert collect(store, policy, 2 * HOUR_US - 1).blobs == 0
    planned = collect(store, policy, 2 * HOUR_US, dry_run=True)
    assert (planned.blobs, store.blob_state(ref)) == (1, "present")
    done = collect(store, policy, 2 * HOUR_US)
    assert (done.runs, done.blobs) == (1, 1)
    assert done.freed_bytes > 0
    assert store.blob_state(ref) == "collected"
    last = list(store.read("r"))[-1]
    assert (last.kind, last.body) == ("blobs.collected", {"hashes": [ref], "policy": "monthly"})
    assert verify(store, "r").ok
    assert collect(store, policy, LATER).blobs == 0


def test_runs_that_go_on_keep_everything(store: Store) -> None:
    ref = append_blob(store, begin(store), text("soil"))
    assert collect(store, Retention(older_than_s=0), LATER).blobs == 0
    assert store.blob_state(ref) == "present"


def test_a_blob_that_a_living_run_refers_to_is_kept(store: Store) -> None:
    old = begin(store, "old")
    shared = append_blob(store, old, text("shared"))
    own = append_blob(store, old, text("own"))
    append_blob(store, begin(store, "new"), text("shared"))
    end(store, old)
    assert collect(store, Retention(older_than_s=0), LATER).blobs == 1
    assert (store.blob_state(shared), store.blob_state(own)) == ("present", "collected")


def test_a_living_fork_keeps_what_its_parent_showed(store: Store) -> None:
    parent = begin(store, "a")
    before = append_blob(store, parent, text("before the fork"))
    branch(store, "b", "a", 1)
    after = append_blob(store, parent, text("after the fork"))
    end(store, parent)
    assert collect(store, Retention(older_than_s=0), LATER).blobs == 1
    assert (store.blob_state(before), store.blob_state(after)) == ("present", "collected")


def test_an_ended_fork_protects_nothing(store: Store) -> None:
    parent = begin(store, "a")
    ref = append_blob(store, parent, text("before the fork"))
    end(store, branch(store, "b", "a", 1))
    end(store, parent)
    assert collect(store, Retention(older_than_s=0), LATER).blobs == 1
    assert store.blob_state(ref) == "collected"
    assert verify(store, "b").ok


def test_only_the_kinds_asked_for(store: Store) -> None:
    lease = begin(store)
    world = append_blob(store, lease, text("world"), kind="world.saved")
    seen = append_blob(store, lease, text("seen"))
    both = append_blob(store, lease, text("both"), kind="world.saved")
    append_blob(store, lease, text("both"))
    end(store, lease)
    assert collect(store, Retention(older_than_s=0, kinds=("world.saved",)), LATER).blobs == 1
    assert [store.blob_state(ref) for ref in (world, seen, both)] == ["collected", "present", "present"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_text_of_two_old_runs_goes_once(store: Store, dry_run: bool) -> None:
    for name in ("a", "b"):
        lease = begin(store, name)
        append_blob(store, lease, text("shared"))
        end(store, lease)
    assert collect(store, Retention(older_than_s=0), LATER, dry_run=dry_run).blobs == 1


def test_ages_are_not_negative(store: Store) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        collect(store, Retention(older_than_s=-1), LATER)
