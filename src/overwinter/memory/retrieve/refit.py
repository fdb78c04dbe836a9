"""Fitting weights and relevance to what a namespace's questions turned out to need.

A use is a question with the units that helped to answer it, or with none where nothing did. Weights are found by coordinate
search on a part of the uses; the rest decides: what does not beat the present weights there is thrown away, and what falls below
BM25 alone there is replaced by BM25 alone. So feedback can help, and cannot ruin a memory that words would have served.

Further rounds are not refitted: `hop` and its parts stay as they are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from overwinter.errors import UsageError
from overwinter.memory.index import Index
from overwinter.memory.retrieve.fusion import fuse, ranked
from overwinter.memory.retrieve.logistic import fit_logistic
from overwinter.memory.retrieve.question import Question
from overwinter.memory.retrieve.relevance import Calibration, signs_of_answer, signs_of_hit
from overwinter.memory.retrieve.searcher import CALIBRATION_NOTE, WEIGHTS_NOTE, Searcher, Weighed
from overwinter.memory.retrieve.weights import WORDS_ALONE, Weights

LEAST_USES = 30
"""With fewer uses that have an answer, a fit would follow chance."""

_HELD_OUT = 3  # every third use
_CUTS = (5, 10, 20)
_STEPS = (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2)
_SMALL_STEPS = (-0.04, -0.02, 0.02, 0.04)
_FITTED = (
    "dense", "session", "before_1", "after_1", "before_2", "after_2", "dense_beside", "actor", "time", "claim",
)  # fmt: skip
_FITTED_SMALL = ("length", "asks", "when", "recent")
_HITS_JUDGED = 10
_LEAST_GAIN = 1e-6
_HIGHEST = 0.99
"""A threshold above it would come of uses that were all alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A question and the ids of the units that answered it; none where the memory had no answer."""

    question: Question
    relevant: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What a refit found.

    Attributes:
        weights: to be used from now on.
        reason: why those: "fitted", "kept", "words alone", "too few uses".
        before, after, words: mean recall (at 5, 10 and 20) on the held-out uses of the present weights, of these, of BM25 alone.
    """

    weights: Weights
    reason: str
    before: float = 0.0
    after: float = 0.0
    words: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    weighed: Weighed
    gold: frozenset[int]


def refit_weights(searcher: Searcher, uses: Sequence[Use], rounds: int = 2) -> Fit:
    """Weights for this searcher's index. Nothing is stored: see `keep`."""
    present = searcher.weights()
    answered = sorted((use for use in uses if use.relevant), key=_shuffled)
    if len(answered) < LEAST_USES:
        return Fit(weights=present, reason="too few uses")
    cases = _cases(searcher, answered)
    held_out = [case for i, case in enumerate(cases) if i % _HELD_OUT == 0]
    fitting = [case for i, case in enumerate(cases) if i % _HELD_OUT]
    found = search_weights(lambda weights: _recall(fitting, weights), present, rounds)
    before, after, words = (_recall(held_out, weights) for weights in (present, found, WORDS_ALONE))
    best, reason = (found, "fitted") if after > before else (present, "kept")
    if max(before, after) < words:
        best, reason = WORDS_ALONE, "words alone"
    return Fit(weights=best, reason=reason, before=before, after=max(before, after, words), words=words)


def search_weights(score: Callable[[Weights], float], start: Weights, rounds: int = 2) -> Weights:
    """Coordinate search: one weight after the other moves to where the score is best, a few times over."""
    best, best_score = start, score(start)
    for _ in range(rounds):
        before = best_score
        for name, steps in [(name, _STEPS) for name in _FITTED] + [(name, _SMALL_STEPS) for name in _FITTED_SMALL]:
            origin = getattr(best, name)
            for step in steps:
                value = round(min(max(origin + step, 0.0), 1.0 if name == "dense" else 2.0), 4)
                tried = replace(best, **{name: value})
                if tried != best and (reached := score(tried)) > best_score + _LEAST_GAIN:
                    best, best_score = tried, reached
        if best_score <= before + _LEAST_GAIN:
            break
    return best


