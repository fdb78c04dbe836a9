"""The last values of every signal, and how unusual the newest is among them.

The newest value is judged by the values before it and only then joins them: a spike that were part of its own yardstick would
hide itself. What joins is cut to mean ± 6 sigma, so that one spike does not blind the next 128 steps, and a real shift is still
accepted in time. Source of window, minimum and bound: OLMo-core, `SkipStepOptimizer`; the cut is ours, after ZClip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Window:
    """The last `size` values of one signal."""

    def __init__(self, size: int, least: int, cut: float) -> None:
        self.size, self.least, self.cut = size, least, cut
        self._ring = np.zeros(size)
        self._seen = 0
        self._moments: tuple[float, float] | None = None

    def __len__(self) -> int:
        return min(self._seen, self.size)

    @property
    def ready(self) -> bool:
        """Whether there are enough values to judge by."""
        return self._seen >= self.least

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation (of the population) of what is held; NaN when nothing is."""
        if not len(self):
            return math.nan, math.nan
        if self._moments is None:
            held = self._ring[: len(self)]
            mean = float(held.mean())
            self._moments = mean, float(np.sqrt(np.square(held - mean).mean()))
        return self._moments

    @property
    def scale(self) -> float:
        """The deviation to divide by: never less than a thousandth of the mean, for a constant signal has none."""
        mean, std = self.moments
        return max(std, 1e-3 * abs(mean), 1e-12)

    def z(self, value: float) -> float | None:
        """How many deviations a value lies above the mean of those before it; None while there are too few."""
        return (value - self.moments[0]) / self.scale if self.ready else None

    def push(self, value: float) -> None:
        """Take a finite value in, cut to mean ± `cut` deviations."""
        z = self.z(value)
        if z is not None and abs(z) > self.cut:
            value = self.moments[0] + math.copysign(self.cut * self.scale, z)
        self._ring[self._seen % self.size] = value
        self._seen += 1
        self._moments = None

    def values(self) -> Floats:
        """What is held, oldest first."""
        if self._seen <= self.size:
            return self._ring[: self._seen].copy()
        return np.roll(self._ring, -(self._seen % self.size))

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen, "values": self.values().tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        values, self._seen = np.asarray(state["values"], dtype=np.float64), int(state["seen"])
        self._ring[:] = 0
        places = np.arange(self._seen - len(values), self._seen) % self.size
        self._ring[places] = values
        self._moments = None


class History:
    """A window for every signal, made when the signal first comes."""

    def __init__(self, size: int, least: int, cut: float) -> None:
        self._settings = size, least, cut
        self.windows: dict[str, Window] = {}

    def z(self, values: Mapping[str, float]) -> dict[str, float]:
        """Of those signals that can be judged already."""
        found: dict[str, float] = {}
        for name, value in values.items():
            z = self.windows[name].z(value) if name in self.windows and math.isfinite(value) else None
            if z is not None:
                found[name] = z
        return found

    def push(self, values: Mapping[str, float]) -> None:
        """Non-finite values say nothing of what is usual and are left out."""
        for name, value in values.items():
            if math.isfinite(value):
                self.windows.setdefault(name, Window(*self._settings)).push(value)

    def tail(self, name: str, count: int) -> Floats:
        """The last values of a signal, oldest first; fewer than `count` if there are not so many."""
        window = self.windows.get(name)
        return np.empty(0) if window is None or count <= 0 else window.values()[-count:]

    def state_dict(self) -> dict[str, Any]:
        return {name: window.state_dict() for name, window in self.windows.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.windows = {}
        for name, held in state.items():
            self.windows[name] = Window(*self._settings)
            self.windows[name].load_state_dict(held)


def plain_z(before: list[float], value: float) -> float:
    """The twin of `Window.z` for an uncut window."""
    mean = sum(before) / len(before)
    std = math.sqrt(sum((each - mean) ** 2 for each in before) / len(before))
    return (value - mean) / max(std, 1e-3 * abs(mean), 1e-12)
