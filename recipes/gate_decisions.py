"""Fuel orders of the bundled model, and what they cost: the decisions that `bench_gate.py` asks a person about, or does not.

The model plays its seasons as `overwinter run` does, at temperature 0. At every order the planning expert, who has watched the season
so far, says what it would have done. Where that is something else, the world is put back to just before the order, the expert's
action is done in its place, and the model plays on to the end of the winter, in the same weather and with the same luck. What that adds
to the score is what the order cost. Everything else about a decision is what the model said of it before anything came of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bundled_seasons import WORLD, Codec, Season
from overwinter.model import Decoder, load
from overwinter.worlds.greenhouse.actions import ALL_ACTIONS, is_order
from overwinter.worlds.greenhouse.weather import LEADS, make_tape
from overwinter.worlds.player import Card, player_folder
from train_bundled import heads

Floats = NDArray[np.float64]
AT_ONCE = 48
"""Seasons that are played in lock-step, and judged together."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """Fuel orders as columns; N of them.

    Attributes:
        seed, day: of each.
        action, advice: [N] indices of ALL_ACTIONS: what was ordered, what the expert would have done.
        policy: [N, actions] the model's probabilities of the legal actions.
        chance: [N] its calibrated chance that the season ends well, before the order.
        evidence: [N] log-odds of the order in seasons that end well against those that end badly, by the model.
        score, success: [N] how the season ended.
        other_score, other_success: [N] how it would have ended with the expert's action.
        pages: [N, width] the page, as token ids.
    """

    seed: NDArray[np.int64]
    day: NDArray[np.int64]
    action: NDArray[np.int64]
    advice: NDArray[np.int64]
    policy: Floats
    chance: Floats
    evidence: Floats
    score: Floats
    success: NDArray[np.bool_]
    other_score: Floats
    other_success: NDArray[np.bool_]
    pages: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.seed)

    @property
    def gain(self) -> Floats:
        """Points of score that the expert's action would have added."""
        return self.other_score - self.score

    @staticmethod
    def join(parts: Sequence[Decisions]) -> Decisions:
        return Decisions(
            **{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Decisions)}
        )


class Reader:
    """The bundled model as its seasons are read: probabilities of the legal actions, chance of success, evidence of a choice."""

    def __init__(self) -> None:
        folder = player_folder(f"bundled:{WORLD}")
        self.card = Card.read(folder)
        self.codec = Codec(Tokenizer.from_file(str(folder / "tokenizer.json")))
        self.decoder: Decoder = load(folder)

    @torch.inference_mode()
    def scores(self, seasons: Sequence[Season], slot: str) -> tuple[Floats, Floats]:
        """Log-probabilities [N, actions] of the legal actions behind an outcome, and log-odds [N] of ending well."""
        length_B = torch.tensor([len(season.page) for season in seasons])
        ids_BL = torch.full((len(seasons), int(length_B.max()) + 1), self.codec.end)
        legal_BA = torch.zeros(len(seasons), len(ALL_ACTIONS), dtype=torch.bool)
        for row, season in enumerate(seasons):
            ids_BL[row, : len(season.page)] = torch.tensor(season.page)
            legal_BA[row, [self.codec.index[action] for action in season.legal]] = True
        slots_B = torch.full((len(seasons),), self.codec.slots[slot])
        bets_B2, actions_BA = heads(self.decoder, self.codec, ids_BL, length_B, slots_B)
        actions_BA = actions_BA.double().masked_fill(~legal_BA, -torch.inf).log_softmax(-1)
        return actions_BA.numpy(), (bets_B2[:, 1] - bets_B2[:, 0]).double().numpy()

    def choose(self, seasons: Sequence[Season]) -> tuple[list[str], Floats, Floats]:
        """What the model does, with the scores it goes by."""
        plain, odds = self.scores(seasons, "?")
        return [ALL_ACTIONS[index] for index in plain.argmax(-1)], plain, odds


def collect(seeds: Sequence[int], reader: Reader, say=print) -> Decisions:
    """Play seasons and judge every order in them."""
    parts = []
    for start in range(0, len(seeds), AT_ONCE):
        part = _judged(seeds[start : start + AT_ONCE], reader)
        parts.append(part)
        say(f"seasons {seeds[start]} and on: {len(part)} orders, {np.mean(part.gain >= 5):.1%} cost 5 points or more")
    return Decisions.join(parts)


def _judged(seeds: Sequence[int], reader: Reader) -> Decisions:
    rows = _orders([Season(seed, reader.codec) for seed in seeds], reader)
    return _columns(rows, _played_on([row for row in rows if row["action"] != row["advice"]], reader))


