"""From entries to units: a pure function of the journal, so that an index can be deleted and derived again with the same ids.

What a unit becomes depends on its run's own line alone, never on other runs or on the order in which runs are looked at. Of the
entries before it, three things bear on it: which call a receipt answers, what memory had brought up (`repeats`), and how many
units the session held.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from overwinter.errors import StoreError
from overwinter.journal import Entry, Store, unpack
from overwinter.memory.chunk import Range, chunks
from overwinter.memory.repeats import REACH, Recalled
from overwinter.memory.said import BRINGING_TOOLS, Frame, Said, said
from overwinter.memory.unit import (
    BOILERPLATE,
    INJECTED,
    INSTRUCTION,
    SECRET,
    UNTRUSTED,
    Unit,
    rough_tokens,
    text_digest,
    unit_id,
)

KEPT_RUNS = 64
"""Runs whose state is kept at hand; that of others is read from the journal again."""

_MARKER = re.compile(r"\[redacted [^\]\n]{1,40}\]")
_EMPTY_WORDS = frozenset(
    {"ok", "okay", "done", "none", "null", "nil", "true", "false", "success", "yes", "no", "n a", "empty", "no results"}
    | {"no result", "nothing", "nothing happens", "no output", "exit 0", "exit code 0", "status ok", "ok true"}
)


class _Redacted(Protocol):
    @property
    def text(self) -> str: ...


class _Line:
    """What of a run's line bears on its next entry."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.next_seq = 0
        self.tools: dict[int, str] = {}
        self.asked: dict[str, str] = {}
        self.places: dict[str, int] = {}
        self.recalled = Recalled()


class Deriver:
    """Derives units, entry by entry, in the order of each run.

    Args:
        redact: takes the secrets out of a text; what it takes out is marked "[redacted KIND]".
        is_instruction: whether an untrusted text reads like an order.
        placed: how many units of a run a session holds already; without it, the run's earlier entries are derived to count.
    """

    def __init__(
        self,
        store: Store,
        redact: Callable[[str], _Redacted],
        is_instruction: Callable[[str], bool],
        *,
        placed: Callable[[str, str], int] | None = None,
    ) -> None:
        self._store = store
        self._redact = redact
        self._is_instruction = is_instruction
        self._placed = placed
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self.unreadable = 0
        """Entries whose text is damaged or missing: they give no units."""

    def forget_places(self) -> None:
        """Ask for the sessions' sizes again: others may have changed them."""
        for line in self._lines.values():
            line.places.clear()

    def units(self, run: str, entry: Entry) -> list[Unit]:
        """The units of an entry that `run` owns, in order of their spans.

        Raises:
            StoreError: the journal before it cannot be read.
        """
        line = self._line(run, entry.seq)
        line.recalled.forget_before(entry.seq - REACH)
        try:
            told = said(self._store, line.frame, entry)
        except StoreError:
            self._refuse_if_it_may_come_back(entry)
            told = None
        made = [] if told is None else self._cut(line, entry, told)
        self._take_in(line, entry, told.text if told is not None else None)
        return made

    # The run's line

    def _line(self, run: str, seq: int) -> _Line:
        line = self._lines.get(run)
        if line is not None and line.next_seq == seq:
            self._lines.move_to_end(run)
            return line
        line = self._lines[run] = self._new_line(run)
        self._lines.move_to_end(run)
        while len(self._lines) > KEPT_RUNS:
            self._lines.popitem(last=False)
        own = self._store.info(run).fork_seq + 1
        line.next_seq = max(0, seq - REACH) if self._placed is not None or seq <= own else max(0, own - REACH)
        for entry in self._store.read(run, line.next_seq, seq):
            if self._placed is None and entry.run == run:
                self.units(run, entry)
            else:
                self._take_in(line, entry, None)
        line.next_seq = seq
        return line

    def _new_line(self, run: str) -> _Line:
        first = next(self._store.read(run, 0, 1), None)
        setup: Any = first.body.get("setup", {}) if first is not None else {}
        memory, world = setup.get("memory"), setup.get("world")
        frame = Frame(
            run=run,
            world=str(world.get("name", "")) if isinstance(world, dict) else "",
            notebook=isinstance(memory, dict) and bool(memory.get("notebook")),
            tool=lambda receipt: self._tool_of(run, receipt),
        )
        return _Line(frame)

    def _take_in(self, line: _Line, entry: Entry, text: str | None) -> None:
        """Keep what bears on later entries. `text` is what it says, None if that has not been read."""
        body = entry.body
        if entry.kind == "sample.completion" and body.get("purpose", "act") == "act":
            line.asked = {call["id"]: call["tool"] for call in body["calls"]}
            line.tools.clear()
        elif entry.kind == "effect.intent":
            line.tools[entry.seq] = body["call"]["tool"]
        elif entry.kind == "recalled":
            line.recalled.add(entry.seq, self._read(body["text"]))
        elif entry.kind == "effect.receipt" and self._tool(line, entry) in BRINGING_TOOLS:
            line.recalled.add(entry.seq, self._read(body["text"]) if text is None else text)
        line.next_seq = entry.seq + 1

    def _read(self, payload: dict[str, Any]) -> str:
        try:
            return unpack(self._store, payload)
        except StoreError:
            return ""  # collected or damaged: what cannot be read cannot be compared with

    def _tool_of(self, run: str, receipt: Entry) -> str:
        return self._tool(self._lines[run], receipt)

    def _tool(self, line: _Line, receipt: Entry) -> str:
        seq = receipt.body["intent"]
        if seq < 0:
            return line.asked.get(receipt.body["call_id"], "")
        if seq not in line.tools:
            intent = next(self._store.read(line.frame.run, seq, seq + 1), None)
            call = intent.body.get("call", {}) if intent is not None else {}
            line.tools[seq] = str(call.get("tool", ""))
        return line.tools[seq]

    def _refuse_if_it_may_come_back(self, entry: Entry) -> None:
        """Pass over a text that is gone or damaged; one that could not be read just now fails the derivation instead."""
        for ref in entry.refs:
            if self._store.blob_state(ref) == "collected":
                return
        self.unreadable += 1

    # Cutting

    def _cut(self, line: _Line, entry: Entry, told: Said) -> list[Unit]:
        text = _storable(told.text)
        if not text.strip():
            return []
        told = replace(told, text=text, session=_storable(told.session), actor=_storable(told.actor))
        secrets = self._secrets(text)
        repeated = line.recalled.repeated(text) if told.may_repeat and not told.injected else []
        made: list[Unit] = []
        for first, last in chunks(text, [(start, end) for start, end, _ in secrets], repeated):
            injected = told.injected or any(start < last and first < end for start, end in repeated)
            made.append(self._unit(line, entry, told, (first, last), (secrets, injected)))
        return made

    def _unit(
        self, line: _Line, entry: Entry, told: Said, span: Range, known: tuple[list[tuple[int, int, str]], bool]
    ) -> Unit:
        (first, last), (secrets, injected) = span, known
        text, hidden = _without(told.text, first, last, secrets)
        flags = {INJECTED} if injected else set()
        if hidden:
            flags.add(SECRET)
        if told.trust == UNTRUSTED and self._is_instruction(text):
            flags.add(INSTRUCTION)
        if _says_nothing(text):
            flags.add(BOILERPLATE)
        return Unit(
            id=unit_id(entry.hash, first, last),
            run=entry.run,
            seq=entry.seq,
            first=first,
            last=last,
            session=told.session,
            place=self._next_place(line, told.session),
            kind=told.kind,
            actor=told.actor,
            trust=told.trust,
            happened_us=told.happened_us,
            happened_until_us=told.happened_until_us,
            told_us=entry.time_us,
            text=text,
            tokens=rough_tokens(text),
            digest=text_digest(text),
            flags=frozenset(flags),
        )

    def _next_place(self, line: _Line, session: str) -> int:
        run = line.frame.run
        if session not in line.places:
            line.places[session] = 0 if self._placed is None else self._placed(run, session)
        place = line.places[session]
        line.places[session] = place + 1
        return place

    def _secrets(self, text: str) -> list[tuple[int, int, str]]:
        """Where the redactor took something out of `text`: (first, last, what stands there now)."""
        redacted = self._redact(text).text
        return [] if redacted == text else secret_spans(text, redacted)


