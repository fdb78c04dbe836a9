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


# The features of a run, from their definitions (trajectory.py)


def trajectory_features(steps: Sequence[tuple[Values, Values]]) -> list[float]:
    """In the order of `trajectory.NAMES`; steps as (top-1, top-k) confidences of their tokens."""
    shapes = [_step_shape(top1, topk) for top1, topk in steps]
    made: list[float] = []
    for line in (5, 6):
        moves = [shapes[t + 1][line] - shapes[t][line] for t in range(len(shapes) - 1)]
        made += [*_four(moves), moves[-1] - moves[0] if len(steps) >= 3 else 0.0]
    made += _four([top1[i + 1] - top1[i] for top1, _ in steps for i in range(len(top1) - 1)])
    for column in (0, 1, 2):
        values = [shape[column] for shape in shapes]
        made.append(_deviation(values) / _average(values) if abs(_average(values)) > 1e-12 else 0.0)
    made += [shapes[-1][line] - shapes[0][line] for line in (5, 6)]
    made += [*shapes[0], *shapes[-1]]
    for column in range(5):
        values = [shape[column] for shape in shapes]
        made += [_average(values), _deviation(values)]
    counts = [float(len(top1)) for top1, _ in steps]
    return [*made, len(steps) / 10, counts[0], counts[-1], _average(counts), _deviation(counts)]


def _step_shape(top1: Values, topk: Values) -> list[float]:
    """Entropy, concentration, spread, volatility, skewness, mean top-1 and mean top-k confidence."""
    parts = [value / sum(top1) for value in top1]
    mean, deviation = _average(top1), _deviation(top1)
    third = _average([(value - mean) ** 3 for value in top1])
    skewness = third / deviation**3 if abs(deviation**3) > 1e-12 else 0.0
    spread = deviation / mean
    entropy = -sum(part * math.log(part) for part in parts if part > 0)
    return [entropy, max(top1) / mean, spread, spread, skewness, mean, _average(topk)]


def _four(values: Values) -> list[float]:
    return [_average(values), _deviation(values), max(values), min(values)] if values else [0.0, 0.0, 0.0, 0.0]


def _average(values: Values) -> float:
    return sum(values) / len(values)


def _deviation(values: Values) -> float:
    return math.sqrt(sum((value - _average(values)) ** 2 for value in values) / len(values))


def penalised_logistic(
    rows: Sequence[Values], labels: Values, *, lasso: bool, strength: float, rounds: int = 20000
) -> list[float]:
    """Weights, then the bias, by proximal gradient steps: slow and without cleverness.

    A step may be as long as 1 / (C · Σ |row|² / 4), the bound of the curvature.
    """
    width = len(rows[0])
    inputs = [[*row, 1.0] for row in rows]
    size = 1 / (strength * sum(sum(x * x for x in row) for row in inputs) / 4 + (0.0 if lasso else 1.0))
    weights = [0.0] * (width + 1)
    for _ in range(rounds):
        gradient = [0.0] * (width + 1)
        for row, label in zip(inputs, labels, strict=True):
            chance = 1 / (1 + math.exp(-sum(x * w for x, w in zip(row, weights, strict=True))))
            for j, x in enumerate(row):
                gradient[j] += strength * (chance - label) * x
        for j in range(width + 1):
            if j < width and not lasso:
                gradient[j] += weights[j]
            moved = weights[j] - size * gradient[j]
            if j < width and lasso:
                moved = math.copysign(max(abs(moved) - size, 0.0), moved)
            weights[j] = moved
    return weights
