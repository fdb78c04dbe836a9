"""The units a question is weighed against, with what their texts say of it.

A pool holds the candidates of all channels and what stands beside them, two places before and after. Its numbers (how rare
a term is, how long units are) are those of the whole index, so that a unit's score does not depend on who else was a candidate,
but for the best of each channel, by which scores are normalised.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from overwinter.memory.index import Index
from overwinter.memory.names import named_days
from overwinter.memory.retrieve.question import Reading
from overwinter.memory.unit import Filter, Unit
from overwinter.memory.words import stems

K1, B = 1.2, 0.4
"""BM25's constants. Turns differ in length by what they say, not by how often they repeat it: hence less than the usual 0.75."""

Beside = Mapping[int, tuple[int | None, int | None]]

_MOMENT = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|weeks?|weekend|months?|years?|days?|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|january|february|march|april|may|june|july|august|september|october|november|december|since|recently|soon"
    r"|morning|evening|night|spring|summer|autumn|winter)\b|\b(?:19|20|21)\d\d\b",
    re.IGNORECASE,
)
_SAMPLE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """What the index as a whole says of a question's terms.

    Attributes:
        units: how many units it holds.
        mean_words: length of a unit, from a sample.
        weights: term → how rare it is (BM25's logarithm), of the question's terms.
    """

    units: int
    mean_words: float
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A unit in the pool.

    Attributes:
        terms: BM25 by term of the question; terms it does not say are left out.
        beside: offset → row of the unit there in its session, for those in the pool.
        alone: nothing else is in its session.
    """

    row: int
    unit: Unit
    words: int
    terms: dict[str, float]
    asks: bool
    moment: bool
    beside: dict[int, int] = field(default_factory=dict)
    alone: bool = False

    @property
    def lexical(self) -> float:
        return sum(self.terms.values())


def rarity(units: int, saying: int) -> float:
    """BM25's weight of a term that `saying` of `units` say."""
    return max(math.log((units - saying + 0.5) / (saying + 0.5)), 1e-6)


def count_words(text: str) -> int:
    return text.count(" ") + 1


def mean_words(index: Index) -> float:
    """Of the first thousand units: enough to normalise by, and the same whoever asks."""
    sample = index.scan(Filter(exclude_flags=frozenset()), limit=_SAMPLE)
    return sum(count_words(unit.text) for _, unit in sample) / len(sample) if sample else 1.0


def entry_of(row: int, unit: Unit, reading: Reading, corpus: Corpus, *, alone: bool = False) -> Entry:
    """What one unit says of the question."""
    return Entry(
        row=row,
        unit=unit,
        words=count_words(unit.text),
        terms=term_scores(unit.text, reading.terms, reading.spelled, corpus),
        asks=unit.text.rstrip().endswith("?"),
        moment=reading.when and bool(_MOMENT.search(unit.text)),
        alone=alone,
    )


def term_scores(text: str, terms: Sequence[str], spelled: Sequence[str], corpus: Corpus) -> dict[str, float]:
    """BM25 by term, of the stems and spelled names that a text says."""
    counts = count_terms(text, terms)
    if spelled:
        lowered, days = text.lower(), named_days(text)
        counts |= {name: often for name in spelled if (often := lowered.count(name) + days.count(name))}
    if not counts:
        return {}
    norm = K1 * (1 - B + B * count_words(text) / corpus.mean_words)
    return {term: corpus.weights.get(term, 0.0) * often * (K1 + 1) / (often + norm) for term, often in counts.items()}


def count_terms(text: str, terms: Sequence[str]) -> dict[str, int]:
    """How often a text says each of some stems.

    Most texts say none of them, and a search for their beginnings says so long before a tokenizer would have finished.
    """
    if text.isascii():
        lowered = text.lower()
        terms = [term for term in terms if (term[:-1] or term) in lowered]  # stemming changes the last letters at most
        if not terms:
            return {}
    bag = _bag(text)
    return {term: bag[term] for term in terms if term in bag}


@lru_cache(maxsize=8192)
def _bag(text: str) -> Counter[str]:
    return Counter(stems(text))


def link(entries: Mapping[int, Entry], beside: Beside) -> None:
    """Tell each entry which of the others stand beside it. What is known of one side is true of the other."""
    after: dict[int, int] = {}
    for row, (before, behind) in beside.items():
        if before is not None:
            after[before] = row
        if behind is not None:
            after[row] = behind
    for row, near in after.items():
        _join(entries, row, near, 1)
        far = after.get(near)
        if far is not None:
            _join(entries, row, far, 2)


def _join(entries: Mapping[int, Entry], row: int, later: int, distance: int) -> None:
    if row in entries and later in entries:
        entries[row].beside[distance] = later
        entries[later].beside[-distance] = row
