"""From the journal into an index, as far as it has not been derived yet. Safe for several processes at once, and for a kill.

A watermark per run says up to which entry, and with which hash, the run is derived; it is stored in the transaction that stores
the units. So a kill costs at most a batch of work, and a second process that syncs too finds the watermark moved and goes on
from there. A run whose chain no longer fits its watermark shows that this index belongs to another journal (a backup was
restored, a file was swapped): then everything is derived again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from overwinter.journal import Entry, RunInfo, Store
from overwinter.memory.claims import ClaimKeeper
from overwinter.memory.derive import Deriver
from overwinter.memory.index import Index
from overwinter.memory.namespace import Runs
from overwinter.memory.unit import Filter, Unit

BATCH_ENTRIES = 2000
BATCH_UNITS = 2000
"""A transaction ends behind this much: large enough that syncing the disk hardly counts, small enough for memory and for others."""

READ_ENTRIES = 100
STALE = "sync/digests"
"""Note of the index: since when its digests may be stale. It outlives a kill between the units and their digests."""

Progress = Callable[[int, int], None]
Marks = Mapping[str, tuple[int, str]]


@dataclass(kw_only=True, slots=True)
class Synced:
    """What a sync did.

    Attributes:
        entries, units, claims: newly derived.
        spans: digests written anew; vectors: units embedded.
        unreadable: entries whose text is damaged or missing; `overwinter log RUN --verify` names them.
        rebuilt: the index was derived from the start; `messages` say why.
    """

    entries: int = 0
    units: int = 0
    claims: int = 0
    spans: int = 0
    vectors: int = 0
    unreadable: int = 0
    rebuilt: bool = False
    messages: list[str] = field(default_factory=list)


class OtherJournal(Exception):
    """The index was derived from a journal that this one does not continue."""


@dataclass(slots=True)
class _Batch:
    """What one transaction takes: entries read, and of these the units (with facts) that are not stored yet."""

    entries: int = 0
    taken: int = 0
    units: list[Unit] = field(default_factory=list)
    facts: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return self.entries >= BATCH_ENTRIES or self.taken >= BATCH_UNITS

    def add(self, entry: Entry, units: list[Unit]) -> None:
        self.taken += len(units)
        self.units += units
        # Of results a tool says what its data are; who observes and notes is a person's program, or the loop.
        facts = entry.body.get("data", {}).get("facts") if entry.kind in {"observed", "noted"} else None
        if units and isinstance(facts, list):
            self.facts[units[0].id] = facts


class Syncer:
    """Derives one namespace of `store` into `index`.

    Args:
        keeper: learns claims from newly stored units, within the transaction that stores them.
    """

    def __init__(self, store: Store, index: Index, deriver: Deriver, keeper: ClaimKeeper) -> None:
        self._store = store
        self._index = index
        self._deriver = deriver
        self._keeper = keeper
        self._runs = Runs(store, index.namespace)

    def behind(self) -> int:
        """How many entries are not derived yet."""
        marks = self._index.watermarks()
        return sum(_missing(each, marks) for each in self._runs.of(self._store.runs()) if not each.is_branch)

    def sync(self, progress: Progress | None = None) -> Synced:
        """Derive what is new. Raises OtherJournal when the index does not fit the journal."""
        # The watermarks first: what another process derives meanwhile is then in the list of runs for certain.
        marks = self._index.watermarks()
        infos = self._runs.of(self._store.runs())
        # What a branch of a search saw in an imagined world, or did not do in the end, is nobody's memory.
        infos = [info for info in infos if not info.is_branch]
        _check_heads(infos, marks)
        return self._derive([info for info in infos if _missing(info, marks)], marks, progress)

    def sync_run(self, run: str) -> Synced:
        """Derive what is new in one run of this namespace."""
        return self._derive([self._store.info(run)], self._index.watermarks(), None)

    def _derive(self, waiting: list[RunInfo], marks: Marks, progress: Progress | None) -> Synced:
        done, total = Synced(), sum(_missing(info, marks) for info in waiting)
        unreadable = self._deriver.unreadable
        waiting = waiting[::-1]
        while waiting:
            self._batch(waiting, done)
            if progress is not None:
                progress(min(done.entries, total), total)
        done.unreadable = self._deriver.unreadable - unreadable
        return done

    def _batch(self, waiting: list[RunInfo], done: Synced) -> None:
        """One transaction. Takes the runs that are finished off the end of `waiting`."""
        batch = _Batch()
        with self._index.transaction():
            marks = self._index.watermarks()
            self._deriver.forget_places()
            while waiting and not batch.full:
                info = waiting[-1]
                if self._take(info, marks.get(info.run), batch, done):
                    waiting.pop()
            self._store_units(batch, done)
        done.entries += batch.entries

    def _take(self, info: RunInfo, mark: tuple[int, str] | None, batch: _Batch, done: Synced) -> bool:
        """Derive as much of a run as the batch holds; whether that was all."""
        last: Entry | None = None
        for entry in self._new_entries(info, mark):
            if entry.kind == "entries.erased":
                # What was derived a moment ago, before the text went, must be there to be taken out.
                self._store_units(batch, done)
                self._erase(entry.body["run"], set(entry.body["seqs"]))
            else:
                batch.add(entry, self._deriver.units(entry.run, entry))
            batch.entries, last = batch.entries + 1, entry
            if batch.full:
                break
        if last is None:
            return True
        self._index.mark(info.run, last.seq, last.hash)
        return last.seq >= info.head_seq

    def _store_units(self, batch: _Batch, done: Synced) -> None:
        if not batch.units:
            return
        self._index.put_units(batch.units)
        done.claims += self._keeper.learn(batch.units, facts=batch.facts)
        done.units += len(batch.units)
        self._note_stale(batch.units)
        batch.units, batch.facts = [], {}

    def _note_stale(self, units: Sequence[Unit]) -> None:
        """Note from when on digests no longer fit the units, in the transaction that changes these."""
        stale_us = digests_stale_since(self._index)
        times = [unit.happened_us for unit in units] + ([] if stale_us is None else [stale_us])
        if times:
            self._index.set_note(STALE, str(min(times)).encode())

    def _new_entries(self, info: RunInfo, mark: tuple[int, str] | None) -> Iterator[Entry]:
        start = info.fork_seq + 1 if mark is None else mark[0] + 1
        prev = None if mark is None else mark[1]
        while start <= info.head_seq:
            page = list(
                islice(self._store.read(info.run, start, min(start + READ_ENTRIES, info.head_seq + 1)), READ_ENTRIES)
            )
            for entry in page:
                if prev is not None and entry.prev != prev:
                    raise OtherJournal(f"entry {entry.seq} of run {info.run!r} does not follow what was derived")
                prev = entry.hash
                yield entry
            start += READ_ENTRIES

    def _erase(self, run: str, seqs: set[int]) -> None:
        """Take out what was derived from entries that were erased since; whoever erased them has usually done so."""
        where, after, gone = Filter(runs=frozenset({run}), exclude_flags=frozenset()), -1, list[Unit]()
        while page := self._index.scan(where, after_row=after):
            after = page[-1][0]
            gone += [unit for _, unit in page if unit.seq in seqs]
        self._note_stale(gone)
        self._keeper.forget([unit.id for unit in gone])
        self._deriver.forget_places()


def digests_stale_since(index: Index) -> int | None:
    """From which time on digests have to be looked at again; None when all fit."""
    note = index.note(STALE)
    return None if note is None else int(note)


def _missing(info: RunInfo, marks: Marks) -> int:
    return max(0, info.head_seq - marks.get(info.run, (info.fork_seq, ""))[0])


def _check_heads(infos: Sequence[RunInfo], marks: Marks) -> None:
    by_run = {info.run: info for info in infos}
    for run, (seq, head) in marks.items():
        info = by_run.get(run)
        if info is None or info.head_seq < seq or (info.head_seq == seq and info.head_hash != head):
            raise OtherJournal(f"run {run!r} is not what it was when it was derived")
