"""Players that see observations only: `rules`, which hardly remembers, and `searcher`, which keeps a map.

Both read the answer's wording, as a language model would. The player that sees everything is `expert`
(`overwinter.worlds.gold`), which follows `Household.gold_path`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from overwinter.worlds.world import Observation

from .tables import APPLIANCE, OBJECTS

_TASK = re.compile(
    r"put (?P<how>a clean|a hot|a cool|a|two) (?P<target>\w+) in (?P<destination>\w+)"
    r"|look at (?P<seen>\w+) under the (?P<lamp>\w+)"
)
_FAMILY = {"a": "pick", "two": "two", "a clean": "clean", "a hot": "heat", "a cool": "cool"}
_SHOWN = re.compile(r"(?:On|In) (?:the (?P<place>\w+ \d+)|it), you see (?P<contents>.*)\.")
_NAME = re.compile(r"\w+ \d+")


@dataclass(frozen=True, slots=True)
class Task:
    """What the task sentence asks for; for "light" the destination is the kind of lamp."""

    family: str
    target: str
    destination: str


def parse_task(text: str) -> Task:
    found = _TASK.match(text)
    assert found, f"a task sentence that no family has: {text!r}"
    if found["seen"]:
        return Task("light", found["seen"], found["lamp"])
    return Task(_FAMILY[found["how"]], found["target"], found["destination"])


def shown_contents(feedback: str) -> list[str] | None:
    """The things that an answer shows in a receptacle; None if it shows none's inside."""
    found = _SHOWN.search(feedback)
    return _NAME.findall(found["contents"]) if found else None


def _kind(name: str) -> str:
    return name.rpartition(" ")[0]


class RulesPolicy:
    """If-then rules on what is shown now. It remembers whether the thing in hand was treated and where it walked last, and
    otherwise goes from receptacle to receptacle in the order of the list.
    """

    name = "rules"

    def __init__(self) -> None:
        self._treated = False
        self._walks: list[str] = []

    def reset(self, seed: int) -> None:  # noqa: ARG002  # the protocol
        self._treated, self._walks = False, []

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        seen = observation.data
        task = parse_task(seen["task"])
        if seen["feedback"].startswith(("You heat", "You cool", "You clean")):
            self._treated = True
        for wish in self._wishes(task, seen["at"], seen["carrying"], actions):
            if wish in actions:
                return wish
        return self._walk(actions)

    def _wishes(self, task: Task, at: str | None, carrying: str | None, actions: Sequence[str]) -> list[str]:
        wishes = [f"open {at}"]
        if carrying and task.family == "light":
            return [action for action in actions if action.startswith(f"use {task.destination}")]
        if carrying:
            if task.family in APPLIANCE and not self._treated:
                return [f"{task.family} {carrying} with {at}", *_walks(actions, APPLIANCE[task.family])]
            if at and _kind(at) == task.destination:
                return [f"move {carrying} to {at}", f"open {at}", *_walks(actions, task.destination)]
            return _walks(actions, task.destination)
        if not (at and _kind(at) == task.destination and task.family == "two"):
            wishes += [action for action in actions if action.startswith(f"take {task.target} ")]
        return wishes

    def _walk(self, actions: Sequence[str]) -> str:
        """To the next receptacle of the round."""
        self._walks = self._walks or _walks(actions, "")
        self._walks.append(self._walks.pop(0))
        return self._walks[-1] if self._walks[-1] in actions else self._walk(actions)


def _walks(actions: Sequence[str], kind: str) -> list[str]:
    return [action for action in actions if action.startswith(f"go to {kind}")]


class SearcherPolicy:
    """Keeps a map of what it has seen, looks where such a thing may lie, and comes back for what it saw on the way."""

    name = "searcher"

    def __init__(self) -> None:
        self._forget()

    def reset(self, seed: int) -> None:  # noqa: ARG002  # the protocol
        self._forget()

    def _forget(self) -> None:
        self._places: list[str] = []
        self._seen: dict[str, list[str]] = {}
        self._treated = False
        self._home = ""
        """Of two things to place together: where the first one is."""

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        seen = observation.data
        at, carrying = seen["at"], seen["carrying"]
        task = parse_task(seen["task"])
        self._learn(seen["feedback"], at, actions)
        treatment = f"{task.family} {carrying} with {at}"
        if treatment in actions and not self._treated:
            return treatment
        if carrying is None:
            return self._fetch(task, at, actions)
        if task.family == "light":
            return self._light(task, at, actions)
        if task.family in APPLIANCE and not self._treated:
            return self._approach(self._of_kind(APPLIANCE[task.family])[0], at, actions)
        goal = self._home or self._of_kind(task.destination)[0]
        self._home = goal
        return self._approach(goal, at, actions, f"move {carrying} to {goal}")

    def _learn(self, feedback: str, at: str | None, actions: Sequence[str]) -> None:
        if not self._places:
            self._places = [action.removeprefix("go to ") for action in _walks(actions, "")]
        self._treated = self._treated or feedback.startswith(("You heat", "You cool", "You clean"))
        contents = shown_contents(feedback) if feedback.startswith(("You arrive", "You open")) else None
        if at and contents is not None:
            self._seen[at] = contents
        moved = re.match(r"You (pick up|move) the (\w+ \d+) (?:from|to) the (\w+ \d+)", feedback)
        if moved and moved[1] == "move":
            self._seen.setdefault(moved[3], []).append(moved[2])
        elif moved and moved[2] in self._seen.get(moved[3], []):
            self._seen[moved[3]].remove(moved[2])

    def _of_kind(self, kind: str) -> list[str]:
        return [place for place in self._places if _kind(place) == kind]

    def _fetch(self, task: Task, at: str | None, actions: Sequence[str]) -> str:
        for place, contents in self._seen.items():
            things = [thing for thing in contents if _kind(thing) == task.target]
            if things and place != self._home:
                return self._approach(place, at, actions, f"take {things[0]} from {place}")
        return self._explore(task.target, at, actions)

    def _light(self, task: Task, at: str | None, actions: Sequence[str]) -> str:
        for place, contents in self._seen.items():
            lamps = [thing for thing in contents if _kind(thing) == task.destination]
            if lamps:
                return self._approach(place, at, actions, f"use {lamps[0]}")
        return self._explore(task.destination, at, actions)

    def _explore(self, kind: str, at: str | None, actions: Sequence[str]) -> str:
        """The next receptacle that was not seen inside, those that may hold such a thing first."""
        if at and f"open {at}" in actions and at not in self._seen:
            return f"open {at}"
        fresh = [place for place in self._places if place not in self._seen]
        if not fresh:  # nothing is where it was seen; look everywhere once more
            self._seen.clear()
            fresh = [place for place in self._places if place != at]
        fits = OBJECTS[kind].fits
        return self._approach(min(fresh, key=lambda place: _kind(place) not in fits), at, actions)

    def _approach(self, place: str, at: str | None, actions: Sequence[str], then: str = "look") -> str:
        """Walk to `place`, open it if `then` needs that, and do `then`."""
        if at != place:
            return f"go to {place}"
        if then in actions:
            return then
        return f"open {place}" if f"open {place}" in actions else "look"
