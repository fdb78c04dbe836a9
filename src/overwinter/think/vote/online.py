"""When to stop: a trace whose confidence sinks below a bar, and the asking once the leader can hardly change.

Sources: DeepConf online (arXiv 2508.15260). Its bar, the 90th percentile of 16 warm-up traces, is about the second largest of
16 values; here it is the mean of bootstrap percentiles. Traces that were stopped are not missing at random (long ones dip more
often), so their share is capped and a random few are finished all the same, to measure what stopping costs.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from overwinter.errors import UsageError
from overwinter.think.vote.ballot import Ballot, Outcome, weighted

WARM_UP = 32
MAX_STOPPED = 0.8
FINISH_ANYWAY = 0.05
BOOTSTRAPS = 200


def bar(lowest: Sequence[float], keep: float, *, seed: int = 0) -> float:
    """The window confidence below which a trace is stopped, from the lowest window means of finished warm-up traces.

    Args:
        keep: share of traces to keep; 0.1 is DeepConf's "low", 0.9 its "high".
    """
    if len(lowest) < 2 or not 0 < keep < 1:
        raise UsageError(
            f"{len(lowest)} warm-up traces, keeping {keep}", "give at least two, and a share between 0 and 1"
        )
    rng = random.Random(seed)  # noqa: S311 — statistics, no secrets
    drawn = [_percentile(rng.choices(lowest, k=len(lowest)), 1 - keep) for _ in range(BOOTSTRAPS)]
    return math.fsum(drawn) / len(drawn)


def _percentile(values: Sequence[float], share: float) -> float:
    order = sorted(values)
    place = share * (len(order) - 1)
    low = math.floor(place)
    high = min(low + 1, len(order) - 1)
    return order[low] + (place - low) * (order[high] - order[low])


@dataclass(kw_only=True, slots=True)
class TraceWatch:
    """Watches one trace while it is generated: `token` says when to stop it.

    Attributes:
        at: the bar; window: tokens of the running mean, which must be full before anything is stopped.
    """

    at: float
    window: int
    exempt: bool = False
    seen: int = 0
    lowest: float = math.inf
    below: bool = False
    """It would have been stopped."""
    _sum: float = 0.0
    _last: deque[float] = field(default_factory=deque)

    def token(self, confidence: float) -> bool:
        """Take in the next token's confidence; True if the trace should end here."""
        self.seen += 1
        self._sum += confidence
        self._last.append(confidence)
        if len(self._last) > self.window:
            self._sum -= self._last.popleft()
        if len(self._last) < self.window:
            return False
        mean = self._sum / self.window
        self.lowest = min(self.lowest, mean)
        self.below = self.below or mean < self.at
        return self.below and not self.exempt


@dataclass(kw_only=True, slots=True)
class Watchman:
    """Hands out the watches of one question, and keeps stopping within its limits."""

    at: float
    window: int
    max_stopped: float = MAX_STOPPED
    finish_anyway: float = FINISH_ANYWAY
    seed: int = 0
    started: int = 0
    stopped: int = 0
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)  # noqa: S311 — statistics, no secrets

    def watch(self) -> TraceWatch:
        """The watch of the next trace."""
        self.started += 1
        lucky = self._rng.random() < self.finish_anyway
        full = self.stopped + 1 > self.max_stopped * max(self.started, 1 / self.max_stopped) and self.stopped > 0
        return TraceWatch(at=self.at, window=self.window, exempt=lucky or full)

    def ended(self, watch: TraceWatch) -> None:
        """Count a trace that has ended, stopped or not."""
        self.stopped += watch.below and not watch.exempt


def leader_may_change(votes: Mapping[str, int], left: int, *, draws: int = 2000, seed: int = 0) -> float:
    """Probability that another answer leads after `left` more samples: votes follow a Dirichlet with one half for each answer seen
    and one half for all unseen together. Stop asking below 0.05, say. 1.0 before the first vote."""
    if not votes:
        return 1.0
    if left <= 0:
        return 0.0
    ranked = sorted(votes.values(), reverse=True)
    if ranked[0] - (ranked[1] if len(ranked) > 1 else 0) > left:
        return 0.0
    rng = random.Random(seed)  # noqa: S311 — statistics, no secrets
    counts = [*ranked, 0]
    changed = 0
    for _ in range(draws):
        shares = [rng.gammavariate(count + 0.5, 1.0) for count in counts]
        drawn = rng.choices(range(len(counts)), weights=shares, k=left)
        final = list(counts)
        for place in drawn:
            final[place] += 1
        changed += max(final[1:]) >= final[0]
    return changed / draws


