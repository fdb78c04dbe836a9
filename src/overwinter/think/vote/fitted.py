"""The fitted vote: how much confidence counts is learnt from labelled questions, and is nothing where it does not help.

Each ballot weighs 1 + kappa·z or exp(kappa·z), z its confidence standardised inside the question; beside these the rules without
labels are candidates too. Which one, and kappa, is picked on labelled questions of the same kind; kappa = 0 is the plain
majority, which is what remains where the signal is useless or labels are few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.vote.ballot import Ballot, Outcome, count, majority, rated
from overwinter.think.vote.rules import RULES

KAPPAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Slopes tried, with lambda = 1; the last lets the surest decide nearly alone."""
WEIGHTS = ("linear", "exponential")
"""linear: max(1 + kappa·z, 0). exponential: exp(kappa·z), for which no ballot ever counts nothing."""
SHAPES = (*WEIGHTS, "top50", "top10", "mixture", "distri")
MIN_LABELLED = 50
VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedVote:
    """A vote with a learnt strength.

    Attributes:
        shape, kappa: how confidence becomes weight. kappa = 0 is the majority.
        labelled: questions it was fitted on; 0 for the majority by default.
        gain: held-out accuracy above the majority's, and `error` its standard error.
        reason: why it is as it is, in words.
    """

    shape: str = WEIGHTS[0]
    kappa: float = 0.0
    scope: Scope = field(default_factory=Scope)
    labelled: int = 0
    gain: float = 0.0
    error: float = 0.0
    reason: str = "not fitted"

    def __call__(self, ballots: Sequence[Ballot], scope: Scope | None = None) -> Outcome:
        """Vote. A foreign scope falls back to the majority and says so: a strength does not transfer."""
        differing = self.scope.differences(scope) if scope is not None else []
        if self.kappa == 0 or differing:
            found = majority(ballots)
            return Outcome(**{**_fields(found), "rule": "fitted: majority" + (", another scope" if differing else "")})
        scores: dict[str, float] = {}
        pairs = rated(ballots)
        if self.shape not in WEIGHTS:
            return Outcome(**{**_fields(RULES[self.shape](ballots)), "rule": f"fitted: {self.shape}"})
        if not pairs:
            found = majority(ballots)
            return Outcome(**{**_fields(found), "rule": "fitted: majority, no confidences"})
        for (answer, _), weight in zip(pairs, self._weights([value for _, value in pairs]), strict=True):
            scores[answer] = scores.get(answer, 0.0) + weight
        return count(scores, ballots, used=len(pairs), rule="fitted")

    def _weights(self, values: Sequence[float]) -> list[float]:
        centre = math.fsum(values) / len(values)
        spread = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
        z = [(value - centre) / spread if spread > 1e-12 else 0.0 for value in values]
        if self.shape == "exponential":
            top = max(z)
            return [math.exp(self.kappa * (each - top)) for each in z]
        return [max(1 + self.kappa * each, 0.0) for each in z]

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> FittedVote:
        """Raises UsageError for another version or unknown fields."""
        body = dict(raw)
        if body.pop("version", None) != VERSION:
            raise UsageError("this vote was fitted by another version", "fit it again on labelled questions")
        try:
            made = cls(scope=Scope(**body.pop("scope")), **body)
        except (TypeError, KeyError) as error:
            raise UsageError(f"this is no fitted vote: {error}", "give the file that fitting wrote") from error
        if made.shape not in SHAPES or made.kappa < 0:
            raise UsageError(
                f"unknown shape {made.shape!r} or negative kappa", f"use {', '.join(SHAPES)} and kappa ≥ 0"
            )
        return made


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """The ballots of one question whose right answer (in normal form) is known."""

    ballots: tuple[Ballot, ...]
    truth: str


def fit_vote(questions: Sequence[Labelled], scope: Scope, *, folds: int = 5) -> FittedVote:
    """Pick shape and strength on labelled questions; the majority unless a held-out gain exceeds its standard error.

    The strength is picked in each fold on the other folds and judged on that one, so that the gain reported is not the best of
    many on the same questions.
    """
    if len(questions) < MIN_LABELLED:
        reason = f"{len(questions)} labelled questions, {MIN_LABELLED} are needed: majority"
        return FittedVote(scope=scope, labelled=len(questions), reason=reason)
    options = [(shape, kappa) for shape in WEIGHTS for kappa in KAPPAS if kappa or shape == WEIGHTS[0]]
    # Behind the weights: of equally good ones the simpler is taken.
    options += [(shape, 1.0) for shape in SHAPES if shape not in WEIGHTS]
    right = {option: _right(option, questions) for option in options}
    base = right[WEIGHTS[0], 0.0]
    gains: list[float] = []
    for fold in range(folds):
        train = [i for i in range(len(questions)) if i % folds != fold]
        chosen = _best(right, train)
        gains += [right[chosen][i] - base[i] for i in range(fold, len(questions), folds)]
    gain = math.fsum(gains) / len(gains)
    error = math.sqrt(math.fsum((each - gain) ** 2 for each in gains) / (len(gains) - 1) / len(gains))
    if gain <= error:
        reason = f"confidence adds {100 * gain:+.1f} ± {100 * error:.1f} points held out: majority"
        return FittedVote(scope=scope, labelled=len(questions), gain=gain, error=error, reason=reason)
    shape, kappa = _best(right, range(len(questions)))
    return FittedVote(
        shape=shape,
        kappa=kappa,
        scope=scope,
        labelled=len(questions),
        gain=gain,
        error=error,
        reason=f"confidence adds {100 * gain:+.1f} ± {100 * error:.1f} points held out",
    )


def _right(option: tuple[str, float], questions: Sequence[Labelled]) -> list[float]:
    vote = FittedVote(shape=option[0], kappa=option[1])
    return [float(vote(question.ballots).answer == question.truth) for question in questions]


def _best(right: dict[tuple[str, float], list[float]], chosen: Sequence[int]) -> tuple[str, float]:
    """The first and weakest of those that are best on these questions."""
    return max(
        right, key=lambda option: (math.fsum(right[option][i] for i in chosen), option[0] in WEIGHTS, -option[1])
    )
