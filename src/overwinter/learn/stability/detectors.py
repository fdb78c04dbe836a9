"""From signals to alarms: small machines that each watch one thing and know what would help against it.

A detector sees a `Reading`: the step's signals, their z-scores, and the history before the step. It answers with an `Alarm` or nothing, and
starts anew after an alarm. Spikes and non-finite numbers need one point; everything that is a trend needs `points` consecutive ones.
A step without a detector's signal is passed over: the same list serves pre-training and reinforcement learning.

Here are those of single steps, levels and the loss; trends.py has what changes over many steps, panel.py the list that a guard has.
Source of the 6 sigma: OLMo-core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from overwinter.learn.stability.window import Floats, History

Remedy = Literal["tell", "cap", "skip", "hold", "tighten", "roll_back", "stop"]
"""What a detector asks for; the ladder decides what is done. `skip` waits for a better batch, `hold` for somebody to mend what makes
the batches, `cap` takes the step at the highest learning rate so far."""

LOSS, GRADIENT_NORM, SUCCESS = "loss", "gradient_norm", "success"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something that should not be, with the numbers that say so."""

    detector: str
    signal: str
    remedy: Remedy
    since: int
    """The step from which on the evidence counts: a checkpoint after it is not to be trusted."""
    evidence: Mapping[str, float]
    grave: bool = False
    """Of `skip`: refused for as long as it lasts, and kept out of what is usual. A mild one is taken with care if it comes too often."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One step as the detectors see it."""

    step: int
    values: Mapping[str, float]
    z: Mapping[str, float]
    history: History
    """Without this step."""

    def recent(self, name: str, count: int) -> Floats:
        """The last `count` values, this step's included; fewer at the start, none if this step has none."""
        if name not in self.values:
            return np.empty(0)
        return np.append(self.history.tail(name, count - 1), self.values[name])

    @cached_property
    def solved(self) -> bool:
        """Whether there is nothing left to learn."""
        recent = self.recent(SUCCESS, 10)
        return len(recent) > 0 and float(recent.mean()) >= 0.95

    @cached_property
    def learning(self) -> bool:
        """Whether success is higher in the last ten steps than in thirty before, by more than two standard errors and two points."""
        values = self.recent(SUCCESS, 40)
        before, now = values[:-10], values[-10:]
        if len(before) < 10:
            return False
        gain = float(now.mean() - before.mean())
        return gain > max(0.02, 2 * float(before.std()) / math.sqrt(10))


