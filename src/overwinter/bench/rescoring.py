"""Recorded answers scored by a suite: published outputs, or answers that were made elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from overwinter.bench.answers import Answer, Recording
from overwinter.bench.suite import Item, Suite
from overwinter.errors import UsageError


def rescored(recording: Recording, suite: Suite, folder: Path | None, *, anew: bool = False) -> Recording:
    """The same answers with their scores, read from `text` or else from `answer`.

    Args:
        anew: score what is scored already, too.

    Raises:
        UsageError: answers have to be scored and the suite's data is missing, or none of its questions is theirs.
    """
    open_ = [answer for answer in recording.answers if anew or answer.correct is None]
    if not open_:
        return recording
    if suite.world:
        raise UsageError(
            f"{suite.name!r} is played: its outcomes are known only while playing", "record them with `correct`"
        )
    items = {item.id: item for item in suite.load(folder, 0)}
    known = sum(answer.item in items for answer in open_)
    if not known:
        example = next(iter(items))
        raise UsageError(
            f"none of the {len(open_)} answers to be scored belongs to a question of {suite.name!r}",
            f"name questions as the suite does, for example {example!r}",
        )
    made = [
        _scored(answer, suite, items[answer.item])
        if answer.item in items and (anew or answer.correct is None)
        else answer
        for answer in recording.answers
    ]
    return replace(recording, answers=tuple(made))


def _scored(answer: Answer, suite: Suite, item: Item) -> Answer:
    dialogue = suite.begin(item, "reason")
    dialogue.prompt()
    # Of an answer alone the line is made that a model would have ended with.
    dialogue.hear(answer.text or f"Answer: {answer.answer or ''}")
    found = dialogue.scored()
    stated = {} if found.stated is None or "stated" in answer.confidence else {"stated": found.stated}
    return replace(
        answer,
        answer=found.answer,
        correct=found.correct,
        status=answer.status if answer.status not in ("ok", "unparsed") else found.status,
        confidence={**answer.confidence, **stated},
        slices={**item.slices, **answer.slices},
    )
