"""The ranking of one round said once more, as plainly as it can be: every unit of an index, one after the other, term by term.

Tests compare `Searcher` with it on corpora so small that every unit is a candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from overwinter.memory.index import Index
from overwinter.memory.retrieve.question import Question, read
from overwinter.memory.retrieve.weights import Weights
from overwinter.memory.unit import Filter, Unit
from overwinter.memory.words import stem, stems, words

_ALL = 1_000_000


def score_plainly(
    index: Index, question: Question, weights: Weights, cosines: Sequence[float] | None = None, floor: float = 0.0
) -> dict[str, float]:
    """unit id → score, for the units that the question may see.

    Args:
        cosines: of all units in order of rows, None without vectors.
    """
    reading = read(question)
    every = index.scan(Filter(exclude_flags=frozenset()), limit=_ALL)
    seen = {unit.id for _, unit in index.scan(reading.where, limit=_ALL)}
    said = {unit.id: stems(unit.text) for _, unit in every}
    mean = sum(unit.text.count(" ") + 1 for _, unit in every) / max(len(every), 1)

    def bm25(unit: Unit, term: str) -> float:
        saying = sum(term in said[other.id] for _, other in every)
        rare = max(math.log((len(every) - saying + 0.5) / (saying + 0.5)), 1e-6)
        often = said[unit.id].count(term)
        length = (unit.text.count(" ") + 1) / mean
        return rare * often * 2.2 / (often + 1.2 * (0.6 + 0.4 * length)) if often else 0.0

    units = [unit for _, unit in every if unit.id in seen]
    cosine = {unit.id: max(cosines[i] - floor, 0.0) if cosines else 0.0 for i, (_, unit) in enumerate(every)}
    lexical = {unit.id: sum(bm25(unit, term) for term in reading.terms) for unit in units}
    near = {-2: weights.before_2, -1: weights.before_1, 1: weights.after_1, 2: weights.after_2}
    smooth_lexical, smooth_cosine, session = {}, {}, {}
    for unit in units:
        line = sorted((other for _, other in every if other.session == unit.session), key=lambda other: other.place)
        here = next(i for i, other in enumerate(line) if other.id == unit.id)
        smooth_lexical[unit.id], smooth_cosine[unit.id] = lexical[unit.id], cosine[unit.id]
        for offset, weight in near.items():
            other = line[here + offset].id if 0 <= here + offset < len(line) else ""
            if other in seen:
                smooth_lexical[unit.id] += weight * lexical[other]
                smooth_cosine[unit.id] += weights.dense_beside * cosine[other] * (abs(offset) == 1)
        together = [other for other in units if other.session == unit.session]
        best = sum(max(bm25(other, term) for other in together) for term in reading.terms)
        session[unit.id] = best if len(line) > 1 else 0.0
    share = weights.dense if cosines else 0.0
    named = {unit.actor for unit in units if _is_named(unit.actor, reading.terms)} or {reading.who}
    scores = {}
    for unit in units:
        score = (1 - share) * _over(smooth_lexical, unit) + share * _over(smooth_cosine, unit)
        score += weights.session * _over(session, unit)
        score += weights.length * math.log(1 + unit.text.count(" ") + 1)
        score -= weights.asks * unit.text.rstrip().endswith("?")
        if len(named) == 1 and unit.actor in named:
            score += weights.actor
        scores[unit.id] = score
    return scores


def _is_named(actor: str, terms: Sequence[str]) -> bool:
    if actor.startswith(("tool:", "world:", "document:")):
        return False
    name = [stem(word) for word in words(actor.rsplit(":", maxsplit=1)[-1])]
    return bool(name) and all(part in terms for part in name)


def _over(values: dict[str, float], unit: Unit) -> float:
    most = max(values.values(), default=0.0)
    return values[unit.id] / most if most > 1e-9 else 0.0
