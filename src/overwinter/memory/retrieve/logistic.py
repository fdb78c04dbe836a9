"""Logistic regression by Newton's method, for a handful of signs: a page of Python, so that the light install can refit too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from overwinter.memory.retrieve.relevance import Logistic

_RIDGE = 1.0
_ROUNDS = 30
_CLOSE = 1e-8


def fit_logistic(examples: Sequence[tuple[Sequence[float], bool]], *, even: bool = False) -> Logistic:
    """The most likely model under a ridge of 1 on standardised signs.

    Args:
        examples: at least one; signs and whether what they belong to was relevant.
        even: weigh the examples so that both kinds count as much together: for a probability before which both are as likely.
    """
    count = len(examples[0][0])
    means = [math.fsum(signs[i] for signs, _ in examples) / len(examples) for i in range(count)]
    spreads = [
        math.sqrt(math.fsum((signs[i] - means[i]) ** 2 for signs, _ in examples) / len(examples)) or 1.0
        for i in range(count)
    ]
    rows = [[(sign - m) / s for sign, m, s in zip(signs, means, spreads, strict=True)] + [1.0] for signs, _ in examples]
    truths = [float(relevant) for _, relevant in examples]
    positive = sum(truths)
    balance = [
        len(truths) / (2 * (positive if truth else len(truths) - positive))
        if even and 0 < positive < len(truths)
        else 1.0
        for truth in truths
    ]
    weights = [0.0] * (count + 1)
    for _ in range(_ROUNDS):
        step = _newton_step(rows, truths, balance, weights)
        weights = [weight - change for weight, change in zip(weights, step, strict=True)]
        if max(abs(change) for change in step) < _CLOSE:
            break
    slopes = [weight / spread for weight, spread in zip(weights[:-1], spreads, strict=True)]
    bias = weights[-1] - sum(slope * mean for slope, mean in zip(slopes, means, strict=True))
    return Logistic(weights=tuple(round(slope, 4) for slope in slopes), bias=round(bias, 4))


def _newton_step(
    rows: Sequence[Sequence[float]], truths: Sequence[float], balance: Sequence[float], weights: Sequence[float]
) -> list[float]:
    size = len(weights)
    gradient = [_RIDGE * weight for weight in weights[:-1]] + [0.0]
    hessian = [[(_RIDGE if i == j and i < size - 1 else 0.0) for j in range(size)] for i in range(size)]
    for row, truth, share in zip(rows, truths, balance, strict=True):
        total = sum(weight * sign for weight, sign in zip(weights, row, strict=True))
        chance = 1 / (1 + math.exp(-max(-40.0, min(40.0, total))))
        slack = share * chance * (1 - chance)
        for i in range(size):
            gradient[i] += share * (chance - truth) * row[i]
            for j in range(i + 1):
                hessian[i][j] += slack * row[i] * row[j]
    for i in range(size):
        hessian[i][i] += 1e-9
        for j in range(i):
            hessian[j][i] = hessian[i][j]
    return _solve(hessian, gradient)


def _solve(matrix: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Gaussian elimination with pivots."""
    size = len(right)
    rows = [[*matrix[i], right[i]] for i in range(size)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda j: abs(rows[j][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for j in range(i + 1, size):
            factor = rows[j][i] / rows[i][i]
            for column in range(i, size + 1):
                rows[j][column] -= factor * rows[i][column]
    solution = [0.0] * size
    for i in reversed(range(size)):
        known = sum(rows[i][j] * solution[j] for j in range(i + 1, size))
        solution[i] = (rows[i][size] - known) / rows[i][i]
    return solution
