"""From a score to a probability: fitted on labelled questions of one kind, and refused outside of it.

A calibrator does not transfer: fitted on two question sets and applied to a third, calibration errors of 0.2 to 0.6 were
measured, worse than the raw score in most cells. So each carries the scope it was fitted in, and `apply` refuses another.

Applying and fitting need no dependency. Sources: Platt 1999; Guo et al. 2017 (arXiv 1706.04599) for temperature; Kull et al. 2017
(beta calibration); Zadrozny & Elkan 2002 (isotonic).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from overwinter.errors import UsageError
from overwinter.think.confidence.logistic import fit_logistic

FORMAT_VERSION = 1
EDGE = 1e-6
MIN_SLOPE = 1e-3
"""A fitted slope below this says that more confidence means less accuracy. It is held here: an order is never turned round."""
PRIOR_LABELS = 2.0
MIN_LABELS: Mapping[str, int] = {
    "temperature": 30,
    "platt": 30,
    "score": 30,
    "beta": 50,
    "histogram": 30,
    "isotonic": 500,
}
RIDGE = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What a calibrator was fitted on, and may be applied to. Each field is compared for equality.

    Attributes:
        model, revision: whose confidence; a quantised copy is another revision.
        prompt: version or hash of the prompt that asks.
        task: family of questions.
        tools: the tools at hand, in words or as a fingerprint.
        language: of the questions.
        signal: which confidence ("stated", "sequence", "tail", "vote", …).
    """

    model: str = ""
    revision: str = ""
    prompt: str = ""
    task: str = ""
    tools: str = ""
    language: str = ""
    signal: str = ""

    def differences(self, other: Scope) -> list[str]:
        mine, theirs = asdict(self), asdict(other)
        return [f"{name} {theirs[name]!r} instead of {mine[name]!r}" for name in mine if mine[name] != theirs[name]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibrator:
    """A fitted map from scores to probabilities.

    Attributes:
        method: a key of `METHODS`.
        parameters: numbers of the method, plain JSON.
        labels: how many outcomes it was fitted on.
        base_rate: their share correct.
        order_held: False where the data would have turned the order round, and the slope was held instead.
    """

    method: str
    parameters: dict[str, Any]
    scope: Scope
    labels: int
    base_rate: float
    order_held: bool = True
    notes: tuple[str, ...] = field(default=())

    def apply(self, score: float, scope: Scope) -> float:
        """The probability that an answer with this score is right. Raises UsageError outside the scope it was fitted in."""
        differing = self.scope.differences(scope)
        if differing:
            raise UsageError(
                f"this calibrator was fitted elsewhere: {'; '.join(differing)}",
                "fit one on labelled questions of this kind with `overwinter bench calibration RUNS --fit`, or use the raw order",
            )
        return self.probability(score)

    def probability(self, score: float) -> float:
        """`apply` without the look at the scope: for evaluation on the set it was fitted in."""
        return METHODS[self.method].apply(self.parameters, score)

    def to_json(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, **asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Calibrator:
        """Raises UsageError for another version, an unknown method or unknown fields."""
        body = dict(raw)
        version = body.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise UsageError(f"a calibrator of format {version}; this program reads {FORMAT_VERSION}", "fit it again")
        try:
            scope = Scope(**body.pop("scope"))
            made = cls(scope=scope, notes=tuple(body.pop("notes", ())), **body)
        except (TypeError, KeyError) as error:
            raise UsageError(f"this is not a calibrator: {error}", "give the file that `--fit` wrote") from error
        if made.method not in METHODS:
            raise UsageError(f"unknown method {made.method!r}", f"use: {', '.join(METHODS)}")
        return made


def fit(method: str, scores: Sequence[float], correct: Sequence[float], scope: Scope) -> Calibrator:
    """Fit on labelled questions: one score and one outcome (0 or 1) each.

    Raises:
        UsageError: too few labels for the method, one class only, or scores that are no probabilities where it needs some.
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}", f"use: {', '.join(METHODS)}")
    if len(scores) != len(correct):
        raise UsageError(f"{len(scores)} scores and {len(correct)} outcomes", "give one outcome for each score")
    need = MIN_LABELS.get(method, 30)
    if len(scores) < need:
        raise UsageError(
            f"{method} calibration needs {need} labels, {len(scores)} are there",
            "label more questions; until then only the order of the scores means something",
        )
    if len(set(correct)) < 2:
        raise UsageError("all outcomes are the same", "label questions of which some are right and some are wrong")
    made = METHODS[method]
    if made.bounded and not all(0 <= score <= 1 for score in scores):
        raise UsageError(
            f"{method} calibration needs scores from 0 to 1", "use method=score for scores on another scale"
        )
    parameters, held = made.fit(scores, correct)
    base = sum(correct) / len(correct)
    return Calibrator(
        method=method, parameters=parameters, scope=scope, labels=len(scores), base_rate=base, order_held=held
    )


def prior_shift(probability: float, *, fitted: float, now: float) -> float:
    """A probability under another base rate: what may still be said of a calibrator where only the mix of right and wrong
    changed. Rates in (0, 1)."""
    if not (0 < fitted < 1 and 0 < now < 1):
        raise UsageError(f"base rates {fitted} and {now} must lie between 0 and 1", "give shares of right answers")
    return _sigmoid(_logit(probability) + _logit(now) - _logit(fitted))


def _logit(probability: float) -> float:
    held = min(max(probability, EDGE), 1 - EDGE)
    return math.log(held) - math.log1p(-held)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


Fitted = tuple[dict[str, Any], bool]


def _fit_temperature(scores: Sequence[float], correct: Sequence[float]) -> Fitted:
    (slope,) = fit_logistic([[_logit(s)] for s in scores], correct, ridge=0.0)
    return {"temperature": 1 / max(slope, MIN_SLOPE)}, slope >= MIN_SLOPE


def _fit_line(inputs: Sequence[float], correct: Sequence[float]) -> tuple[float, float, bool]:
    slope, bias = fit_logistic([[value, 1.0] for value in inputs], correct, ridge=RIDGE)
    if slope >= MIN_SLOPE:
        return slope, bias, True
    (bias,) = fit_logistic([[1.0] for _ in inputs], correct, ridge=0.0, offset=[MIN_SLOPE * value for value in inputs])
    return MIN_SLOPE, bias, False


def _fit_platt(scores: Sequence[float], correct: Sequence[float]) -> Fitted:
    slope, bias, held = _fit_line([_logit(s) for s in scores], correct)
    return {"slope": slope, "bias": bias}, held


def _fit_score(scores: Sequence[float], correct: Sequence[float]) -> Fitted:
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores)) or 1.0
    slope, bias, held = _fit_line([(s - mean) / deviation for s in scores], correct)
    return {"mean": mean, "deviation": deviation, "slope": slope, "bias": bias}, held


def _fit_beta(scores: Sequence[float], correct: Sequence[float]) -> Fitted:
    held = [min(max(s, EDGE), 1 - EDGE) for s in scores]
    rows = [[math.log(s), -math.log1p(-s), 1.0] for s in held]
    kept = [0, 1, 2]
    weights = fit_logistic(rows, correct, ridge=RIDGE)
    while any(weight < 0 for column, weight in zip(kept, weights, strict=True) if column < 2):
        # One that is negative would turn the order round at its end of the scale; it is left out, the other fitted again.
        worst = min((weight, column) for column, weight in zip(kept, weights, strict=True) if column < 2)[1]
        kept.remove(worst)
        weights = fit_logistic([[row[column] for column in kept] for row in rows], correct, ridge=RIDGE)
    found = dict(zip(kept, weights, strict=True))
    return {"a": found.get(0, 0.0), "b": found.get(1, 0.0), "m": found[2]}, 0 in found or 1 in found


def _apply_beta(parameters: Mapping[str, Any], score: float) -> float:
    held = min(max(score, EDGE), 1 - EDGE)
    return _sigmoid(parameters["a"] * math.log(held) - parameters["b"] * math.log1p(-held) + parameters["m"])


def _fit_isotonic(scores: Sequence[float], correct: Sequence[float]) -> Fitted:
    """Pool adjacent violators: the closest non-decreasing steps."""
    totals: dict[float, list[float]] = {}
    for score, outcome in zip(scores, correct, strict=True):
        row = totals.setdefault(score, [0.0, 0.0])
        row[0], row[1] = row[0] + outcome, row[1] + 1
    blocks: list[tuple[float, float, float]] = []
    for score in sorted(totals):
        start, right, count = score, *totals[score]
        while blocks and blocks[-1][1] / blocks[-1][2] >= right / count:
            start, right, count = blocks[-1][0], blocks[-1][1] + right, blocks[-1][2] + count
            blocks.pop()
        blocks.append((start, right, count))
    return {"from": [b[0] for b in blocks], "probability": [b[1] / b[2] for b in blocks]}, len(blocks) > 1


def _apply_isotonic(parameters: Mapping[str, Any], score: float) -> float:
    place = max(bisect_right(parameters["from"], score) - 1, 0)
    return float(parameters["probability"][place])


def _fit_histogram(scores: Sequence[float], correct: Sequence[float], bins: int = 10) -> Fitted:
    """Share correct by bin, each bin with the weight of two labels of the base rate beside its own."""
    base = sum(correct) / len(correct)
    hits, counts = [0.0] * bins, [0] * bins
    for score, outcome in zip(scores, correct, strict=True):
        place = min(int(score * bins), bins - 1)
        hits[place], counts[place] = hits[place] + outcome, counts[place] + 1
    values = [(h + PRIOR_LABELS * base) / (n + PRIOR_LABELS) for h, n in zip(hits, counts, strict=True)]
    return {"probability": values}, True


def _apply_histogram(parameters: Mapping[str, Any], score: float) -> float:
    bins = len(parameters["probability"])
    return float(parameters["probability"][min(int(score * bins), bins - 1)])


def _apply_score(parameters: Mapping[str, Any], score: float) -> float:
    return _sigmoid(parameters["slope"] * (score - parameters["mean"]) / parameters["deviation"] + parameters["bias"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One way to calibrate: how it is fitted, how it is applied, and whether scores have to lie in 0..1."""

    fit: Callable[[Sequence[float], Sequence[float]], Fitted]
    apply: Callable[[Mapping[str, Any], float], float]
    bounded: bool = True


METHODS: Mapping[str, Method] = {
    "temperature": Method(fit=_fit_temperature, apply=lambda p, s: _sigmoid(_logit(s) / p["temperature"])),
    "platt": Method(fit=_fit_platt, apply=lambda p, s: _sigmoid(p["slope"] * _logit(s) + p["bias"])),
    "beta": Method(fit=_fit_beta, apply=_apply_beta),
    "isotonic": Method(fit=_fit_isotonic, apply=_apply_isotonic),
    "histogram": Method(fit=_fit_histogram, apply=_apply_histogram),
    "score": Method(fit=_fit_score, apply=_apply_score, bounded=False),
}
"""Platt is the default from 30 labels on; `score` is Platt for confidences on a scale of their own (mean negative log-probs)."""
