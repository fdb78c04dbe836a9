"""Estimators of long-horizon credit, side by side: what a policy learns from each, and how far each is from the truth.

python recipes/bench_credit.py                                  # the table of docs/benchmarks.md; hours on one core, resumes after a kill
python recipes/bench_credit.py --settings keydoor,errands --estimators grpo,calibrated --seeds 5 --budget-minutes 5
python recipes/bench_credit.py --oracle                         # only the comparison with exact advantages
python recipes/bench_credit.py --report                         # tables of what is cached; runs nothing
python recipes/bench_credit.py --settings networks --seeds 5    # policies that are networks; needs overwinter[textworld-express] and Java

A cell is one run: setting, estimator, learning rate, seed. Finished cells are lines of out/bench-credit/cells.jsonl, and are not run again;
remove the file after a change of an estimator or a world. Each estimator plays each setting at the learning rate of the grid that had the
largest area under its success curve on the tuning seeds, which are never reported. All play the same number of trajectories; seeds are
shared, so differences are formed within a seed. Brackets are 95 % intervals over seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from bench_journal import ROOT, write_between
from credit_report import Cell, curves_figure, report
from credit_worlds import DESIGN, JUDGED, SETTINGS, Family, Setting, TabularPlayer
from overwinter.learn.batch import Batch, Floats
from overwinter.learn.credit import Config, advantages

WORK = ROOT / "out" / "bench-credit"
TUNING_SEEDS, FIRST_SEED = (50, 51), 100
CHECKPOINTS, ORACLE_BATCHES = (5, 20, 50), 16


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An estimator as it takes part: its configuration, and columns it may not see."""

    config: Config
    hidden: tuple[str, ...] = ()

    def seen(self, batch: Batch) -> Batch:
        return replace(batch, **dict.fromkeys(self.hidden)) if self.hidden else batch


def _contender(estimator: str, *hidden: str, **options: Any) -> Contender:
    return Contender(config=Config(estimator=estimator, options=options), hidden=hidden)


CONTENDERS = {
    "grpo": _contender("grpo"),
    "rloo": _contender("rloo"),
    "gigpo": _contender("gigpo"),
    "hgpo": _contender("hgpo"),
    "graphgpo": _contender("graphgpo"),
    "graphhca": _contender("graphhca"),
    "graphhca-max": _contender("graphhca", order=float("inf")),
    "pg": _contender("pg"),
    "gae_turn": _contender("gae_turn"),
    "hcapo": _contender("hcapo"),
    "hcapo_head": _contender("hcapo_head"),
    "rho_one": _contender("rho_one"),
    "random": _contender("random"),
    "calibrated": _contender("calibrated"),
    "calibrated-no-critic": _contender("calibrated", "value"),
    "calibrated-graph-alone": _contender("calibrated", "value", "hindsight"),
}
ORACLE = "exact"
"""Exact advantages over their deviation: what no estimator can know."""

DEFAULT = (
    "grpo",
    "gigpo",
    "graphhca",
    "graphhca-max",
    "pg",
    "gae_turn",
    "hcapo_head",
    "rho_one",
    "random",
    "calibrated",
    ORACLE,
)
NETWORKS = "networks"
FOR_NETWORKS = ("grpo", "gigpo", "graphhca", "gae_turn", "hcapo_head", "random", "calibrated")
NEEDS_HINDSIGHT = ("hcapo_head",)
"""Estimators for which a network's outcome-conditioned head is worth its time; those of tables cost nothing."""
SCALED = ("gae_turn",)
"""Estimators that do not scale themselves; they are divided by their deviation over the batch, so that one grid of rates fits all."""


class Key(NamedTuple):
    setting: str
    estimator: str
    rate: float
    seed: int


def network_families() -> list[Family]:
    """Loaded when they are asked for: they bring torch along."""
    from credit_networks import NETWORKS as FOUND

    return list(FOUND)


def family(name: str) -> Family:
    """The setting of a name."""
    known: dict[str, Family] = {**SETTINGS}
    if name not in known:
        known = {each.name: each for each in network_families()}
    return known[name]


def credit_of(name: str, batch: Batch, memory: Any) -> tuple[Floats, Any]:
    contender = CONTENDERS[name]
    credit = advantages(contender.seen(batch), contender.config, memory)
    values = credit.advantages
    return (scaled(values) if name in SCALED else values), credit.memory


def scaled(values: Floats) -> Floats:
    return values / (values.std() + 1e-6)


def run_cell(key: Key, updates: int) -> Cell:
    """Train one policy; its success and steps per update."""
    began = time.process_time()
    player = family(key.setting).player(key.seed, key.rate)
    player.wants_hindsight = key.estimator in NEEDS_HINDSIGHT
    success, steps, credit_s = [], [], 0.0
    memory = None
    for _ in range(updates):
        batch = player.play()
        started = time.process_time()
        if key.estimator == ORACLE:
            assert isinstance(player, TabularPlayer)
            values = scaled(player.true_advantages(batch, player.truth()))
        else:
            values, memory = credit_of(key.estimator, batch, memory)
        credit_s += time.process_time() - started
        player.learn(batch, values)
        success.append(round(float(batch.success.mean()), 5))
        steps.append(len(batch))
    return Cell(
        **key._asdict(),
        updates=updates,
        success=success,
        steps=steps,
        credit_s=round(credit_s, 3),
        cpu_s=round(time.process_time() - began, 3),
    )


