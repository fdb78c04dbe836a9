"""A simple player for MiniGrid and BabyAI: remember the map, walk to what the mission names, explore until it is seen.

It sees what `minigrid.describe` says and keeps a map by dead reckoning. It understands missions made of "go to", "pick
up", "open", "put ... next to ..." and "get to the goal", joined by "and", "then", "after you"; it opens closed doors,
and fetches a key for a locked one. It clears no blocked ways and ignores where a thing is said to be ("on your left").
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .minigrid import FACINGS, FLOOR, UNSEEN, VIEW_CELLS, WALL
from .world import Observation

Cell = tuple[int, int]
_STEP = {"east": (1, 0), "south": (0, 1), "west": (-1, 0), "north": (0, -1)}


@dataclass(frozen=True, slots=True)
class Task:
    """One part of a mission: a verb and the words that the thing's name must contain."""

    verb: str
    what: frozenset[str]
    beside: frozenset[str] = frozenset()


def parse_mission(mission: str) -> list[Task]:
    """The parts of a mission in the order in which to do them."""
    first, after, then_first = mission.partition("after you")
    ordered = [then_first, first] if after else re.split(r",? then ", first)
    return [task for part in ordered for clause in re.split(r"\band\b", part) if (task := _task(clause))]


def _task(clause: str) -> Task | None:
    put = re.search(r"put (.*) next to (.*)", clause)
    if put:
        return Task("put", _words(put[1]), _words(put[2]))
    if "goal" in clause:
        return Task("reach", frozenset({"goal"}))
    for verb in ("pick up", "open", "go to"):
        found = re.search(rf"{verb} (.*)", clause)
        if found:
            return Task(verb, _words(found[1]))
    return None


def _words(phrase: str) -> frozenset[str]:
    known = "red green blue purple yellow grey door key ball box"
    return frozenset(phrase.replace(",", " ").split()) & frozenset(known.split())


class ExplorerPolicy:
    """See the module docstring."""

    name = "explorer"

    def __init__(self) -> None:
        self.reset(0)

    def reset(self, seed: int) -> None:  # noqa: ARG002  # the protocol
        self._cells: dict[Cell, str] = {}
        self._at: Cell = (0, 0)
        self._facing = "east"
        self._carrying: str | None = None
        self._tasks: list[Task] | None = None
        self._moved = False

    def act(self, observation: Observation, actions: Sequence[str]) -> str:  # noqa: ARG002  # all are legal here
        self._see(observation.data)
        action = self._decide()
        self._moved = action == "go forward" and self._walkable(self._front(self._at, self._facing))
        return action

    # -- the map

    def _see(self, data: dict[str, Any]) -> None:
        if self._tasks is None:
            self._tasks = parse_mission(data["mission"])
        if self._moved:
            self._at = self._front(self._at, self._facing)
        self._facing, self._carrying = data["facing"], data["carrying"]
        for y, row in enumerate(data["map"]):
            for x, character in enumerate(row):
                cell = self._cell(VIEW_CELLS - 1 - y, x - VIEW_CELLS // 2)
                if character in (WALL, FLOOR):
                    self._cells[cell] = "wall" if character == WALL else "floor"
                elif character != UNSEEN and cell == self._at:
                    self._cells.setdefault(cell, "floor")
        for thing in data["things"]:
            self._cells[self._cell(thing["ahead"], thing["right"])] = thing["what"]

    def _cell(self, ahead: int, right: int) -> Cell:
        (fx, fy), (x, y) = _STEP[self._facing], self._at
        return x + fx * ahead - fy * right, y + fy * ahead + fx * right

    @staticmethod
    def _front(at: Cell, facing: str) -> Cell:
        return at[0] + _STEP[facing][0], at[1] + _STEP[facing][1]

    def _walkable(self, cell: Cell) -> bool:
        what = self._cells.get(cell, "")
        return what == "floor" or what.startswith("open ") or what.endswith(" goal")

    def _passable(self, cell: Cell) -> bool:
        """Walkable, or a door this player can open."""
        what = self._cells.get(cell, "")
        if what.startswith("locked "):
            return self._carrying == f"{what.split()[1]} key"
        return what.startswith("closed ") or self._walkable(cell)

    def _known(self, words: frozenset[str]) -> set[Cell]:
        return {cell for cell, what in self._cells.items() if words <= set(what.split())}

    # -- what to do

    def _decide(self) -> str:
        while self._tasks:
            action = self._do(self._tasks[0])
            if action is not None:
                return action
            self._tasks.pop(0)
        return self._explore()

    def _do(self, task: Task) -> str | None:
        """The next action for a task, None when it is done as far as this player can tell."""
        held = self._carrying is not None and task.what <= set(self._carrying.split())
        if task.verb == "put" and held:
            return self._put_down(task)
        if task.verb == "pick up" and held:
            return None
        targets = self._known(task.what)
        ahead = self._front(self._at, self._facing)
        if task.verb == "reach":
            return self._walk(lambda at, _facing: at in targets) or self._explore()
        if task.verb == "open":
            if ahead in targets and self._cells[ahead].startswith("open "):
                return None
            shut = {cell for cell in targets if not self._cells[cell].startswith("open ")}
            targets = {cell for cell in shut if self._passable(cell)}
            if shut and not targets:
                return self._fetch_key() or self._explore()
        if ahead not in targets:
            return self._walk(lambda at, facing: self._front(at, facing) in targets) or self._explore()
        if task.verb == "go to":
            return None
        if task.verb == "open":
            return "toggle"
        return "drop" if self._carrying else "pick up"

    def _put_down(self, task: Task) -> str:
        spots = {self._front(cell, facing) for cell in self._known(task.beside) for facing in FACINGS}
        spots = {cell for cell in spots if self._cells.get(cell) == "floor"}
        if self._front(self._at, self._facing) in spots:
            return "drop"
        return self._walk(lambda at, facing: self._front(at, facing) in spots) or self._explore()

    def _explore(self) -> str:
        """Walk to the nearest cell beside an unseen one; fetch keys when only locked doors are left."""

        def frontier(at: Cell, _facing: str) -> bool:
            return any(self._front(at, facing) not in self._cells for facing in FACINGS)

        return self._walk(frontier) or self._fetch_key() or "turn left"

    def _fetch_key(self) -> str | None:
        colours = {what.split()[1] for what in self._cells.values() if what.startswith("locked ")}
        keys = {cell for cell, what in self._cells.items() if what.endswith(" key") and what.split()[0] in colours}
        if self._front(self._at, self._facing) in keys:
            return "drop" if self._carrying else "pick up"
        return self._walk(lambda at, facing: self._front(at, facing) in keys)

    def _walk(self, arrived: Callable[[Cell, str], bool]) -> str | None:
        """The first action of a shortest way to where `arrived` holds; None if there is no way or nowhere to go."""
        start = (self._at, self._facing)
        queue: deque[tuple[tuple[Cell, str], str | None]] = deque([(start, None)])
        visited = {start}
        while queue:
            (at, facing), first = queue.popleft()
            if first is not None and arrived(at, facing):
                ahead = self._front(self._at, self._facing)
                return "toggle" if first == "go forward" and not self._walkable(ahead) else first
            turn = FACINGS.index(facing)
            nexts = [((at, FACINGS[turn - 1]), "turn left"), ((at, FACINGS[(turn + 1) % 4]), "turn right")]
            if self._passable(self._front(at, facing)):
                nexts.append(((self._front(at, facing), facing), "go forward"))
            for state, action in nexts:
                if state not in visited:
                    visited.add(state)
                    queue.append((state, first or action))
        return None
