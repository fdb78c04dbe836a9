"""The calibrators that ship with the bundled model: of its chance that a season ends well, and of its fuel orders.

    python recipes/fit_confidence.py                 # about six minutes on one core; what was played is kept in out/confidence
    python recipes/fit_confidence.py --quick --out out/quick    # in miniature, to see that it works; writes no file into the package

Written to `src/overwinter/bundled/greenhouse/confidence.json`:

    run            Platt on the running mean of the log-odds that the model states, at ten places of 600 seasons, each weighing one; its
                   base rate is that of all 1,080 seasons below, since 600 fix it to a point only
    consequential  ridge logistic on what the model says of an order (its probability, the entropy and lead of the choice, the stated
                   chance): that it is not regretted. An order is regretted if the planning expert's action in its place would have
                   added 5 points or more, in the same weather. Fitted on 336 seasons. The bar at which a person is asked is set on the
                   orders of 144 others by risk control: the smallest risk out of a ladder that can be promised, at level 95 % over the
                   whole ladder, while at most 15 % are asked about; where none can, 15 % are, and the bound says what that is worth

Seeds: 730000 to 730599, 720000 to 720335 and 725000 to 725143. None of them is used elsewhere; held out are others (`bench_gate.py`,
`bench_run_confidence.py`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gate_decisions import Decisions, Reader, cached, entropy
from overwinter.bench.calibration import Told, fitted
from overwinter.model import TextFormat
from overwinter.think.confidence.binomial import upper_bound
from overwinter.think.confidence.calibrators import Calibrator, Scope
from overwinter.think.confidence.combined import Combined, fit_combined
from overwinter.think.confidence.conformal import risk_threshold
from overwinter.think.confidence.record import CONSEQUENTIAL
from overwinter.think.confidence.stored import FILE_NAME, Stored, save
from overwinter.worlds.player import player_folder
from train_bundled import Sampler

WORLD = "greenhouse"
SEASONS, ORDERS, BAR = (730_000, 600), (720_000, 336), (725_000, 144)
REGRET = 5.0
"""Points of score that the other action would have added: one in twenty of a usual season's."""
ASKED, DELTA = 0.15, 0.05
RISKS = (0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04)
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


def with_base(run: Stored, told: Sequence[Told], more: Sequence[Decisions]) -> Stored:
    """The same calibrator with the base rate of more seasons: its log-odds are moved by the difference (a shift of the prior)."""
    calibrator = run.calibrator
    assert isinstance(calibrator, Calibrator)
    ends = [each.outcome or 0.0 for each in told]
    ends += [float(part.success[part.seed == seed][0]) for part in more for seed in np.unique(part.seed)]
    base = sum(ends) / len(ends)
    moved = math.log(base / (1 - base)) - math.log(calibrator.base_rate / (1 - calibrator.base_rate))
    parameters = {**calibrator.parameters, "bias": calibrator.parameters["bias"] + moved}
    notes = (f"slope from {calibrator.labels} seasons, base rate from {len(ends)}",)
    return replace(
        run, calibrator=replace(calibrator, parameters=parameters, base_rate=base, labels=len(ends), notes=notes)
    )


def with_bar(made: Combined, others: Decisions) -> Stored:
    """The bar, and what is promised of orders above it; from orders that the calibrator was not fitted on."""
    sure = [made.probability(row) for row in signals(others)]
    good = (others.gain < REGRET).astype(float).tolist()
    for risk in RISKS:
        # Several risks are tried: each at its part of the level.
        found = risk_threshold(sure, good, risk=risk, delta=DELTA / len(RISKS))
        if found is not None and found.coverage >= 1 - ASKED:
            promise = (
                f"an order let through is regretted with at most {risk:.1%}, at level {1 - DELTA:.0%}: {found.errors} of"
                f" {found.answered} were; {1 - found.coverage:.1%} were asked about"
            )
            return _stored(made, found.at, promise)
    bar = float(np.quantile(sure, ASKED))
    through = [outcome for value, outcome in zip(sure, good, strict=True) if value >= bar]
    regretted = round(len(through) - sum(through))
    bound = upper_bound(regretted, len(through), DELTA)
    return _stored(
        made,
        bar,
        f"no risk of the ladder could be promised: of {len(through)} orders let through {regretted} were regretted, at most {bound:.1%}"
        f" at level {1 - DELTA:.0%}; {1 - len(through) / len(sure):.1%} were asked about",
    )


def _stored(made: Combined, bar: float, promise: str) -> Stored:
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

    told = seasons(options.out / "seasons-730000.npz", seeds(SEASONS), reader)
    orders = cached(options.out / "orders.npz", seeds(ORDERS), reader)
    others = cached(options.out / "bar.npz", seeds(BAR), reader)
    run = with_base(fitted(told, scope_of(reader, "")), told, (orders, others))
    made = fit_orders(orders, scope_of(reader, "combined"))
    held = with_bar(made, others)
    for each in (run, held):
        print(each.of, each.calibrator, each.ask_below, each.promise, sep="\n  ")
    target = options.out if options.quick else player_folder(f"bundled:{WORLD}")
    save(target / FILE_NAME, [run, held])
    print(f"wrote {target / FILE_NAME}")


if __name__ == "__main__":
    main()
