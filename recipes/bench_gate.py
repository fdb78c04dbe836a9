"""Which orders to ask a person about: what the model's confidence is worth at decisions that cannot be taken back.

    python recipes/bench_gate.py --write           # about five minutes on one core once; what was played is kept in out/confidence
    python recipes/bench_gate.py --quick           # in miniature

The bundled model plays held-out winters. An order is *regretted* if the planning expert's action in its place would have added 5 points
or more of score, the world put back to just before it, with the same luck, and the model playing on (`gate_decisions.py`). A gate
asks about the orders with the least confidence; it *removes* a regretted order that it asks about. The target: asking about at most
15 % of the orders removes at least 60 % of the regretted ones.

Also asked: whether anything could. Seen with its luck, an order's cost is what it was worth when it was made, and luck. For some orders
the world is played on in six futures: the season's own, and five whose weather behind the nights already forecast is another seed's.
What two halves of the futures agree on was there to be known; the rest was not.

Seeds: calibrator 720000 on, bar 725000 on (`fit_confidence.py`), held out 760000 on, futures 721000 on. Intervals: bootstrap over winters.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench_journal import PAGE, table, write_between
from fit_confidence import ORDERS, REGRET, signals
from gate_decisions import Decisions, Floats, Reader, cached, entropy, futures
from overwinter.learn.advantage import PageColumns
from overwinter.think.confidence import metrics
from overwinter.think.confidence.binomial import upper_bound
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.combined import Combined
from overwinter.think.confidence.record import CONSEQUENTIAL
from overwinter.think.confidence.stored import FILE_NAME, Stored, load
from overwinter.think.confidence.trajectory import choose_strength, fit_trajectory
from overwinter.worlds.notebook import page
from overwinter.worlds.player import player_folder

HELD_OUT, FUTURES = (760_000, 240), (721_000, 40)
DRAWS = 1000
TARGET_ASKED, TARGET_REMOVED = 0.15, 0.60
BEGIN, END = "<!-- bench_gate: begin -->", "<!-- bench_gate: end -->"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to be sure of an order: [N] scores, higher is surer."""

    name: str
    sure: Floats
    note: str = ""


def removed(sure: Floats, regretted: NDArray[np.bool_], share: float = TARGET_ASKED) -> float | None:
    """Share of the regretted orders among the least sure `share` of all; members of a tie count by their part."""
    if not regretted.any():
        return None
    asked = share * len(sure)
    order = np.argsort(sure, kind="stable")
    values, hits = sure[order], regretted[order].astype(float)
    found = 0.0
    start = 0
    while start < len(values) and asked > 0:
        stop = int(np.searchsorted(values, values[start], side="right"))
        part = min(1.0, asked / (stop - start))
        found += part * float(hits[start:stop].sum())
        asked -= part * (stop - start)
        start = stop
    return found / float(regretted.sum())


