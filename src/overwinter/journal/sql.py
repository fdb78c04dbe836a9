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

from overwinter.errors import BudgetExhausted, LeaseLost, StoreError, UsageError
from overwinter.journal.adoption import SqlAdoption
from overwinter.journal.canonical import canonical, digest, parse_object
from overwinter.journal.entry import GENESIS, Draft, Entry, seal
from overwinter.journal.lease import is_dead
from overwinter.journal.rows import (
    RUN_COLUMNS,
    Row,
    as_bytes,
    check_amount,
    check_name,
    compress,
    decompress,
    readable,
    run_info,
)
from overwinter.journal.store import BudgetLine, BudgetState, Lease, Letter, NewRun, RawEntry, RunInfo, status_after
from overwinter.journal.tombstone import reopen

PAGE_ROWS = 1000


def wall_clock_us() -> int:
    return time.time_ns() // 1000


class SqlStore(SqlAdoption):
    """Everything of the Store protocol that does not depend on the database."""

    def __init__(self, url: str, clock_us: Callable[[], int] = wall_clock_us) -> None:
        self.url = url
        self.clock_us = clock_us
        # One connection, used by the loop's thread and by the thread that renews the lease.
        self._lock = threading.RLock()

    # What a dialect supplies, beside what `SqlErasure` asks for

    @abc.abstractmethod
    def _lock_budgets(self, budgets: Sequence[str]) -> None:
        """Let no other transaction move these budgets until this one ends. They come sorted, so two writers cannot deadlock."""

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
        check_name(new.run)
        with self._transaction():
            self._create(new)
        return self.info(new.run)

    def _create(self, new: NewRun) -> None:
        fence = self._clear_unborn(new.run)
        head_seq, head_hash, head_time_us = -1, GENESIS, 0
        if new.parent is not None:
            head_seq, head_hash, head_time_us = self._fork_point(new.parent, new.fork_seq)
        budgets = ((new.run,) if new.caps is not None else ()) + new.shared
        for name in new.shared:
            self.info(name)
        made = self._execute(
            f"INSERT INTO runs ({RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 'new', ?, ?, '', ?, 0) "
            "ON CONFLICT (run) DO NOTHING RETURNING 1",
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
                fence,
            ),
        )
        if not made:
            raise _taken(new.run)
        for resource, cap in (new.caps or {}).items():
            check_amount(resource, cap)
            self._execute(
                "INSERT INTO budgets (budget, resource, cap, spent, reserved) VALUES (?, ?, ?, 0, 0)",
                (new.run, resource, cap),
            )

    def _clear_unborn(self, run: str) -> int:
        """Make room for a new run where one of that name has no entry and no living owner: its process died in between.
        The newest fencing number of the name; 0 if it is new. UsageError if the name is taken."""
        row = self._lock_run(run)
        if row is None:
            return 0
        info = run_info(row)
        if not info.unborn or (info.owner and not is_dead(info.owner)):
            raise _taken(run)
        self._execute("DELETE FROM budgets WHERE budget = ?", (run,))
        self._execute("DELETE FROM runs WHERE run = ?", (run,))
        return info.fence

    def info(self, run: str) -> RunInfo:
        rows = self._execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE run = ?", (run,))
        if not rows:
            raise UsageError(f"run {run!r} does not exist in {self.url}", "list the runs with `overwinter ls`")
        return run_info(rows[0])

    def runs(self) -> list[RunInfo]:
        return [run_info(row) for row in self._execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY created_us DESC, run")]

    def _fork_point(self, parent: str, seq: int) -> tuple[int, str, int]:
        found = next(self.read(parent, seq, seq + 1), None)
        if found is None:
            raise UsageError(f"run {parent!r} has no entry {seq}", f"choose one with `overwinter log {parent}`")
        return found.seq, found.hash, found.time_us

    def _line(self, run: str) -> list[tuple[str, int, int]]:
        """The segments of a run's chain, oldest first: (owner, first seq, last seq); a segment may be empty."""
        info = self.info(run)
        last = info.head_seq
        segments = [(run, info.fork_seq + 1, last)]
        while info.parent is not None:
            last = min(last, info.fork_seq)
            info = self.info(info.parent)
            segments.append((info.run, info.fork_seq + 1, last))
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
            info = self._owned(run, fence)
            for hash_, data in (blobs or {}).items():
                self._insert_blob(hash_, data)
            self._check_refs(drafts, blobs or {})
            self._lock_budgets(sorted(_moved(info.budgets, drafts)))
            entries = self._seal_all(info, drafts)
            for letter in letters:
                if not self._execute("DELETE FROM inbox WHERE id = ? AND run = ? RETURNING 1", (letter, run)):
                    raise StoreError(
                        f"letter {letter} of run {run!r} was consumed already; nothing was written",
                        f"read the run again with `overwinter resume {run}`",
                    )
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
        segments = self._line(run)
        head = segments[-1][2]
        end = head + 1 if stop is None else min(stop, head + 1)
        expected = max(start, 0)
        for owner, first, last in segments:
            for seq, data, hash_ in self._rows(owner, max(start, first), min(end, last + 1), kinds):
                entry = reopen(as_bytes(data), str(hash_))
                if entry.seq != seq or (kinds is None and seq != expected):
                    raise _missing(run, expected if kinds is None else seq)
                expected = seq + 1
                yield entry
        if kinds is None and expected < end:
            raise _missing(run, expected)

    def _rows(self, owner: str, seq: int, end: int, kinds: Collection[str] | None) -> Iterator[Row]:
        if kinds is not None and not kinds:
            return
        chosen = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds is not None else ""
        while seq < end:
            # Pages by key rather than one long cursor: a reader must not hold a snapshot open while a run goes on.
            rows = self._execute(
                f"SELECT seq, data, hash FROM entries WHERE run = ? AND seq >= ? AND seq < ?{chosen} ORDER BY seq LIMIT ?",
                (owner, seq, end, *(kinds or ()), PAGE_ROWS),
            )
            yield from rows
            if len(rows) < PAGE_ROWS:
                return
            seq = rows[-1][0] + 1

    def raw(self, run: str) -> Iterator[RawEntry]:
        segments = self._line(run)
        for owner, first, last in segments:
            # Behind the head there must be nothing; what is there all the same is shown, not passed over.
            stop = max(last, self._last_stored(owner)) if owner == run else last
            for seq in range(first, stop + 1):
                yield self._raw(owner, seq)

    def _raw(self, owner: str, seq: int) -> RawEntry:
        # One by one: a damaged page must not hide the entries behind it.
        try:
            rows = self._execute("SELECT kind, data, hash FROM entries WHERE run = ? AND seq = ?", (owner, seq))
        except StoreError as error:
            return RawEntry(run=owner, seq=seq, kind="", data=None, hash="", error=error.problem)
        if not rows:
            return RawEntry(run=owner, seq=seq, kind="", data=None, hash="", error="the entry is missing")
        kind, data, hash_ = rows[0]
        return RawEntry(run=owner, seq=seq, kind=str(kind), data=as_bytes(data), hash=str(hash_))

    def _last_stored(self, owner: str) -> int:
        try:
            last = self._execute("SELECT max(seq) FROM entries WHERE run = ?", (owner,))[0][0]
        except StoreError:
            return -1
        return last if isinstance(last, int) else -1

    # Budgets

    def budget(self, budget: str) -> BudgetState:
        rows = self._execute("SELECT resource, cap, spent, reserved FROM budgets WHERE budget = ?", (budget,))
        return {str(name): BudgetLine(cap=cap, spent=spent, reserved=reserved) for name, cap, spent, reserved in rows}

    def _move_budget(self, budgets: Sequence[str], draft: Draft) -> None:
        body = draft.body
        if draft.kind == "budget.changed":
            self._raise_caps(body["budget"], body["add"])
        for resource, amount in body.get("reserve", {}).items():
            check_amount(resource, amount)
            for budget in budgets:
                self._reserve(budget, resource, amount)
        settle = body.get("settle")
        if settle is not None:
            held, spent = settle["reserved"], settle["spent"]
            for resource in held.keys() | spent.keys():
                for budget in budgets:
                    self._settle(budget, resource, held.get(resource, 0), spent.get(resource, 0))

    def _raise_caps(self, budget: str, add: Mapping[str, int]) -> None:
        self.info(budget)
        for resource, extra in add.items():
            check_amount(resource, extra)
            # A resource without limit stays without limit: cap + NULL is NULL.
            self._execute(
                "UPDATE budgets SET cap = cap + ? WHERE budget = ? AND resource = ?", (extra, budget, resource)
            )

    def _reserve(self, budget: str, resource: str, amount: int) -> None:
        # Looking and taking are one statement: between two, another branch could take the same tokens.
        taken = self._execute(
            "INSERT INTO budgets (budget, resource, cap, spent, reserved) VALUES (?, ?, NULL, 0, ?) "
            "ON CONFLICT (budget, resource) DO UPDATE SET reserved = budgets.reserved + excluded.reserved "
            "WHERE budgets.cap IS NULL OR budgets.cap - budgets.spent - budgets.reserved >= excluded.reserved "
            "RETURNING 1",
            (budget, resource, amount),
        )
        if not taken:
            line = self.budget(budget)[resource]
            raise BudgetExhausted(
                f"budget {budget!r} has {max(line.left or 0, 0)} {resource} left of {line.cap}, {amount} are needed",
                f"go on with `overwinter resume {budget} --add-budget {resource}=AMOUNT`",
            )

    def _settle(self, budget: str, resource: str, held: int, spent: int) -> None:
        check_amount(resource, held)
        check_amount(resource, spent)
        rows = self._execute(
            "INSERT INTO budgets (budget, resource, cap, spent, reserved) VALUES (?, ?, NULL, ?, ?) "
            "ON CONFLICT (budget, resource) DO UPDATE SET "
            "reserved = budgets.reserved + excluded.reserved, spent = budgets.spent + excluded.spent "
            "RETURNING reserved",
            (budget, resource, spent, -held),
        )
        if rows[0][0] < 0:
            raise UsageError(
                f"settling gives back {held} {resource} of budget {budget!r}, {held + rows[0][0]} are reserved",
                "give back what the intent reserved on this run; a fork has reserved nothing of its parent's intents",
            )

    # Blobs

    def _check_refs(self, drafts: Sequence[Draft], blobs: Collection[str]) -> None:
        for draft in drafts:
            for ref in draft.refs:
                if ref not in blobs and self.blob_state(ref) == "missing":
                    raise UsageError(
                        f"{draft.kind} refers to blob {ref[:12]}…, which is not here", "pass it in `blobs`"
                    )

    def put_blob(self, data: bytes) -> str:
        hash_ = digest(data)
        with self._transaction():
            self._insert_blob(hash_, data)
        return hash_

    def _insert_blob(self, hash_: str, data: bytes) -> None:
        # A text that repeats is the common case: ask first, compress only what is new.
        if self.blob_state(hash_) == "present":
            return
        if digest(data) != hash_:
            raise UsageError(f"blob {hash_[:12]}… is not the hash of its content", "name blobs by their SHA-256")
        codec, stored = compress(data)
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
        data = decompress(str(codec), as_bytes(stored))
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
            info, now_us = run_info(row), self._lease_clock_us()
            held = info.owner and info.owner != owner and now_us < info.expires_us and not is_dead(info.owner)
            if held and not take_over:
                raise LeaseLost(
                    f"run {run!r} is owned by {readable(info.owner)} for another {(info.expires_us - now_us) / 1e6:.0f} s",
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
        try:
            return [
                Letter(id=id_, draft=Draft(kind=kind, body=parse_object(as_bytes(body))), time_us=time_us)
                for id_, kind, body, time_us in rows
            ]
        except (ValueError, TypeError) as error:
            raise StoreError(f"a letter to run {run!r} is damaged: {error}", "post it again") from error

    def save_cache(self, run: str, name: str, seq: int, data: bytes) -> None:
        with self._transaction():
            self._execute(
                "INSERT INTO caches (run, name, seq, data) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (run, name) DO UPDATE SET seq = excluded.seq, data = excluded.data",
                (run, name, seq, zlib.compress(data, 1)),
            )

    def load_cache(self, run: str, name: str) -> tuple[int, bytes] | None:
        rows = self._execute("SELECT seq, data FROM caches WHERE run = ? AND name = ?", (run, name))
        data = decompress("zlib", as_bytes(rows[0][1])) if rows else None
        return None if data is None else (rows[0][0], data)


def _taken(run: str) -> UsageError:
    return UsageError(f"run {run!r} exists already", "choose another name, or go on with `overwinter resume`")


def _missing(run: str, seq: int) -> StoreError:
    return StoreError(
        f"entry {seq} of run {run!r} is missing or out of place", f"see the damage with `overwinter log {run} --verify`"
    )


def _moved(own: Sequence[str], drafts: Iterable[Draft]) -> set[str]:
    """The budgets that these drafts move."""
    moved: set[str] = set()
    for draft in drafts:
        if "reserve" in draft.body or "settle" in draft.body:
            moved.update(own)
        if draft.kind == "budget.changed":
            moved.add(draft.body["budget"])
    return moved
