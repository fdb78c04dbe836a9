"""The Index protocol: where derived rows of one namespace live. SQLite (one file a namespace), Postgres, and `plain` in memory;
`tests/memory/memory_conformance.py` is the suite that any further one has to pass.

What an index promises:

- One namespace. There is no argument by which rows of another could be reached.
- `transaction` is atomic: units, claims and watermarks of a batch are there together or not at all.
- Everything in it can be deleted: `drop_all` and a new derivation give the same rows with the same ids.
- Reading never blocks the writer.

Rows are counted by `row`, small integers in order of storing, for the arrays of the dense channel; they mean nothing outside
one index and change when it is rebuilt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from overwinter.memory.claim import Claim
from overwinter.memory.unit import AsOf, Filter, Unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A row found by words: `score` is BM25, higher is better, comparable within one answer."""

    row: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A digest of a period: its text and what it covers. `id` follows from level, period, members and version.

    Attributes:
        level: "session", "day", "week", "month" or "year".
        period: "2031-04-07", "2031-W15", "2031-04", "2031", or the session's name.
        covers: ids of the units (of sessions and days) or digests (of the levels above) it was made from.
        root: Merkle root of the digests of what is covered: it differs once something below was erased or corrected.
    """

    id: str
    level: str
    period: str
    since_us: int
    until_us: int
    text: str
    covers: tuple[str, ...]
    root: str
    version: int


class Index(Protocol):
    """See the module docstring for the promises. All methods may raise StoreError."""

    namespace: str
    url: str

    # Writing

    def transaction(self) -> AbstractContextManager[None]:
        """Durable when it ends, rolled back when it raises. The writing methods below must be called inside one."""
        ...

    def put_units(self, units: Sequence[Unit]) -> list[int]:
        """Store units; their rows. One whose id is there already keeps its row and is not stored again."""
        ...

    def put_claims(self, claims: Sequence[Claim]) -> None:
        """Store claims with evidence and dependencies; one of the same id is replaced (its intervals may have been closed)."""
        ...

    def remove_claims(self, ids: Collection[str]) -> None:
        """Remove claims, their evidence and dependencies: versions that settling anew no longer gives. Unknown ids are passed over."""
        ...

    def put_spans(self, spans: Sequence[Span]) -> None:
        """Store digests; one of the same level and period is replaced."""
        ...

    def remove_units(self, ids: Collection[str]) -> int:
        """Remove units, their words, vectors and evidence, and claims left without supporting evidence; how many units."""
        ...

    def remove_spans(self, ids: Collection[str]) -> None: ...

    def mark(self, run: str, seq: int, head: str) -> None:
        """Note that all entries of `run` up to `seq`, whose hash is `head`, are derived."""
        ...

    def set_note(self, name: str, data: bytes) -> None:
        """Keep something small of the index's own (weights, calibration, versions) under a name; empty data removes it."""
        ...

    def drop_all(self) -> None:
        """Empty the index: derived rows, watermarks and notes."""
        ...

    # Reading

    def watermarks(self) -> Mapping[str, tuple[int, str]]:
        """run → (seq, hash) of the last entry that is derived."""
        ...

    def note(self, name: str) -> bytes | None: ...

    def count(self) -> int:
        """How many units there are."""
        ...

    def next_place(self, run: str, session: str) -> int:
        """How many units of a run the session holds: the place of the next."""
        ...

    def unit(self, id_: str) -> Unit | None: ...

    def units(self, rows: Sequence[int]) -> list[Unit]:
        """In the order of `rows`; rows that are gone are left out."""
        ...

    def rows(self, ids: Sequence[str]) -> list[int]:
        """In the order of `ids`; unknown ids are left out."""
        ...

    def scan(self, where: Filter, *, after_row: int = -1, limit: int = 1000) -> list[tuple[int, Unit]]:
        """Units by ascending row, behind `after_row`: pages of a walk over everything."""
        ...

    def timeline(self, where: Filter, *, limit: int = 1000, newest_first: bool = False) -> list[Unit]:
        """Units in order of (happened_us, run, seq, first)."""
        ...

    def lexical(self, terms: Sequence[str], where: Filter, k: int) -> list[Found]:
        """The `k` best units by BM25 over stemmed words and names of things (`names.py`), any of `terms`; best first, ties by row."""
        ...

    def document_frequency(self, terms: Sequence[str]) -> dict[str, int]:
        """In how many units each term occurs (after stemming); of a term of several words, any of them, of a name, the name."""
        ...

    def session_scores(self, terms: Sequence[str], k: int) -> dict[str, float]:
        """BM25 of whole sessions, the `k` best: session → score."""
        ...

    def neighbours(self, rows: Collection[int]) -> dict[int, tuple[int | None, int | None]]:
        """row → rows before and after it in its session."""
        ...

    def sessions_of(self, rows: Collection[int]) -> dict[int, str]: ...

    def allowed(self, rows: Collection[int], where: Filter) -> set[int]:
        """Those of `rows` that pass the filter."""
        ...

    def claims(
        self, *, subject: str = "", predicate: str = "", at: AsOf | None = None, limit: int = 1000
    ) -> list[Claim]:
        """Claims by key (empty: any), newest valid first. With `at`, those valid and believed then; None: all there ever were."""
        ...

    def claims_of(self, units: Collection[str]) -> list[Claim]:
        """Claims that rest on any of these units."""
        ...

    def claims_by_id(self, ids: Collection[str]) -> list[Claim]: ...

    def dependants(self, ids: Collection[str]) -> list[Claim]:
        """Claims that depend on any of these directly."""
        ...

    def spans(self, level: str = "", *, since_us: int | None = None, until_us: int | None = None) -> list[Span]:
        """Digests that overlap the range, in order of time."""
        ...

    # Vectors: rows of one generation are float arrays of one model

    def put_vectors(self, model: str, dim: int, vectors: Iterable[tuple[int, bytes]]) -> None:
        """Store unit-norm vectors, little-endian float16 × dim, by row. Several models (generations) live side by side."""
        ...

    def vectors(self, model: str, *, after_row: int = -1) -> Iterator[tuple[int, bytes]]:
        """All vectors of a model by ascending row, to load the arrays that are scanned."""
        ...

    def vector_models(self) -> dict[str, tuple[int, int]]:
        """model → (dim, how many)."""
        ...

    def without_vector(self, model: str, limit: int) -> list[int]:
        """Rows that have no vector of this model yet, ascending."""
        ...

    def drop_vectors(self, model: str) -> None: ...

    def check(self) -> list[str]:
        """What the database says of its files and its text index; empty when it finds nothing."""
        ...

    def close(self) -> None: ...
