"""Confidence while a sequence is decoded: end it when its running confidence sinks, or make it reflect where a step lost some.

    stop_below     DeepConf online (arXiv 2508.15260): end a trace as soon as the mean confidence of its last `window` tokens is below a bar
    reflect        SelfStepConf (arXiv 2603.03872): behind a step whose confidence fell below its usual level, force a word such as "wait"

The confidence of a token is the mean negative log-probability of the k likeliest ones, under the model alone: before constraint, penalties
and temperature, and for a forced token that of the distribution it was forced into. A watch belongs to one sequence: what others in the
batch say does not change, and a sequence that is stopped gives its place and memory back with the same step. `think/vote/online.py` and
`think/confidence/signals.py` hold the same watches for traces that are finished; tests compare them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from overwinter.engine.sampling import MAX_TOP_LOGPROBS
from overwinter.errors import UsageError

STEP_END = "\n\n"


@dataclass(frozen=True, kw_only=True)
class StopBelow:
    """End the sequence where the mean confidence of its last `window` tokens is below `at`; never before the window is full."""

    at: float
    window: int = 2048
    k: int = MAX_TOP_LOGPROBS

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_TOP_LOGPROBS or self.window < 1 or math.isnan(self.at):
            raise UsageError(
                f"stop_below has a bar of {self.at}, window {self.window}, k {self.k}",
                f"give a number, at least one token, and 1 to {MAX_TOP_LOGPROBS} alternatives",
            )


@dataclass(frozen=True, kw_only=True)
class Reflect:
    """Force `ids` behind a step (cut at a blank line) whose mean confidence is below `drop` times the usual level and below the step
    before; the level follows the steps that did not trigger, with this inertia. At most `most` times."""

    ids: tuple[int, ...]
    inertia: float = 0.8
    drop: float = 0.8
    most: int = 8
    k: int = MAX_TOP_LOGPROBS

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        good = self.ids and 0 <= self.inertia <= 1 and self.drop > 0 and 1 <= self.k <= MAX_TOP_LOGPROBS
        if not good or self.most < 0:
            raise UsageError(
                f"reflect has ids {self.ids}, inertia {self.inertia}, drop {self.drop}, k {self.k}, most {self.most}",
                f"give at least one token to force, shares, and 1 to {MAX_TOP_LOGPROBS} alternatives",
            )


@dataclass(slots=True)
class Watches:
    """The watches of one sequence, and what they have seen. Plain values: it is suspended as JSON."""

    stop: StopBelow | None = None
    reflect: Reflect | None = None
    sum: float = 0.0
    last: deque[float] = field(default_factory=deque)
    lowest: float = math.inf
    level: float | None = None
    before: float = math.inf
    step_sum: float = 0.0
    step_tokens: int = 0
    text: str = ""
    triggered: int = 0
    forced: list[int] = field(default_factory=list)
    """Tokens that are forced next, in order."""

    @property
    def k(self) -> int:
        """How many alternatives it has to be told of each token."""
        return max(self.stop.k if self.stop is not None else 0, self.reflect.k if self.reflect is not None else 0)

    def token(self, top: Sequence[float], text: str) -> bool:
        """Take in a token: log-probabilities of the likeliest ones, best first, and its text. True: the sequence ends here."""
        if self.forced:
            self.forced.pop(0)
        if self.reflect is not None:
            self._step(_confidence(top, self.reflect.k), text)
        return self.stop is not None and self._is_below(_confidence(top, self.stop.k), self.stop)

    def _is_below(self, confidence: float, stop: StopBelow) -> bool:
        self.sum += confidence
        self.last.append(confidence)
        if len(self.last) > stop.window:
            self.sum -= self.last.popleft()
        if len(self.last) < stop.window:
            return False
        mean = self.sum / stop.window
        self.lowest = min(self.lowest, mean)
        return mean < stop.at

    def _step(self, confidence: float, text: str) -> None:
        reflect = self.reflect
        assert reflect is not None
        self.step_sum, self.step_tokens = self.step_sum + confidence, self.step_tokens + 1
        self.text = (self.text + text)[-len(text) - len(STEP_END) :]
        if STEP_END not in self.text:
            return
        mean, self.step_sum, self.step_tokens, self.text = self.step_sum / self.step_tokens, 0.0, 0, ""
        if self.level is None:
            self.level = self.before = mean
            return
        falls = mean < reflect.drop * self.level and mean < self.before
        self.before = mean
        if not falls:
            self.level = reflect.inertia * self.level + (1 - reflect.inertia) * mean
        elif self.triggered < reflect.most:
            self.triggered += 1
            self.forced = list(reflect.ids)

    def to_json(self) -> dict[str, Any]:
        seen = ("sum", "lowest", "level", "before", "step_sum", "step_tokens", "text", "triggered", "forced")
        # JSON has no infinities.
        kept = {name: getattr(self, name) for name in seen}
        return {name: None if value == math.inf else value for name, value in kept.items()} | {"last": list(self.last)}

    def restore(self, raw: dict[str, Any]) -> None:
        """Go on from what `to_json` wrote."""
        for name, value in raw.items():
            infinite = value is None and name in ("lowest", "before")
            setattr(self, name, math.inf if infinite else deque(value) if name == "last" else value)


def _confidence(top: Sequence[float], k: int) -> float:
    """Mean negative log-probability of the k likeliest."""
    best = top[:k]
    return -math.fsum(best) / len(best)
