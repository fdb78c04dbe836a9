"""Votes that use confidence without labels: filters by rank, and the two-component mixture of DistriVoting.

With no signal and few samples every hard filter loses to the plain majority; with some confidently wrong questions strictness
stops paying. So these are for where no labels exist and there are at least `MIN_MIXTURE` samples; with labels use `fitted`.

Sources: DeepConf (arXiv 2508.15260) for the filter by rank; DistriVoting (arXiv 2603.03872) for mixture, reject and hierarchy. The
paper writes −C as the weight of low confidence; taken literally its sum names the rarest answer, so the decreasing positive
weight max C − C is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.think.vote.ballot import Ballot, Outcome, majority, rated, weighted

MIN_MIXTURE = 32
MIN_MEMBERS, MIN_WEIGHT = 4, 0.05
ITERATIONS, TOLERANCE, FLOOR = 100, 1e-6, 0.05
STARTS = ((0.25, 0.75), (0.1, 0.6), (0.4, 0.9))
BINS = 10


def top_share(ballots: Sequence[Ballot], share: float) -> Outcome:
    """Weighted vote of the surest `share` of the ballots (at least one): DeepConf's offline filter, 0.1 "low" or 0.9 "high"."""
    if not 0 < share <= 1:
        raise UsageError(f"a share of {share} keeps nothing or too much", "give a number above 0, at most 1")
    able = [ballot for ballot in ballots if ballot.answer is not None and ballot.confidence is not None]
    kept = sorted(able, key=lambda ballot: -(ballot.confidence or 0.0))[: max(math.ceil(share * len(able)), 1)]
    return weighted(kept, rule=f"top {100 * share:g} %", of=ballots)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Two normal components of one-dimensional values, the second with the larger mean.

    Attributes:
        upper: responsibility of the second for each value.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    weights: tuple[float, float]
    upper: tuple[float, ...]


def mixture(values: Sequence[float]) -> Mixture | None:
    """Fit by EM from several starts, the likeliest end; None where two components make no sense: hardly any spread, fewer than
    `MIN_MEMBERS` values or less than `MIN_WEIGHT` in one of them. Needs numpy; `plain` is the twin."""
    count = len(values)
    if count < 2 * MIN_MEMBERS:
        return None
    centre = math.fsum(values) / count
    spread = math.sqrt(math.fsum((value - centre) ** 2 for value in values) / count)
    if spread < 1e-9 * max(abs(centre), 1.0):
        return None
    found = _em(values, spread)
    members = sum(part > 0.5 for part in found.upper)
    if min(found.weights) < MIN_WEIGHT or not MIN_MEMBERS <= members <= count - MIN_MEMBERS:
        return None
    return found


def _em(values: Sequence[float], spread: float) -> Mixture:
    """All starts at once: S starts, 2 components, N values."""
    import numpy as np

    x_N = np.asarray(values, dtype=np.float64)
    order = np.sort(x_N)
    mean_S2 = order[(np.array(STARTS) * (len(order) - 1)).astype(int)]
    variance_S2, weight_S2 = np.full_like(mean_S2, spread**2), np.full_like(mean_S2, 0.5)
    last_S = np.full(len(STARTS), -np.inf)
    for _ in range(ITERATIONS):
        log_S2N = np.log(weight_S2 / np.sqrt(2 * np.pi * variance_S2))[..., None] - (x_N - mean_S2[..., None]) ** 2 / (
            2 * variance_S2[..., None]
        )
        top_SN = log_S2N.max(axis=1)
        part_S2N = np.exp(log_S2N - top_SN[:, None])
        both_SN = part_S2N.sum(axis=1)
        part_S2N /= both_SN[:, None]
        total_S = (top_SN + np.log(both_SN)).sum(axis=1)
        if np.all(total_S - last_S < TOLERANCE * len(values)):
            break
        last_S = total_S
        mass_S2 = np.maximum(part_S2N.sum(axis=2), 1e-9)
        weight_S2 = np.clip(mass_S2 / len(values), 1e-6, 1 - 1e-6)
        mean_S2 = part_S2N @ x_N / mass_S2
        around_S2 = (part_S2N * (x_N - mean_S2[..., None]) ** 2).sum(axis=2) / mass_S2
        # A component on one repeated value would win with an infinite likelihood.
        variance_S2 = np.maximum(around_S2, (FLOOR * spread) ** 2)
    best = int(np.argmax(total_S))
    low, high = (0, 1) if mean_S2[best, 0] <= mean_S2[best, 1] else (1, 0)
    return Mixture(
        means=(float(mean_S2[best, low]), float(mean_S2[best, high])),
        deviations=(float(np.sqrt(variance_S2[best, low])), float(np.sqrt(variance_S2[best, high]))),
        weights=(float(weight_S2[best, low]), float(weight_S2[best, high])),
        upper=tuple(part_S2N[best, high].tolist()),
    )


