"""Statistics of scores: intervals cover, pairing helps, p values are exact where they can be, judges are corrected."""

from __future__ import annotations

import numpy as np
import pytest

from overwinter.bench import statistics as s
from overwinter.errors import UsageError


def test_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):
        chances = rng.beta(2, 2, 40)
        scores = (rng.random((40, 3)) < chances[:, None]).ravel().astype(float)
        found = s.mean(scores, [q for q in range(40) for _ in range(3)])
        inside += found.low <= 0.5 <= found.high
    assert 0.925 <= inside / 600 <= 0.975


def test_a_question_counts_once_however_often_it_was_sampled() -> None:
    found = s.mean([1, 1, 1, 1, 0, 0.5], ["a", "a", "a", "a", "b", "c"])
    assert found.value == pytest.approx(0.5)
    assert found.questions == 3
    assert found.method == "t"
    assert s.mean([1, 0, 1]).method == "wilson"


def test_variance_is_split() -> None:
    rng = np.random.default_rng(1)
    means = rng.normal(0, 2, 400)
    scores = (means[:, None] + rng.normal(0, 1, (400, 5))).ravel()
    found = s.mean(scores, [q for q in range(400) for _ in range(5)])
    assert found.within == pytest.approx(1, rel=0.15)
    assert found.between == pytest.approx(4 + 1 / 5, rel=0.2)
    assert s.repeats_worth(4, 1, repeats=5) == pytest.approx((4 + 0.2) / 5)


def test_exact_mcnemar_and_sign_flip() -> None:
    assert s.mcnemar(9, 1) == pytest.approx(2 * 11 / 1024)
    assert s.mcnemar(0, 0) == 1.0
    assert s.mcnemar(600, 500) == pytest.approx(0.0028, abs=4e-4)
    assert s.sign_flip([1, 1, 1, 1]) == pytest.approx(2 / 16)
    rng = np.random.default_rng(2)
    values = rng.normal(0.2, 1, 13)
    assert s.sign_flip(np.append(values, [0.0] * 3)) == pytest.approx(s.sign_flip(values), abs=0.02)


def test_p_values_of_no_difference_are_uniform() -> None:
    rng = np.random.default_rng(3)
    p = [s.sign_flip(rng.normal(0, 1, 25), draws=400, seed=i) for i in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_comparison_is_on_shared_questions_and_says_how_many_more_are_needed() -> None:
    first = {f"q{i}": [float(i % 2)] for i in range(100)}
    second = {f"q{i}": [float(i % 2 or i < 20)] for i in range(5, 120)}
    found = s.compare(first, second)
    assert found.questions == 95
    assert (found.wins, found.losses, found.test) == (7, 0, "mcnemar")
    assert found.difference == pytest.approx(
        np.mean([second[q][0] - first[q][0] for q in first.keys() & second.keys()])
    )
    assert found.low < found.difference < found.high
    repeated = s.compare({q: [*v, 0.0] for q, v in first.items()}, second)
    assert repeated.test == "sign-flip"
    with pytest.raises(UsageError, match="in common"):
        s.compare({"a": [1.0]}, {"b": [1.0]})


def test_planning_figures_of_the_literature() -> None:
    assert s.questions_needed(0.21, 0.03) == pytest.approx(1830, abs=10)
    with pytest.raises(UsageError):
        s.questions_needed(0.2, 0)


def test_corrections_for_many_tests() -> None:
    p = {"a": 0.01, "b": 0.04, "c": 0.03}
    assert s.holm(p) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert s.benjamini_hochberg(p) == pytest.approx({"a": 0.03, "c": 0.04, "b": 0.04})


def test_a_judge_is_corrected_within_its_interval() -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(3000) < 0.3
    said = np.where(truth, rng.random(3000) < 0.9, rng.random(3000) < 0.2).astype(int)
    checked = [(int(said[i]), int(truth[i])) for i in range(400)]
    found = s.judge_corrected([int(v) for v in said], checked, draws=500)
    assert found.observed > 0.38
    assert found.low < 0.3 < found.high
    assert found.corrected == pytest.approx(0.3, abs=0.05)
    with pytest.raises(UsageError, match="only one class"):
        s.judge_corrected([1, 0], [(1, 1), (0, 1)])
    with pytest.raises(UsageError, match="coin"):
        s.judge_corrected([1, 0], [(1, 0), (0, 1)])


def test_few_questions_have_wider_intervals() -> None:
    assert s.t_quantile(0.975, 2) == pytest.approx(4.302653, abs=1e-5)
    assert s.t_quantile(0.025, 9) == pytest.approx(-2.262157, abs=1e-5)
    assert s.t_quantile(0.975, 10**6) == pytest.approx(1.959964, abs=1e-5)
    with pytest.raises(UsageError):
        s.mean([0.3])
