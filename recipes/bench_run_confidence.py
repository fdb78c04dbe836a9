"""Does the confidence that `overwinter run` shows hold? Held-out seasons of the bundled model, and what `bench calibration` says of them.

    python recipes/bench_run_confidence.py --write                     # about four minutes on one core; goes on where it was stopped
    python recipes/bench_run_confidence.py --seasons 40 --runs 2       # a smoke run

Some seasons are played as the command line plays them, journalled, with the calibrator that ships with the model; many more in lock-step by
the same weights, which takes a twentieth of the time. The statements of the first are compared with those of the same seasons in lock-step:
the table holds for runs as far as they agree, and the recipe says how far that is. Then all are read once more as the model stated its
chance, before calibration. Seeds from 740000 on: nothing was fitted or chosen by them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench_journal import PAGE, table, write_between
from bundled_seasons import Season
from gate_decisions import Reader
from overwinter.bench.calibration import POINTS, Told, summarise, told
from overwinter.journal import open_store
from overwinter.journal.store import Store
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.run import ENDED, Run
from overwinter.think.confidence.record import RUN
from overwinter.think.confidence.stored import FILE_NAME, Shelf, load
from overwinter.worlds import open_world
from overwinter.worlds.greenhouse.actions import is_order
from overwinter.worlds.player import player_folder

WORLD, FIRST, SEASONS, RUNS = "greenhouse", 740_000, 400, 24
AT_ONCE = 50
BEGIN, END = "<!-- bench_run_confidence: begin -->", "<!-- bench_run_confidence: end -->"
WORDS = {"start": "start", "turns": "on the way", "irreversible": "before orders", "end": "end"}


def play(store: Store, seed: int) -> str:
    """One winter as a run; its name."""
    name = f"winter-{seed}"
    standing = {info.run: info.status for info in store.runs()}.get(name)
    if standing in ENDED:
        return name
    goal = open_world(WORLD).goal
    setup = {
        "model": {"kind": "player", "path": f"bundled:{WORLD}"},
        "world": {"name": WORLD, "seed": seed},
        "controls": [],
    }
    accepted = (Criterion(id="a1", text=goal, check={"kind": "world"}),)
    made = Goal(text=goal, acceptance=accepted)
    with Run.start(store, made, setup=setup, name=name) if standing is None else Run.open(store, name) as run:
        run.finish()
    return name


def in_lock_step(seeds: range, reader: Reader, shelf: Shelf) -> list[Told]:
    """The same seasons by the same weights, many at once: what a run of each would have shown."""
    held = shelf.find(RUN)
    assert held is not None, "the model brings a calibrator of its chance: recipes/fit_confidence.py"
    made = []
    for start in range(seeds.start, seeds.stop, AT_ONCE):
        seasons = [Season(seed, reader.codec, advised=False) for seed in seeds if start <= seed < start + AT_ONCE]
        raw: dict[int, list[float]] = {season.seed: [] for season in seasons}
        orders: dict[int, list[int]] = {season.seed: [] for season in seasons}
        while living := [season for season in seasons if season.legal]:
            picked, _, odds = reader.choose(living)
            for season, action, odd in zip(living, picked, odds.tolist(), strict=True):
                if is_order(action):
                    orders[season.seed].append(len(raw[season.seed]))
                raw[season.seed].append(reader.card.calibrated(odd))
                season.act(action)
        for season in seasons:
            said = raw[season.seed]
            made.append(
                Told(
                    run=f"winter-{season.seed}",
                    outcome=float(bool(season.world.outcome().success)),
                    chances=tuple(held.apply({"stated": value}, held.calibrator.scope) or 0.0 for value in said),
                    calibrated=True,
                    irreversible=tuple(orders[season.seed]),
                    raw=tuple(said),
                )
            )
    return made


def agreement(runs: Sequence[Told], lock_step: Sequence[Told]) -> tuple[int, int, float]:
    """(runs that took the same course and ended alike, runs, largest difference between what both showed)."""
    other = {each.run: each for each in lock_step}
    same = [
        run
        for run in runs
        if (len(run.chances), run.outcome, run.irreversible)
        == (len(other[run.run].chances), other[run.run].outcome, other[run.run].irreversible)
    ]
    gaps = [abs(a - b) for run in same for a, b in zip(run.chances, other[run.run].chances, strict=True)]
    return len(same), len(runs), max(gaps, default=0.0)


def rows_of(label: str, read: Sequence[Told]) -> list[list[str]]:
    found = summarise(read)
    made = []
    for point in POINTS:
        row = found["points"][point]
        figures = row["metrics"]
        made.append(
            [
                f"{label}, {WORDS[point]}",
                str(row["statements"]),
                f"{row['stated']:.3f}",
                _span(figures["accuracy"]),
                _span(figures["ece"]),
                f"{row['null']['ece_95']:.3f}",
                _span(figures["brier"]),
                _span(figures["auroc"]),
                "yes" if row["null"]["within"] else "**no**",
            ]
        )
    return made


def _span(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    low, high = figure["interval"] or (float("nan"),) * 2
    return f"{figure['value']:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("out/confidence/held-out.db"))
    parser.add_argument("--seasons", type=int, default=SEASONS, help="in lock-step")
    parser.add_argument("--runs", type=int, default=RUNS, help="as journalled runs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.store.parent.mkdir(parents=True, exist_ok=True)
    reader, shelf = Reader(), load(player_folder(f"bundled:{WORLD}") / FILE_NAME)
    shown = in_lock_step(range(FIRST, FIRST + options.seasons), reader, shelf)
    print(f"{len(shown)} seasons in lock-step", flush=True)
    store = open_store(str(options.store))
    try:
        runs = [told(store, play(store, seed)) for seed in range(FIRST, FIRST + options.runs)]
    finally:
        store.close()
    alike, played, gap = agreement(runs, shown)
    stated = [replace(each, chances=each.raw) for each in shown]
    well = sum(each.outcome or 0.0 for each in shown) / len(shown)
    head = [
        "confidence, at",
        "statements",
        "stated",
        "ended well",
        "ECE",
        "calibrated: below",
        "Brier",
        "AUROC",
        "confirmed",
    ]
    seeds = f"seeds {FIRST} to {FIRST + options.seasons - 1}"
    text = (
        f"{len(shown)} held-out winters ({seeds}), of which {well:.1%} ended well. 95 % intervals over winters. Of {played} played as"
        f" journalled runs {alike} took the same course, and no statement of theirs differs by more than {gap:.1e}.\n\n"
        + table(head, [*rows_of("shown", shown), *rows_of("as the model states it", stated)])
    )
    print(text)
    if options.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
