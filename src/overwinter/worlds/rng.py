"""Keyed random numbers: every draw is a pure function of what it is for.

A stream is named by integers (seed, winter, purpose, day, ...) and hashed with splitmix64. So the weather of day 40
does not depend on what was done on day 39, nothing about random numbers has to be saved in a snapshot, and two policies
meet the same winter. Integer arithmetic and multiplication only, no libm: results agree bit for bit on any machine.

Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Stream:
    """A sequence of draws named by `keys`; equal keys give equal draws."""

    __slots__ = ("_state",)

    def __init__(self, *keys: int) -> None:
        state = _GAMMA
        for key in keys:
            state = _mix((state + (key & _MASK) * _GAMMA + 1) & _MASK)
        self._state = state

    def bits(self) -> int:
        """64 random bits."""
        self._state = (self._state + _GAMMA) & _MASK
        return _mix(self._state)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * ((self.bits() >> 11) * 2.0**-53)

    def coin(self, probability: float) -> bool:
        return self.uniform() < probability

    def bell(self) -> float:
        """Mean 0, standard deviation 1, within ±3.47: a sum of four 16-bit uniforms, which needs no logarithm."""
        b = self.bits()
        total = (b & 0xFFFF) + ((b >> 16) & 0xFFFF) + ((b >> 32) & 0xFFFF) + (b >> 48)
        return (total - 131070) * 2.6429160326e-05  # sqrt(3) / 65536

    def below(self, n: int) -> int:
        """An integer in 0..n-1; the bias of the modulo is below 2**-50 for the small n used here."""
        return self.bits() % n
