"""When to stop: a trace whose confidence sinks below a bar, and the asking once the leader can hardly change.

Sources: DeepConf online (arXiv 2508.15260). Its bar, the 90th percentile of 16 warm-up traces, is about the second largest of
16 values; here it is the mean of bootstrap percentiles. Traces that were stopped are not missing at random (long ones dip more
often), so their share is capped and a random few are finished all the same, to measure what stopping costs.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from overwinter.errors import UsageError

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
