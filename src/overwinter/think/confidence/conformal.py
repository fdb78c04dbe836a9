"""What can be promised of a confidence without believing in it: sets that cover, and answers whose error is bounded.

Both promises rest on exchangeability: calibration items and new ones come from one source in random order. The steps of one run
are not exchangeable; calibrate with one score a run, by task family. Sources: Vovk et al. 2005; Romano et al. 2020 (adaptive
sets, arXiv 2006.02544); Angelopoulos et al. 2021 (arXiv 2110.01052) for fixed-sequence testing. No dependency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.think.confidence.binomial import at_most, upper_bound

MIN_ITEMS = 20


def split_quantile(scores: Sequence[float], alpha: float) -> float:
    """The threshold q of split conformal prediction: the ⌈(n+1)(1−alpha)⌉-th smallest score; infinite when n is too small.

    Coverage of {label: score ≤ q} lies in [1−alpha, 1−alpha + 1/(n+1)], on average over calibration sets.
    """
    _check(alpha)
    rank = math.ceil((len(scores) + 1) * (1 - alpha))
    return sorted(scores)[rank - 1] if rank <= len(scores) else math.inf


def label_score(probabilities: Sequence[float], label: int) -> float:
    """Score of the plain sets: 1 − probability of the label."""
    return 1 - probabilities[label]


def adaptive_score(probabilities: Sequence[float], label: int, chance: float) -> float:
    """Score of adaptive sets: probability of all labels above this one, and the share `chance` (uniform in 0..1) of its own."""
    mine = probabilities[label]
    above = sum(p for place, p in enumerate(probabilities) if (p, -place) > (mine, -label))
    return above + chance * mine


def prediction_set(scores: Sequence[float], quantile: float) -> list[int]:
    """The labels whose score is at most the quantile; it may be empty."""
    return [label for label, score in enumerate(scores) if score <= quantile]


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """Answer where the confidence is at least `at`.

    Attributes:
        coverage: share of the calibration items that are answered.
        errors, answered: seen there.
        bound: the error among answers is below this with probability 1 − delta.
    """

    at: float
    coverage: float
    errors: int
    answered: int
    bound: float
    risk: float
    delta: float


def risk_threshold(
    confidence: Sequence[float], correct: Sequence[float], *, risk: float, delta: float = 0.05
) -> Threshold | None:
    """The lowest threshold for which the error among answers is at most `risk`, at level 1 − delta; None where there is none.

    Thresholds are tested from strict to lax and the first failure ends the search (fixed-sequence testing), so that no
    correction for many tests is needed. Those that leave fewer than `MIN_ITEMS` answers cannot pass and are not tested.
    """
    _check(risk)
    _check(delta)
    if len(confidence) != len(correct):
        raise UsageError(f"{len(confidence)} confidences and {len(correct)} outcomes", "give one outcome for each")
    rows = sorted(zip(confidence, correct, strict=True), key=lambda row: -row[0])
    found: tuple[float, int, int] | None = None
    errors = 0
    for place, (value, outcome) in enumerate(rows):
        errors += outcome == 0
        answered = place + 1
        if answered < MIN_ITEMS or (answered < len(rows) and rows[answered][0] == value):
            continue
        # One tail instead of a whole bound: this is asked at every threshold.
        if at_most(errors, answered, risk) <= delta:
            found = (value, errors, answered)
        elif answered >= _enough(risk, delta):
            break
    if found is None:
        return None
    value, errors, answered = found
    return Threshold(
        at=value,
        coverage=answered / len(rows),
        errors=errors,
        answered=answered,
        bound=upper_bound(errors, answered, delta),
        risk=risk,
        delta=delta,
    )


def _enough(risk: float, delta: float) -> int:
    """Answers with which a threshold without any error would pass: with fewer, a failure says nothing."""
    return math.ceil(math.log(delta) / math.log1p(-risk))


def _check(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"{level} is no level", "give a number between 0 and 1")
