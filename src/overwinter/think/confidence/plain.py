"""The metrics again, from their definitions, without arrays: slow, and easy to check against a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

Values = Sequence[float]


def ece(confidence: Values, correct: Values, bins: int = 10) -> float:
    members: dict[int, list[int]] = {}
    for place, value in enumerate(confidence):
        members.setdefault(min(math.floor(value * bins), bins - 1), []).append(place)
    total = 0.0
    for rows in members.values():
        gap = sum(correct[row] - confidence[row] for row in rows) / len(rows)
        total += len(rows) / len(confidence) * abs(gap)
    return total


def brier(confidence: Values, correct: Values) -> float:
    return sum((c - y) ** 2 for c, y in zip(confidence, correct, strict=True)) / len(confidence)


def auroc(confidence: Values, correct: Values) -> float | None:
    pairs = [
        (right > wrong) + 0.5 * (right == wrong)
        for right, y in zip(confidence, correct, strict=True)
        if y == 1
        for wrong, z in zip(confidence, correct, strict=True)
        if z == 0
    ]
    return sum(pairs) / len(pairs) if pairs else None


def aurc(confidence: Values, correct: Values) -> float:
    """Risk at every coverage, members of a tie standing for their mean."""
    order = sorted(range(len(confidence)), key=lambda row: -confidence[row])
    errors, risks = 0.0, []
    for count, row in enumerate(order, 1):
        tied = [1 - correct[other] for other in order if confidence[other] == confidence[row]]
        errors += sum(tied) / len(tied)
        risks.append(errors / count)
    return sum(risks) / len(risks)


def failure_auprc(confidence: Values, correct: Values) -> float | None:
    failures = sum(1 - y for y in correct)
    if not failures:
        return None
    total = 0.0
    for value in sorted(set(confidence)):
        kept = [y for c, y in zip(confidence, correct, strict=True) if c <= value]
        here = sum(1 - y for c, y in zip(confidence, correct, strict=True) if c == value)
        total += sum(1 - y for y in kept) / len(kept) * here
    return total / failures


def coverage_at_risk(confidence: Values, correct: Values, risk: float) -> float:
    best = 0.0
    for value in set(confidence):
        kept = [y for c, y in zip(confidence, correct, strict=True) if c >= value]
        if sum(1 - y for y in kept) / len(kept) <= risk:
            best = max(best, len(kept) / len(confidence))
    return best


def kendall_tau(confidence: Values, turns: Values) -> float | None:
    agree = rises = orders = 0
    for later in range(len(confidence)):
        for earlier in range(later):
            rise = _sign(confidence[later] - confidence[earlier])
            order = _sign(turns[later] - turns[earlier])
            agree, rises, orders = agree + rise * order, rises + abs(rise), orders + abs(order)
    return agree / math.sqrt(rises * orders) if rises * orders else None


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
