"""Small worlds as tables, with their exact values: where an estimate can be compared with the truth.

A `Table` lists, for every state and action, the states that may follow and how likely each is. Several tasks stand in one table, their
states one after the other. The goal is met or missed at the end; nothing is paid before.

    table = grid(GridConfig(size=5, slip=0.15), seed=0, tasks=4)
    truth = exact(table, policy)                # policy [S, A]
    truth.value[0, table.start]                 # chance of success from the start of each task
    truth.advantage[t, s, a]                    # what the action adds to it, at time t

`grid` lays out things to be handled in order (a key, then a door, then the goal), toggles that do nothing, and pits. `corridor` is a walk
in which a few choices decide an outcome that comes at its end, by chance in part. Layouts are drawn from the seed.

Values count time: a policy that sees no clock still has fewer steps left later on, so `exact` goes back from the horizon.

Shapes: S states of all tasks, A actions, K possible successors, M tasks, T steps of the horizon, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overwinter.errors import UsageError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
GRID_ACTIONS = 6
"""Four moves, handle, wait."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One or more tasks as a table.

    Attributes:
        successor: [S, A, K] states that may follow.
        chance: [S, A, K] how likely each is; sums to 1 over K.
        ending: [S] chance that the goal counts as met on entering the state, which ends the episode; NaN where play goes on.
        start: [M] first state of each task.
        features: [S, F] rows of a linear policy's weights that a state switches on. With F = 1 and a row per state it is a full
            table; otherwise states of different layouts share rows.
        rows: number of such rows.
        horizon: steps after which an episode is cut short.
    """

    successor: Ints
    chance: Floats
    ending: Floats
    start: Ints
    features: Ints
    rows: int
    horizon: int

    @property
    def states(self) -> int:
        return len(self.successor)

    @property
    def actions(self) -> int:
        return int(self.successor.shape[1])


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """A square grid with things to be handled.

    Attributes:
        size: cells along a side.
        locks: things to handle before the goal counts (two are a key and a door).
        ordered: they count in their order alone.
        decoys: things that can be handled and do nothing, but are part of the state.
        pits: cells that end the episode without success.
        slip: chance that an action becomes a random move.
        horizon: steps until the episode is cut short.
        shared: features relative to the things (the same in every layout) in place of one row per state.
    """

    size: int = 5
    locks: int = 2
    ordered: bool = True
    decoys: int = 2
    pits: int = 0
    slip: float = 0.0
    horizon: int = 80
    shared: bool = False

    def __post_init__(self) -> None:
        if self.size**2 < 2 + self.locks + self.decoys + self.pits:
            raise UsageError(f"a grid of {self.size} by {self.size} has too few cells", "give a larger size")
        if not 0 <= self.slip < 1:
            raise UsageError(f"slip is {self.slip}", "give a chance from 0 to less than 1")


@dataclass(frozen=True, kw_only=True)
class CorridorConfig:
    """A walk of fixed length on which a few choices count, at its end.

    Attributes:
        length: steps, after which the episode ends of itself.
        switches: places where one of the actions is the right one; elsewhere actions only turn a light on or off.
        actions: number of actions.
        luck: chance of success with a wrong choice, and of failure with none.
        shared: the policy sees the cue of the place and the light, and neither place nor past.
    """

    length: int = 30
    switches: int = 3
    actions: int = 4
    luck: float = 0.05
    shared: bool = False

    def __post_init__(self) -> None:
        if self.switches > self.length:
            raise UsageError("a corridor has more switches than steps", "give a larger length")


def grid(config: GridConfig, *, seed: int, tasks: int = 1) -> Table:
    """Random layouts of one configuration, one per task, as one table."""
    parts = [_one_grid(config, np.random.default_rng((seed, task))) for task in range(tasks)]
    return _joined(parts, config.horizon, config.shared)


def corridor(config: CorridorConfig, *, seed: int, tasks: int = 1) -> Table:
    """Random corridors of one configuration, one per task, as one table."""
    parts = [_one_corridor(config, np.random.default_rng((seed, task))) for task in range(tasks)]
    return _joined(parts, config.length, config.shared)


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """Exact values of a policy; `success` is the chance to meet the goal within the horizon.

    Attributes:
        value: [T+1, S] chance of success from a state at a time; 0 at the horizon where play goes on.
        action_value: [T, S, A] the same after an action.
        advantage: [T, S, A] the difference of both.
        visits: [T, S] expected visits in one episode of a random task; states in which the episode has ended are not visited.
        gradient: [rows, A] of the success of a random task by the logits of a linear softmax policy on the table's features.
    """

    value: Floats
    action_value: Floats
    advantage: Floats
    visits: Floats
    gradient: Floats
    success: float


def exact(table: Table, policy: Floats) -> Truth:
    """Values by dynamic programming from the horizon back, and visits forward. policy: [S, A] chances, the same at all times."""
    over = ~np.isnan(table.ending)
    ended = np.where(over, table.ending, 0.0)
    value = np.zeros((table.horizon + 1, table.states))
    action_value = np.zeros((table.horizon, table.states, table.actions))
    value[-1] = ended
    for t in range(table.horizon - 1, -1, -1):
        action_value[t] = (table.chance * value[t + 1][table.successor]).sum(2)
        value[t] = np.where(over, ended, (policy * action_value[t]).sum(1))
    visits = np.zeros((table.horizon, table.states))
    here: Floats = np.bincount(table.start, minlength=table.states) / len(table.start)
    flat = table.successor.ravel()
    for t in range(table.horizon):
        here = np.where(over, 0.0, here)
        visits[t] = here
        flow = (here[:, None] * policy)[:, :, None] * table.chance
        here = np.bincount(flat, weights=flow.ravel(), minlength=table.states).astype(np.float64)
    advantage = action_value - value[:-1, :, None]
    pull = policy * np.einsum("ts,tsa->sa", visits, advantage)
    gradient = np.zeros((table.rows, table.actions))
    for column in table.features.T:
        np.add.at(gradient, column, pull)
    return Truth(
        value=value,
        action_value=action_value,
        advantage=advantage,
        visits=visits,
        gradient=gradient,
        success=float(value[0, table.start].mean()),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """One task, states from 0."""

    successor: Ints
    chance: Floats
    ending: Floats
    start: int
    features: Ints
    rows: int


def _joined(parts: list[_Part], horizon: int, shared: bool) -> Table:
    offsets = np.cumsum([0, *(len(part.successor) for part in parts)])[:-1]
    if shared:
        features, rows = np.concatenate([part.features for part in parts]), parts[0].rows
    else:
        rows = sum(len(part.successor) for part in parts)
        features = np.arange(rows)[:, None]
    return Table(
        successor=np.concatenate([part.successor + offset for part, offset in zip(parts, offsets, strict=True)]),
        chance=np.concatenate([part.chance for part in parts]),
        ending=np.concatenate([part.ending for part in parts]),
        start=np.array([part.start + offset for part, offset in zip(parts, offsets, strict=True)]),
        features=features,
        rows=rows,
        horizon=horizon,
    )


def _one_grid(config: GridConfig, rng: np.random.Generator) -> _Part:
    size, marks = config.size, config.locks + 1 if config.ordered else 2**config.locks
    lights = 2**config.decoys
    states = np.arange(size * size * marks * lights)
    cell, progress, light = states // (marks * lights), states // lights % marks, states % lights
    spots = rng.permutation(size * size)
    locks, goal, begin = spots[: config.locks], spots[config.locks], spots[config.locks + 1]
    decoys = spots[config.locks + 2 : config.locks + 2 + config.decoys]
    pits = spots[config.locks + 2 + config.decoys :][: config.pits]

    x, y = cell // size, cell % size
    target = np.empty((len(states), GRID_ACTIONS), np.int64)
    for action, (dx, dy) in enumerate(MOVES):
        there = np.clip(x + dx, 0, size - 1) * size + np.clip(y + dy, 0, size - 1)
        target[:, action] = (there * marks + progress) * lights + light
    handled, switched = progress.copy(), light.copy()
    for i, lock in enumerate(locks):
        if config.ordered:
            handled[(cell == lock) & (progress == i)] += 1
        else:
            handled[cell == lock] |= 1 << i
    for i, decoy in enumerate(decoys):
        switched[cell == decoy] ^= 1 << i
    target[:, 4] = (cell * marks + handled) * lights + switched
    target[:, 5] = states

    ending = np.full(len(states), np.nan)
    ending[(cell == goal) & (progress == marks - 1)] = 1.0
    ending[np.isin(cell, pits)] = 0.0
    over = ~np.isnan(ending)
    target[over] = states[over, None]
    successor, chance = target[:, :, None], np.ones((*target.shape, 1))
    if config.slip:
        slipped = np.repeat(target[:, None, :4], GRID_ACTIONS, axis=1)
        successor = np.concatenate([successor, slipped], axis=2)
        chance = np.concatenate([chance * (1 - config.slip), np.full(slipped.shape, config.slip / 4)], axis=2)
    features, rows = _relative(config, np.stack([x, y]), progress, [*locks, goal, *pits])
    return _Part(
        successor=successor,
        chance=chance,
        ending=ending,
        start=int(begin * marks * lights),
        features=features,
        rows=rows,
    )


def _relative(config: GridConfig, place: Ints, progress: Ints, things: list[np.int64]) -> tuple[Ints, int]:
    """The direction of every thing, each together with the progress: [S, things] rows, and how many rows there are."""
    marks = int(progress.max()) + 1
    columns = []
    for i, thing in enumerate(things):
        away = np.array([[thing // config.size], [thing % config.size]]) - place
        seen = np.sign(away)
        direction = (seen[0] + 1) * 3 + seen[1] + 1
        if i > config.locks:  # a pit is seen from beside it only
            direction = np.where(np.abs(away).sum(0) <= 1, direction, 4)
        columns.append((i * marks + progress) * 9 + direction)
    return np.stack(columns, axis=1), len(things) * marks * 9


def _one_corridor(config: CorridorConfig, rng: np.random.Generator) -> _Part:
    marks = 2**config.switches
    places = np.sort(rng.permutation(config.length - 1)[: config.switches])
    right = rng.integers(config.actions, size=config.switches)
    states = np.arange((config.length + 1) * marks * 2)
    place, done, light = states // (marks * 2), states // 2 % marks, states % 2
    target = np.empty((len(states), config.actions), np.int64)
    cue = np.zeros(len(states), np.int64)
    for action in range(config.actions):
        marked, lit = done.copy(), light ^ (action % 2)
        for i, spot in enumerate(places):
            marked[(place == spot) & (right[i] == action)] |= 1 << i
        target[:, action] = (np.minimum(place + 1, config.length) * marks + marked) * 2 + lit
    for i, spot in enumerate(places):
        cue[place == spot] = right[i] + 1
    ending = np.full(len(states), np.nan)
    last = place == config.length
    ending[last] = np.where(done[last] == marks - 1, 1 - config.luck, config.luck)
    target[last] = states[last, None]
    return _Part(
        successor=target[:, :, None],
        chance=np.ones((*target.shape, 1)),
        ending=ending,
        start=0,
        features=(cue * 2 + light)[:, None],
        rows=(config.actions + 1) * 2,
    )
