"""A run's probability from its token confidences: the features are those of their definitions, the fits are at their minimum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.think.confidence import metrics, plain
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.combined import Combined
from overwinter.think.confidence.record import Record
from overwinter.think.confidence.trajectory import (
    FAMILIES,
    NAMES,
    Step,
    cross_validated,
    features,
    fit_trajectory,
    steps_of,
)

SCOPE = Scope(model="m", task="t", signal="trajectory")
PROBABILITIES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6)


def steps(rows: list[list[float]]) -> list[Step]:
    return [Step(top1=tuple(row), topk=tuple(1 + v * v for v in row)) for row in rows]


def test_there_are_forty_eight() -> None:
    assert len(NAMES) == len(set(NAMES)) == 48
    assert [len(each) for each in FAMILIES.values()] == [19, 14, 10, 5]


@given(st.lists(PROBABILITIES, min_size=1, max_size=6))
def test_features_are_those_of_their_definitions(rows: list[list[float]]) -> None:
    made = steps(rows)
    expected = plain.trajectory_features([(step.top1, step.topk) for step in made])
    found = features(made)
    assert list(found) == list(NAMES)
    assert list(found.values()) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_by_hand() -> None:
    found = features(steps([[0.5, 0.5], [0.2, 0.6], [0.9, 0.9]]))
    assert found["first_entropy"] == pytest.approx(math.log(2))
    assert found["first_spread"] == found["last_spread"] == 0
    assert found["x_gradient_mean"] == pytest.approx((0.9 - 0.5) / 2)
    assert found["x_gradient_trend"] == pytest.approx((0.9 - 0.4) - (0.4 - 0.5))
    assert found["token_gradient_max"] == pytest.approx(0.4)
    assert found["spread_mean"] == pytest.approx(0.5 / 3)
    assert (found["steps"], found["first_tokens"], found["tokens_sd"]) == (0.3, 2, 0)
    # One step alone has no change, and nothing is divided by nothing.
    lone = features(steps([[0.4]]))
    assert lone["x_change"] == lone["x_gradient_sd"] == lone["first_skewness"] == 0
    with pytest.raises(UsageError, match="no token log-probabilities"):
        features([])


def test_steps_are_the_answers_that_have_numbers() -> None:
    row = {"a": math.log(0.5), "b": math.log(0.25)}
    base = {"run": "r", "seq": 1, "turn": 1, "time_us": 0, "model": "m"}
    found = [
        Record(**base, logprobs=(math.log(0.5),), top_logprobs=(row,)),  # type: ignore[arg-type]
        Record(**base),  # type: ignore[arg-type]
        Record(**base, logprobs=(math.log(0.9), -2000.0)),  # type: ignore[arg-type]
    ]
    first, last = steps_of(found)
    assert first.top1 == pytest.approx((0.5,))
    assert first.topk == pytest.approx(((math.log(2) + math.log(4)) / 2,))
    assert last.top1 == last.topk
    assert features([first, last])["steps"] == 0.2  # also with a token the model could hardly have said


def runs(count: int, seed: int = 0) -> tuple[list[dict[str, float]], list[float]]:
    """Runs that end well more often where the last answer is surer; all else is noise."""
    rng = np.random.default_rng(seed)
    rows, good = [], []
    for _ in range(count):
        levels = rng.uniform(0.4, 0.95, rng.integers(2, 7))
        rows.append(
            features(steps([rng.uniform(level - 0.3, level + 0.04, 5).clip(0.02).tolist() for level in levels]))
        )
        good.append(float(rng.random() < 1 / (1 + np.exp(-9 * (levels[-1] - 0.7)))))
    return rows, good


@pytest.mark.parametrize("kind", ["ridge", "lasso"])
def test_fits_are_those_of_the_slow_twin(kind: str) -> None:
    rng = np.random.default_rng(3)
    names = ("a", "b", "c")
    rows = [dict(zip(names, rng.normal(size=3).tolist(), strict=True)) for _ in range(120)]
    good = [float(row["a"] - 0.5 * row["b"] + rng.normal() > 0) for row in rows]
    made = fit_trajectory(rows, good, SCOPE, kind=kind, strength=0.2, names=names)  # type: ignore[arg-type]
    from overwinter.think.confidence.combined import standard, standardised

    means, deviations = standard(rows, names)
    inputs = [standardised(row, names, means, deviations) for row in rows]
    slow = plain.penalised_logistic(inputs, good, lasso=kind == "lasso", strength=0.2, rounds=1200)
    found = dict(zip(made.names, made.weights, strict=True))
    assert [found.get(name, 0.0) for name in names] == pytest.approx(slow[:-1], abs=1e-5)
    assert made.bias == pytest.approx(slow[-1], abs=1e-5)


def test_a_strong_lasso_keeps_what_matters_and_ridge_keeps_all() -> None:
    rows, good = runs(300)
    sparse = fit_trajectory(rows, good, SCOPE, kind="lasso", strength=0.05)
    assert 1 <= len(sparse.names) <= 12
    assert any(name.startswith("last_") for name in sparse.names)
    assert len(fit_trajectory(rows, good, SCOPE, kind="ridge", strength=0.05).names) == 48
    assert Combined.from_json(sparse.to_json()) == sparse


def test_held_out_it_is_worth_something_and_outside_it_is_refused() -> None:
    rows, good = runs(220, seed=1)
    held = cross_validated(rows, good, kind="ridge")
    said, right = np.array(held), np.array(good)
    assert (metrics.auroc(said, right) or 0) > 0.7
    assert metrics.brier(said, right) < right.mean() * (1 - right.mean())
    made = fit_trajectory(rows, good, SCOPE, kind="ridge", strength=0.1)
    assert 0 < made.apply(rows[0], SCOPE) < 1
    with pytest.raises(UsageError, match="fitted elsewhere"):
        made.apply(rows[0], Scope(model="other", task="t", signal="trajectory"))
    with pytest.raises(UsageError, match="cannot be fitted"):
        fit_trajectory(rows[:50], good[:50], SCOPE)
