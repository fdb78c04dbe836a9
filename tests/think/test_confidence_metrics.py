"""Metrics of confidence: against their definitions, on cases worked out by hand, and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.think.confidence import metrics, plain

SAMPLES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.95, 1.0]) | st.floats(0, 1), st.integers(0, 1)),
    min_size=1,
    max_size=40,
)


@given(SAMPLES)
def test_twins_agree(rows: list[tuple[float, int]]) -> None:
    said, right = metrics.read([row[0] for row in rows], [row[1] for row in rows])
    for name in ("ece", "brier", "auroc", "aurc", "failure_auprc"):
        fast, slow = getattr(metrics, name)(said, right), getattr(plain, name)(said.tolist(), right.tolist())
        assert fast == pytest.approx(slow, abs=1e-12), name
    assert metrics.coverage_at_risk(said, right, 0.3) == pytest.approx(
        plain.coverage_at_risk(said.tolist(), right.tolist(), 0.3)
    )
    turns = list(range(len(rows)))
    assert metrics.kendall_tau(said, turns) == pytest.approx(plain.kendall_tau(said.tolist(), turns), abs=1e-12)


def test_a_confidence_of_one_lies_in_the_last_bin() -> None:
    said, right = metrics.read([1.0, 1.0], [0, 1])
    assert metrics.ece(said, right) == 0.5


def test_undefined_is_none_not_neutral() -> None:
    said, right = metrics.read([0.3, 0.9], [1, 1])
    assert metrics.auroc(said, right) is None
    assert metrics.failure_auprc(said, right) is None
    assert metrics.mce(said, right) is None
    assert metrics.kendall_tau([0.5, 0.5, 0.5]) is None


def test_parts_of_the_brier_score_add_up() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(500)
    right = (rng.random(500) < said**2).astype(float)
    parts = metrics.brier_parts(said, right)
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    assert total == pytest.approx(metrics.brier(said, right))
    assert parts["reliability"] > 0.01


def test_equal_values_share_an_equal_mass_bin() -> None:
    said = np.array([0.5] * 7 + [0.6, 0.7, 0.8])
    assert len(set(metrics.equal_mass(said, 5)[:7])) == 1


def test_the_order_of_the_data_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    said, right = np.round(rng.random(60), 1), rng.integers(0, 2, 60).astype(float)
    turned = rng.permutation(60)
    for name, metric in metrics.METRICS.items():
        assert metric(said, right) == pytest.approx(metric(said[turned], right[turned]), abs=1e-12), name


def test_the_null_band_tells_noise_from_miscalibration() -> None:
    rng = np.random.default_rng(2)
    said = rng.choice([0.6, 0.7, 0.8, 0.9], 450)
    honest = (rng.random(450) < said).astype(float)
    proud = (rng.random(450) < said - 0.2).astype(float)
    assert not metrics.summarise(said, honest, draws=20)["null_ece"]["distinguishable"]
    assert metrics.summarise(said, proud, draws=20)["null_ece"]["distinguishable"]
    assert 0.02 < metrics.null_ece(said).mean() < 0.06


def test_debiased_error_of_a_calibrated_sample_is_near_zero() -> None:
    rng = np.random.default_rng(3)
    found, raw = [], []
    for _ in range(200):
        said = rng.random(100)
        right = (rng.random(100) < said).astype(float)
        found.append(metrics.debiased_ece(said, right))
        raw.append(metrics.rmsce(said, right) ** 2)
    assert np.mean(found) < 0.5 * np.mean(raw)


def test_bootstrap_draws_questions_with_all_their_samples() -> None:
    rng = np.random.default_rng(4)
    right = np.repeat(rng.integers(0, 2, 30), 20).astype(float)
    said = np.full(600, 0.5)
    alone = metrics.bootstrap(metrics.accuracy, said, right, draws=400)
    together = metrics.bootstrap(metrics.accuracy, said, right, groups=np.repeat(np.arange(30), 20), draws=400)
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_those_of_drawing_rows_one_metric_at_a_time(grouped: bool) -> None:
    rng = np.random.default_rng(5)
    said = np.round(rng.random(60), 1)  # with ties
    right = (rng.random(60) < said).astype(float)
    groups = rng.integers(0, 9, 60) if grouped else None
    found = metrics.bootstrap_all(metrics.METRICS, said, right, groups=groups, draws=50, seed=6)
    members = [np.flatnonzero(groups == name) for name in np.unique(groups)] if grouped else np.arange(60)[:, None]
    for name, metric in metrics.METRICS.items():
        draws, values = np.random.default_rng(6), []
        for _ in range(50):
            rows = np.concatenate([members[place] for place in draws.integers(0, len(members), len(members))])
            value = metric(said[rows], right[rows])
            if value is not None:
                values.append(value)
        expected = np.percentile(values, [2.5, 97.5]) if len(values) >= 25 else None
        assert found[name] == (None if expected is None else pytest.approx(expected.tolist(), abs=1e-12)), name


def test_log_loss_reports_what_it_clipped() -> None:
    said, right = metrics.read([0.0, 1.0, 0.5], [1, 1, 1])
    assert metrics.clipped(said) == 2
    assert metrics.log_loss(said, right) == pytest.approx((-math.log(1e-6) - math.log(1 - 1e-6) - math.log(0.5)) / 3)


@pytest.mark.parametrize(
    ("said", "right", "message"),
    [
        ([], [], "not empty"),
        ([0.5], [1, 0], "same length"),
        ([1.5], [1], "no probability"),
        ([0.5], [0.5], "partial credit"),
    ],
)
def test_bad_samples_are_refused(said: list[float], right: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metrics.summarise(said, right)


def test_unknown_metrics_and_wrong_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown metrics"):
        metrics.summarise([0.5, 0.5], [0, 1], metrics=["brierr"])
    with pytest.raises(UsageError, match="question of every sample"):
        metrics.summarise([0.5, 0.5], [0, 1], groups=[1])
