"""Confidence in words and by agreement: what is read, what is not, and what samples agree on."""

from __future__ import annotations

import math

import pytest

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.combined import fit_combined
from overwinter.think.confidence.semantic import agreement
from overwinter.think.confidence.stated import (
    INLINE,
    p_true,
    read_statement,
    second_question,
    true_question,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 12.\nConfidence: 85%", 0.85),
        ("Confidence: 0.85", 0.85),
        ("confidence = 8/10", 0.8),
        ("**Confidence:** 70 percent", 0.7),
        ("Confidence: 40%. No, after checking it: Confidence: 90%", 0.9),
        ("My confidence is 95%.", 0.95),
        ("0.3", 0.3),
        ("`75%`", 0.75),
        ("**60**", 0.6),
        ("Confidence: 1", 1.0),
        ("Confidence: 100%", 1.0),
        ("Confidence: 0%", 0.0),
        ("Probability of .25", 0.25),
        ("Confidence: high", None),
        ("Confidence: 140%", None),
        ("Confidence: 12/10", None),
        ("Confidence: 3/0", None),
        ("The answer is 42.", None),
        ("", None),
        ("confidence", None),
    ],
)
def test_what_is_read(text: str, value: float | None) -> None:
    found = read_statement(text)
    assert found is None if value is None else found == pytest.approx(value)


def test_the_questions_show_what_they_ask_about() -> None:
    asked = second_question("2 + 2?", "5")
    assert "2 + 2?" in asked
    assert "5" in asked
    assert "wrong" in second_question("q", "a", skeptical=True)
    assert "Possible answer: 7" in true_question("q", "a", ["7"])
    assert read_statement(INLINE) is None  # the instruction itself states nothing


def test_p_true_is_of_the_two_words_alone() -> None:
    assert p_true(math.log(0.3), math.log(0.1)) == pytest.approx(0.75)
    assert p_true(-900.0, -1.0) == pytest.approx(0.0, abs=1e-12)
    assert p_true(-math.inf, -1.0) == 0.0
    with pytest.raises(UsageError):
        p_true(0.5, -1.0)


def same(left: str, right: str) -> bool:
    return left.lower() == right.lower()


def test_samples_that_say_the_same_are_one_answer() -> None:
    found = agreement(["Rome", "paris", "ROME", None, "rome"], same)
    assert found.clusters == ((0, 2, 4), (1,))
    assert found.weights == (0.75, 0.25)
    assert found.unread == 1
    assert found.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert found.certainty == pytest.approx(1 - found.entropy / math.log(4))


def test_weights_by_probability() -> None:
    found = agreement(
        ["a", "b", "a"], same, logprobs=[[math.log(0.1)], [math.log(0.8), math.log(0.8)], [math.log(0.1)]]
    )
    assert found.clusters[0] == (1,)
    assert found.weights == pytest.approx((0.8, 0.2))
    with pytest.raises(UsageError):
        agreement(["a"], same, logprobs=[[]])


def test_the_ends() -> None:
    assert agreement([], same).share == 0
    assert agreement([None], same).certainty == 0
    assert agreement(["a", "a"], same).entropy == 0
    assert agreement(["a", "b"], same).certainty == pytest.approx(0)


def test_a_missing_signal_counts_as_its_mean_and_says_so() -> None:
    rows = [{"a": float(i % 10), **({"b": 1.0} if i % 2 else {})} for i in range(200)]
    good = [float((i % 10) + 4 * (i % 2) > 6) for i in range(200)]
    made = fit_combined(rows, good, Scope(), names=("a", "b"))
    assert made.probability({"a": 5.0, "b": 1.0}) > made.probability({"a": 5.0}) + 0.2
    assert made.probability({"b": 1.0}) == pytest.approx(made.probability({"a": 4.5, "b": 1.0}), abs=0.2)
    # What was never met does not shout.
    assert made.probability({"a": 1e9, "b": 1.0}) == made.probability({"a": 1e8, "b": 1.0})


def test_a_signal_of_confidence_never_counts_against_itself() -> None:
    rows = [{"sure": float(i % 7), "other": float(i % 3)} for i in range(210)]
    good = [float(i % 7 < 3) for i in range(210)]
    held = fit_combined(rows, good, Scope(), names=("sure", "other"), rising=("sure",))
    assert "sure" not in held.names
    assert "sure" in fit_combined(rows, good, Scope(), names=("sure", "other")).names
    with pytest.raises(UsageError, match="needs 100"):
        fit_combined(rows[:50], good[:50], Scope(), names=("sure",))
    with pytest.raises(UsageError, match="the same"):
        fit_combined(rows, [1.0] * 210, Scope(), names=("sure",))
