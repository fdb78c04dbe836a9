"""Statistics of scores: the unit is the question, never the sample. Means with intervals, paired comparisons, sample sizes.

Sources: Miller 2024 (arXiv 2411.00640) for clustered errors and pairing; Rogan & Gladen 1978 for judges that err; Holm 1979;
Benjamini & Hochberg 1995.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overwinter.errors import UsageError
from overwinter.think.confidence.binomial import wilson

Floats = NDArray[np.float64]
Z95 = NormalDist().inv_cdf(0.975)
PERMUTATIONS = 10_000
BOOTSTRAP_DRAWS = 2000
EXACT_BELOW = 14
"""With fewer questions than this all sign flips are tried instead of a sample of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean over questions with its 95 % interval.

    Attributes:
        method: how the interval was made: "wilson", "t" or "bootstrap".
        between, within: variance of question means, and of samples of one question (0 with one sample each).
    """

    value: float
    low: float
    high: float
    error: float
    questions: int
    samples: int
    method: str
    between: float
    within: float


def by_question(scores: ArrayLike, questions: Sequence[object] | None = None) -> tuple[Floats, Floats, Floats]:
    """[Q] mean, [Q] number and [Q] variance of the samples of each question, questions in sorted order."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values)):
        raise UsageError("scores are not a list of numbers", "give one finite score per sample, at least one")
    if questions is None:
        return values, np.ones(len(values)), np.zeros(len(values))
    if len(questions) != len(values):
        raise UsageError(f"{len(questions)} questions for {len(values)} scores", "name the question of every score")
    _, inverse, counts = np.unique(np.asarray(questions), return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=values) / counts
    squares = np.bincount(inverse, weights=(values - means[inverse]) ** 2)
    variance: Floats = np.where(counts > 1, squares / np.maximum(counts - 1, 1), 0.0)
    return means, counts.astype(np.float64), variance


def mean(scores: ArrayLike, questions: Sequence[object] | None = None) -> Estimate:
    """Mean over repeats first, then over questions, with an interval that fits the data: Wilson where every question is wholly right or
    wholly wrong (Student's t would be sure of a score of 0 or 1), Student's t else."""
    means, counts, variance = by_question(scores, questions)
    count = len(means)
    value = float(means.mean())
    between = float(means.var(ddof=1)) if count > 1 else 0.0
    repeated = counts > 1
    within = float(variance[repeated].mean()) if repeated.any() else 0.0
    error = math.sqrt(between / count)
    if np.all((means == 0) | (means == 1)):
        low, high = wilson(round(means.sum()), count)
        method = "wilson"
    elif count > 1:
        half = t_quantile(0.975, count - 1) * error
        low, high, method = value - half, value + half, "t"
    else:
        raise UsageError("one question has no interval", "score at least two questions")
    return Estimate(
        value=value,
        low=low,
        high=high,
        error=error,
        questions=count,
        samples=int(counts.sum()),
        method=method,
        between=between,
        within=within,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Two systems on the same questions: the mean difference (second − first) and what it is worth.

    Attributes:
        p: two-sided, by sign-flip permutation (exact McNemar where every question has one sample of 0 or 1).
        correlation: of the question means; None where one of them never varies.
        needed: questions for 80 % power at a difference as large as `effect`, at this variance.
    """

    difference: float
    low: float
    high: float
    p: float
    test: str
    correlation: float | None
    questions: int
    wins: int
    losses: int
    ties: int
    effect: float
    needed: int


def compare(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], *, effect: float = 0.03, seed: int = 0
) -> Paired:
    """Compare two systems on the questions both have answered; question → scores of its samples.

    Raises:
        UsageError: fewer than two questions in common. What only one has answered is left out, and must be reported beside.
    """
    shared = sorted(first.keys() & second.keys())
    if len(shared) < 2:
        raise UsageError(f"{len(shared)} questions in common", "score both systems on the same questions")
    a = np.array([np.mean(first[name]) for name in shared])
    b = np.array([np.mean(second[name]) for name in shared])
    difference = b - a
    deviation = float(difference.std(ddof=1))
    half = t_quantile(0.975, len(shared) - 1) * deviation / math.sqrt(len(shared))
    wins, losses = int(np.sum(difference > 0)), int(np.sum(difference < 0))
    single = all(len(first[name]) == len(second[name]) == 1 for name in shared)
    binary = single and bool(np.all(np.isin(np.concatenate([a, b]), (0.0, 1.0))))
    p = mcnemar(wins, losses) if binary else sign_flip(difference, seed=seed)
    correlation = float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else None
    centre = float(difference.mean())
    return Paired(
        difference=centre,
        low=centre - half,
        high=centre + half,
        p=p,
        test="mcnemar" if binary else "sign-flip",
        correlation=correlation,
        questions=len(shared),
        wins=wins,
        losses=losses,
        ties=len(shared) - wins - losses,
        effect=effect,
        needed=questions_needed(deviation**2, effect),
    )


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided McNemar test: under no difference each discordant question is a fair coin."""
    trials, fewer = wins + losses, min(wins, losses)
    if not trials:
        return 1.0
    tail = (
        math.fsum(math.comb(trials, k) for k in range(fewer + 1)) / 2.0**trials
        if trials < 1000
        else _normal_tail(fewer, trials)
    )
    return min(2 * tail, 1.0)


def _normal_tail(fewer: int, trials: int) -> float:
    return NormalDist(trials / 2, math.sqrt(trials) / 2).cdf(fewer + 0.5)


def sign_flip(difference: ArrayLike, *, draws: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p of a mean difference: how often it is as large when each question's sign is drawn anew. Exact for few."""
    values = np.asarray(difference, dtype=np.float64)
    observed = abs(values.sum()) - 1e-12
    if len(values) < EXACT_BELOW:
        signs = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed))
    rng = np.random.default_rng(seed)
    hits = 0
    for start in range(0, draws, 1000):
        rows = min(1000, draws - start)
        signs = 1 - 2 * rng.integers(0, 2, (rows, len(values)), dtype=np.int8)
        hits += int(np.sum(np.abs(signs @ values) >= observed))
    return (hits + 1) / (draws + 1)


