"""Homes and tasks: a floor plan by its number, a game by split, family and seed.

Four kinds of room have 30 floor plans each. A plan fixes which receptacles stand there and which kinds of object may lie
about; the seed draws how many of each, where they lie, and the task. Plans 1 to 6 of a kind are unseen, 7 to 30 seen, and no unseen plan
has the receptacles of a seen one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from overwinter.worlds.rng import Stream

from .config import SPLITS, Config
from .tables import APPLIANCE, FAMILIES, FAMILY_ROOMS, OBJECTS, RECEPTACLES, ROOMS

PLANS_PER_ROOM = 30
UNSEEN_PLANS = 6
SEEN_PLANS = PLANS_PER_ROOM - UNSEEN_PLANS
_PLAN_STREAM, _GAME_STREAM = 301, 302
_COPIES = (1, 1, 2, 3)
_TRIES = 200
"""More than enough: the worst family and room needs two on average."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FloorPlan:
    """A room: receptacles as (kind, how many), and the kinds of object found in it."""

    room: str
    number: int
    receptacles: tuple[tuple[str, int], ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Game:
    """One room, one task. R receptacles, O objects, both named as in "cabinet 3"; an index names them in the rules.

    Attributes:
        receptacles, receptacle_kinds: [R]
        objects, object_kinds: [O], in the order of their kinds, then numbers.
        start: [O] the receptacle that each lies in.
        target: the kind of object the task is about.
        destination: the kind of receptacle it shall end in; for "light" the kind of lamp.
    """

    room: str
    plan: int
    family: str
    target: str
    destination: str
    receptacles: tuple[str, ...]
    receptacle_kinds: tuple[str, ...]
    objects: tuple[str, ...]
    object_kinds: tuple[str, ...]
    start: tuple[int, ...]

    def digest(self) -> str:
        """Names this game; changes with every rule of generation that touches it."""
        parts = (self.family, self.target, self.destination, self.receptacles, self.objects, self.start)
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def is_unseen(number: int) -> bool:
    return number <= UNSEEN_PLANS


@lru_cache(maxsize=len(ROOMS) * PLANS_PER_ROOM)
def floor_plan(room: str, number: int) -> FloorPlan:
    """Floor plan `number` (1 to 30) of a kind of room."""
    for attempt in range(_TRIES):
        plan = _draw_plan(room, number, attempt)
        if not is_unseen(number) or plan.receptacles not in _seen_receptacles(room):
            return plan
    raise AssertionError(f"no unseen floor plan {number} of the {room}")


@lru_cache(maxsize=len(ROOMS))
def _seen_receptacles(room: str) -> frozenset[tuple[tuple[str, int], ...]]:
    return frozenset(floor_plan(room, number).receptacles for number in range(UNSEEN_PLANS + 1, PLANS_PER_ROOM + 1))


def _draw_plan(room: str, number: int, attempt: int) -> FloorPlan:
    draw = Stream(_PLAN_STREAM, ROOMS.index(room), number, attempt)
    counts = ((kind, least + draw.below(most - least + 1)) for kind, (least, most) in RECEPTACLES[room].items())
    receptacles = tuple((kind, count) for kind, count in counts if count)
    here = {kind for kind, _ in receptacles}
    found = (name for name, kind in OBJECTS.items() if room in kind.rooms and here & set(kind.fits))
    kinds = tuple(name for name in found if draw.coin(0.7) or OBJECTS[name].lamp)
    return FloorPlan(room=room, number=number, receptacles=receptacles, kinds=kinds)


def make_game(config: Config, seed: int) -> Game:
    """The game of a seed; equal arguments give equal games in any process."""
    draw = Stream(_GAME_STREAM, SPLITS.index(config.split), seed)
    family = FAMILIES[draw.below(len(FAMILIES))]
    family = config.family or family
    for _ in range(_TRIES):
        room = FAMILY_ROOMS[family][draw.below(len(FAMILY_ROOMS[family]))]
        first, plans = (1, UNSEEN_PLANS) if config.split == "unseen" else (1 + UNSEEN_PLANS, SEEN_PLANS)
        game = _furnish(floor_plan(room, first + draw.below(plans)), family, draw)
        if game is not None:
            return game
    raise AssertionError(f"no game of the family {family} for seed {seed}")


def _furnish(plan: FloorPlan, family: str, draw: Stream) -> Game | None:
    """Put objects into a room and choose a task; None if the family has no open task here."""
    receptacle_kinds = tuple(kind for kind, count in plan.receptacles for _ in range(count))
    object_kinds: list[str] = []
    start: list[int] = []
    for kind in plan.kinds:
        fits = OBJECTS[kind].fits
        places = [r for r, receptacle in enumerate(receptacle_kinds) if receptacle in fits]
        for _ in range(1 if OBJECTS[kind].lamp else _COPIES[draw.below(len(_COPIES))]):
            object_kinds.append(kind)
            start.append(places[draw.below(len(places))])
    tasks = _tasks(family, receptacle_kinds, object_kinds, start)
    if not tasks:
        return None
    target, destination = tasks[draw.below(len(tasks))]
    return Game(
        room=plan.room,
        plan=plan.number,
        family=family,
        target=target,
        destination=destination,
        receptacles=_numbered(receptacle_kinds),
        receptacle_kinds=receptacle_kinds,
        objects=_numbered(object_kinds),
        object_kinds=tuple(object_kinds),
        start=tuple(start),
    )


def _numbered(kinds: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """cabinet, cabinet, drawer → cabinet 1, cabinet 2, drawer 1."""
    count: dict[str, int] = {}
    names = []
    for kind in kinds:
        count[kind] = count.get(kind, 0) + 1
        names.append(f"{kind} {count[kind]}")
    return tuple(names)


def _tasks(
    family: str, receptacle_kinds: tuple[str, ...], object_kinds: list[str], start: list[int]
) -> list[tuple[str, str]]:
    """Pairs of target and destination that can be asked for and are not met yet."""
    carried = [kind for kind in dict.fromkeys(object_kinds) if not OBJECTS[kind].lamp]
    if family == "light":
        lamps = [kind for kind in dict.fromkeys(object_kinds) if OBJECTS[kind].lamp]
        return [(target, lamp) for target in carried for lamp in lamps]
    treated = f"{family}able" if family in APPLIANCE else ""
    tasks = []
    for target in carried:
        if treated and not getattr(OBJECTS[target], treated):
            continue
        if family == "two" and object_kinds.count(target) < 2:
            continue
        lying = {receptacle_kinds[r] for kind, r in zip(object_kinds, start, strict=True) if kind == target}
        for destination in dict.fromkeys(receptacle_kinds):
            met = destination in lying if not treated else destination == APPLIANCE[family]
            if destination in OBJECTS[target].fits and not met:
                tasks.append((target, destination))
    return tasks
