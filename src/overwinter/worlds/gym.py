"""Gymnasium both ways: a World as a `gymnasium.Env`, and a `gymnasium.Env` with discrete actions as a World.

    env = WorldEnv(open_world("greenhouse"))        # text observations, Discrete actions, info["action_mask"]
    world = EnvWorld(gymnasium.make("CartPole-v1"), name="pole", goal="...", action_names=[...])

gymnasium and numpy are optional (`overwinter[worlds]`); this module imports without them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from overwinter.errors import UsageError

from .world import Observation, Outcome, Transition, World, text_key

if TYPE_CHECKING:
    import gymnasium

_TEXT_MAX = 8192
CHARSET = "\n" + "".join(map(chr, (*range(32, 127), *range(160, 256)))) + "€–—‘’“”…→"
"""What the Text space of a `WorldEnv` admits unless told otherwise: Western European text."""


def require(module: str, extra: str = "worlds") -> Any:
    """Import an optional package, or say how to install it: by the `extra` of overwinter that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not module.startswith(missing.name):
            raise
        raise UsageError(
            f"the package {missing.name!r} is not installed", f"pip install 'overwinter[{extra}]'"
        ) from None


def WorldEnv(  # noqa: N802  # makes a class
    world: World, *, illegal_reward: float = -0.01, charset: str = CHARSET
) -> gymnasium.Env[str, int]:
    """`world` as a gymnasium.Env. Its class is made here, because its base is an optional package.

    Observations are the text. Action i is `world.all_actions[i]`; `info["action_mask"]` marks the legal ones. An action
    that is masked out changes nothing, earns `illegal_reward` and sets `info["illegal"]`.
    """
    gym, np, spaces = require("gymnasium"), require("numpy"), require("gymnasium.spaces")
    catalogue: tuple[str, ...] = tuple(getattr(world, "all_actions", ()))
    if not catalogue:
        raise UsageError(f"the world {world.name!r} does not list all its actions", "give it an attribute all_actions")

    class _WorldEnv(gym.Env):  # type: ignore[misc, name-defined]  # gym is loaded at run time
        metadata = {"render_modes": ["ansi"]}  # noqa: RUF012  # as gymnasium declares it

        def __init__(self) -> None:
            self.world = world
            self.render_mode = "ansi"
            self.observation_space = spaces.Text(min_length=0, max_length=_TEXT_MAX, charset=charset)
            self.action_space = spaces.Discrete(len(catalogue))
            self._text = ""

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:  # noqa: ARG002
            super().reset(seed=seed)
            world_seed = seed if seed is not None else int(self.np_random.integers(2**31))
            self._text = world.reset(world_seed).text
            return self._text, self._info(False)

        def step(self, action: int) -> tuple[str, float, bool, bool, dict[str, Any]]:
            chosen = catalogue[int(action)]
            if chosen not in world.actions():
                return self._text, illegal_reward, False, False, self._info(True)
            done = world.step(chosen)
            self._text = done.observation.text
            return self._text, done.reward, done.terminated, done.truncated, self._info(False)

        def render(self) -> str:
            return self._text

        def _info(self, illegal: bool) -> dict[str, Any]:
            legal = set(world.actions())
            mask = np.array([action in legal for action in catalogue], dtype=np.int8)
            return {"action_mask": mask, "illegal": illegal, "actions": catalogue}

    env: gymnasium.Env[str, int] = _WorldEnv()
    return env


