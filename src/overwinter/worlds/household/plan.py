"""The gold path: from any state of a home to the end of its task, planned on the full state.

Every way to do the task (which object, which destination) is tried on a copy of the state, and the shortest is taken. It is the shortest
possible but for detours that no task of these families rewards.
"""

from __future__ import annotations

from itertools import permutations

from . import rules as r
from .rules import NOWHERE, Rules, State, code
from .tables import APPLIANCE

_TREATMENTS = {"clean": (r.CLEAN, "clean"), "heat": (r.HEAT, "hot"), "cool": (r.COOL, "cool")}


class _Walk:
    """A path under construction on a copy of a state."""

    def __init__(self, rules: Rules, state: State) -> None:
        self.rules, self.state = rules, state.copy()
        self.codes: list[int] = []

    def do(self, verb: int, thing: int = 0, receptacle: int = 0) -> None:
        action = code(verb, thing, receptacle)
        assert action in self.rules.legal(self.state), "a planned step is not legal"
        self.rules.apply(self.state, action)
        self.codes.append(action)

    def go(self, receptacle: int) -> None:
        if self.state.at != receptacle:
            self.do(r.GO, 0, receptacle)

    def reach(self, receptacle: int) -> None:
        """Stand before it with its contents at hand."""
        self.go(receptacle)
        if self.rules.openable[receptacle] and not self.state.opened >> receptacle & 1:
            self.do(r.OPEN, 0, receptacle)

    def place(self, receptacle: int) -> None:
        self.reach(receptacle)
        self.do(r.MOVE, self.state.held, receptacle)

    def fetch(self, thing: int) -> None:
        """Have `thing` in hand, whatever is in hand now."""
        if self.state.held == thing:
            return
        if self.state.held != NOWHERE:
            self.place(self._nearest_place())
        where = next(place for place, things in enumerate(self.state.inside) if thing in things)
        self.reach(where)
        self.do(r.TAKE, thing, where)

    def _nearest_place(self) -> int:
        """Where to put what is in hand: here if it goes, else wherever nothing has to be opened."""
        rules, state = self.rules, self.state
        places = [place for place in range(len(rules.fits)) if rules.fits[place][state.held]]
        closed = [rules.openable[place] and not state.opened >> place & 1 for place in range(len(rules.fits))]
        return min(places, key=lambda place: (place != state.at, closed[place]))


def gold_codes(rules: Rules, state: State) -> list[int]:
    """The codes of the shortest path found; empty if the task is done."""
    if rules.solved(state):
        return []
    walks = _under_lamps(rules, state) if rules.game.family == "light" else _placings(rules, state)
    return min((walk.codes for walk in walks if rules.solved(walk.state)), key=len)


def _under_lamps(rules: Rules, state: State) -> list[_Walk]:
    walks = []
    places = [(o, place) for place, things in enumerate(state.inside) for o in things if rules.lamp[o]]
    for thing in (o for o, is_target in enumerate(rules.targets) if is_target):
        for lamp, place in places:
            walk = _Walk(rules, state)
            walk.fetch(thing)
            walk.go(place)
            if not state.toggled >> lamp & 1:
                walk.do(r.USE, lamp)
            walks.append(walk)
    return walks


def _placings(rules: Rules, state: State) -> list[_Walk]:
    family = rules.game.family
    targets = [o for o, is_target in enumerate(rules.targets) if is_target]
    orders = permutations(targets, 2) if family == "two" else ((o,) for o in targets)
    walks = []
    for things in orders:
        for destination in rules.destinations:
            walk = _Walk(rules, state)
            for thing in things:
                _bring(walk, thing, destination)
            walks.append(walk)
    return walks


def _bring(walk: _Walk, thing: int, destination: int) -> None:
    """Treat `thing` as the family wants it and put it into `destination`, unless that is so already."""
    rules, family = walk.rules, walk.rules.game.family
    verb, mask = _TREATMENTS.get(family, (NOWHERE, ""))
    ready = not mask or bool(getattr(walk.state, mask) >> thing & 1)
    if ready and thing in walk.state.inside[destination]:
        return
    walk.fetch(thing)
    if not ready:
        appliances = [i for i, kind in enumerate(rules.game.receptacle_kinds) if kind == APPLIANCE[family]]
        walk.go(walk.state.at if walk.state.at in appliances else appliances[0])
        walk.do(verb, thing, walk.state.at)
    walk.place(destination)