def refit_calibration(searcher: Searcher, uses: Sequence[Use], most_lost: float = 0.01) -> Calibration:
    """Both models of relevance, and the threshold below which at most `most_lost` of the answerable uses fall.

    Raises:
        UsageError: there are fewer than LEAST_USES uses with an answer, or without.
    """
    answerable = sum(bool(use.relevant) for use in uses)
    if min(answerable, len(uses) - answerable) < LEAST_USES:
        raise UsageError(
            f"{answerable} uses with an answer and {len(uses) - answerable} without are too few to fit on",
            f"collect {LEAST_USES} of each first",
        )
    judged = [
        judge(case.weighed, case.gold, bool(use.relevant))
        for use, case in zip(uses, _cases(searcher, uses), strict=True)
    ]
    return fit_calibration(judged, most_lost)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What relevance is learnt from: the signs of an answer and whether there was one; for each hit its signs and whether it helped.

    `answer` is None where nothing was found, so that there is nothing to judge.
    """

    answer: tuple[float, ...] | None
    has_answer: bool
    hits: tuple[tuple[tuple[float, ...], bool], ...]


def judge(weighed: Weighed, gold: frozenset[int], has_answer: bool) -> Judged:
    """`gold`: rows of the units that answer; empty where they are not known, and hits teach nothing."""
    if not weighed.order:
        return Judged(answer=None, has_answer=has_answer, hits=())
    answer = signs_of_answer(weighed.order, weighed.entries, weighed.reading, weighed.corpus, weighed.signs)
    hits = tuple(
        (signs_of_hit(place, weighed.order, weighed.entries, weighed.corpus, weighed.signs), each.entry.row in gold)
        for place, each in enumerate(weighed.order[:_HITS_JUDGED] if gold else ())
    )
    return Judged(answer=answer, has_answer=has_answer, hits=hits)


def fit_calibration(judged: Sequence[Judged], most_lost: float = 0.01) -> Calibration:
    """See `refit_calibration`."""
    answers = [(each.answer, each.has_answer) for each in judged if each.answer is not None]
    answer = fit_logistic(answers, even=True)
    hit = fit_logistic([pair for each in judged for pair in each.hits])
    reached = sorted(answer(signs) for signs, has_answer in answers if has_answer)
    # Rounded down, or the use that sets it would fall below it.
    threshold = math.floor(reached[int(most_lost * len(reached))] * 1e4) / 1e4
    return Calibration(answer=answer, hit=hit, threshold=min(threshold, _HIGHEST))


def keep(index: Index, *, weights: Weights | None = None, calibration: Calibration | None = None) -> None:
    """Store fitted numbers as the index's own. They are derived: dropping the index drops them."""
    with index.transaction():
        if weights:
            index.set_note(WEIGHTS_NOTE, weights.to_json())
        if calibration:
            index.set_note(CALIBRATION_NOTE, calibration.to_json())


def forget(index: Index) -> None:
    """Go back to the numbers that come with the package."""
    with index.transaction():
        index.set_note(WEIGHTS_NOTE, b"")
        index.set_note(CALIBRATION_NOTE, b"")


def _shuffled(use: Use) -> bytes:
    """An order that has nothing to do with when the uses came."""
    return hashlib.sha256(use.question.text.encode()).digest()


def _cases(searcher: Searcher, uses: Sequence[Use]) -> list[_Case]:
    return [
        _Case(weighed=searcher.weigh(use.question), gold=frozenset(searcher.index.rows(sorted(use.relevant))))
        for use in uses
    ]


def _recall(cases: Sequence[_Case], weights: Weights) -> float:
    """Mean over cases and cuts of the share of relevant units among the best."""
    total = 0.0
    for case in cases:
        weighed = case.weighed
        order = ranked(fuse(weighed.entries, weighed.reading, weighed.signs, weights))
        rows = [each.entry.row for each in order[: max(_CUTS)]]
        total += sum(len(case.gold.intersection(rows[:cut])) / len(case.gold) for cut in _CUTS) / len(_CUTS)
    return total / len(cases)
