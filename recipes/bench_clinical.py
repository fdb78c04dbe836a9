"""Clinical benchmarks rescored from the recorded outputs of real models: accuracy, self-agreement, calibration, cost; no model is asked.

    python recipes/bench_clinical.py --data ../shared/data            # about two minutes; prints the tables
    python recipes/bench_clinical.py --data ../shared/data --write    # and puts them into docs/benchmarks.md
    python recipes/bench_clinical.py --data ../shared/data --answers OUT   # only the recorded answers, for `overwinter bench`

CRAFT-MD (Johri et al., Nature Medicine 2025; MIT): five models, 2,004 cases, five trials, four ways of telling the case.
MedAgentsBench (arXiv 2503.07459; Apache-2.0): ten models and a dozen methods on the hard subset, with tokens. Everything goes
through the same code as `overwinter bench clinical --answers`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_journal import PAGE, table, write_between
from overwinter.bench import statistics
from overwinter.bench.answers import Answer, Header, Recording, with_agreement, write_answers
from overwinter.bench.report import compared, summarise

BEGIN, END = "<!-- bench_clinical: begin -->", "<!-- bench_clinical: end -->"
SETTINGS = {
    "vignette": "full vignette",
    "singleturn": "single turn",
    "summarized": "summarised dialogue",
    "multiturn": "dialogue",
}


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def craft_md(folder: Path) -> dict[tuple[str, str], Recording]:
    """(model, setting) → the free-text diagnoses with the verdicts of the benchmark's grader."""
    found: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for row in lines(folder / "runs_compact.jsonl.gz"):
        for setting in SETTINGS:
            said, verdict = row[f"{setting}_frq"]
            answer = str(said).strip().casefold()
            found[row["m"], setting].append(
                Answer(
                    item=row["case"],
                    sample=int(row["t"]),
                    answer=answer or None,
                    correct=float(verdict),
                    tool_calls=int(row["turns"] or 0) if setting == "multiturn" else 0,
                    slices={"specialty": row["cat"], "source": row["ds"], "turns": str(row["turns"])},
                )
            )
    return {
        key: Recording(
            header=Header(suite="craftmd-open", model=key[0], prompt=SETTINGS[key[1]]),
            answers=tuple(answers),
            name=f"craftmd-{key[0]}-{key[1]}",
        )
        for key, answers in found.items()
    }


def medagents(folder: Path) -> dict[tuple[str, str], Recording]:
    """(model, method) → answers to the hard subset of all seven question sets."""
    found: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for row in lines(folder / "outputs_compact.jsonl.gz"):
        model, rest = row["file"].split(f"-{row['ds']}-", 1)
        split, method = rest.split("-", 1)
        if split != "test_hard":
            continue
        found[model, method].append(
            Answer(
                item=f"{row['ds']}/{row['i']}",
                answer=str(row["pred"]) or None,
                correct=float(row["pred"] == row["gold"]),
                tokens_in=int(row["tin"] or 0),
                tokens_out=int(row["tout"] or 0),
                seconds=float(row["sec"] or 0),
                slices={"set": row["ds"]},
            )
        )
    return {
        key: Recording(
            header=Header(suite="medagents-hard", model=key[0], prompt=key[1]),
            answers=tuple({answer.item: answer for answer in answers}.values()),
            name=f"medagents-{key[0]}-{key[1]}",
        )
        for key, answers in found.items()
    }


def of_models(folder: Path, split: str) -> dict[str, Recording]:
    """Question set → answers of all models to it, zero-shot: each model is a sample, so agreement is that of different models."""
    found: dict[str, list[Answer]] = defaultdict(list)
    seen: dict[str, dict[str, int]] = defaultdict(dict)
    for row in lines(folder / "outputs_compact.jsonl.gz"):
        model, rest = row["file"].split(f"-{row['ds']}-", 1)
        if rest != f"{split}-zero_shot":
            continue
        sample = seen[row["ds"]].setdefault(model, len(seen[row["ds"]]))
        found[row["ds"]].append(
            Answer(
                item=str(row["i"]),
                sample=sample,
                answer=str(row["pred"]) or None,
                correct=float(row["pred"] == row["gold"]),
            )
        )
    return {
        name: Recording(
            header=Header(suite=name, model="ten models"),
            answers=tuple({(answer.item, answer.sample): answer for answer in answers}.values()),
            name=f"{name}-{split}",
        )
        for name, answers in sorted(found.items())
    }


def interval(made: dict[str, Any] | None, form: str = ".3f") -> str:
    return "–" if made is None else f"{made['value']:{form}} ({made['low']:{form}} to {made['high']:{form}})"


def agreement_row(recording: Recording, draws: int) -> list[str]:
    """Trial and modal accuracy, and what the share of the modal answer is worth as a confidence."""
    made = summarise(recording, draws=draws)
    signal = made["calibration"]["agreement"]
    metrics = signal["metrics"]
    mean = sum(a.confidence["agreement"] for a in with_agreement(recording).answers if a.confidence) / len(
        recording.by_item()
    )
    after = signal["recalibrated"]["metrics"]
    return [
        interval(made["score"]),
        f"{made['modal']['value']:.3f}",
        f"{mean:.3f}",
        *(f"{metrics[name]['value']:.3f}" for name in ("ece", "brier", "auroc", "aurc")),
        f"{signal['null_ece']['p95']:.3f}",
        f"{after['ece']['value']:.3f} / {after['brier']['value']:.3f}",
    ]


