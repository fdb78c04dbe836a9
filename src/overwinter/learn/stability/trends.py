"""Detectors of what changes over many steps: drift, jumps, collapse, growth.

What falls while success rises is learning, not collapse (`Reading.learning`): entropy goes down and answers change their length in every
run that goes well. So the detectors of trends stay silent then, and that is also what they can be deceived by: a policy that games its
reward looks like one that learns.

Sources: requirements and thresholds after RAGEN (arXiv 2504.20073: reward deviation and entropy fall before the collapse),
verl-agent issue 188 (length, then format); CUSUM is Page, 1954. Each deviation is named where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from overwinter.learn.stability.detectors import SUCCESS, Alarm, Reading, Remedy, Stateful, Trend

ERRORS = 7.0
"""Standard errors that a fall of success must exceed: the best of thousands of means is itself a lucky one."""


class Drift(Stateful):
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


class Jump(Stateful):
    """A step change that stays: a point more than `sigma` deviations of the noise from the mean of the last ten, and the next on its side.

    Training moves gradually; a reward function, an environment or a data source that was exchanged does not. The noise is that of
    neighbouring values (root mean square of differences over √2): success that rises quickly is far from its own mean and yet no jump.

    What is asked for depends on what else there is to go by. Success that falls at once is refused: either the world is broken or the
    model. Success that rises at once may be a discovery, and is told. A reward that jumps is told where success is measured too, and
    will show what comes of it (`SuccessFell`); else there is no witness, and the training goes on with care.
    """

    def __init__(self, signal: str, *, sigma: float, points: int, patience: int, least: float = 0.0) -> None:
        super().__init__()
        self.name, self.signal, self.sigma, self.points = f"jump.{signal}", signal, sigma, points
        self.patience, self.least = patience, least
        """Steps after which a new level that was only told is what is usual; and how far a jump goes at least: noise of a share that is
        usually nearly 0 grows with it."""

    def observe(self, reading: Reading) -> Alarm | None:
        value = reading.values.get(self.signal)
        window = reading.history.windows.get(self.signal)
        if value is None or window is None or not window.ready or not math.isfinite(value):
            return None
        if "base" not in self.state:
            values = window.values()
            base = float(values[-10:].mean())
            noise = max(float(np.sqrt(np.square(np.diff(values)).mean() / 2)), 1e-3 * abs(base), 1e-9)
            if abs(value - base) <= max(self.sigma * noise, self.least):
                return None
            self.state = {"base": base, "half": (value - base) / 2, "count": 0, "since": reading.step}
            self.state["sigmas"] = (value - base) / noise
        if (value - self.state["base"]) / self.state["half"] < 1:
            self.state = {}
            return None
        self.state["count"] += 1
        if self.state["count"] < self.points:
            return None
        remedy = self._remedy(reading)
        evidence = {"value": value, "before": self.state["base"], "sigmas": self.state["sigmas"]}
        since = int(self.state["since"])
        if remedy == "tighten" or (remedy == "tell" and self.state["count"] >= self.patience):
            self.state = {}
        return Alarm(
            detector=self.name,
            signal=self.signal,
            remedy=remedy,
            since=since,
            evidence=evidence,
            grave=remedy == "skip",
        )

    def _remedy(self, reading: Reading) -> Remedy:
        if self.signal == SUCCESS:
            return "skip" if self.state["half"] < 0 else "tell"
        return "tell" if self.signal == "reward" and SUCCESS in reading.values else "tighten"


class SuccessFell(Stateful):
    """Success, once learned, is lost: the mean of ten lies below the best mean of twenty by `drop` and seven standard errors.

    The witness of everything that is wrong with a reward: whatever the cause, this is what must not go on. A value `sigma` deviations
    of the noise below the ten before is no witness: that is a jump, of the world or of the weights, and `Jump` has it refused.
    """

    name, signal = "success_fell", SUCCESS

    def __init__(self, *, drop: float, points: int, sigma: float) -> None:
        super().__init__()
        self.drop, self.points, self.sigma = drop, points, sigma

    @property
    def suspicious(self) -> bool:
        return bool(self.state.get("streak"))

    def observe(self, reading: Reading) -> Alarm | None:
        values = reading.recent(SUCCESS, 60)
        if len(values) < 20 or not np.isfinite(values).all():
            return None
        before = values[:-1]
        noise = float(np.sqrt(np.square(np.diff(before)).mean() / 2))
        if values[-1] < before[-10:].mean() - self.sigma * max(noise, 1e-9):
            return None
        now, best = float(values[-10:].mean()), self.state.get("best", -math.inf)
        if (mean := float(values[-20:].mean())) > best:
            best = mean
        limit = best - max(self.drop, ERRORS * noise / math.sqrt(10))
        good = self.state.get("good", reading.step)
        if now > best - self.drop / 2:
            good = reading.step
        streak = self.state.get("streak", 0) + 1 if now < limit else 0
        self.state = {"best": best, "good": good, "streak": streak}
        if streak < self.points:
            return None
        self.state["streak"] = 0
        # The mean of ten lags behind by five.
        since = int(good) - 5
        evidence = {"success": now, "best": best, "limit": limit}
        return Alarm(detector=self.name, signal=SUCCESS, remedy="roll_back", since=since, evidence=evidence)


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

    def forget(self) -> None:
        super().forget()
        self.before = {}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"before": dict(self.before)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        self.before = dict(rest.pop("before"))
        super().load_state_dict(rest)


class DeadLearning(Trend):
    """Nearly all groups have one and the same reward, so that nothing can be learnt; unless that is because all succeed.

    Where groups differed before and none does now, the reward is broken, and steps would follow the other terms of the loss alone: held.
    """

    def __init__(self, *, share: float, points: int) -> None:
        super().__init__("dead_learning", "zero_variance_share", remedy="tighten", points=points)
        self.share = share

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        share, window = reading.values[self.signal], reading.history.windows.get(self.signal)
        if share <= self.share or reading.solved:
            return None
        before = window.moments[0] if window is not None and window.ready else 1.0
        self.remedy = "hold" if share >= 1 and before < self.share / 2 else "tighten"
        return {"zero_variance_share": share, "before": before}


class RmsGrowth(Trend):
    """Some layer's output grows faster than `factor` per 1,000 steps, fitted over the looks of the last thousand."""

    def __init__(self, *, factor: float, every: int, warmup: int, points: int) -> None:
        super().__init__("rms_growth", "output_rms", remedy="tighten", points=points)
        self.factor, self.every, self.warmup = factor, every, warmup

    def finding(self, reading: Reading) -> Mapping[str, float] | None:
        values = reading.recent(self.signal, 1000 // self.every + 1)
        # What is fitted lies after the warm-up altogether: outputs grow in every training that begins.
        if reading.step < self.warmup + 1000 or len(values) < 8:
            return None
        times = (np.arange(len(values)) - (len(values) - 1) / 2) * self.every
        slope = float((times * np.log(np.maximum(values, 1e-30))).sum() / np.square(times).sum())
        growth = math.exp(1000 * slope)
        return {"growth_per_1000": growth, "rms": float(values[-1])} if growth > self.factor else None