def secret_spans(text: str, redacted: str) -> list[tuple[int, int, str]]:
    """Ranges of `text` that became markers in `redacted`, found by what stands between the markers.

    Whatever the alignment, no character shows that `redacted` does not show. Where the redactor changed other things too, all of
    the text counts as one range.
    """
    pieces, markers = _MARKER.split(redacted), _MARKER.findall(redacted)
    found: list[tuple[int, int, str]] = []
    if not markers or not text.startswith(pieces[0]):
        return [(0, len(text), redacted)]
    at = len(pieces[0])
    for number, (marker, piece) in enumerate(zip(markers, pieces[1:], strict=True)):
        final = number == len(markers) - 1
        there = len(text) - len(piece) if final else text.find(piece, at)
        if there < at or text[there : there + len(piece)] != piece:
            return [(0, len(text), redacted)]
        found.append((at, there, marker))
        at = there + len(piece)
    return [(first, last, marker) for first, last, marker in found if text[first:last] != marker]


def _without(text: str, first: int, last: int, secrets: list[tuple[int, int, str]]) -> tuple[str, bool]:
    """The span with markers in place of secrets, and whether there were any."""
    parts, at, hidden = [], first, False
    for start, end, marker in secrets:
        if start < last and first < end:
            parts += [text[at : max(start, at)], marker]
            at, hidden = min(end, last), True
    return "".join([*parts, text[at:last]]), hidden


def _storable(text: str) -> str:
    """Without NUL, which no Postgres text can hold. The length, and so every span, stays."""
    return text.replace("\x00", "\ufffd")


def _says_nothing(text: str) -> bool:
    words = " ".join(re.findall(r"[^\W_]+", text.casefold()))
    return len(words) < 2 or words in _EMPTY_WORDS
