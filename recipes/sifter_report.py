"""Tables of `train_sifter.py`, and what it ships: the ranker as JSON, its card, and the tables of docs/sifter.md and docs/benchmarks.md."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_journal import ROOT, table, write_between
from overwinter.memory.sift.features import FEATURES
from overwinter.memory.sift.reward import dcg_reward
from sifter_histories import histories
from train_sifter import FIRST_SEED, Cells, Item, order_by, outcome, ranker_of, weights_of

BEGIN, END = "<!-- train_sifter: begin -->", "<!-- train_sifter: end -->"
FOLDER = ROOT / "src" / "overwinter" / "bundled" / "sifter"
Floats = NDArray[np.float64]
Settings = dict[str, tuple[float, float]]
Trained = dict[str, list[dict[str, Any]]]
Sets = dict[str, list[Item]]
Order = Callable[[Item], list[int]]

MEASURES: dict[str, Callable[[Item, list[int]], float]] = {
    "reward": outcome,
    "F1 of 1": lambda item, order: item.case.score(order, 1),
    "F1 of 5": lambda item, order: item.case.score(order, 5),
    "R@1": lambda item, order: _recall(item, order, 1),
    "R@5": lambda item, order: _recall(item, order, 5),
    "all@5": lambda item, order: float(_recall(item, order, 5) == 1.0),
    "DCG": lambda item, order: dcg_reward(order[:10], item.asked.gold),
}
PAIRS = (
    ("outcome", "DCG"),
    ("outcome", "DCG, labels of the matter"),
    ("outcome", "supervised"),
    ("outcome", "supervised, labels of the matter"),
    ("outcome", "outcome, after DCG"),
    ("outcome", "outcome, no anchors"),
    ("outcome", "stage before"),
)


def _recall(item: Item, order: Sequence[int], k: int) -> float:
    return len(item.asked.gold & set(order[:k])) / len(item.asked.gold)


@dataclass(kw_only=True)
class Figures:
    """One measure of one row on one set: sums by seed and history [S, C], and questions by history [C]."""

    sums: Floats
    counts: Floats

    def mean(self) -> float:
        return float(self.sums.mean(0).sum() / self.counts.sum())


Row = dict[str, Figures]
Table = dict[str, dict[str, Row]]
"""Set → row → measure → figures."""


def measure(found: Sequence[Item], orders: Sequence[Order]) -> Row:
    """Every measure of one row."""
    clusters = {name: n for n, name in enumerate(dict.fromkeys(item.cluster for item in found))}
    counts = np.zeros(len(clusters))
    sums = {what: np.zeros((len(orders), len(clusters))) for what in MEASURES}
    for item in found:
        counts[clusters[item.cluster]] += 1
        for seed, order in enumerate(orders):
            ranking = order(item)
            for what, value in MEASURES.items():
                sums[what][seed, clusters[item.cluster]] += value(item, ranking)
    return {what: Figures(sums=values, counts=counts) for what, values in sums.items()}


def measured(trained: Trained, sets: Sets) -> Table:
    rows = _orders(trained, chosen(trained)[1])
    return {name: {row: measure(found, orders) for row, orders in rows.items()} for name, found in sets.items()}


def interval(figures: Figures, other: Figures | None = None, draws: int = 4000) -> tuple[float, float, float]:
    """Mean, and a 95 % interval over seeds and histories drawn anew together; of the paired difference with `other`."""
    sums = figures.sums if other is None else figures.sums - other.sums
    rng = np.random.default_rng(0)
    seeds, clusters = sums.shape
    picked = rng.multinomial(clusters, np.full(clusters, 1 / clusters), draws)
    over = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    means = np.einsum("ds,sc,dc->d", over, sums, picked) / (picked @ figures.counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(sums.mean(0).sum() / figures.counts.sum()), float(low), float(high)


def _orders(trained: Trained, best: dict[str, Any]) -> dict[str, list[Order]]:
    plain = ("BM25 of sessions", "BM25 of the best turn", "stage before", "gold first")
    rows: dict[str, list[Order]] = {name: [_stored(name)] for name in plain[:-1]}
    rows |= {teacher: [order_by(weights_of(cell)) for cell in cells] for teacher, cells in trained.items()}
    return rows | {"shipped": [order_by(weights_of(best))], plain[-1]: [_stored(plain[-1])]}


def _stored(name: str) -> Order:
    return lambda item: item.orders[name]


def chosen(trained: Trained) -> tuple[str, dict[str, Any]]:
    """What is shipped: of the trainings by outcome, the kind with the best mean on the dev split, and its best seed there."""
    by_outcome = {name: cells for name, cells in trained.items() if name.startswith("outcome")}
    teacher = max(by_outcome, key=lambda name: np.mean([cell["dev"] for cell in by_outcome[name]]))
    return teacher, max(by_outcome[teacher], key=lambda cell: cell["dev"])


def report(trained: Trained, sets: Sets, figures: Table, rates: Settings, cells: Cells) -> str:
    teacher, best = chosen(trained)
    seeds = len(next(iter(trained.values())))
    config = cells.scale.config
    parts = [
        f"{len(cells.train):,} questions to train on, {sum(map(len, cells.dev.values())):,} to choose by; {seeds} seeds from {FIRST_SEED}; "
        f"{config.rounds * config.steps_per_round} steps of {config.batch} questions. "
        f"CPU seconds per training: {_seconds(trained)}. Shipped: {teacher}, seed {best['seed']}.",
    ]
    for name, found in sets.items():
        parts.append(f"**{name}**, {len(found):,} questions, {len({item.cluster for item in found})} histories:")
        parts.append(_table(figures[name]))
    parts.append(
        "**Paired differences** in reward, in the reader's F1 from one and from five sessions and in R@5; 95 % over seeds and histories; "
        "a star where 0 is outside:"
    )
    parts.append(_differences(figures))
    parts.append(_cost(best))
    parts.append(
        "Learning rate and hold chosen: "
        + "; ".join(f"{name} {rate:g}, {hold:g}" for name, (rate, hold) in rates.items())
        + "."
    )
    return "\n\n".join(parts)


def _cost(best: dict[str, Any]) -> str:
    """CPU time of ranking with the shipped code, everything worked out anew for every question."""
    ranker, spent, candidates = ranker_of(best, {}), [], []
    for history in histories("test", 10, seed=2):
        for asked in history.questions:
            started = time.process_time()
            ranker.rank(asked.text, history.sessions)
            spent.append(1000 * (time.process_time() - started))
            candidates.append(len(history.sessions))
    return (
        f"One ranking of {np.median(candidates):.0f} sessions costs {np.median(spent):.1f} ms of processor time (median; "
        f"95 of 100 below {np.quantile(spent, 0.95):.1f} ms)."
    )


def _seconds(trained: Trained) -> str:
    return ", ".join(f"{name} {np.mean([cell['cpu_s'] for cell in cells]):.1f}" for name, cells in trained.items())


def _table(rows: dict[str, Row]) -> str:
    lines = []
    for name, figures in rows.items():
        mean, low, high = interval(figures["reward"])
        others = [f"{figures[what].mean():.3f}" for what in list(MEASURES)[1:]]
        lines.append([name, f"{mean:.3f} ({low:.3f}–{high:.3f})", *others])
    return table(["order", "reward", *list(MEASURES)[1:]], lines)


def _differences(figures: Table) -> str:
    lines = []
    for one, other in PAIRS:
        for name, rows in figures.items():
            cells = [f"{one} − {other}", name]
            for what in ("reward", "F1 of 1", "F1 of 5", "R@5"):
                mean, low, high = interval(rows[one][what], rows[other][what])
                mark = "" if low <= 0 <= high else " *"
                cells.append(f"{mean:+.4f} ({low:+.4f} to {high:+.4f}){mark}")
            lines.append(cells)
    return table(["pair", "set", "reward", "F1 of 1", "F1 of 5", "R@5"], lines)


def ship(trained: Trained, figures: Table, text: str, rates: Settings, cells: Cells) -> None:
    """Write the ranker, its card, and the tables."""
    teacher, best = chosen(trained)
    about = {
        "name": "overwinter-sifter",
        "version": 1,
        "recipe": "recipes/train_sifter.py",
        "teacher": teacher,
        "seed": best["seed"],
        "rate": rates[teacher][0],
        "hold": rates[teacher][1],
        "dev_reward": round(best["dev"], 4),
        "scores": {
            name: {what: round(found.mean(), 4) for what, found in rows["shipped"].items()}
            for name, rows in figures.items()
        },
        "data": "histories of people made by recipes/sifter_histories.py; children's classics in the public domain",
        "licence": "Apache-2.0",
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    temporary = FOLDER / "ranker.json.new"
    temporary.write_text(ranker_of(best, about).as_json() + "\n", encoding="utf-8")
    temporary.replace(FOLDER / "ranker.json")
    (FOLDER / "README.md").write_text(card(teacher, best, figures, cells), encoding="utf-8")
    write_between(ROOT / "docs" / "benchmarks.md", BEGIN, END, text)
    write_between(ROOT / "docs" / "sifter.md", BEGIN, END, _card_table(figures))


def card(teacher: str, best: dict[str, Any], figures: Table, cells: Cells) -> str:
    config, hidden = cells.scale.config, len(best["weights"]["out"])
    return CARD.format(
        parameters=len(FEATURES) + hidden * (len(FEATURES) + 2),
        features=len(FEATURES),
        hidden=hidden,
        teacher=teacher,
        seed=best["seed"],
        steps=config.rounds * config.steps_per_round,
        batch=config.batch,
        group=config.group,
        questions=f"{len(cells.train):,}",
        seconds=math.ceil(best["cpu_s"]),
        table=_card_table(figures),
        weights=_strongest(best),
    )


def _card_table(figures: Table) -> str:
    lines = []
    for name, rows in figures.items():
        for row in ("BM25 of sessions", "stage before", "shipped"):
            mean, low, high = interval(rows[row]["reward"])
            others = [f"{rows[row][what].mean():.3f}" for what in ("F1 of 1", "F1 of 5", "R@1", "R@5")]
            lines.append([name, row, f"{mean:.3f} ({low:.3f}–{high:.3f})", *others])
    return table(["test set", "order", "reward (95 %)", "F1 of 1", "F1 of 5", "R@1", "R@5"], lines)


def _strongest(best: dict[str, Any]) -> str:
    linear = dict(zip(FEATURES, best["weights"]["linear"], strict=True))
    ordered = sorted(linear, key=lambda name: -abs(linear[name]))[:8]
    return ", ".join(f"`{name}` {linear[name]:+.2f}" for name in ordered)


CARD = """# A small ranker of sessions

