"""Reading answers: found where they are, None where they are not; never guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from overwinter.bench import reading
from overwinter.bench.suite import Item
from overwinter.bench.suites.clinical import score_calculation

OPTIONS = {"A": "Melanoma", "B": "Amelanotic melanoma", "C": "The flu", "D": "A cold"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B", "B"),
        ("answer: **C**", "C"),
        ("I think so.\nAnswer: (D)\nConfidence: 0.4", "D"),
        ("The answer is A.", "A"),
        ("Answer: option C", "C"),
        ("Answer: D. A cold", "D"),
        ("Answer: Melanoma", "A"),
        ("Answer: Amelanotic melanoma", "B"),
        ("It is most likely amelanotic melanoma", "B"),
        ("Answer: flu", "C"),
        ("A and B are both possible", None),
        ("Answer: A or B", None),
        ("A cold is what it is", "D"),
        ("Answer: E", None),
        ("I'd rather not say", None),
        ("", None),
        ("Answer: A\nno, wait\nAnswer: C", "C"),
    ],
)
def test_a_choice_is_read(text: str, letter: str | None) -> None:
    assert reading.choice(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: 1,234.5", Fraction("1234.5")),
        ("so 3 + 4 = 7\n#### 7", Fraction(7)),
        ("Answer: $18 a day", Fraction(18)),
        (r"Answer: \boxed{-3}", Fraction(-3)),
        ("7 and then 9", Fraction(9)),
        ("none at all", None),
        ("Answer: 6.022e3", Fraction(6022)),
    ],
)
def test_a_number_is_read(text: str, value: Fraction | None) -> None:
    assert reading.number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Confidence: 0.7", 0.7),
        ("confidence 80%", 0.8),
        ("Confidence: 8/10", 0.8),
        ("Confidence is 95", 0.95),
        ("Confidence: **0.25**", 0.25),
        ("Confidence: 0.2\nConfidence: 0.6", 0.6),
        ("Confidence: high", None),
        ("Confidence: 900", None),
    ],
)
def test_a_stated_confidence_is_read(text: str, value: float | None) -> None:
    assert reading.stated_confidence(text) == value


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})", True),
        (r"\dfrac{1}{2}", "0.5", True),
        (r"\frac12", r"\frac{1}{2}", True),
        ("x = 5", "5", True),
        ("1,000", "1000", True),
        (r"90^\circ", "90", True),
        (r"\text{Evelyn}", "Evelyn", True),
        ("2", "3", False),
        (r"\sqrt{2}", "2", False),
        (r"-\frac{1}{2}", "-0.5", True),
    ],
)
def test_formulas_are_the_same_when_they_are_only_spelled_otherwise(first: str, second: str, same: bool) -> None:
    assert reading.same_formula(first, second) is same


def test_boxes_are_matched() -> None:
    assert reading.boxed(r"first \boxed{1}, then \boxed{\frac{1}{2}} it is") == r"\frac{1}{2}"
    assert reading.boxed("no box") is None
    assert reading.boxed(r"\boxed{open") is None


def test_words_overlap() -> None:
    assert reading.token_f1("the red house", "Red House!") == 1.0
    assert reading.token_f1("a red car", "red house") == 0.5
    assert reading.token_f1("blue", "red") == 0.0


@pytest.mark.parametrize(
    ("gold", "text", "correct"),
    [
        (["63.6", "70.4"], "Answer: 67", 1.0),
        (["63.6", "70.4"], "Answer: 70.5 mL/min", 0.0),
        (["2", "2"], "Answer: 2", 1.0),
        (["12/02/2000"], "Answer: 12/2/2000", 1.0),
        (["12/02/2000"], "Answer: 12/3/2000", 0.0),
        (["('34 weeks', '3 days')"], "Answer: 34 weeks and 3 days", 1.0),
        (["('34 weeks', '3 days')"], "Answer: 34 weeks", 0.0),
        (["2", "2"], "I cannot", 0.0),
    ],
)
def test_calculations_are_right_within_their_bounds(gold: list[str], text: str, correct: float) -> None:
    assert score_calculation(Item(id="x", question="", gold=gold), text).correct == correct
