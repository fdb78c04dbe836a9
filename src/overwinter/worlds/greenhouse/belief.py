"""What the expert believes about the things it cannot see: the errors of the two sensors, and the pests in the beds.

The sensors are judged by two others that cannot break: the fuel burned and the outside low give the inside low by the
heat balance of the house (±1.3 °C), and the thermometer read by hand gives it to ±0.2 °C. The two errors are followed
by a Kalman filter of dimension two; a surprise opens it again, because a fault comes as a jump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .actions import dusted, soaped
from .config import BEDS, SENSORS, Config
from .night import aphid_factor, losses, mould_after

_WANDER_C2 = 0.03
"""Variance a day adds to the belief about a sensor."""
_JUMP_C2 = 6.0
_SURPRISE = 14.0
"""Squared distance of an innovation (chi², two degrees of freedom) that is taken for a fault: one in a thousand."""

SETTING_AFTER = {
    "close shutters": ("shutters", "closed"),
    "open shutters": ("shutters", "open"),
    "open vents": ("vents", "open"),
    "shut vents": ("vents", "shut"),
}
"""What an action leaves a setting at: an evening's last one is seen only the next morning."""


@dataclass(slots=True)
class SensorBelief:
    """Mean and covariance of the errors of the east and the west sensor, in °C."""

    mean_c: list[float] = field(default_factory=lambda: [0.0, 0.0])
    var: list[float] = field(default_factory=lambda: [0.05, 0.05])
    cov: float = 0.0
    same_for: list[int] = field(default_factory=lambda: [0, 0])
    """Mornings in a row with exactly the same reading; a sound sensor's noise does not allow many."""
    last: list[float] = field(default_factory=lambda: [99.0, 99.0])

    def morning(self, readings: list[float], inside_c: float, sd_c: float, sensor_sd_c: float) -> None:
        """Take in a pair of readings against an estimate of the true temperature."""
        self.var = [v + _WANDER_C2 for v in self.var]
        surprise = [reading - inside_c - mean for reading, mean in zip(readings, self.mean_c, strict=True)]
        if self._distance(surprise, sd_c, sensor_sd_c) > _SURPRISE:
            self.var = [v + _JUMP_C2 for v in self.var]
        self.correct(surprise, sd_c, sensor_sd_c)
        for i, reading in enumerate(readings):
            self.same_for[i] = self.same_for[i] + 1 if reading == self.last[i] else 0
            self.last[i] = reading

    def correct(self, surprise: list[float], sd_c: float, sensor_sd_c: float) -> None:
        """One Kalman update; the reference's error is common to both sensors."""
        a, b, c = self._innovation(sd_c, sensor_sd_c)
        det = a * c - b * b
        p00, p11, p01 = self.var[0], self.var[1], self.cov
        # Gain K = P S^-1
        k00, k01 = (p00 * c - p01 * b) / det, (p01 * a - p00 * b) / det
        k10, k11 = (p01 * c - p11 * b) / det, (p11 * a - p01 * b) / det
        self.mean_c = [
            self.mean_c[0] + k00 * surprise[0] + k01 * surprise[1],
            self.mean_c[1] + k10 * surprise[0] + k11 * surprise[1],
        ]
        self.var = [p00 - k00 * p00 - k01 * p01, p11 - k10 * p01 - k11 * p11]
        self.cov = p01 - k00 * p01 - k01 * p11

    def _innovation(self, sd_c: float, sensor_sd_c: float) -> tuple[float, float, float]:
        own, common = sensor_sd_c**2, sd_c**2
        return self.var[0] + own + common, self.cov + common, self.var[1] + own + common

    def _distance(self, surprise: list[float], sd_c: float, sensor_sd_c: float) -> float:
        a, b, c = self._innovation(sd_c, sensor_sd_c)
        x, y = surprise
        return (c * x * x - 2 * b * x * y + a * y * y) / (a * c - b * b)

    def renew(self, sensor: int) -> None:
        """The sensor was replaced."""
        self.mean_c[sensor], self.var[sensor], self.cov = 0.0, 0.05, 0.0
        self.same_for[sensor], self.last[sensor] = 0, 99.0

    def stuck(self, sensor: int) -> bool:
        return self.same_for[sensor] >= 3

    def error_of(self, mode: str) -> tuple[float, float]:
        """Mean and standard deviation of the thermostat's error when it listens to `mode`."""
        if mode == "both":
            var = (self.var[0] + self.var[1] + 2.0 * self.cov) / 4.0
            return (self.mean_c[0] + self.mean_c[1]) / 2.0, max(0.0, var) ** 0.5
        i = SENSORS.index(mode)
        return self.mean_c[i], max(0.0, self.var[i]) ** 0.5


