"""What a confidence is worth: calibration, discrimination and what an operator gains by abstaining.

Every function takes `confidence` [N] in 0..1 and `correct` [N] of 0 and 1 and returns a float, or None where the figure is not
defined (AUROC with one class, say); None is never replaced by a neutral value. `summarise` adds what a bare figure hides: an
interval over questions, and how large the calibration error of a *perfectly calibrated* confidence would be on this sample.

Definitions: Guo et al. 2017 (arXiv 1706.04599) for ECE and MCE, Nguyen & O'Connor 2015 for equal-mass bins, Kumar et al. 2019
(arXiv 1909.10155) for the debiased form, Murphy 1973 for the parts of the Brier score, Geifman & El-Yaniv 2017 (arXiv 1705.08500)
and Geifman et al. 2019 (arXiv 1805.08206) for risk and coverage. `plain` is the slow twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overwinter.errors import UsageError

Floats = NDArray[np.float64]
Metric = Callable[[Floats, Floats], float | None]

BINS = 10
CLIP = 1e-6
"""Log loss takes confidences as at least this far from 0 and 1; `clipped` says how many that changed."""
MIN_BIN = 20
"""A maximum over bins counts only bins with this many samples."""
BOOTSTRAP_DRAWS, NULL_DRAWS = 1000, 500


def read(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Both as arrays, checked. Raises UsageError for an empty sample, other shapes, or values out of range."""
    said, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if said.ndim != 1 or said.shape != right.shape or not len(said):
        raise UsageError(
            f"confidences have shape {said.shape}, outcomes {right.shape}",
            "give two lists of the same length, not empty",
        )
    if not np.all((said >= 0) & (said <= 1)):
        where = int(np.flatnonzero(~((said >= 0) & (said <= 1)))[0])
        raise UsageError(
            f"confidence {said[where]} at place {where} is no probability", "calibrate the score first, or leave it out"
        )
    if not np.all((right == 0) | (right == 1)):
        raise UsageError("an outcome is neither 0 nor 1", "score partial credit separately; it is not truncated here")
    return said, right


