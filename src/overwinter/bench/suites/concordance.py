"""Script concordance: how far does one more finding change a hypothesis? Credit by what a panel of experts answered.

Credit of an answer = experts who gave it / experts who gave the most frequent one (McCoy et al., NEJM AI 2025). Items are the user's
own: no public set may be shipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overwinter.bench import reading
from overwinter.bench.answers import Answer
from overwinter.bench.suite import Item, Scored, Suite, json_lines, need, register
from overwinter.bench.suites.clinical import CAUTION
from overwinter.bench.suites.forms import closing, scored
from overwinter.errors import UsageError

SCALE = (-2, -1, 0, 1, 2)
FILE = "sct.jsonl"
MEANING = "-2 rules it almost out, -1 makes it less likely, 0 changes nothing, 1 makes it more likely, 2 makes it almost certain"


def load(folder: Path | None, _: int) -> list[Item]:
    """Items of the user's file. Raises UsageError that names an item whose panel cannot be read."""
    items = []
    for place, row in enumerate(json_lines(need(folder, FILE))):
        name = str(row.get("id", place))
        panel = _panel(name, row.get("panel"))
        topic = {"topic": str(row["topic"])} if "topic" in row else {}
        items.append(
            Item(
                id=name,
                question=f"{row['vignette']}\n\nHypothesis or plan: {row['hypothesis']}\nNow you learn: {row['finding']}",
                gold={str(answer): count for answer, count in panel.items()},
                slices={"mode": str(mode(panel)), **topic},
            )
        )
    return items


def _panel(name: str, raw: Any) -> dict[int, int]:
    """Answer → how many experts gave it, from such an object or from the list of their answers."""
    try:
        if isinstance(raw, list):
            panel = {answer: sum(int(each) == answer for each in raw) for answer in SCALE}
            wrong = [each for each in raw if int(each) not in SCALE]
        else:
            panel = {int(answer): int(count) for answer, count in raw.items()}
            wrong = [answer for answer, count in panel.items() if answer not in SCALE or count < 0]
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"item {name!r} of {FILE} has no panel that can be read: {error}", 'write "panel": {"-1": 4, "0": 9}'
        ) from error
    if wrong or not any(panel.values()):
        raise UsageError(
            f"item {name!r} of {FILE} has a panel with {wrong or 'nobody'} in it",
            "answers are -2 … 2, counts whole numbers",
        )
    return panel


def mode(panel: Mapping[int, int]) -> int:
    """The panel's most frequent answer; of several the one nearest to 0, the more cautious."""
    most = max(panel.values())
    return min((answer for answer, count in panel.items() if count == most), key=lambda answer: (abs(answer), answer))


def credit(panel: Mapping[int, int], answer: int) -> float:
    """0..1."""
    return panel.get(answer, 0) / max(panel.values())


def ask(item: Item, style: str) -> str:
    return f"{item.question}\n\nHow does this change the hypothesis or plan? {MEANING}.\n\n{closing(style, 'a whole number from -2 to 2')}"


def score(item: Item, text: str) -> Scored:
    found = re.findall(r"(?<![\d.])([-−–+]?[012])(?![\d.]\d)", reading.last_line(text))
    if not found:
        return scored(None, None, text)
    answer = int(found[-1].replace("−", "-").replace("–", "-"))
    return scored(str(answer), credit({int(key): count for key, count in item.gold.items()}, answer), text)


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """What the score does not show: does the model overrate what is new?"""
    pairs = [
        (int(answer.answer), int(answer.slices["mode"]))
        for answer in answers
        if answer.answer is not None and "mode" in answer.slices
    ]
    if not pairs:
        return {}
    count = len(pairs)
    return {
        "extreme_answers": sum(abs(said) == 2 for said, _ in pairs) / count,
        "extreme_answers_of_the_panel's_modes": sum(abs(gold) == 2 for _, gold in pairs) / count,
        "mean_strength": sum(abs(said) for said, _ in pairs) / count,
        "mean_strength_of_the_panel's_modes": sum(abs(gold) for _, gold in pairs) / count,
        "weighted_kappa": weighted_kappa(pairs),
        "right_direction": sum(_sign(said) == _sign(gold) for said, gold in pairs) / count,
    }


def weighted_kappa(pairs: Sequence[tuple[int, int]]) -> float | None:
    """Cohen's kappa with linear weights; None where chance alone cannot differ."""
    count = len(pairs)
    observed = sum(abs(said - gold) for said, gold in pairs) / count
    expected = sum(abs(said - gold) for said, _ in pairs for _, gold in pairs) / count**2
    return 1 - observed / expected if expected else None


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


register(
    Suite(
        name="sct",
        family="clinical",
        about="script concordance on items of yours; credit by a panel",
        load=load,
        ask=ask,
        score=score,
        figures=figures,
        needs=FILE,
        caution=CAUTION,
    )
)