# Asking until the answer is settled


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """One sample, whole or stopped.

    Attributes:
        answer: in normal form; None where none could be read.
        lowest: its smallest window mean. confidence: what it votes with, not negative.
        tokens: what it cost. stopped: it was ended below the bar, and has no say.
    """

    answer: str | None
    lowest: float
    confidence: float
    tokens: int
    stopped: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long to go on.

    Attributes:
        warm_up: whole traces from which the bar is taken. most: traces at most, those included.
        keep: share of traces that the bar lets through; 0.1 is DeepConf's "low", 0.9 its "high".
        at_once: traces that are drawn together after the warm-up.
        consensus: part of the weight with which the leader has won. may_change: chance of losing the lead in what is left, below which
            nobody need be asked any more.
    """

    warm_up: int = WARM_UP
    most: int = 256
    keep: float = 0.1
    at_once: int = 8
    consensus: float = 0.95
    may_change: float = 0.05
    max_stopped: float = MAX_STOPPED
    finish_anyway: float = FINISH_ANYWAY
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.warm_up <= self.most or self.at_once < 1:
            raise UsageError(
                f"a warm-up of {self.warm_up} out of {self.most} traces, {self.at_once} at once",
                "give at least two, no more than all, and at least one at once",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What came of it.

    Attributes:
        why: "consensus", "settled" (the lead can hardly change any more) or "budget".
        audited: traces below the bar that were finished all the same; of them, `audited_agree` gave the winner's answer. That of
            those which were stopped is not known, and this is its measure.
    """

    outcome: Outcome
    bar: float
    traces: tuple[Trace, ...]
    why: str
    audited: int
    audited_agree: int

    @property
    def tokens(self) -> int:
        return sum(trace.tokens for trace in self.traces)

    @property
    def stopped(self) -> int:
        return sum(trace.stopped for trace in self.traces)


Draw = Callable[[Sequence[float | None]], Sequence[Trace]]
"""Draw one trace for each bar; None lets it go to its end."""


def ask_until_settled(draw: Draw, plan: Plan) -> Settled:
    """DeepConf online (arXiv 2508.15260): whole traces for a bar, then traces that are stopped below it, until the vote is settled.

    Warm-up traces below the bar have no say either, nor do those that were finished to be audited: a filter must not depend on when a
    trace was drawn.
    """
    traces = list(draw([None] * plan.warm_up))
    at = bar([trace.lowest for trace in traces], plan.keep, seed=plan.seed)
    watchman = Watchman(at=at, window=1, max_stopped=plan.max_stopped, finish_anyway=plan.finish_anyway, seed=plan.seed)
    while True:
        outcome = _vote(traces, at)
        why = _settled(outcome, traces, at, plan)
        if why:
            break
        watches = [watchman.watch() for _ in range(min(plan.at_once, plan.most - len(traces)))]
        new = draw([None if watch.exempt else at for watch in watches])
        for trace in new:
            watchman.stopped += trace.stopped
        traces += new
    audited = [trace for trace in traces if not trace.stopped and trace.lowest < at]
    agree = sum(trace.answer == outcome.answer for trace in audited)
    return Settled(outcome=outcome, bar=at, traces=tuple(traces), why=why, audited=len(audited), audited_agree=agree)


def _voters(traces: Sequence[Trace], at: float) -> list[Ballot]:
    return [
        Ballot(answer=trace.answer, confidence=trace.confidence, tokens=trace.tokens)
        for trace in traces
        if not trace.stopped and trace.lowest >= at
    ]


def _vote(traces: Sequence[Trace], at: float) -> Outcome:
    return weighted(_voters(traces, at), rule="online")


def _settled(outcome: Outcome, traces: Sequence[Trace], at: float, plan: Plan) -> str:
    left = plan.most - len(traces)
    if left <= 0:
        return "budget"
    votes: dict[str, int] = {}
    for ballot in _voters(traces, at):
        if ballot.answer is not None:
            votes[ballot.answer] = votes.get(ballot.answer, 0) + 1
    if sum(votes.values()) >= 2 and outcome.share >= plan.consensus:
        return "consensus"
    # Of what is drawn, only the share that the bar keeps votes.
    due = math.ceil(left * sum(votes.values()) / len(traces))
    return "settled" if leader_may_change(votes, due, seed=plan.seed) < plan.may_change else ""
