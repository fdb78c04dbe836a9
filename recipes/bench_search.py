"""Strategies of search at equal token budgets, on decisions of the bundled model in the greenhouse.

    python recipes/bench_search_table.py --out out/search.jsonl      # an hour on one core; what every first step leads to
    python recipes/bench_search.py --table out/search.jsonl          # a minute; prints the tables
    python recipes/bench_search.py --table out/search.jsonl --write  # and puts them into docs/benchmarks.md

The strategies are the package's; in place of forks they grow their trees from the table (one cell is one branch, played by the model to
the season's end or to a mark, at 27 tokens a decision). The imagined worlds are split at random: what a strategy may try in one half is
scored in the other half, which it has not seen; 20 splits a decision. Intervals: bootstrap over decisions, paired.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import overwinter.think.search.strategy as rules
from bench_journal import PAGE, table, write_between
from overwinter.think.search import ROOT, Expand, SearchSettings, Tree, bavt, make_strategy

BEGIN, END = "<!-- bench_search: begin -->", "<!-- bench_search: end -->"
QUESTION, BETS, SUCCESS = 27, 52, 60.0
BUDGETS = (6_000, 24_000, 96_000)
"""Tokens for a decision; about two, ten and forty branches to the end of a winter of 120 days. Others in proportion."""
BRANCH = 2_500
SPLITS, DRAWS = 20, 4000
FULL, NODES = "end", 400


@dataclass(frozen=True)
class Method:
    """A row of the table: settings, and what the critic reads: the score at the end, or the chance at a mark."""

    name: str
    strategy: str
    read: str = FULL
    exponent: float = 1.0


METHODS = (
    Method("tree", "tree"),
    Method("best-of-n", "best-of-n"),
    Method("majority", "majority"),
    Method("beam", "beam"),
    Method("mcts", "mcts"),
    Method("ab-mcts", "ab-mcts"),
)
ABLATIONS = (
    Method("tree, no budget exponent", "tree", exponent=0.0),
    Method("tree, stated chance after 48 decisions", "tree", read="48"),
    Method("tree, stated chance after 16 decisions", "tree", read="16"),
    Method("tree, no critic", "tree", read="none"),
    Method("best-of-n, stated chance after 48 decisions", "best-of-n", read="48"),
)


class Table:
    """One decision: what every first step leads to in the imagined worlds that a strategy may try."""

    def __init__(self, row: dict[str, Any], worlds: list[int], method: Method) -> None:
        self.labels, self.priors = row["labels"], row["priors"]
        scores, decisions = np.array(row["scores"])[:, worlds], np.array(row["decisions"])[:, worlds]
        if method.read == FULL:
            self.values, self.costs = scores / 100.0, decisions * QUESTION
        elif method.read == "none":
            self.values, self.costs = np.full(scores.shape, 0.5), decisions * QUESTION
        else:
            mark = int(method.read)
            ended = decisions < mark
            self.values = np.where(ended, scores >= SUCCESS, np.array(row["chances"][method.read])[:, worlds])
            self.costs = np.where(ended, decisions, mark) * QUESTION + BETS
        self.worlds = len(worlds)
        self.starts = [7 * option % len(worlds) for option in range(len(self.labels))]


def searched(
    row: dict[str, Any], worlds: list[int], method: Method, budget: int, luck: random.Random
) -> tuple[int, int]:
    """The first step that a strategy commits, and what it spent."""
    settings = SearchSettings(
        strategy=method.strategy,
        tokens=budget,
        depth=1,
        stride=0,
        exponent=method.exponent,
        seed=luck.randrange(1 << 30),
    )
    strategy, made = make_strategy(settings), Table(row, worlds, method)
    tree = Tree(budget=budget, depth=1, luck=strategy.needs_critic)
    # No option can be tried in more worlds than the table has.
    rules.TRIES_MAX = bavt.TRIES_MAX = made.worlds
    while (plan := strategy.next(tree)) is not None and len(tree.nodes) < NODES:
        option = _said(plan, tree, made, luck)
        again = plan.repeat is not None
        tries = [n for n in tree.nodes[ROOT].children if tree.nodes[n].label == made.labels[option]]
        number = plan.scenario if again else len(tries)
        if strategy.name == "best-of-n":
            # Luck of its own for every branch; past the table's worlds one that was met before, which it can only tie with.
            number = (made.starts[option] + len(tries)) % made.worlds
        if number >= made.worlds:
            break
        cost = (0 if again else QUESTION) + (int(made.costs[option, number]) if strategy.needs_critic else 0)
        if cost > tree.left:
            break  # as in a run: the branch is not finished, and the search ends
        value, prior = float(made.values[option, number]), made.priors[option]
        tree.add(ROOT, made.labels[option], value, tokens=cost, prior=prior, scenario=number, again=again)
    chosen = strategy.choose(tree).node
    return (0 if chosen is None else made.labels.index(tree.nodes[chosen].label)), tree.spent


def _said(plan: Expand, tree: Tree, made: Table, luck: random.Random) -> int:
    """What the model says: its likeliest step first, then as it draws them, siblings left out where they are."""
    if plan.repeat is not None:
        return int(made.labels.index(tree.nodes[plan.repeat].label))
    siblings = {tree.nodes[n].label for n in tree.nodes[ROOT].children}
    if not siblings:
        return 0
    left = [i for i, label in enumerate(made.labels) if not plan.fresh or label not in siblings]
    return luck.choices(left, [made.priors[i] for i in left])[0] if left else 0


def gains(rows: list[dict[str, Any]], method: Method, budget: int) -> tuple[NDArray[Any], float, float]:
    """[decisions] points over the model's own choice, in worlds that the search did not see; share of choices changed; tokens."""
    found, changed, spent = [], [], []
    for row in rows:
        scores = np.array(row["scores"])
        luck = random.Random(row["seed"])
        each = []
        for _ in range(SPLITS):
            order = luck.sample(range(scores.shape[1]), scores.shape[1])
            tried, held = order[: len(order) // 2], order[len(order) // 2 :]
            option, cost = searched(row, tried, method, budget, random.Random(luck.random()))
            each.append(scores[option, held].mean() - scores[0, held].mean())
            changed.append(option != 0)
            spent.append(cost)
        found.append(float(np.mean(each)))
    return np.array(found), float(np.mean(changed)), float(np.mean(spent))


def unlimited(rows: list[dict[str, Any]]) -> NDArray[Any]:
    """The same for a search without limit: every first step in every world that may be tried, and the best mean."""
    found = []
    for row in rows:
        scores, luck, each = np.array(row["scores"]), random.Random(row["seed"]), []
        for _ in range(SPLITS):
            order = luck.sample(range(scores.shape[1]), scores.shape[1])
            tried, held = order[: len(order) // 2], order[len(order) // 2 :]
            luck.random()
            option = int(np.argmax(scores[:, tried].mean(1)))
            each.append(scores[option, held].mean() - scores[0, held].mean())
        found.append(float(np.mean(each)))
    return np.array(found)


def interval(values: NDArray[Any]) -> str:
    """Mean and 95 % bootstrap interval over decisions."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():+.2f} ({low:+.2f} to {high:+.2f})"


def report(rows: list[dict[str, Any]], progress: Callable[[str], None]) -> str:
    best = unlimited(rows)
    parts = [_setting(rows, best)]
    length = float(np.mean([np.mean(row["decisions"]) for row in rows])) * QUESTION
    shorter = length < BRANCH / 2
    budgets = [int(round(each * length / BRANCH, -2)) for each in BUDGETS] if shorter else list(BUDGETS)
    for budget in budgets:
        lines, tree = [], np.zeros(0)
        for method in METHODS:
            progress(f"{method.name} at {budget}")
            gain, changed, spent = gains(rows, method, budget)
            tree = gain if method.name == "tree" else tree
            ahead = "" if method.name == "tree" else interval(tree - gain)
            lines.append(
                [method.name, interval(gain), ahead, f"{(best - gain).mean():.2f}", f"{changed:.0%}", f"{spent:,.0f}"]
            )
        head = [
            f"{budget:,} tokens a decision",
            "points gained",
            "tree is ahead by",
            "regret",
            "changed",
            "tokens spent",
        ]
        parts.append(table(head, lines))
    lines = []
    for method in (METHODS[0], *ABLATIONS):
        progress(method.name)
        cells = [gains(rows, method, budget)[0] for budget in budgets]
        lines.append([method.name, *(interval(gain) for gain in cells)])
    parts += ["Ablations, points gained:", table(["", *(f"{budget:,}" for budget in budgets)], lines)]
    return "\n\n".join(parts)


def _setting(rows: list[dict[str, Any]], best: NDArray[Any]) -> str:
    scenarios = len(rows[0]["scores"][0])
    length = np.mean([np.mean(row["decisions"]) for row in rows]) * QUESTION
    options = np.mean([len(row["labels"]) for row in rows])
    alike = _critic_rank(rows)
    return (
        f"World `{rows[0]['world']}`: {len(rows)} decisions, one of each season (seeds from {rows[0]['seed']} on) in which the bundled "
        f"model was less than 90 % sure; {options:.1f} first steps each, every one in {scenarios} imagined worlds, half of them for the "
        f"search and half for scoring it. A branch to the season's end takes {length:,.0f} tokens. Points are of the season's score (0 to "
        f"100), over the model's own choice; a search without limit gains {interval(best)}. Of two first steps in one world, the stated "
        f"chance after 48 decisions names the one that ends better in {alike:.0%} of pairs (a coin: 50 %)."
    )


def _critic_rank(rows: list[dict[str, Any]]) -> float:
    right = []
    for row in rows:
        scores, chances = np.array(row["scores"]), np.array(row["chances"]["48"])
        for i in range(1, len(scores)):
            apart = np.abs(scores[i] - scores[0]) > 0.5
            right += list(((chances[i] > chances[0]) == (scores[i] > scores[0]))[apart])
    return float(np.mean(right)) if right else float("nan")


def fork_cost() -> str:
    """Milliseconds of a branch on this machine: its row, its first entry, opening it; and a decision in it."""
    from overwinter.journal import open_store
    from overwinter.loop.goal import Goal
    from overwinter.loop.run import Run

    setup = {
        "world": {"name": "greenhouse", "seed": 20_000},
        "model": {"kind": "player", "path": "bundled:greenhouse"},
        "controls": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"{folder}/journal.db")
        rows = []
        for steps in (10, 200):
            with Run.start(store, Goal(text="winter"), setup=setup, name=f"r{steps}") as run:
                for entry in run.work():
                    if entry.kind == "effect.receipt" and run.state.step >= steps:
                        break
                rows.append(_forks(run, store))
        store.close()
    head = [
        "entries before",
        "a branch, ms",
        "entries it writes before its first decision",
        "by `fork` and `Run.open`, ms",
    ]
    return table(head, rows)


def _forks(run: Any, store: Any) -> list[str]:
    from overwinter.loop.fork import fork
    from overwinter.loop.run import Run
    from overwinter.loop.search.branch import make_branch, open_branch, seat_of

    quick, slow, count = [], [], 12
    for number in range(count):
        about = {"node": number, "of": 0, "repeat": None, "own": False, "scenario": None, "without": []}
        began = time.perf_counter()
        name = f"{run.name}-q{number}"
        lease = make_branch(store, name=name, parent=run.state, setup={"branch": about}, caps=None)
        with open_branch(run.session, name, "outcome", seat_of(run.session), lease):
            quick.append(time.perf_counter() - began)
    for number in range(3):
        began = time.perf_counter()
        name = fork(store, run.name, run.state.head_seq, speculative=True, name=f"{run.name}-s{number}")
        with Run.open(store, name):
            slow.append(time.perf_counter() - began)
    entries = store.info(f"{run.name}-q0").head_seq - run.state.head_seq
    return [str(run.state.head_seq + 1), f"{1e3 * np.median(quick):.1f}", str(entries), f"{1e3 * np.median(slow):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, action="append", help="several for several worlds")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    parts = []
    for path in options.table:
        rows = [each for line in path.read_text("utf-8").splitlines() if (each := json.loads(line)) is not None]
        parts.append(report(rows, lambda word: print(word, file=sys.stderr, flush=True)))
    text = "\n\n".join(parts) + f"\n\nCost of a branch (SQLite, full sync):\n\n{fork_cost()}"
    print(text)
    if options.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
