"""Worlds: simulated places with one small interface, to run, compare and train policies in.

Idea: `World` (world.py) is reset by a seed, stepped by listed actions in words, and saved as JSON. The loop, the
benchmarks and the learners know nothing else of it. `Policy` is a scripted player that sees observations only.

Invariants:
- Same seed and same actions give the same observations, in any process.
- A listed action is legal; an unlisted one is refused with UsageError and changes nothing.
- `snapshot()` is JSON; `restore()` of it continues exactly.
- `state_key(world)` is a 64-bit key: equal keys, equal states. A group of rollouts is one seed, reset N times.
- `terminated` (the world's own end) and `truncated` (a limit on steps) are never mixed.
- Importing this package is cheap: worlds, and the optional gymnasium and minigrid (`overwinter[worlds]`), load when
  opened.

Reading order: world.py, greenhouse/ (the bundled world), gym.py (adapters both ways), minigrid.py (a world from a
package nobody here wrote) and minigrid_policy.py, random_policy.py, rng.py.

Names of worlds:
    greenhouse, greenhouse:winters=3, greenhouse:days=30,winters=2
    household, household:split=unseen, household:family=heat,steps=30
    minigrid:BabyAI-GoToLocal-v0     any id that MiniGrid registers
    gym:Taxi-v3                      any registered environment with discrete actions
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from overwinter.errors import UsageError

from .world import Observation, Outcome, Policy, Transition, World, state_key

if TYPE_CHECKING:
    from .greenhouse import Config

__all__ = [
    "Observation",
    "Outcome",
    "Policy",
    "Transition",
    "World",
    "open_policy",
    "open_world",
    "policy_names",
    "state_key",
]

_POLICIES = {
    "greenhouse": ("random", "rules", "expert"),
    "household": ("random", "rules", "searcher", "expert"),
    "minigrid": ("random", "explorer"),
    "gym": ("random",),
}


def open_world(name: str) -> World:
    """The world called `name`; see the module docstring for the names."""
    kind, _, rest = name.partition(":")
    if kind == "greenhouse":
        from .greenhouse import Greenhouse

        return Greenhouse(_greenhouse_config(name))
    if kind == "household":
        from .household import Household, parse

        return Household(parse(name))
    if kind == "minigrid" and rest:
        from .minigrid import MiniGridWorld

        return MiniGridWorld(rest)
    if kind == "gym" and rest:
        from .gym import open_gym

        return open_gym(rest)
    raise UsageError(
        f"there is no world called {name!r}", "try greenhouse, household, minigrid:BabyAI-GoToLocal-v0 or gym:Taxi-v3"
    )


def policy_names(world_name: str) -> tuple[str, ...]:
    """The scripted players of a world, weakest first."""
    kind = world_name.partition(":")[0]
    if kind not in _POLICIES:
        raise UsageError(f"there is no world called {world_name!r}", f"choose one of {', '.join(_POLICIES)}")
    return _POLICIES[kind]


def open_policy(world_name: str, policy_name: str) -> Policy:
    """A scripted player for the world called `world_name`."""
    names = policy_names(world_name)
    if policy_name not in names:
        raise UsageError(f"{world_name!r} has no policy called {policy_name!r}", f"choose one of {', '.join(names)}")
    if world_name.partition(":")[0] == "household" and policy_name != "random":
        return _household_policy(world_name, policy_name)
    if policy_name == "rules":
        from .greenhouse.policies import RulesPolicy

        return RulesPolicy()
    if policy_name == "expert":
        from .greenhouse.expert import ExpertPolicy

        return ExpertPolicy(_greenhouse_config(world_name))
    if policy_name == "explorer":
        from .minigrid_policy import ExplorerPolicy

        return ExplorerPolicy()
    from .random_policy import RandomPolicy

    return RandomPolicy()


def _household_policy(world_name: str, policy_name: str) -> Policy:
    from .gold import GoldPolicy
    from .household.policies import RulesPolicy, SearcherPolicy

    if policy_name == "expert":
        return GoldPolicy(lambda: open_world(world_name), "expert")
    return RulesPolicy() if policy_name == "rules" else SearcherPolicy()


def _greenhouse_config(name: str) -> Config:
    """Options after the colon: `key=whole number`, separated by commas."""
    from .greenhouse.config import Config

    chosen: dict[str, int] = {}
    options = name.partition(":")[2]
    for option in options.split(",") if ":" in name else ():
        key, _, value = option.partition("=")
        if key not in ("days", "winters") or not value.isascii() or not value.isdigit() or key in chosen:
            raise UsageError(
                f"{option!r} is not an option of the greenhouse", "use days=NUMBER or winters=NUMBER, once each"
            )
        chosen[key] = int(value)
    return replace(Config(), **chosen)  # type: ignore[arg-type]  # the keys were checked above
