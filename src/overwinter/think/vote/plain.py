"""The mixture again, one number at a time: the slow twin of `rules.mixture`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from overwinter.think.vote.rules import FLOOR, ITERATIONS, STARTS, TOLERANCE, Mixture


def mixture(values: Sequence[float]) -> Mixture:
    """Two normal components by EM, the likeliest of all starts. All starts go on until none gains any more."""
    centre = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / len(values))
    order = sorted(values)
    runs = [_Em([order[int(a * (len(order) - 1))], order[int(b * (len(order) - 1))]], spread) for a, b in STARTS]
    for _ in range(ITERATIONS):
        gains = [run.expect(values) for run in runs]
        if all(gain < TOLERANCE * len(values) for gain in gains):
            break
        for run in runs:
            run.maximise(values)
    return max(runs, key=lambda run: run.total).made()


class _Em:
    def __init__(self, means: list[float], spread: float) -> None:
        self.means, self.variances, self.weights = means, [spread**2, spread**2], [0.5, 0.5]
        self.floor, self.total = (FLOOR * spread) ** 2, -math.inf
        self.upper: list[float] = []

    def expect(self, values: Sequence[float]) -> float:
        """Responsibilities; what the log-likelihood gained."""
        before, self.total, self.upper = self.total, 0.0, []
        for value in values:
            low, high = (
                self.weights[i]
                / math.sqrt(2 * math.pi * self.variances[i])
                * math.exp(-((value - self.means[i]) ** 2) / (2 * self.variances[i]))
                for i in (0, 1)
            )
            self.upper.append(high / (low + high))
            self.total += math.log(low + high)
        return self.total - before

    def maximise(self, values: Sequence[float]) -> None:
        for i in (0, 1):
            parts = self.upper if i else [1 - part for part in self.upper]
            mass = math.fsum(parts)
            self.weights[i] = mass / len(values)
            self.means[i] = math.fsum(part * value for part, value in zip(parts, values, strict=True)) / mass
            around = [part * (value - self.means[i]) ** 2 for part, value in zip(parts, values, strict=True)]
            self.variances[i] = max(math.fsum(around) / mass, self.floor)

    def made(self) -> Mixture:
        turned = self.means[0] > self.means[1]
        low, high = (1, 0) if turned else (0, 1)
        return Mixture(
            means=(self.means[low], self.means[high]),
            deviations=(math.sqrt(self.variances[low]), math.sqrt(self.variances[high])),
            weights=(self.weights[low], self.weights[high]),
            upper=tuple(1 - part if turned else part for part in self.upper),
        )
