"""The same rules as a set of facts and commands in words: slow, plain, and the twin that `rules.py` is tested against.

A fact is a tuple of strings such as ("in", "apple 1", "fridge 1"). This is also the form in which the rules are compared with
ALFWorld's own engine, predicate by predicate.
"""

from __future__ import annotations

from .home import Game
from .rules import NOWHERE, Rules, State
from .tables import APPLIANCE, OBJECTS, OPENABLE

Fact = tuple[str, ...]
Facts = frozenset[Fact]
_MASKS = ("clean", "hot", "cool", "toggled", "sliced")


def start(game: Game) -> Facts:
    """The facts that change, as they are in the beginning."""
    return frozenset(
        ("in", name, game.receptacles[place]) for name, place in zip(game.objects, game.start, strict=True)
    )


def of_state(rules: Rules, state: State) -> Facts:
    """The facts of a state of the fast form."""
    game = rules.game
    facts: set[Fact] = {("in", game.objects[o], game.receptacles[r]) for r, os in enumerate(state.inside) for o in os}
    if state.at != NOWHERE:
        facts.add(("at", game.receptacles[state.at]))
    if state.held != NOWHERE:
        facts.add(("held", game.objects[state.held]))
    facts |= {("open", name) for r, name in enumerate(game.receptacles) if state.opened >> r & 1}
    for word in _MASKS:
        facts |= {(word, name) for o, name in enumerate(game.objects) if getattr(state, word) >> o & 1}
    return frozenset(facts)


def legal(game: Game, facts: Facts) -> dict[str, tuple[set[Fact], set[Fact]]]:
    """Each command that can be given now, with the facts that it adds and the facts that it takes away (additions win)."""
    at = next((fact[1] for fact in facts if fact[0] == "at"), None)
    held = next((fact[1] for fact in facts if fact[0] == "held"), None)
    here: set[Fact] = {("at", at)} if at else set()
    commands: dict[str, tuple[set[Fact], set[Fact]]] = {word: (set(), set()) for word in ("look", "inventory", "help")}
    for place in game.receptacles:
        if place != at:
            commands[f"go to {place}"] = ({("at", place)}, here)
    if held:
        commands[f"examine {held}"] = (set(), set())
    if at:
        commands |= _before(facts, at, held)
    return commands


def _before(facts: Facts, at: str, held: str | None) -> dict[str, tuple[set[Fact], set[Fact]]]:
    """The commands that a receptacle before the actor allows."""
    commands: dict[str, tuple[set[Fact], set[Fact]]] = {f"examine {at}": (set(), set())}
    place, opened = _kind(at), ("open", at) in facts
    if place in OPENABLE:
        change: tuple[set[Fact], set[Fact]] = (set(), {("open", at)}) if opened else ({("open", at)}, set())
        commands[f"{'close' if opened else 'open'} {at}"] = change
    reachable = opened or place not in OPENABLE
    for thing in (fact[1] for fact in facts if fact[0] == "in" and fact[2] == at):
        kind = OBJECTS[_kind(thing)]
        if reachable and held is None and not kind.lamp:
            commands[f"take {thing} from {at}"] = ({("held", thing)}, {("in", thing, at)})
        if kind.lamp:
            commands[f"use {thing}"] = ({("toggled", thing)}, set())
        if held and kind.sliceable and OBJECTS[_kind(held)].knife:
            commands[f"slice {thing} with {held}"] = ({("sliced", thing)}, set())
    if held:
        kind = OBJECTS[_kind(held)]
        if reachable and place in kind.fits:
            commands[f"move {held} to {at}"] = ({("in", held, at)}, {("held", held)})
        if place == APPLIANCE["clean"] and kind.cleanable:
            commands[f"clean {held} with {at}"] = ({("clean", held)}, set())
        if place == APPLIANCE["heat"] and kind.heatable:
            commands[f"heat {held} with {at}"] = ({("hot", held)}, {("cool", held)})
        if place == APPLIANCE["cool"] and kind.coolable:
            commands[f"cool {held} with {at}"] = ({("cool", held)}, {("hot", held)})
    return commands


def after(game: Game, facts: Facts, command: str) -> Facts:
    """The facts when a legal command has been carried out."""
    add, take = legal(game, facts)[command]
    return frozenset((facts - take) | add)


def solved(game: Game, facts: Facts) -> bool:
    """Whether the task is done."""
    if game.family == "light":
        held = any(fact[0] == "held" and _kind(fact[1]) == game.target for fact in facts)
        at = next((fact[1] for fact in facts if fact[0] == "at"), None)
        lit = (f[1] for f in facts if f[0] == "toggled" and _kind(f[1]) == game.destination)
        return held and any(("in", lamp, at) in facts for lamp in lit)
    state = {"clean": "clean", "heat": "hot", "cool": "cool"}.get(game.family)
    placed = [
        place
        for place in game.receptacles
        if _kind(place) == game.destination
        for fact in facts
        if fact[0] == "in" and fact[2] == place and _kind(fact[1]) == game.target
        if state is None or (state, fact[1]) in facts
    ]
    needed = 2 if game.family == "two" else 1
    return any(placed.count(place) >= needed for place in placed)


def _kind(name: str) -> str:
    return name.rpartition(" ")[0]
