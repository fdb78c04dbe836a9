"""How findings compare with what was planted. A finding counts only if it names the kind and quotes both places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from overwinter.think.consistency.claim import Finding, Quote
from overwinter.think.consistency.planted import PLANT, Document, Planted


@dataclass(kw_only=True, slots=True)
class Score:
    """Counts by kind; add several documents up with `+=` of the counters (`add`).

    Attributes:
        planted, found: contradictions put in, and those found with the right kind and both places.
        decoys, fooled: decoys put in, and findings that touch one.
        false: other findings that quote nothing planted, or not both places of one plant; on the host's own words.
        exact: quotes that are exactly the characters of their span; quotes: all of them.
    """

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    decoys: Counter[str] = field(default_factory=Counter)
    fooled: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    words: int = 0
    quotes: int = 0
    exact: int = 0

    def add(self, other: Score) -> None:
        for name in ("planted", "found", "decoys", "fooled", "false"):
            getattr(self, name).update(getattr(other, name))
        self.words += other.words
        self.quotes += other.quotes
        self.exact += other.exact

    def wrong(self, kind: str) -> int:
        return self.fooled[kind] + self.false[kind]


def score(document: Document, findings: Sequence[Finding], words: int) -> Score:
    """Compare the findings of one document with its plants and decoys."""
    made = Score(words=words)
    plants = [one for one in document.planted if one.truth == PLANT]
    decoys = [one for one in document.planted if one.truth != PLANT]
    made.planted.update(one.kind for one in plants)
    made.decoys.update(one.kind for one in decoys)
    used: set[int] = set()
    for plant in plants:
        hits = [number for number, finding in enumerate(findings) if matches(plant, finding)]
        made.found[plant.kind] += bool(hits)
        used.update(hits)
    for number, finding in enumerate(findings):
        quotes = (finding.first, finding.second)
        made.quotes += len(quotes)
        made.exact += sum(document.text[q.first : q.last] == q.text for q in quotes)
        if number not in used:
            fooled = any(_touches(span, quote) for one in decoys for span in one.spans for quote in quotes)
            (made.fooled if fooled else made.false)[finding.kind] += 1
    return made


def matches(plant: Planted, finding: Finding) -> bool:
    """The right kind, and one quote at each of the two places."""
    if finding.kind != plant.kind:
        return False
    first, last = plant.spans[0], plant.spans[-1]
    return _touches(first, finding.first) and _touches(last, finding.second)


def _touches(span: tuple[int, int], quote: Quote) -> bool:
    return span[0] < quote.last and quote.first < span[1]


def total(scores: Iterable[Score]) -> Score:
    """All scores added up."""
    made = Score()
    for one in scores:
        made.add(one)
    return made