class EnvWorld:
    """A gymnasium.Env with a Discrete action space as a World.

    A snapshot is the seed and the actions so far; restoring plays them again, which is exact when the environment is
    deterministic for a seed. Every action counts as "keyed": an environment does not say which of them only look.

    Args:
        describe: turns an observation of the environment into text and JSON facts that say the same.
        action_names: a name for each action, in the order of the Discrete space.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        name: str,
        goal: str,
        action_names: Sequence[str] | None = None,
        describe: Callable[[Any], Observation] | None = None,
    ) -> None:
        count = getattr(env.action_space, "n", None)
        if count is None:
            raise UsageError(f"{name!r} has no discrete actions", "choose an environment with a Discrete action space")
        self.all_actions = tuple(action_names or (f"action {i}" for i in range(int(count))))
        if len(self.all_actions) != int(count):
            raise UsageError(f"{len(self.all_actions)} names for {count} actions", "give one name for each action")
        self.name, self.goal = name, goal
        self._env, self._describe = env, describe or _describe_plainly
        self._seed = 0
        self._taken: list[int] = []
        self._return = 0.0
        self._ended = True
        self._terminated = False
        self._mask: Any = None
        self._last: Observation | None = None

    def reset(self, seed: int) -> Observation:
        seen, info = self._env.reset(seed=seed)
        self._seed, self._taken, self._return = seed, [], 0.0
        self._ended = self._terminated = False
        self._mask = info.get("action_mask")
        self._last = self._describe(seen)
        return self._last

    def step(self, action: str) -> Transition:
        if action not in self.actions():
            raise UsageError(f"{action!r} is not a legal action now", "choose one of the listed actions")
        index = self.all_actions.index(action)
        seen, reward, terminated, truncated, info = self._env.step(index)
        self._taken.append(index)
        self._return += float(reward)
        self._terminated, self._ended = bool(terminated), bool(terminated or truncated)
        self._mask = info.get("action_mask")
        self._last = self._describe(seen)
        return Transition(
            observation=self._last, reward=float(reward), terminated=bool(terminated), truncated=bool(truncated)
        )

    def actions(self) -> tuple[str, ...]:
        if self._last is None:
            raise UsageError(f"{self.name!r} has not been started", "call reset(seed) or restore(snapshot) first")
        if self._ended:
            return ()
        if self._mask is None:
            return self.all_actions
        return tuple(a for a, legal in zip(self.all_actions, self._mask, strict=True) if legal)

    def effect(self, action: str) -> str:
        if action not in self.all_actions:
            raise UsageError(f"{action!r} is not an action of {self.name!r}", "choose one of the listed actions")
        return "keyed"

    def outcome(self) -> Outcome:
        success = (self._terminated and self._return > 0.0) if self._ended else None
        facts = {"seed": self._seed, "steps": len(self._taken), "return": self._return}
        return Outcome(success=success, score=self._return, facts=facts)

    def state_key(self) -> int:
        """The hash of the last observation's text: all that is known of any environment."""
        if self._last is None:
            raise UsageError(f"{self.name!r} has not been started", "call reset(seed) or restore(snapshot) first")
        return text_key(self._last.text)

    def snapshot(self) -> dict[str, Any]:
        return {"version": 1, "world": self.name, "seed": self._seed, "actions": list(self._taken)}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        if snapshot.get("version") != 1 or snapshot.get("world") != self.name:
            raise UsageError(
                f"this snapshot is of {snapshot.get('world')!r} (version {snapshot.get('version')}), not {self.name!r}",
                "open the world by the name the run was started with",
            )
        observation = self.reset(snapshot["seed"])
        for index in snapshot["actions"]:
            observation = self.step(self.all_actions[index]).observation
        return observation


def _describe_plainly(seen: Any) -> Observation:
    """Text stays text; arrays and numbers become lists."""
    plain = seen.tolist() if hasattr(seen, "tolist") else seen
    if isinstance(plain, dict):
        plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in plain.items()}
    return Observation(text=str(plain), data={"observation": plain})


def open_gym(env_id: str) -> EnvWorld:
    """A registered Gymnasium environment as a World, described plainly."""
    gym = require("gymnasium")
    try:
        env = gym.make(env_id)
    except gym.error.Error as unknown:
        raise UsageError(
            f"Gymnasium cannot make {env_id!r}: {unknown}", "list them with gymnasium.pprint_registry()"
        ) from None
    return EnvWorld(env, name=f"gym:{env_id}", goal=f"Earn as much reward as you can in {env_id}.")
