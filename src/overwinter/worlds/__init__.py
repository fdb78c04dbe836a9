"""Worlds: simulated places with one small interface, to run, compare and train policies in.

Idea: `World` (world.py) is reset by a seed, stepped by listed actions in words, and saved as JSON. The loop, the
benchmarks and the learners know nothing else of it. `Policy` is a scripted player that sees observations only.

Invariants:
- Same seed and same actions give the same observations, in any process.
- A listed action is legal; an unlisted one is refused with UsageError and changes nothing.
- `snapshot()` is JSON; `restore()` of it continues exactly.
- `state_key(world)` is a 64-bit key: equal keys, equal states. A group of rollouts is one seed, reset N times.
- `terminated` (the world's own end) and `truncated` (a limit on steps) are never mixed.
- Importing this package is cheap: worlds and the optional packages behind them load when opened.

Reading order: world.py, greenhouse/, household/ and archive/ (the bundled worlds), gym.py (adapters both ways), minigrid.py and
minigrid_policy.py, text_game.py with textworld_express.py and scienceworld.py (worlds from packages nobody here wrote),
isolated.py (a world in another process), gold.py and random_policy.py (players of any world), rng.py.

Names of worlds:
    greenhouse, greenhouse:winters=3, greenhouse:days=30,winters=2
    household, household:split=unseen, household:family=heat,steps=30
    archive, archive:letters=24,documents=400    facts of the first letters are needed hundreds of steps later
    minigrid:BabyAI-GoToLocal-v0     any id that MiniGrid registers
    gym:CartPole-v1                  any registered environment with discrete actions
    textworld-express:cookingworld   text games with train, dev and test seeds; needs Java
    scienceworld:boil,split=test     long experiments in words; needs Java
    isolated:scienceworld:boil       any of these in a process of its own ($OVERWINTER_WORLD_PYTHON says in which Python)
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
    "archive": ("random", "clerk"),
    "minigrid": ("random", "explorer"),
    "gym": ("random",),
    "textworld-express": ("random", "gold"),
    "scienceworld": ("random", "gold"),
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
    if kind == "archive":
        from .archive import Archive
        from .archive import parse as parse_archive

        return Archive(parse_archive(name))
    if kind == "isolated" and rest:
        from .isolated import isolate

        return isolate(rest)
    if kind in _POLICIES and rest:
        return _open_adapter(kind, rest)
    raise UsageError(
        f"there is no world called {name!r}",
        "try greenhouse, household, archive, minigrid:BabyAI-GoToLocal-v0, gym:CartPole-v1, textworld-express:coin or scienceworld:boil",
    )


def _open_adapter(kind: str, rest: str) -> World:
    """A world from an optional package."""
    if kind == "minigrid":
        from .minigrid import MiniGridWorld

        return MiniGridWorld(rest)
    if kind == "gym":
        from .gym import open_gym

        return open_gym(rest)
    from .text_game import parse_options

    name = f"{kind}:{rest}"
    if kind == "textworld-express":
        from .textworld_express import TextWorldExpress

        return TextWorldExpress(parse_options(kind, rest), name=name)
    from .scienceworld import ScienceWorld

    return ScienceWorld(parse_options(kind, rest, ("simplifications",)), name=name)


def policy_names(world_name: str) -> tuple[str, ...]:
    """The scripted players of a world, weakest first."""
    kind = _kind(world_name)
    if kind not in _POLICIES:
        raise UsageError(f"there is no world called {world_name!r}", f"choose one of {', '.join(_POLICIES)}")
    return _POLICIES[kind]


def open_policy(world_name: str, policy_name: str) -> Policy:
    """A scripted player for the world called `world_name`."""
    names = policy_names(world_name)
    if policy_name not in names:
        raise UsageError(f"{world_name!r} has no policy called {policy_name!r}", f"choose one of {', '.join(names)}")
    kind = _kind(world_name)
    if policy_name == "random":
        from .random_policy import RandomPolicy

        return RandomPolicy()
    if kind == "archive":
        from .archive import ClerkPolicy

        return ClerkPolicy()
    if kind == "greenhouse":
        return _greenhouse_policy(world_name.removeprefix("isolated:"), policy_name)
    if kind == "minigrid":
        from .minigrid_policy import ExplorerPolicy

        return ExplorerPolicy()
    if policy_name in ("expert", "gold"):
        from .gold import GoldPolicy

        return GoldPolicy(lambda: open_world(world_name), policy_name)
    from .household.policies import RulesPolicy, SearcherPolicy

    return RulesPolicy() if policy_name == "rules" else SearcherPolicy()


def _kind(world_name: str) -> str:
    return world_name.removeprefix("isolated:").partition(":")[0]


def _greenhouse_policy(world_name: str, policy_name: str) -> Policy:
    from .greenhouse.expert import ExpertPolicy
    from .greenhouse.policies import RulesPolicy

    return RulesPolicy() if policy_name == "rules" else ExpertPolicy(_greenhouse_config(world_name))


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
