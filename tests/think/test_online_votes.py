"""Asking until the vote is settled: what is spent, who votes, when it ends, and what stopping costs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from overwinter.errors import UsageError
from overwinter.think.vote.ballot import majority
from overwinter.think.vote.online import Plan, Trace, _voters, ask_until_settled

LONG = 100


def drawer(
    right: float, gap: float, seed: int
) -> tuple[Callable[[Sequence[float | None]], list[Trace]], list[float | None]]:
    """Traces of one question: right ones are surer by `gap`; one that is stopped costs a third."""
    rng, bars = random.Random(seed), []

    def draw(asked: Sequence[float | None]) -> list[Trace]:
        bars.extend(asked)
        made = []
        for bar in asked:
            is_right = rng.random() < right
            lowest = 10 + rng.gauss(gap if is_right else 0.0, 1.0)
            answer = "right" if is_right else rng.choice(["a", "b", "c"])
            stopped = bar is not None and lowest < bar
            made.append(
                Trace(
                    answer=None if stopped else answer, lowest=lowest, confidence=max(lowest, 0.0),
                    tokens=LONG // 3 if stopped else LONG, stopped=stopped,
                )
            )  # fmt: skip
        return made

    return draw, bars


def test_only_whole_traces_above_the_bar_vote_whenever_they_were_drawn() -> None:
    draw, _ = drawer(0.4, 1.0, 1)
    found = ask_until_settled(draw, Plan(warm_up=32, most=96, consensus=1.01, may_change=-1.0))
    assert found.why == "budget"
    assert len(found.traces) == 96
    voters = _voters(found.traces, found.bar)
    assert len(voters) == sum(not t.stopped and t.lowest >= found.bar for t in found.traces) == found.outcome.used
    assert sum(t.lowest < found.bar for t in found.traces[:32]) > 20
    assert found.stopped > 30
    assert found.tokens == sum(t.tokens for t in found.traces)


def test_it_saves_tokens_at_the_same_accuracy() -> None:
    hits = {"online": 0, "all": 0}
    tokens = {"online": 0, "all": 0}
    for seed in range(60):
        draw, _ = drawer(0.45, 1.0, seed)
        found = ask_until_settled(draw, Plan(warm_up=16, most=64, keep=0.3, seed=seed))
        full = drawer(0.45, 1.0, seed)[0]([None] * 64)
        hits["online"] += found.outcome.answer == "right"
        hits["all"] += majority(_voters(full, -1e9)).answer == "right"
        tokens["online"] += found.tokens
        tokens["all"] += sum(t.tokens for t in full)
    assert hits["online"] >= hits["all"] - 2
    assert tokens["online"] < 0.6 * tokens["all"]


def test_consensus_and_a_lead_that_cannot_change_end_it() -> None:
    sure = ask_until_settled(drawer(1.0, 1.0, 3)[0], Plan(warm_up=16, most=64, keep=0.5))
    assert (sure.why, len(sure.traces)) == ("consensus", 16)
    led = ask_until_settled(drawer(0.75, 0.0, 4)[0], Plan(warm_up=40, most=48, keep=0.9))
    assert led.why == "settled"
    assert led.outcome.answer == "right"


def test_some_are_finished_to_be_audited_and_have_no_say() -> None:
    draw, bars = drawer(0.4, 1.0, 5)
    found = ask_until_settled(
        draw, Plan(warm_up=16, most=200, keep=0.5, consensus=1.01, may_change=-1.0, finish_anyway=0.3)
    )
    exempt = sum(bar is None for bar in bars[16:])
    assert 30 <= exempt <= 90
    below = [t for t in found.traces if not t.stopped and t.lowest < found.bar]
    assert found.audited == len(below)
    assert found.audited_agree == sum(t.answer == found.outcome.answer for t in below)


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in ({"warm_up": 1}, {"warm_up": 64, "most": 32}, {"at_once": 0}):
        with pytest.raises(UsageError):
            Plan(**wrong)
