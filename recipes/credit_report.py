"""Tables and the figure of the credit benchmark, from its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench_journal import table

T_975 = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
)
"""Quantiles of Student's t for 1 to 19 degrees of freedom."""
OURS, PLAIN = "calibrated", "grpo"
NO_RIVALS = ("exact", "random", "rho_one")
WINDOW = 5
"""Updates over which success is averaged before it counts as reached."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run.

    Attributes:
        success: share of trajectories that met the goal, per update.
        steps: decisions, per update.
        credit_s: CPU seconds of the estimator alone; cpu_s: of the whole run.
    """

    setting: str
    estimator: str
    rate: float
    seed: int
    updates: int
    success: list[float]
    steps: list[int]
    credit_s: float
    cpu_s: float

    @property
    def key(self) -> tuple[str, str, float, int]:
        return self.setting, self.estimator, self.rate, self.seed

    @property
    def area(self) -> float:
        """Mean success over training."""
        return float(np.mean(self.success))

    def fifth(self, last: bool) -> float:
        """Mean success of the first or the last 20 % of updates."""
        count = max(1, len(self.success) // 5)
        return float(np.mean(self.success[-count:] if last else self.success[:count]))

    def steps_to(self, level: float) -> float:
        """Decisions until success, averaged over a few updates, reaches a level; infinite where it never does."""
        window = min(WINDOW, len(self.success))
        smooth = np.convolve(self.success, np.ones(window) / window, mode="valid")
        reached = np.flatnonzero(smooth >= level - 1e-9)
        return float(np.cumsum(self.steps)[reached[0] + window - 1]) if len(reached) else float("inf")

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval; a single value has width 0."""
    count = len(values)
    if count < 2:
        return float(np.mean(values)), 0.0
    quantile = T_975[count - 2] if count - 2 < len(T_975) else 1.96
    return float(np.mean(values)), float(quantile * np.std(values, ddof=1) / np.sqrt(count))


class Results:
    """Cells by setting, estimator and seed."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.by: dict[tuple[str, str], dict[int, Cell]] = {}
        for cell in cells:
            self.by.setdefault((cell.setting, cell.estimator), {})[cell.seed] = cell

    def of(self, setting: str, estimator: str) -> dict[int, Cell]:
        return self.by.get((setting, estimator), {})

    def area(self, setting: str, estimator: str) -> float:
        cells = self.of(setting, estimator)
        return float(np.mean([cell.area for cell in cells.values()])) if cells else float("nan")

    def difference(self, setting: str, one: str, other: str) -> tuple[float, float, int]:
        """Paired over shared seeds: mean, half width, number of seeds."""
        first, second = self.of(setting, one), self.of(setting, other)
        shared = sorted(set(first) & set(second))
        if not shared:
            return float("nan"), float("nan"), 0
        return *interval([first[seed].area - second[seed].area for seed in shared]), len(shared)

    def share_of_steps(self, setting: str, estimator: str) -> list[float]:
        """Per seed: steps to GRPO's final success over the steps GRPO itself took to get there."""
        ours, plain = self.of(setting, estimator), self.of(setting, PLAIN)
        shares = []
        for seed in sorted(set(ours) & set(plain)):
            level = plain[seed].fifth(last=True)
            shares.append(ours[seed].steps_to(level) / plain[seed].steps_to(level))
        return shares


def report(cells: Sequence[Cell], truths: dict[str, Any], settings: Sequence[str], estimators: Sequence[str]) -> str:
    """All tables as Markdown."""
    results = Results(cells)
    settings = [name for name in settings if any(results.of(name, estimator) for estimator in estimators)] or list(
        settings
    )
    parts = []
    if cells:
        parts += [
            _areas(results, settings, estimators),
            _fifths(results, settings, estimators),
            _targets(results, settings, estimators),
        ]
        parts.append(_cost(cells, estimators))
    if truths:
        parts.append(_truths(truths, estimators))
    return "\n\n".join(parts) if parts else "nothing is cached"


def _areas(results: Results, settings: Sequence[str], estimators: Sequence[str]) -> str:
    rows = []
    for setting in settings:
        count = max((len(results.of(setting, name)) for name in estimators), default=0)
        row = [f"{setting} ({count})"]
        for name in estimators:
            found = results.of(setting, name)
            mean, half = interval([cell.area for cell in found.values()]) if found else (float("nan"), 0.0)
            row.append(f"{mean:.3f} ± {half:.3f}" if found else "")
        rows.append(row)
    return "**Mean success over training** (seeds in brackets):\n\n" + table(["setting", *estimators], rows)


def _fifths(results: Results, settings: Sequence[str], estimators: Sequence[str]) -> str:
    rows = []
    for setting in settings:
        row = [setting]
        for name in estimators:
            found = list(results.of(setting, name).values())
            if not found:
                row.append("")
                continue
            first, last = (np.mean([cell.fifth(last=end) for cell in found]) for end in (False, True))
            row.append(f"{first:.2f} → {last:.2f} ({found[0].rate:g})")
        rows.append(row)
    head = "**Success in the first and the last fifth of training** (learning rate chosen on the tuning seeds):\n\n"
    return head + table(["setting", *estimators], rows)


def _targets(results: Results, settings: Sequence[str], estimators: Sequence[str]) -> str:
    rivals = [name for name in estimators if not name.startswith(OURS) and name not in NO_RIVALS]
    rows = []
    for setting in settings:
        known = [name for name in rivals if results.of(setting, name)]
        if not known or not results.of(setting, OURS):
            continue
        best = max(known, key=lambda name: results.area(setting, name))
        mean, half, _ = results.difference(setting, OURS, best)
        over, over_half, _ = results.difference(setting, OURS, PLAIN)
        shares = results.share_of_steps(setting, OURS)
        rows.append(
            [
                setting,
                f"{best} ({results.area(setting, best):.3f})",
                f"{mean:+.3f} ± {half:.3f}",
                "yes" if mean >= -0.01 else "no",
                f"{over:+.3f} ± {over_half:.3f}",
                f"{np.median(shares):.2f}" if shares else "",
            ]
        )
    head = f"**{OURS} against the best other estimator and against GRPO**, paired within seeds:\n\n"
    columns = [
        "setting",
        "best other",
        "difference",
        "≥ −0.01",
        "difference to GRPO",
        "steps to GRPO's final success, as a share of GRPO's (median)",
    ]
    return head + table(columns, rows)


def _cost(cells: Sequence[Cell], estimators: Sequence[str]) -> str:
    rows = []
    for name in estimators:
        found = [cell for cell in cells if cell.estimator == name]
        if found:
            credit = 1e3 * np.sum([cell.credit_s for cell in found]) / np.sum([cell.updates for cell in found])
            rate = np.sum([cell.credit_s for cell in found]) / np.sum([np.sum(cell.steps) for cell in found]) * 1e6
            rows.append([name, f"{credit:.1f}", f"{rate:.1f}"])
    return "**Cost of credit**, CPU time:\n\n" + table(["estimator", "ms per update", "µs per decision"], rows)


def _truths(truths: dict[str, Any], estimators: Sequence[str]) -> str:
    """One row per estimator, averaged over settings and checkpoints."""
    rows = []
    for name in estimators:
        found = [
            point for setting in truths.values() for point in setting.get(name, []) if 0.01 <= point["success"] <= 0.99
        ]
        if found:
            columns = ("correlation", "cosine", "cosine_of_mean", "bias", "variance")
            rows.append([name, *(f"{np.mean([point[column] for point in found]):.3f}" for column in columns)])
    head = (
        "**Against the truth**: correlation of advantages with exact ones over decisions; cosine of one batch's gradient, and of the mean "
        "of many, with the exact gradient; what is left of the mean gradient beside the exact direction (bias; an upper bound, since "
        "sixteen batches leave noise in the mean), and the variance of one "
        f"batch's over the mean's squared length. Means over {len(truths)} settings at the checkpoints with success from 1 to 99 %.\n\n"
    )
    return head + table(["estimator", "correlation", "cosine", "cosine of mean", "bias", "variance"], rows)


def curves_figure(cells: Sequence[Cell], path: Path) -> None:
    """Success over updates, one panel per setting, as SVG. Needs matplotlib (`pip install --group bench`)."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "overwinter"
    results = Results(cells)
    settings = list(dict.fromkeys(setting for setting, _ in results.by))
    names = list(dict.fromkeys(name for _, name in results.by))
    width = min(3, len(settings))
    height = -(-len(settings) // width)
    figure, axes = pyplot.subplots(height, width, figsize=(4.2 * width, 2.8 * height), squeeze=False, sharey=True)
    for axis, setting in zip(axes.ravel(), settings, strict=False):
        for colour, name in enumerate(names):
            found = results.of(setting, name)
            if found:
                mean = np.mean([cell.success for cell in found.values()], axis=0)
                axis.plot(
                    mean,
                    label=name,
                    color=f"C{colour % 10}",
                    lw=2.2 if name == OURS else 1.0,
                    ls="--" if name in NO_RIVALS else "-",
                )
        axis.set_title(setting, fontsize=9)
    for axis in axes.ravel()[len(settings) :]:
        axis.axis("off")
    axes[-1][0].set_xlabel("updates")
    axes[0][0].set_ylabel("success")
    axes[0][0].legend(fontsize=6)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
