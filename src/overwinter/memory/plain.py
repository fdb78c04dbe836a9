"""An index in memory, the slow clear twin of the ones in SQLite and Postgres: every question is answered by looking at all rows.

Nothing is kept between questions but the rows themselves, so there is nothing that could drift. Tests compare the others with
it; it also serves a namespace that lives no longer than its process.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from overwinter.errors import StoreError
from overwinter.memory.claim import Claim
from overwinter.memory.index import Found, Span
from overwinter.memory.names import asked_terms, counted_terms, index_terms
from overwinter.memory.unit import DEFAULT_NAMESPACE, AsOf, Filter, Unit

K1, B = 1.2, 0.75
"""BM25's constants, as SQLite has them (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009)."""

_LEAST_WEIGHT = 1e-6
"""Of a term that occurs in more than half of all units, as SQLite has it: it may order, and never counts against."""

_Name = TypeVar("_Name", int, str)


@dataclass(slots=True)
class _Rows:
    """All that an index holds."""

    units: dict[int, Unit] = field(default_factory=dict)
    row_of: dict[str, int] = field(default_factory=dict)
    bags: dict[int, Counter[str]] = field(default_factory=dict)  # row → how often it says each stem
    next_row: int = 0
    claims: dict[str, Claim] = field(default_factory=dict)
    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    marks: dict[str, tuple[int, str]] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def copied(self) -> _Rows:
        """Fresh containers; what they contain is never changed in place."""
        rows = copy.copy(self)
        for name in ("units", "row_of", "bags", "claims", "spans", "marks", "notes", "dims"):
            setattr(rows, name, dict(getattr(self, name)))
        rows.vectors = {model: dict(of_model) for model, of_model in self.vectors.items()}
        return rows


def passes(unit: Unit, where: Filter) -> bool:
    """Whether a filter lets a unit through: the definition that the other indexes spell in SQL."""
    return (
        (where.since_us is None or unit.happened_us >= where.since_us)
        and (where.until_us is None or unit.happened_us < where.until_us)
        and (where.known_us is None or unit.told_us <= where.known_us)
        and (not where.sessions or unit.session in where.sessions)
        and (not where.runs or unit.run in where.runs)
        and (not where.kinds or unit.kind in where.kinds)
        and (not where.actors or unit.actor in where.actors)
        and not (unit.flags & where.exclude_flags)
    )


def holds(claim: Claim, at: AsOf) -> bool:
    """Whether a claim held and was believed at a time; None on an axis is now, when open intervals alone hold."""
    return _within(claim.valid_from_us, claim.valid_to_us, at.valid_us) and _within(
        claim.known_from_us, claim.known_to_us, at.known_us
    )


def _within(from_us: int, to_us: int | None, moment_us: int | None) -> bool:
    if moment_us is None:
        return to_us is None
    return from_us <= moment_us and (to_us is None or moment_us < to_us)


