"""The player of a world that can tell its gold path: it sees everything, and shows what a perfect game looks like.

It keeps a world of its own, reset with the seed of the episode, and follows the path from there. So it is right as long as
its advice is taken; for advice in any state, as imitation learning wants it, ask a household itself (`gold_path()`). The paths
of ScienceWorld use names for things that it understands and does not list, so what is advised need not be a listed action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overwinter.errors import UsageError

from .world import Observation, World


class GoldPolicy:
    """Follows `gold_path()` of a world of the same name and seed.

    Args:
        open_world: makes a world of the kind that is played.
        name: the policy's name.
    """

    def __init__(self, open_world: Callable[[], World], name: str = "gold") -> None:
        self.name = name
        self._open_world = open_world
        self._world: World | None = None
        self._path: list[str] = []

    def reset(self, seed: int) -> None:
        self._world = self._world or self._open_world()
        self._world.reset(seed)
        tell = getattr(self._world, "gold_path", None)
        if not callable(tell):
            raise UsageError(f"the world {self._world.name!r} does not tell a gold path", "choose another policy")
        self._path = list(reversed(tell()))

    def act(self, observation: Observation, actions: Sequence[str]) -> str:  # noqa: ARG002  # the protocol
        if not self._path:
            raise UsageError("the gold path is at its end and the episode is not", "call reset(seed) before an episode")
        return self._path.pop()
