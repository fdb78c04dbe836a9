"""Train the small ranker of `overwinter.memory.sift`, compare its teachers, and ship the best.

python recipes/train_sifter.py             # trains what is missing, prints the tables
python recipes/train_sifter.py --write     # ... and writes the bundled ranker, its card and the section of docs/benchmarks.md
python recipes/train_sifter.py --quick     # a smoke run: small, writes nothing

Every training is a cell in --cache, and the same command goes on where it was stopped. The teachers have the same network, questions,
number of steps and start (the order of the stage before); each has its own learning rate and its own hold to that start, the best of
a grid on three dev sets (people, books, MuSiQue) with seeds that are not reported. Nothing is chosen on the test sets. Without --data there
are people only, who then speak in patterns alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench_journal import ROOT
from overwinter.memory.sift.features import FEATURES, features
from overwinter.memory.sift.policy import Case, Config, Network, Trainer, as_arrays, warmed
from overwinter.memory.sift.ranker import Ranker, Weights
from overwinter.memory.sift.reader import Extracts
from overwinter.memory.sift.reward import dcg_reward, outcome_reward
from overwinter.memory.sift.scoring import token_f1
from overwinter.memory.sift.words import Haystack
from sifter_histories import Asked, History, as_units, book_histories, histories, hotpot, locomo, musique, prose

WORK = Path("/tmp/overwinter-sifter")
RATES, HOLDS = (0.003, 0.01), (0.0, 0.3, 1.0)
TUNING_SEEDS, FIRST_SEED = (900, 901), 1
TEACHERS: dict[str, tuple[str, bool]] = {
    "outcome": ("outcome", False),
    "outcome, after DCG": ("warmed", False),
    "outcome, no anchors": ("unanchored", False),
    "DCG": ("dcg", False),
    "DCG, labels of the matter": ("dcg", True),
    "supervised": ("supervised", False),
    "supervised, labels of the matter": ("supervised", True),
}
"""Name → (method, whether the labels are `related`: every session that states the fact at any time, as LongMemEval labels updates)."""


@dataclass(kw_only=True)
class Item:
    """A question ready to be ranked, trained on and judged.

    Attributes:
        cluster: the history; intervals resample histories, since questions of one are not independent.
        orders: rankings that need no training.
    """

    case: Case
    asked: Asked
    cluster: str
    orders: dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class Scale:
    train: int = 150
    dev: int = 50
    test: int = 100
    books: int = 60
    locomo: int = 10
    seeds: int = 5
    config: Config = field(default_factory=Config)


QUICK = Scale(train=12, dev=6, test=8, books=6, locomo=1, seeds=2, config=Config(rounds=2, steps_per_round=5))


def main() -> None:
    arguments = _arguments()
    scale = QUICK if arguments.quick else Scale(seeds=arguments.seeds)
    started = time.perf_counter()
    train = people(arguments.data, "train", scale.train) + books(arguments.data, "train", scale.books)
    dev = chosen_by(arguments.data, scale)
    asked = sum(map(len, dev.values()))
    print(
        f"{len(train)} questions to train on, {asked} to choose by ({time.perf_counter() - started:.0f} s)",
        file=sys.stderr,
    )
    cells = Cells(
        arguments.cache.with_suffix(".quick.jsonl") if arguments.quick else arguments.cache, train, dev, scale
    )
    rates = {teacher: cells.best_settings(teacher) for teacher in TEACHERS}
    trained = {teacher: cells.trained(teacher, *rates[teacher]) for teacher in TEACHERS}
    if arguments.train_only:
        return
    from sifter_report import measured, report, ship  # it reads what stands here

    sets = judged(arguments.data, scale)
    figures = measured(trained, sets)
    text = report(trained, sets, figures, rates, cells)
    print(text)
    if arguments.write and not arguments.quick:
        ship(trained, figures, text, rates, cells)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with corpora/ and memory/"
    )
    parser.add_argument("--seeds", type=int, default=Scale().seeds)
    parser.add_argument("--cache", type=Path, default=WORK / "cells.jsonl")
    parser.add_argument(
        "--write", action="store_true", help="write the bundled ranker, its card and docs/benchmarks.md"
    )
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args()


# Questions


def people(data: Path, split: str, count: int) -> list[Item]:
    """Over sessions; for training and choosing, every other history is asked about turn by turn too."""
    talk = prose(data / "corpora", split)
    found = histories(split, count, seed=1, prose=talk)
    whole = [item for history in found for item in items(history)]
    if split == "test":
        return whole
    return whole + [item for history in found[::2] for item in items(history, units=True)]


def books(data: Path, split: str, count: int) -> list[Item]:
    corpora = data / "corpora"
    found = book_histories(corpora, split, count, seed=1) if corpora.exists() else []
    return [item for history in found for item in items(history)]


def chosen_by(data: Path, scale: Scale) -> dict[str, list[Item]]:
    """The sets that settings, kind and seed are chosen on, each with the same weight."""
    sets = {"people": people(data, "dev", scale.dev), "books": books(data, "dev", scale.books // 2)}
    sets["MuSiQue"] = read(musique, data / "memory" / "hippo_multihop" / "musique_train.json", 100)
    return {name: found for name, found in sets.items() if found}


def judged(data: Path, scale: Scale) -> dict[str, list[Item]]:
    """The sets that nothing was trained or chosen on."""
    sets = {"people": people(data, "test", scale.test), "books": books(data, "test", scale.books // 2)}
    sets["HotpotQA"] = read(hotpot, data / "memory" / "hippo_multihop" / "hotpotqa_train.json", 100)
    path = data / "memory" / "locomo" / "locomo10.json"
    sets["LoCoMo"] = read(locomo, path, scale.locomo)
    sets["LoCoMo, turns"] = read(locomo, path, scale.locomo, units=True)
    if path.exists() and scale.locomo > 1:
        from sifter_searched import searched

        found = searched(data / "memory")
        sets["LoCoMo, searched"] = [_item(name, Haystack(turns), asked) for name, turns, asked in found]
    return {name: found for name, found in sets.items() if found}


def read(histories_of: Callable[[Path], list[History]], path: Path, count: int, *, units: bool = False) -> list[Item]:
    found = histories_of(path)[:count] if path.exists() else []
    return [item for history in found for item in items(history, units=units)]


def items(history: History, *, units: bool = False) -> list[Item]:
    """The questions of a history over its sessions, or over single turns."""
    haystack = Haystack(history.sessions)
    if not units:
        return [_item(history.name, haystack, asked) for asked in history.questions]
    found = (as_units(history, haystack, asked) for asked in history.questions)
    return [_item(history.name, Haystack(turns), asked) for turns, asked in filter(None, found)]


def _item(cluster: str, haystack: Haystack, asked: Asked) -> Item:
    rows = as_arrays(features(asked.text, haystack))
    extracts = Extracts(asked.text, haystack)
    session, turn, prior = (rows[:, FEATURES.index(name)] for name in ("session_bm25", "turn_bm25", "prior"))
    return Item(
        case=Case(features=rows, gold=asked.gold, scored=lambda key: score(asked, extracts.answer(key))),
        asked=asked,
        cluster=cluster,
        orders={
            "BM25 of sessions": np.argsort(-session, kind="stable").tolist(),
            "BM25 of the best turn": np.argsort(-turn, kind="stable").tolist(),
            "stage before": np.argsort(-prior, kind="stable").tolist(),
            "gold first": sorted(range(len(prior)), key=lambda n: (n not in asked.gold, -prior[n])),
        },
    )


def score(asked: Asked, said: str) -> float:
    """Token F1; for LoCoMo's multi-hop questions the mean over the parts of the right answer of the best part said."""
    if len(asked.answers) == 1:
        return token_f1(said, asked.answers[0])
    parts = [part for part in said.split(",") if part.strip()] or [""]
    return sum(max(token_f1(part, right) for part in parts) for right in asked.answers) / len(asked.answers)