# Calibration


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """One bin of a reliability diagram: bounds of the confidence, members, mean confidence and share correct."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def equal_width(confidence: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """Bin of each sample, 0 … bins − 1; a confidence of 1 lies in the last one."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def equal_mass(confidence: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """Bins of about equal count; equal confidences share a bin, so there may be fewer."""
    order = np.sort(confidence)
    cuts = np.unique(order[[len(order) * i // bins for i in range(1, bins)]])
    return np.searchsorted(cuts, confidence, side="right").astype(np.int64)


def reliability(confidence: Floats, correct: Floats, bins: int = BINS) -> list[Bin]:
    """The rows of a reliability diagram, equal widths, empty bins left out."""
    place = equal_width(confidence, bins)
    return [
        Bin(
            low=each / bins,
            high=(each + 1) / bins,
            count=int(np.sum(place == each)),
            confidence=float(confidence[place == each].mean()),
            accuracy=float(correct[place == each].mean()),
        )
        for each in np.unique(place)
    ]


def _gaps(place: NDArray[np.int64], confidence: Floats, correct: Floats) -> tuple[Floats, Floats, Floats]:
    """Per occupied bin: count, mean correct − mean confidence, mean correct."""
    count = np.bincount(place).astype(np.float64)
    held = count > 0
    right = np.bincount(place, weights=correct)[held] / count[held]
    said = np.bincount(place, weights=confidence)[held] / count[held]
    return count[held], right - said, right


def ece(confidence: Floats, correct: Floats, bins: int = BINS) -> float:
    """Expected calibration error, bins of equal width."""
    count, gap, _ = _gaps(equal_width(confidence, bins), confidence, correct)
    return float(np.sum(count * np.abs(gap)) / len(confidence))


def ace(confidence: Floats, correct: Floats, bins: int = BINS) -> float:
    """Expected calibration error, bins of equal count: a second look, since one binning can hide what another shows."""
    count, gap, _ = _gaps(equal_mass(confidence, bins), confidence, correct)
    return float(np.sum(count * np.abs(gap)) / len(confidence))


def mce(confidence: Floats, correct: Floats, bins: int = BINS) -> float | None:
    """Largest gap of a bin with at least `MIN_BIN` samples; None without such a bin."""
    count, gap, _ = _gaps(equal_width(confidence, bins), confidence, correct)
    full = np.abs(gap[count >= MIN_BIN])
    return float(full.max()) if len(full) else None


def rmsce(confidence: Floats, correct: Floats, bins: int = BINS) -> float:
    """Root of the mean squared gap."""
    count, gap, _ = _gaps(equal_width(confidence, bins), confidence, correct)
    return float(np.sqrt(np.sum(count * gap**2) / len(confidence)))


def debiased_ece(confidence: Floats, correct: Floats, bins: int = BINS) -> float | None:
    """Squared calibration error less what chance alone adds in a small sample, at least 0. None without a bin of two."""
    count, gap, right = _gaps(equal_width(confidence, bins), confidence, correct)
    held = count > 1
    if not held.any():
        return None
    squared = gap[held] ** 2 - right[held] * (1 - right[held]) / (count[held] - 1)
    return float(max(np.sum(count[held] * squared) / np.sum(count[held]), 0.0))


def signed_gap(confidence: Floats, correct: Floats) -> float:
    """Mean confidence − share correct: above 0 is overconfident."""
    return float(confidence.mean() - correct.mean())


def accuracy(_: Floats, correct: Floats) -> float:
    return float(correct.mean())


# Proper scores


def brier(confidence: Floats, correct: Floats) -> float:
    """Mean squared difference, 0..1; 0.25 is what a constant one half gets."""
    return float(np.mean((confidence - correct) ** 2))


def brier_parts(confidence: Floats, correct: Floats, bins: int = BINS) -> dict[str, float]:
    """Brier = reliability − resolution + uncertainty + within (what the binning leaves inside its bins)."""
    count, gap, right = _gaps(equal_width(confidence, bins), confidence, correct)
    share, base = count / len(confidence), correct.mean()
    parts = {
        "reliability": float(np.sum(share * gap**2)),
        "resolution": float(np.sum(share * (right - base) ** 2)),
        "uncertainty": float(base * (1 - base)),
    }
    within = brier(confidence, correct) - parts["reliability"] + parts["resolution"] - parts["uncertainty"]
    return parts | {"within": float(within)}


def log_loss(confidence: Floats, correct: Floats) -> float:
    """Mean −ln of the probability given to what happened, nats, clipped at `CLIP`."""
    said = np.clip(confidence, CLIP, 1 - CLIP)
    return float(-np.mean(correct * np.log(said) + (1 - correct) * np.log1p(-said)))


def clipped(confidence: Floats) -> int:
    """How many confidences log loss had to move."""
    return int(np.sum((confidence < CLIP) | (confidence > 1 - CLIP)))


# Discrimination


def auroc(confidence: Floats, correct: Floats) -> float | None:
    """P(a right answer has more confidence than a wrong one) + half of P(tie). None with only one class."""
    positives = correct.sum()
    negatives = len(correct) - positives
    if not positives or not negatives:
        return None
    rank_sum = float(_mid_ranks(confidence)[correct == 1].sum())
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def _mid_ranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


def failure_auprc(confidence: Floats, correct: Floats) -> float | None:
    """Average precision of finding the wrong answers by low confidence; ties count as one threshold. None without a wrong one."""
    failures = 1 - correct
    if not failures.any():
        return None
    order = np.argsort(confidence, kind="stable")
    values, wrong = confidence[order], failures[order]
    ends = np.flatnonzero(np.append(np.diff(values) > 0, True))
    found = np.cumsum(wrong)[ends]
    precision = found / (ends + 1)
    gained = np.diff(found, prepend=0.0)
    return float(np.sum(precision * gained) / failures.sum())


# Abstention


def risk_coverage(confidence: Floats, correct: Floats) -> Floats:
    """[N] share of errors among the k most confident, k = 1 … N. Members of a tie each get the tie's mean error, so that the
    order in which the data happen to stand does not matter."""
    order = np.argsort(-confidence, kind="stable")
    _, inverse, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    mean_error = np.bincount(inverse, weights=1 - correct) / counts
    risk: Floats = np.cumsum(mean_error[inverse][order]) / np.arange(1, len(confidence) + 1)
    return risk


def aurc(confidence: Floats, correct: Floats) -> float:
    """Mean risk over all coverages; lower is better."""
    return float(risk_coverage(confidence, correct).mean())


def excess_aurc(confidence: Floats, correct: Floats) -> float:
    """AURC less that of an order which puts every right answer first."""
    return aurc(confidence, correct) - aurc(correct, correct)


def selective_accuracy(confidence: Floats, correct: Floats, coverage: float) -> float:
    """Share correct among the most confident `coverage` of the sample (at least one)."""
    kept = max(int(np.ceil(coverage * len(confidence))), 1)
    return float(1 - risk_coverage(confidence, correct)[kept - 1])


def coverage_at_risk(confidence: Floats, correct: Floats, risk: float) -> float:
    """Largest share that can be answered, most confident first and ties together, with at most this share of errors."""
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(-confidence[order]) > 0, True))
    errors = np.cumsum(1 - correct[order])[ends]
    fine = ends[errors / (ends + 1) <= risk]
    return float((fine[-1] + 1) / len(confidence)) if len(fine) else 0.0


def kendall_tau(confidence: Sequence[float], turns: Sequence[int] | None = None) -> float | None:
    """Kendall's tau-b of confidence against turn: does it rise as information arrives? None where it never changes."""
    values = np.asarray(confidence, dtype=np.float64)
    places = np.arange(len(values)) if turns is None else np.asarray(turns, dtype=np.float64)
    upper = np.triu_indices(len(values), 1)
    rise = np.sign(values[:, None] - values)[upper]
    order = np.sign(places[:, None] - places)[upper]
    pairs = np.sqrt(float(np.sum(rise != 0)) * float(np.sum(order != 0)))
    return float(np.sum(rise * order) / pairs) if pairs else None


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "ece": ece,
    "ace": ace,
    "mce": mce,
    "rmsce": rmsce,
    "debiased_ece": debiased_ece,
    "signed_gap": signed_gap,
    "brier": brier,
    "log_loss": log_loss,
    "auroc": auroc,
    "aurc": aurc,
    "excess_aurc": excess_aurc,
    "failure_auprc": failure_auprc,
    "coverage_at_risk_5": lambda said, right: coverage_at_risk(said, right, 0.05),
    "selective_accuracy_50": lambda said, right: selective_accuracy(said, right, 0.5),
}
"""What `summarise` reports, by name."""


