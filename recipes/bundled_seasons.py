"""Seasons for training the bundled model: many greenhouses in lock-step, their pages as token ids, and the expert's advice on each.

A season is played by whoever chooses (the expert, the model, or both in turns), and the expert says at every page what it would do:
imitation on the pages that the model itself comes to (DAgger, arXiv 1011.0686).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from overwinter.learn.players import END, line_tokenizer
from overwinter.worlds import Observation, open_world
from overwinter.worlds.greenhouse.actions import ALL_ACTIONS, LOOK_AT_BEDS, WAIT
from overwinter.worlds.greenhouse.belief import SETTING_AFTER
from overwinter.worlds.greenhouse.expert import ExpertPolicy
from overwinter.worlds.greenhouse.notebook import GreenhouseNotebook, all_lines
from overwinter.worlds.notebook import OUTCOMES, outcome_line, page

WORLD = "greenhouse"
WIDTH = 28
"""Tokens of a page, the outcome slot and the action, at most."""
LONGEST = 1000
"""Decisions after which a season is given up: looking costs nothing, and a greedy model may look for ever."""
SHARPNESS_EUR = 0.5
"""How far apart two actions must be for the expert to be sure which is better: a page is rounded, its own numbers are not."""


def make_tokenizer() -> Tokenizer:
    """One token for each line of a page and for each action."""
    return line_tokenizer(all_lines(), ALL_ACTIONS)


class Codec:
    """Pages and actions as ids. Every line is one token, so a table does what the tokenizer would do."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        known = tokenizer.get_vocab(with_added_tokens=True)
        self.end = known[END]
        self.lines = {line: known[f"{line}\n"] for line in all_lines()}
        self.slots = {outcome: known[f"{outcome_line(outcome)}\n"] for outcome in OUTCOMES}
        self.actions = np.array([known[action] for action in ALL_ACTIONS])
        self.index = {action: i for i, action in enumerate(ALL_ACTIONS)}
        self._tokenizer = tokenizer

    def page(self, lines: list[str]) -> list[int]:
        return [self.lines[line] for line in lines]

    def check(self, lines: list[str]) -> None:
        """The tokenizer reads a page as the table does."""
        assert self._tokenizer.encode(page(lines)).ids == self.page(lines), "the tokenizer splits a line"


@dataclass
class Steps:
    """Decisions as columns; D decisions."""

    ids: NDArray[np.int16]
    """[D, WIDTH] pages, padded behind with the end token."""
    length: NDArray[np.int16]
    action: NDArray[np.int16]
    """[D] what was done, as an index of ALL_ACTIONS."""
    advice: NDArray[np.float16]
    """[D, actions] how much the expert would have been for each."""
    legal: NDArray[np.bool_]
    """[D, actions]"""
    seed: NDArray[np.int64]
    day: NDArray[np.int16]
    score: NDArray[np.float32]
    """[D] the season's score."""
    success: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def join(parts: Sequence[Steps]) -> Steps:
        names = Steps.__dataclass_fields__
        return Steps(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class Adviser(ExpertPolicy):
    """The expert, asked how much it is for each action: a softmax of the euros it expects of them."""

    def advise(self, observation: Observation, legal: Sequence[str]) -> dict[str, float]:
        seen = observation.data
        best = self.act(observation, legal)
        if best == LOOK_AT_BEDS:
            return {best: 1.0}
        gains = {WAIT: 1.0}
        for gain_eur, action in self._wishes(seen):
            if action in legal:
                gains[action] = max(gain_eur, gains.get(action, -math.inf))
        top = max(gains.values())
        weights = {action: math.exp((gain - top) / SHARPNESS_EUR) for action, gain in gains.items()}
        total = sum(weights.values())
        return {action: weight / total for action, weight in weights.items()}


@dataclass
class Season:
    """One greenhouse, its notebook, and the expert looking over the player's shoulder."""

    seed: int
    codec: Codec
    name: str = WORLD
    advised: bool = True
    rows: list[tuple[list[int], int, dict[str, float], list[int], int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world, self.notebook, self.expert = open_world(self.name), GreenhouseNotebook(), Adviser()
        self.observation: Observation = self.world.reset(self.seed)
        self.notebook.take_in(None, self.observation)
        self.look()

    def look(self) -> None:
        """The page, the legal actions and the expert's advice, as they stand now."""
        self.legal = self.world.actions() if len(self.rows) < LONGEST else ()
        if self.legal:
            self.page = self.codec.page(self.notebook.lines())
            self.weights = self.expert.advise(self.observation, self.legal) if self.advised else {}

    @property
    def advice(self) -> str:
        """What the expert would do."""
        return max(self.weights, key=self.weights.__getitem__)

    def act(self, action: str) -> None:
        seen, index = self.observation.data, self.codec.index
        self.rows.append((self.page, index[action], self.weights, [index[a] for a in self.legal], seen["day"]))
        if self.advised:
            # The expert believes in what was done, not in what it advised.
            self.expert.belief.settings = {"shutters": seen["shutters"], "vents": seen["vents"]}
            if action in SETTING_AFTER:
                self.expert.belief.assume(*SETTING_AFTER[action])
        self.observation = self.world.step(action).observation
        self.notebook.take_in(action, self.observation)
        self.look()

    def steps(self) -> Steps:
        count, outcome = len(self.rows), self.world.outcome()
        ids = np.full((count, WIDTH), self.codec.end, np.int16)
        legal = np.zeros((count, len(ALL_ACTIONS)), np.bool_)
        advice = np.zeros((count, len(ALL_ACTIONS)), np.float16)
        for i, (tokens, _, weights, allowed, _) in enumerate(self.rows):
            ids[i, : len(tokens)] = tokens
            legal[i, allowed] = True
            for action, weight in weights.items():
                advice[i, self.codec.index[action]] = weight
        return Steps(
            ids=ids,
            length=np.array([len(row[0]) for row in self.rows], np.int16),
            action=np.array([row[1] for row in self.rows], np.int16),
            advice=advice,
            legal=legal,
            seed=np.full(count, self.seed),
            day=np.array([row[4] for row in self.rows], np.int16),
            score=np.full(count, outcome.score, np.float32),
            success=np.full(count, bool(outcome.success)),
        )


Choose = Callable[[list[Season]], list[str]]
"""What each of the open seasons does next."""


def play(
    seeds: Sequence[int], codec: Codec, choose: Choose, *, advised: bool = True, say: Callable[[str], None] = print
) -> list[Season]:
    """Play seasons in lock-step to their end."""
    seasons = [Season(seed, codec, advised=advised) for seed in seeds]
    turn = 0
    while living := [season for season in seasons if season.legal]:
        for season, action in zip(living, choose(living), strict=True):
            season.act(action)
        turn += 1
        if turn % 60 == 0:
            say(f"turn {turn}, {len(living)} of {len(seasons)} seasons open")
    return seasons
