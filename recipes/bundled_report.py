"""Figures of the bundled model on seasons it was not trained on: score against the baselines, and whether its stated chance holds.

A season has one outcome and hundreds of statements about it, so statements of one season are never counted as independent: each figure of
calibration takes one statement per season, on a day that is the same for all or drawn per season.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundled_seasons import WORLD
from overwinter.learn.improve import fit_calibration
from overwinter.worlds import open_policy, open_world

Floats = NDArray[np.float64]
DAYS = (1, 30, 60, 90, 110)
BINS = 10
DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Seasons of one player: per season `seeds`, `score`, `success`; per statement `seed`, `day` and `odds` of success."""

    seeds: NDArray[np.int64]
    score: Floats
    success: NDArray[np.bool_]
    seed: NDArray[np.int64]
    day: NDArray[np.int64]
    odds: Floats

    def statements(self, days: Mapping[int, int]) -> tuple[Floats, Floats]:
        """One statement per season, the first of its day: log-odds and outcome."""
        outcome = dict(zip(self.seeds.tolist(), self.success.tolist(), strict=True))
        found: dict[int, float] = {}
        for seed, day, odds in zip(self.seed.tolist(), self.day.tolist(), self.odds.tolist(), strict=True):
            if days[seed] == day and seed not in found:
                found[seed] = odds
        return np.array(list(found.values())), np.array([float(outcome[seed]) for seed in found])


def calibrate(scored: Scored) -> dict[str, float]:
    """Scale and shift of the log-odds, each season weighing one."""
    return fit_calibration([scored.odds[scored.seed == seed] for seed in scored.seeds], scored.success.astype(float))


def calibration_error(chance: Floats, outcome: Floats, bins: int = BINS) -> float:
    """ECE: mean gap between stated chance and frequency, over bins of equal width."""
    places = np.minimum((chance * bins).astype(int), bins - 1)
    gaps = [
        np.sum(places == place) * abs(float(np.mean(outcome[places == place]) - np.mean(chance[places == place])))
        for place in range(bins)
        if np.any(places == place)
    ]
    return float(sum(gaps) / len(chance))


def calibration_figures(chance: Floats, outcome: Floats, rng: np.random.Generator) -> dict[str, float]:
    """ECE with the 95th percentile of the ECE that a perfectly calibrated speaker would show on as many statements."""
    null = [calibration_error(chance, (rng.random(len(chance)) < chance).astype(float)) for _ in range(DRAWS)]
    rows = [rng.integers(0, len(chance), len(chance)) for _ in range(DRAWS)]
    low, high = np.percentile([calibration_error(chance[r], outcome[r]) for r in rows], [2.5, 97.5])
    return {
        "statements": len(chance),
        "stated": round(float(chance.mean()), 4),
        "happened": round(float(outcome.mean()), 4),
        "ece": round(calibration_error(chance, outcome), 4),
        "ece_low": round(float(low), 4),
        "ece_high": round(float(high), 4),
        "ece_null_95": round(float(np.percentile(null, 95)), 4),
        "brier": round(float(np.mean((chance - outcome) ** 2)), 4),
        "brier_of_base_rate": round(float(np.mean((outcome.mean() - outcome) ** 2)), 4),
        "auroc": round(auroc(chance, outcome), 4),
    }


def auroc(chance: Floats, outcome: Floats) -> float:
    """Chance that a season that ended well was given more than one that did not; ties count half; NaN without both kinds."""
    well, badly = chance[outcome > 0.5], chance[outcome < 0.5]
    if not len(well) or not len(badly):
        return math.nan
    return float(np.mean((well[:, None] > badly[None]) + 0.5 * (well[:, None] == badly[None])))


def evaluate(found: Mapping[str, Scored], calibration: Mapping[str, float], seeds: Sequence[int]) -> dict[str, Any]:
    """Scores against the scripted players on the same seeds, and calibration of the last player of `found`."""
    rng = np.random.default_rng(7)
    baselines = {name: scripted(name, seeds) for name in ("rules", "expert")}
    report: dict[str, Any] = {"seeds": f"{seeds[0]} to {seeds[-1]}", "players": {}, "calibration": {}}
    for name, scores in {**baselines, **{name: scored.score for name, scored in found.items()}}.items():
        row = {"score": interval(scores, rng)}
        if name not in baselines:
            row["over_rules"] = interval(scores - baselines["rules"], rng)
            row["of_expert"] = interval(scores, rng, by=baselines["expert"])
            row["success"] = round(float(found[name].success.mean()), 4)
        report["players"][name] = row
    names = list(found)
    report["last_over_first"] = interval(found[names[-1]].score - found[names[0]].score, rng)
    last = found[names[-1]]
    drawn = {
        seed: int(day) for seed, day in zip(last.seeds.tolist(), rng.integers(1, 121, len(last.seeds)), strict=True)
    }
    for label, days in (
        ("a day drawn per season", drawn),
        *((f"day {day}", dict.fromkeys(drawn, day)) for day in DAYS),
    ):
        odds, outcome = last.statements(days)
        if not len(odds):
            continue
        chance = 1.0 / (1.0 + np.exp(-(calibration["scale"] * odds + calibration["shift"])))
        report["calibration"][label] = calibration_figures(chance, outcome, rng)
    return report


