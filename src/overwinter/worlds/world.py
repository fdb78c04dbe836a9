"""The World protocol: a simulated place that can be reset, stepped, saved and put back.

A world is deterministic: the same seed and the same actions give the same observations, bit for bit, in any process.
`snapshot()` is JSON-ready and small, so a run can be resumed on another machine from its journal alone.
Randomness that belongs to the world (weather, faults) is drawn in an order that does not depend on the actions, so that
two policies on one seed meet the same winter and can be compared pairwise.

A group of rollouts, as group-relative credit wants it, is the same seed N times: N worlds (or one, N times over) reset with
one seed start in the same state and differ by the actions alone. `state_key` then says which states the rollouts shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What the actor may see.

    Attributes:
        text: the observation in words, as a language model reads it.
        data: the same facts as JSON values, as a policy in Python reads them. Nothing that `text` does not say.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """The result of one action.

    Attributes:
        observation: what the actor sees now.
        reward: credit for this action alone; worlds with an outcome at the end pay most of it on the last step.
        terminated: the episode reached its own end; the outcome is known.
        truncated: a step limit cut the episode; the outcome is not known.
    """

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool = False

    @property
    def done(self) -> bool:
        return self.terminated or self.truncated


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How the episode stands or ended, as a judge outside the actor sees it.

    Attributes:
        success: whether the goal of the world is met; None while it is open.
        score: the figure policies are compared by; higher is better.
        facts: what the judge bases this on, JSON-ready.
    """

    success: bool | None
    score: float
    facts: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class World(Protocol):
    """A seeded, deterministic, suspendable simulator with listed legal actions."""

    name: str
    goal: str
    """The task in one sentence, as a run's goal."""

    def reset(self, seed: int) -> Observation:
        """Start a fresh episode. Everything that follows is a function of `seed` and the actions."""
        ...

    def step(self, action: str) -> Transition:
        """Carry out one legal action. Raises UsageError for an action that is not legal now; the state is unchanged."""
        ...

    def actions(self) -> Sequence[str]:
        """The legal actions now, in a stable order, never empty before the end."""
        ...

    def effect(self, action: str) -> str:
        """The effect class of `action`: "pure" (only looks), "keyed" (the outside world remembers it)."""
        ...

    def outcome(self) -> Outcome:
        """The judge's view, including what the actor cannot see."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """The complete state as JSON values; `restore` of it continues bit for bit."""
        ...

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        """Put the state back and return the current observation."""
        ...


class Policy(Protocol):
    """A scripted player: the next action from what may be seen, nothing else."""

    name: str

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Observation, actions: Sequence[str]) -> str: ...


@runtime_checkable
class Reader(Protocol):
    """A scripted player that reads a view, as a language model does, instead of an observation's facts; it keeps nothing in between."""

    name: str

    def read(self, texts: Sequence[str], tools: Sequence[str], actions: Sequence[str]) -> str:
        """One of `actions`, or a call of one of `tools` as JSON text.

        Args:
            texts: the turns of the view, oldest first; the last is the status line.
        """
        ...


def state_key(world: World, observation: Observation | None = None) -> int:
    """A signed 64-bit key of the state that `world` is in: equal keys, equal states as far as a policy can tell.

    A world says itself what counts, by a method `state_key() -> int`. One that has none is known by the text of
    `observation`, the last that it gave. Keys are the same in any process and fit a NumPy int64 column.

    Raises:
        UsageError: the world has no key of its own and no observation was given.
    """
    own = getattr(world, "state_key", None)
    if callable(own):
        return int(own())
    if observation is None:
        raise UsageError(f"the world {world.name!r} has no state_key of its own", "pass its last observation as well")
    return text_key(observation.text)


def text_key(text: str) -> int:
    """A signed 64-bit hash of `text`, the same in any process: BLAKE2b of its UTF-8 bytes."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
