"""Clinical questions asked in one turn: multiple choice, vignettes, calculations. Data: MedAgentsBench, CRAFT-MD, MedCalc-Bench.

For evaluation only. No figure here says that a model may be used on patients.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from overwinter.bench import reading
from overwinter.bench.suite import Item, Scored, Suite, json_lines, need, register
from overwinter.bench.suites.forms import ask_choice, ask_open, score_choice, score_words, scored
from overwinter.errors import UsageError

CAUTION = (
    "Measures of a model on examination questions. Not for clinical use: they do not say that it is safe with patients."
)
SLICES = ("meta_info", "subject", "category")
_FIGURE = re.compile(r"\b(?:figure|fig\.|image|picture|photograph|exhibit)s?\s*\(?[A-H1-9]\b", re.IGNORECASE)


def multiple_choice(file: str) -> Any:
    """A loader of one file of MedAgentsBench: realidx, question, options, answer_idx."""

    def load(folder: Path | None, _: int) -> list[Item]:
        return [_choice_item(row) for row in json_lines(need(folder, file))]

    return load


def _choice_item(row: dict[str, Any]) -> Item:
    images = tuple(dict.fromkeys(found.group(0) for found in _FIGURE.finditer(row["question"])))
    return Item(
        id=str(row["realidx"]),
        question=row["question"],
        gold=row["answer_idx"],
        options=row["options"],
        images=images,
        slices={"modality": "text+image" if images else "text"}
        | {name: str(row[name]) for name in SLICES if row.get(name) and len(str(row[name])) < 40},
    )


CHOICES = {
    "medqa": ("medqa_test.jsonl", "US licensing questions"),
    "medqa-hard": ("medqa_test_hard.jsonl", "the hard ones of MedQA"),
    "medbullets": ("medbullets_test.jsonl", "step 2 and 3 questions, five options"),
    "medbullets-hard": ("medbullets_test_hard.jsonl", "the hard ones of Medbullets"),
    "medmcqa-hard": ("medmcqa_test_hard.jsonl", "hard Indian entrance questions"),
    "mmlu-med-hard": ("mmlu_test_hard.jsonl", "hard medical questions of MMLU"),
    "mmlu-pro-med-hard": ("mmlu-pro_test_hard.jsonl", "hard medical questions of MMLU-Pro"),
    "pubmedqa": ("pubmedqa_test.jsonl", "yes, no or maybe from an abstract"),
    "pubmedqa-hard": ("pubmedqa_test_hard.jsonl", "the hard ones of PubMedQA"),
    "afrimedqa-hard": ("afrimedqa_test_hard.jsonl", "hard African examination questions"),
}
for _name, (_file, _about) in CHOICES.items():
    register(
        Suite(
            name=_name,
            family="clinical",
            about=f"{_about}; multiple choice",
            load=multiple_choice(_file),
            ask=ask_choice,
            score=score_choice,
            needs=_file,
            caution=CAUTION,
        )
    )


# CRAFT-MD: vignettes

VIGNETTES = "usmle_and_derm_dataset.csv"
SYNONYMS = {"Henoch-Scholein vasculitis": "IgA vasculitis"}
"""Where the file's answer is another name of one of its choices."""
DIAGNOSIS = "What is the most likely diagnosis?"


def vignettes(folder: Path | None) -> list[dict[str, str]]:
    """The rows of CRAFT-MD's cases."""
    with need(folder, VIGNETTES).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def load_vignettes(folder: Path | None, _: int) -> list[Item]:
    """Cases as multiple choice."""
    return [vignette_item(row, options=True) for row in vignettes(folder)]


def load_open_vignettes(folder: Path | None, _: int) -> list[Item]:
    """Cases whose diagnosis is to be named."""
    return [vignette_item(row, options=False) for row in vignettes(folder)]


