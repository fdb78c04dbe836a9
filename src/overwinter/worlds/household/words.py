"""A household in words: commands, what answers them, the task.

Commands and answers have the wording of ALFWorld 0.4.2's text protocol, since a policy that reads it reads ours then; the
conformance recipe (`recipes/check_household.py`) holds them against each other. The line below the answer is our own.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import rules
from .home import Game
from .rules import NOWHERE, Rules, State

_COMMANDS = {
    rules.LOOK: "look",
    rules.INVENTORY: "inventory",
    rules.HELP: "help",
    rules.GO: "go to {receptacle}",
    rules.OPEN: "open {receptacle}",
    rules.CLOSE: "close {receptacle}",
    rules.EXAMINE_RECEPTACLE: "examine {receptacle}",
    rules.EXAMINE_OBJECT: "examine {thing}",
    rules.TAKE: "take {thing} from {receptacle}",
    rules.MOVE: "move {thing} to {receptacle}",
    rules.USE: "use {thing}",
    rules.HEAT: "heat {thing} with {receptacle}",
    rules.COOL: "cool {thing} with {receptacle}",
    rules.CLEAN: "clean {thing} with {receptacle}",
    rules.SLICE: "slice {thing} with {knife}",
}
_ANSWERS = {
    rules.CLOSE: "You close the {receptacle}.",
    rules.TAKE: "You pick up the {thing} from the {receptacle}.",
    rules.MOVE: "You move the {thing} to the {receptacle}.",
    rules.USE: "You turn on the {thing}.",
    rules.HEAT: "You heat the {thing} using the {receptacle}.",
    rules.COOL: "You cool the {thing} using the {receptacle}.",
    rules.CLEAN: "You clean the {thing} using the {receptacle}.",
    rules.SLICE: "You sliced the {thing} with the {knife}.",
    rules.HELP: "You can do what the list of possible actions says, word for word.",
}
_TASKS = {
    "pick": "put a {target} in {destination}",
    "two": "put two {target} in {destination}",
    "light": "look at {target} under the {destination}",
    "clean": "put a clean {target} in {destination}",
    "heat": "put a hot {target} in {destination}",
    "cool": "put a cool {target} in {destination}",
}


def command(game: Game, action: int) -> str:
    """The words of an action."""
    return _fill(_COMMANDS[action >> 16], game, action)


def _fill(pattern: str, game: Game, action: int) -> str:
    _, thing, receptacle = rules.parts(action)
    if "{knife}" in pattern:
        return pattern.format(thing=game.objects[thing], knife=game.objects[receptacle])
    # Verbs without an object or receptacle carry a zero there, and their pattern does not read it.
    return pattern.format(
        thing=game.objects[thing] if "{thing}" in pattern else "",
        receptacle=game.receptacles[receptacle] if "{receptacle}" in pattern else "",
    )


def task(game: Game) -> str:
    return _TASKS[game.family].format(target=game.target, destination=game.destination)


def welcome(game: Game) -> str:
    """What is said at the start."""
    return f"You are in the middle of a room. Looking quickly around you, you see {listed(game.receptacles)}."


def answer(laws: Rules, state: State, action: int) -> str:
    """What an action is answered with; `state` is the one after it."""
    verb, thing, receptacle = rules.parts(action)
    game = laws.game
    if verb == rules.GO:
        return f"You arrive at {game.receptacles[receptacle]}. {inspected(laws, state, receptacle)}"
    if verb == rules.OPEN:
        return f"You open the {game.receptacles[receptacle]}. {inspected(laws, state, receptacle)}"
    if verb == rules.EXAMINE_RECEPTACLE:
        return inspected(laws, state, receptacle)
    if verb == rules.EXAMINE_OBJECT:
        return _examined(laws, state, thing)
    if verb == rules.INVENTORY:
        held = state.held
        return f"You are carrying: a {game.objects[held]}." if held != NOWHERE else "You are not carrying anything."
    if verb == rules.LOOK:
        if state.at == NOWHERE:  # the engine names the receptacles at the start alone
            return "You are in the middle of a room. Looking quickly around you, you see nothing."
        # Nothing ever lies beside a receptacle: each stands in a place of its own.
        return f"You are facing the {game.receptacles[state.at]}. Next to it, you see nothing."
    return _fill(_ANSWERS[verb], game, action)


def inspected(laws: Rules, state: State, receptacle: int) -> str:
    """What is seen of a receptacle."""
    name = laws.game.receptacles[receptacle]
    contents = listed(laws.game.objects[thing] for thing in state.inside[receptacle])
    if not laws.openable[receptacle]:
        return f"On the {name}, you see {contents}."
    if state.opened >> receptacle & 1:
        return f"The {name} is open. In it, you see {contents}."
    return f"The {name} is closed."


def _examined(laws: Rules, state: State, thing: int) -> str:
    name = laws.game.objects[thing]
    clean, hot, cool, sliced = (mask >> thing & 1 for mask in (state.clean, state.hot, state.cool, state.sliced))
    warmth = "hot" if hot else ("cool" if clean or sliced else "cold") if cool else ""
    words = " and ".join(word for word in (warmth, "clean" if clean else "") if word)
    words = " ".join(word for word in (words, "sliced" if sliced else "") if word)
    return f"This is a {words} {name}." if words else f"There's nothing special about {name}."


def listed(names: Iterable[str]) -> str:
    """a, a, and a; as the protocol puts it, also before vowels and between two."""
    items = [f"a {name}" for name in names]
    if not items:
        return "nothing"
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])}, and {items[-1]}"