class Detector(Protocol):
    """What the guard asks of a detector. `state` is JSON, for resuming and rolling back."""

    name: str

    @property
    def suspicious(self) -> bool:
        """Whether there is evidence that does not suffice yet; such a state is not kept as healthy."""
        ...

    def observe(self, reading: Reading) -> Alarm | None: ...

    def forget(self) -> None:
        """Begin anew with a yardstick that is made anew; what was best stays best."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Stateful:
    """Everything that changes lies in `state`, plain numbers by name."""

    name: str
    signal: str

    def __init__(self) -> None:
        self.state: dict[str, float] = {}

    @property
    def suspicious(self) -> bool:
        return "since" in self.state

    def forget(self) -> None:
        self.state = {}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)


class NotFinite(Stateful):
    """A loss or a gradient that is no number: skip."""

    name = "not_finite"

    def observe(self, reading: Reading) -> Alarm | None:
        bad = {
            name: value for name in (LOSS, GRADIENT_NORM) if not math.isfinite(value := reading.values.get(name, 0.0))
        }
        dropped = reading.values.get("dropped_share", 0.0)
        if not bad and dropped <= 0.5:
            return None
        evidence = bad or {"dropped_share": dropped}
        return Alarm(
            detector=self.name,
            signal=next(iter(evidence)),
            remedy="skip",
            since=reading.step,
            evidence=evidence,
            grave=True,
        )


class Spike(Stateful):
    """A value many sigmas above what is usual: skip.

    Norms of gradients have a heavy upper tail; with a `factor` the logarithm must be as far off too, and the value so many times the mean.
    A spike is grave from `margin` above the mean on: clipping digests a long gradient, but not a batch that teaches the wrong thing.
    """

    def __init__(self, signal: str, sigma: float, *, factor: float | None = None, margin: float | None = None) -> None:
        super().__init__()
        self.name, self.signal, self.sigma, self.factor, self.margin = f"spike.{signal}", signal, sigma, factor, margin

    def observe(self, reading: Reading) -> Alarm | None:
        z = reading.z.get(self.signal)
        if z is None or z <= self.sigma:
            return None
        mean, std = reading.history.windows[self.signal].moments
        value = reading.values[self.signal]
        if self.factor is not None:
            logs = np.log(np.maximum(reading.history.windows[self.signal].values(), 1e-30))
            if value < self.factor * mean or math.log(value) - logs.mean() <= self.sigma * logs.std():
                return None
        grave = self.margin is not None and value > mean + self.margin
        evidence = {"value": value, "z": z, "mean": mean, "std": std}
        return Alarm(
            detector=self.name,
            signal=self.signal,
            remedy="skip",
            since=reading.step,
            evidence=evidence,
            grave=grave,
        )


class Trend(Stateful):
    """Base of detectors that want the same finding `points` steps in a row."""

    def __init__(self, name: str, signal: str, *, remedy: Remedy, points: int, lookback: int = 0) -> None:
        super().__init__()
        self.name, self.signal, self.remedy, self.points, self.lookback = name, signal, remedy, points, lookback

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        """The numbers that speak for an alarm, or nothing."""
        raise AssertionError(f"{self.name} does not say what it looks for in step {reading.step}")

    def observe(self, reading: Reading) -> Alarm | None:
        if self.signal not in reading.values:
            return None
        evidence = self.finding(reading)
        if evidence is None:
            self.state = {}
            return None
        streak = self.state.get("streak", 0) + 1
        since = self.state.get("since", reading.step)
        self.state = {"streak": streak, "since": since}
        if streak < self.points:
            return None
        if self.remedy not in ("hold", "tell"):
            # What is held must be refused at every step for as long as it lasts; what is told is written down once.
            self.state = {}
        return Alarm(
            detector=self.name,
            signal=self.signal,
            remedy=self.remedy,
            since=int(since) - self.lookback,
            evidence=evidence,
        )


class Level(Trend):
    """A value outside its bounds."""

    def __init__(
        self, signal: str, *, low: float = -math.inf, high: float = math.inf, remedy: Remedy, points: int
    ) -> None:
        super().__init__(f"level.{signal}", signal, remedy=remedy, points=points)
        self.low, self.high = low, high

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        value = reading.values[self.signal]
        return None if self.low <= value <= self.high else {"value": value, "low": self.low, "high": self.high}


class LossAbove(Stateful):
    """The loss stays above its best by a margin for many steps, or by three margins for a fifth of them: the model lost something.

    Only steps that are taken count: what is refused as a spike says nothing of the weights. Until there are ten losses the first
    is the best.
    """

    name, signal = "loss_above_best", LOSS

    def __init__(self, *, margin: float, steps: int, sigma: float, points: int) -> None:
        super().__init__()
        self.margin, self.steps, self.sigma, self.points = margin, steps, sigma, points
        self.best = math.inf

    def observe(self, reading: Reading) -> Alarm | None:
        value, z = reading.values.get(LOSS, math.nan), reading.z.get(LOSS)
        if not math.isfinite(value) or (z is not None and z > self.sigma):
            return None
        recent = reading.recent(LOSS, 10)
        if math.isinf(self.best):
            self.best = value
        elif len(recent) == 10:
            # Of ten steps, for a single lucky batch is no yardstick.
            self.best = min(self.best, float(recent.mean()))
        excess = value - self.best
        if excess <= self.margin:
            self.state = {}
            return None
        streak = self.state.get("streak", 0) + 1
        far = self.state.get("far", 0) + 1 if excess > 3 * self.margin else 0
        self.state = {"streak": streak, "far": far, "since": self.state.get("since", reading.step)}
        if streak < self.steps and far < max(self.points, self.steps // 5):
            return None
        since, self.state = int(self.state["since"]), {}
        evidence = {"value": value, "best": self.best, "steps": float(streak)}
        return Alarm(detector=self.name, signal=LOSS, remedy="roll_back", since=since, evidence=evidence)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"best": None if math.isinf(self.best) else self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        best = rest.pop("best")
        self.best = math.inf if best is None else float(best)
        super().load_state_dict(rest)


class LrJump(Stateful):
    """The learning rate is many times the highest there was: the step is taken at that one.

    A schedule with restarts comes back to what it had. One that means it is believed after `patience` steps.
    """

    name, signal = "lr_jump", "lr"

    def __init__(self, *, factor: float, patience: int) -> None:
        super().__init__()
        self.factor, self.patience = factor, patience

    @property
    def suspicious(self) -> bool:
        return "begun" in self.state

    def observe(self, reading: Reading) -> Alarm | None:
        lr = reading.values.get("lr")
        if lr is None or not math.isfinite(lr):
            return None
        highest = self.state.get("highest", 0.0)
        begun = self.state.get("begun", reading.step)
        usual = not highest or reading.step <= 10 or lr <= self.factor * highest
        if usual or reading.step - begun >= self.patience:
            self.state = {"highest": max(lr, highest)}
            return None
        self.state = {"highest": highest, "begun": begun}
        evidence = {"lr": lr, "highest": highest}
        return Alarm(detector=self.name, signal="lr", remedy="cap", since=reading.step, evidence=evidence)

    def forget(self) -> None:
        """The highest rate is no matter of data."""