def vignette_item(row: dict[str, str], *, options: bool) -> Item:
    texts = [row[f"choice_{number}"].strip() for number in range(1, 5)]
    answer = SYNONYMS.get(row["answer"].strip(), row["answer"].strip())
    letters = dict(zip("ABCD", texts, strict=True))
    gold = next((letter for letter, text in letters.items() if text == answer), None)
    if gold is None:
        raise UsageError(
            f"case {row['case_id']} of CRAFT-MD has an answer that is none of its choices", "get the file again"
        )
    return Item(
        id=row["case_id"],
        question=f"{row['case_vignette']}\n\n{DIAGNOSIS}",
        gold=gold if options else row["answer"].strip(),
        options=letters if options else {},
        facts=tuple(sentences(row["case_vignette"])),
        slices={"specialty": row["category"], "source": row["dataset"]},
    )


def sentences(text: str) -> list[str]:
    """A text's sentences; a point in a number or after "Dr" ends none."""
    return [part.strip() for part in re.split(r"(?<!\bDr)(?<!\bvs)(?<=[.!?])\s+(?=[A-Z\"(])", text) if part.strip()]


register(
    Suite(
        name="craftmd",
        family="clinical",
        about="2,004 vignettes; the diagnosis by multiple choice",
        load=load_vignettes,
        ask=ask_choice,
        score=score_choice,
        needs=VIGNETTES,
        caution=CAUTION,
    )
)
register(
    Suite(
        name="craftmd-open",
        family="clinical",
        about="the same vignettes; the diagnosis by its name, exact words only: synonyms take a judge",
        load=load_open_vignettes,
        ask=ask_open("the diagnosis, in as few words as it has"),
        score=score_words,
        needs=VIGNETTES,
        caution=CAUTION,
    )
)


# MedCalc-Bench

CALCULATIONS = ("test_data.csv", "one_shot_data.csv")


def load_calculations(folder: Path | None, _: int) -> list[Item]:
    """Calculations from a note; gold is [lower, upper], or a text for dates and weeks."""
    with need(folder, *CALCULATIONS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Item(
            id=f"{row['Calculator ID']}-{row['Note ID']}",
            question=f"Patient note:\n{row['Patient Note']}\n\n{row['Question']}",
            gold=_bounds(row),
            slices={"category": row["Category"], "output": row["Output Type"]},
        )
        for row in rows
    ]


def _bounds(row: dict[str, str]) -> list[str]:
    if row["Output Type"] == "date":
        return [row["Ground Truth Answer"]]
    return [row["Lower Limit"], row["Upper Limit"]]


def score_calculation(item: Item, text: str) -> Scored:
    """Within the published bounds: 5 % for decimals, the very number for whole ones; the same date, or weeks and days."""
    line = reading.last_line(text)
    if len(item.gold) == 1:
        said = _date(line)
        return scored(said, None if said is None else float(said == _date(str(item.gold[0]))), text)
    value = reading.number(text)
    if value is None:
        return scored(None, None, text)
    low, high = (Fraction(bound) for bound in item.gold)
    return scored(str(float(value)), float(low <= value <= high), text)


def _date(text: str) -> str | None:
    """ "12/2/2000" → "12/02/2000"; weeks and days → "34w3d"."""
    if text.startswith("("):
        text = " ".join(map(str, _tuple(text)))
    found = re.search(r"(\d{1,2})/(\d{1,2})/(\d{4})", text)
    if found:
        return f"{int(found[1]):02}/{int(found[2]):02}/{found[3]}"
    weeks = re.search(r"(\d+)\s*weeks?\D*(?:(\d+)\s*days?)?", text)
    return f"{weeks[1]}w{weeks[2] or 0}d" if weeks else None


def _tuple(text: str) -> Sequence[object]:
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return [text]
    return found if isinstance(found, tuple) else [text]


register(
    Suite(
        name="medcalc",
        family="clinical",
        about="55 clinical calculators, each from a patient's note",
        load=load_calculations,
        ask=ask_open("the value alone (dates as MM/DD/YYYY; ages as weeks and days)"),
        score=score_calculation,
        needs="test_data.csv or one_shot_data.csv",
        caution=CAUTION,
    )
)
