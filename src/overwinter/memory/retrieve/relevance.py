"""Is what was found relevant, or only the best of what there is? Two logistic models answer, over signs that mean the same in
every corpus: one whether the memory holds an answer at all, one for each hit.

Below the threshold nothing is returned: a memory that always shows ten things shows ten wrong ones to every question it cannot
answer (specification §3.3: items were injected into two questions of three for which nothing relevant existed).

The shipped numbers are fitted by `recipes/fit_relevance.py`; `refit.py` fits them anew to a namespace's own use.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from overwinter.errors import StoreError
from overwinter.memory.retrieve.fusion import Scored, Signs
from overwinter.memory.retrieve.pool import Corpus, Entry
from overwinter.memory.retrieve.question import Reading

SIGNS_OF_ANSWER = (
    "coverage", "coverage_beside", "content_coverage", "bm25", "unknown_name", "unknown_terms", "terms", "margin", "cosine",
    "cosine_mean",
)  # fmt: skip
SIGNS_OF_HIT = ("coverage", "coverage_beside", "share", "place", "cosine")
_BEST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Logistic:
    """P = 1 / (1 + exp(−(bias + Σ weight · sign)))."""

    weights: tuple[float, ...]
    bias: float

    def __call__(self, signs: Sequence[float]) -> float:
        total = self.bias + sum(weight * sign for weight, sign in zip(self.weights, signs, strict=True))
        return 1 / (1 + math.exp(-max(-40.0, min(40.0, total))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Both models, and from which probability of an answer on hits are returned."""

    answer: Logistic
    hit: Logistic
    threshold: float

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Calibration:
        """Raises StoreError where the data is not what `to_json` wrote."""
        try:
            values = json.loads(data)
            answer, hit = (
                _logistic(values[name], n) for name, n in (("answer", len(SIGNS_OF_ANSWER)), ("hit", len(SIGNS_OF_HIT)))
            )
            return cls(answer=answer, hit=hit, threshold=float(values["threshold"]))
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"the index's calibration of relevance cannot be read ({error})", "run `overwinter memory rebuild`"
            ) from None


def _logistic(values: Mapping[str, object], count: int) -> Logistic:
    weights = values["weights"]
    if not isinstance(weights, list) or len(weights) != count or not all(math.isfinite(weight) for weight in weights):
        raise ValueError("other signs")
    return Logistic(weights=tuple(weights), bias=float(str(values["bias"])))


def signs_of_answer(
    ranked: Sequence[Scored], entries: Mapping[int, Entry], reading: Reading, corpus: Corpus, signs: Signs
) -> tuple[float, ...]:
    """The values of SIGNS_OF_ANSWER for a question and what was found, best first. All lie in about 0..1."""
    best = ranked[:10]
    weights = {term: corpus.weights[term] for term in (*reading.terms, *reading.spelled) if term in corpus.weights}
    total = sum(weights.values()) or 1.0
    content = {term: weight for term, weight in weights.items() if term not in reading.names}
    unknown = [term for term in weights if weights[term] >= _never(corpus)]
    cosines = sorted((signs.cosines.get(each.entry.row, signs.floor) for each in ranked), reverse=True)[:_BEST]
    scores = [each.score for each in best] or [0.0]
    return (
        max((_coverage(each.entry, weights) for each in best), default=0.0),
        max((_coverage_beside(each.entry, entries, weights) for each in best), default=0.0),
        max((_coverage(each.entry, content) for each in best), default=0.0),
        max((each.entry.lexical for each in ranked), default=0.0) / (2.2 * total),
        float(any(name in unknown for name in reading.names)),
        sum(weights[term] for term in unknown) / total,
        min(len(weights), 12) / 12,
        scores[0] - sum(scores) / len(scores),
        max(cosines, default=0.0),
        sum(cosines) / _BEST,
    )


def signs_of_hit(
    place: int, ranked: Sequence[Scored], entries: Mapping[int, Entry], corpus: Corpus, signs: Signs
) -> tuple[float, ...]:
    """The values of SIGNS_OF_HIT for what was found at a place, 0 the best."""
    hit = ranked[place]
    return (
        _coverage(hit.entry, corpus.weights),
        _coverage_beside(hit.entry, entries, corpus.weights),
        hit.score / (ranked[0].score or 1.0),
        1 / (1 + place),
        signs.cosines.get(hit.entry.row, signs.floor),
    )


def _never(corpus: Corpus) -> float:
    """The weight of a term that no unit says."""
    return math.log((corpus.units + 0.5) / 0.5) - 1e-9


def _coverage(entry: Entry, weights: Mapping[str, float]) -> float:
    total = sum(weights.values())
    return sum(weights.get(term, 0.0) for term in entry.terms) / total if total else 0.0


def _coverage_beside(entry: Entry, entries: Mapping[int, Entry], weights: Mapping[str, float]) -> float:
    """The same with what the units next to it say."""
    said = set(entry.terms)
    for offset in (-1, 1):
        if offset in entry.beside:
            said |= entries[entry.beside[offset]].terms.keys()
    total = sum(weights.values())
    return sum(weights.get(term, 0.0) for term in said) / total if total else 0.0
