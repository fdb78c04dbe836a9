"""From signals to alarms: small machines that each watch one thing and know what would help against it.

A detector sees a `Reading`: the step's signals, their z-scores, and the history before the step. It answers with an `Alarm` or nothing, and
starts anew after an alarm. Spikes and non-finite numbers need one point; everything that is a trend needs `points` consecutive ones.
A step without a detector's signal is passed over: the same list serves pre-training and reinforcement learning.

What falls while success rises is learning, not collapse (`Reading.learning`): entropy goes down and answers change their length in every
run that goes well. So the detectors of trends stay silent then, and that is also what they can be deceived by: a policy that games its
reward looks like one that learns.

Sources: requirements and thresholds after RAGEN (arXiv 2504.20073: reward deviation and entropy fall before the collapse),
verl-agent issue 188 (length, then format), OLMo-core (6 sigma); CUSUM is Page, 1954. Each deviation is named where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, Protocol

import numpy as np

from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.window import Floats, History

Remedy = Literal["tell", "skip", "tighten", "roll_back", "stop"]
"""What a detector asks for. The ladder decides what is done."""

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

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class _Stateful:
    """Everything that changes lies in `state`, plain numbers by name."""

    name: str
    signal: str

    def __init__(self) -> None:
        self.state: dict[str, float] = {}

    @property
    def suspicious(self) -> bool:
        return "since" in self.state

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.state = dict(state)


class NotFinite(_Stateful):
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
            detector=self.name, signal=next(iter(evidence)), remedy="skip", since=reading.step, evidence=evidence
        )


class Spike(_Stateful):
    """A value many sigmas above what is usual: skip.

    Norms of gradients have a heavy upper tail, in reinforcement learning above all; with `log` the logarithm must be as far off too.
    """

    def __init__(self, signal: str, sigma: float, *, log: bool = False) -> None:
        super().__init__()
        self.name, self.signal, self.sigma, self.log = f"spike.{signal}", signal, sigma, log

    def observe(self, reading: Reading) -> Alarm | None:
        z = reading.z.get(self.signal)
        if z is None or z <= self.sigma:
            return None
        if self.log:
            logs = np.log(np.maximum(reading.history.windows[self.signal].values(), 1e-30))
            if math.log(reading.values[self.signal]) - logs.mean() <= self.sigma * logs.std():
                return None
        mean, std = reading.history.windows[self.signal].moments
        evidence = {"value": reading.values[self.signal], "z": z, "mean": mean, "std": std}
        return Alarm(detector=self.name, signal=self.signal, remedy="skip", since=reading.step, evidence=evidence)


class Trend(_Stateful):
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


class Drift(_Stateful):
    """CUSUM of the z-score: S ← max(0, S + z − k), an alarm at S > h after at least `points` points.

    The yardstick is the sliding window, so a steady ramp is forgiven (its end lies at z = √3 < k) and what accelerates is not. Since the
    window soon finds the new level usual, the alarm comes again after `patience` steps unless the signal is halfway back by then.
    """

    def __init__(
        self, signal: str, *, directions: tuple[int, ...], slack: float, limit: float, points: int, patience: int
    ) -> None:
        super().__init__()
        self.name, self.signal, self.directions = f"drift.{signal}", signal, directions
        self.slack, self.limit, self.points, self.patience = slack, limit, points, patience

    def observe(self, reading: Reading) -> Alarm | None:
        z = reading.z.get(self.signal)
        if z is None:
            return None
        if "gone" in self.state:
            return self._still_gone(reading)
        for direction in self.directions:
            key, since, count = f"sum{direction:+d}", f"since{direction:+d}", f"count{direction:+d}"
            total = self.state.get(key, 0.0) + min(direction * z, 10.0) - self.slack
            if total <= 0 or reading.learning or reading.solved:
                self.state |= {key: 0.0, count: 0}
                continue
            if not self.state.get(count):
                level = reading.history.windows[self.signal].moments[0]
                self.state |= {since: reading.step, f"level{direction:+d}": level}
            self.state |= {key: total, count: self.state.get(count, 0) + 1}
            if total > self.limit and self.state[count] >= self.points:
                before, value = self.state[f"level{direction:+d}"], reading.values[self.signal]
                self.state = {
                    "gone": value - before,
                    "before": before,
                    "begun": self.state[since],
                    "told": reading.step,
                    "repeats": 0,
                }
                evidence = {"value": value, "before": before, "z": z, "cusum": total, "direction": float(direction)}
                return self._alarm(evidence)
        return None

    def _still_gone(self, reading: Reading) -> Alarm | None:
        gone = (reading.values[self.signal] - self.state["before"]) / (self.state["gone"] or 1e-12)
        if gone < 0.5 or reading.learning or reading.solved:
            self.state = {}
            return None
        if reading.step - self.state["told"] < self.patience:
            return None
        self.state |= {"told": reading.step, "repeats": self.state["repeats"] + 1}
        evidence = {"value": reading.values[self.signal], "before": self.state["before"], "share_of_drift": gone}
        alarm = self._alarm(evidence)
        if self.state["repeats"] >= 3:
            self.state = {}
        return alarm

    def _alarm(self, evidence: Mapping[str, float]) -> Alarm:
        begun = int(self.state["begun"])
        return Alarm(detector=self.name, signal=self.signal, remedy="tighten", since=begun, evidence=evidence)

    @property
    def suspicious(self) -> bool:
        return "gone" in self.state or max(self.state.get("sum+1", 0.0), self.state.get("sum-1", 0.0)) > self.limit / 2


class Jump(_Stateful):
    """A step change that stays: a point more than `sigma` deviations of the noise from the mean of the last ten, and the next on its side.

    Training moves gradually; a reward function, an environment or a data source that was exchanged does not. The noise is that of
    neighbouring values (root mean square of differences over √2): success that rises quickly is far from its own mean and yet no jump.
    """

    def __init__(self, signal: str, *, sigma: float, points: int) -> None:
        super().__init__()
        self.name, self.signal, self.sigma, self.points = f"jump.{signal}", signal, sigma, points

    def observe(self, reading: Reading) -> Alarm | None:
        value = reading.values.get(self.signal)
        window = reading.history.windows.get(self.signal)
        if value is None or window is None or not window.ready or not math.isfinite(value):
            return None
        if "base" not in self.state:
            values = window.values()
            base = float(values[-10:].mean())
            noise = max(float(np.sqrt(np.square(np.diff(values)).mean() / 2)), 1e-3 * abs(base), 1e-9)
            if abs(value - base) <= self.sigma * noise:
                return None
            self.state = {"base": base, "half": (value - base) / 2, "count": 0, "since": reading.step}
            self.state["sigmas"] = (value - base) / noise
        if (value - self.state["base"]) / self.state["half"] < 1:
            self.state = {}
            return None
        self.state["count"] += 1
        if self.state["count"] < self.points:
            return None
        evidence = {"value": value, "before": self.state["base"], "sigmas": self.state["sigmas"]}
        since = int(self.state["since"])
        if self.state["count"] >= 20:
            self.state = {}
        return Alarm(detector=self.name, signal=self.signal, remedy="skip", since=since, evidence=evidence)


class Collapse(Trend):
    """The echo trap: rewards within a group and entropy both fall by more than half in `steps` steps, and nothing is gained by it."""

    def __init__(self, *, share: float, steps: int, points: int) -> None:
        super().__init__("collapse", "reward_std", remedy="roll_back", points=points, lookback=steps)
        self.share, self.steps = share, steps

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        evidence: dict[str, float] = {}
        for name in ("reward_std", "entropy"):
            values = reading.recent(name, self.steps + 3)
            if len(values) < self.steps + 3:
                return None
            before, now = float(values[:3].mean()), float(values[-3:].mean())
            if now >= before * (1 - self.share):
                return None
            evidence |= {f"{name}_before": before, f"{name}_now": now}
        return None if reading.learning or reading.solved else evidence


class LengthRunaway(Trend):
    """Answers grow by more than `slope` per step over `steps` steps while success is flat."""

    def __init__(self, *, slope: float, steps: int, points: int) -> None:
        super().__init__("length_runaway", "length", remedy="tighten", points=points, lookback=steps)
        self.slope, self.steps = slope, steps

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        values = reading.recent(self.signal, self.steps)
        if len(values) < self.steps or values.min() <= 0 or reading.learning:
            return None
        times = np.arange(self.steps) - (self.steps - 1) / 2
        slope = float((times * np.log(values)).sum() / np.square(times).sum())
        return {"slope": slope, "length": float(values[-1])} if slope > self.slope else None


class FormatCollapse(Trend):
    """The share of valid actions is `drop` below its mean, and beyond three of its deviations, lest small batches raise it.

    Once below, it is compared with what it was, up to `patience` points: the window would soon find the lower share usual.
    """

    def __init__(self, *, drop: float, points: int, patience: int = 100) -> None:
        super().__init__("format_collapse", "valid_ratio", remedy="tighten", points=points)
        self.drop, self.patience = drop, patience
        self.before: dict[str, float] = {}

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        window, value = reading.history.windows.get(self.signal), reading.values[self.signal]
        if window is None or not window.ready:
            return None
        if not self.before:
            mean, std = window.moments
            self.before = {"mean": mean, "limit": mean - max(self.drop, 3 * std), "until": reading.step + self.patience}
        if value < self.before["limit"] and reading.step < self.before["until"]:
            return {"value": value, "mean": self.before["mean"], "limit": self.before["limit"]}
        self.before = {}
        return None

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"before": dict(self.before)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        self.before = dict(rest.pop("before"))
        super().load_state_dict(rest)


class DeadLearning(Trend):
    """Nearly all groups have one and the same reward, so that nothing can be learnt; unless that is because all succeed."""

    def __init__(self, *, share: float, points: int) -> None:
        super().__init__("dead_learning", "zero_variance_share", remedy="tighten", points=points)
        self.share = share

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        share = reading.values[self.signal]
        return None if share <= self.share or reading.solved else {"zero_variance_share": share}


class RmsGrowth(Trend):
    """Some layer's output grows faster than `factor` per 1,000 steps, fitted over all looks in the window."""

    def __init__(self, *, factor: float, every: int, warmup: int, points: int) -> None:
        super().__init__("rms_growth", "output_rms", remedy="tighten", points=points)
        self.factor, self.every, self.warmup = factor, every, warmup

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        values = reading.recent(self.signal, 1000 // self.every + 1)
        if reading.step < self.warmup or len(values) < 8:
            return None
        times = (np.arange(len(values)) - (len(values) - 1) / 2) * self.every
        slope = float((times * np.log(np.maximum(values, 1e-30))).sum() / np.square(times).sum())
        growth = math.exp(1000 * slope)
        return {"growth_per_1000": growth, "rms": float(values[-1])} if growth > self.factor else None


class LossAbove(Trend):
    """The loss stays above its best by a margin for many steps: the model lost something that skipping will not bring back."""

    def __init__(self, *, margin: float, steps: int) -> None:
        super().__init__("loss_above_best", LOSS, remedy="roll_back", points=steps)
        self.margin, self.best = margin, math.inf

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        value = reading.values[LOSS]
        recent = reading.recent(LOSS, 10)
        if len(recent) == 10 and np.isfinite(recent).all():
            # Of ten steps, for a single lucky batch is no yardstick.
            self.best = min(self.best, float(recent.mean()))
        return {"value": value, "best": self.best} if value > self.best + self.margin else None

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"best": None if math.isinf(self.best) else self.best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        best = rest.pop("best")
        self.best = math.inf if best is None else float(best)
        super().load_state_dict(rest)


@dataclass(kw_only=True)
class LrJump(_Stateful):
    """The learning rate rose many times over in one step. Said, not prevented: schedules with restarts do that on purpose."""

    factor: float
    name: str = "lr_jump"
    state: dict[str, float] = field(default_factory=dict)

    def observe(self, reading: Reading) -> Alarm | None:
        lr, before = reading.values.get("lr"), self.state.get("lr")
        if lr is not None:
            self.state = {"lr": lr}
        if lr is None or not before or reading.step <= 10 or lr <= self.factor * before:
            return None
        evidence = {"lr": lr, "before": before}
        return Alarm(detector=self.name, signal="lr", remedy="tell", since=reading.step, evidence=evidence)


def build_detectors(config: GuardConfig) -> list[Detector]:
    """All of them, as the settings say."""
    points = config.points
    drift = partial(
        Drift,
        slack=config.drift_slack,
        limit=config.drift_limit,
        points=points,
        patience=config.tighten_patience,
    )
    found: list[Detector] = [
        NotFinite(),
        Spike(LOSS, config.spike_sigma),
        Spike(GRADIENT_NORM, config.spike_sigma, log=True),
        *_levels(config),
        drift("entropy", directions=(-1, 1)),
        drift("length", directions=(-1, 1)),
        drift("kl", directions=(1,)),
        *(Jump(name, sigma=config.jump_sigma, points=points) for name in ("reward", SUCCESS, "cap_hit_share")),
        Collapse(share=config.collapse_share, steps=config.trend_steps, points=points),
        LengthRunaway(slope=config.length_slope, steps=config.trend_steps, points=points),
        FormatCollapse(drop=config.format_drop, points=points),
        DeadLearning(share=config.dead_share, points=points),
        LrJump(factor=config.lr_jump),
    ]
    if config.loss_margin is not None:
        found.append(LossAbove(margin=config.loss_margin, steps=config.loss_margin_steps))
    if config.monitor_every:
        found.append(
            RmsGrowth(
                factor=config.output_rms_growth,
                every=config.monitor_every,
                warmup=config.output_rms_warmup,
                points=points,
            )
        )
    return found


def _levels(config: GuardConfig) -> Sequence[Detector]:
    points = config.points
    return (
        # Advantages that are all zero where rewards differ: a fault of the credit, which no step and no rollback mends.
        Level("silent_share", high=0.0, remedy="stop", points=points),
        Level("mixed_group_share", high=0.0, remedy="skip", points=points),
        Level("duplicate_share", high=0.5, remedy="skip", points=points),
        Level("ess_share", low=config.ess_least, remedy="skip", points=points),
        Level("weight_mean", low=config.weight_low, high=config.weight_high, remedy="skip", points=points),
        Level("staleness", high=config.staleness_most, remedy="skip", points=points),
        Level("attention_logit", high=config.attention_logit, remedy="tighten", points=points),
        Level("logsumexp_square", high=config.logsumexp_square, remedy="tighten", points=points),
        Level("ssm_state_rms", high=config.ssm_state_rms, remedy="tighten", points=points),
        Level("gate_entropy_share", low=config.gate_entropy, remedy="tighten", points=points),
    )
