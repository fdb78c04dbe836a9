"""Logistic regression by Newton's method, for a handful of weights. No dependency: what a run needs to calibrate itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

ITERATIONS = 60
TOLERANCE = 1e-10


def fit_logistic(
    rows: Sequence[Sequence[float]],
    labels: Sequence[float],
    *,
    ridge: float,
    offset: Sequence[float] | None = None,
) -> list[float]:
    """Weights [width] that minimise mean log loss + ridge/2 · |weights|² of sigmoid(row · weights + offset).

    Each step is halved until the loss does not rise, so separable data end at the ridge instead of diverging.
    """
    width = len(rows[0])
    base = list(offset) if offset is not None else [0.0] * len(rows)
    weights = [0.0] * width
    # Without any ridge separable data have no minimum; this one is too small to be seen elsewhere.
    ridge = max(ridge, 1e-9)
    loss = _loss(rows, labels, weights, base, ridge)
    for _ in range(ITERATIONS):
        gradient, curvature = _derivatives(rows, labels, weights, base, ridge)
        step = solve(curvature, gradient)
        scale = 1.0
        while scale > 1e-6:
            tried = [w - scale * s for w, s in zip(weights, step, strict=True)]
            new = _loss(rows, labels, tried, base, ridge)
            if new <= loss:
                break
            scale /= 2
        else:
            return weights
        moved = max(abs(scale * s) for s in step)
        weights, loss = tried, new
        if moved < TOLERANCE:
            break
    return weights


def _score(row: Sequence[float], weights: Sequence[float], base: float) -> float:
    return base + sum(x * w for x, w in zip(row, weights, strict=True))


def _loss(
    rows: Sequence[Sequence[float]],
    labels: Sequence[float],
    weights: Sequence[float],
    base: Sequence[float],
    ridge: float,
) -> float:
    total = 0.0
    for row, label, start in zip(rows, labels, base, strict=True):
        z = _score(row, weights, start)
        total += max(z, 0.0) + math.log1p(math.exp(-abs(z))) - label * z
    return total / len(rows) + ridge / 2 * sum(w * w for w in weights)


def _derivatives(
    rows: Sequence[Sequence[float]],
    labels: Sequence[float],
    weights: Sequence[float],
    base: Sequence[float],
    ridge: float,
) -> tuple[list[float], list[list[float]]]:
    width, count = len(weights), len(rows)
    gradient = [ridge * w for w in weights]
    curvature = [[ridge * (i == j) for j in range(width)] for i in range(width)]
    for row, label, start in zip(rows, labels, base, strict=True):
        z = max(min(_score(row, weights, start), 500.0), -500.0)
        chance = 1 / (1 + math.exp(-z))
        error, weight = (chance - label) / count, chance * (1 - chance) / count
        for i in range(width):
            gradient[i] += error * row[i]
            for j in range(i + 1):
                curvature[i][j] += weight * row[i] * row[j]
    for i in range(width):
        for j in range(i):
            curvature[j][i] = curvature[i][j]
    return gradient, curvature


def solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The solution of a small symmetric system, by elimination with pivots."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    width = len(rows)
    for column in range(width):
        pivot = max(range(column, width), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for i in range(column + 1, width):
            factor = rows[i][column] / rows[column][column]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    found = [0.0] * width
    for i in reversed(range(width)):
        known = sum(rows[i][j] * found[j] for j in range(i + 1, width))
        found[i] = (rows[i][width] - known) / rows[i][i]
    return found
