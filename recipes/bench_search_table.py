"""What every first step leads to, in many imagined worlds: the table that strategies of search are compared on.

    python recipes/bench_search_table.py --out out/search.jsonl --states 60 --scenarios 24

One decision is drawn from each season of the bundled model, on seeds that it was not trained on, among those where it is less than 90 %
sure. Its likeliest first steps (at most four, of at least 3 %) are each played to the end of the season by the model itself, in the same
imagined worlds. A row holds the scores, the decisions it took, and the stated chance on the way. Rows are appended as they are made;
a second start goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from overwinter.learn.appraisal import Appraiser
from overwinter.loop.search.growing import scenario_seed
from overwinter.think.search import SearchSettings
from overwinter.worlds import open_world
from overwinter.worlds.greenhouse.notebook import GreenhouseNotebook
from overwinter.worlds.imagination import imagine
from overwinter.worlds.notebook import page
from overwinter.worlds.player import BUNDLED_FOLDER

FIRST_SEED = 20_000
UNSURE, OPTIONS, LEAST = 0.9, 4, 0.03
MARKS = (16, 48)
"""Decisions after which the chance is asked for."""
PATIENCE = 600


class Branch:
    """A world, and the notes of who plays in it."""

    def __init__(self, snapshot: dict[str, Any], notebook: GreenhouseNotebook, name: str) -> None:
        self.world = open_world(name)
        self.world.restore(snapshot)
        self.notebook = copy.deepcopy(notebook)

    def step(self, action: str) -> None:
        self.notebook.take_in(action, self.world.step(action).observation)

    @property
    def look(self) -> tuple[str, tuple[str, ...]]:
        return page(self.notebook.lines()), tuple(self.world.actions())


def season(seed: int, name: str, judge: Appraiser) -> tuple[list[str], list[tuple[int, np.ndarray, tuple[str, ...]]]]:
    """The model's own season: what it did, and the decisions it was not sure of."""
    world, notebook, unsure, done = open_world(name), GreenhouseNotebook(), [], []
    notebook.take_in(None, world.reset(seed))
    while world.actions() and len(done) < PATIENCE:
        legal = tuple(world.actions())
        [shares] = judge.shares([(page(notebook.lines()), legal)])
        if shares.max() < UNSURE:
            unsure.append((len(done), shares, legal))
        action = legal[int(np.argmax(shares))]
        notebook.take_in(action, world.step(action).observation)
        done.append(action)
    return done, unsure


def row(seed: int, name: str, scenarios: int, judge: Appraiser) -> dict[str, Any] | None:
    done, unsure = season(seed, name, judge)
    if not unsure:
        return None
    at, shares, legal = random.Random(seed).choice(unsure)
    world, notebook = open_world(name), GreenhouseNotebook()
    notebook.take_in(None, world.reset(seed))
    for action in done[:at]:
        notebook.take_in(action, world.step(action).observation)
    imagination = imagine(world, seed, done[:at])
    options = [int(i) for i in np.argsort(-shares)[:OPTIONS] if shares[i] >= LEAST]
    settings = SearchSettings(seed=seed)
    snapshots = [imagination.draw(scenario_seed(settings, at, number)) for number in range(scenarios)]
    branches = [[Branch(snapshot, notebook, name) for snapshot in snapshots] for _ in options]
    for option, tries in zip(options, branches, strict=True):
        for branch in tries:
            branch.step(legal[option])
    [before] = [judge.chance(page(notebook.lines()))]
    played, chances = play_on([branch for tries in branches for branch in tries], judge)
    shape = (len(options), scenarios)
    scores = np.array([[branch.world.outcome().score for branch in tries] for tries in branches])
    return {
        "world": name,
        "seed": seed,
        "at": at,
        "chance": before,
        "labels": [legal[i] for i in options],
        "priors": [float(shares[i]) for i in options],
        "scores": scores.round(3).tolist(),
        "decisions": np.array(played).reshape(shape).tolist(),
        "chances": {str(mark): np.array(found).reshape(shape).round(6).tolist() for mark, found in chances.items()},
    }


def play_on(branches: list[Branch], judge: Appraiser) -> tuple[list[int], dict[int, list[float]]]:
    """All branches to their ends in lock-step; decisions of each, and the chances at the marks (of an ended one, at its end)."""
    played, chances = [0] * len(branches), {}
    for count in range(PATIENCE):
        if count in MARKS:
            chances[count] = [judge.chance(branch.look[0]) for branch in branches]
        living = [i for i, branch in enumerate(branches) if branch.world.actions()]
        if not living:
            break
        for i, action in zip(living, judge.choose([branches[i].look for i in living]), strict=True):
            branches[i].step(action)
            played[i] += 1
    for mark in MARKS:
        chances.setdefault(mark, [judge.chance(branch.look[0]) for branch in branches])
    return played, chances


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--world", default="greenhouse")
    parser.add_argument("--states", type=int, default=60)
    parser.add_argument("--scenarios", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = Appraiser(BUNDLED_FOLDER / "greenhouse")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = len(options.out.read_text("utf-8").splitlines()) if options.out.exists() else 0
    with options.out.open("a", encoding="utf-8") as file:
        for seed in range(FIRST_SEED + known, FIRST_SEED + options.states):
            made = row(seed, options.world, options.scenarios, judge)
            file.write(json.dumps(made) + "\n")
            file.flush()
            print(f"seed {seed}", flush=True)


if __name__ == "__main__":
    main()
