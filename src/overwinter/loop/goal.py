"""A goal and its acceptance list: fixed when the run starts, always in view, judged by somebody else than the actor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overwinter.errors import UsageError

CHECK_FIELDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "world": (frozenset(), frozenset()),
    "tool": (frozenset({"tool"}), frozenset({"arguments", "contains"})),
    "command": (frozenset({"command"}), frozenset({"root", "contains"})),
    "judge": (frozenset(), frozenset()),
    "none": (frozenset(), frozenset()),
}
"""Kinds of checks and their settings: needed, and possible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Criterion:
    """One line of the acceptance list.

    Attributes:
        id: short name, unique in the list ("a1").
        text: what must hold, in words; shown to the actor and to a judge.
        check: how it is checked, `{"kind": …}` with the settings of that kind (see `loop.verdict`):
            world    the simulator's own outcome;
            tool     a call of a pure tool, `{"tool": …, "arguments": …, "contains": …}`;
            command  a command in the sandbox, `{"command": …, "root": …}`, met when it exits with 0;
            judge    a model that is not the actor reads the evidence;
            none     nobody can check it: the run ends "unverified" at best.
    """

    id: str
    text: str
    check: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})

    def __post_init__(self) -> None:
        kind, given = str(self.check.get("kind")), self.check.keys() - {"kind"}
        if kind not in CHECK_FIELDS:
            raise UsageError(
                f"criterion {self.id!r} has an unknown check {kind!r}", f"use one of: {', '.join(CHECK_FIELDS)}"
            )
        needed, possible = CHECK_FIELDS[kind]
        missing, unknown = sorted(needed - given), sorted(given - needed - possible)
        if missing or unknown:
            # Found out now, not at the end of a long run.
            raise UsageError(
                f"criterion {self.id!r}: its check of kind {kind!r} lacks {missing}, and knows no {unknown}",
                f"it takes {sorted(needed)} and may take {sorted(possible)}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What the run is for.

    Attributes:
        text: the task, in words.
        acceptance: what must hold before it counts as done; empty means nobody can verify it.
    """

    text: str
    acceptance: tuple[Criterion, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError("the goal is empty", "say in a sentence what the run shall achieve")
        ids = [criterion.id for criterion in self.acceptance]
        if len(set(ids)) != len(ids):
            raise UsageError(f"criteria share an id: {ids}", "give each criterion an id of its own")

    def acceptance_json(self) -> list[dict[str, Any]]:
        return [{"id": c.id, "text": c.text, "check": dict(c.check)} for c in self.acceptance]

    @classmethod
    def from_json(cls, text: str, acceptance: Sequence[Mapping[str, Any]]) -> Goal:
        rows = (Criterion(id=row["id"], text=row["text"], check=row["check"]) for row in acceptance)
        return cls(text=text, acceptance=tuple(rows))
