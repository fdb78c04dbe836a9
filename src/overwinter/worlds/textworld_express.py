"""TextWorldExpress: text games at thousands of steps a second, from a package nobody here wrote.

    textworld-express:cookingworld                       games: cookingworld, twc, coin, mapreader, arithmetic, sorting, …
    textworld-express:coin,split=dev,numLocations=11     options of the game's own go to the game, which judges them

Seed s plays the s-th seed of the split (there are 1000 each; more seeds start again at the first). Needs Java and
`overwinter[textworld-express]`; the engines of all worlds run in one Java process that ends with the last of them.

Jansen and Côté: "TextWorldExpress", 2023, arXiv 2208.01174. Apache-2.0.
"""

from __future__ import annotations

import json
import os
import weakref
from typing import Any

from overwinter.errors import UsageError

from .gym import require
from .java import need_java
from .text_game import Frame, Options, TextGame

LOOKS = ("inventory", "look around", "task")


_running: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
"""By process: one that was forked must not speak through its parent's connection."""


def _java() -> Any:
    """The package's environment, which ends its Java process when it is dropped; each world keeps it, and has a server object of its own
    in it. A process of half a second and 60 MB for each world would be too much where dozens are played at once."""
    package = require("textworld_express", "textworld-express")
    need_java("TextWorldExpress")
    found = _running.get(os.getpid())
    if found is None:
        found = _running[os.getpid()] = package.TextWorldExpressEnv()
    return found


class TextWorldExpress(TextGame):
    """One of the package's games.

    Args:
        server: the package's Java server object; made here unless given.
    """

    def __init__(self, options: Options, *, name: str, server: Any = None) -> None:
        super().__init__(name=name, goal="Do what the task in the observation says.", steps=options.steps, looks=LOOKS)
        self._env: Any = None
        if server is None:
            self._env = _java()
            server = self._env.server.getClass().newInstance()
        self._server = server
        problem = server.load(options.game, ",".join(f"{key}={value}" for key, value in options.rest))
        if problem:
            raise UsageError(
                f"TextWorldExpress refuses {name!r}: {problem.removeprefix('ERROR: ').strip()}", "correct the name"
            )
        lists = {"train": server.getSeedsTrain, "dev": server.getSeedsDev, "test": server.getSeedsTest}
        self._split, self._seeds = options.split, list(lists[options.split]())
        self._said: dict[str, Any] = {}
        self._sentence = ""

    def _begin(self, seed: int) -> Frame:
        self._said = self._generate(seed, gold=False)
        self._sentence = str(self._server.getTaskDescription())
        return self._read()

    def _generate(self, seed: int, *, gold: bool) -> dict[str, Any]:
        number = self._seeds[seed % len(self._seeds)]
        said: dict[str, Any] = json.loads(self._server.generateNewGameJSON(number, self._split, gold))
        return said

    def _act(self, action: str) -> Frame | None:
        if action not in self._said["validActions"]:
            return None
        # The raw server call: the package's own `step` asks for the task again each time.
        self._said = json.loads(self._server.stepJSON(action))
        return self._read()

    def _read(self) -> Frame:
        said = self._said
        return Frame(
            feedback=said["observation"],
            score=float(said["score"]),
            success=bool(said["tasksuccess"]) or said["score"] >= 1.0,
            failure=bool(said["taskfailure"]),
            inventory=said["inventory"],
        )

    def _listed(self) -> list[str]:
        listed: list[str] = self._said["validActions"]
        return listed

    def _task(self) -> str:
        return self._sentence

    def _facts(self) -> str:
        said = self._said
        # Games without a room ("simonsays") say where they stand in the answer alone.
        return repr((said["look"] or said["observation"], said["inventory"], said["score"]))

    def _gold(self) -> list[str]:
        self._said = self._generate(self._seed, gold=True)
        return list(self._server.getGoldActionSequence())