# What a figure is worth


def null_ece(confidence: Floats, bins: int = BINS, draws: int = NULL_DRAWS, seed: int = 0) -> Floats:
    """[draws] calibration errors which these confidences would show if they were perfectly calibrated: outcomes are drawn from
    them. An observed error below the 95th percentile cannot be told from calibrated."""
    rng = np.random.default_rng(seed)
    place = equal_width(confidence, bins)
    width = int(place.max()) + 1
    said = np.bincount(place, weights=confidence, minlength=width)
    found = np.empty(draws)
    for draw in range(draws):
        right = np.bincount(place, weights=rng.random(len(confidence)) < confidence, minlength=width)
        found[draw] = np.abs(right - said).sum() / len(confidence)
    return found


def bootstrap(
    metric: Metric,
    confidence: Floats,
    correct: Floats,
    *,
    groups: ArrayLike | None = None,
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % percentile interval, drawing questions (groups) with all their samples. None where most draws leave it undefined."""
    return bootstrap_all({"": metric}, confidence, correct, groups=groups, draws=draws, seed=seed)[""]


def bootstrap_all(
    metrics: Mapping[str, Metric],
    confidence: Floats,
    correct: Floats,
    *,
    groups: ArrayLike | None = None,
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> dict[str, tuple[float, float] | None]:
    """`bootstrap` of several metrics on the same draws.

    No metric cares about the order of its samples, so each draw is handed over from the least confidence to the most: what sorts has
    little left to do.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(confidence, kind="stable")
    said, right = confidence[order], correct[order]
    question = _questions(groups, len(said))[order]
    count = int(question.max()) + 1
    found: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(draws):
        times = np.bincount(rng.integers(0, count, count), minlength=count)[question]
        drawn = np.repeat(said, times), np.repeat(right, times)
        for name, metric in metrics.items():
            value = metric(*drawn)
            if value is not None:
                found[name].append(value)
    return {name: _percentiles(values) if len(values) >= draws / 2 else None for name, values in found.items()}


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _questions(groups: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """[N] number of the question that each sample belongs to; without groups each is one of its own."""
    if groups is None:
        return np.arange(count)
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    if len(inverse) != count:
        raise UsageError(f"{len(inverse)} groups for {count} samples", "name the question of every sample")
    return inverse.astype(np.int64)


def summarise(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    metrics: Sequence[str] = tuple(METRICS),
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Every metric with its interval, the null band of the calibration error and the reliability diagram, as plain JSON.

    Args:
        groups: the question of each sample; samples of one question are not independent and are drawn together.
    """
    said, right = read(confidence, correct)
    unknown = sorted(set(metrics) - METRICS.keys())
    if unknown:
        raise UsageError(f"unknown metrics {unknown}", f"use: {', '.join(METRICS)}")
    null = null_ece(said, seed=seed)
    observed, band = ece(said, right), float(np.percentile(null, 95))
    chosen = {name: METRICS[name] for name in metrics}
    intervals = bootstrap_all(chosen, said, right, groups=groups, draws=draws, seed=seed)
    return {
        "samples": len(said),
        "questions": len(np.unique(_questions(groups, len(said)))),
        "distinct": len(np.unique(said)),
        "clipped": clipped(said),
        "metrics": {
            name: {"value": metric(said, right), "interval": intervals[name]} for name, metric in chosen.items()
        },
        "null_ece": {"mean": float(null.mean()), "p95": band, "distinguishable": observed > band},
        "brier_parts": brier_parts(said, right),
        "reliability": [
            {"low": b.low, "high": b.high, "count": b.count, "confidence": b.confidence, "accuracy": b.accuracy}
            for b in reliability(said, right)
        ],
    }
