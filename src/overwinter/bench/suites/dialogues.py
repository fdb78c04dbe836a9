"""Cases that are told only when one asks: mediQ, CRAFT-MD, AgentClinic, and riddles made from a seed.

Every turn the model names its best answer so far with a confidence, and asks or ends. Who answers is a rule, not a model: those
facts of the case that share most with the question, weighted by how rare their words are in the case. So a case costs nothing but
the model's own tokens, is the same for every model, and a killed run goes on by hearing the journal again. The rule never invents;
it misses some paraphrases.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from overwinter.bench import reading
from overwinter.bench.suite import Item, Scored, Suite, TurnRecord, json_lines, need, register
from overwinter.bench.suites.clinical import CAUTION, DIAGNOSIS, VIGNETTES, vignette_item, vignettes

TURNS = 15
TOLD_AT_ONCE = 3
UNKNOWN = "That is not known."
RULES = (
    "You may ask before you answer. Reply every time with exactly three lines:\n"
    "Answer: your best answer so far, {what}\n"
    "Confidence: the probability that it is right, from 0 to 1\n"
    "Action: ASK and one question, or DONE"
)
LAST = "This was the last answer. Reply with the three lines, and DONE."
NUDGE = "Reply with the three lines: Answer, Confidence, Action."
_ACTION = re.compile(r"action\s*:?\s*\**\s*(ask|test|exam|done)\b\s*:?\s*(.*)", re.IGNORECASE | re.DOTALL)
_OPEN_WORDS = """else other more anything symptom complaint history tell describe result finding exam examination test lab imaging"""
"""Words of questions that ask for whatever there is."""
_STOP_WORDS = """a an the is are was were be been do does did have has had having you your he his she her him it its they their of in on
at to for with and or any not no patient what when where which who how there this that from as by if about can could would ever"""
_STOP = frozenset(_STOP_WORDS.split())


class Consultation:
    """A case under way.

    Args:
        opening: what is known before anything is asked.
        what: how the answer has to look, in words.
        read: from a text to (answer, right or wrong); (None, None) where no answer stands in it.
    """

    def __init__(
        self, item: Item, opening: str, what: str, read: Callable[[str], tuple[str | None, float | None]]
    ) -> None:
        self.turns: list[TurnRecord] = []
        self.asked = 0
        self._item, self._read = item, read
        self._facts = Facts(item.facts)
        options = "".join(f"\n{letter}. {text}" for letter, text in item.options.items())
        self._said = f"{opening}\n\n{item.question}{options}\n\n{RULES.format(what=what)}"
        self._answer: str | None = None
        self._correct: float | None = None
        self._stated: float | None = None
        self._modality = "text"

    def prompt(self) -> str:
        return self._said

    def hear(self, text: str) -> bool:
        answer, correct = self._read(_answer_line(text))
        stated = reading.stated_confidence(text)
        if answer is not None:
            self._answer, self._correct, self._stated = answer, correct, stated
        found = _ACTION.search(text)
        # Whoever answers and asks nothing has ended.
        act = found[1].lower() if found else ("done" if answer is not None else "other")
        self.turns.append(
            TurnRecord(
                turn=len(self.turns) + 1,
                information=self._facts.share,
                act={"done": "answer", "other": "other"}.get(act, "ask"),
                stated=stated if answer is not None else None,
                correct=correct,
                modality=self._modality,
            )
        )
        if act == "done" or len(self.turns) > TURNS:
            return True
        self._modality = "text"
        if act == "other":
            self._said = NUDGE
            return False
        self.asked += 1
        told = self._facts.tell(found[2] if found else "")
        self._modality = "image report" if any(is_imaging(fact) for fact in told) else "text"
        self._said = " ".join(told) or UNKNOWN
        if len(self.turns) == TURNS:
            self._said += f"\n\n{LAST}"
        return False

    def scored(self) -> Scored:
        if self._answer is None:
            return Scored(answer=None, correct=0.0, status="unparsed")
        return Scored(answer=self._answer, correct=self._correct, stated=self._stated)


def _answer_line(text: str) -> str:
    """The line of the answer alone: what is asked must not be read as one."""
    found = re.findall(r"^\W*answer\s*:\s*(.*)$", text, re.IGNORECASE | re.MULTILINE)
    return f"Answer: {found[-1]}" if found else ""


class Facts:
    """What may be told of a case, and what was."""

    def __init__(self, facts: Sequence[str]) -> None:
        self._facts = list(facts)
        self._words = [_content(fact) for fact in facts]
        counts = Counter(word for words in self._words for word in words)
        self._weight = {word: math.log(1 + len(facts) / count) for word, count in counts.items()}
        self._told: set[int] = set()

    @property
    def share(self) -> float:
        """Of the facts that were told."""
        return len(self._told) / len(self._facts) if self._facts else 1.0

    def tell(self, question: str) -> list[str]:
        """The facts that fit the question best; for an open question the next one that was not told; [] for what is not known."""
        asked = _content(question)
        scores = [sum(self._weight[word] for word in asked & words) for words in self._words]
        best = max(scores, default=0.0)
        if best > 0:
            chosen = [place for place, score in enumerate(scores) if score > best / 2]
            chosen = sorted(chosen, key=lambda place: -scores[place])[:TOLD_AT_ONCE]
        else:
            left = [place for place in range(len(self._facts)) if place not in self._told]
            chosen = left[:1] if asked & _content(_OPEN_WORDS) else []
        self._told.update(chosen)
        return [self._facts[place] for place in sorted(chosen)]


def _content(text: str) -> set[str]:
    """Words that carry something, endings cut."""
    return {_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _STOP}


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def is_imaging(fact: str) -> bool:
    """Whether a fact reports a picture."""
    return bool(
        re.search(
            r"\b(?:imaging|x-?ray|ct|mri|ultrasound|radiograph|echocardiogram|photograph|scan)\b", fact, re.IGNORECASE
        )
    )


def by_letter(item: Item) -> Callable[[str], tuple[str | None, float | None]]:
    """Reads a choice."""

    def read(text: str) -> tuple[str | None, float | None]:
        said = reading.choice(text, item.options)
        return said, None if said is None else float(said == item.gold)

    return read


def by_name(item: Item) -> Callable[[str], tuple[str | None, float | None]]:
    """Reads a name; right where it holds the whole gold name. Synonyms count as wrong."""

    def read(text: str) -> tuple[str | None, float | None]:
        said = reading.words(reading.last_line(text)) if text else ""
        return (said, float(f" {reading.words(str(item.gold))} " in f" {said} ")) if said else (None, None)

    return read


# mediQ


def mediq(file: str) -> Callable[[Path | None, int], list[Item]]:
    """A loader of mediQ: the case's first sentence is known, its atomic facts may be asked for."""

    def load(folder: Path | None, _: int) -> list[Item]:
        return [
            Item(
                id=str(row["id"]),
                question=row["question"],
                gold=row["answer_idx"],
                options=row["options"],
                facts=tuple(re.sub(r"^\d+\.\s*", "", fact) for fact in row["facts"]),
                opening=_opening(row),
                slices=_specialty(row),
            )
            for row in json_lines(need(folder, file))
        ]

    return load


