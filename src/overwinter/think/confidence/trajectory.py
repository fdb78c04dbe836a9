"""One probability for a whole run, from how its token confidences went: HTC, "Agentic Confidence Calibration" (arXiv 2601.15778).

    rows = [features(steps_of(records(store, run))) for run in runs]
    calibrator = fit_trajectory(rows, outcomes, scope, kind="lasso", strength=1.0)

A step is one answer of the actor, its tokens have confidences r > 0. Of a step: entropy H and concentration κ = max r / mean r of
r normalised, spread ρ = deviation / mean, skewness; x is the mean probability of its tokens, y the mean confidence over the likeliest k
(x again where none are known). Forty-eight numbers say how these change over the run (dynamics, 19), where they begin and end (position,
14), how steady they are (stability, 10), and how long it all was (structure, 5). What is undefined is 0, as in the paper; volatility
repeats spread there, so two pairs of columns are equal, which ridge and lasso bear.

Changed: the strength of the penalty is chosen inside each training fold (`cross_validated`), where the paper chooses it on the folds it
reports; and a run-level probability carries its scope and is refused outside, for the paper's own transfers have errors of 0.3 to 0.5.
Features need no dependency, fitting needs NumPy. `plain` has the features from their definitions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.combined import MIN_LABELS, Combined, standard
from overwinter.think.confidence.record import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["ridge", "lasso"]
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""C of the paper's grid: the larger, the weaker the penalty."""
FOLDS = 5
_LINES = ("x", "y")
_SHAPES = ("entropy", "concentration", "spread")
_OF_A_STEP = (*_SHAPES, "volatility", "skewness", *_LINES)
_SUMMARY = ("mean", "sd", "max", "min")