def hierarchical(ballots: Sequence[Ballot], bins: int = BINS) -> Outcome:
    """DistriVoting's HierVote: a weighted majority inside each of ten equal ranges of confidence, then one over their winners,
    each with the mean confidence of those of its range who agree."""
    pairs = rated(ballots)
    if not pairs:
        return weighted(ballots, rule="hierarchical")
    low, high = min(value for _, value in pairs), max(value for _, value in pairs)
    ranges: dict[int, list[tuple[str, float]]] = {}
    for answer, value in pairs:
        place = min(int((value - low) / (high - low) * bins), bins - 1) if high > low else 0
        ranges.setdefault(place, []).append((answer, value))
    winners = []
    for place in sorted(ranges, reverse=True):
        winner = weighted([Ballot(answer=a, confidence=c) for a, c in ranges[place]]).answer
        agreeing = [value for answer, value in ranges[place] if answer == winner]
        winners.append(Ballot(answer=winner, confidence=math.fsum(agreeing) / len(agreeing)))
    return weighted(winners, rule="hierarchical", of=ballots)


def mixture_filter(ballots: Sequence[Ballot]) -> Outcome:
    """Weighted vote of the ballots in the upper component; the plain majority where there is no mixture to speak of."""
    parted = _parted(ballots)
    if parted is None:
        return _fall_back(ballots, "mixture")
    return weighted(parted[0], rule="mixture", of=ballots)


def distri(ballots: Sequence[Ballot]) -> Outcome:
    """DistriVoting: split by the mixture, let the lower component name a wrong answer, drop that answer, split and vote again."""
    parted = _parted(ballots)
    if parted is None:
        return _fall_back(ballots, "distri")
    upper, lower = parted
    best = max(value for _, value in rated(lower))
    doubtful = [Ballot(answer=answer, confidence=best - value) for answer, value in rated(lower)]
    chosen, rejected = hierarchical(upper).answer, hierarchical(doubtful).answer
    if chosen != rejected:
        rest = [ballot for ballot in ballots if ballot.answer != rejected]
        again = _parted(rest)
        upper = again[0] if again is not None else [ballot for ballot in upper if ballot.answer != rejected]
    outcome = hierarchical(upper)
    cast = sum(ballot.answer is not None for ballot in ballots)
    return Outcome(
        answer=outcome.answer,
        share=outcome.share,
        margin=outcome.margin,
        scores=outcome.scores,
        used=len(rated(upper)),
        cast=cast,
        unread=len(ballots) - cast,
        rule="distri",
    )


def _parted(ballots: Sequence[Ballot]) -> tuple[list[Ballot], list[Ballot]] | None:
    pairs = rated(ballots)
    if len(pairs) < MIN_MIXTURE:
        return None
    made = mixture([value for _, value in pairs])
    if made is None:
        return None
    kept: tuple[list[Ballot], list[Ballot]] = ([], [])
    for (answer, value), part in zip(pairs, made.upper, strict=True):
        kept[part <= 0.5].append(Ballot(answer=answer, confidence=value))
    return kept


def _fall_back(ballots: Sequence[Ballot], rule: str) -> Outcome:
    found = majority(ballots)
    return Outcome(
        answer=found.answer,
        share=found.share,
        margin=found.margin,
        scores=found.scores,
        used=found.used,
        cast=found.cast,
        unread=found.unread,
        rule=f"{rule}: majority",
    )


RULES: Mapping[str, Callable[[Sequence[Ballot]], Outcome]] = {
    "majority": majority,
    "weighted": weighted,
    "top50": lambda ballots: top_share(ballots, 0.5),
    "top10": lambda ballots: top_share(ballots, 0.1),
    "mixture": mixture_filter,
    "distri": distri,
}
"""Rules that need no labels, by name."""
