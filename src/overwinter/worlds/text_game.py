"""What adapters of text games share: seeds by split, a step limit of ours, legality, reward, snapshots by replay.

A game of somebody else's gives a `Frame` after each action. This class makes a World of it: the reward is the change of the
score, `terminated` is the game's own end, `truncated` our step limit, and a snapshot is the seed and the actions taken, since such
engines cannot be saved; restoring plays them again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from overwinter.errors import UsageError

from .world import Observation, Outcome, Transition, text_key

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What a game says after an action.

    Attributes:
        feedback: the answer to the action.
        score: 0 to 1; below 0 where a game punishes a wrong answer.
        success, failure: how it ended; neither while it goes on.
        inventory: what is carried, if the game says so.
    """

    feedback: str
    score: float
    success: bool = False
    failure: bool = False
    inventory: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The part of a world's name after the first colon: `GAME[,split=…][,steps=…][,KEY=VALUE…]`."""

    game: str
    split: str = "train"
    steps: int = 100
    rest: tuple[tuple[str, str], ...] = ()
    """Options of the game's own, in the order of the name."""


def parse_options(kind: str, text: str, allowed: Collection[str] | None = None) -> Options:
    """Read a name's options. `allowed` are the game's own, None where the game itself judges them."""
    game, *options = text.split(",")
    chosen: dict[str, str] = {}
    for option in options:
        key, _, value = option.partition("=")
        own = key not in ("split", "steps")
        wrong = (own and allowed is not None and key not in allowed) or (key == "split" and value not in SPLITS)
        number = value.isascii() and value.isdigit() and int(value) > 0
        if not key or not value or key in chosen or wrong or (key == "steps" and not number):
            ours = ", ".join([*(f"{name}=…" for name in allowed or ()), "split=train|dev|test", "steps=NUMBER"])
            raise UsageError(f"{option!r} is not an option of {kind}:{game}", f"use {ours}, once each")
        chosen[key] = value
    rest = tuple((key, value) for key, value in chosen.items() if key not in ("split", "steps"))
    return Options(game=game, split=chosen.get("split", "train"), steps=int(chosen.get("steps", "100")), rest=rest)


class TextGame(ABC):
    """A text game of somebody else's as a World.

    Args:
        steps: actions until the episode is cut short.
        looks: actions that only look.
    """

    def __init__(self, *, name: str, goal: str, steps: int, looks: Collection[str] = ()) -> None:
        self.name, self.goal = name, goal
        self._limit, self._looks = steps, frozenset(looks)
        self._seed = 0
        self._taken: list[str] = []
        self._frame: Frame | None = None

    @abstractmethod
    def _begin(self, seed: int) -> Frame:
        """Start the episode of a seed."""

    @abstractmethod
    def _act(self, action: str) -> Frame | None:
        """Carry out an action; None if the game does not understand it, and then nothing has changed."""

    @abstractmethod
    def _listed(self) -> Sequence[str]:
        """What the game says can be done now, in any order."""

    @abstractmethod
    def _task(self) -> str:
        """The task of this episode in words."""

    @abstractmethod
    def _facts(self) -> str:
        """All that the game tells about its state, for the key."""

    @abstractmethod
    def _gold(self) -> list[str]:
        """The gold path of this episode from its start; the game is at its start then."""

    def reset(self, seed: int) -> Observation:
        self._seed, self._taken = seed, []
        self._frame = self._begin(seed)
        return self._observe()

    def step(self, action: str) -> Transition:
        before = self._started()
        frame = self._act(action) if self._goes_on() else None
        if frame is None:
            raise UsageError(f"{action!r} is not a legal action now", "choose one of the listed actions")
        self._taken.append(action)
        self._frame = frame
        terminated = frame.success or frame.failure
        return Transition(
            observation=self._observe(),
            reward=frame.score - before.score,
            terminated=terminated,
            truncated=not terminated and not self._goes_on(),
        )

    def actions(self) -> tuple[str, ...]:
        self._started()
        return tuple(sorted(set(self._listed()))) if self._goes_on() else ()

    def effect(self, action: str) -> str:
        """ "pure" for the actions that only look, "keyed" for all else."""
        return "pure" if action in self._looks else "keyed"

    def outcome(self) -> Outcome:
        frame = self._started()
        over = not self._goes_on()
        facts = {"seed": self._seed, "steps": len(self._taken), "score": frame.score, "failure": frame.failure}
        return Outcome(success=frame.success if over else None, score=frame.score, facts=facts)

    def state_key(self) -> int:
        """The world's name, the seed, and all that the game tells about its state; not the answer to the last action."""
        self._started()
        return text_key(f"{self.name} {self._seed} {self._facts()}")

    def gold_path(self) -> list[str]:
        """The way to full score that the game's authors give, from the start of the episode.

        Raises:
            UsageError: actions were taken already; such games know one path only, from the start.
        """
        self._started()
        if self._taken:
            raise UsageError(f"{self.name!r} tells its gold path at the start only", "call reset(seed) first")
        return self._gold()

    def snapshot(self) -> dict[str, Any]:
        self._started()
        return {"version": 1, "world": self.name, "seed": self._seed, "actions": list(self._taken)}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        if snapshot.get("version") != 1 or snapshot.get("world") != self.name:
            raise UsageError(
                f"this snapshot is of {snapshot.get('world')!r} (version {snapshot.get('version')}), not {self.name!r}",
                "open the world by the name the run was started with",
            )
        observation = self.reset(snapshot["seed"])
        for action in snapshot["actions"]:
            observation = self.step(action).observation
        return observation

    def _started(self) -> Frame:
        if self._frame is None:
            raise UsageError(f"{self.name!r} has not been started", "call reset(seed) or restore(snapshot) first")
        return self._frame

    def _goes_on(self) -> bool:
        frame = self._started()
        return not (frame.success or frame.failure) and len(self._taken) < self._limit

    def _observe(self) -> Observation:
        frame = self._started()
        data = {"feedback": frame.feedback, "inventory": frame.inventory, "task": self._task(), "score": frame.score}
        lines = [
            frame.feedback.strip(),
            frame.inventory.strip(),
            f"Task: {data['task']}",
            f"Score: {frame.score:g} of 1.",
        ]
        return Observation(text="\n".join(line for line in lines if line), data=data)
