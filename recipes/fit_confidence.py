"""The calibrators that ship with the bundled model: of its chance that a season ends well, and of its fuel orders.

    python recipes/fit_confidence.py                 # about six minutes on one core; what was played is kept in out/confidence
    python recipes/fit_confidence.py --quick --out out/quick    # in miniature, to see that it works; writes no file into the package

Written to `src/overwinter/bundled/greenhouse/confidence.json`:

    run            Platt on the chance that the model states, at ten places of 600 seasons, each season weighing one
    consequential  ridge logistic on what the model says of an order (its probability, the entropy and lead of the choice, the stated
                   chance): that it is not regretted. An order is regretted if the planning expert's action in its place would have
                   added 5 points or more, in the same weather. Fitted on 336 seasons. Of the orders of 240 others, 15 % lie below the bar
                   at which a person is asked, and the file says how often one above it was regretted there.

Seeds: 730000 to 730599, 720000 to 720335 and 725000 to 725239. They were used for nothing else; held out are others (`bench_gate.py`,
`bench_run_confidence.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gate_decisions import Decisions, Reader, cached, entropy
from overwinter.bench.calibration import Told, fitted
from overwinter.model import TextFormat
from overwinter.think.confidence.binomial import upper_bound
from overwinter.think.confidence.calibrators import Scope
from overwinter.think.confidence.combined import Combined, fit_combined
from overwinter.think.confidence.record import CONSEQUENTIAL
from overwinter.think.confidence.stored import FILE_NAME, Stored, save
from overwinter.worlds.player import player_folder
from train_bundled import Sampler

WORLD = "greenhouse"
SEASONS, ORDERS, BAR = (730_000, 600), (720_000, 336), (725_000, 240)
REGRET = 5.0
"""Points of score that the other action would have added: one in twenty of a usual season's."""
ASKED = 0.15
SIGNALS = ("choice", "choice_entropy", "choice_lead", "stated")
RISING = ("choice", "choice_lead", "stated")


def scope_of(reader: Reader, signal: str) -> Scope:
    """As a run of the bundled model says: its name, the mark of its weights, the world, its one tool."""
    from overwinter.engine.suspending import fingerprint

    folder = player_folder(f"bundled:{WORLD}")
    text = TextFormat.load(folder)
    mark = fingerprint(reader.decoder, text).model[:12]
    return Scope(model=text.name, revision=mark, task=WORLD, tools="act", signal=signal)


def seasons(path: Path, seeds: range, reader: Reader) -> list[Told]:
    """What the model states in seasons of its own, before each decision, and how they ended."""
    if not path.exists():
        found = Sampler(reader.decoder, reader.codec, 0, greedy=True).scored(seeds)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **found)
    with np.load(path) as kept:
        played = {name: kept[name] for name in kept.files}
    made = []
    for seed, success in zip(played["seeds"].tolist(), played["success"].tolist(), strict=True):
        chances = tuple(reader.card.calibrated(odds) for odds in played["odds"][played["seed"] == seed].tolist())
        made.append(
            Told(run=str(seed), outcome=float(success), chances=chances, calibrated=False, irreversible=(), raw=chances)
        )
    return made


def signals(orders: Decisions) -> list[dict[str, float]]:
    """What the record of a run holds of each order."""
    ranked = np.sort(orders.policy, axis=1)
    rows = zip(
        orders.policy[np.arange(len(orders)), orders.action].tolist(),
        entropy(orders.policy).tolist(),
        (ranked[:, -1] - ranked[:, -2]).tolist(),
        orders.chance.tolist(),
        strict=True,
    )
    return [dict(zip(SIGNALS, row, strict=True)) for row in rows]


def fit_orders(orders: Decisions, scope: Scope) -> Combined:
    good = (orders.gain < REGRET).astype(float).tolist()
    return fit_combined(signals(orders), good, scope, names=SIGNALS, rising=RISING)


def with_bar(made: Combined, others: Decisions) -> Stored:
    """The bar, and what was seen of those above it; from orders that the calibrator was not fitted on."""
    sure = np.array([made.probability(row) for row in signals(others)])
    bar = float(np.quantile(sure, ASKED))
    through = sure >= bar
    regretted = int((others.gain[through] >= REGRET).sum())
    bound = upper_bound(regretted, int(through.sum()))
    promise = (
        f"of {int(through.sum())} orders let through, {regretted} were regretted: at most {bound:.1%}, at level 95 %;"
        f" {1 - through.mean():.1%} were asked about"
    )
    return Stored(of=CONSEQUENTIAL, signal="combined", calibrator=made, ask_below=round(bar, 6), promise=promise)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/confidence"), help="where played seasons are kept")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    reader = Reader()

    def seeds(of: tuple[int, int]) -> range:
        return range(of[0], of[0] + (40 if options.quick else of[1]))

    told = seasons(options.out / "seasons.npz", seeds(SEASONS), reader)
    run = fitted(told, scope_of(reader, "stated"))
    orders = cached(options.out / "orders.npz", seeds(ORDERS), reader)
    made = fit_orders(orders, scope_of(reader, "combined"))
    held = with_bar(made, cached(options.out / "bar.npz", seeds(BAR), reader))
    for each in (run, held):
        print(each.of, each.calibrator, each.ask_below, each.promise, sep="\n  ")
    target = options.out if options.quick else player_folder(f"bundled:{WORLD}")
    save(target / FILE_NAME, [run, held])
    print(f"wrote {target / FILE_NAME}")


if __name__ == "__main__":
    main()
