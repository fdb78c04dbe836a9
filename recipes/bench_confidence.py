"""What our confidence figures are worth: published figures recomputed, recorded outputs of real models recalibrated, intervals checked.

    python recipes/bench_confidence.py --data ../shared/data            # about three minutes; prints the tables
    python recipes/bench_confidence.py --data ../shared/data --write    # and puts them into docs/benchmarks.md
    python recipes/bench_confidence.py --data ../shared/data --quick    # few draws, a smoke run

Recorded outputs only: no model is asked. Recalibration is five-fold over questions, calibrator fitted on four fifths and judged
on the fifth; gains are differences of Brier scores on the same held-out questions, with intervals over questions.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_journal import PAGE, table, write_between
from overwinter.bench import statistics
from overwinter.errors import UsageError
from overwinter.think.confidence import metrics
from overwinter.think.confidence.binomial import clopper_pearson, wilson
from overwinter.think.confidence.calibrators import Calibrator, Scope, fit

Floats = NDArray[np.float64]
BEGIN, END = "<!-- bench_confidence: begin -->", "<!-- bench_confidence: end -->"
PUBLISHED = (("ece", "ece"), ("brier", "brier_score"), ("auroc", "auroc"))
SETTINGS = {
    "vignette": "full vignette",
    "singleturn": "single turn",
    "summarized": "summarised dialogue",
    "multiturn": "dialogue",
}
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Confidence and outcome of one signal on one question set."""

    name: str
    confidence: Floats
    correct: Floats
    ids: tuple[str, ...]

    @property
    def scope(self) -> Scope:
        return Scope(task=self.name)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


# Recorded confidences of RLCR (arXiv 2507.16806)


def rlcr(folder: Path) -> list[Recorded]:
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in lines(folder / "confidences.jsonl.gz"):
        rows[f"{row['set']} / {row['m']}"].append(row)
    return [
        Recorded(
            name=name,
            confidence=np.array([row["conf"] for row in found], float),
            correct=np.array([row["ok"] for row in found], float),
            ids=tuple(str(row["id"]) for row in found),
        )
        for name, found in rows.items()
    ]


def published(folder: Path, cell: Recorded) -> dict[str, float]:
    question_set, method = cell.name.split(" / ")
    page = json.loads((folder / f"metrics_results_Hotpot-models_{question_set}_metrics.json").read_text())
    found: dict[str, float] = page[method]
    return found


def reproduced(folder: Path, cells: Sequence[Recorded]) -> str:
    rows, worst = [], 0.0
    for cell in cells:
        said = published(folder, cell)
        cells_of_row = [cell.name]
        for ours, theirs in PUBLISHED:
            value = metrics.METRICS[ours](cell.confidence, cell.correct)
            assert value is not None
            worst = max(worst, abs(value - said[theirs]))
            cells_of_row.append(f"{value:.3f} / {said[theirs]:.3f}")
        null = metrics.null_ece(cell.confidence)
        rows.append([*cells_of_row, f"{np.percentile(null, 95):.3f}"])
    head = ["set / method (ours / published)", "ECE", "Brier", "AUROC", "ECE of a calibrated one (95 %)"]
    return table(head, rows) + f"\n\nLargest difference in {len(cells)} cells × 3 metrics: {worst:.1e}."


# Self-agreement: CRAFT-MD (five answers to each case)


def craft_md(folder: Path) -> dict[tuple[str, str], Recorded]:
    answers: dict[tuple[str, str], dict[str, list[tuple[str, int]]]] = defaultdict(lambda: defaultdict(list))
    for row in lines(folder / "runs_compact.jsonl.gz"):
        for setting in SETTINGS:
            answer, verdict = row[f"{setting}_frq"]
            answers[row["m"], setting][row["case"]].append((str(answer).strip().casefold(), int(verdict)))
    return {key: _self_agreement(key, cases) for key, cases in answers.items()}


def _self_agreement(key: tuple[str, str], cases: Mapping[str, Sequence[tuple[str, int]]]) -> Recorded:
    shares, right = [], []
    for trials in cases.values():
        answer, votes = Counter(answer for answer, _ in trials).most_common(1)[0]
        shares.append(votes / len(trials))
        # The grader judged each trial; of the trials with the modal answer half is enough.
        verdicts = [verdict for said, verdict in trials if said == answer]
        right.append(float(np.mean(verdicts) >= 0.5))
    return Recorded(name=" / ".join(key), confidence=np.array(shares), correct=np.array(right), ids=tuple(cases))


# Cross-model agreement: MedAgentsBench (ten models, one answer each)


