"""The Store protocol: where journals live. Two implementations ship, SQLite and Postgres; `tests/journal/conformance.py` is
the suite that any third one has to pass.

What a store promises:

- `append` is atomic and durable: when it returns, the entries, their blobs and the budget movements are on disk; when it
  raises, none of them is.
- An append with an old fencing number fails with LeaseLost, whatever the clocks say.
- A reservation that does not fit fails with BudgetExhausted, and the entry that asked for it is not written.
- Reading never blocks the writer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from overwinter.journal.entry import Amounts, Draft, Entry

RESOURCES = ("tokens", "micro_usd", "wall_ms", "tool_calls")
"""What a budget counts, in whole numbers: tokens, millionths of a US dollar, milliseconds of work, calls of tools."""


BRANCH_TITLE = "branch "
"""How the title of a search's branches begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to append to a run, until another process takes it.

    Attributes:
        fence: grows by one with each acquisition; an append must carry the newest.
        expires_us: when another owner may take it without asking, on the store's clock.
    """

    run: str
    owner: str
    fence: int
    expires_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """One row of `overwinter ls`: derived from the journal, kept beside it for speed.

    Attributes:
        parent, fork_seq: where this run was forked from; None and -1 for a run of its own.
        head_seq: the last entry's number, -1 for a run without entries.
        status: "running", "waiting:<reason>", or how it ended.
        owner, expires_us: the current lease, "" and 0 if none.
    """

    run: str
    parent: str | None
    fork_seq: int
    budgets: tuple[str, ...]
    head_seq: int
    head_hash: str
    head_time_us: int
    status: str
    title: str
    created_us: int
    owner: str
    fence: int
    expires_us: int

    @property
    def is_branch(self) -> bool:
        """It is a node of a search: of interest to whoever asks about that decision, and to nobody else."""
        return self.parent is not None and self.title.startswith(BRANCH_TITLE)

    @property
    def unborn(self) -> bool:
        """It was created and has no entry of its own: whoever made it died in between, or is about to write the first."""
        return self.head_seq == self.fork_seq


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetLine:
    """One resource of a budget. `cap` None means without limit; what is left is cap − spent − reserved."""

    cap: int | None
    spent: int
    reserved: int

    @property
    def left(self) -> int | None:
        return None if self.cap is None else self.cap - self.spent - self.reserved


BudgetState = Mapping[str, BudgetLine]


@dataclass(frozen=True, kw_only=True, slots=True)
class RawEntry:
    """An entry as stored, unread, for verification. `data` is None where the store could not read it; `error` says why."""

    run: str
    seq: int
    kind: str
    data: bytes | None
    hash: str
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Something the store holds, as it would be read: blobs and caches decompressed.

    Attributes:
        place: "entry", "blob", "letter", "cache" or "title".
        name: the run of an entry or title, the hash of a blob, the id of a letter, RUN/NAME of a cache.
        seq: of an entry, else -1.
    """

    place: str
    name: str
    data: bytes
    seq: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """Something for a run from outside its process: an answer to an approval, an event, an instruction to stop."""

    id: str
    draft: Draft
    time_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewRun:
    """A run to create. `caps` opens a budget of the run's own; `shared` are budgets of others that it draws on too."""

    run: str
    title: str = ""
    parent: str | None = None
    fork_seq: int = -1
    caps: Amounts | None = None
    shared: tuple[str, ...] = field(default=())


