"""ScienceWorld: experiments of a primary school as a text game, long and hard, from a package nobody here wrote.

    scienceworld:boil                                    any of the package's 30 tasks
    scienceworld:find-animal,split=test,simplifications=easy
    scienceworld:boil,steps=50,simplifications=openDoors+teleportAction

Seed s plays the s-th variation of the split; more seeds start again at the first. Needs Java and `overwinter[scienceworld]`.

The package's `env.step` asks the Java process ten things for each action. This adapter asks what is needed (answer, score, end) and
fetches the list of possible actions, hundreds of strings, only when `actions()` is called. The simulator understands
more names for a thing than it lists, and its own gold paths use them: an action that is not listed is tried, and refused if
the simulator does not know it. It also lists some that it does not know; they cost a step and do nothing.

Wang et al.: "ScienceWorld: Is your Agent Smarter than a 5th Grader?", EMNLP 2022, arXiv 2203.07540. Apache-2.0.
"""

from __future__ import annotations

import json
import re
from typing import Any

from overwinter.errors import UsageError

from .gym import require
from .java import need_java
from .text_game import Frame, Options, TextGame

LOOKS = ("inventory", "look around", "task")
_UNKNOWN = "No known action matches"
_AMBIGUOUS = "Ambiguous request"


class ScienceWorld(TextGame):
    """One of the package's tasks.

    Args:
        server: the package's Java server object; started here unless given.
    """

    listing_is_slow = True
    """Hundreds of actions, found by trying names on each other: a process apart does not send them unasked."""

    def __init__(self, options: Options, *, name: str, server: Any = None) -> None:
        goal = "Do what the task in the observation says."
        super().__init__(name=name, goal=goal, steps=options.steps, looks=LOOKS)
        self._env: Any = None
        if server is None:
            package = require("scienceworld", "scienceworld")
            need_java("ScienceWorld")
            self._env = package.ScienceWorldEnv()  # kept, since it ends the Java process when it is dropped
            server = self._env.server
        self._server = server
        self._name = options.game
        self._simplifications = ",".join(dict(options.rest).get("simplifications", "").split("+"))
        _check(server, options.game, self._simplifications)
        self._loaded: tuple[int, bool] | None = None
        self._variations: list[int] = []
        self._split = options.split
        self._sentence = ""
        self._feedback = ""
        self._possible: list[str] | None = None

    def _load(self, seed: int, *, gold: bool) -> None:
        """Make the variation of a seed; loading takes a good part of a second and is left out where a reset will do."""
        server = self._server
        if not self._variations:
            server.load(self._name, 0, self._simplifications, False)
            lists = {
                "train": server.getVariationsTrain,
                "dev": server.getVariationsDev,
                "test": server.getVariationsTest,
            }
            self._variations = list(lists[self._split]())
        wanted = (self._variations[seed % len(self._variations)], gold)
        if self._loaded != wanted:
            server.load(self._name, wanted[0], self._simplifications, gold)
            self._loaded = wanted
        server.reset()
        self._possible = None

    def _begin(self, seed: int) -> Frame:
        self._load(seed, gold=False)
        sentence = str(self._server.freeActionTaskDesc())
        self._sentence = " ".join(sentence.removeprefix("Task Description:").split())
        # A first look, which counts no move: until a step the server tells the score of the episode before.
        return self._read(str(self._server.step("look around")))

    def _act(self, action: str) -> Frame | None:
        answer = str(self._server.step(action))
        # Of the hundreds that it lists there are some that it does not know when they are said: those cost a step.
        if answer.startswith(_UNKNOWN) and action not in self._listed():
            return None
        self._possible = None
        return self._read(answer)

    def _read(self, feedback: str) -> Frame:
        self._feedback = feedback
        score = round(100 * self._server.getScore()) / 100
        over = bool(self._server.getCompleted()) or score < 0
        return Frame(feedback=feedback, score=score, success=over and score >= 1.0, failure=over and score < 1.0)

    def _listed(self) -> list[str]:
        if self._feedback.startswith(_AMBIGUOUS):
            return re.findall(r"^(\d+):", self._feedback, re.MULTILINE)
        if self._possible is None:
            combinations = json.loads(self._server.getValidActionObjectCombinationsJSON())
            self._possible = [each["action"] for each in combinations["validActions"]]
        return self._possible

    def _task(self) -> str:
        return self._sentence

    def _facts(self) -> str:
        server = self._server
        question = self._feedback if self._feedback.startswith(_AMBIGUOUS) else ""
        return repr((server.freeActionLook(), server.freeActionInventory(), self._started().score, question))

    def _gold(self) -> list[str]:
        self._load(self._seed, gold=True)
        return list(self._server.getGoldActionSequence())


def _check(server: Any, task: str, simplifications: str) -> None:
    tasks = list(server.getTaskNames())
    if task not in tasks:
        raise UsageError(f"ScienceWorld has no task {task!r}", f"choose one of {', '.join(tasks)}")
    possible = ["easy", *server.getPossibleSimplifications().split(", ")]
    for each in simplifications.split(",") if simplifications else ():
        if each not in possible:
            raise UsageError(f"ScienceWorld has no simplification {each!r}", f"choose from {', '.join(possible)}")
