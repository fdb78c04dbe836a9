"""Reasoning and knowing: GSM8K, MATH-500 with AIME and AMC, HotpotQA without its paragraphs, SelfAware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from overwinter.bench import reading
from overwinter.bench.suite import Item, Scored, Suite, json_lines, need, register
from overwinter.bench.suites.forms import ask_open, closing, score_formula, score_number, scored

UNKNOWN = "unanswerable"


def load_gsm8k(folder: Path | None, _: int) -> list[Item]:
    """The test questions of GSM8K; gold is the number behind ####."""
    path = need(folder, "gsm8k/test.jsonl", "gsm8k_test.jsonl")
    return [
        Item(id=str(place), question=row["question"], gold=row["answer"].rpartition("####")[2].strip())
        for place, row in enumerate(json_lines(path))
    ]


def mathematics(*files: str) -> Any:
    """A loader of problems with a formula for an answer."""

    def load(folder: Path | None, _: int) -> list[Item]:
        return [
            Item(
                id=str(row.get("unique_id", row.get("id", place))),
                question=row["problem"],
                gold=_plain(row["answer"]),
                slices={name: str(row[name]) for name in ("subject", "level") if name in row},
            )
            for place, row in enumerate(json_lines(need(folder, *files)))
        ]

    return load


def _plain(answer: object) -> str:
    """Some files give whole numbers as 27.0."""
    return str(int(answer)) if isinstance(answer, float) and answer.is_integer() else str(answer)


def load_hotpot(folder: Path | None, _: int) -> list[Item]:
    """Questions over two pages of Wikipedia, asked without the pages: what the model itself knows."""
    rows = json.loads(need(folder, "hotpot_dev_v1_simplified.json").read_text("utf-8"))
    return [
        Item(id=str(place), question=row["question"], gold=row["answer"], slices={"type": row["type"]})
        for place, row in enumerate(rows)
    ]


def score_hotpot(item: Item, text: str) -> Scored:
    """Exact match of words; the answer's line may say more than the words asked for only if it is nothing else."""
    said = reading.last_line(text)
    return scored(reading.words(said) or None, float(reading.words(said) == reading.words(item.gold)), text)


def load_selfaware(folder: Path | None, _: int) -> list[Item]:
    """Questions of which a third cannot be answered by anybody."""
    rows = json.loads(need(folder, "SelfAware.json").read_text("utf-8"))["example"]
    return [
        Item(
            id=str(row["question_id"]),
            question=row["question"],
            gold=bool(row["answerable"]),
            slices={"answerable": "yes" if row["answerable"] else "no", "source": str(row["source"])},
        )
        for row in rows
    ]


def ask_selfaware(item: Item, style: str) -> str:
    return (
        f"{item.question}\n\nIf nobody can know the answer, say that it is {UNKNOWN}. "
        f"{closing(style, f'the answer, or the word {UNKNOWN}')}"
    )


def score_selfaware(item: Item, text: str) -> Scored:
    """Right is to answer what can be answered and to refuse what cannot; whether the answer itself is right is not looked at."""
    said = reading.last_line(text)
    if not said:
        return scored(None, None, text)
    refused = UNKNOWN in said.lower()
    return scored("refused" if refused else "answered", float(refused != item.gold), text)


register(
    Suite(
        name="gsm8k",
        family="reasoning",
        about="school sums in words, 1,319",
        load=load_gsm8k,
        ask=ask_open("the number"),
        score=score_number,
        needs="gsm8k/test.jsonl",
    )
)
for _name, _files, _about in (
    ("math500", ("math500/test.jsonl", "math500_test.jsonl"), "500 competition problems"),
    ("aime24", ("aime24_test.jsonl",), "30 of AIME 2024: too few to tell systems less than 15 points apart"),
    ("amc23", ("amc23_test.jsonl",), "40 of AMC 2023"),
):
    register(
        Suite(
            name=_name,
            family="reasoning",
            about=_about,
            load=mathematics(*_files),
            ask=ask_open("the result, in LaTeX without words"),
            score=score_formula,
            needs=_files[0],
            max_tokens=4096,
        )
    )
register(
    Suite(
        name="hotpotqa",
        family="reasoning",
        about="questions over two pages, asked without them; exact words",
        load=load_hotpot,
        ask=ask_open("as few words as possible"),
        score=score_hotpot,
        needs="hotpot_dev_v1_simplified.json",
        max_tokens=512,
    )
)
register(
    Suite(
        name="selfaware",
        family="reasoning",
        about="a third cannot be answered: does it say so?",
        load=load_selfaware,
        ask=ask_selfaware,
        score=score_selfaware,
        needs="SelfAware.json",
        max_tokens=512,
    )
)