class PlainIndex:
    """An `Index` in memory. Use it from one thread."""

    def __init__(self, namespace: str = DEFAULT_NAMESPACE) -> None:
        self.namespace = namespace
        self.url = f"memory:{namespace}"
        self._rows = _Rows()
        self._writing = False

    # Writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._writing:
            raise StoreError("a transaction of this index is open already", "put the work into that one")
        before, self._writing = self._rows.copied(), True
        try:
            yield
        except BaseException:
            self._rows = before
            raise
        finally:
            self._writing = False

    def _to_write(self) -> _Rows:
        if not self._writing:
            raise StoreError(
                "an index is written inside a transaction only", "wrap the call in `with index.transaction()`"
            )
        return self._rows

    def put_units(self, units: Sequence[Unit]) -> list[int]:
        rows, stored = self._to_write(), []
        for unit in units:
            if unit.id not in rows.row_of:
                rows.row_of[unit.id] = rows.next_row
                rows.units[rows.next_row] = unit
                rows.bags[rows.next_row] = Counter(index_terms(unit.text))
                rows.next_row += 1
            stored.append(rows.row_of[unit.id])
        return stored

    def put_claims(self, claims: Sequence[Claim]) -> None:
        self._to_write().claims.update((claim.id, claim) for claim in claims)

    def remove_claims(self, ids: Collection[str]) -> None:
        claims = self._to_write().claims
        for id_ in ids:
            claims.pop(id_, None)

    def put_spans(self, spans: Sequence[Span]) -> None:
        self._to_write().spans.update(((span.level, span.period), span) for span in spans)

    def remove_units(self, ids: Collection[str]) -> int:
        rows = self._to_write()
        gone = {id_: rows.row_of.pop(id_) for id_ in set(ids) if id_ in rows.row_of}
        for row in gone.values():
            del rows.units[row], rows.bags[row]
            for of_model in rows.vectors.values():
                of_model.pop(row, None)
        self._close_gaps()
        for claim in list(rows.claims.values()):
            kept = tuple(evidence for evidence in claim.evidence if evidence.unit not in gone)
            if any(evidence.supports for evidence in kept):
                rows.claims[claim.id] = replace(claim, evidence=kept)
            elif len(kept) < len(claim.evidence):
                del rows.claims[claim.id]
        return len(gone)

    def _close_gaps(self) -> None:
        """Number the places of each run's part of a session anew."""
        rows, next_place = self._rows, Counter[tuple[str, str]]()
        for row, unit in sorted(rows.units.items(), key=lambda pair: (pair[1].seq, pair[1].first)):
            place = next_place[unit.run, unit.session]
            next_place[unit.run, unit.session] += 1
            if unit.place != place:
                rows.units[row] = replace(unit, place=place)

    def remove_spans(self, ids: Collection[str]) -> None:
        rows = self._to_write()
        rows.spans = {key: span for key, span in rows.spans.items() if span.id not in set(ids)}

    def mark(self, run: str, seq: int, head: str) -> None:
        self._to_write().marks[run] = (seq, head)

    def set_note(self, name: str, data: bytes) -> None:
        if data:
            self._to_write().notes[name] = data
        else:
            self._to_write().notes.pop(name, None)

    def drop_all(self) -> None:
        self._to_write()
        self._rows = _Rows()

    # Reading

    def watermarks(self) -> Mapping[str, tuple[int, str]]:
        return dict(self._rows.marks)

    def note(self, name: str) -> bytes | None:
        return self._rows.notes.get(name)

    def count(self) -> int:
        return len(self._rows.units)

    def next_place(self, run: str, session: str) -> int:
        return sum(unit.run == run and unit.session == session for unit in self._rows.units.values())

    def unit(self, id_: str) -> Unit | None:
        row = self._rows.row_of.get(id_)
        return None if row is None else self._rows.units[row]

    def units(self, rows: Sequence[int]) -> list[Unit]:
        return [self._rows.units[row] for row in rows if row in self._rows.units]

    def rows(self, ids: Sequence[str]) -> list[int]:
        return [self._rows.row_of[id_] for id_ in ids if id_ in self._rows.row_of]

    def scan(self, where: Filter, *, after_row: int = -1, limit: int = 1000) -> list[tuple[int, Unit]]:
        chosen = [(row, unit) for row, unit in self._rows.units.items() if row > after_row and passes(unit, where)]
        return chosen[:limit]  # rows only ever grow, so the dictionary is in their order

    def timeline(self, where: Filter, *, limit: int = 1000, newest_first: bool = False) -> list[Unit]:
        chosen = [unit for unit in self._rows.units.values() if passes(unit, where)]
        chosen.sort(key=lambda unit: (unit.happened_us, unit.run, unit.seq, unit.first), reverse=newest_first)
        return chosen[:limit]

    def lexical(self, terms: Sequence[str], where: Filter, k: int) -> list[Found]:
        scores = _bm25(self._rows.bags, asked_terms(terms))
        found = [(row, score) for row, score in scores.items() if passes(self._rows.units[row], where)]
        best = heapq.nsmallest(k, found, key=lambda pair: (-pair[1], pair[0]))
        return [Found(row=row, score=score) for row, score in best]

    def document_frequency(self, terms: Sequence[str]) -> dict[str, int]:
        def saying(counted: Sequence[str]) -> int:
            return sum(any(term in bag for term in counted) for bag in self._rows.bags.values())

        return {term: saying(counted_terms(term)) for term in terms}

    def session_scores(self, terms: Sequence[str], k: int) -> dict[str, float]:
        bags: dict[str, Counter[str]] = defaultdict(Counter)
        for row, unit in self._rows.units.items():
            bags[unit.session].update(self._rows.bags[row])
        scores = _bm25(bags, asked_terms(terms))
        return dict(heapq.nsmallest(k, scores.items(), key=lambda pair: (-pair[1], pair[0])))

    def neighbours(self, rows: Collection[int]) -> dict[int, tuple[int | None, int | None]]:
        lines: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, unit in sorted(self._rows.units.items(), key=lambda pair: (pair[1].place, pair[0])):
            lines[unit.run, unit.session].append(row)
        beside: dict[int, tuple[int | None, int | None]] = {}
        for line in lines.values():
            padded = [None, *line, None]
            beside.update((row, (padded[i], padded[i + 2])) for i, row in enumerate(line) if row in rows)
        return beside

    def sessions_of(self, rows: Collection[int]) -> dict[int, str]:
        return {row: self._rows.units[row].session for row in rows if row in self._rows.units}

    def allowed(self, rows: Collection[int], where: Filter) -> set[int]:
        return {row for row in rows if row in self._rows.units and passes(self._rows.units[row], where)}

    def claims(
        self, *, subject: str = "", predicate: str = "", at: AsOf | None = None, limit: int = 1000
    ) -> list[Claim]:
        chosen = [
            claim
            for claim in self._rows.claims.values()
            if (not subject or claim.subject == subject)
            and (not predicate or claim.predicate == predicate)
            and (at is None or holds(claim, at))
        ]
        return sorted(chosen, key=_newest_first)[:limit]

    def claims_of(self, units: Collection[str]) -> list[Claim]:
        wanted = set(units)
        return self._claims_that(lambda claim: any(evidence.unit in wanted for evidence in claim.evidence))

    def claims_by_id(self, ids: Collection[str]) -> list[Claim]:
        return self._claims_that(lambda claim: claim.id in set(ids))

    def dependants(self, ids: Collection[str]) -> list[Claim]:
        return self._claims_that(lambda claim: not set(ids).isdisjoint(claim.depends))

    def _claims_that(self, fits: Callable[[Claim], bool]) -> list[Claim]:
        return sorted((claim for claim in self._rows.claims.values() if fits(claim)), key=_newest_first)

    def spans(self, level: str = "", *, since_us: int | None = None, until_us: int | None = None) -> list[Span]:
        chosen = [
            span
            for span in self._rows.spans.values()
            if (not level or span.level == level)
            and (until_us is None or span.since_us < until_us)
            and (since_us is None or span.until_us > since_us)
        ]
        return sorted(chosen, key=lambda span: (span.since_us, span.until_us, span.level, span.period))

    # Vectors

    def put_vectors(self, model: str, dim: int, vectors: Iterable[tuple[int, bytes]]) -> None:
        rows = self._to_write()
        if rows.dims.setdefault(model, dim) != dim:
            raise StoreError(
                f"the vectors of {model!r} have {rows.dims[model]} dimensions, not {dim}",
                "give an embedder that makes other vectors another name",
            )
        of_model = rows.vectors.setdefault(model, {})
        for row, data in vectors:
            if len(data) != 2 * dim:
                raise StoreError(f"a vector of {len(data)} bytes is not float16 × {dim}", "check the embedder")
            if row in rows.units:
                of_model[row] = data

    def vectors(self, model: str, *, after_row: int = -1) -> Iterator[tuple[int, bytes]]:
        of_model = self._rows.vectors.get(model, {})
        return iter(sorted((row, data) for row, data in of_model.items() if row > after_row))

    def vector_models(self) -> dict[str, tuple[int, int]]:
        return {model: (self._rows.dims[model], len(of_model)) for model, of_model in self._rows.vectors.items()}

    def without_vector(self, model: str, limit: int) -> list[int]:
        of_model = self._rows.vectors.get(model, {})
        return [row for row in self._rows.units if row not in of_model][:limit]

    def drop_vectors(self, model: str) -> None:
        rows = self._to_write()
        rows.vectors.pop(model, None)
        rows.dims.pop(model, None)

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to let go of."""


def _newest_first(claim: Claim) -> tuple[int, int, str]:
    return -claim.valid_from_us, -claim.known_from_us, claim.id


def _bm25(bags: Mapping[_Name, Counter[str]], asked: Sequence[str]) -> dict[_Name, float]:
    """BM25 of every text that says any of the stems; it is above 0."""
    if not bags:
        return {}
    lengths = {name: bag.total() for name, bag in bags.items()}
    mean_length = sum(lengths.values()) / len(bags)
    scores: dict[_Name, float] = defaultdict(float)
    for term in asked:
        saying = [name for name, bag in bags.items() if term in bag]
        rarity = math.log((len(bags) - len(saying) + 0.5) / (len(saying) + 0.5)) if saying else 0.0
        weight = max(rarity, _LEAST_WEIGHT)
        for name in saying:
            often = bags[name][term]
            longer = 1 - B + B * lengths[name] / mean_length
            scores[name] += weight * often * (K1 + 1) / (often + K1 * longer)
    return dict(scores)