def interval(figure: Callable[[NDArray[np.int64]], float | None], seeds: NDArray[np.int64]) -> tuple[float, float]:
    """95 % over winters."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(seeds == seed) for seed in np.unique(seeds)]
    drawn = []
    for _ in range(DRAWS):
        value = figure(np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]))
        if value is not None:
            drawn.append(value)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def on_the_page(fitting: Decisions, held: Decisions, reader: Reader) -> Floats:
    """A lasso on all that stands on the page and on what the model says, taught on the fitting orders: what a head would know."""
    lines = {token: line for line, token in reader.codec.lines.items()}

    def pages(orders: Decisions) -> list[str]:
        return [page([lines[token] for token in row.tolist() if token >= 0]) for row in orders.pages]

    columns = PageColumns.of(pages(fitting))
    names = [f"p{i}" for i in range(columns.width)]

    def rows(orders: Decisions) -> list[dict[str, float]]:
        seen = columns.rows(pages(orders)).tolist()
        return [dict(zip(names, row, strict=True)) | said for row, said in zip(seen, signals(orders), strict=True)]

    good = (fitting.gain < REGRET).astype(float).tolist()
    every = [*names, *signals(fitting)[0]]
    train = rows(fitting)
    strength = choose_strength(train, good, kind="lasso", names=every, strengths=(0.1, 0.3, 1.0, 3.0))
    made = fit_trajectory(train, good, Scope(), kind="lasso", strength=strength, names=every)
    return np.array([made.probability(row) for row in rows(held)])


def ways(held: Decisions, fitting: Decisions, shipped: Stored, reader: Reader) -> list[Row]:
    said = signals(held)
    made = shipped.calibrator
    assert isinstance(made, Combined)
    return [
        Row(name="calibrated confidence, as shipped", sure=np.array([made.probability(row) for row in said])),
        Row(name="probability of the order", sure=np.array([row["choice"] for row in said])),
        Row(name="entropy of the choice", sure=-entropy(held.policy)),
        Row(name="lead over the next choice", sure=np.array([row["choice_lead"] for row in said])),
        Row(name="stated chance of the season", sure=held.chance),
        Row(name="hindsight evidence of the order", sure=held.evidence),
        Row(name="lasso on the page and all of these", sure=on_the_page(fitting, held, reader)),
        Row(
            name="*the expert would do the same*", sure=(held.action == held.advice).astype(float),
            note="not known before asking",
        ),
    ]  # fmt: skip


def signal_table(held: Decisions, rows: Sequence[Row]) -> str:
    regretted = held.gain >= REGRET

    def line(row: Row) -> list[str]:
        def auroc(at: NDArray[np.int64]) -> float | None:
            return metrics.auroc(row.sure[at], (~regretted[at]).astype(float))

        def share(at: NDArray[np.int64]) -> float | None:
            return removed(row.sure[at], regretted[at])

        every = np.arange(len(held))
        name = row.name + (f" ({row.note})" if row.note else "")
        return [name, _span(auroc(every), interval(auroc, held.seed)), _span(share(every), interval(share, held.seed))]

    return table(
        ["sure of an order by", "AUROC of not regretting", "removed by asking about 15 %"], [line(r) for r in rows]
    )


def shipped_gate(held: Decisions, shipped: Stored) -> str:
    """What `--ask doubtful-orders` does on the held-out winters."""
    made, bar = shipped.calibrator, shipped.ask_below
    assert isinstance(made, Combined)
    assert bar is not None
    asked = np.array([made.probability(row) < bar for row in signals(held)])
    regretted = held.gain >= REGRET
    through = ~asked

    def share_asked(at: NDArray[np.int64]) -> float | None:
        return float(asked[at].mean())

    def share_removed(at: NDArray[np.int64]) -> float | None:
        return float(asked[at][regretted[at]].mean()) if regretted[at].any() else None

    def gained(at: NDArray[np.int64]) -> float | None:
        winters = len(np.unique(held.seed))
        return float(held.gain[at][asked[at]].sum() / winters)

    every = np.arange(len(held))
    missed, let = int(regretted[through].sum()), int(through.sum())
    lines = [
        ["orders asked about", _span(share_asked(every), interval(share_asked, held.seed))],
        ["regretted orders removed", _span(share_removed(every), interval(share_removed, held.seed))],
        [
            "regretted among those let through",
            f"{missed} of {let}: at most {upper_bound(missed, let):.1%} at level 95 %",
        ],
        [
            "points a winter if the person does what the expert would",
            f"{gained(every):+.2f} ({', '.join(f'{v:+.2f}' for v in interval(gained, held.seed))})",
        ],
    ]
    return table(["the shipped gate, held-out winters", ""], lines)


def knowable(scores: Floats) -> str:
    """How much of an order's cost was there to be known: half of the futures against the other; intervals over orders."""
    gain = scores[:, :, 1] - scores[:, :, 0]
    half = gain.shape[1] // 2
    rng = np.random.default_rng(0)
    agree, between, within = [], [], []
    for _ in range(DRAWS):
        at = rng.integers(0, len(gain), len(gain))
        cut = rng.permutation(gain.shape[1])
        first, second = gain[at][:, cut[:half]].mean(1), gain[at][:, cut[half : 2 * half]].mean(1)
        agree.append(float(np.corrcoef(first, second)[0, 1]))
        luck = gain[at].var(axis=1, ddof=1).mean()
        within.append(float(luck))
        between.append(float(gain[at].mean(1).var(ddof=1) - luck / gain.shape[1]))
    own, mean = int((gain[:, 0] >= REGRET).sum()), int((gain.mean(1) >= REGRET).sum())
    rows = [
        ["mean cost, points", f"{gain.mean():+.2f}"],
        ["standard deviation by luck, within an order", f"{np.sqrt(np.mean(within)):.1f}"],
        ["variance between orders, after luck is taken out", _drawn(between)],
        ["correlation of one half of the futures with the other", _drawn(agree)],
        [f"orders that cost {REGRET:g} points or more in the season's own future", str(own)],
        [f"orders that cost {REGRET:g} points or more on average over the futures", str(mean)],
    ]
    return table([f"{len(gain)} orders that the expert would not have made, {gain.shape[1]} futures each", ""], rows)


def _drawn(values: Sequence[float]) -> str:
    low, high = np.percentile(values, [2.5, 97.5])
    return _span(float(np.mean(values)), (float(low), float(high)), "{:.2f}")


def _span(value: float | None, bounds: tuple[float, float], form: str = "{:.3f}") -> str:
    if value is None:
        return "–"
    return f"{form.format(value)} ({form.format(bounds[0])} to {form.format(bounds[1])})"


def kept_futures(path: Path, seeds: range, reader: Reader) -> Floats:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, scores=futures(seeds, reader))
    with np.load(path) as kept:
        found: Floats = kept["scores"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/confidence"), help="where played seasons are kept")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader()
    shipped = load(player_folder("bundled:greenhouse") / FILE_NAME).find(CONSEQUENTIAL)
    assert shipped is not None, "fit it first: python recipes/fit_confidence.py"

    def seeds(of: tuple[int, int], few: int) -> range:
        return range(of[0], of[0] + (few if options.quick else of[1]))

    fitting = cached(options.out / "orders.npz", seeds(ORDERS, 40), reader)
    held = cached(options.out / "gate.npz", seeds(HELD_OUT, 12), reader)
    scores = kept_futures(options.out / "futures.npz", seeds(FUTURES, 2), reader)
    regretted = held.gain >= REGRET
    winters = len(np.unique(held.seed))
    lost = sum(not held.success[held.seed == seed][0] for seed in np.unique(held.seed))
    text = "\n\n".join(
        [
            f"{len(held)} orders of {winters} held-out winters ({lost} of them lost); the expert would have done something else at"
            f" {np.mean(held.action != held.advice):.0%} of them. Regretted by 5 points or more: {regretted.mean():.1%}; better than the"
            f" expert's action by as much: {np.mean(held.gain <= -REGRET):.1%}.",
            signal_table(held, ways(held, fitting, shipped, reader)),
            shipped_gate(held, shipped),
            knowable(scores),
        ]
    )
    print(text)
    if options.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
