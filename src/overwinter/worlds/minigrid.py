"""MiniGrid and BabyAI as text worlds: a world, its missions and its rewards from a package nobody here wrote.

The actor sees what MiniGrid's agent sees, a view of 7 by 7 cells ahead of it, in words: a small map, a list of the
things in it, the mission, the direction it faces and what it carries. Reward and end are MiniGrid's own.

Chevalier-Boisvert et al.: "Minigrid & Miniworld", NeurIPS 2023; "BabyAI", ICLR 2019.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from overwinter.errors import UsageError

from .gym import EnvWorld, require
from .world import Observation, text_key

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done")
FACINGS = ("east", "south", "west", "north")
VIEW_CELLS = 7
# Characters of the map.
UNSEEN, WALL, FLOOR, THING, AGENT = "?", "#", ".", "*", "A"
# MiniGrid's codes for a cell: kind, colour, state.
_UNSEEN, _EMPTY, _WALL, _FLOOR, _DOOR, _AGENT = 0, 1, 2, 3, 4, 10
_KINDS = {4: "door", 5: "key", 6: "ball", 7: "box", 8: "goal", 9: "lava"}
_COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_DOOR_STATES = ("open", "closed", "locked")


class MiniGridWorld(EnvWorld):
    """One MiniGrid or BabyAI level."""

    def __init__(self, env_id: str) -> None:
        gym = require("gymnasium")
        require("minigrid")
        try:
            with _hushed():
                env = gym.make(env_id)
        except gym.error.Error:
            env = None
        if env is None or not env.unwrapped.__class__.__module__.startswith("minigrid."):
            raise UsageError(
                f"MiniGrid has no environment {env_id!r}", "try BabyAI-GoToLocal-v0 or MiniGrid-DoorKey-6x6-v0"
            )
        super().__init__(
            env,
            name=f"minigrid:{env_id}",
            goal="Fulfil the mission that the observation names, in as few steps as you can.",
            action_names=ACTIONS,
            describe=describe,
        )

    def reset(self, seed: int) -> Observation:
        with _hushed():
            return super().reset(seed)

    def state_key(self) -> int:
        """The whole grid, not the view: every cell, where the agent stands and looks, what it carries, the mission."""
        if self._last is None:
            raise UsageError(f"{self.name!r} has not been started", "call reset(seed) or restore(snapshot) first")
        room: Any = self._env.unwrapped
        held = room.carrying.encode() if room.carrying else ()
        place = [int(number) for number in (*room.agent_pos, room.agent_dir, *held)]
        return text_key(f"{room.grid.encode().tobytes().hex()} {place} {room.mission}")


def _hushed() -> contextlib.redirect_stdout[io.StringIO]:
    """BabyAI prints every layout that it rejects."""
    return contextlib.redirect_stdout(io.StringIO())


def describe(seen: dict[str, Any]) -> Observation:
    """The agent's view in words; ahead and right are counted in cells from the agent."""
    image = seen["image"]
    rows, things = [], []
    for y in range(VIEW_CELLS):
        row = ""
        for x in range(VIEW_CELLS):
            kind, colour, state = (int(code) for code in image[x][y])
            here = x == VIEW_CELLS // 2 and y == VIEW_CELLS - 1
            row += AGENT if here else _character(kind)
            if kind in _KINDS and not here:
                what = _name(kind, colour, state)
                things.append({"what": what, "ahead": VIEW_CELLS - 1 - y, "right": x - VIEW_CELLS // 2})
        rows.append(row)
    kind, colour, state = (int(code) for code in image[VIEW_CELLS // 2][VIEW_CELLS - 1])
    # The agent's own cell shows what it carries; an open door or the goal there is the ground it stands on.
    carried = _name(kind, colour, state) if kind in (5, 6, 7) else None
    data = {
        "mission": seen["mission"],
        "facing": FACINGS[int(seen["direction"])],
        "carrying": carried,
        "map": rows,
        "things": things,
    }
    return Observation(text=_text(data), data=data)


def _character(kind: int) -> str:
    return {_UNSEEN: UNSEEN, _WALL: WALL, _EMPTY: FLOOR, _FLOOR: FLOOR, _AGENT: FLOOR}.get(kind, THING)


def _name(kind: int, colour: int, state: int) -> str:
    name = f"{_COLOURS[colour]} {_KINDS[kind]}"
    return f"{_DOOR_STATES[state]} {name}" if kind == _DOOR else name


def _text(data: dict[str, Any]) -> str:
    things = "; ".join(f"{t['what']} {_place(t['ahead'], t['right'])}" for t in data["things"]) or "nothing"
    return "\n".join(
        [
            f"Mission: {data['mission']}.",
            f"You face {data['facing']} and carry {data['carrying'] or 'nothing'}.",
            f"You see {things}.",
            f"Your view, ahead is up ({AGENT} you, {WALL} wall, {FLOOR} floor, {THING} a thing, {UNSEEN} unseen):",
            *data["map"],
        ]
    )


def _place(ahead: int, right: int) -> str:
    side = "" if right == 0 else f", {abs(right)} {'right' if right > 0 else 'left'}"
    return f"{ahead} ahead{side}"
