"""Recorded answers: one JSON line per answer to one question, from our own runs, an endpoint, or anybody's file.

Everything the bench says is computed from these, so published outputs can be scored again and a report needs no model.

    {"overwinter_answers": 1, "suite": "medqa", "model": "some-model@rev", "prompt": "v1"}
    {"item": "q17", "sample": 0, "answer": "B", "correct": 1, "confidence": {"stated": 0.8}, "tokens_in": 120, "tokens_out": 14}

The first line may be missing. Gzip by the name's ending. A line that cannot be read is an error that names it, never skipped.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from overwinter.errors import UsageError

FORMAT_VERSION = 1
STATUSES = ("ok", "unparsed", "refused", "error", "limit")
"""ok: an answer was read. unparsed: text without an answer. refused: the model declined. error: no text came. limit: cut off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What all answers of a file share; "" where it is not known."""

    suite: str = ""
    model: str = ""
    revision: str = ""
    prompt: str = ""
    tools: str = ""
    language: str = ""
    run: str = ""
    """The journal they come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer to one question.

    Attributes:
        item: the question; samples of one item are not independent.
        sample: 0, 1, 2 … of the same question.
        answer: as it is counted; None if none could be read.
        correct: score in 0..1; None while nobody has scored it.
        confidence: signal → value; a probability where it lies in 0..1, else on a scale of its own.
        text: what was said, where it was kept.
        slices: facts to report by: specialty, difficulty, modality, turn …
        entry: RUN#SEQ of the completion.
        value: a figure on a scale of its own, as a world's score.
        turns: of a dialogue, where it stood after each turn: turn, information (0..1), act, stated, correct, modality.
    """

    item: str
    sample: int = 0
    answer: str | None = None
    correct: float | None = None
    status: str = "ok"
    confidence: Mapping[str, float] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    tool_calls: int = 0
    micro_usd: int = 0
    seconds: float = 0.0
    text: str = ""
    slices: Mapping[str, str] = field(default_factory=dict)
    entry: str = ""
    value: float | None = None
    turns: Sequence[Mapping[str, Any]] = ()

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True, kw_only=True)
class Recording:
    """All answers of one model to one suite."""

    header: Header
    answers: tuple[Answer, ...]
    name: str = ""

    def by_item(self) -> dict[str, list[Answer]]:
        """Answers by question, samples in order."""
        found: dict[str, list[Answer]] = defaultdict(list)
        for answer in sorted(self.answers, key=lambda each: each.sample):
            found[answer.item].append(answer)
        return dict(found)

    def scores(self) -> dict[str, list[float]]:
        """Scores by question; what is not scored is left out."""
        found: dict[str, list[float]] = defaultdict(list)
        for answer in self.answers:
            if answer.correct is not None:
                found[answer.item].append(answer.correct)
        return dict(found)

    def signals(self) -> list[str]:
        """The names of all confidences in it."""
        return sorted({name for answer in self.answers for name in answer.confidence})


_HEADER_MARK = "overwinter_answers"
_FIELDS = {each.name for each in fields(Answer)}
_HEADER_FIELDS = {each.name for each in fields(Header)}


def read_answers(path: Path) -> Recording:
    """Read a file of recorded answers.

    Raises:
        UsageError: it is not there, or a line is no answer; the message names the line and what is wrong.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name a file of recorded answers, one JSON object a line")
    header, answers, seen = Header(), list[Answer](), set[tuple[str, int]]()
    with _open(path, "rt") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = _object(path, number, line)
            if _HEADER_MARK in row:
                header = _header(path, number, row)
                continue
            answer = _answer(path, number, row)
            if (answer.item, answer.sample) in seen:
                raise _bad(path, number, f"sample {answer.sample} of item {answer.item!r} occurs twice")
            seen.add((answer.item, answer.sample))
            answers.append(answer)
    if not answers:
        raise UsageError(
            f"{path} holds no answers", "record some with `overwinter bench run`, or convert a file of yours"
        )
    return Recording(header=header, answers=tuple(answers), name=path.name.split(".")[0])


