"""Tool calls in a model's text, read as the text grows.

Three ways of writing a call are known, whichever the model's family was taught:

    <tool_call>{"name": "heat", "arguments": {"hours": 3}}</tool_call>      any number, with text around them
    {"name": "heat", "parameters": {"hours": 3}}                            alone from the first character on, also with
    [{"tool": "heat", "arguments": {"hours": 3}}, …]                        "tool" for "name", in a list, or divided by ; or ,

What is none of these is text and comes out as it is: a reader never drops what it cannot read. Names that are not among the tools
are not calls. Arguments come out exactly as the model wrote them, piece by piece, as soon as the name is known.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"
NAME_KEYS, ARGUMENT_KEYS = ("name", "tool"), ("arguments", "parameters")
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Said:
    """A piece of text."""

    text: str


@dataclass(frozen=True)
class CallBegun:
    """A call of a known tool begins."""

    index: int
    name: str


@dataclass(frozen=True)
class Argued:
    """More of a call's arguments, as the model wrote them."""

    index: int
    text: str


Piece = Said | CallBegun | Argued


class CallReader:
    """Reads one answer. What comes out, put together, depends on the text alone and not on how it was cut.

    Args:
        names: of the tools; none at all makes everything text.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._held = ""
        """Read and not given out yet."""
        self._object: _OpenObject | None = None
        self._where = "start"
        """start: a bare call may begin; text: only a tag begins one; behind: the same, and space may belong to nothing."""
        self.begun = 0
        """Calls whose name is known."""
        self.ended = 0
        """Calls whose object is complete."""

    def push(self, text: str) -> list[Piece]:
        """The next piece of text; what can be said of it now."""
        if not self._names:
            return [Said(text)] if text else []
        self._held += text
        pieces: list[Piece] = []
        while self._advance(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """The text has ended. What was held back is text after all, unless it belongs to a call that was cut off."""
        held, self._held = self._held, ""
        if self._object is not None and self._object.is_named:
            if self._object.scanner.is_done:
                self.ended += 1
                return []
            rest = self._object.scanner.raw_arguments[self._object.given :]
            return [Argued(self.begun - 1, rest)] if rest else []
        if self.begun and self._where != "text" and not held.strip(_SPACE + ";,]"):
            return []
        return [Said(held)] if held else []

    def _advance(self, pieces: list[Piece]) -> bool:
        """One step; False when it takes more text."""
        if self._object is not None:
            return self._read_object(self._object, pieces)
        return self._read_start() if self._where == "start" else self._read_text(pieces)

    def _read_start(self) -> bool:
        """At the very beginning, or behind a bare call."""
        body = self._held.lstrip(_SPACE + (";,]" if self.begun else ""))
        if body.startswith("[") and not self.begun:
            body = body[1:].lstrip(_SPACE)
        if not body:
            return False
        if body[0] == "{":
            self._object = _OpenObject(brace=len(self._held) - len(body), is_tagged=False)
        else:
            self._where = "text"
        return True

    def _read_text(self, pieces: list[Piece]) -> bool:
        if self._where == "behind":
            body = self._held.lstrip(_SPACE)
            if OPEN.startswith(body[: len(OPEN)]) and len(body) < len(OPEN):
                return False
            if body.startswith(OPEN):
                self._held = body
            self._where = "text"
        at = self._held.find(OPEN)
        self._show(pieces, at if at >= 0 else len(self._held) - _overlap(self._held, OPEN))
        if at < 0:
            return False
        body = self._held[len(OPEN) :].lstrip(_SPACE)
        if not body:
            return False
        if body[0] == "{":
            self._object = _OpenObject(brace=len(self._held) - len(body), is_tagged=True)
        else:
            self._show(pieces, len(OPEN))  # a tag around something else
        return True

    def _read_object(self, read: _OpenObject, pieces: list[Piece]) -> bool:
        scanner = read.scanner
        scanner.push(self._held[read.brace + scanner.seen :])
        if not read.is_named and scanner.name in self._names:
            read.is_named = True
            pieces.append(CallBegun(self.begun, str(scanner.name)))
            self.begun += 1
        if read.is_named and len(scanner.arguments) > read.given:
            pieces.append(Argued(self.begun - 1, scanner.arguments[read.given :]))
            read.given = len(scanner.arguments)
        if scanner.is_done and read.is_named:
            return self._end_call(read)
        if scanner.is_done or scanner.is_broken:
            if read.is_named:  # begun and then broken: the rest of it is not arguments
                self._held = self._held[read.brace + scanner.length :]
            else:  # it calls nothing; a tag further on may still begin a call
                self._show(pieces, len(OPEN) if read.is_tagged else read.brace + 1)
            self._object, self._where = None, "text"
            return True
        return False

    def _end_call(self, read: _OpenObject) -> bool:
        """Behind a complete object; a tagged one takes its closing tag with it."""
        end = read.brace + read.scanner.length
        if read.is_tagged:
            body = self._held[end:].lstrip(_SPACE)
            if len(body) < len(CLOSE) and CLOSE.startswith(body):
                return False
            if body.startswith(CLOSE):
                end = len(self._held) - len(body) + len(CLOSE)
        self._held = self._held[end:]
        self._object, self._where = None, "behind" if read.is_tagged else "start"
        self.ended += 1
        return True

    def _show(self, pieces: list[Piece], count: int) -> None:
        if count:
            pieces.append(Said(self._held[:count]))
            self._held = self._held[count:]


class _OpenObject:
    """An object that may be a call: where its brace stands in the held text, and how much of it was given out."""

    def __init__(self, *, brace: int, is_tagged: bool) -> None:
        self.scanner = ObjectScanner()
        self.brace = brace
        self.is_tagged = is_tagged
        self.is_named = False
        self.given = 0
        """Characters of the arguments."""


class ObjectScanner:
    """Finds the name and the arguments of a call in a JSON object that is still being written."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._mark = 0
        """Where the present string began."""
        self._key: str | None = None
        """The member whose value is being read, or was read last."""
        self._expects = "key"
        self._begin: int | None = None
        """Where the present value began."""
        self._spans: dict[str, tuple[int, int | None]] = {}
        self.is_done = False
        self.is_broken = False

    @property
    def seen(self) -> int:
        """Characters that were pushed."""
        return len(self._text)

    @property
    def length(self) -> int:
        """Characters that were read: of the object, once it is complete."""
        return self._at

    @property
    def name(self) -> str | None:
        """The tool's name, once its string is complete."""
        for key in NAME_KEYS:
            begin, end = self._spans.get(key, (0, None))
            if end is not None:
                value = _loads(self._text[begin:end])
                return value if isinstance(value, str) else None
        return None

    @property
    def raw_arguments(self) -> str:
        """The arguments as far as they are written."""
        span = self._argument_span
        return "" if span is None else self._text[span[0] : self._at if span[1] is None else span[1]]

    @property
    def arguments(self) -> str:
        """What is certain of them: an object as far as it is written, anything else when it is whole.

        Some models quote them twice: a string that holds an object stands for it. An object without arguments has {}.
        """
        span, raw = self._argument_span, self.raw_arguments
        if span is None:
            return "{}" if self.is_done else ""
        if raw.startswith("{"):
            return raw
        if span[1] is None:
            return ""
        value = _loads(raw)
        if value is None:
            return "{}"
        return value if isinstance(value, str) and isinstance(_loads(value), dict) else raw

    @property
    def _argument_span(self) -> tuple[int, int | None] | None:
        return next((self._spans[key] for key in ARGUMENT_KEYS if key in self._spans), None)

    def push(self, text: str) -> None:
        """Read on; stops at the object's end and at what is no JSON object."""
        self._text += text
        while self._at < len(self._text) and not (self.is_done or self.is_broken):
            self._read(self._text[self._at])
            self._at += 1

    def _read(self, sign: str) -> None:
        if self._in_string:
            self._read_string(sign)
        elif sign == '"':
            self._in_string, self._mark = True, self._at
            self._begin_value(allowed=("key", "value"))
        elif sign in "{[":
            if self._depth:
                self._begin_value(allowed=("value",))
            self._depth += 1
        elif sign in "}]":
            self._close(sign)
        elif self._depth == 1:
            self._read_member(sign)

    def _read_string(self, sign: str) -> None:
        if self._escaped:
            self._escaped = False
        elif sign == "\\":
            self._escaped = True
        elif sign == '"':
            self._in_string = False
            if self._depth == 1 and self._expects == "key":
                key = _loads(self._text[self._mark : self._at + 1])
                self._key, self._expects = (key if isinstance(key, str) else ""), "colon"
            elif self._depth == 1:
                self._end_value(self._at + 1)

    def _read_member(self, sign: str) -> None:
        """A sign between the members of the object, or of a number, true, false, null."""
        if sign == ":" and self._expects == "colon":
            self._expects, self._begin = "value", None
        elif sign == "," and self._expects in ("value", "comma"):
            self._end_value(self._at)
            self._expects = "key"
        elif sign in _SPACE:
            if self._begin is not None and self._expects == "value":
                self._end_value(self._at)
        elif self._expects == "value":
            self._begin_value(allowed=("value",))
        else:
            self.is_broken = True

    def _close(self, sign: str) -> None:
        if self._depth == 1:
            self._end_value(self._at)
            self.is_broken = sign != "}"
            self.is_done = not self.is_broken
        elif self._depth == 2:
            self._end_value(self._at + 1)
        self._depth -= 1

    def _begin_value(self, allowed: tuple[str, ...]) -> None:
        if self._depth != 1:
            return
        if self._expects not in allowed:
            self.is_broken = True
        elif self._expects == "value" and self._begin is None:
            self._begin = self._at
            if self._key is not None:
                self._spans[self._key] = (self._at, None)

    def _end_value(self, end: int) -> None:
        if self._begin is not None and self._key is not None:
            self._spans[self._key] = (self._begin, end)
            self._begin = None
            self._expects = "comma"


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _overlap(text: str, mark: str) -> int:
    """How many of the last characters may be the beginning of `mark`."""
    return next((n for n in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:n])), 0)
