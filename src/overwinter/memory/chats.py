"""Conversations and texts of other systems, as observations for the notebook. Each has an *origin*, a hash of what it says, who said
it, when and in which session; what the notebook already has from that origin is not written again, so an import can be repeated.

Understood are: JSONL with one message a line (`role`, `content`, and if known `time`, `name`, `session`), JSONL or JSON with whole
conversations (`messages`, or `conversations` with `from` and `value`), and text or Markdown as a document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal.canonical import canonical, digest

PIECE_CHARS = 16_000
"""A longer document is written in pieces, cut between paragraphs where it can be."""
ROLES = {"user": "user", "human": "user", "assistant": "agent", "gpt": "agent", "model": "agent", "ai": "agent"}
TEXT_ENDINGS = frozenset({".txt", ".md", ".markdown", ".rst", ".text"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """Something somebody said, or a piece of a document.

    Attributes:
        place: number in its session: the same words twice in one conversation are two things.
        data: further fields for `observed.data`: facts, kind, provenance.
    """

    text: str
    actor: str
    session: str
    place: int
    happened_us: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """The same for the same thing wherever it is imported from and to."""
        kind = self.data.get("kind", "")
        return digest(canonical([self.text, self.actor, self.session, self.place, self.happened_us, kind]))[:32]

    def observed_data(self) -> dict[str, Any]:
        data = {"session": self.session, "actor": self.actor, "origin": self.origin, **self.data}
        return data if self.happened_us is None else {**data, "happened_us": self.happened_us}


def read_chats(path: Path, *, session: str = "", kind: str = "") -> Iterator[Said]:
    """What a file of another system says.

    Args:
        session: what all of it belongs to; else what the lines say, else the file's name.
        kind: "chat" or "text"; by the file's ending if empty.

    Raises:
        UsageError: it cannot be read, or is of no known form; the message names the line.
    """
    name = session or path.stem
    try:
        if kind == "text" or (not kind and path.suffix.lower() in TEXT_ENDINGS):
            yield from _document(path, name)
            return
        with path.open(encoding="utf-8") as file:
            yield from _conversations(_values(file, path), name, fixed=bool(session))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a text file in UTF-8") from error


def _document(path: Path, session: str) -> Iterator[Said]:
    for place, piece in enumerate(pieces(path.read_text("utf-8"))):
        data = {"kind": "document"}
        yield Said(text=piece, actor=f"document:{path.name}", session=session, place=place, data=data)


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most `PIECE_CHARS`, cut between paragraphs, else lines, else anywhere."""
    while len(text) > PIECE_CHARS:
        cut = max(text.rfind(mark, 0, PIECE_CHARS) + len(mark) for mark in ("\n\n", "\n"))
        cut = cut if cut > PIECE_CHARS // 4 else PIECE_CHARS
        if text[:cut].strip():
            yield text[:cut]
        text = text[cut:]
    if text.strip():
        yield text


def _values(file: Iterable[str], path: Path) -> Iterator[tuple[str, Any]]:
    """(place in words, value) of each line, or of each item of one JSON list."""
    if path.suffix.lower() == ".json":
        whole = _parse("".join(file), str(path))
        yield from (
            (f"{path}, item {number}", each)
            for number, each in enumerate(whole if isinstance(whole, list) else [whole])
        )
        return
    for number, line in enumerate(file, 1):
        if line.strip():
            yield f"{path}, line {number}", _parse(line, f"{path}, line {number}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"{where} is not JSON: {error}", "give JSONL, one message a line, or a text with --as text"
        ) from error


def _conversations(values: Iterable[tuple[str, Any]], name: str, *, fixed: bool) -> Iterator[Said]:
    places: dict[str, int] = {}
    for number, (where, value) in enumerate(values):
        messages: Any = value.get("messages", value.get("conversations")) if isinstance(value, dict) else None
        whole = isinstance(messages, list)
        own = str(value.get("session") or value.get("id") or "") if isinstance(value, dict) else ""
        session = name if fixed or not (own or whole) else own or f"{name}-{number}"
        for message in messages if whole else [value]:
            said = _message(message, where, session, places.get(session, 0))
            if said is not None:
                places[session] = said.place + 1
                yield said


def _message(raw: Any, where: str, session: str, place: int) -> Said | None:
    if not isinstance(raw, dict) or not ({"role", "from"} & raw.keys()) or not ({"content", "value"} & raw.keys()):
        raise UsageError(f"{where} is no message: it needs role and content", 'write {"role": "user", "content": "…"}')
    text = _content(raw.get("content", raw.get("value")))
    if not text.strip():
        return None
    role, name = str(raw.get("role", raw.get("from"))).lower(), str(raw.get("name") or "")
    actor = ROLES.get(role) or (
        f"tool:{name or 'unknown'}" if role in {"tool", "function"} else f"person:{name or role}"
    )
    if actor == "user" and name:
        actor = f"person:{name}"
    time = next((raw[key] for key in ("time", "timestamp", "created_at", "date") if raw.get(key)), None)
    return Said(text=text, actor=actor, session=session, place=place, happened_us=_time_us(time, where))


def _content(content: Any) -> str:
    """Text of a message's content: a string, or parts of which the texts count."""
    if isinstance(content, list):
        parts = (part.get("text", "") if isinstance(part, dict) else str(part) for part in content)
        return "\n".join(part for part in parts if part)
    return "" if content is None else str(content)


def _time_us(value: Any, where: str) -> int | None:
    """Microseconds since 1970 of ISO 8601 text (UTC where it names no zone) or a number of seconds, milliseconds or microseconds."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Seconds until the year 5138, then milliseconds, then microseconds.
        scale = 1_000_000 if abs(value) < 1e11 else 1_000 if abs(value) < 1e14 else 1
        return round(value * scale)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise UsageError(
            f"{where}: {value!r} is no time", "write ISO 8601, as 2031-04-07T12:30:00Z, or seconds"
        ) from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)
