"""Intervals of a share: Wilson for reporting, Clopper-Pearson where a bound has to hold. No dependency."""

from __future__ import annotations

import math

from overwinter.errors import UsageError

_STEPS = 60
"""Halvings of a bound: far below what a float can tell apart."""


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927). Unlike mean ± 1.96 standard errors it is sound near 0 and 1 and for few trials."""
    _check(successes, trials)
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / trials / 4)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def upper_bound(successes: int, trials: int, delta: float = 0.05) -> float:
    """Clopper-Pearson: the share is below this with probability at least 1 − delta."""
    _check(successes, trials)
    if successes == trials:
        return 1.0
    low, high = successes / trials, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if at_most(successes, trials, middle) > delta:
            low = middle
        else:
            high = middle
    return high


def clopper_pearson(successes: int, trials: int, delta: float = 0.05) -> tuple[float, float]:
    """Two-sided interval that covers the share with probability at least 1 − delta."""
    return 1 - upper_bound(trials - successes, trials, delta / 2), upper_bound(successes, trials, delta / 2)


def at_most(successes: int, trials: int, chance: float) -> float:
    """P(X ≤ successes) of a binomial, summed exactly."""
    if chance <= 0:
        return 1.0
    if chance >= 1:
        return float(successes >= trials)
    log_chance, log_rest = math.log(chance), math.log1p(-chance)
    terms = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * log_chance
        + (trials - k) * log_rest
        for k in range(successes + 1)
    ]
    top = max(terms)
    return min(math.exp(top) * math.fsum(math.exp(term - top) for term in terms), 1.0)


def _check(successes: int, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise UsageError(
            f"{successes} of {trials} is no share", "give at least one trial, and at most as many successes"
        )