def cross_model(folder: Path) -> dict[str, tuple[Recorded, dict[str, float]]]:
    answers: dict[str, dict[str, dict[str, tuple[str, str]]]] = defaultdict(lambda: defaultdict(dict))
    for row in lines(folder / "outputs_compact.jsonl.gz"):
        model, rest = row["file"].split(f"-{row['ds']}-", 1)
        if rest == "test-zero_shot":
            answers[row["ds"]][str(row["i"])][model] = (str(row["pred"]), str(row["gold"]))
    found = {}
    for name, questions in sorted(answers.items()):
        shares, right, single = [], [], defaultdict(list)
        for given in questions.values():
            gold = next(iter(given.values()))[1]
            answer, votes = Counter(said for said, _ in given.values()).most_common(1)[0]
            shares.append(votes / len(given))
            right.append(float(answer == gold))
            for model, (said, _) in given.items():
                single[model].append(float(said == gold))
        recorded = Recorded(name=name, confidence=np.array(shares), correct=np.array(right), ids=tuple(questions))
        found[name] = recorded, {model: float(np.mean(values)) for model, values in single.items()}
    return found


def figures(cell: Recorded, draws: int) -> list[str]:
    made = metrics.summarise(
        cell.confidence, cell.correct, metrics=("accuracy", "ece", "brier", "auroc", "aurc"), draws=draws
    )
    row = [cell.name, str(made["samples"])]
    for name, figure in made["metrics"].items():
        interval = figure["interval"]
        text = f"{figure['value']:.3f}"
        row.append(
            text + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval and name in {"ece", "auroc"} else "")
        )
    return [*row, f"{made['null_ece']['p95']:.3f}"]


FIGURES = ["set", "n", "accuracy", "ECE", "Brier", "AUROC", "AURC", "ECE of a calibrated one (95 %)"]


# Recalibration