{parameters} weights ({features} features, {hidden} hidden units) that put past sessions into the order in which they help to answer
a question. Inference is plain Python; nothing is downloaded. `overwinter.memory.sift.bundled()` loads `ranker.json`.

## How it was made

`python recipes/train_sifter.py --write`, teacher "{teacher}", seed {seed}: {steps} steps of {batch} questions, {group} rankings
of each, rewarded by what a deterministic reader answers from the first 1, 2, 3, 5, 8 and 10 sessions (token F1, weights of
MemSifter's documented formula); {seconds} seconds of one core. Kind and seed were chosen on the dev sets.

**Data**: {questions} questions on histories of people made by `recipes/sifter_histories.py`, and on passages of children's
classics with gaps, over sessions and over single turns. The books are in the public domain (authors who died before 1956, titles of
1925 or earlier). LoCoMo (CC BY-NC 4.0) and HotpotQA (CC BY-SA 4.0) were used for judging only; MuSiQue (CC BY 4.0) to choose
settings and seed. An earlier generator of people was made harder after its ranker had done badly on LoCoMo. Licence of the
weights: Apache-2.0.

## Scores

The splits share no name, wording, value, kind of fact, author or book. "Stage before" is the order that the ranker is given:
the best turn by BM25 with its neighbours, plus the session's BM25; for single turns plain BM25; for "searched" the order of the
house's searcher by words alone. Reward: −1 to 1; F1: the reader's, from one and from five sessions. The full comparison of teachers
is in `docs/benchmarks.md`.

{table}

Strongest direct weights: {weights}.

## Limits

- English only: tense, hedges, kinds of question and stems are English rules. Other languages get by on the share of words.
- It was taught by a reader that copies one span. Questions that need inference, arithmetic or two hops teach it nothing.
- It saw no dense similarity in training: the feature has no weight, and embeddings count through the score of the stage before.
- The people of its training speak in patterns. On real talk (LoCoMo) it improves the order of turns by plain BM25, and
  loses recall on whole sessions and behind the house's searcher. `memory.search` does not use it; put it behind an order only
  where you have measured a gain.
- Multi-hop questions over encyclopaedias (HotpotQA) it orders a little worse than it found them.
- It was trained on 18 to 32 candidates. Units are ranked as sessions of one turn.
"""
