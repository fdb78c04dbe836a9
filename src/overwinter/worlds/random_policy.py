"""The weakest player of any world: every legal action with equal chance."""

from __future__ import annotations

from collections.abc import Sequence

from .rng import Stream
from .world import Observation

_POLICY_STREAM = 101
"""Keeps the policy's draws apart from those of a world with the same seed."""


class RandomPolicy:
    """Draws uniformly from the listed actions; its game is a function of the seed."""

    name = "random"

    def __init__(self) -> None:
        self._draw = Stream(_POLICY_STREAM, 0)

    def reset(self, seed: int) -> None:
        self._draw = Stream(_POLICY_STREAM, seed)

    def act(self, observation: Observation, actions: Sequence[str]) -> str:  # noqa: ARG002  # the protocol
        return actions[self._draw.below(len(actions))]
