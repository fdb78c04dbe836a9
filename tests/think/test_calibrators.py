"""Calibrators: they recover what made the data, keep the order, and refuse to be used elsewhere."""

from __future__ import annotations

import json
import math
import random

import pytest

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import METHODS, Calibrator, Scope, fit, prior_shift
from overwinter.think.confidence.logistic import fit_logistic

SCOPE = Scope(model="m", task="arithmetic")


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _sample(slope: float, bias: float, count: int = 1500, seed: int = 0) -> tuple[list[float], list[float]]:
    rng = random.Random(seed)
    scores = [rng.uniform(0.02, 0.98) for _ in range(count)]
    chances = [1 / (1 + math.exp(-(slope * _logit(s) + bias))) for s in scores]
    return scores, [float(rng.random() < chance) for chance in chances]


def test_platt_recovers_slope_and_bias() -> None:
    made = fit("platt", *_sample(0.5, -1.0), SCOPE)
    assert made.parameters["slope"] == pytest.approx(0.5, abs=0.12)
    assert made.parameters["bias"] == pytest.approx(-1.0, abs=0.2)
    assert made.order_held


def test_temperature_recovers_itself() -> None:
    assert fit("temperature", *_sample(0.5, 0.0), SCOPE).parameters["temperature"] == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_each_method_lowers_the_error_and_never_turns_the_order(method: str) -> None:
    scores, right = _sample(0.4, -1.5)
    made = fit(method, scores, right, SCOPE)
    fresh, outcome = _sample(0.4, -1.5, seed=1)

    def brier(values: list[float]) -> float:
        return sum((v - y) ** 2 for v, y in zip(values, outcome, strict=True)) / len(values)

    # Temperature alone cannot move a bias: it only has to do no harm here.
    assert brier([made.apply(s, SCOPE) for s in fresh]) < brier(fresh) - (0.0 if method == "temperature" else 0.05)
    if method != "histogram":
        values = [made.probability(i / 50) for i in range(51)]
        assert values == sorted(values)


@pytest.mark.parametrize("method", ["platt", "temperature", "score", "beta"])
def test_a_reversed_signal_is_held_flat_and_said(method: str) -> None:
    scores, right = _sample(-1.0, 0.5)
    made = fit(method, scores, right, SCOPE)
    assert not made.order_held
    assert made.probability(0.9) >= made.probability(0.1)
    if method != "temperature":
        base = sum(right) / len(right)
        assert made.probability(0.5) == pytest.approx(base, abs=0.02)


def test_scores_on_another_scale() -> None:
    rng = random.Random(5)
    scores = [rng.gauss(15, 2) for _ in range(800)]
    right = [float(rng.random() < 1 / (1 + math.exp(-(s - 15)))) for s in scores]
    made = fit("score", scores, right, SCOPE)
    assert made.probability(15) == pytest.approx(0.5, abs=0.06)
    assert made.probability(19) > 0.9
    with pytest.raises(UsageError, match="method=score"):
        fit("platt", scores, right, SCOPE)


def test_use_outside_the_scope_is_refused_and_names_the_difference() -> None:
    made = fit("platt", *_sample(1, 0), SCOPE)
    with pytest.raises(UsageError, match="task 'chess' instead of 'arithmetic'"):
        made.apply(0.5, Scope(model="m", task="chess"))


def test_round_trip_and_foreign_files() -> None:
    made = fit("isotonic", *_sample(1, 0), SCOPE)
    raw = json.loads(json.dumps(made.to_json()))
    assert Calibrator.from_json(raw) == made
    for change in ({"format_version": 2}, {"method": "magic"}, {"surprise": 1}, {"scope": {"planet": "x"}}):
        with pytest.raises(UsageError):
            Calibrator.from_json(raw | change)


def test_too_few_labels_or_one_class() -> None:
    scores, right = _sample(1, 0, count=40)
    with pytest.raises(UsageError, match="500 labels"):
        fit("isotonic", scores, right, SCOPE)
    with pytest.raises(UsageError, match="all outcomes are the same"):
        fit("platt", scores, [1.0] * 40, SCOPE)
    with pytest.raises(UsageError, match="unknown method"):
        fit("plat", scores, right, SCOPE)


def test_separable_data_end_at_the_ridge() -> None:
    weights = fit_logistic([[-1.0, 1.0], [1.0, 1.0]] * 20, [0.0, 1.0] * 20, ridge=1e-4)
    assert 1 < weights[0] < 20
    assert math.isfinite(weights[1])


def test_prior_shift_moves_the_base_rate() -> None:
    assert prior_shift(0.5, fitted=0.5, now=0.2) == pytest.approx(0.2)
    assert prior_shift(0.9, fitted=0.3, now=0.3) == pytest.approx(0.9)
    with pytest.raises(UsageError):
        prior_shift(0.5, fitted=0.0, now=0.5)