@dataclass(kw_only=True)
class Cells:
    """Finished cells, in memory and on disk."""

    path: Path
    done: dict[tuple[Any, ...], Cell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            if line.endswith("}"):  # a kill can leave half a line
                self._note(Cell(**json.loads(line)))

    def _note(self, cell: Cell) -> None:
        self.done[self.name(cell.key, cell.updates)] = cell

    @staticmethod
    def name(key: tuple[Any, ...], updates: int) -> tuple[Any, ...]:
        return (*key, updates)

    def add(self, cell: Cell) -> None:
        self._note(cell)
        text = self.path.read_text() if self.path.exists() else ""
        mend = "\n" if text and not text.endswith("\n") else ""
        with self.path.open("a") as file:
            file.write(mend + json.dumps(cell.as_json()) + "\n")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    settings: list[Family]
    estimators: list[str]
    seeds: int
    rates: tuple[float, ...] | None
    """None for those of each setting."""
    tuning_seeds: tuple[int, ...]
    updates: int | None

    def length(self, setting: Family) -> int:
        return self.updates or setting.updates

    def grid(self, setting: Family) -> tuple[float, ...]:
        return self.rates or setting.rates

    def tuning(self) -> Iterator[tuple[Key, int]]:
        for setting in self.settings:
            for name in self.estimators:
                for rate in self.grid(setting):
                    for seed in self.tuning_seeds:
                        yield Key(setting.name, name, rate, seed), self.length(setting)

    def best_rate(self, cells: Cells, setting: Family, name: str) -> float | None:
        """None while tuning is not finished."""
        areas = {}
        for rate in self.grid(setting):
            found = [
                cells.done.get((setting.name, name, rate, seed, self.length(setting))) for seed in self.tuning_seeds
            ]
            if None in found:
                return None
            areas[rate] = float(np.mean([cell.area for cell in found if cell]))
        return max(areas, key=areas.__getitem__)

    def reported(self, cells: Cells) -> Iterator[tuple[Key, int]]:
        """By seed first, so that an interrupted run has a few seeds of everything."""
        for seed in range(FIRST_SEED, FIRST_SEED + self.seeds):
            for setting in self.settings:
                for name in self.estimators:
                    rate = self.best_rate(cells, setting, name)
                    if rate is not None:
                        yield Key(setting.name, name, rate, seed), self.length(setting)


def run_all(cells: Cells, wanted: Iterable[tuple[Key, int]], jobs: int, deadline: float) -> bool:
    """Run what is not cached until the deadline; False when it came first."""
    todo = [(key, updates) for key, updates in wanted if Cells.name(key, updates) not in cells.done]
    if jobs == 1:
        for number, (key, updates) in enumerate(todo):
            if time.monotonic() > deadline:
                return False
            _finished(cells, run_cell(key, updates), number + 1, len(todo))
        return True
    with ProcessPoolExecutor(jobs) as pool:
        waiting, number = iter(todo), 0
        running: set[Future[Cell]] = set()
        while True:
            while len(running) < 2 * jobs and time.monotonic() < deadline:
                following = next(waiting, None)
                if following is None:
                    break
                running.add(pool.submit(run_cell, *following))
            if not running:
                return number == len(todo)
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number += 1
                _finished(cells, future.result(), number, len(todo))


def _finished(cells: Cells, cell: Cell, number: int, total: int) -> None:
    cells.add(cell)
    print(
        f"{number}/{total} {cell.setting} | {cell.estimator} | rate {cell.rate:g} | seed {cell.seed}: area {cell.area:.3f}, {cell.cpu_s} s",
        file=sys.stderr,
    )


# Against the truth


def oracle_figures(setting: Setting, names: list[str], seed: int) -> dict[str, list[dict[str, float]]]:
    """Per estimator and checkpoint, how its advantages and gradients compare with exact ones.

    All see the batches of one policy that learns by GRPO, so that they judge the same play and their memories are filled alike. At a
    checkpoint the policy is held still, and each estimates the gradient from several batches.
    """
    player = TabularPlayer(setting, seed, setting.rates[1])
    memories: dict[str, Any] = dict.fromkeys(names)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for update in range(max(CHECKPOINTS) + 1):
        batch = player.play()
        if update in CHECKPOINTS:
            for name in names:
                figures[name].append(_against_truth(player, name, memories[name], (seed, update)))
            batch = player.sample(player.rng)
        for name in names:
            memories[name] = credit_of(name, batch, memories[name])[1]
        player.learn(batch, credit_of("grpo", batch, None)[0])
    return figures


def _against_truth(player: TabularPlayer, name: str, memory: Any, seed: tuple[int, int]) -> dict[str, float]:
    truth = player.truth()
    exact = truth.gradient.ravel()
    rng = np.random.default_rng(seed)
    gradients, guesses, answers = [], [], []
    for _ in range(ORACLE_BATCHES):
        batch = player.sample(rng)
        values, _ = credit_of(name, batch, memory)
        gradients.append(player.gradient(batch, values).ravel() / batch.trajectories)
        guesses.append(values)
        answers.append(player.true_advantages(batch, truth))
    sample = np.array(gradients)
    mean = sample.mean(0)
    size = float(mean @ mean)
    guess, answer = np.concatenate(guesses), np.concatenate(answers)
    return {
        "success": truth.success,
        "correlation": float(np.corrcoef(guess, answer)[0, 1]) if guess.std() > 0 and answer.std() > 0 else 0.0,
        "cosine": float(np.mean([_cosine(row, exact) for row in sample])),
        "cosine_of_mean": _cosine(mean, exact),
        "bias": float(np.sqrt(max(0.0, 1.0 - _cosine(mean, exact) ** 2))),
        "variance": float(((sample - mean) ** 2).sum(1).mean() * len(sample) / (len(sample) - 1)) / size
        if size > 0
        else 0.0,
    }


def _cosine(a: Floats, b: Floats) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--settings", "--worlds", help="names with commas, or 'design', or 'networks'; all judged tables without it"
    )
    parser.add_argument("--estimators", help=f"names with commas: {' | '.join([*CONTENDERS, ORACLE])}")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rates", help="numbers with commas; those of the setting without it")
    parser.add_argument("--tuning-seeds", type=int, default=len(TUNING_SEEDS))
    parser.add_argument("--updates", type=int, help="shorter runs, for a smoke test")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget-minutes", type=float, default=float("inf"))
    parser.add_argument("--cache", type=Path, default=WORK / "cells.jsonl")
    parser.add_argument("--oracle", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into docs/benchmarks.md and draw docs/img/credit.svg"
    )
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    named = arguments.settings
    tables: dict[str | None, list[Setting]] = {None: JUDGED, "design": DESIGN}
    settings: list[Family] = [*tables[named]] if named in tables else _named(named)
    usual = DEFAULT if all(setting.name in SETTINGS for setting in settings) else FOR_NETWORKS
    estimators = arguments.estimators.split(",") if arguments.estimators else list(usual)
    unknown = [name for name in estimators if name not in CONTENDERS and name != ORACLE]
    if unknown:
        raise SystemExit(f"unknown estimators: {unknown}; choose from {[*CONTENDERS, ORACLE]}")
    return Plan(
        settings=settings,
        estimators=estimators,
        seeds=arguments.seeds,
        rates=tuple(float(rate) for rate in arguments.rates.split(",")) if arguments.rates else None,
        tuning_seeds=tuple(range(TUNING_SEEDS[0], TUNING_SEEDS[0] + arguments.tuning_seeds)),
        updates=arguments.updates,
    )


