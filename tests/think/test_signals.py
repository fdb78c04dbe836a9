"""Confidence from log-probabilities: by hand, at the edges, and as a stream."""

from __future__ import annotations

import math

import pytest

from overwinter.errors import UsageError
from overwinter.think.confidence.signals import StepWatch, steps, token_confidence, trace_confidence, windows


def test_a_peaked_distribution_is_surer() -> None:
    flat = [math.log(0.25)] * 4
    peaked = [math.log(0.97), *[math.log(0.01)] * 3]
    assert token_confidence(flat, 4) == pytest.approx(math.log(4))
    assert token_confidence(peaked, 4) > token_confidence(flat, 4)
    # Fewer candidates than asked for are averaged over what came.
    assert token_confidence(flat[:2], 20) == pytest.approx(math.log(4))
    for bad in ([], [0.5]):
        with pytest.raises(UsageError, match="log-probabilities"):
            token_confidence(bad)


def test_steps_end_at_blank_lines_wherever_tokens_break() -> None:
    assert steps(["a", "\n", "\n", "b", "\n\n", "c"]) == [(0, 3), (3, 5), (5, 6)]
    assert steps(["a\n", "\nb", "c"]) == [(0, 2), (2, 3)]
    assert steps(["a", "\n\n"]) == [(0, 2)]
    assert steps([]) == []


def test_windows_slide() -> None:
    assert windows([1.0, 2.0, 3.0, 4.0], 2) == pytest.approx([1.5, 2.5, 3.5])
    assert windows([1.0, 3.0], 5) == [2.0]
    assert windows([], 5) == []


def test_summaries() -> None:
    made = trace_confidence([4.0, 4.0, 1.0, 1.0, 6.0], ["a", "\n\n", "b", "\n\n", "c"], window=2)
    assert made.average == pytest.approx(3.2)
    assert made.lowest == 1.0
    assert made.bottom == 1.0
    assert made.tail == 3.5
    assert made.last_step == 6.0
    with pytest.raises(UsageError):
        trace_confidence([1.0], ["a", "b"])
    with pytest.raises(UsageError):
        trace_confidence([])


def test_a_falling_step_triggers_and_leaves_the_threshold() -> None:
    watch = StepWatch()
    assert [watch.step(value) for value in (10.0, 10.0, 7.0, 7.5, 9.0)] == [False, False, True, False, False]
    assert watch.triggered == 1
    # 7.5 is below the threshold but no fall; 10 → 9.5 → 9.4: the one that triggered left no trace.
    assert watch.threshold == pytest.approx(0.8 * (0.8 * 10 + 0.2 * 7.5) + 0.2 * 9.0)
