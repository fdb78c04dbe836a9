"""What can be done in a home and what it does, in whole numbers: the fast form of the rules in `facts.py`.

An action is a code, `verb << 16 | object << 8 | receptacle`; for slicing, the knife stands where the receptacle would. Sets of
objects are bit masks. `Rules` holds what a game never changes, `State` what it does.

The rules are those of ALFWorld's text engine (Shridhar et al., ICLR 2021, arXiv 2010.03768), whose less expected ones are:
a receptacle holds any number of things; clean, heat and cool need the appliance before you and the thing in hand, but no open
door; a thing in a closed receptacle can be sliced and a lamp there switched; a lamp that was used once counts as on for good;
only what is in hand can be examined, beside receptacles; walking to where you stand is not listed.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from .home import Game
from .tables import APPLIANCE, OBJECTS, OPENABLE

LOOK, INVENTORY, HELP, GO, OPEN, CLOSE, EXAMINE_RECEPTACLE, EXAMINE_OBJECT = range(8)
TAKE, MOVE, USE, HEAT, COOL, CLEAN, SLICE = range(8, 15)
NOWHERE = -1
"""The middle of the room, as a place; and the empty hand."""
PURE = frozenset({LOOK, INVENTORY, HELP, EXAMINE_RECEPTACLE, EXAMINE_OBJECT})
"""Verbs that only look."""


def code(verb: int, thing: int = 0, receptacle: int = 0) -> int:
    return verb << 16 | thing << 8 | receptacle


def parts(action: int) -> tuple[int, int, int]:
    """Verb, object, receptacle (or knife)."""
    return action >> 16, action >> 8 & 0xFF, action & 0xFF


@dataclass(slots=True)
class State:
    """The changing part of a game.

    Attributes:
        at: the receptacle that the actor stands before, or NOWHERE.
        held: the object in hand, or NOWHERE.
        inside: [R] objects in each receptacle, ascending.
        opened: bit mask over receptacles.
        clean, hot, cool, toggled, sliced: bit masks over objects.
    """

    at: int
    held: int
    inside: list[list[int]]
    opened: int = 0
    clean: int = 0
    hot: int = 0
    cool: int = 0
    toggled: int = 0
    sliced: int = 0

    def copy(self) -> State:
        inside = [list(things) for things in self.inside]
        return State(
            self.at, self.held, inside, self.opened, self.clean, self.hot, self.cool, self.toggled, self.sliced
        )

    def key(self) -> tuple[object, ...]:
        """Everything, as one value; equal for equal states."""
        where = tuple(map(tuple, self.inside))
        return self.at, self.held, where, self.opened, self.clean, self.hot, self.cool, self.toggled, self.sliced


class Rules:
    """The rules for one game."""

    def __init__(self, game: Game) -> None:
        self.game, self.digest = game, game.digest()
        kinds, places = [OBJECTS[kind] for kind in game.object_kinds], game.receptacle_kinds
        assert len(kinds) < 256
        assert len(places) < 256
        self.openable = [kind in OPENABLE for kind in places]
        self.portable = [not kind.lamp for kind in kinds]
        self.lamp = [kind.lamp for kind in kinds]
        self.knife = [kind.knife for kind in kinds]
        self.sliceable = [kind.sliceable for kind in kinds]
        self.fits = [[place in kind.fits for kind in kinds] for place in places]
        treated = {HEAT: "heat", COOL: "cool", CLEAN: "clean"}
        self.treat = [[verb for verb, name in treated.items() if APPLIANCE[name] == place] for place in places]
        """[R] what is done to an object there."""
        self.can = {verb: [getattr(kind, f"{name}able") for kind in kinds] for verb, name in treated.items()}
        self.targets = [kind == game.target for kind in game.object_kinds]
        wanted = "" if game.family == "light" else game.destination
        self.destinations = [r for r, kind in enumerate(places) if kind == wanted]
        always = [code(LOOK), code(INVENTORY), code(HELP)]
        walks = [code(GO, 0, r) for r in range(len(places))]
        self._always = [always + walks[:r] + walks[r + 1 :] for r in range(len(places))] + [always + walks]

    def start(self) -> State:
        inside: list[list[int]] = [[] for _ in self.game.receptacles]
        for thing, receptacle in enumerate(self.game.start):
            inside[receptacle].append(thing)
        return State(NOWHERE, NOWHERE, inside)

    def legal(self, state: State) -> list[int]:
        """The codes that can be carried out now, in a fixed order."""
        at, held = state.at, state.held
        listed = self._always[at].copy()
        if held != NOWHERE:
            listed.append(EXAMINE_OBJECT << 16 | held << 8)
        if at == NOWHERE:
            return listed
        here = state.inside[at]
        listed.append(EXAMINE_RECEPTACLE << 16 | at)
        reachable = True
        if self.openable[at]:
            reachable = bool(state.opened >> at & 1)
            listed.append((CLOSE if reachable else OPEN) << 16 | at)
        if held != NOWHERE:
            listed += self._with_hand(state, reachable)
        elif reachable:
            listed += [TAKE << 16 | thing << 8 | at for thing in here if self.portable[thing]]
        listed += [USE << 16 | thing << 8 for thing in here if self.lamp[thing]]
        return listed

    def _with_hand(self, state: State, reachable: bool) -> list[int]:
        """What the thing in hand allows here."""
        at, held = state.at, state.held
        listed = [verb << 16 | held << 8 | at for verb in self.treat[at] if self.can[verb][held]]
        if reachable and self.fits[at][held]:
            listed.append(MOVE << 16 | held << 8 | at)
        if self.knife[held]:
            listed += [SLICE << 16 | thing << 8 | held for thing in state.inside[at] if self.sliceable[thing]]
        return listed

    def apply(self, state: State, action: int) -> None:
        """Carry out a legal action on `state`."""
        verb, thing, receptacle = action >> 16, action >> 8 & 0xFF, action & 0xFF
        bit = 1 << thing
        if verb == GO:
            state.at = receptacle
        elif verb == TAKE:
            state.inside[receptacle].remove(thing)
            state.held = thing
        elif verb == MOVE:
            insort(state.inside[receptacle], thing)
            state.held = NOWHERE
        elif verb in (OPEN, CLOSE):
            state.opened ^= 1 << receptacle
        elif verb == CLEAN:
            state.clean |= bit
        elif verb == HEAT:
            state.hot |= bit
            state.cool &= ~bit
        elif verb == COOL:
            state.cool |= bit
            state.hot &= ~bit
        elif verb == USE:
            state.toggled |= bit
        elif verb == SLICE:
            state.sliced |= bit

    def solved(self, state: State) -> bool:
        """Whether the task is done."""
        family, targets = self.game.family, self.targets
        if family == "light":
            if NOWHERE in (state.held, state.at) or not targets[state.held]:
                return False
            return any(state.toggled >> thing & 1 for thing in state.inside[state.at])
        ready = {"clean": state.clean, "heat": state.hot, "cool": state.cool}.get(family, -1)
        needed = 2 if family == "two" else 1
        for receptacle in self.destinations:
            count = sum(targets[thing] and ready >> thing & 1 for thing in state.inside[receptacle])
            if count >= needed:
                return True
        return False