def _named(names: str) -> list[Family]:
    known: dict[str, Family] = {**SETTINGS}
    if names == NETWORKS or not set(names.split(",")) <= set(known):
        networks = {each.name: each for each in network_families()}
        known |= networks
        names = ",".join(networks) if names == NETWORKS else names
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"unknown settings: {unknown}; choose from {[*known]}")
    return [known[name] for name in names.split(",")]


def _oracle(plan: Plan, path: Path, deadline: float) -> dict[str, Any]:
    """Figures of every setting, cached beside the cells."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    names = [name for name in plan.estimators if name != ORACLE]
    for setting in plan.settings:
        if time.monotonic() > deadline:
            break
        if not isinstance(setting, Setting):
            continue
        missing = [name for name in names if name not in found.get(setting.name, {})]
        if missing:
            print(f"against the truth: {setting.name}", file=sys.stderr)
            found.setdefault(setting.name, {}).update(oracle_figures(setting, missing, FIRST_SEED))
            path.write_text(json.dumps(found))
    return found


def main() -> None:
    arguments = _arguments()
    plan = _plan(arguments)
    cells = Cells(path=arguments.cache)
    deadline = 0.0 if arguments.report else time.monotonic() + 60 * arguments.budget_minutes
    if not arguments.oracle:
        finished = run_all(cells, plan.tuning(), arguments.jobs, deadline)
        finished = finished and run_all(cells, plan.reported(cells), arguments.jobs, deadline)
        if not finished:
            print("not finished: run the same command again to go on", file=sys.stderr)
    truths = _oracle(plan, arguments.cache.with_suffix(".oracle.json"), deadline)
    chosen = [
        cells.done[Cells.name(key, length)]
        for key, length in plan.reported(cells)
        if Cells.name(key, length) in cells.done
    ]
    text = report(chosen, truths, [setting.name for setting in plan.settings], plan.estimators)
    print(text)
    if arguments.write:
        part = "" if all(isinstance(setting, Setting) for setting in plan.settings) else " networks"
        begin, end = (f"<!-- bench_credit{part}: {side} -->" for side in ("begin", "end"))
        write_between(ROOT / "docs" / "benchmarks.md", begin, end, text)
        curves_figure(chosen, ROOT / "docs" / "img" / f"credit{part.replace(' ', '_')}.svg")


if __name__ == "__main__":
    main()
