"""Questions over long talks: LoCoMo (arXiv 2402.17753, CC BY-NC 4.0), with the sessions that hold the evidence in the prompt.

This measures reading, not finding: what a memory finds is measured by recipes/bench_memory.py. Scored by overlap of words (F1), without the
official stemming, so figures lie a little below published ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overwinter.bench import reading
from overwinter.bench.suite import Item, Scored, Suite, need, register
from overwinter.bench.suites.forms import closing, scored

CATEGORIES = {1: "several hops", 2: "time", 3: "common sense", 4: "single hop", 5: "not said"}
NOT_SAID = "not mentioned"


def load(folder: Path | None, _: int) -> list[Item]:
    """Questions with evidence, each with the sessions it stands in."""
    items = []
    for number, talk in enumerate(json.loads(need(folder, "locomo10.json").read_text("utf-8"))):
        for place, row in enumerate(talk["qa"]):
            sessions = sorted(
                {int(found) for cite in row.get("evidence", ()) for found in re.findall(r"D(\d+):", cite)}
            )
            if not sessions:
                continue
            shown = [_session(talk["conversation"], each) for each in sessions]
            category = int(row["category"])
            pictures = any(
                "blip_caption" in turn for each in sessions for turn in talk["conversation"].get(f"session_{each}", ())
            )
            items.append(
                Item(
                    id=f"{number}-{place}",
                    question="\n\n".join([*shown, str(row["question"])]),
                    gold=_gold(category, row),
                    slices={"category": CATEGORIES[category], "modality": "text+caption" if pictures else "text"},
                )
            )
    return items


def _session(conversation: Mapping[str, Any], number: int) -> str:
    lines = [f"[{conversation.get(f'session_{number}_date_time', '')}]"]
    for turn in conversation.get(f"session_{number}", ()):
        picture = f" (shows a picture: {turn['blip_caption']})" if "blip_caption" in turn else ""
        lines.append(f"{turn['speaker']}: {turn['text']}{picture}")
    return "\n".join(lines)


def _gold(category: int, row: Mapping[str, Any]) -> list[str]:
    """Several parts for questions of several hops, else one."""
    if category == 5:
        return [NOT_SAID]
    answer = str(row["answer"])
    if category == 1:
        return [part.strip() for part in answer.split(",")]
    return [answer.split(";", maxsplit=1)[0].strip() if category == 3 else answer]


def ask(item: Item, style: str) -> str:
    rule = f"Answer from the talk alone; if it does not say, answer “{NOT_SAID}”."
    return f"{item.question}\n\n{rule} {closing(style, 'in as few words as possible')}"


def score(item: Item, text: str) -> Scored:
    said = reading.last_line(text)
    if not said:
        return scored(None, None, text)
    if item.gold == [NOT_SAID]:
        refused = NOT_SAID in said.lower() or "no information" in said.lower()
        return scored(said, float(refused), text)
    parts: Sequence[str] = [part.strip() for part in said.split(",")] if len(item.gold) > 1 else [said]
    best = [max(reading.token_f1(part, gold) for part in parts) for gold in item.gold]
    return scored(said, sum(best) / len(best), text)


register(
    Suite(
        name="locomo",
        family="memory",
        about="questions over long talks, the sessions with the evidence shown; overlap of words",
        load=load,
        ask=ask,
        score=score,
        needs="locomo10.json",
    )
)
