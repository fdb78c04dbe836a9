"""Candidates: which units of an index a question is weighed against, asked of the index as cheaply as its size demands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from overwinter.memory.index import Index
from overwinter.memory.retrieve.pool import Beside, Corpus, Entry, entry_of, link, mean_words, rarity
from overwinter.memory.retrieve.question import Question, Reading, within
from overwinter.memory.unit import Filter, Unit

if TYPE_CHECKING:
    from overwinter.memory.vectors import Vector, VectorScan

_EXACT_BELOW = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How far to look.

    Attributes:
        lexical, dense, timed, recent: candidates of each channel.
        beside: for how many candidates what stands beside them is fetched.
        postings: in how many units the terms of one lexical search may occur together; of commoner ones the rarest are asked,
            two at least. Below it the search is exact.
    """

    lexical: int = 80
    dense: int = 80
    timed: int = 60
    recent: int = 20
    beside: int = 60
    postings: int = 20_000


class Counts:
    """How many units say a term, remembered until the index has grown by a thousandth: common terms cost the most to count."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._seen: dict[str, int] = {}
        self._size = -1
        self._mean_words = 1.0
        self.units = 0

    def refresh(self) -> None:
        self.units = self.index.count()
        size = self.units if self.units < _EXACT_BELOW else 10**6 + self.units // (_EXACT_BELOW // 10)
        if size != self._size:
            self._size, self._seen, self._mean_words = size, {}, mean_words(self.index)

    def saying(self, terms: Iterable[str]) -> dict[str, int]:
        """Words (not stems: the index stems them) → units that say them."""
        terms = list(terms)
        if missing := [term for term in terms if term not in self._seen]:
            self._seen.update(self.index.document_frequency(missing))
        return {term: min(self._seen[term], self.units) for term in terms}

    def corpus(self, spelling: Mapping[str, str]) -> Corpus:
        """Weights for stems (or spelled names), given the word the index is asked with."""
        saying = self.saying(spelling.values())
        weights = {term: rarity(self.units, saying[word]) for term, word in spelling.items()}
        return Corpus(units=self.units, mean_words=self._mean_words, weights=weights)


def rarest(saying: Mapping[str, int], postings: int) -> list[str]:
    """The rarest terms that together occur in at most so many units, and two in any case; those nobody says are left out."""
    chosen: list[str] = []
    total = 0
    for term, count in sorted(saying.items(), key=lambda pair: (pair[1], pair[0])):
        total += count
        if count and (len(chosen) < 2 or total <= postings):
            chosen.append(term)
    return chosen


def spelling_of(reading: Reading) -> dict[str, str]:
    """What a question's terms are called in the pool → what the index is asked for."""
    return dict(zip(reading.terms, reading.asked, strict=True)) | {name: name for name in reading.spelled}


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Rows by what they were found by, each best first."""

    lexical: list[int]
    dense: list[int]
    others: list[int]
    recent: list[int]

    def rows(self) -> list[int]:
        """All, each once, the best of both main channels first."""
        turns = [row for pair in zip(self.lexical, self.dense, strict=False) for row in pair]
        return list(dict.fromkeys([*turns, *self.lexical, *self.dense, *self.others, *self.recent]))


def gather(
    index: Index,
    question: Question,
    reading: Reading,
    counts: Counts,
    limits: Limits,
    dense: tuple[VectorScan, Vector] | None,
) -> Candidates:
    """Ask every channel for its candidates."""
    saying = counts.saying([*reading.asked, *reading.spelled])
    terms = rarest(saying, limits.postings)
    lexical = [found.row for found in index.lexical(terms, reading.where, limits.lexical)] if terms else []
    near: list[int] = []
    if dense:
        scan, vector = dense
        near = [row for row, _ in scan.search(vector, limits.dense, partial(index.allowed, where=reading.where))]
    others: list[int] = []
    for span in reading.ranges:
        inside = within(reading.where, span)
        others += [found.row for found in index.lexical(terms, inside, limits.timed)] if terms else []
        units = index.timeline(inside, limit=limits.timed)
        others += index.rows([unit.id for unit in units])
    recent: list[int] = []
    if question.session:
        here = replace(reading.where, sessions=frozenset({question.session}))
        recent = index.rows([unit.id for unit in index.timeline(here, limit=limits.recent, newest_first=True)])
    return Candidates(lexical=lexical, dense=near, others=others, recent=recent)


def surroundings(index: Index, rows: Sequence[int], beside: int) -> Beside:
    """What stands next to the rows, and next to that for the first `beside` of them."""
    near = index.neighbours(list(rows))
    next_to = {other for row in rows[:beside] for other in near.get(row, ()) if other is not None} - near.keys()
    return {**near, **index.neighbours(next_to)}


def fetch(index: Index, rows: Collection[int], where: Filter) -> dict[int, Unit]:
    """row → unit, of the rows that are there and pass the filter."""
    there = sorted(index.allowed(list(rows), where))
    units = index.units(there)
    if len(units) == len(there):
        return dict(zip(there, units, strict=True))
    # A unit was removed in between.
    return {row: unit for unit in units for row in index.rows([unit.id])}


def make_pool(index: Index, rows: Sequence[int], reading: Reading, corpus: Corpus, limits: Limits) -> dict[int, Entry]:
    """Entries of the rows and of what stands beside them."""
    beside = surroundings(index, rows, limits.beside)
    wanted = dict.fromkeys(rows)
    for row in rows[: limits.beside]:
        for near in beside.get(row, (None, None)):
            far = beside.get(near, (None, None)) if near is not None else ()
            wanted.update(dict.fromkeys(other for other in (near, *far) if other is not None))
    entries = {
        row: entry_of(row, unit, reading, corpus, alone=beside.get(row) == (None, None))
        for row, unit in fetch(index, list(wanted), reading.where).items()
    }
    link(entries, beside)
    return entries
