"""What the guard did and why, one JSON object a line; in a file when there is a folder, and the last ones in memory.

No clock: two runs with the same bits have the same log. Numbers that JSON does not know are written as text ("nan", "inf").
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overwinter.errors import UsageError


class EventLog:
    """Appends events; a file is opened for each, so that several readers and a crash do no harm."""

    def __init__(self, path: Path | None = None, *, kept: int = 10_000) -> None:
        self.path = path
        self.events: deque[dict[str, Any]] = deque(maxlen=kept)

    def write(self, kind: str, step: int, **facts: Any) -> None:
        event = {"step": step, "kind": kind, **{name: plain(value) for name, value in facts.items()}}
        self.events.append(event)
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event, allow_nan=False) + "\n")
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error}", "check space and permissions there") from error

    def forget_after(self, step: int) -> None:
        """Drop what a process that was killed wrote of steps that are going to be taken again."""
        self.events = deque((event for event in self.events if event["step"] <= step), maxlen=self.events.maxlen)
        if self.path is None or not self.path.exists():
            return
        lines = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        partial.replace(self.path)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The remembered events of a kind."""
        return [event for event in self.events if event["kind"] == kind]


def _step_of(line: str) -> float:
    """Infinite for a line that a crash has cut off."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def plain(value: Any) -> Any:
    """The same as JSON values."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a file."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name the events.jsonl of a guard") from error
