"""`gc` by policy: forget the content of old blobs, never the fact that they were there.

What is removed is named in a `blobs.collected` entry before it is removed. Entries hold hashes, so the chain stays verifiable
and the run stays readable but for those texts. A blob that any run outside the policy refers to is kept.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.journal.entry import Draft
from overwinter.journal.lease import DEFAULT_TTL_S, this_owner
from overwinter.journal.store import RunInfo, Store

ENDED = frozenset({"verified", "unverified", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """Which blobs may go.

    Attributes:
        older_than_s: only those of runs that ended at least this long ago.
        kinds: only those of entries of these kinds; empty for all kinds. Worlds and token data are the bulky ones.
        name: how the policy is named in the journal.
    """

    older_than_s: float
    kinds: tuple[str, ...] = ()
    name: str = "age"


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    runs: int
    blobs: int
    freed_bytes: int


def collect(store: Store, policy: Retention, now_us: int, *, dry_run: bool = False) -> Collected:
    """Apply `policy`. Refs are counted over the whole store, so it reads every journal once: linear, for maintenance hours."""
    if policy.older_than_s < 0:
        raise UsageError(f"older_than_s is {policy.older_than_s}", "give an age of at least 0 seconds")
    cutoff_us = now_us - round(policy.older_than_s * 1e6)
    victims: dict[str, set[str]] = {}
    kept: set[str] = set()
    for info in store.runs():
        old = info.status in ENDED and info.head_time_us <= cutoff_us
        chosen, rest = _refs(store, info, policy.kinds if old else None)
        victims[info.run] = chosen
        kept |= rest
    touched = freed = dropped = 0
    for run, refs in victims.items():
        gone = sorted(ref for ref in refs - kept if store.blob_state(ref) == "present")
        if not gone:
            continue
        kept.update(gone)  # two runs may name the same text; it goes once
        touched, dropped = touched + 1, dropped + len(gone)
        freed += 0 if dry_run else _drop(store, run, gone, policy.name)
    return Collected(runs=touched, blobs=dropped, freed_bytes=freed)


def _refs(store: Store, info: RunInfo, kinds: Collection[str] | None) -> tuple[set[str], set[str]]:
    """The blobs of a run: those the policy may take, and the rest. `kinds` None takes nothing: the run is in use."""
    chosen: set[str] = set()
    rest: set[str] = set()
    # A fork in use shows its parents' entries too, however long ago they ended.
    for entry in store.read(info.run, 0 if kinds is None else info.fork_seq + 1):
        take = kinds is not None and (not kinds or entry.kind in kinds)
        (chosen if take else rest).update(entry.refs)
    return chosen, rest


def _drop(store: Store, run: str, hashes: list[str], policy: str) -> int:
    lease = store.acquire(run, this_owner(), DEFAULT_TTL_S)
    try:
        store.append(
            run,
            [Draft(kind="blobs.collected", body={"hashes": hashes, "policy": policy})],
            fence=lease.fence,
        )
        return store.drop_blobs(hashes)
    finally:
        store.release(lease)