class Store(Protocol):
    """See the module docstring for the promises. All methods may raise StoreError."""

    url: str

    def create(self, new: NewRun) -> RunInfo:
        """Make an empty run (or a fork that shares its parent's entries up to `fork_seq`). UsageError if the name is taken.

        One that is `unborn` and has no living owner is replaced; its fencing numbers go on.
        """
        ...

    def append(
        self,
        run: str,
        drafts: Sequence[Draft],
        *,
        fence: int,
        blobs: Mapping[str, bytes] | None = None,
        letters: Collection[str] = (),
    ) -> list[Entry]:
        """Write entries in one transaction, durably.

        A body with "reserve" holds that much of every budget of the run; one with "settle" gives back the reservation and
        books what was spent; "budget.changed" raises a cap. `letters` are taken out of the inbox in the same transaction;
        one that is no longer there fails the append, so that a letter counts once.
        """
        ...

    def read(
        self, run: str, start: int = 0, stop: int | None = None, kinds: Collection[str] | None = None
    ) -> Iterator[Entry]:
        """Entries of the run's whole line (parents first), start ≤ seq < stop, in order, in bounded memory.

        It ends at the head as it is at the first entry. StoreError at a damaged entry, and at a missing one if all `kinds` are
        read: what has been yielded is what was written. An erased entry comes as kind "erased" with its original hash; its body
        says what `kind` it was, `by` which entry it was erased, and what `journal.tombstone` keeps.
        """
        ...

    def raw(self, run: str) -> Iterator[RawEntry]:
        """The entries as stored, without reading them; goes on past damage, and past the head if something lies there."""
        ...

    def info(self, run: str) -> RunInfo:
        """UsageError if there is no such run."""
        ...

    def runs(self) -> list[RunInfo]:
        """All runs, newest first."""
        ...

    def put_blob(self, data: bytes) -> str: ...

    def get_blob(self, hash_: str) -> bytes:
        """StoreError, with the reason, when it is not there, was collected, or its bytes do not match the hash."""
        ...

    def blob_state(self, hash_: str) -> str:
        """ "present", "collected" or "missing"."""
        ...

    def drop_blobs(self, hashes: Iterable[str]) -> int:
        """Forget the content of blobs but not that they were there; bytes freed."""
        ...

    def erase(
        self,
        run: str,
        seqs: Collection[int],
        *,
        by: int,
        fence: int,
        blobs: Collection[str] = (),
        letters: Collection[str] = (),
    ) -> int:
        """Put tombstones in the place of entries that `run` owns; how many were none yet. Use `journal.erase.erase`.

        In the same transaction go the content of `blobs`, the `letters`, the caches of the run and of all its forks, and its
        title if its first entry is among them. UsageError unless entry `by` is an `entries.erased` entry that lists each of them
        with its hash; LeaseLost with an old fencing number.
        """
        ...

    def adopt(
        self,
        new: NewRun,
        entries: Sequence[RawEntry],
        *,
        blobs: Mapping[str, bytes] | None = None,
        collected: Collection[str] = (),
    ) -> int:
        """Take in entries of a run as they were sealed elsewhere, in one transaction; how many were new here.

        The run is made if it is missing; what is here of it already must be the beginning of what comes. `collected` are blobs
        whose content was collected or erased there. Budgets are booked as the entries say.

        UsageError if another run of that name is here or a blob is missing; StoreError if a hash or the chain does not fit.
        """
        ...

    def scrub(self) -> tuple[str, ...]:
        """Write the store's files anew, so that nothing that was erased or dropped is left in them; where it may be left all the
        same, in words. Takes as long as copying the journal. StoreError while another process reads or writes."""
        ...

    def files(self) -> list[Path]:
        """The files of the store that can be looked into from here, logs included; none for a server's."""
        ...

    def contents(self) -> Iterator[Stored]:
        """Everything the store holds, one after another, for a search that trusts no index."""
        ...

    def mentions(self, text: bytes) -> list[tuple[str, int]]:
        """(run, seq) of the entries whose stored bytes contain `text`; blobs are not looked into."""
        ...

    def acquire(self, run: str, owner: str, ttl_s: float, *, take_over: bool = False) -> Lease:
        """Become the writer. LeaseLost if a living owner holds the run and `take_over` is false."""
        ...

    def renew(self, lease: Lease, ttl_s: float) -> Lease:
        """LeaseLost if someone else took it."""
        ...

    def release(self, lease: Lease) -> None:
        """Give it back; silent when it was already lost."""
        ...

    def budget(self, budget: str) -> BudgetState: ...

    def post(self, run: str, draft: Draft) -> str:
        """Leave a letter for the run's owner, durably; the letter's id. Needs no lease."""
        ...

    def letters(self, run: str) -> list[Letter]: ...

    def save_cache(self, run: str, name: str, seq: int, data: bytes) -> None:
        """Keep something derived from the entries up to `seq`; may be deleted at any time."""
        ...

    def load_cache(self, run: str, name: str) -> tuple[int, bytes] | None: ...

    def now_us(self) -> int:
        """The clock entries are stamped by, microseconds since 1970 UTC. It may jump; entry times still never decrease."""
        ...

    def check_integrity(self) -> list[str]:
        """What the database itself says of its files; empty when it finds nothing."""
        ...

    def close(self) -> None: ...


def status_after(draft: Draft | Entry) -> str | None:
    """The run's status once `draft` is appended; None where it does not change."""
    body: Mapping[str, Any] = draft.body
    if draft.kind in {"run.started", "run.forked", "run.resumed"}:
        return "running"
    if draft.kind == "run.suspended":
        return f"waiting:{body['reason']}"
    if draft.kind == "run.ended":
        return str(body["status"])
    return None
