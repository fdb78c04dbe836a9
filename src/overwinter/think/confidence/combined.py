"""Several signals as one probability: ridge logistic regression on standardised signals, with an indicator where one is missing.

    chance = sigmoid(bias + Σ w_i · (x_i − mean_i) / deviation_i + Σ m_j · missing_j)

A missing signal counts as its mean, and says that it is missing; nothing is filled in silently. The sign of a weight may be held, so that a
signal of confidence can never count against itself ("monotone"). Like a calibrator of one score it carries the scope it was
fitted in and refuses another. Fitting and applying need no dependency; widths of a few dozen are meant.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.logistic import fit_logistic

FORMAT_VERSION = 1
MIN_LABELS = 100
RIDGE = 1e-3
SPREAD = 5.0
"""Signals are cut at so many deviations: what was never met in fitting must not shout."""

Signals = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Combined:
    """A fitted combination.

    Attributes:
        names: the signals, in the order of the numbers below.
        means, deviations, weights: of the standardised signals.
        missing: weight of each signal's absence.
        labels, base_rate: how many outcomes it was fitted on, and their share of good ones.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    missing: tuple[float, ...]
    bias: float
    scope: Scope
    labels: int
    base_rate: float
    notes: tuple[str, ...] = ()

    def apply(self, signals: Signals, scope: Scope) -> float:
        """The probability. Raises UsageError outside the scope it was fitted in."""
        differing = self.scope.differences(scope)
        if differing:
            raise UsageError(
                f"this calibrator was fitted elsewhere: {'; '.join(differing)}",
                "fit one on labelled runs of this kind with `overwinter bench calibration RUNS --fit FILE`",
            )
        return self.probability(signals)

    def probability(self, signals: Signals) -> float:
        """`apply` without the look at the scope."""
        row = [*standardised(signals, self.names, self.means, self.deviations), *_absent(signals, self.names)]
        score = self.bias + math.fsum(x * w for x, w in zip(row, (*self.weights, *self.missing), strict=True))
        return 1 / (1 + math.exp(-score)) if score >= 0 else math.exp(score) / (1 + math.exp(score))

    def to_json(self) -> dict[str, Any]:
        raw = asdict(self)
        return {"format_version": FORMAT_VERSION, "method": "combined", **{k: _plain(v) for k, v in raw.items()}}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Combined:
        """Raises UsageError for another version or unknown fields."""
        body = dict(raw)
        version, method = body.pop("format_version", None), body.pop("method", None)
        if version != FORMAT_VERSION or method != "combined":
            raise UsageError(f"a combination of format {version}; this program reads {FORMAT_VERSION}", "fit it again")
        try:
            scope = Scope(**body.pop("scope"))
            numbers: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
            return cls(scope=scope, **numbers)
        except (TypeError, KeyError) as error:
            raise UsageError(f"this is not a combination: {error}", "give the file that `--fit` wrote") from error


def fit_combined(
    rows: Sequence[Signals],
    good: Sequence[float],
    scope: Scope,
    *,
    names: Sequence[str],
    rising: Collection[str] = (),
    ridge: float = RIDGE,
) -> Combined:
    """Fit on labelled decisions or runs.

    Args:
        rows: signals of each. good: its outcome, 0 or 1.
        rising: signals that may only raise the probability; a weight that comes out below 0 is taken out and the rest fitted again.

    Raises:
        UsageError: fewer than `MIN_LABELS`, or one class only.
    """
    if len(rows) != len(good) or len(rows) < MIN_LABELS:
        raise UsageError(
            f"a combination needs {MIN_LABELS} labelled rows, {len(rows)} rows and {len(good)} labels are there",
            "label more, or calibrate one signal by itself",
        )
    if len(set(good)) < 2:
        raise UsageError("all outcomes are the same", "label some that are right and some that are wrong")
    kept = [name for name in names if any(name in row for row in rows)]
    while True:
        made = _fit(rows, good, scope, kept, ridge)
        turned = {name for name, w in zip(made.names, made.weights, strict=True) if name in rising and w < 0}
        if not turned:
            return made
        kept = [name for name in kept if name not in turned]


def _fit(rows: Sequence[Signals], good: Sequence[float], scope: Scope, names: list[str], ridge: float) -> Combined:
    means, deviations = standard(rows, names)
    inputs = [[*standardised(row, names, means, deviations), *_absent(row, names), 1.0] for row in rows]
    weights = fit_logistic(inputs, good, ridge=ridge)
    return Combined(
        names=tuple(names),
        means=tuple(means),
        deviations=tuple(deviations),
        weights=tuple(weights[: len(names)]),
        missing=tuple(weights[len(names) : -1]),
        bias=weights[-1],
        scope=scope,
        labels=len(rows),
        base_rate=math.fsum(good) / len(good),
    )


def standard(rows: Sequence[Signals], names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Mean and deviation of each signal over the rows that have it; a deviation of 0 counts as 1."""
    columns = [[row[name] for row in rows if name in row] for name in names]
    means = [math.fsum(column) / len(column) for column in columns]
    spreads = [math.fsum((x - m) ** 2 for x in c) / len(c) for c, m in zip(columns, means, strict=True)]
    return means, [math.sqrt(spread) or 1.0 for spread in spreads]


def standardised(
    signals: Signals, names: Sequence[str], means: Sequence[float], deviations: Sequence[float]
) -> list[float]:
    """The standardised signals, cut at `SPREAD`; 0.0 for one that is missing."""
    return [
        min(max((signals[name] - mean) / deviation, -SPREAD), SPREAD) if name in signals else 0.0
        for name, mean, deviation in zip(names, means, deviations, strict=True)
    ]


def _absent(signals: Signals, names: Sequence[str]) -> list[float]:
    return [float(name not in signals) for name in names]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
