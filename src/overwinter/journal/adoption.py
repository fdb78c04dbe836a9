"""The part of the SQL store that takes in runs that were sealed elsewhere, hash for hash: for imports and moves."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Collection, Mapping, Sequence

from overwinter.errors import LeaseLost, StoreError, UsageError
from overwinter.journal.entry import Entry
from overwinter.journal.erasure import SqlErasure
from overwinter.journal.lease import is_dead
from overwinter.journal.rows import as_bytes, run_info
from overwinter.journal.store import NewRun, RawEntry, RunInfo, status_after
from overwinter.journal.tombstone import ERASED, kind_of, reopen


class SqlAdoption(SqlErasure):
    """`adopt`, on what `SqlStore` supplies."""

    @abc.abstractmethod
    def _create(self, new: NewRun) -> None: ...

    @abc.abstractmethod
    def _insert_blob(self, hash_: str, data: bytes) -> None: ...

    @abc.abstractmethod
    def blob_state(self, hash_: str) -> str: ...

    @abc.abstractmethod
    def now_us(self) -> int: ...

    def adopt(
        self,
        new: NewRun,
        entries: Sequence[RawEntry],
        *,
        blobs: Mapping[str, bytes] | None = None,
        collected: Collection[str] = (),
    ) -> int:
        with self._transaction():
            for hash_, data in (blobs or {}).items():
                self._insert_blob(hash_, data)
            for hash_ in collected:
                self._execute(
                    "INSERT INTO blobs (hash, codec, bytes, data, created_us) VALUES (?, 'raw', 0, NULL, ?) "
                    "ON CONFLICT (hash) DO NOTHING",
                    (hash_, self.now_us()),
                )
            row = self._lock_run(new.run)
            if row is None:
                self._create(new)
                row = self._lock_run(new.run)
            info = run_info(row or ())
            fresh = [raw for raw in entries if raw.seq > info.head_seq]
            self._refuse_others(info, new, entries)
            if fresh:
                self._seal_in(info, fresh)
        return len(fresh)

    def _refuse_others(self, info: RunInfo, new: NewRun, entries: Sequence[RawEntry]) -> None:
        """Raise UsageError if what is here of the run is not the beginning of what is to be adopted."""
        same = (info.parent, info.fork_seq) == (new.parent, new.fork_seq)
        for raw in entries:
            if not same or raw.seq > info.head_seq:
                break
            rows = self._execute("SELECT hash FROM entries WHERE run = ? AND seq = ?", (info.run, raw.seq))
            same = bool(rows) and rows[0][0] == raw.hash
        if not same:
            raise UsageError(
                f"there is another run {info.run!r} here; its entries are not those that come",
                "import into a new journal",
            )
        if info.owner and not is_dead(info.owner) and any(raw.seq > info.head_seq for raw in entries):
            raise LeaseLost(f"a process works on run {info.run!r}", "end it, then import again")

    def _seal_in(self, info: RunInfo, entries: Sequence[RawEntry]) -> None:
        seq, prev, time_us, status = info.head_seq, info.head_hash, info.head_time_us, info.status
        for raw in entries:
            entry = reopen(raw.data or b"", raw.hash)
            column = ERASED if entry.kind == ERASED else entry.kind
            if (entry.run, entry.seq, entry.prev, raw.kind) != (info.run, seq + 1, prev, column):
                problem = f"entry {raw.seq} of run {info.run!r} does not follow entry {seq}; nothing was taken in"
                raise StoreError(problem, "export the journal again")
            for ref in entry.refs:
                if self.blob_state(ref) == "missing":
                    raise UsageError(
                        f"entry {raw.seq} of run {info.run!r} refers to blob {ref[:12]}…, which is missing",
                        "export again",
                    )
            self._execute(
                "INSERT INTO entries (run, seq, kind, data, hash) VALUES (?, ?, ?, ?, ?)",
                (info.run, entry.seq, raw.kind, as_bytes(raw.data), raw.hash),
            )
            self._book(info, entry)
            seq, prev, time_us = entry.seq, entry.hash, entry.time_us
            status = status_after(dataclasses.replace(entry, kind=kind_of(entry))) or status
        self._execute(
            "UPDATE runs SET head_seq = ?, head_hash = ?, head_time_us = ?, status = ? WHERE run = ?",
            (seq, prev, time_us, status, info.run),
        )

    def _book(self, info: RunInfo, entry: Entry) -> None:
        """Move the budgets as the entry did where it was written. Nothing is refused: it has happened."""
        body = entry.body
        settle = body.get("settle", {"reserved": {}, "spent": {}})
        reserve: Mapping[str, int] = body.get("reserve", {})
        for resource in reserve.keys() | settle["reserved"].keys() | settle["spent"].keys():
            held = reserve.get(resource, 0) - settle["reserved"].get(resource, 0)
            for budget in info.budgets:
                self._execute(
                    "INSERT INTO budgets (budget, resource, cap, spent, reserved) VALUES (?, ?, NULL, ?, ?) "
                    "ON CONFLICT (budget, resource) DO UPDATE SET "
                    "reserved = budgets.reserved + excluded.reserved, spent = budgets.spent + excluded.spent",
                    (budget, resource, settle["spent"].get(resource, 0), held),
                )
        if kind_of(entry) == "budget.changed":
            for resource, extra in body["add"].items():
                self._execute(
                    "UPDATE budgets SET cap = cap + ? WHERE budget = ? AND resource = ?",
                    (extra, body["budget"], resource),
                )
