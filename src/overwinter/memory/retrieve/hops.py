"""Further rounds: a question about "the country where the river rises" needs the unit about the river before it can be asked
where. A unit that was found leads on by the names it brings in, to units that say such a name and what of the question is
not accounted for yet:

    score(v | u) = hop · score(u) · (a·D(v) + b·L'(v) / max L' + c·N(v) / max N)

with D the likeness to the question, L' BM25 of the question's terms, of which those that u says count a tenth, and N the best
match of a whole name that u brings in and the question lacks. A unit's score is the best of all rounds.

No model is asked: the question's vector is used again, and names are told by their capitals. The idea of following entities is
that of graph retrieval (HippoRAG, arXiv 2405.14831), without the graph; what it gains is in docs/benchmarks.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from overwinter.memory.retrieve.fusion import Scored, Signs
from overwinter.memory.retrieve.pool import Corpus, Entry, term_scores
from overwinter.memory.retrieve.question import STOP_WORDS, Reading
from overwinter.memory.retrieve.weights import Weights
from overwinter.memory.words import stem, words

MOST_NAMES = 12
"""Names of a unit that are followed, in order: what a text is about comes early."""

LEAST_TERMS, LEAST_OPEN = 4, 1
"""Questions with fewer terms, or units that leave fewer of them open, are not followed: there is nothing to be led to."""

_KEPT_OF_SAID = 0.1
_RAREST_COUNTS_AS = 6.0
_CAPITAL = r"[^\W\d_a-zß-öø-ÿ][\w'’.-]*"
_NAME = re.compile(rf"(?:{_CAPITAL}|\d{{4}})(?:\s+(?:of|the|de|la|van|von|and)\s+{_CAPITAL}|\s+{_CAPITAL})*")

Name = tuple[tuple[str, str], ...]
"""A name: (stem, word) for each of its words that is no stop word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A unit to go on from: what it leaves open of the question, and the names it brings in."""

    start: Scored
    open_terms: tuple[str, ...]
    names: tuple[Name, ...]

    @property
    def words(self) -> list[str]:
        return list(dict.fromkeys(word for name in self.names for _, word in name))


def names_in(text: str, said: Collection[str]) -> tuple[Name, ...]:
    """Names in a text that a question does not already say."""
    found: dict[Name, None] = {}
    for match in _NAME.finditer(text):
        name = tuple((stem(word), word) for word in words(match.group()) if word not in STOP_WORDS)
        if name and not all(part in said for part, _ in name):
            found[name] = None
    return tuple(found)[:MOST_NAMES]


def steps(ranked: Sequence[Scored], reading: Reading, weights: Weights, beam: int) -> list[Step]:
    """Where a next round starts: from the best units, as far as they leave something open and bring in a name."""
    if len(reading.terms) < LEAST_TERMS:
        return []
    best = [each for each in ranked[:beam] if _share(each, weights) and each.score > 0]
    actors = {stem(word) for each in best for word in words(each.entry.unit.actor)}
    found = []
    for each in best:
        left = tuple(term for term in reading.terms if term not in each.entry.terms)
        # Who speaks is named at every turn, and leads everywhere.
        names = names_in(each.entry.unit.text, reading.said | actors)
        if len(left) >= LEAST_OPEN and names:
            found.append(Step(start=each, open_terms=left, names=names))
    return found


def hop_scores(
    step: Step, entries: Mapping[int, Entry], corpus: Corpus, signs: Signs, weights: Weights
) -> dict[int, float]:
    """row → score of the units of a pool that say one of the step's names. `corpus` weighs the names' stems too."""
    stems = tuple(dict.fromkeys(part for name in step.names for part, _ in name))
    named = {
        row: match
        for row, entry in entries.items()
        if row != step.start.entry.row
        and (saying := term_scores(entry.unit.text, stems, (), corpus))
        and (match := _name_match(saying, step.names, corpus)) > 0
    }
    most_named = max(named.values(), default=0.0)
    if not most_named:
        return {}
    left = set(step.open_terms)
    said = {
        row: sum(score if term in left else _KEPT_OF_SAID * score for term, score in entry.terms.items())
        for row, entry in entries.items()
    }
    most_said = max(said.values(), default=0.0) or 1.0
    likest = max((signs.cosines.get(row, signs.floor) for row in entries), default=0.0) - signs.floor
    share = step.start.score * _share(step.start, weights)
    scored: dict[int, float] = {}
    for row, match in named.items():
        like = max(signs.cosines.get(row, signs.floor) - signs.floor, 0.0) / likest if likest > 0 else 0.0
        total = weights.hop_dense * like + weights.hop_terms * said[row] / most_said
        scored[row] = share * (total + weights.hop_name * match / most_named)
    return scored


def _share(start: Scored, weights: Weights) -> float:
    return weights.hop_message if start.entry.unit.kind == "message" else weights.hop


def _name_match(scores: Mapping[str, float], names: Sequence[Name], corpus: Corpus) -> float:
    """The best match of a whole name: its least said word, times how rare its rarest is."""
    best = 0.0
    for name in names:
        if all(part in scores for part, _ in name):
            least = min(scores[part] / corpus.weights[part] for part, _ in name)
            rarest = max(corpus.weights[part] for part, _ in name)
            best = max(best, least * min(rarest, _RAREST_COUNTS_AS))
    return best
