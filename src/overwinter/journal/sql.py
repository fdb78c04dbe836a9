"""The store's logic, once, over a small SQL dialect. `sqlite.py` and `postgres.py` supply connection, transactions and clock.

Statements are written with `?` and use only what both databases understand. Every write goes through `transaction()`, which
is a write transaction from its first statement on: SQLite's BEGIN IMMEDIATE, Postgres' row lock on the run.
"""

from __future__ import annotations

import abc
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from overwinter.errors import BudgetExhausted, LeaseLost, StoreError, UsageError
from overwinter.journal.canonical import canonical, digest, parse, parse_object
from overwinter.journal.entry import GENESIS, Draft, Entry, seal, unseal
from overwinter.journal.lease import is_dead
from overwinter.journal.store import (
    RESOURCES,
    BudgetLine,
    BudgetState,
    Lease,
    Letter,
    NewRun,
    RawEntry,
    RunInfo,
    status_after,
)

PAGE_ROWS = 1000
COMPRESS_FROM_BYTES = 256
_RUN_COLUMNS = "run, parent, fork_seq, budgets, head_seq, head_hash, head_time_us, status, title, created_us, owner, fence, expires_us"

Row = Sequence[Any]


def wall_clock_us() -> int:
    return time.time_ns() // 1000


class SqlStore(abc.ABC):
    """Everything of the Store protocol that does not depend on the database."""

    def __init__(self, url: str, clock_us: Callable[[], int] = wall_clock_us) -> None:
        self.url = url
        self.clock_us = clock_us
        # One connection, used by the loop's thread and by the thread that renews the lease.
        self._lock = threading.RLock()

    # What a dialect supplies

    @abc.abstractmethod
    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        """Run one statement; all its rows. Translates driver errors into StoreError."""

    @abc.abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """A write transaction: durable when it ends, rolled back when it raises. Holds `self._lock`."""

    @abc.abstractmethod
    def _lock_run(self, run: str) -> Row | None:
        """The run's row (`_RUN_COLUMNS`), locked until the transaction ends."""

    @abc.abstractmethod
    def _lease_clock_us(self) -> int:
        """The clock that leases expire by: one clock for all processes that share the store."""

    @abc.abstractmethod
    def check_integrity(self) -> list[str]: ...

    @abc.abstractmethod
    def close(self) -> None: ...

    def now_us(self) -> int:
        return self.clock_us()

    # Runs

    def create(self, new: NewRun) -> RunInfo:
        _check_name(new.run)
        with self._transaction():
            if self._execute("SELECT 1 FROM runs WHERE run = ?", (new.run,)):
                raise UsageError(
                    f"run {new.run!r} exists already", "choose another name, or go on with `overwinter resume`"
                )
            head_seq, head_hash, head_time_us = -1, GENESIS, 0
            if new.parent is not None:
                head_seq, head_hash, head_time_us = self._fork_point(new.parent, new.fork_seq)
            budgets = ((new.run,) if new.caps is not None else ()) + new.shared
            for resource, cap in (new.caps or {}).items():
                _check_amount(resource, cap)
                self._execute(
                    "INSERT INTO budgets (budget, resource, cap, spent, reserved) VALUES (?, ?, ?, 0, 0)",
                    (new.run, resource, cap),
                )
            self._execute(
                f"INSERT INTO runs ({_RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 'new', ?, ?, '', 0, 0)",
                (
                    new.run,
                    new.parent,
                    new.fork_seq,
                    canonical(budgets).decode(),
                    head_seq,
                    head_hash,
                    head_time_us,
                    new.title,
                    self.clock_us(),
                ),
            )
        return self.info(new.run)

    def info(self, run: str) -> RunInfo:
        rows = self._execute(f"SELECT {_RUN_COLUMNS} FROM runs WHERE run = ?", (run,))
        if not rows:
            raise UsageError(f"run {run!r} does not exist in {self.url}", "list the runs with `overwinter ls`")
        return _run_info(rows[0])

    def runs(self) -> list[RunInfo]:
        return [
            _run_info(row) for row in self._execute(f"SELECT {_RUN_COLUMNS} FROM runs ORDER BY created_us DESC, run")
        ]

    def _fork_point(self, parent: str, seq: int) -> tuple[int, str, int]:
        found = next(self.read(parent, seq, seq + 1), None)
        if found is None:
            raise UsageError(f"run {parent!r} has no entry {seq}", f"choose one with `overwinter log {parent}`")
        return found.seq, found.hash, found.time_us

    def _line(self, run: str) -> list[tuple[str, int, int | None]]:
        """The segments of a run's chain, oldest first: (owner, first seq, last seq or None for open)."""
        segments: list[tuple[str, int, int | None]] = []
        last: int | None = None
        name: str | None = run
        while name is not None:
            info = self.info(name)
            segments.append((name, info.fork_seq + 1, last))
            last = info.fork_seq if last is None else min(last, info.fork_seq)
            name = info.parent
        return segments[::-1]

    # Entries

    def append(
        self,
        run: str,
        drafts: Sequence[Draft],
        *,
        fence: int,
        blobs: Mapping[str, bytes] | None = None,
        letters: Collection[str] = (),
    ) -> list[Entry]:
        with self._transaction():
            row = self._lock_run(run)
            if row is None:
                raise UsageError(f"run {run!r} does not exist in {self.url}", "list the runs with `overwinter ls`")
            info = _run_info(row)
            if info.fence != fence:
                raise LeaseLost(
                    f"run {run!r} was taken over: this process holds fencing number {fence}, the newest is {info.fence}",
                    f"see who owns it with `overwinter ls`, go on there, or `overwinter resume {run} --take-over`",
                )
            for hash_, data in (blobs or {}).items():
                self._insert_blob(hash_, data)
            entries = self._seal_all(info, drafts)
            for letter in letters:
                self._execute("DELETE FROM inbox WHERE id = ?", (letter,))
        return entries

    def _seal_all(self, info: RunInfo, drafts: Sequence[Draft]) -> list[Entry]:
        entries: list[Entry] = []
        seq, prev, time_us, status = info.head_seq, info.head_hash, info.head_time_us, info.status
        for draft in drafts:
            seq += 1
            # A clock that was set back must not make the journal run backwards.
            time_us = max(self.clock_us(), time_us)
            entry, data = seal(draft, run=info.run, seq=seq, time_us=time_us, prev=prev)
            self._execute(
                "INSERT INTO entries (run, seq, kind, data, hash) VALUES (?, ?, ?, ?, ?)",
                (info.run, seq, draft.kind, data, entry.hash),
            )
            self._move_budget(info.budgets, draft)
            prev, status = entry.hash, status_after(draft) or status
            entries.append(entry)
        self._execute(
            "UPDATE runs SET head_seq = ?, head_hash = ?, head_time_us = ?, status = ? WHERE run = ?",
            (seq, prev, time_us, status, info.run),
        )
        return entries

    def read(
        self, run: str, start: int = 0, stop: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Entry]:
        chosen = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds is not None else ""
        for owner, first, last in self._line(run):
            seq = max(start, first)
            end = _least(stop, None if last is None else last + 1)
            while end is None or seq < end:
                # Pages by key rather than one long cursor: a reader must not hold a snapshot open while a run goes on.
                bound = " AND seq < ?" if end is not None else ""
                args = (owner, seq, *(() if end is None else (end,)), *(kinds or ()), PAGE_ROWS)
                rows = self._execute(
                    f"SELECT seq, data, hash FROM entries WHERE run = ? AND seq >= ?{bound}{chosen} ORDER BY seq LIMIT ?",
                    args,
                )
                for _, data, hash_ in rows:
                    yield unseal(bytes(data), hash_)
                if len(rows) < PAGE_ROWS:
                    break
                seq = rows[-1][0] + 1

    def raw(self, run: str) -> Iterator[RawEntry]:
        head = self.info(run).head_seq
        for owner, first, last in self._line(run):
            for seq in range(first, (head if last is None else last) + 1):
                # One by one: a damaged page must not hide the entries behind it.
                try:
                    rows = self._execute("SELECT kind, data, hash FROM entries WHERE run = ? AND seq = ?", (owner, seq))
                except StoreError as error:
                    yield RawEntry(seq=seq, kind="", data=None, hash="", error=error.problem)
                    continue
                if rows:
                    kind, data, hash_ = rows[0]
                    yield RawEntry(seq=seq, kind=str(kind), data=_as_bytes(data), hash=str(hash_))
                else:
                    yield RawEntry(seq=seq, kind="", data=None, hash="", error="the entry is missing")

    # Budgets

    def budget(self, budget: str) -> BudgetState:
        rows = self._execute("SELECT resource, cap, spent, reserved FROM budgets WHERE budget = ?", (budget,))
        return {str(name): BudgetLine(cap=cap, spent=spent, reserved=reserved) for name, cap, spent, reserved in rows}

    def _move_budget(self, budgets: Sequence[str], draft: Draft) -> None:
        body = draft.body
        if draft.kind == "budget.changed":
            for resource, extra in body["add"].items():
                _check_amount(resource, extra)
                self._book(body["budget"], resource, cap=extra)
        for resource, amount in body.get("reserve", {}).items():
            _check_amount(resource, amount)
            for budget in budgets:
                self._reserve(budget, resource, amount)
        settle = body.get("settle")
        if settle is not None:
            held, spent = settle["reserved"], settle["spent"]
            for resource in held.keys() | spent.keys():
                _check_amount(resource, spent.get(resource, 0))
                for budget in budgets:
                    self._book(budget, resource, reserved=-held.get(resource, 0), spent=spent.get(resource, 0))

    def _reserve(self, budget: str, resource: str, amount: int) -> None:
        line = self.budget(budget).get(resource)
        left = None if line is None else line.left
        if left is not None and amount > left:
            assert line is not None
            raise BudgetExhausted(
                f"budget {budget!r} has {max(left, 0)} {resource} left of {line.cap}, {amount} are needed",
                f"go on with `overwinter resume {budget} --add-budget {resource}=AMOUNT`",
            )
        self._book(budget, resource, reserved=amount)

    def _book(self, budget: str, resource: str, *, reserved: int = 0, spent: int = 0, cap: int = 0) -> None:
        # cap + NULL stays NULL: adding to a resource without limit leaves it without limit.
        self._execute(
            "INSERT INTO budgets (budget, resource, cap, spent, reserved) VALUES (?, ?, NULL, ?, ?) "
            "ON CONFLICT (budget, resource) DO UPDATE SET "
            "reserved = budgets.reserved + ?, spent = budgets.spent + ?, cap = budgets.cap + ?",
            (budget, resource, spent, reserved, reserved, spent, cap),
        )

    # Blobs

    def put_blob(self, data: bytes) -> str:
        hash_ = digest(data)
        with self._transaction():
            self._insert_blob(hash_, data)
        return hash_

    def _insert_blob(self, hash_: str, data: bytes) -> None:
        packed = zlib.compress(data, 6) if len(data) >= COMPRESS_FROM_BYTES else data
        codec, stored = ("zlib", packed) if len(packed) < len(data) else ("raw", data)
        # A blob that was collected and comes back is whole again.
        self._execute(
            "INSERT INTO blobs (hash, codec, bytes, data, created_us) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (hash) DO UPDATE SET codec = excluded.codec, data = excluded.data WHERE blobs.data IS NULL",
            (hash_, codec, len(data), stored, self.clock_us()),
        )

    def get_blob(self, hash_: str) -> bytes:
        rows = self._execute("SELECT codec, data FROM blobs WHERE hash = ?", (hash_,))
        if not rows:
            raise StoreError(
                f"blob {hash_[:12]}… is missing", "find what refers to it with `overwinter log RUN --verify`"
            )
        codec, stored = rows[0]
        if stored is None:
            raise StoreError(
                f"blob {hash_[:12]}… was collected by a retention policy",
                "its hash stays verifiable; the content is gone",
            )
        data = _decompress(str(codec), bytes(stored))
        if data is None or digest(data) != hash_:
            raise StoreError(
                f"blob {hash_[:12]}… does not match its hash",
                "restore the database from a backup; `overwinter log RUN --verify` lists the damage",
            )
        return data

    def blob_state(self, hash_: str) -> str:
        rows = self._execute("SELECT data IS NULL FROM blobs WHERE hash = ?", (hash_,))
        if not rows:
            return "missing"
        return "collected" if rows[0][0] else "present"

    def drop_blobs(self, hashes: Iterable[str]) -> int:
        freed = 0
        with self._transaction():
            for hash_ in hashes:
                rows = self._execute("SELECT length(data) FROM blobs WHERE hash = ? AND data IS NOT NULL", (hash_,))
                if rows:
                    freed += rows[0][0]
                    self._execute("UPDATE blobs SET data = NULL WHERE hash = ?", (hash_,))
        return freed

    # Leases

    def acquire(self, run: str, owner: str, ttl_s: float, *, take_over: bool = False) -> Lease:
        with self._transaction():
            row = self._lock_run(run)
            if row is None:
                raise UsageError(f"run {run!r} does not exist in {self.url}", "list the runs with `overwinter ls`")
            info, now_us = _run_info(row), self._lease_clock_us()
            held = info.owner and info.owner != owner and now_us < info.expires_us and not is_dead(info.owner)
            if held and not take_over:
                raise LeaseLost(
                    f"run {run!r} is owned by {_readable(info.owner)} for another {(info.expires_us - now_us) / 1e6:.0f} s",
                    f"stop that process, wait, or force it with `overwinter resume {run} --take-over`",
                )
            lease = Lease(run=run, owner=owner, fence=info.fence + 1, expires_us=now_us + round(ttl_s * 1e6))
            self._execute(
                "UPDATE runs SET owner = ?, fence = ?, expires_us = ? WHERE run = ?",
                (owner, lease.fence, lease.expires_us, run),
            )
        return lease

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        with self._transaction():
            expires_us = self._lease_clock_us() + round(ttl_s * 1e6)
            rows = self._execute(
                "UPDATE runs SET expires_us = ? WHERE run = ? AND fence = ? RETURNING fence",
                (expires_us, lease.run, lease.fence),
            )
        if not rows:
            raise LeaseLost(f"run {lease.run!r} was taken over", "see who owns it with `overwinter ls`")
        return Lease(run=lease.run, owner=lease.owner, fence=lease.fence, expires_us=expires_us)

    def release(self, lease: Lease) -> None:
        with self._transaction():
            self._execute(
                "UPDATE runs SET owner = '', expires_us = 0 WHERE run = ? AND fence = ?", (lease.run, lease.fence)
            )

    # Inbox and caches

    def post(self, run: str, draft: Draft) -> str:
        self.info(run)
        letter, now_us = uuid.uuid4().hex, self.clock_us()
        with self._transaction():
            self._execute(
                "INSERT INTO inbox (id, run, kind, body, time_us) VALUES (?, ?, ?, ?, ?)",
                (letter, run, draft.kind, canonical(draft.body), now_us),
            )
        return letter

    def letters(self, run: str) -> list[Letter]:
        rows = self._execute("SELECT id, kind, body, time_us FROM inbox WHERE run = ? ORDER BY time_us, id", (run,))
        return [
            Letter(id=id_, draft=Draft(kind=kind, body=parse_object(bytes(body))), time_us=time_us)
            for id_, kind, body, time_us in rows
        ]

    def save_cache(self, run: str, name: str, seq: int, data: bytes) -> None:
        with self._transaction():
            self._execute(
                "INSERT INTO caches (run, name, seq, data) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (run, name) DO UPDATE SET seq = excluded.seq, data = excluded.data",
                (run, name, seq, zlib.compress(data, 1)),
            )

    def load_cache(self, run: str, name: str) -> tuple[int, bytes] | None:
        rows = self._execute("SELECT seq, data FROM caches WHERE run = ? AND name = ?", (run, name))
        data = _decompress("zlib", bytes(rows[0][1])) if rows else None
        return None if data is None else (rows[0][0], data)