def _orders(seasons: list[Season], reader: Reader) -> list[dict]:
    """Play the seasons to their ends; a row for each order."""
    codec = reader.codec
    rows: list[dict] = []
    while living := [season for season in seasons if season.legal]:
        picked, plain, odds = reader.choose(living)
        ordering = [i for i, action in enumerate(picked) if is_order(action)]
        if ordering:
            told = {slot: reader.scores([living[i] for i in ordering], slot)[0] for slot in ("well", "badly")}
        for place, i in enumerate(ordering):
            season, action = living[i], codec.index[picked[i]]
            rows.append(
                {
                    "season": season, "at": len(season.rows), "seed": season.seed, "day": season.observation.data["day"],
                    "action": action, "advice": codec.index[season.advice], "policy": np.exp(plain[i]),
                    "chance": reader.card.calibrated(float(odds[i])),
                    "evidence": told["well"][place, action] - told["badly"][place, action],
                    "pages": season.page,
                }
            )  # fmt: skip
        for season, action in zip(living, picked, strict=True):
            season.act(action)
    return rows


def _played_on(rows: Sequence[dict], reader: Reader) -> dict[int, Season]:
    """The seasons in which the expert's action was done instead, by the identity of the row."""
    arms = {}
    for row in rows:
        arm = Season(row["seed"], reader.codec, advised=False)
        for _, action, *_ in row["season"].rows[: row["at"]]:
            arm.act(ALL_ACTIONS[action])
        arm.act(ALL_ACTIONS[row["advice"]])
        arms[id(row)] = arm
    _to_their_ends(list(arms.values()), reader)
    return arms


def _columns(rows: Sequence[dict], others: dict[int, Season]) -> Decisions:
    ends = [_end(row["season"]) for row in rows]
    then = [_end(others[id(row)]) if id(row) in others else end for row, end in zip(rows, ends, strict=True)]
    pages = np.full((len(rows), 32), -1)
    for i, row in enumerate(rows):
        pages[i, : len(row["pages"])] = row["pages"]
    plain = {
        name: np.array([row[name] for row in rows])
        for name in ("seed", "day", "action", "advice", "policy", "chance", "evidence")
    }
    return Decisions(
        **plain, pages=pages,
        score=np.array([score for score, _ in ends]), success=np.array([success for _, success in ends]),
        other_score=np.array([score for score, _ in then]), other_success=np.array([success for _, success in then]),
    )  # fmt: skip


def _end(season: Season) -> tuple[float, bool]:
    """Score and success; a season that was given up has earned nothing."""
    outcome = season.world.outcome()
    return (0.0, False) if outcome.success is None else (outcome.score, bool(outcome.success))


def cached(path: Path, seeds: Sequence[int], reader: Reader, say=print) -> Decisions:
    """`collect`, or what it wrote to `path` before."""
    if not path.exists():
        found = collect(seeds, reader, say)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{each.name: getattr(found, each.name) for each in fields(Decisions)})
    with np.load(path) as kept:
        return Decisions(**{name: kept[name] for name in kept.files})


def entropy(policy: Floats) -> Floats:
    """[N] of the choice, in nats."""
    return np.array([-sum(p * math.log(p) for p in row if p > 0) for row in policy])


def futures(seeds: Sequence[int], reader: Reader, count: int = 6) -> Floats:
    """[orders, futures, 2] scores after the order and after the expert's action, of orders where these differ.

    The first future is the season's own. In the others the weather, prices, pests and faults behind the nights already forecast are
    those of another seed. What an order costs over futures is what it was worth when it was made; what it costs in one of them is
    that and luck.
    """
    rows = _orders([Season(seed, reader.codec) for seed in seeds], reader)
    differing = [row for row in rows if row["action"] != row["advice"]]
    arms = [
        _arm(row, future, row[choice], reader)
        for row in differing
        for future in range(count)
        for choice in ("action", "advice")
    ]
    _to_their_ends(arms, reader)
    return np.array([_end(arm)[0] for arm in arms]).reshape(len(differing), count, 2)


def _arm(row: dict, future: int, action: int, reader: Reader) -> Season:
    arm = Season(row["seed"], reader.codec, advised=False)
    for _, done, *_ in row["season"].rows[: row["at"]]:
        arm.act(ALL_ACTIONS[done])
    if future:
        world = arm.world
        own, cut = world._tape, row["day"] + LEADS
        other = make_tape(10_000_000 + 1000 * row["seed"] + future, 1, world.config)
        world._tape = replace(own, nights=own.nights[:cut] + other.nights[cut:])
    arm.act(ALL_ACTIONS[action])
    return arm


def _to_their_ends(arms: Sequence[Season], reader: Reader) -> None:
    while living := [arm for arm in arms if arm.legal]:
        for arm, action in zip(living, reader.choose(living)[0], strict=True):
            arm.act(action)
