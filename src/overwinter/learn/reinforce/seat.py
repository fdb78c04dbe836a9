"""A seat: one world with the notes a player keeps of it, played by words; and many seats behind one interface.

    seats = LocalSeats(lambda: open_seat("greenhouse"), count=64)
    seen = seats.reset([(0, 17), (1, 17)])                 # seat, seed
    seen = seats.step([(0, "wait"), (1, "look")])          # seat, action

What a policy is shown is the notebook's page and the possible actions, and nothing else. `Seen.state` is their key, so that two
states with one key are the same to the policy. Where pages hardly ever repeat, `key="world"` takes the world's own key instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from overwinter.errors import UsageError
from overwinter.learn.reinforce.decision import key_of
from overwinter.worlds import Transition, World, state_key
from overwinter.worlds.notebook import LastSeen, Notebook, open_notebook, page

Maker = str
"""A function by name, `package.module:function`, which makes a seat: a process elsewhere can import it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a player sees after a reset or an action, and what a trainer is told beside.

    Attributes:
        text: the page of the notebook.
        actions: what can be done now; empty after the end.
        state: key of it.
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
        given: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
        given["actions"] = tuple(values["actions"])
        return cls(**given)


class Seat:
    """One world and the notebook that is kept of it.

    Args:
        notebook: default is the last observation alone.
        key: what makes two states the same: "seen", that page and actions are equal, or "world", that the world says so.
        max_steps: actions after which an episode is cut short, as truncated; None leaves that to the world.
    """

    def __init__(
        self,
        world: World,
        notebook: Notebook | None = None,
        *,
        key: Literal["seen", "world"] = "seen",
        max_steps: int | None = None,
    ) -> None:
        if key not in ("seen", "world"):
            raise UsageError(f"states have no key of kind {key!r}", "use seen or world")
        self.world = world
        self.notebook: Notebook = LastSeen(kept=0) if notebook is None else notebook
        self.key = key
        self.max_steps = max_steps
        self._steps = 0

    def reset(self, seed: int) -> Seen:
        self._steps = 0
        self.notebook.reset()
        self.notebook.take_in(None, self.world.reset(seed))
        return self._look()

    def step(self, action: str) -> Seen:
        transition = self.world.step(action)
        self._steps += 1
        self.notebook.take_in(action, transition.observation)
        return self._look(transition)

    def _look(self, transition: Transition | None = None) -> Seen:
        text = page(self.notebook.lines())
        actions = () if transition is not None and transition.done else tuple(self.world.actions())
        state = key_of(text, *actions) if self.key == "seen" else state_key(self.world)
        if transition is None:
            return Seen(text=text, actions=actions, state=state)
        is_late = not transition.done and self._steps == self.max_steps
        outcome = self.world.outcome() if transition.done or is_late else None
        known = None if outcome is None else outcome.success
        return Seen(
            text=text,
            actions=actions,
            state=state,
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


def open_seat(world: str, *, key: Literal["seen", "world"] = "seen", max_steps: int | None = None) -> Seat:
    """A seat at the world called `world`, with its notebook."""
    from overwinter.worlds import open_world

    return Seat(open_world(world), open_notebook(world), key=key, max_steps=max_steps)


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