@dataclass(slots=True)
class BedBelief:
    """Expected aphids and mould of one bed."""

    aphids: float = 0.0
    mould_pct: float = 0.0
    unseen_days: int = 0
    alive: bool = True

    def morning(self, inside_c: float, humidity_pct: float) -> None:
        self.aphids = min(200.0, self.aphids * aphid_factor(inside_c) + 0.035)
        self.mould_pct = 100.0 * mould_after(self.mould_pct / 100.0, humidity_pct)
        self.unseen_days += 1


def heat_balance_c(seen: dict[str, Any], was: dict[str, Any], config: Config) -> float:
    """The inside low of last night from the fuel burned, under the settings of the evening before."""
    gain_c, loss = losses(seen["storm_night"] > 0, was["shutters"] == "closed", was["vents"] == "open", config)
    return float(seen["readings"]["outside_low_c"] + gain_c + seen["readings"]["burned_l"] / loss)


@dataclass(slots=True)
class Belief:
    """All the expert remembers: sensors, beds, and what the early notes said."""

    sensors: SensorBelief = field(default_factory=SensorBelief)
    beds: list[BedBelief] = field(default_factory=lambda: [BedBelief() for _ in BEDS])
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    inside_c: float = 10.0
    settings: dict[str, Any] = field(default_factory=lambda: {"shutters": "open", "vents": "shut"})
    """As last seen, so as of the evening when the next morning comes."""
    today: tuple[int, int] = (0, 0)
    last_answer: dict[str, Any] | None = None
    days_since_look: int = 0

    def take_in(self, seen: dict[str, Any], config: Config) -> None:
        """Update on one observation; seeing the same one twice changes nothing."""
        if seen["winter"] != self.today[0] and self.today[0]:
            self._new_winter()
        if (seen["winter"], seen["day"]) != self.today:
            self._morning(seen, config)
            self.today = (seen["winter"], seen["day"])
        if seen["answer"] is not None and seen["answer"] != self.last_answer:
            self._answer(seen["answer"], seen, config)
        self.last_answer = seen["answer"]
        self.settings = {"shutters": seen["shutters"], "vents": seen["vents"]}

    def assume(self, setting: str, value: str) -> None:
        """The evening's last action changes a setting that is seen only the next morning."""
        self.settings[setting] = value

    def _new_winter(self) -> None:
        self.notes = {}
        self.beds = [BedBelief(aphids=0.1 * bed.aphids + 0.2) for bed in self.beds]
        self.settings = {"shutters": "open", "vents": "shut"}

    def _morning(self, seen: dict[str, Any], config: Config) -> None:
        self.days_since_look += 1
        readings = [seen["readings"]["east_c"], seen["readings"]["west_c"]]
        if seen["day"] > 1:
            inside_c = heat_balance_c(seen, self.settings, config)
            sd_c = (config.sun_spread_c**2 + 0.4**2) ** 0.5
            self.sensors.morning(readings, inside_c, sd_c, config.sensor_noise_c)
            corrected = [r - m for r, m in zip(readings, self.sensors.mean_c, strict=True)]
            self.inside_c = (inside_c + corrected[0] + corrected[1]) / 3.0
            for bed in self.beds:
                bed.morning(self.inside_c, seen["readings"]["humidity_pct"])
        for item in seen["news"]:
            if item["kind"].startswith("note_"):
                self.notes[item["kind"]] = item

    def _answer(self, answer: dict[str, Any], seen: dict[str, Any], config: Config) -> None:
        kind = answer["kind"]
        if kind == "inspected":
            bed = self.beds[BEDS.index(answer["bed"])]
            # None counted still leaves room for a fraction of an aphid per leaf.
            bed.aphids, bed.mould_pct, bed.unseen_days = max(0.1, answer["aphids"]), answer["mould_pct"], 0
        elif kind == "treated":
            bed = self.beds[BEDS.index(answer["bed"])]
            if answer["against"] == "aphids":
                bed.aphids = soaped(bed.aphids)
                bed.unseen_days = max(bed.unseen_days, 3)
            else:
                bed.mould_pct = dusted(bed.mould_pct)
        elif kind == "beds":
            self.days_since_look = 0
            for bed, sight in zip(self.beds, answer["beds"], strict=True):
                bed.alive = sight["looks"] != "dead"
        elif kind == "replaced":
            self.sensors.renew(SENSORS.index(answer["sensor"]))
        elif kind == "checked" and answer["day"] == seen["day"]:
            readings = (seen["readings"]["east_c"], seen["readings"]["west_c"])
            means = self.sensors.mean_c
            surprise = [r - answer["inside_low_c"] - m for r, m in zip(readings, means, strict=True)]
            self.sensors.correct(surprise, 0.2, config.sensor_noise_c)
