"""A recording as figures: score with interval, calibration of each confidence, cost, slices. Plain JSON, from which the page is drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from overwinter.bench import curves, statistics
from overwinter.bench.answers import Answer, Recording, one_per_item, scored_pairs, with_agreement
from overwinter.errors import UsageError
from overwinter.think.confidence import metrics
from overwinter.think.confidence.calibrators import Scope, fit

MIN_SLICE = 5
"""Slices with fewer questions are named, not scored."""
FOLDS = 5
CURVE_POINTS = 100
Progress = Callable[[int, int], None]


def summarise(
    recording: Recording, *, draws: int = metrics.BOOTSTRAP_DRAWS, progress: Progress | None = None
) -> dict[str, Any]:
    """Everything the bench says of one recording.

    Raises:
        UsageError: nothing in it is scored.
    """
    scored = [answer for answer in recording.answers if answer.correct is not None]
    if not scored:
        raise UsageError(
            f"none of the {len(recording.answers)} answers is scored",
            "name their suite with --suite, so that they can be",
        )
    signals = recording.signals()
    agreement = None if one_per_item(recording.answers) else with_agreement(recording)
    total = len(signals) + (agreement is not None)
    calibration = {}
    for place, name in enumerate(signals):
        calibration[name] = calibrated(recording, name, draws=draws)
        if progress is not None:
            progress(place + 1, total)
    if agreement is not None:
        calibration["agreement"] = calibrated(agreement, "agreement", draws=draws)
        if progress is not None:
            progress(total, total)
    return {
        "name": recording.name,
        "header": {name: value for name, value in asdict(recording.header).items() if value},
        "answers": len(recording.answers),
        "status": dict(Counter(answer.status for answer in recording.answers)),
        "unscored": len(recording.answers) - len(scored),
        "score": estimate(scored),
        "modal": estimate([a for a in agreement.answers if a.correct is not None]) if agreement is not None else None,
        "calibration": calibration,
        "cost": cost(scored),
        "budget": curves.budget(recording),
        "dialogues": curves.dialogues(scored),
        "value": _value(scored),
        "slices": slices(scored),
    }


def _value(scored: Sequence[Answer]) -> dict[str, Any] | None:
    """Of figures on a scale of their own; None without them."""
    kept = [answer for answer in scored if answer.value is not None]
    if len({answer.item for answer in kept}) < 2:
        return None
    return asdict(statistics.mean([answer.value or 0.0 for answer in kept], [answer.item for answer in kept]))


def estimate(scored: Sequence[Answer]) -> dict[str, Any] | None:
    """Score over questions with its interval; None for fewer than two questions."""
    if len({answer.item for answer in scored}) < 2:
        return None
    made = statistics.mean([answer.correct or 0.0 for answer in scored], [answer.item for answer in scored])
    return asdict(replace(made, low=max(made.low, 0.0), high=min(made.high, 1.0)))


def calibrated(recording: Recording, signal: str, *, draws: int) -> dict[str, Any]:
    """What one confidence is worth; where it is no probability, its order and a held-out calibration of it."""
    said, right, items, missing = scored_pairs(recording, signal)
    found: dict[str, Any] = {"samples": len(said), "missing": missing}
    if len(said) < 2:
        return found | {"note": "too few answers have this confidence and a score of 0 or 1"}
    if min(said) >= 0 and max(said) <= 1:
        found |= {"probability": True} | metrics.summarise(said, right, groups=items, draws=draws)
        found["risk_coverage"] = curve(metrics.risk_coverage(*metrics.read(said, right)))
    else:
        values, outcome = np.asarray(said), np.asarray(right)
        found |= {"probability": False, "auroc": metrics.auroc(values, outcome)}
    held_out = recalibrated(said, right, items)
    if held_out is not None:
        found["recalibrated"] = metrics.summarise(
            held_out, right, groups=items, metrics=("ece", "brier", "auroc", "aurc"), draws=max(draws // 5, 20)
        )
    return found


def recalibrated(said: Sequence[float], right: Sequence[float], items: Sequence[str]) -> list[float] | None:
    """Five-fold over questions: each answer's probability by a calibrator fitted on the other questions; None where labels are too
    few or all alike in some fold."""
    bounded = min(said) >= 0 and max(said) <= 1
    method = "beta" if bounded else "score"
    names = sorted(set(items))
    rng = np.random.default_rng(0)
    fold_of = {names[place]: number % FOLDS for number, place in enumerate(rng.permutation(len(names)))}
    made = [0.0] * len(said)
    for fold in range(FOLDS):
        train = [i for i, item in enumerate(items) if fold_of[item] != fold]
        if len(train) < 50 or len({right[i] for i in train}) < 2:
            return None
        calibrator = fit(method, [said[i] for i in train], [right[i] for i in train], Scope())
        for i, item in enumerate(items):
            if fold_of[item] == fold:
                made[i] = calibrator.probability(said[i])
    return made


def curve(values: Any) -> list[list[float]]:
    """[coverage, risk] at about a hundred places."""
    places = np.unique(np.linspace(0, len(values) - 1, CURVE_POINTS).astype(int))
    return [[float((place + 1) / len(values)), float(values[place])] for place in places]


def cost(scored: Sequence[Answer]) -> dict[str, Any]:
    """What an answer cost on average, and what a right one did."""
    right = sum(answer.correct or 0.0 for answer in scored)
    sums = {
        "tokens_in": sum(answer.tokens_in for answer in scored),
        "tokens_out": sum(answer.tokens_out for answer in scored),
        "tool_calls": sum(answer.tool_calls for answer in scored),
        "micro_usd": sum(answer.micro_usd for answer in scored),
        "seconds": sum(answer.seconds for answer in scored),
    }
    tokens = sums["tokens_in"] + sums["tokens_out"]
    return {
        "total": sums,
        "mean": {name: value / len(scored) for name, value in sums.items()},
        "tokens_per_right": tokens / right if right and tokens else None,
    }


def slices(scored: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """Score by each value of each slice, largest first; whole numbers in their order."""
    groups: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for answer in scored:
        for name, value in answer.slices.items():
            groups[name][value].append(answer)
    found: dict[str, dict[str, Any]] = {}
    for name, values in sorted(groups.items()):
        rows = {}
        numbers = all(value.isdigit() for value in values)
        for value, answers in sorted(values.items(), key=lambda pair: int(pair[0]) if numbers else -len(pair[1])):
            enough = len({answer.item for answer in answers}) >= MIN_SLICE
            rows[value] = estimate(answers) if enough else {"questions": len({answer.item for answer in answers})}
        found[name] = rows
    return found


def compared(
    first: Recording, second: Recording, *, by: str = "score", effect: float = 0.03, seed: int = 0
) -> dict[str, Any]:
    """A paired comparison on the questions both have answered; what only one has is counted beside.

    Args:
        by: "score", or "brier:SIGNAL" for the squared error of a confidence (lower is better).
    """
    a, b = _scores(first, by), _scores(second, by)
    made = statistics.compare(a, b, effect=effect, seed=seed)
    return {
        "by": by,
        "first": first.name,
        "second": second.name,
        **asdict(made),
        "only_first": len(a.keys() - b.keys()),
        "only_second": len(b.keys() - a.keys()),
        "means": [_mean(a, a.keys() & b.keys()), _mean(b, a.keys() & b.keys())],
    }


def _mean(scores: Mapping[str, Sequence[float]], items: Any) -> float:
    return float(np.mean([np.mean(scores[item]) for item in items]))


def _scores(recording: Recording, by: str) -> dict[str, list[float]]:
    if by == "score":
        return recording.scores()
    kind, _, signal = by.partition(":")
    if kind != "brier" or not signal:
        raise UsageError(f"cannot compare by {by!r}", "use score, or brier:SIGNAL")
    if signal not in recording.signals():
        known = ", ".join(recording.signals()) or "none"
        raise UsageError(f"{recording.name} has no confidence {signal!r}", f"it has: {known}")
    found: dict[str, list[float]] = defaultdict(list)
    said, right, items, _ = scored_pairs(recording, signal)
    for value, outcome, item in zip(said, right, items, strict=True):
        found[item].append((value - outcome) ** 2)
    return dict(found)
