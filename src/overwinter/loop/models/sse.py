"""Server-sent events: bytes in, in pieces of any size; events out.

A network may cut a stream anywhere: inside a line, between CR and LF, inside one UTF-8 character. So the decoder works
on bytes, keeps what is not a whole line yet, and decodes a line only when it is complete. Whatever the pieces, the
events are the same; a property test holds it to that.
"""

from __future__ import annotations

from dataclasses import dataclass

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event: its name ("" where the stream names none) and its data lines joined with newlines."""

    name: str
    data: str


class SseDecoder:
    """Turns the bytes of one stream into events."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._searched = 0  # no line ends before this offset, so one long line is not searched again with every piece
        self._first_line = True
        self._name = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes. Raises UnicodeDecodeError where a whole line is not UTF-8."""
        self._unread += piece
        events: list[Event] = []
        while (line := self._next_line()) is not None:
            if (event := self._take(self._decode(line))) is not None:
                events.append(event)
        return events

    def finish(self) -> list[Event]:
        """The event a stream left open when it ended without the closing empty line; servers forget that line.

        The standard drops such an event. We keep it: a half-written one is no valid JSON and is found out by the
        reader, a whole one is an answer that was paid for.
        """
        rest, self._unread = bytes(self._unread), bytearray()
        last = self._take(self._decode(rest.rstrip(b"\r"))) if rest else None
        closing = self._take("")
        return [event for event in (last, closing) if event is not None]

    def _decode(self, line: bytes) -> str:
        if self._first_line:
            line, self._first_line = line.removeprefix(_BYTE_ORDER_MARK), False
        return line.decode("utf-8")

    def _next_line(self) -> bytes | None:
        """The next whole line without its end (LF, CRLF or CR), or None."""
        buffer = self._unread
        ends = [at for at in (buffer.find(b"\n", self._searched), buffer.find(b"\r", self._searched)) if at >= 0]
        if not ends:
            self._searched = len(buffer)
            return None
        at = min(ends)
        width = 1
        if buffer[at] == ord("\r"):
            if at + 1 == len(buffer):
                self._searched = at
                return None  # an LF that belongs to this CR may be the next byte to arrive
            width = 2 if buffer[at + 1] == ord("\n") else 1
        line = bytes(buffer[:at])
        del buffer[: at + width]
        self._searched = 0
        return line

    def _take(self, line: str) -> Event | None:
        if not line:
            event = Event(name=self._name, data="\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "error":  # older llama.cpp servers: `error: {...}` for `data: {"error": {...}}`
            self._name = "error"
            self._data.append(value)
        return None  # comments (empty field), ids, retry hints and unknown fields carry nothing we use