AGREEMENT = [
    "accuracy",
    "of the modal answer",
    "mean agreement",
    "ECE",
    "Brier",
    "AUROC",
    "AURC",
    "ECE of a calibrated one",
    "held-out ECE / Brier, recalibrated",
]


def craft_table(recordings: dict[tuple[str, str], Recording], draws: int) -> str:
    rows = []
    for (model, setting), recording in sorted(
        recordings.items(), key=lambda pair: (pair[0][0], list(SETTINGS).index(pair[0][1]))
    ):
        rows.append([model, SETTINGS[setting], *agreement_row(recording, draws)])
    return table(["model", "setting", *AGREEMENT], rows)


def dialogue_table(recordings: dict[tuple[str, str], Recording]) -> str:
    """The same cases told whole and in dialogue, compared case by case; accuracy by the number of the doctor's turns."""
    rows = []
    for model in sorted({model for model, _ in recordings}):
        found = compared(recordings[model, "vignette"], recordings[model, "multiturn"])
        rows.append(
            [
                model,
                f"{found['means'][0]:.3f}",
                f"{found['means'][1]:.3f}",
                f"{found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})",
                f"{found['p']:.1g}",
            ]
        )
    compared_rows = table(["model", "vignette", "dialogue", "difference, case by case", "p"], rows)
    by_turns: dict[int, list[Answer]] = defaultdict(list)
    for answer in recordings["gpt4_1106", "multiturn"].answers:
        by_turns[min(int(answer.slices["turns"]), 13)].append(answer)
    turns = []
    for count, answers in sorted(by_turns.items()):
        if len({answer.item for answer in answers}) < 20:
            continue
        made = statistics.mean([a.correct or 0.0 for a in answers], [a.item for a in answers])
        turns.append(
            [
                f"{count}" if count < 13 else "13 and more",
                str(len(answers)),
                f"{made.value:.3f} ({made.low:.3f} to {made.high:.3f})",
            ]
        )
    return f"{compared_rows}\n\nGPT-4 by the number of the doctor's turns:\n\n{table(['turns', 'dialogues', 'accuracy'], turns)}"


def cost_table(recordings: dict[tuple[str, str], Recording]) -> str:
    """Methods on the hard subset: accuracy, cost, and the difference to asking the same model plainly."""
    rows = []
    for (model, method), recording in sorted(recordings.items()):
        if len(recording.answers) < 500 or (model, "zero_shot") not in recordings:
            continue
        made = summarise(recording, draws=20)
        cost = made["cost"]
        base = recordings[model, "zero_shot"]
        difference, common = "–", "–"
        if method != "zero_shot":
            found = compared(base, recording)
            bounds = f"{found['low']:+.3f} to {found['high']:+.3f}"
            difference, common = f"{found['difference']:+.3f} ({bounds}), p {found['p']:.1g}", str(found["questions"])
        tokens = cost["tokens_per_right"]
        rows.append(
            [
                model,
                method,
                interval(made["score"]),
                f"{cost['mean']['tokens_in'] + cost['mean']['tokens_out']:,.0f}",
                "–" if tokens is None else f"{tokens:,.0f}",
                difference,
                common,
            ]
        )
    return table(
        [
            "model",
            "method",
            "accuracy",
            "tokens an answer",
            "tokens a right answer",
            "difference to zero-shot",
            "on common questions",
        ],
        rows,
    )


def cross_table(recordings: dict[str, Recording], draws: int) -> str:
    rows = [
        [name, str(len(recording.by_item())), *agreement_row(recording, draws)]
        for name, recording in recordings.items()
    ]
    return table(["set", "n", *AGREEMENT], rows)


def report(data: Path, quick: bool) -> str:
    draws = 20 if quick else 500
    clinical = data / "clinical"
    craft = craft_md(clinical / "craft_md")
    print("CRAFT-MD", file=sys.stderr)
    parts = [
        "### CRAFT-MD: five trials of each of 2,004 cases, the modal answer's share as confidence",
        craft_table(craft, draws),
        "### CRAFT-MD: told whole, or asked for in a dialogue",
        dialogue_table(craft),
    ]
    print("MedAgentsBench", file=sys.stderr)
    parts += [
        "### MedAgentsBench: agreement of ten models, zero-shot",
        cross_table(of_models(clinical / "medagentsbench", "test"), draws),
        "### MedAgentsBench, hard subset: what methods buy, at what cost",
        cost_table(medagents(clinical / "medagentsbench")),
    ]
    return "\n\n".join(parts)


def write_recordings(data: Path, folder: Path) -> None:
    """The recorded answers as files."""
    clinical = data / "clinical"
    made = [*craft_md(clinical / "craft_md").values(), *medagents(clinical / "medagentsbench").values()]
    for recording in made:
        write_answers(folder / f"{recording.name}.jsonl.gz", recording.header, recording.answers)
    print(f"{len(made)} files in {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds clinical/")
    parser.add_argument("--answers", type=Path, help="write the recorded answers into this folder, and stop")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    if chosen.answers is not None:
        write_recordings(chosen.data, chosen.answers)
        return
    text = report(chosen.data, chosen.quick)
    print(text)
    if chosen.write:
        write_between(PAGE, BEGIN, END, text)


if __name__ == "__main__":
    main()