NAMES: tuple[str, ...] = (
    *(f"{line}_gradient_{each}" for line in _LINES for each in (*_SUMMARY, "trend")),
    *(f"token_gradient_{each}" for each in _SUMMARY),
    *(f"{shape}_variation" for shape in _SHAPES),
    *(f"{line}_change" for line in _LINES),
    *(f"{place}_{each}" for place in ("first", "last") for each in _OF_A_STEP),
    *(f"{shape}_{each}" for shape in (*_SHAPES, "volatility", "skewness") for each in ("mean", "sd")),
    "steps", "first_tokens", "last_tokens", "tokens_mean", "tokens_sd",
)  # fmt: skip
"""The features, in order: 19 of dynamics, 14 of position, 10 of stability, 5 of structure."""
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "dynamics": NAMES[:19],
    "position": NAMES[19:33],
    "stability": NAMES[33:43],
    "structure": NAMES[43:],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Token confidences of one answer, each above 0: `top1` the probability of each token, `topk` the mean over the likeliest k."""

    top1: tuple[float, ...]
    topk: tuple[float, ...]


def steps_of(found: Iterable[Record]) -> list[Step]:
    """The answers of a run that have log-probabilities, as steps."""
    made = []
    for record in found:
        if not record.logprobs:
            continue
        top1 = tuple(math.exp(min(value, 0.0)) or 5e-324 for value in record.logprobs)
        full = len(record.top_logprobs) == len(record.logprobs) and all(record.top_logprobs)
        topk = tuple(_mean([-v for v in row.values()]) for row in record.top_logprobs) if full else top1
        made.append(Step(top1=top1, topk=topk))
    return made


def features(steps: Sequence[Step]) -> dict[str, float]:
    """The 48 features by name. Raises UsageError for a run without a step."""
    if not steps or not all(step.top1 and len(step.top1) == len(step.topk) for step in steps):
        raise UsageError(
            "the run has no token log-probabilities", "calibrate what it states, or use a model that gives them"
        )
    rows = [_shape(step) for step in steps]
    columns = {name: [row[name] for row in rows] for name in _OF_A_STEP}
    counts = [float(len(step.top1)) for step in steps]
    made: list[float] = []
    for line in _LINES:
        moves = [b - a for a, b in pairwise(columns[line])]
        made += [*_summary(moves), moves[-1] - moves[0] if len(moves) > 1 else 0.0]
    made += _summary([b - a for step in steps for a, b in pairwise(step.top1)])
    made += [_ratio(_sd(columns[shape]), _mean(columns[shape])) for shape in _SHAPES]
    made += [columns[line][-1] - columns[line][0] for line in _LINES]
    made += [columns[name][place] for place in (0, -1) for name in _OF_A_STEP]
    made += [f(columns[shape]) for shape in (*_SHAPES, "volatility", "skewness") for f in (_mean, _sd)]
    made += [len(steps) / 10, counts[0], counts[-1], _mean(counts), _sd(counts)]
    return dict(zip(NAMES, made, strict=True))


def _shape(step: Step) -> dict[str, float]:
    r = step.top1
    total, mean, deviation = math.fsum(r), _mean(r), _sd(r)
    return {
        "entropy": -math.fsum(v / total * math.log(v / total) for v in r if v / total > 0),
        "concentration": max(r) / mean,
        "spread": deviation / mean,
        "volatility": deviation / mean,
        "skewness": _ratio(math.fsum((v - mean) ** 3 for v in r) / len(r), deviation**3),
        "x": mean,
        "y": _mean(step.topk),
    }


def _summary(values: Sequence[float]) -> list[float]:
    return [_mean(values), _sd(values), max(values), min(values)] if values else [0.0] * 4


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sd(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def _ratio(above: float, below: float) -> float:
    return above / below if abs(below) > 1e-12 else 0.0


# Fitting


def fit_trajectory(
    rows: Sequence[Mapping[str, float]],
    good: Sequence[float],
    scope: Scope,
    *,
    kind: Kind = "lasso",
    strength: float | None = None,
    names: Sequence[str] = NAMES,
) -> Combined:
    """A run-level calibrator; with lasso, of the features that survive.

    Args:
        rows: features of each run. good: whether it ended well, 0 or 1.
        strength: C; None chooses it by cross-validation on these runs.

    Raises:
        UsageError: fewer than `combined.MIN_LABELS` runs, or all ended alike.
    """
    _check(rows, good)
    chosen = choose_strength(rows, good, kind=kind, names=names) if strength is None else strength
    means, deviations = standard(rows, names)
    weights, bias = _solve(_matrix(rows, names, means, deviations), good, kind, chosen)
    kept = [i for i, weight in enumerate(weights) if kind == "ridge" or weight]
    return Combined(
        names=tuple(names[i] for i in kept),
        means=tuple(means[i] for i in kept),
        deviations=tuple(deviations[i] for i in kept),
        weights=tuple(weights[i] for i in kept),
        missing=(0.0,) * len(kept),
        bias=bias,
        scope=scope,
        labels=len(rows),
        base_rate=math.fsum(good) / len(good),
        notes=(f"{kind}, C = {chosen:g}",),
    )


def choose_strength(
    rows: Sequence[Mapping[str, float]],
    good: Sequence[float],
    *,
    kind: Kind,
    names: Sequence[str] = NAMES,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 42,
) -> float:
    """The C with the least held-out log loss over folds of these runs; of equals within one standard error, the strongest penalty."""
    losses = {}
    for strength in strengths:
        held = _out_of_fold(rows, good, kind, names, lambda *_, c=strength: c, seed)
        losses[strength] = [-math.log(max(p if y else 1 - p, 1e-12)) for p, y in zip(held, good, strict=True)]
    best = min(strengths, key=lambda c: _mean(losses[c]))
    bound = _mean(losses[best]) + _sd(losses[best]) / math.sqrt(len(good))
    return min(c for c in strengths if _mean(losses[c]) <= bound)


def cross_validated(
    rows: Sequence[Mapping[str, float]],
    good: Sequence[float],
    *,
    kind: Kind = "lasso",
    names: Sequence[str] = NAMES,
    seed: int = 42,
) -> list[float]:
    """Probability of each run by a calibrator that was fitted, its strength chosen too, on the other folds."""
    _check(rows, good)

    def strength(train: Sequence[Mapping[str, float]], labels: Sequence[float]) -> float:
        return choose_strength(train, labels, kind=kind, names=names, seed=seed)

    return _out_of_fold(rows, good, kind, names, strength, seed)


def _out_of_fold(rows, good, kind, names, strength, seed) -> list[float]:  # type: ignore[no-untyped-def]
    """Stratified folds: runs of each outcome are dealt out in drawn order."""
    import numpy as np

    rng = np.random.default_rng(seed)
    fold_of = np.zeros(len(rows), dtype=np.int64)
    for label in (0.0, 1.0):
        members = rng.permutation([i for i, y in enumerate(good) if y == label])
        fold_of[members] = np.arange(len(members)) % FOLDS
    made = [0.0] * len(rows)
    for fold in range(FOLDS):
        train = [i for i in range(len(rows)) if fold_of[i] != fold]
        seen, labels = [rows[i] for i in train], [good[i] for i in train]
        means, deviations = standard(seen, names)
        weights, bias = _solve(_matrix(seen, names, means, deviations), labels, kind, strength(seen, labels))
        for i in np.flatnonzero(fold_of == fold):
            [row] = _matrix([rows[i]], names, means, deviations)
            made[i] = float(1 / (1 + np.exp(-(row @ np.asarray(weights) + bias))))
    return made


def _check(rows: Sequence[Mapping[str, float]], good: Sequence[float]) -> None:
    if len(rows) != len(good) or len(rows) < MIN_LABELS or len(set(good)) < 2:
        raise UsageError(
            f"{len(rows)} runs and {len(good)} outcomes of {len(set(good))} kinds cannot be fitted",
            f"label at least {MIN_LABELS} runs, of which some ended well and some badly",
        )


def _matrix(
    rows: Sequence[Mapping[str, float]], names: Sequence[str], means: Sequence[float], deviations: Sequence[float]
) -> NDArray[np.float64]:
    import numpy as np

    from overwinter.think.confidence.combined import standardised

    return np.array([standardised(row, names, means, deviations) for row in rows])


def _solve(
    inputs: NDArray[np.float64], good: Sequence[float], kind: Kind, strength: float
) -> tuple[list[float], float]:
    """Weights and bias with the least C · Σ log loss + ½|w|² (ridge) or + |w| (lasso); the bias is free.

    Proximal Newton: a quadratic of the loss, minimised coordinate by coordinate, until nothing moves.
    """
    import numpy as np

    labels = np.asarray(good, dtype=np.float64)
    columns = np.hstack([inputs, np.ones((len(inputs), 1))])
    weights = np.zeros(columns.shape[1])
    weights[-1] = math.log(max(labels.mean(), 1e-6) / max(1 - labels.mean(), 1e-6))

    def cost(at: NDArray[np.float64]) -> float:
        z = columns @ at
        penalty = 0.5 * at[:-1] @ at[:-1] if kind == "ridge" else np.abs(at[:-1]).sum()
        return float(strength * (np.logaddexp(0, z) - labels * z).sum() + penalty)

    for _ in range(100):
        chance = 1 / (1 + np.exp(-np.clip(columns @ weights, -500, 500)))
        gradient = strength * columns.T @ (chance - labels)
        curvature = strength * (columns.T * np.maximum(chance * (1 - chance), 1e-9)) @ columns
        step = _inner(weights, gradient, curvature, kind) - weights
        scale, now = 1.0, cost(weights)
        while scale > 1e-8 and cost(weights + scale * step) > now:
            scale /= 2
        weights = weights + scale * step
        if np.abs(scale * step).max() < 1e-9:
            break
    return weights[:-1].tolist(), float(weights[-1])


def _inner(
    weights: NDArray[np.float64], gradient: NDArray[np.float64], curvature: NDArray[np.float64], kind: Kind
) -> NDArray[np.float64]:
    """The weights at the least value of the quadratic plus penalty."""
    import numpy as np

    width = len(weights)
    if kind == "ridge":
        free = np.diag([1.0] * (width - 1) + [0.0])
        return weights - np.linalg.solve(curvature + free + 1e-12 * np.eye(width), gradient + free @ weights)
    new, slope = weights.copy(), gradient.copy()
    for _ in range(500):
        moved = 0.0
        for j in range(width):
            bend = curvature[j, j] + 1e-12
            goal = new[j] - slope[j] / bend
            to = goal if j == width - 1 else math.copysign(max(abs(goal) - 1 / bend, 0.0), goal)
            if to != new[j]:
                slope += curvature[:, j] * (to - new[j])
                moved, new[j] = max(moved, abs(to - new[j])), to
        if moved < 1e-10:
            break
    return new
