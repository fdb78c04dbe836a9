"""Schedules: where they begin, what they hold, where they end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from overwinter.errors import UsageError
from overwinter.learn.train.schedule import Schedule


def test_warm_up_is_the_same_for_all() -> None:
    for kind in ("wsd", "linear", "cosine", "constant"):
        schedule = Schedule(steps=100, kind=kind, warmup=10)  # type: ignore[arg-type]
        assert [schedule.factor(step) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]


def test_wsd_holds_and_then_decays() -> None:
    schedule = Schedule(steps=100, warmup=10, decay=0.4, final=0.05)
    assert {schedule.factor(step) for step in range(10, 60)} == {1.0}
    assert schedule.factor(79) == pytest.approx(0.05 + 0.95 * 0.5)
    assert schedule.factor(99) == pytest.approx(0.05)
    assert schedule.factor(1000) == pytest.approx(0.05)


def test_linear_cosine_and_sqrt() -> None:
    linear = Schedule(steps=110, kind="linear", warmup=10, final=0.0)
    assert linear.factor(59) == pytest.approx(0.5)
    cosine = Schedule(steps=110, kind="cosine", warmup=10, final=0.2)
    assert cosine.factor(59) == pytest.approx(0.6)
    assert cosine.factor(34) > linear.factor(34)
    sqrt = Schedule(steps=100, decay=1.0, final=0.0, shape="sqrt")
    assert sqrt.factor(24) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["wsd", "linear", "cosine"])
def test_never_up_after_the_warm_up_and_never_nothing_before_the_end(kind: str) -> None:
    schedule = Schedule(steps=57, kind=kind, warmup=5, final=0.0)  # type: ignore[arg-type]
    factors = [schedule.factor(step) for step in range(57)]
    assert all(a >= b for a, b in pairwise(factors[4:]))
    assert min(factors[:-1]) > 0
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)


def test_a_schedule_that_is_all_warm_up() -> None:
    assert Schedule(steps=3, warmup=3).factor(2) == 1.0


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 5, "warmup": 6}, {"steps": 5, "decay": 1.5}, {"steps": 5, "kind": "step"}]
)
def test_wrong_schedules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Schedule(**wrong)