# Training


class Cells:
    """Trainings that are done, one line each, so that the recipe can be stopped and run again."""

    def __init__(self, path: Path, train: Sequence[Item], dev: dict[str, list[Item]], scale: Scale) -> None:
        self.path, self.train, self.dev, self.scale = path, train, dev, scale
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        done = [json.loads(line) for line in lines if line.endswith("}")]
        self.done: dict[str, dict[str, Any]] = {cell["key"]: cell for cell in done}

    def best_settings(self, teacher: str) -> tuple[float, float]:
        """(rate, hold)."""
        grid = [(rate, hold) for rate in RATES for hold in HOLDS]
        return max(grid, key=lambda settings: sum(self.cell(teacher, *settings, seed)["dev"] for seed in TUNING_SEEDS))

    def trained(self, teacher: str, rate: float, hold: float) -> list[dict[str, Any]]:
        return [self.cell(teacher, rate, hold, FIRST_SEED + n) for n in range(self.scale.seeds)]

    def cell(self, teacher: str, rate: float, hold: float, seed: int) -> dict[str, Any]:
        config = replace(self.scale.config, rate=rate, hold=hold)
        key = f"{teacher}/{seed}/{config}"
        if key not in self.done:
            started = time.process_time()
            network = self._train(teacher, config, seed)
            weights = network.weights()
            cell = {
                "key": key,
                "seed": seed,
                "cpu_s": round(time.process_time() - started, 1),
                "dev": dev_score(weights, self.dev),
                "weights": {name: getattr(weights, name) for name in Weights.__dataclass_fields__},
            }
            with self.path.open("a", encoding="utf-8") as file:
                file.write(("\n" if file.tell() else "") + json.dumps(cell))
            self.done[key] = cell
            told = f"rate {rate:g}, hold {hold:g}, seed {seed}: dev {cell['dev']:.4f}, {cell['cpu_s']} s"
            print(f"{teacher}, {told}", file=sys.stderr)
        return self.done[key]

    def _train(self, teacher: str, config: Config, seed: int) -> Network:
        method, related = TEACHERS[teacher]
        cases = [replace(item.case, gold=item.asked.related) if related else item.case for item in self.train]
        if method == "warmed":
            return warmed(cases, replace(config, method="outcome"), seed)
        if method == "unanchored":
            return Trainer(cases=cases, config=replace(config, method="outcome", anchored=False), seed=seed).train()
        return Trainer(cases=cases, config=replace(config, method=method), seed=seed).train()  # type: ignore[arg-type]


