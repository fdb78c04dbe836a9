"""Error densities and ranks, with intervals that hold what they promise."""

from __future__ import annotations

import random

import pytest

from overwinter.errors import UsageError
from overwinter.think.consistency.metrics import corrected, density, mean_density, poisson_interval, ranks


def test_a_density_of_a_short_text_has_a_wide_interval() -> None:
    short, long = density(1, 700), density(10, 7000)
    assert short.value == pytest.approx(long.value) == pytest.approx(14.2857, abs=1e-3)
    assert short.high - short.low > 3 * (long.high - long.low)
    with pytest.raises(UsageError):
        density(1, 0)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_poisson_intervals_are_those_of_the_tables(count: int, low: float, high: float) -> None:
    assert poisson_interval(count) == pytest.approx((low, high), abs=1e-3)


def test_a_checker_with_known_errors_is_corrected() -> None:
    assert corrected(density(11, 10_000), precision=0.9, recall=0.55) == pytest.approx(18.0)
    with pytest.raises(UsageError):
        corrected(density(1, 100), precision=1.2, recall=0.5)


def test_ranks_with_and_without_length() -> None:
    texts = {"long": {"p": (3, 10_000), "q": (1, 9000)}, "short": {"p": (0, 2000), "q": (0, 3000)}}
    with_length, without = ranks(texts), ranks(texts, with_length=False)
    assert (with_length["long"].value, with_length["short"].value) == (1.0, 2.0)
    assert (without["long"].value, without["short"].value) == (2.0, 1.0)
    tied = ranks({"a": {"p": (0, 100)}, "b": {"p": (0, 100)}, "c": {"p": (1, 100)}})
    assert [tied[name].value for name in "abc"] == [1.0, 1.0, 3.0]
    with pytest.raises(UsageError, match="in common"):
        ranks({"a": {"p": (0, 1)}, "b": {"q": (0, 1)}})


def test_the_mean_of_densities_covers_the_truth() -> None:
    rng, hits = random.Random(1), 0
    for trial in range(60):
        texts = [(sum(rng.random() < 0.002 for _ in range(1000)), 1000) for _ in range(40)]
        found = mean_density(texts, seed=trial)
        hits += found.low <= 20.0 <= found.high
    assert hits >= 52
