"""Lines that report: "P: Y", "pump.mode = eco", and flat JSON objects in the results of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from overwinter.memory.claims.phrases import LINE

MAX_LINES = 48

_NO_KEY = frozenset(
    [
        "note",
        "warning",
        "error",
        "info",
        "http",
        "https",
        "usage",
        "example",
        "step",
        "task",
        "result",
        "output",
        "input",
        "from",
        "to",
        "re",
        "subject",
        "date",
        "time",
        "todo",
        "hint",
        "see",
        "file",
        "line",
        "url",
        "debug",
        "trace",
        "summary",
        "question",
        "answer",
        "observation",
        "action",
        "thought",
        "stdout",
        "stderr",
        "exit",
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """`subject` is "" where the line does not say whose predicate it is."""

    subject: str
    predicate: str
    object: str
    first: int
    last: int


def read(text: str) -> Iterator[Line]:
    if text.lstrip().startswith("{"):
        yield from _json(text)
        return
    start = 0
    for number, line in enumerate(text.splitlines(keepends=True)):
        if number >= MAX_LINES:
            return
        words = line.strip(" \t\r\n-*•|").rstrip(".,;")
        match = LINE.fullmatch(words)
        if match and _is_key(match["p"]):
            first = start + line.index(words)
            subject, dot, predicate = match["p"].rpartition(".")
            object_ = match["o"].strip("\"'` ")
            if object_ and (not dot or (subject and predicate)) and not object_.startswith("//"):
                yield Line(subject=subject, predicate=predicate, object=object_, first=first, last=first + len(words))
        start += len(line)


def _is_key(words: str) -> bool:
    plain = words.casefold().strip()
    return (
        plain not in _NO_KEY
        and len(plain.split()) <= 4
        and not re.search(r"['’]s\b|\b(?:is|was|are|of|for|set|my|our)\b", plain)
    )


def _json(text: str) -> Iterator[Line]:
    try:
        data = json.loads(text)
    except ValueError:
        return
    place = 0
    for key, value in data.items():
        if not isinstance(value, str | int | float | bool) or (isinstance(value, str) and not 0 < len(value) <= 120):
            continue
        said = json.dumps(value, ensure_ascii=False)
        found = re.compile(re.escape(json.dumps(key, ensure_ascii=False)) + r"\s*:\s*" + re.escape(said)).search(
            text, place
        )
        if found is None:
            continue
        place = found.end()
        subject, _, predicate = str(key).rpartition(".")
        yield Line(subject=subject, predicate=predicate, object=said.strip('"'), first=found.start(), last=found.end())