def scripted(policy: str, seeds: Sequence[int]) -> Floats:
    """Scores of a scripted player."""
    player, world, scores = open_policy(WORLD, policy), open_world(WORLD), []
    for seed in seeds:
        observation = world.reset(seed)
        player.reset(seed)
        while world.actions():
            observation = world.step(player.act(observation, world.actions())).observation
        scores.append(world.outcome().score)
    return np.array(scores)


def interval(values: Floats, rng: np.random.Generator, by: Floats | None = None) -> list[float]:
    """Mean (or ratio of means) with its 95 % percentile bootstrap over seeds: [value, low, high]."""

    def figure(rows: NDArray[np.int64]) -> float:
        return float(values[rows].mean() / (1.0 if by is None else by[rows].mean()))

    draws = [figure(rng.integers(0, len(values), len(values))) for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return [round(figure(np.arange(len(values))), 3), round(float(low), 3), round(float(high), 3)]


def describe(record: Mapping[str, Any]) -> str:
    """The model card."""
    figures, size = record["figures"], record["size"]
    rows = [
        f"| {name} | {_span(row['score'], 1)} | {_span(row['over_rules'], 1) if 'over_rules' in row else ''} "
        f"| {_span(row['of_expert'], 3) if 'of_expert' in row else ''} | {row.get('success', '')} |"
        for name, row in figures["players"].items()
    ]
    bets = [
        f"| {label} | {row['statements']} | {row['stated']:.3f} | {row['happened']:.3f} | {row['ece']:.3f} | {row['ece_null_95']:.3f} "
        f"| {row['brier']:.4f} | {row['brier_of_base_rate']:.4f} |"
        for label, row in figures["calibration"].items()
    ]
    return CARD.format(
        parameters=f"{record['parameters']:,}", layers=size["n_layers"], width=size["d_model"], seed=record["seed"],
        estimator=record["estimator"], demonstrations=size["demonstrations"], rounds=size["advice_rounds"],
        advised=size["advised_seasons"], iterations=size["iterations"], tasks=size["tasks"], group=size["group_size"],
        calibration=size["calibration_seeds"], seeds=figures["seeds"], rows="\n".join(rows), bets="\n".join(bets),
        gain=_span(figures["last_over_first"], 1),
    )  # fmt: skip


def _span(values: Sequence[float], digits: int) -> str:
    value, low, high = values
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


CARD = """\
# A small model that keeps a greenhouse

A decoder of this package with {parameters} parameters ({layers} layers of width {width}, one token per line of its notes and per
action). It plays `greenhouse`, one winter of 120 days, from the page of its notebook, and says before each decision how likely the
season is to end well.

## How it was made

`python recipes/train_bundled.py`, seed {seed}:

1. imitation of the planning expert on {demonstrations} seasons, and {rounds} rounds of {advised} seasons that it played itself with
   the expert's advice;
2. {iterations} iterations of reinforcement learning on {tasks} × {group} seasons each, with the credit estimator `{estimator}`;
3. hindsight: what it did itself in seasons that ended well, and in those that ended badly, with all else held as it was;
4. its bets calibrated on {calibration} other seasons.

The notebook does the arithmetic that the expert does (the errors of the sensors from fuel burned, pests expected since the last look); the
model decides. Nothing in the notes comes from the hidden state.

## Scores on held-out seeds {seeds} (95 % intervals over seeds)

| player | score | over rules, paired | share of the expert's | success |
|---|---|---|---|---|
{rows}

Reinforcement learning over imitation, paired: {gain}.

## Its stated chance

One statement per season. The null column is what a perfectly calibrated speaker would not exceed in 95 of 100 such samples.

| statements of | seasons | stated | happened | ECE | null, 95 % | Brier | Brier of the base rate |
|---|---|---|---|---|---|---|---|
{bets}

## Its advantage head

`advantage-rules.safetensors` says what other choices would have added in seasons of the rules, for `overwinter credit`: `python
recipes/train_credit.py`, taught by 581,559 answers of the world about 2,000 seasons that the rules lost (seeds from 600000 and 620000 on).
The model's weights and figures do not depend on it. `recipes/check_credit.py` checks it on held-out seeds (docs/benchmarks.md).

## Its calibrators

`confidence.json` makes probabilities of the chance that it states and of what it says of a fuel order:
`python recipes/fit_confidence.py`, on seeds from 720000 on. By itself the chance is proud: of 1,400 other seasons fewer end well than
it says (docs/benchmarks.md, confidence in a run), which the 200 seasons above were too few to show. They hold for these
weights in this world; weights that are trained anew need them fitted anew.

## Limits

- It knows one winter of 120 days. In shorter, longer or several winters it plays, worse, and states no chance.
- Early in a season its chance is hardly more than the base rate, because hardly anything is decided yet.
- It was taught by a heuristic expert and keeps many of its habits.
"""
