"""Figures for how consistent texts are: error density with an interval, and rank by errors against length.

CED and GRR are those of ConStory-Bench (arXiv 2603.05890) with what its released code leaves out: instances beside subtypes, words that
are words also in Chinese, intervals, and texts that could not be checked kept apart instead of counted as free of errors.

Both depend on who checks. A checker with recall 0.5 sees half the errors, so a density is a lower bound unless it is corrected; and a
density of a short text jumps from 0 to a large number with a single error, which is what the interval is for.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.think.consistency.claim import Finding

PER_WORDS = 10_000
DRAWS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Density:
    """Errors per 10,000 words.

    Attributes:
        value: errors over words times 10,000; low, high: exact 95 % interval for a Poisson count.
        errors, words: what it is made of.
    """

    value: float
    low: float
    high: float
    errors: int
    words: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """Mean rank of a system over prompts (1 is best) with a bootstrap interval over prompts."""

    value: float
    low: float
    high: float
    prompts: int


def density(errors: int, words: int) -> Density:
    """CED of one text, or of several taken together.

    Raises:
        UsageError: no words.
    """
    if words <= 0:
        raise UsageError("a text without words has no error density", "leave it out, and say how many were left out")
    low, high = poisson_interval(errors)
    scale = PER_WORDS / words
    return Density(value=errors * scale, low=low * scale, high=high * scale, errors=errors, words=words)


def subtype_count(findings: Sequence[Finding]) -> int:
    """Errors as ConStory's code counts them: one for each subtype that occurs, at most 19."""
    return len({finding.subtype for finding in findings})


def corrected(found: Density, *, precision: float, recall: float) -> float:
    """The density with the checker's errors taken out: what is wrong removed, what is missed added.

    Raises:
        UsageError: a share that is none.
    """
    if not (0 <= precision <= 1 and 0 < recall <= 1):
        raise UsageError(f"precision {precision} and recall {recall} are no shares", "give shares between 0 and 1")
    return found.value * precision / recall


def mean_density(texts: Sequence[tuple[int, int]], *, seed: int = 0) -> Density:
    """CED of a system: the mean of its texts' densities, each text counting the same; interval by bootstrap over texts.

    Args:
        texts: (errors, words) of each text that was checked. Texts that could not be checked do not belong here.
    """
    if not texts:
        raise UsageError("no text was checked", "give at least one")
    values = [density(errors, words).value for errors, words in texts]
    low, high = _bootstrap(values, seed)
    errors, words = sum(each[0] for each in texts), sum(each[1] for each in texts)
    return Density(value=sum(values) / len(values), low=low, high=high, errors=errors, words=words)


def ranks(
    systems: Mapping[str, Mapping[str, tuple[int, int]]], *, with_length: bool = True, seed: int = 0
) -> dict[str, Rank]:
    """GRR: per prompt systems are ranked by words / (1 + errors), highest first; ties share the lowest rank; the mean rank counts.

    Args:
        systems: system → prompt → (errors, words). Only prompts that all systems have are ranked.
        with_length: False ranks by errors per word alone: with length, twice the words outweigh one more error.

    Raises:
        UsageError: no prompt in common.
    """
    prompts = sorted(set.intersection(*(set(texts) for texts in systems.values()))) if systems else []
    if not prompts:
        raise UsageError("the systems have no prompt in common", "check texts of the same prompts")
    placed: dict[str, list[float]] = {name: [] for name in systems}
    for prompt in prompts:
        quality = {name: _quality(*texts[prompt], with_length) for name, texts in systems.items()}
        for name, own in quality.items():
            placed[name].append(1 + sum(other > own for other in quality.values()))
    return {name: _mean_rank(values, seed) for name, values in placed.items()}


def _quality(errors: int, words: int, with_length: bool) -> float:
    return words / (1 + errors) if with_length else -errors / max(words, 1)


def _mean_rank(values: Sequence[float], seed: int) -> Rank:
    low, high = _bootstrap(values, seed)
    return Rank(value=sum(values) / len(values), low=low, high=high, prompts=len(values))


def _bootstrap(values: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean; the value itself twice where there is one only."""
    rng = random.Random(seed)  # noqa: S311 — statistics, no secrets
    count = len(values)
    means = sorted(sum(rng.choices(values, k=count)) / count for _ in range(DRAWS))
    return means[int(0.025 * DRAWS)], means[int(0.975 * DRAWS) - 1]


def poisson_interval(count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Garwood 1936) interval for the mean of a Poisson count, by bisection of its distribution."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _solve(lambda mean: 1 - _poisson_below(count - 1, mean), tail, count)
    high = _solve(lambda mean: -_poisson_below(count, mean), -tail, count)
    return low, high


def _poisson_below(count: int, mean: float) -> float:
    """P(X <= count) for a Poisson variable."""
    term = total = math.exp(-mean)
    for k in range(1, count + 1):
        term *= mean / k
        total += term
    return min(total, 1.0)


def _solve(rising: Callable[[float], float], target: float, count: int) -> float:
    """Where a rising function meets the target."""
    low, high = 0.0, 10.0 + 2.0 * count + 10.0 * math.sqrt(count + 1.0)
    for _ in range(80):
        middle = (low + high) / 2
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2
