"""The Imagination protocol: a world as it may be, for looking ahead in.

A search that plays on in a copy of its world would see what really comes: tonight's storm, the aphids nobody has counted. What it then
chose would be an oracle's choice. So a branch gets no copy. It gets a world that is *drawn*: equal to the real one in everything the
player has been shown, and drawn anew in all else, the hidden present as well as the future.

An imagination is written, like a notebook, from observations alone. It is never handed the world, so it cannot tell what it was not
told; two worlds that have shown the same give the same drawings.

    imagination = world.imagination()
    imagination.take_in(None, world.reset(7))
    imagination.take_in("wait", world.step("wait").observation)
    other.restore(imagination.draw(1))        # shows what `world` shows now, and goes on differently
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from overwinter.errors import UsageError

from .world import Observation, World


class Imagination(Protocol):
    """What is known of one episode, and drawings of what is not."""

    def take_in(self, action: str | None, observation: Observation) -> None:
        """Note what was seen after `action`; None for an episode's first observation."""
        ...

    def draw(self, seed: int) -> dict[str, Any]:
        """A snapshot for `World.restore` that shows what was seen last. The same seed gives the same drawing."""
        ...


class Plain:
    """The imagination of a world that hides nothing and leaves nothing to chance: its own state, as it was last seen.

    For such worlds only: of any other it would be an oracle.
    """

    def __init__(self, snapshot: Callable[[], dict[str, Any]]) -> None:
        self._snapshot = snapshot
        self._state: dict[str, Any] = {}

    def take_in(self, action: str | None, observation: Observation) -> None:  # noqa: ARG002
        self._state = self._snapshot()

    def draw(self, seed: int) -> dict[str, Any]:  # noqa: ARG002
        return self._state


def can_imagine(world: World) -> bool:
    return callable(getattr(world, "imagination", None))


def check_imagination(world: World) -> None:
    """Raises UsageError for a world that branches cannot look ahead in."""
    if not can_imagine(world):
        raise UsageError(
            f"the world {world.name!r} cannot be imagined, so branches of a search would see what really comes",
            "search in greenhouse, or give the world a method imagination() (docs/search.md)",
        )


def imagine(world: World, seed: int, actions: Iterable[str]) -> Imagination:
    """What an episode so far tells. The world is put through it again, and then back to where it stands.

    Args:
        seed, actions: of the episode, from its start.

    Raises:
        UsageError: the world has no `imagination()`.
    """
    check_imagination(world)
    made: Imagination = world.imagination()  # type: ignore[attr-defined]  # not part of every world
    here = world.snapshot()
    made.take_in(None, world.reset(seed))
    for action in actions:
        made.take_in(action, world.step(action).observation)
    world.restore(here)
    return made
