"""Whether stated confidence holds: what is calibrated is confirmed, what is proud or modest is not, and a run counts once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from overwinter.bench.calibration import PLACES, Told, cluster_null, confirmed, fitted, summarise
from overwinter.errors import UsageError
from overwinter.think.confidence import metrics
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.record import RUN


def seasons(count: int, *, shift: float = 0.0, seed: int = 1, turns: int = 24) -> list[Told]:
    """Runs whose chances are a martingale that ends in the outcome, so calibrated at each turn; then moved on the log-odds."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        odds = rng.normal(0.8, 1.2)
        end = rng.random() < 1 / (1 + np.exp(-odds))
        # What is learned on the way moves the odds towards what will happen: evidence of a log-odds e has mean ± e²/2 · …
        path = odds + np.concatenate([[0.0], np.cumsum(rng.normal(0.02 * (1 if end else -1), 0.2, turns - 1))])
        chances = 1 / (1 + np.exp(-(path + shift)))
        made.append(
            Told(run=f"r{number}", outcome=float(end), chances=tuple(chances), calibrated=True, irreversible=(3, 9), raw=tuple(chances))
        )  # fmt: skip
    return made


def test_what_is_calibrated_is_confirmed() -> None:
    found = summarise(seasons(300), draws=40)
    assert found["confirmed"] is True
    assert found["points"]["start"]["statements"] == 300
    assert found["points"]["turns"]["statements"] == 300 * PLACES
    assert found["points"]["irreversible"]["statements"] == 600
    assert found["points"]["irreversible"]["runs"] == 300
    low, high = found["points"]["end"]["metrics"]["brier"]["interval"]
    assert low < found["points"]["end"]["metrics"]["brier"]["value"] < high


@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_what_is_proud_or_modest_is_not(shift: float) -> None:
    found = summarise(seasons(300, shift=shift), draws=40)
    assert found["confirmed"] is False
    gap = found["points"]["start"]["metrics"]["signed_gap"]["value"]
    assert gap * shift > 0


def test_the_band_is_kept_by_calibrated_runs_as_often_as_promised() -> None:
    kept = []
    for seed in range(60):
        told = seasons(80, seed=seed)
        said = np.array([each.chances[0] for each in told])
        null = cluster_null(said, np.arange(len(said)), draws=200, seed=seed)
        kept.append(metrics.ece(said, np.array([each.outcome for each in told])) <= np.percentile(null, 95))
    assert np.mean(kept) >= 0.86  # 95 % of 60, less three standard errors


def test_statements_of_a_run_are_not_independent() -> None:
    said = np.repeat([0.2, 0.5, 0.7, 0.9] * 5, 10)
    alone = np.percentile(cluster_null(said, np.arange(200)), 95)
    together = np.percentile(cluster_null(said, np.repeat(np.arange(20), 10)), 95)
    assert together > 2 * alone
    assert alone == pytest.approx(np.percentile(metrics.null_ece(said), 95), rel=0.15)


def test_a_long_run_weighs_no_more_than_a_short_one() -> None:
    short = [Told(run=f"s{i}", outcome=1.0, chances=(0.9,), calibrated=True, irreversible=()) for i in range(5)]
    long = [Told(run=f"l{i}", outcome=0.0, chances=(0.9,) * 500, calibrated=True, irreversible=()) for i in range(5)]
    assert summarise(short + long, points=("turns",), draws=20)["points"]["turns"]["metrics"]["accuracy"][
        "value"
    ] == pytest.approx(0.5)


def test_runs_without_an_outcome_or_a_word_are_counted_and_left_out() -> None:
    told = seasons(20)
    told += [Told(run="open", outcome=None, chances=(0.4,), calibrated=False, irreversible=())]
    told += [Told(run="mute", outcome=1.0, chances=(), calibrated=False, irreversible=())]
    found = summarise(told, points=("end",), draws=20)
    assert (found["runs"], found["left_out"]) == (20, {"no outcome": 1, "no statement": 1})
    with pytest.raises(UsageError, match="0 of 2 runs"):
        summarise(told[20:])
    assert confirmed({"end": {"statements": 0, "note": ""}}) is None
    assert summarise(told[:19], points=("end",), draws=20)["confirmed"] is None


def test_a_calibrator_is_fitted_on_runs_and_mends_them() -> None:
    scope = Scope(model="m", task="t", signal="stated")
    proud = seasons(400, shift=1.5, seed=4)
    made = fitted(proud, scope)
    assert (made.of, made.signal, made.calibrator.labels) == (RUN, "stated", 400)
    fresh = seasons(400, shift=1.5, seed=5)
    mended = [
        replace(each, chances=tuple(made.apply({"stated": c}, scope) or 0.0 for c in each.chances)) for each in fresh
    ]
    points = ("start", "turns")
    assert summarise(fresh, points=points, draws=20)["confirmed"] is False
    assert summarise(mended, points=points, draws=20)["confirmed"] is True
    with pytest.raises(UsageError, match="labels"):
        fitted(proud[:20], scope)