def five_fold(cell: Recorded, method: str, seed: int = 0) -> Floats:
    """[N] held-out probabilities."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(cell.ids)) % FOLDS
    probabilities = np.empty(len(cell.ids))
    for each in range(FOLDS):
        train, test = fold != each, fold == each
        made = fit(method, cell.confidence[train].tolist(), cell.correct[train].tolist(), cell.scope)
        probabilities[test] = [made.apply(value, cell.scope) for value in cell.confidence[test].tolist()]
    return probabilities


def recalibrated(cells: Sequence[Recorded]) -> str:
    rows = []
    for cell in cells:
        if len(np.unique(cell.confidence)) < 2:
            continue
        found = {"raw": cell.confidence} | {
            name: five_fold(cell, name)
            for name in ("temperature", "platt", "beta", "isotonic", "histogram")
            if name != "isotonic" or len(cell.ids) >= 700
        }
        losses = {name: (values - cell.correct) ** 2 for name, values in found.items()}
        gain = losses["raw"] - losses["platt"]
        low, high = statistics.bootstrap_interval(gain)
        row = [cell.name]
        for name in ("raw", "temperature", "platt", "beta", "isotonic", "histogram"):
            values = found.get(name)
            if values is None:
                row.append("too few")
                continue
            auroc = metrics.auroc(values, cell.correct)
            row.append(
                f"{metrics.ece(values, cell.correct):.3f} / {metrics.brier(values, cell.correct):.3f} / {auroc:.3f}"
            )
        rows.append([*row, f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f})"])
    head = [
        "set (ECE / Brier / AUROC)",
        "raw",
        "temperature",
        "Platt",
        "beta",
        "isotonic",
        "histogram",
        "Brier gain of Platt",
    ]
    return table(head, rows)


def transferred(cells: Sequence[Recorded]) -> str:
    """What a calibrator does outside of its scope, had it not refused."""
    by_method: dict[str, list[Recorded]] = defaultdict(list)
    for cell in cells:
        if len(np.unique(cell.confidence)) > 1:
            by_method[cell.name.split(" / ")[1]].append(cell)
    rows, refused = [], 0
    for sets in by_method.values():
        for target in sets:
            others = [cell for cell in sets if cell is not target]
            if len(others) < 2:
                continue
            made: Calibrator = fit(
                "platt",
                np.concatenate([cell.confidence for cell in others]).tolist(),
                np.concatenate([cell.correct for cell in others]).tolist(),
                Scope(task="+".join(cell.name.split(" / ")[0] for cell in others)),
            )
            try:
                made.apply(0.5, target.scope)
            except UsageError:
                refused += 1
            away = np.array([made.probability(value) for value in target.confidence.tolist()])
            rows.append(
                [
                    target.name,
                    f"{metrics.ece(target.confidence, target.correct):.3f}",
                    f"{metrics.ece(away, target.correct):.3f}",
                    f"{metrics.ece(five_fold(target, 'platt'), target.correct):.3f}",
                ]
            )
    head = ["set / signal", "ECE raw", "ECE, Platt fitted on the other sets", "ECE, Platt fitted here (five-fold)"]
    return table(head, rows) + f"\n\n`apply` refused the foreign calibrator in {refused} of {len(rows)} cases."


# Coverage of our intervals


def coverage(rounds: int) -> str:
    """How often a nominal 95 % interval holds the truth."""
    rng = np.random.default_rng(0)

    def share(draw: Callable[[], tuple[float, float, float]]) -> str:
        inside = sum(low <= truth <= high for low, high, truth in (draw() for _ in range(rounds)))
        low, high = wilson(inside, rounds)
        return f"{100 * inside / rounds:.1f} % ({100 * low:.1f} to {100 * high:.1f})"

    def clustered() -> tuple[float, float, float]:
        chance = rng.beta(2, 1, 60)
        made = statistics.mean(
            (rng.random((60, 4)) < chance[:, None]).ravel().astype(float), [q for q in range(60) for _ in range(4)]
        )
        return made.low, made.high, 2 / 3

    def binomial(
        make: Callable[[int, int], tuple[float, float]], chance: float, trials: int
    ) -> tuple[float, float, float]:
        return (*make(int(rng.binomial(trials, chance)), trials), chance)

    def paired() -> tuple[float, float, float]:
        base = rng.normal(0, 1, 80)
        first, second = base + rng.normal(0, 0.5, 80), base + rng.normal(0.2, 0.5, 80)
        made = statistics.compare(
            {str(i): [value] for i, value in enumerate(first)}, {str(i): [value] for i, value in enumerate(second)}
        )
        return made.low, made.high, 0.2

    def bootstrapped() -> tuple[float, float, float]:
        low, high = statistics.bootstrap_interval(rng.normal(1, 2, 100), draws=500, seed=int(rng.integers(1 << 30)))
        return low, high, 1.0

    def of_auroc() -> tuple[float, float, float]:
        right = rng.integers(0, 2, 300).astype(float)
        said = 1 / (1 + np.exp(-(rng.normal(0, 1, 300) + right)))
        made = metrics.bootstrap(metrics.auroc, said, right, draws=200, seed=int(rng.integers(1 << 30)))
        assert made is not None
        return (*made, 0.7602499)

    def of_brier() -> tuple[float, float, float]:
        said = rng.random(300)
        right = (rng.random(300) < said).astype(float)
        made = metrics.bootstrap(metrics.brier, said, right, draws=200, seed=int(rng.integers(1 << 30)))
        assert made is not None
        return (*made, 1 / 6)

    rows = [
        ["mean over 60 questions × 4 samples (t)", share(clustered)],
        ["share, 0.7 of 100 (Wilson)", share(lambda: binomial(wilson, 0.7, 100))],
        ["share, 0.03 of 200 (Wilson)", share(lambda: binomial(wilson, 0.03, 200))],
        ["share, 0.7 of 100 (Clopper-Pearson, at least 95 %)", share(lambda: binomial(clopper_pearson, 0.7, 100))],
        ["paired difference, 80 questions (t)", share(paired)],
        ["mean of 100 (bootstrap)", share(bootstrapped)],
        ["AUROC of 300 (bootstrap)", share(of_auroc)],
        ["Brier score of 300 (bootstrap)", share(of_brier)],
    ]
    return table(["interval, nominal 95 %", f"holds the truth ({rounds:,} rounds)"], rows)


def report(data: Path, quick: bool) -> str:
    draws, rounds = (50, 200) if quick else (1000, 4000)
    cells = rlcr(data / "confidence" / "rlcr")
    print("RLCR", file=sys.stderr)
    parts = [
        "### Published figures, recomputed from the recorded confidences (RLCR)",
        reproduced(data / "confidence" / "rlcr", cells),
    ]
    print("CRAFT-MD", file=sys.stderr)
    agreement = craft_md(data / "clinical" / "craft_md")
    wanted = [agreement[key] for key in sorted(agreement)]
    parts += [
        "### Agreement of a model with itself (CRAFT-MD, five answers a case)",
        table(FIGURES, [figures(c, draws) for c in wanted]),
    ]
    print("MedAgentsBench", file=sys.stderr)
    across = cross_model(data / "clinical" / "medagentsbench")
    rows = [[*figures(cell, draws), f"{max(single.values()):.3f}"] for cell, single in across.values()]
    parts += ["### Agreement of ten models (MedAgentsBench, zero-shot)", table([*FIGURES, "best single model"], rows)]
    print("recalibration", file=sys.stderr)
    chosen = [cell for key, cell in agreement.items() if key[0].startswith("gpt4")] + [
        cell for cell, _ in across.values()
    ]
    parts += ["### Five-fold recalibration", recalibrated([*cells, *chosen])]
    parts += ["### Calibrators do not transfer", transferred(cells)]
    print("coverage", file=sys.stderr)
    parts += ["### Our intervals", coverage(rounds)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds confidence/ and clinical/")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="few draws")
    arguments = parser.parse_args()
    text = report(arguments.data, arguments.quick)
    print(text)
    if arguments.write and not arguments.quick:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