def _specialty(row: Mapping[str, Any]) -> dict[str, str]:
    found = (row.get("patient") or {}).get("gpt_specialty")
    return {"specialty": str(found)} if found else {}


def _opening(row: Mapping[str, Any]) -> str:
    context = row["context"]
    return str(context[0] if isinstance(context, list) and context else context)


def open_mediq(item: Item, _: str) -> Consultation:
    return Consultation(item, f"A patient: {item.opening}", "the letter", by_letter(item))


# CRAFT-MD


def load_craft(folder: Path | None, _: int) -> list[Item]:
    """The vignettes, of which one sentence is known."""
    return [replace(vignette_item(row, options=True), question=DIAGNOSIS) for row in vignettes(folder)]


def open_craft(item: Item, _: str) -> Consultation:
    return Consultation(item, f"A patient: {item.facts[0]}", "the letter", by_letter(item))


# AgentClinic


def agentclinic(file: str) -> Callable[[Path | None, int], list[Item]]:
    """A loader of AgentClinic's cases; gold is the diagnosis in words."""

    def load(folder: Path | None, _: int) -> list[Item]:
        return [_osce(place, row["OSCE_Examination"]) for place, row in enumerate(json_lines(need(folder, file)))]

    return load


def _osce(place: int, case: Mapping[str, Any]) -> Item:
    parts = ("Patient_Actor", "Physical_Examination_Findings", "Test_Results")
    facts = [fact for part in parts for fact in _flat(part, case.get(part, {}))]
    return Item(
        id=str(place),
        question=str(case["Objective_for_Doctor"]),
        gold=str(case["Correct_Diagnosis"]),
        facts=tuple(facts),
        slices={"modality": "text+image report" if any(map(is_imaging, facts)) else "text"},
    )


