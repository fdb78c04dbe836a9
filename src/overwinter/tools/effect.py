"""What a call does to the world, who asks for it, and what comes back.

The effect class decides what a resumed run may do with a call whose receipt is missing:

    pure          nothing changed              call again
    idempotent    twice is the same as once    call again
    keyed         the other side drops a       call again with the same key
                  repeat that bears a known key
    irreversible  twice is worse than once     never again: probe, else ask a person

The key is part of the contract of a run: a changed recipe would let a resumed run pay twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from overwinter.errors import ToolError

ErrorKind = Literal["crash", "timeout", "arguments", "unknown", "denied", "unavailable"]


class Effect(StrEnum):
    """What repeating a call would do; declared by the author of the tool."""

    PURE = "pure"
    IDEMPOTENT = "idempotent"
    KEYED = "keyed"
    IRREVERSIBLE = "irreversible"

    @property
    def repeatable(self) -> bool:
        """Whether a call in doubt may be made again (`keyed`: with the same key)."""
        return self is not Effect.IRREVERSIBLE


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolContext:
    """Who is calling. Given to functions that declare a parameter of this type; never part of the schema.

    `entry` is the journal entry of the intent. `deadline_s` is how many seconds the call may still take, None for
    "the tool's own limit".
    """

    run: str
    entry: int
    idempotency_key: str
    deadline_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """What one call brought. `text` is for the model, `data` for programs.

    `data["in_doubt"]` is True where nobody can say whether the effect happened.
    """

    ok: bool
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    error: ErrorKind | None = None
    truncated_bytes: int = 0
    wall_s: float = 0.0


def failure(kind: ErrorKind, text: str, **data: Any) -> ToolResult:
    """A failed result. Tools return it to refuse a call for certain, before anything has happened."""
    return ToolResult(ok=False, text=text, data=data, error=kind)


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, ASCII, no NaN. `1` and `1.0` stay different.

    Raises:
        ToolError: the value is not plain JSON (a tuple, a set, a non-string key, NaN, an object).
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as reason:
        raise ToolError(f"this value has no canonical JSON: {reason}", "pass what `Tool.validate` returned") from reason
    # json.dumps quietly turns {1: 2} into {"1": 2} and tuples into lists; two values with one spelling share no key.
    if json.loads(text) != value:
        raise ToolError(f"this value changes when written as JSON: {text[:200]}", "pass what `Tool.validate` returned")
    return text


def idempotency_key(run: str, entry: int, tool: str, arguments: dict[str, Any]) -> str:
    """The key that marks one effect: SHA-256, in hex, of the canonical JSON of these four under these names.

    The same in every process and version; a resumed run finds the same key for the same intent.
    """
    parts = {"run": run, "entry": entry, "tool": tool, "arguments": arguments}
    return hashlib.sha256(canonical_json(parts).encode("ascii")).hexdigest()
