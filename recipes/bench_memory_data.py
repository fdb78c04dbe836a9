"""The corpora that retrieval is measured on, as units and questions with the units that answer them.

LoCoMo (CC BY-NC 4.0, evaluation only), MuSiQue and HotpotQA (the subsets of HippoRAG's repository), MemoryBank. None of them is part
of this repository; `--data` names the folder that holds them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from overwinter.memory.unit import Unit, rough_tokens, text_digest, unit_id

DEV_CONVERSATIONS = ("conv-26", "conv-30", "conv-41")
"""LoCoMo's conversations that weights are fitted on; the other seven are for testing."""

MINUTE_US = 60_000_000
START_US = 1_700_000_000_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, the places of the units that answer it, and a group to report it under."""

    text: str
    gold: tuple[int, ...]
    group: str = ""
    now_us: int = 0


@dataclass(frozen=True, kw_only=True)
class Corpus:
    name: str
    units: list[Unit]
    questions: list[Asked] = field(default_factory=list)


def as_unit(number: int, text: str, *, session: str, place: int, **more: Any) -> Unit:
    happened_us = more.pop("happened_us", START_US + number * MINUTE_US)
    return Unit(
        id=unit_id(f"{more.get('run', 'bench')}/{number}", 0, len(text)),
        run=more.pop("run", "bench"),
        seq=number,
        first=0,
        last=len(text),
        session=session,
        place=place,
        kind=more.pop("kind", "message"),
        actor=more.pop("actor", "user"),
        trust="trusted",
        happened_us=happened_us,
        happened_until_us=happened_us,
        told_us=happened_us,
        text=text,
        tokens=rough_tokens(text),
        digest=text_digest(text),
    )


def locomo(folder: Path) -> list[Corpus]:
    """One corpus per conversation; units are turns as "speaker: text", without the captions of pictures."""
    corpora = []
    for sample in json.loads((folder / "locomo" / "locomo10.json").read_text(encoding="utf-8")):
        talk = sample["conversation"]
        units: list[Unit] = []
        place_of: dict[str, int] = {}
        last_us = 0
        for n in range(1, 100):
            if f"session_{n}" not in talk:
                continue
            at_us = _said_at(talk[f"session_{n}_date_time"])
            for place, turn in enumerate(talk[f"session_{n}"]):
                place_of[turn["dia_id"]] = len(units)
                last_us = at_us + place * MINUTE_US
                text = f"{turn['speaker']}: {turn['text']}"
                units.append(
                    as_unit(
                        len(units),
                        text,
                        session=f"s{n}",
                        place=place,
                        actor=f"person:{turn['speaker']}",
                        happened_us=last_us,
                        run=sample["sample_id"],
                    )
                )
        questions = []
        for asked in sample["qa"]:
            named = [part for each in asked["evidence"] for part in re.split(r"[;, ]+", each)]
            gold = tuple(dict.fromkeys(place_of[part] for part in named if part in place_of))
            if gold:
                group = str(asked["category"])
                questions.append(Asked(text=asked["question"], gold=gold, group=group, now_us=last_us))
        corpora.append(Corpus(name=sample["sample_id"], units=units, questions=questions))
    return corpora


def _said_at(text: str) -> int:
    moment = datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


def multihop(folder: Path, name: str) -> Corpus:
    """`name` "musique" or "hotpotqa": one corpus of all paragraphs, as "title: text"; groups are the number of paragraphs needed."""
    folder = folder / "hippo_multihop"
    rows = json.loads((folder / f"{name}_train_corpus.json").read_text(encoding="utf-8"))
    paragraphs = (
        [(row["title"], row["text"]) for row in rows]
        if isinstance(rows, list)
        else [(title, " ".join(sentences)) for title, sentences in rows.items()]
    )
    titled: dict[str, list[tuple[int, str]]] = defaultdict(list)
    units = []
    for i, (title, text) in enumerate(paragraphs):
        titled[title].append((i, text))
        units.append(
            as_unit(
                i, f"{title}: {text}", session=f"p{i}", place=0, kind="document", actor=f"document:{title}", run=name
            )
        )
    questions = []
    for asked in json.loads((folder / f"{name}_train.json").read_text(encoding="utf-8")):
        gold = _gold_paragraphs(asked, titled)
        if gold:
            questions.append(Asked(text=asked["question"], gold=gold, group=str(len(gold))))
    return Corpus(name=name, units=units, questions=questions)


def _gold_paragraphs(asked: dict[str, Any], titled: dict[str, list[tuple[int, str]]]) -> tuple[int, ...]:
    if "supporting_facts" in asked:
        found = [titled[title][0][0] for title, _ in asked["supporting_facts"] if titled[title]]
    else:
        found = [
            i
            for paragraph in asked["paragraphs"]
            if paragraph["is_supporting"]
            for i, text in titled[paragraph["title"]]
            if text[:80] == paragraph["paragraph_text"][:80]
        ]
    return tuple(dict.fromkeys(found))


_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_ON_DAY = re.compile(rf"\b({'|'.join(_MONTHS)}) (\d{{1,2}})(?:st|nd|rd|th)")


def memorybank(folder: Path) -> list[Corpus]:
    """One corpus per user. The set names no answers; the questions that name a day have that day's units as gold (group "dated").
    The others have none (group "undated") and serve for abstention only."""
    folder = folder / "memorybank" / "en"
    loaded = json.loads((folder / "memory_bank_en.json").read_text(encoding="utf-8"))
    histories = {name.strip(): history for name, history in loaded.items()}
    corpora = []
    for line in (folder / "probing_questions_en.jsonl").read_text(encoding="utf-8").splitlines():
        ((user, texts),) = json.loads(line).items()
        units: list[Unit] = []
        of_day: dict[str, list[int]] = defaultdict(list)
        for day, turns in sorted(histories[user]["history"].items()):
            at_us = int(datetime.fromisoformat(f"{day}T09:00+00:00").timestamp()) * 1_000_000
            said = [
                (actor, turn[key].strip())
                for turn in turns
                for key, actor in (("query", "user"), ("response", "agent"))
            ]
            for place, (actor, text) in enumerate(said):
                of_day[day].append(len(units))
                units.append(
                    as_unit(
                        len(units),
                        text,
                        session=day,
                        place=place,
                        actor=actor,
                        happened_us=at_us + place * MINUTE_US,
                        run=user,
                    )
                )
        questions = []
        for text in texts:
            named = _ON_DAY.search(text)
            day = f"2023-{_MONTHS.index(named[1]) + 1:02}-{int(named[2]):02}" if named else ""
            gold = tuple(of_day.get(day, ()))
            group = "dated" if gold else "undated"
            questions.append(Asked(text=text.strip('"'), gold=gold, group=group, now_us=units[-1].happened_us))
        corpora.append(Corpus(name=user, units=units, questions=questions))
    return corpora


_SAID_BY_USER = re.compile(r"\b(I'm|I've|I'd|I'll|I|my|me|mine)\b")
_OF_USER = {"I'm": "{} is", "I've": "{} has", "I'd": "{} had", "I'll": "{} will", "my": "{}'s", "mine": "{}'s"}


def by_name(corpus: Corpus) -> Corpus:
    """A MemoryBank user's corpus as a log of named speakers, and its questions about the user by name: "how long did Frank run"."""

    def named(text: str) -> str:
        return _SAID_BY_USER.sub(lambda match: _OF_USER.get(match[1], "{}").format(corpus.name), text)

    units = [
        replace(unit, text=f"{speaker}: {unit.text}", actor=f"person:{speaker}")
        for unit in corpus.units
        for speaker in [corpus.name if unit.actor == "user" else "Companion"]
    ]
    questions = [
        replace(asked, text=named(re.sub(r"\b[Yy]ou\b", "Companion", asked.text))) for asked in corpus.questions
    ]
    return Corpus(name=corpus.name, units=units, questions=questions)


def texts_of(corpora: Sequence[Corpus]) -> list[str]:
    """All texts to embed, each once, sorted."""
    return sorted(
        {unit.text for corpus in corpora for unit in corpus.units} | {q.text for c in corpora for q in c.questions}
    )