def weights_of(cell: dict[str, Any]) -> Weights:
    stored = {name: tuple(value) for name, value in cell["weights"].items() if name != "hidden"}
    return Weights(hidden=tuple(tuple(row) for row in cell["weights"]["hidden"]), **stored)


def order_by(weights: Weights) -> Callable[[Item], list[int]]:
    """The same scores as `Ranker`, on features that are at hand."""
    mean, scale, linear = np.array(weights.mean), np.array(weights.scale), np.array(weights.linear)
    hidden, bias, out = np.array(weights.hidden).reshape(-1, len(linear)), np.array(weights.bias), np.array(weights.out)

    def order(item: Item) -> list[int]:
        x = (item.case.features - mean) / scale
        found: list[int] = np.argsort(-(x @ linear + np.tanh(x @ hidden.T + bias) @ out), kind="stable").tolist()
        return found

    return order


def dev_score(weights: Weights, dev: dict[str, list[Item]]) -> float:
    """What is chosen by, the same for every teacher: half outcome reward, half DCG, averaged over the dev sets.

    The reward alone would not do: on questions that the reader can hardly answer it says little of where the answer stands.
    """
    order = order_by(weights)

    def of(item: Item) -> float:
        ranking = order(item)
        return (outcome(item, ranking) + dcg_reward(ranking[:10], item.asked.gold)) / 2

    return float(np.mean([np.mean([of(item) for item in found]) for found in dev.values()]))


def outcome(item: Item, order: Sequence[int]) -> float:
    ranking = list(order[:10])
    return outcome_reward(ranking, lambda k: item.case.score(ranking, k))


def ranker_of(cell: dict[str, Any], about: dict[str, Any]) -> Ranker:
    return Ranker(weights_of(cell), about)


if __name__ == "__main__":
    main()
