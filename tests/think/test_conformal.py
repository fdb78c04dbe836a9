"""Promises: sets that cover, thresholds whose error stays under the bound, intervals that hold what they say."""

from __future__ import annotations

import math
import random

import pytest

from overwinter.errors import UsageError
from overwinter.think.confidence.binomial import at_most, clopper_pearson, upper_bound, wilson
from overwinter.think.confidence.conformal import (
    adaptive_score,
    label_score,
    prediction_set,
    risk_threshold,
    split_quantile,
)


def _item(rng: random.Random) -> tuple[list[float], int]:
    """Probabilities that are too sure, and the true label."""
    raw = [rng.random() ** 3 + 0.01 for _ in range(5)]
    truth = rng.choices(range(5), raw)[0]
    sharp = [value**2 for value in raw]
    return [value / sum(sharp) for value in sharp], truth


@pytest.mark.parametrize("adaptive", [False, True])
def test_sets_cover_although_the_probabilities_are_wrong(adaptive: bool) -> None:
    rng = random.Random(0)

    def score(probabilities: list[float], label: int) -> float:
        return adaptive_score(probabilities, label, rng.random()) if adaptive else label_score(probabilities, label)

    covered = tested = 0
    for _ in range(20):
        quantile = split_quantile([score(*_item(rng)) for _ in range(200)], 0.1)
        for _ in range(100):
            probabilities, truth = _item(rng)
            scores = [score(probabilities, label) for label in range(5)]
            covered, tested = covered + (truth in prediction_set(scores, quantile)), tested + 1
    assert 0.88 < covered / tested < 0.925


def test_too_few_items_give_the_whole_set() -> None:
    assert split_quantile([0.1] * 5, 0.1) == math.inf
    assert split_quantile(list(range(1, 20)), 0.1) == 18


def test_risk_is_controlled() -> None:
    rng = random.Random(1)
    broken = 0
    for _ in range(200):
        confidence = [rng.random() for _ in range(300)]
        correct = [float(rng.random() < c) for c in confidence]
        found = risk_threshold(confidence, correct, risk=0.2, delta=0.1)
        # Above a threshold t the true error is the mean of 1 − c over [t, 1]: (1 − t) / 2.
        broken += found is not None and (1 - found.at) / 2 > 0.2
    assert broken / 200 <= 0.15


def test_a_useful_threshold_is_found_and_a_hopeless_one_is_not() -> None:
    confidence = [i / 400 for i in range(400)]
    correct = [float(c > 0.3) for c in confidence]
    found = risk_threshold(confidence, correct, risk=0.05)
    assert found is not None
    assert found.coverage > 0.65
    assert found.bound <= 0.05
    assert risk_threshold(confidence, [float(i % 2) for i in range(400)], risk=0.05) is None


def test_ties_are_answered_together() -> None:
    found = risk_threshold([0.9] * 100 + [0.5] * 100, [1.0] * 100 + [0.0] * 100, risk=0.1)
    assert found is not None
    assert (found.at, found.answered, found.errors) == (0.9, 100, 0)


def test_bounds_of_a_share() -> None:
    assert upper_bound(0, 10, 0.05) == pytest.approx(1 - 0.05**0.1)
    low, high = clopper_pearson(3, 20)
    assert (low, high) == pytest.approx((0.0320709, 0.3789268), abs=1e-6)
    assert at_most(3, 20, high) == pytest.approx(0.025)
    assert wilson(3, 20) == pytest.approx((0.0523687, 0.3604189), abs=1e-6)
    assert wilson(0, 5)[0] == 0.0
    assert clopper_pearson(20, 20)[1] == 1.0
    with pytest.raises(UsageError):
        wilson(3, 2)
    with pytest.raises(UsageError):
        risk_threshold([0.5], [1.0], risk=0)