def _run_info(row: Row) -> RunInfo:
    (
        run,
        parent,
        fork_seq,
        budgets,
        head_seq,
        head_hash,
        head_time_us,
        status,
        title,
        created_us,
        owner,
        fence,
        expires_us,
    ) = row
    return RunInfo(
        run=run,
        parent=parent,
        fork_seq=fork_seq,
        budgets=tuple(parse(budgets)),
        head_seq=head_seq,
        head_hash=head_hash,
        head_time_us=head_time_us,
        status=status,
        title=title,
        created_us=created_us,
        owner=owner,
        fence=fence,
        expires_us=expires_us,
    )


def _check_name(run: str) -> None:
    if not run or len(run) > 100 or any(not (c.isalnum() or c in "-_.") for c in run):
        raise UsageError(f"run name {run!r} is not allowed", "use 1 to 100 letters, digits, '-', '_' or '.'")


def _check_amount(resource: str, amount: int) -> None:
    if resource not in RESOURCES:
        raise UsageError(f"unknown resource {resource!r}", f"use one of: {', '.join(RESOURCES)}")
    if type(amount) is not int or amount < 0:
        raise UsageError(f"{resource}={amount!r} is not a whole number of at least 0", "give a whole number")


def _least(first: int | None, second: int | None) -> int | None:
    return min((value for value in (first, second) if value is not None), default=None)


def _as_bytes(value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value)


def _decompress(codec: str, stored: bytes) -> bytes | None:
    if codec == "raw":
        return stored
    try:
        return zlib.decompress(stored)
    except zlib.error:
        return None


def _readable(owner: str) -> str:
    parts = owner.split("/")
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 4 else owner
