"""A seat: one world with the notes a player keeps of it, played by words; and many seats behind one interface.

    seats = LocalSeats(lambda: Seat(world, notes), count=64)
    seen = seats.reset([(0, 17), (1, 17)])                 # seat, seed
    seen = seats.step([(0, "wait"), (1, "look")])          # seat, action

What a policy is shown is `Seen.text` and `Seen.actions`, and nothing else. `Seen.state` is their key, so two states with one key
are the same to the policy; a world's own `state_key` may be finer than what the policy can see and is not used here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Protocol

from overwinter.errors import UsageError
from overwinter.learn.reinforce.decision import key_of
from overwinter.worlds import Observation, Transition, World

Maker = str
"""A function by name, `package.module:function`, which makes a seat: a process elsewhere can import it."""


class Notes(Protocol):
    """What a careful player keeps in mind, from observations alone; `overwinter.worlds.notebook` has them for its worlds."""

    def take_in(self, action: str | None, observation: Observation) -> None:
        """The observation that an action led to; None for the first one, which also begins the notes anew."""
        ...

    def text(self) -> str: ...


class LastObservation:
    """Notes of one who remembers nothing: the observation itself."""

    def __init__(self) -> None:
        self._text = ""

    def take_in(self, action: str | None, observation: Observation) -> None:  # noqa: ARG002
        self._text = observation.text

    def text(self) -> str:
        return self._text


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a player sees after a reset or an action, and what a trainer is told beside.

    Attributes:
        text: the notes.
        actions: what can be done now; empty after the end.
        state: key of text and actions.
        reward: of the action.
        success: NaN while it is not known.
        score: of the world's judge, at the end; NaN before.
    """

    text: str
    actions: tuple[str, ...]
    state: int
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: float = math.nan
    score: float = math.nan

    @property
    def is_over(self) -> bool:
        return self.terminated or self.truncated

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN, which JSON does not have, becomes null."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Seen:
        given = {name: math.nan if value is None else value for name, value in values.items()}
        return cls(**{**given, "actions": tuple(values["actions"])})


class Seat:
    """One world and its notes.

    Args:
        max_steps: actions after which an episode is cut short, as truncated; None leaves that to the world.
    """

    def __init__(self, world: World, notes: Notes | None = None, *, max_steps: int | None = None) -> None:
        self.world = world
        self.notes: Notes = LastObservation() if notes is None else notes
        self.max_steps = max_steps
        self._steps = 0

    def reset(self, seed: int) -> Seen:
        self._steps = 0
        self.notes.take_in(None, self.world.reset(seed))
        return self._look()

    def step(self, action: str) -> Seen:
        transition = self.world.step(action)
        self._steps += 1
        self.notes.take_in(action, transition.observation)
        return self._look(transition)

    def _look(self, transition: Transition | None = None) -> Seen:
        text = self.notes.text()
        if transition is None:
            actions = tuple(self.world.actions())
            return Seen(text=text, actions=actions, state=key_of(text, *actions))
        is_late = not transition.done and self._steps == self.max_steps
        actions = () if transition.done else tuple(self.world.actions())
        outcome = self.world.outcome() if transition.done or is_late else None
        known = None if outcome is None else outcome.success
        return Seen(
            text=text,
            actions=actions,
            state=key_of(text, *actions),
            reward=transition.reward,
            terminated=transition.terminated,
            truncated=(transition.truncated and not transition.terminated) or is_late,
            success=math.nan if known is None else float(known),
            score=math.nan if outcome is None else outcome.score,
        )


class Seats(Protocol):
    """Many seats, wherever they are. Answers come in the order of the requests."""

    count: int

    def reset(self, places: Sequence[tuple[int, int]]) -> list[Seen]:
        """Pairs of a seat and a seed."""
        ...

    def step(self, places: Sequence[tuple[int, str]]) -> list[Seen]:
        """Pairs of a seat and an action."""
        ...

    def close(self) -> None: ...


class LocalSeats:
    """Seats in this process."""

    def __init__(self, make: Callable[[], Seat], count: int) -> None:
        if count < 1:
            raise UsageError(f"{count} seats", "give at least one")
        self.count = count
        self._seats = [make() for _ in range(count)]

    def reset(self, places: Sequence[tuple[int, int]]) -> list[Seen]:
        return [self._seats[seat].reset(seed) for seat, seed in places]

    def step(self, places: Sequence[tuple[int, str]]) -> list[Seen]:
        return [self._seats[seat].step(action) for seat, action in places]

    def close(self) -> None:
        """Nothing is held."""


def open_seat(world: str, *, notes: str = "", max_steps: int | None = None) -> Seat:
    """A seat by names: of a world, as for `open_world`, and of a function `package.module:function` that makes notes for it."""
    from overwinter.worlds import open_world

    opened = open_world(world)
    return Seat(opened, made_by(notes, {}) if notes else None, max_steps=max_steps)


OPEN_SEAT: Maker = "overwinter.learn.reinforce.seat:open_seat"


def made_by(maker: Maker, settings: dict[str, Any]) -> Any:
    """What a function by name makes of settings."""
    module, colon, name = maker.partition(":")
    try:
        function = getattr(import_module(module), name) if colon else None
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{maker!r} cannot be found: {error}", "write package.module:function") from error
    if function is None:
        raise UsageError(f"{maker!r} names no function", "write package.module:function")
    return function(**settings)
