"""One writer: leases are about progress, the fencing number is about safety."""

from __future__ import annotations

import signal

import pytest
from journal_kit import REMOTE, Place, append_texts, begin, observed, python, texts

from overwinter.errors import LeaseLost, UsageError
from overwinter.journal import NewRun, Store
from overwinter.journal.lease import this_owner

HOLD = """
from overwinter.journal.lease import this_owner
lease = store.acquire("r", this_owner(), 3600)
print(lease.fence, flush=True)
input()
"""


class LeaseConformance:
    def test_a_stale_owner_cannot_append(self, store: Store) -> None:
        old = begin(store)
        new = store.acquire("r", "second", 3600, take_over=True)
        assert new.fence == old.fence + 1
        with pytest.raises(LeaseLost, match=f"number {old.fence}, the newest is {new.fence}"):
            append_texts(store, old, "ghost")
        append_texts(store, new, "alive")
        assert texts(store, "r") == ["alive"]

    def test_a_number_from_the_future_cannot_append_either(self, store: Store) -> None:
        lease = begin(store)
        with pytest.raises(LeaseLost):
            store.append("r", [observed()], fence=lease.fence + 1)

    def test_a_run_nobody_acquired_has_no_writer(self, store: Store) -> None:
        store.create(NewRun(run="r"))
        with pytest.raises(UsageError, match="does not exist"):
            store.append("nobody", [observed()], fence=0)
        with pytest.raises(UsageError, match="does not exist"):
            store.acquire("nobody", "me", 60)

    def test_a_living_remote_owner_is_left_alone_until_it_expires(self, store: Store) -> None:
        store.create(NewRun(run="r"))
        first = store.acquire("r", REMOTE, 3600)
        with pytest.raises(LeaseLost, match="process 1 on elsewhere"):
            store.acquire("r", "me", 60)
        store.renew(first, 0)
        assert store.acquire("r", "me", 60).fence == first.fence + 1

    def test_the_same_owner_may_come_again(self, store: Store) -> None:
        store.create(NewRun(run="r"))
        first = store.acquire("r", REMOTE, 3600)
        second = store.acquire("r", REMOTE, 3600)
        assert second.fence == first.fence + 1
        with pytest.raises(LeaseLost):
            append_texts(store, first, "ghost")

    def test_renewing_and_releasing_after_the_loss(self, store: Store) -> None:
        old = begin(store)
        new = store.acquire("r", "second", 3600, take_over=True)
        with pytest.raises(LeaseLost, match="taken over"):
            store.renew(old, 60)
        store.release(old)
        assert store.info("r").owner == "second"
        longer = store.renew(new, 7200)
        assert longer.expires_us > new.expires_us
        assert longer.fence == new.fence

    def test_a_released_run_is_free_at_once(self, store: Store) -> None:
        store.create(NewRun(run="r"))
        store.release(store.acquire("r", REMOTE, 3600))
        assert (store.info("r").owner, store.info("r").expires_us) == ("", 0)
        assert store.acquire("r", "me", 60).fence == 2

    def test_a_release_lets_nobody_write_with_the_old_number(self, store: Store) -> None:
        lease = begin(store)
        store.release(lease)
        other = store.acquire("r", "second", 60)
        with pytest.raises(LeaseLost):
            append_texts(store, lease, "ghost")
        append_texts(store, other, "alive")

    @pytest.mark.crash
    def test_a_killed_process_on_this_machine_is_not_waited_for(self, place: Place, store: Store) -> None:
        """SIGKILL gives the owner no chance to release; its lease would run for an hour."""
        begin(store)
        store.release(store.acquire("r", "test", 3600))
        with python(place.code + HOLD) as owner:
            assert owner.stdout is not None
            fence = int(owner.stdout.readline())
            with pytest.raises(LeaseLost, match=f"process {owner.pid} on"):
                store.acquire("r", this_owner(), 60)
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            assert store.acquire("r", this_owner(), 60).fence == fence + 1
