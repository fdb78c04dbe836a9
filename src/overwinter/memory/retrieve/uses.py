"""Uses out of a file: what questions turned out to need, as JSON lines.

    {"question": "when is the boiler due?", "cites": ["run-1#42"]}
    {"question": "who painted the fence?", "cites": []}

`cites` are entries (RUN#ENTRY) or ids of units; none of them means that memory had no answer. `session` may say where it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from overwinter.errors import UsageError
from overwinter.memory.choose import units_cited
from overwinter.memory.retrieve.question import Question
from overwinter.memory.retrieve.refit import Use

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory

_FIELDS = {"question", "cites", "session"}


def read_uses(memory: Memory, path: Path) -> list[Use]:
    """The uses of a file, in order.

    Raises:
        UsageError: the file cannot be read, a line is no use, or it cites what this memory does not hold.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "give a file of JSON lines") from None
    return [_use(memory, line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _use(memory: Memory, line: str, place: str) -> Use:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{place} is no JSON: {error}", 'write {"question": "…", "cites": ["RUN#ENTRY"]}') from None
    wrong = not isinstance(row, dict) or not {"question", "cites"} <= row.keys() <= _FIELDS
    if wrong or not isinstance(row["question"], str) or not isinstance(row["cites"], list):
        raise UsageError(
            f"{place} is no use", 'write {"question": "…", "cites": ["RUN#ENTRY"]}, cites [] for no answer'
        )
    question = Question(text=row["question"], session=str(row.get("session", "")), now_us=memory.store.now_us())
    return Use(question=question, relevant=frozenset(id_ for cite in row["cites"] for id_ in _ids(memory, cite, place)))


def _ids(memory: Memory, cite: object, place: str) -> Iterator[str]:
    try:
        yield from (unit.id for unit in units_cited(memory, str(cite)))
    except UsageError as error:
        raise UsageError(
            f"{place} cites {cite!r}, which this memory does not hold", "cite what `overwinter memory search` shows"
        ) from error