def questions_needed(variance: float, effect: float, *, power: float = 0.8, level: float = 0.05) -> int:
    """How many questions show a mean difference of `effect` with this power, at this variance of the differences."""
    if effect <= 0:
        raise UsageError(
            f"an effect of {effect} cannot be shown", "give the smallest difference that would matter, above 0"
        )
    z = NormalDist().inv_cdf(1 - level / 2) + NormalDist().inv_cdf(power)
    return max(math.ceil(z * z * variance / effect**2), 2)


def repeats_worth(between: float, within: float, *, repeats: int) -> float:
    """Variance of the mean at this many repeats over that of one, per question: how much repeating still buys (1 = nothing)."""
    total = between + within
    return (between + within / repeats) / total if total > 0 else 1.0


def bootstrap_interval(means: ArrayLike, *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of question means [Q]."""
    values = np.asarray(means, dtype=np.float64)
    rng = np.random.default_rng(seed)
    found = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


# Many tests


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values that bound the chance of any false finding."""
    order = sorted(p_values, key=lambda name: p_values[name])
    adjusted, running = {}, 0.0
    for place, name in enumerate(order):
        running = max(running, min((len(order) - place) * p_values[name], 1.0))
        adjusted[name] = running
    return adjusted


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values that bound the expected share of false findings."""
    order = sorted(p_values, key=lambda name: p_values[name], reverse=True)
    adjusted, running = {}, 1.0
    for place, name in enumerate(order):
        running = min(running, p_values[name] * len(order) / (len(order) - place))
        adjusted[name] = running
    return adjusted


# Judges that err


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A rate as a judge gave it, and corrected for the judge's errors as people found them."""

    observed: float
    corrected: float
    low: float
    high: float
    sensitivity: float
    specificity: float
    labels: int


def judge_corrected(
    verdicts: Sequence[int], checked: Sequence[tuple[int, int]], *, draws: int = BOOTSTRAP_DRAWS, seed: int = 0
) -> Judged:
    """Correct the share of positive verdicts for a judge's errors.

    Args:
        verdicts: the judge's 0/1 on all items.
        checked: (judge, person) on a random subset which people labelled too.

    Raises:
        UsageError: people found only one class, or the judge does no better than a coin there.
    """
    said, truth = np.array([row[0] for row in checked]), np.array([row[1] for row in checked])
    if not len(checked) or truth.min() == truth.max():
        raise UsageError("people found only one class", "let them label items of both kinds")
    sensitivity, specificity = float(said[truth == 1].mean()), float(1 - said[truth == 0].mean())
    if sensitivity + specificity <= 1:
        raise UsageError(
            f"the judge is no better than a coin (sensitivity {sensitivity:.2f}, specificity {specificity:.2f})",
            "use another judge, or another prompt",
        )
    rng, values = np.random.default_rng(seed), np.asarray(verdicts, dtype=np.float64)
    found = []
    for _ in range(draws):
        rows = rng.integers(0, len(truth), len(truth))
        right, wrong = said[rows][truth[rows] == 1], said[rows][truth[rows] == 0]
        if len(right) and len(wrong) and right.mean() > wrong.mean():
            rate = values[rng.integers(0, len(values), len(values))].mean()
            found.append(_rogan_gladen(float(rate), float(right.mean()), float(1 - wrong.mean())))
    low, high = np.percentile(found, [2.5, 97.5])
    observed = float(values.mean())
    return Judged(
        observed=observed,
        corrected=_rogan_gladen(observed, sensitivity, specificity),
        low=float(low),
        high=float(high),
        sensitivity=sensitivity,
        specificity=specificity,
        labels=len(checked),
    )


def _rogan_gladen(rate: float, sensitivity: float, specificity: float) -> float:
    return min(max((rate + specificity - 1) / (sensitivity + specificity - 1), 0.0), 1.0)


# Student's t


def t_quantile(chance: float, freedom: int) -> float:
    """Quantile of Student's t: what the normal one becomes for few questions."""
    if freedom > 100_000:
        return NormalDist().inv_cdf(chance)
    low, high = 0.0, 1e4
    target = abs(chance - 0.5) * 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, freedom) < target else (low, middle)
    return math.copysign((low + high) / 2, chance - 0.5)


def _t_within(t: float, freedom: int) -> float:
    """P(|T| < t), by the closed sums for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    if freedom % 2:
        total = term = cosine if freedom > 1 else 0.0
        for k in range(3, freedom - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        return 2 / math.pi * (angle + sine * total)
    total = term = 1.0
    for k in range(2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return sine * total
