"""A household as a World: reset, step, save, put back, judge; in words, or in codes where speed matters.

    world = Household(Config(split="unseen", family="heat"))
    observation = world.reset(7)
    world.step("go to fridge 1")                  # words, as any World
    world.step_code(world.codes()[0])             # the same step without an observation, for training on codes

A step in words costs some microseconds more, which go into the observation.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

from overwinter.errors import UsageError
from overwinter.worlds.world import Observation, Outcome, Transition, text_key

from . import words
from .config import Config
from .home import Game, make_game
from .plan import gold_codes
from .rules import NOWHERE, PURE, Rules, State

SNAPSHOT_VERSION = 1


@lru_cache(maxsize=64)
def _rules(config: Config, seed: int) -> Rules:
    """The rules of a seed's game, which never change: a group resets one seed many times."""
    return Rules(make_game(config, seed))


class Household:
    """One household task after another, each a function of the seed. See the package docstring for what holds everywhere.

    Reward is 1 in the step that does the task, and 0 in all others.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.name = self.config.name
        self.goal = f"Do the household task that the observation names, within {self.config.steps} steps."
        self._seed = 0
        self._rules: Rules | None = None
        self._state = State(NOWHERE, NOWHERE, [])
        self._steps = 0
        self._solved = False
        self._legal: list[int] | None = None
        self._words: dict[int, str] = {}
        self._codes: dict[str, int] = {}
        self._last = Observation(text="")

    @property
    def game(self) -> Game:
        """The home and task of this episode, hidden parts included."""
        return self._started().game

    def reset(self, seed: int) -> Observation:
        self._begin(seed)
        self._last = self._observe(words.welcome(self.game))
        return self._last

    def step(self, action: str) -> Transition:
        rules = self._started()
        if action not in self._codes:
            self.actions()  # gives what is listed now its words
        code = self._codes.get(action)
        if code is None or code not in self.codes():
            raise UsageError(f"{action!r} is not a legal action now", "choose one of the listed actions")
        reward, terminated, truncated = self.step_code(code)
        self._last = self._observe(words.answer(rules, self._state, code))
        return Transition(observation=self._last, reward=reward, terminated=terminated, truncated=truncated)

    def step_code(self, code: int) -> tuple[float, bool, bool]:
        """One step by its code, one of `codes()`: reward, terminated, truncated. Shows nothing."""
        rules = self._started()
        if code not in self.codes():
            raise UsageError(f"the action {code} is not legal now", "choose one of codes()")
        rules.apply(self._state, code)
        self._steps += 1
        self._legal = None
        self._solved = rules.solved(self._state)
        return float(self._solved), self._solved, not self._solved and self._steps >= self.config.steps

    def codes(self) -> list[int]:
        """The legal actions as codes, in the order of `actions()`; empty after the end."""
        if self._legal is None:
            over = self._solved or self._steps >= self.config.steps
            self._legal = [] if over else self._started().legal(self._state)
        return self._legal

    def actions(self) -> tuple[str, ...]:
        self._started()
        known = self._words
        return tuple(known.get(code) or self._name(code) for code in self.codes())

    def effect(self, action: str) -> str:
        """ "pure" for looking, in whatever way; "keyed" for all else: the home remembers it."""
        self.actions()
        if action not in self._codes:
            raise UsageError(f"{action!r} is not an action of this home now", "choose one of the listed actions")
        return "pure" if self._codes[action] >> 16 in PURE else "keyed"

    def outcome(self) -> Outcome:
        """Success, and as score the part of 1 that was earned."""
        over = self._solved or self._steps >= self.config.steps
        game = self.game
        facts = {
            "seed": self._seed,
            "task": words.task(game),
            "family": game.family,
            "room": game.room,
            "floor_plan": game.plan,
            "steps": self._steps,
            "truncated": over and not self._solved,
        }
        return Outcome(success=self._solved if over else None, score=float(self._solved), facts=facts)

    def state_key(self) -> int:
        """The home and its facts, the closed receptacles included; not the wording of the last answer, nor the time left."""
        return text_key(f"{self._started().digest} {self._state.key()}")

    def gold_path(self) -> list[str]:
        """The shortest known way from here to the end of the task, planned on the full state."""
        return [self._name(code) for code in self.gold_codes()]

    def gold_codes(self) -> list[int]:
        """`gold_path` as codes."""
        return gold_codes(self._started(), self._state)

    def snapshot(self) -> dict[str, Any]:
        return {
            "version": SNAPSHOT_VERSION,
            "world": self.name,
            "seed": self._seed,
            "game": self._started().digest,
            "state": asdict(self._state),
            "steps": self._steps,
            "observation": {"text": self._last.text, "data": self._last.data},
        }

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        if snapshot.get("version") != SNAPSHOT_VERSION or snapshot.get("world") != self.name:
            raise UsageError(
                f"this snapshot is of {snapshot.get('world')!r} (version {snapshot.get('version')}), not {self.name!r}",
                "open the world by the name the run was started with",
            )
        if _rules(self.config, snapshot["seed"]).digest != snapshot["game"]:
            raise UsageError(
                f"seed {snapshot['seed']} makes another home here than where this snapshot was taken",
                "install the version of overwinter that the run was started with",
            )
        self._begin(snapshot["seed"])
        state = dict(snapshot["state"])
        state["inside"] = [list(things) for things in state["inside"]]
        self._state, self._steps = State(**state), snapshot["steps"]
        self._solved = self._started().solved(self._state)
        self._last = Observation(text=snapshot["observation"]["text"], data=dict(snapshot["observation"]["data"]))
        return self._last

    def _begin(self, seed: int, game: Game | None = None) -> None:
        before, self._seed = self._rules, seed
        self._rules = Rules(game) if game else _rules(self.config, seed)
        self._state = self._rules.start()
        self._steps, self._solved, self._legal = 0, False, None
        if self._rules is not before:
            self._words, self._codes = {}, {}

    def _started(self) -> Rules:
        if self._rules is None:
            raise UsageError("the household has not been started", "call reset(seed) or restore(snapshot) first")
        return self._rules

    def _name(self, code: int) -> str:
        name = words.command(self.game, code)
        self._words[code], self._codes[name] = name, code
        return name

    def _observe(self, feedback: str) -> Observation:
        game, state = self.game, self._state
        at = game.receptacles[state.at] if state.at != NOWHERE else None
        carrying = game.objects[state.held] if state.held != NOWHERE else None
        task = words.task(game)
        place = f"before the {at}" if at else "in the middle of the room"
        text = f"{feedback}\nTask: {task}. You stand {place} and carry {carrying or 'nothing'}."
        return Observation(text=text, data={"feedback": feedback, "task": task, "at": at, "carrying": carrying})
