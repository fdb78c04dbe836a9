"""Votes: what is counted, what filters keep, what labels teach, when to stop."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.vote import (
    Ballot,
    distri,
    fit_vote,
    hierarchical,
    majority,
    mixture,
    normalise,
    plain,
    top_share,
    weighted,
)
from overwinter.think.vote.fitted import FittedVote, Labelled
from overwinter.think.vote.online import TraceWatch, Watchman, bar, leader_may_change
from overwinter.think.vote.rules import RULES

SCOPE = Scope(task="sums")


def _ballots(*rows: tuple[str | None, float]) -> list[Ballot]:
    return [Ballot(answer=answer, confidence=confidence) for answer, confidence in rows]


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ("  42. ", "42"),
        ("$42.00$", "42"),
        ("\\boxed{1,234.50}", "1234.5"),
        ("The answer: \\boxed{\\text{Paris}}", "paris"),
        ("**B**", "b"),
        ("$3.50", "3.5"),
        ("12 %", "12 %"),
        ("12%", "12%"),
        ("  ", None),
        ("-0.5", "-0.5"),
    ],
)
def test_answers_in_normal_form(said: str, normal: str | None) -> None:
    assert normalise(said) == normal


def test_a_sample_without_an_answer_is_no_vote() -> None:
    found = majority([Ballot(answer=None)] * 5 + [Ballot(answer="a")] * 2 + [Ballot(answer="b")])
    assert (found.answer, found.cast, found.unread, found.used) == ("a", 3, 5, 3)
    assert found.share == pytest.approx(2 / 3)
    assert found.margin == pytest.approx(1 / 3)
    nobody = majority([Ballot(answer=None)])
    assert (nobody.answer, nobody.share, nobody.unread) == (None, 0.0, 1)


def test_weights_decide_and_must_be_weights() -> None:
    rows = _ballots(("a", 1.0), ("a", 1.0), ("b", 3.0), (None, 9.0))
    assert weighted(rows).answer == "b"
    assert majority(rows).answer == "a"
    with pytest.raises(UsageError, match="cannot be a weight"):
        weighted(_ballots(("a", -1.0)))


def test_only_the_surest_are_kept() -> None:
    rows = _ballots(*[("a", 1.0)] * 9, ("b", 5.0))
    found = top_share(rows, 0.1)
    assert (found.answer, found.used, found.cast) == ("b", 1, 10)
    with pytest.raises(UsageError):
        top_share(rows, 0)


def _two_humps(seed: int = 0, right: int = 30, wrong: int = 50) -> list[Ballot]:
    rng = random.Random(seed)
    rows = [("right", rng.gauss(16, 0.8)) for _ in range(right)]
    rows += [(rng.choice(["wrong", "wrong", "other"]), rng.gauss(12, 0.8)) for _ in range(wrong)]
    rng.shuffle(rows)
    return _ballots(*rows)


def test_a_sure_minority_wins_by_the_mixture() -> None:
    rows = _two_humps()
    assert majority(rows).answer == "wrong"
    for name in ("mixture", "distri"):
        found = RULES[name](rows)
        assert (found.answer, found.rule) == ("right", name)
    assert distri(rows).used < 60


def test_without_a_mixture_the_majority_decides_and_says_so() -> None:
    few = _two_humps(right=6, wrong=10)
    assert distri(few).rule == "distri: majority"
    flat = [Ballot(answer="a", confidence=10.0)] * 40
    assert RULES["mixture"](flat).rule == "mixture: majority"
    assert mixture([1.0] * 40) is None
    assert mixture([1.0] * 39 + [50.0]) is None


@given(st.integers(0, 10_000), st.integers(10, 60), st.integers(10, 60), st.floats(0.5, 6))
def test_mixture_twins_agree(seed: int, low: int, high: int, gap: float) -> None:
    rng = random.Random(seed)
    values = [rng.gauss(10, 1) for _ in range(low)] + [rng.gauss(10 + gap, 1) for _ in range(high)]
    fast, slow = mixture(values), plain.mixture(values)
    if fast is not None:
        assert fast.means == pytest.approx(slow.means, abs=1e-6)
        assert fast.upper == pytest.approx(slow.upper, abs=1e-6)


def test_ranges_of_confidence_vote_once_each() -> None:
    rows = _ballots(*[("crowd", 1.0 + i / 1000) for i in range(50)], ("sure", 9.0), ("sure", 5.0))
    assert majority(rows).answer == "crowd"
    assert hierarchical(rows).answer == "sure"


def _questions(signal: float, count: int, seed: int) -> list[Labelled]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        chance, rows = rng.betavariate(1.2, 0.8), []
        for _ in range(16):
            right = rng.random() < chance
            answer = "yes" if right else rng.choice(["no", "no", "maybe"])
            rows.append(Ballot(answer=answer, confidence=15 + rng.gauss(0, 1) + signal * right))
        made.append(Labelled(ballots=tuple(rows), truth="yes"))
    return made


def _accuracy(vote: FittedVote, asked: list[Labelled]) -> float:
    return sum(vote(question.ballots).answer == question.truth for question in asked) / len(asked)


def test_labels_teach_how_much_confidence_counts() -> None:
    asked = _questions(1.5, 400, seed=1)
    made = fit_vote(_questions(1.5, 200, seed=0), SCOPE)
    assert made.gain > made.error > 0
    assert _accuracy(made, asked) > _accuracy(FittedVote(), asked) + 0.04
    assert FittedVote.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_useless_signal_or_few_labels_leave_the_majority() -> None:
    useless = fit_vote(_questions(0.0, 200, seed=2), SCOPE)
    assert useless.kappa == 0
    assert "majority" in useless.reason
    few = fit_vote(_questions(2.0, 20, seed=3), SCOPE)
    assert few.kappa == 0
    assert "50 are needed" in few.reason


def test_a_strength_does_not_transfer() -> None:
    made = FittedVote(kappa=8.0, shape="exponential", scope=SCOPE, labelled=100)
    rows = _ballots(("a", 1.0), ("a", 1.1), ("b", 9.0))
    assert made(rows, SCOPE).answer == "b"
    foreign = made(rows, Scope(task="poems"))
    assert (foreign.answer, foreign.rule) == ("a", "fitted: majority, another scope")
    assert made([Ballot(answer="c")]).rule == "fitted: majority, no confidences"
    with pytest.raises(UsageError):
        FittedVote.from_json({"version": 2})
    with pytest.raises(UsageError, match="unknown shape"):
        FittedVote.from_json({**made.to_json(), "shape": "cubic"})


def test_a_trace_is_stopped_at_the_first_full_window_below_the_bar() -> None:
    watch = TraceWatch(at=10.0, window=4)
    stops = [watch.token(value) for value in [1.0, 1.0, 20.0, 20.0, 20.0, 5.0, 5.0, 5.0]]
    assert stops == [False, False, False, False, False, False, False, True]
    assert watch.lowest == pytest.approx(35 / 4)


def test_the_bar_is_steadier_than_one_order_statistic() -> None:
    rng = random.Random(4)
    bars, plain_bars = [], []
    for round_ in range(200):
        lowest = [rng.gauss(10, 2) for _ in range(16)]
        bars.append(bar(lowest, 0.1, seed=round_))
        plain_bars.append(sorted(lowest)[14])

    def spread(values: list[float]) -> float:
        centre = sum(values) / len(values)
        return sum((value - centre) ** 2 for value in values)

    assert spread(bars) < spread(plain_bars)
    with pytest.raises(UsageError):
        bar([1.0], 0.1)


def test_stopping_keeps_within_its_limits() -> None:
    keeper = Watchman(at=10.0, window=1, max_stopped=0.8, finish_anyway=0.05)
    stopped = 0
    for _ in range(400):
        watch = keeper.watch()
        stopped += watch.token(0.0)
        keeper.ended(watch)
    assert 0.7 < stopped / 400 <= 0.8
    assert keeper.stopped == stopped


def test_asking_ends_when_the_leader_is_safe() -> None:
    assert leader_may_change({}, 10) == 1.0
    assert leader_may_change({"a": 3}, 0) == 0.0
    assert leader_may_change({"a": 12, "b": 1}, 5) == 0.0
    assert leader_may_change({"a": 5, "b": 4}, 50) > 0.2
    assert leader_may_change({"a": 30, "b": 3}, 60) < 0.05
