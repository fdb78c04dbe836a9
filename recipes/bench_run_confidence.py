"""Does the confidence that `overwinter run` shows hold? Held-out seasons of the bundled model as runs, and what `bench calibration` says.

    python recipes/bench_run_confidence.py --write        # 200 runs, about fifteen minutes on one core; goes on where it was stopped
    python recipes/bench_run_confidence.py --seasons 4    # a smoke run

The runs are made as the command line makes them: journalled, with the calibrator that ships with the model. The same runs are then read
once more as the model stated its chance, before calibration. Seeds from 740000 on: nothing was fitted or chosen by them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench_journal import PAGE, table, write_between
from overwinter.bench.calibration import POINTS, Told, summarise, told
from overwinter.journal import open_store
from overwinter.journal.store import Store
from overwinter.loop.goal import Criterion, Goal
from overwinter.loop.run import ENDED, Run
from overwinter.worlds import open_world

WORLD, FIRST, SEASONS = "greenhouse", 740_000, 200
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
    parser.add_argument("--seasons", type=int, default=SEASONS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.store.parent.mkdir(parents=True, exist_ok=True)
    store = open_store(str(options.store))
    try:
        names = []
        for seed in range(FIRST, FIRST + options.seasons):
            names.append(play(store, seed))
            if len(names) % 20 == 0:
                print(f"{len(names)} seasons", flush=True)
        shown = [told(store, name) for name in names]
    finally:
        store.close()
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
        f"{len(shown)} held-out winters ({seeds}), of which {well:.1%} ended well. 95 % intervals over runs.\n\n"
        + table(head, [*rows_of("shown", shown), *rows_of("as the model states it", stated)])
    )
    print(text)
    if options.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