def _flat(name: str, value: Any) -> list[str]:
    """Nested findings as sentences: "Test Results, Imaging, Chest CT: normal."."""
    words = name.replace("_", " ")
    if isinstance(value, Mapping):
        inner = "" if name == "Patient_Actor" else f"{words}, "
        return [f"{inner}{fact}" for key, each in value.items() for fact in _flat(key, each)]
    if isinstance(value, list):
        return [f"{words}: {'; '.join(map(str, value))}."]
    return [f"{words}: {str(value).rstrip('.')}."]


def open_agentclinic(item: Item, _: str) -> Consultation:
    opening = (
        "You are a doctor. Ask the patient, examine, and order tests (Action: ASK blood pressure, ASK chest X-ray)."
    )
    return Consultation(item, opening, "the diagnosis, in as few words as it has", by_name(item))


# Riddles

KINDS = {
    "colour": ("red", "blue", "green", "white"),
    "size": ("tiny", "large", "huge", "flat"),
    "material": ("wood", "glass", "iron", "paper"),
    "age": ("new", "old", "ancient", "broken"),
}


def riddles(_: Path | None, seed: int) -> list[Item]:
    """One of four things, told apart by two to four of their properties."""
    rng, items = random.Random(f"riddle:{seed}"), list[Item]()  # noqa: S311 - no secret
    for place in range(100):
        kinds = list(KINDS)[: 2 + place % 3]
        things: list[tuple[str, ...]] = []
        while len(things) < 4:
            thing = tuple(rng.choice(KINDS[kind][:2]) for kind in kinds)
            if len(kinds) > 2 or rng.random() < 0.5:
                thing = (rng.choice(KINDS["colour"]), *thing[1:])
            if thing not in things:
                things.append(thing)
        gold = rng.choice("ABCD")
        hidden = things["ABCD".index(gold)]
        items.append(
            Item(
                id=f"{seed}-{place}",
                question="Which of these do I think of?",
                gold=gold,
                options={letter: ", ".join(thing) for letter, thing in zip("ABCD", things, strict=True)},
                facts=tuple(f"Its {kind} is {value}." for kind, value in zip(kinds, hidden, strict=True)),
                slices={"properties": str(len(kinds))},
            )
        )
    return items


def open_riddle(item: Item, _: str) -> Consultation:
    kinds = ", ".join(fact.split()[1] for fact in item.facts)
    return Consultation(item, f"I think of a thing. You may ask for its {kinds}.", "the letter", by_letter(item))


def _register(name: str, about: str, load: Any, open_: Any, needs: str, family: str = "clinical") -> None:
    caution = CAUTION if family == "clinical" else ""
    register(
        Suite(
            name=name, family=family, about=about, load=load, open=open_, needs=needs, caution=caution, max_tokens=512
        )
    )


_register(
    "mediq", "1,272 cases; asks for facts, or answers", mediq("all_dev_good.jsonl"), open_mediq, "all_dev_good.jsonl"
)
_register(
    "mediq-derm", "140 of dermatology; asks, or answers", mediq("all_craft_md.jsonl"), open_mediq, "all_craft_md.jsonl"
)
_register("craftmd-dialogue", "the vignettes of craftmd, asked for", load_craft, open_craft, VIGNETTES)
for _name, _file, _count in (
    ("agentclinic", "agentclinic_medqa.jsonl", 107),
    ("agentclinic-ext", "agentclinic_medqa_extended.jsonl", 214),
):
    _register(
        _name,
        f"{_count} cases with examination and tests; the diagnosis by its name, so synonyms count as wrong",
        agentclinic(_file),
        open_agentclinic,
        _file,
    )
_register("riddle", "which of four things? ask for its properties", riddles, open_riddle, "", family="synthetic")