def write_answers(path: Path, header: Header, answers: Iterable[Answer]) -> None:
    """Write a file, under its name once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with _open(draft, "wt", compressed=path.name.endswith(".gz")) as file:
        for line in lines_of(header, answers):
            file.write(line + "\n")
    with draft.open("rb") as made:
        os.fsync(made.fileno())
    draft.replace(path)


def lines_of(header: Header, answers: Iterable[Answer]) -> Iterator[str]:
    """The lines of a file; fields at their defaults are left out."""
    yield json.dumps(
        {_HEADER_MARK: FORMAT_VERSION} | {k: v for k, v in asdict(header).items() if v}, ensure_ascii=False
    )
    for answer in answers:
        row = {each.name: getattr(answer, each.name) for each in fields(Answer)}
        kept = {
            k: dict(v) if isinstance(v, Mapping) else v
            for k, v in row.items()
            if v not in (None, "", 0, 0.0, {}, ()) or k == "item"
        }
        for name in ("correct", "value"):
            # Nought is a score, not a default.
            if getattr(answer, name) is not None:
                kept[name] = getattr(answer, name)
        if answer.status == "ok":
            kept.pop("status")
        yield json.dumps(kept, ensure_ascii=False)


def _open(path: Path, mode: str, *, compressed: bool | None = None) -> IO[str]:
    if path.name.endswith(".gz") if compressed is None else compressed:
        return gzip.open(path, mode, encoding="utf-8")  # type: ignore[return-value]
    return path.open(mode, encoding="utf-8")


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _bad(path, number, f"is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise _bad(path, number, "is no JSON object")
    return row


def _header(path: Path, number: int, row: dict[str, Any]) -> Header:
    if row.pop(_HEADER_MARK) != FORMAT_VERSION:
        raise _bad(path, number, f"is of another format version; this program reads {FORMAT_VERSION}")
    unknown = sorted(row.keys() - _HEADER_FIELDS)
    if unknown:
        raise _bad(path, number, f"has unknown header fields {unknown}")
    return Header(**row)


def _answer(path: Path, number: int, row: dict[str, Any]) -> Answer:
    unknown = sorted(row.keys() - _FIELDS)
    if unknown or "item" not in row:
        raise _bad(path, number, f"has unknown fields {unknown}" if unknown else "names no item")
    row["item"] = str(row["item"])
    correct, status = row.get("correct"), row.get("status", "ok")
    if isinstance(correct, bool):
        row["correct"] = correct = float(correct)
    if correct is not None and not (isinstance(correct, int | float) and 0 <= correct <= 1):
        raise _bad(path, number, f"has correct={correct!r}, which is no score from 0 to 1")
    if status not in STATUSES:
        raise _bad(path, number, f"has status {status!r}; there are {', '.join(STATUSES)}")
    confidence = row.get("confidence", {})
    if isinstance(confidence, int | float):
        row["confidence"] = confidence = {"stated": float(confidence)}
    if not isinstance(confidence, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in confidence.values()
    ):
        raise _bad(path, number, "has a confidence that is neither a number nor an object of numbers")
    if row.get("answer") is not None:
        row["answer"] = str(row["answer"])
    row["turns"] = tuple(row.get("turns", ()))
    return Answer(**row)


def _bad(path: Path, number: int, what: str) -> UsageError:
    return UsageError(f"line {number} of {path} {what}", "mend the line; docs/bench.md lists the fields")


def scored_pairs(recording: Recording, signal: str) -> tuple[list[float], list[float], list[str], int]:
    """(confidence, correct, item) of the answers that have this signal and a score of 0 or 1, and how many have a score but no
    such confidence: those are counted, never filled in."""
    said, right, items, missing = [], [], [], 0
    for answer in recording.answers:
        if answer.correct is None or answer.correct not in (0.0, 1.0):
            continue
        if signal not in answer.confidence:
            missing += 1
            continue
        said.append(float(answer.confidence[signal]))
        right.append(answer.correct)
        items.append(answer.item)
    return said, right, items, missing


def with_agreement(recording: Recording) -> Recording:
    """The modal answer of each question as one answer, whose confidence "agreement" is its share of the samples; correct by the
    majority of the samples that gave it (half is enough)."""
    made = []
    for item, answers in recording.by_item().items():
        counted: dict[str, list[Answer]] = defaultdict(list)
        for answer in answers:
            if answer.answer is not None:
                counted[answer.answer].append(answer)
        if not counted:
            made.append(Answer(item=item, status="unparsed", correct=0.0, slices=answers[0].slices))
            continue
        modal = max(counted.values(), key=len)
        scores = [each.correct for each in modal if each.correct is not None]
        made.append(
            Answer(
                item=item,
                answer=modal[0].answer,
                correct=float(sum(scores) / len(scores) >= 0.5) if scores else None,
                confidence={"agreement": len(modal) / len(answers)},
                tokens_in=sum(each.tokens_in for each in answers),
                tokens_out=sum(each.tokens_out for each in answers),
                tool_calls=sum(each.tool_calls for each in answers),
                micro_usd=sum(each.micro_usd for each in answers),
                seconds=sum(each.seconds for each in answers),
                slices=modal[0].slices,
            )
        )
    return Recording(header=recording.header, answers=tuple(made), name=recording.name)


def one_per_item(answers: Sequence[Answer]) -> bool:
    """Whether each question has just one answer."""
    return len({answer.item for answer in answers}) == len(answers)
