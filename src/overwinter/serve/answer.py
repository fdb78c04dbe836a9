"""One answer of a chat as it grows: text, calls and the reason of its end, out of the engine's events."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from overwinter.engine.request import Event, TokenLogprob
from overwinter.serve.backend import finish_reason, new_id
from overwinter.serve.tool_text import Argued, CallBegun, CallReader, Piece, Said


@dataclass(kw_only=True)
class Call:
    """A tool call; `arguments` as the model wrote them."""

    id: str
    name: str
    arguments: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass
class Answer:
    """Reads events. What it was given is in `raw`, `token_ids` and `logprobs`; what that means in `text` and `calls`.

    Args:
        names: of tools that may be called.
        one_call: the first call ends the answer.
    """

    names: Collection[str] = ()
    one_call: bool = False
    call_ids: list[str] = field(default_factory=list)
    """Ids to give to the calls, for an answer that is read again; new ones where they run out."""
    raw: str = ""
    text: str = ""
    calls: list[Call] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str | None = None
    is_satisfied: bool = False
    """A call is complete and one was allowed: whatever else the engine says is not part of the answer."""

    def __post_init__(self) -> None:
        self._reader = CallReader(self.names)

    def read(self, event: Event) -> list[Piece]:
        """Take an event; the new pieces.

        Raises:
            Refusal: the sequence did not end by itself.
        """
        if self.is_satisfied:
            self.finish = "tool_calls" if event.finish is not None else None
            return []
        self.raw += event.text
        self.token_ids += event.token_ids
        self.logprobs += event.logprobs
        pieces = self._take(self._reader.push(event.text))
        self.is_satisfied = self.one_call and self._reader.ended > 0
        if event.finish is not None:
            reason = "stop" if self.is_satisfied else finish_reason(event)
            pieces += self._take(self._reader.finish())
            self.finish = "tool_calls" if self.calls and reason == "stop" else reason
        return pieces

    def _take(self, pieces: list[Piece]) -> list[Piece]:
        taken: list[Piece] = []
        for piece in pieces:
            match piece:
                case Said(text):
                    self.text += text
                case CallBegun(index, name):
                    if self.one_call and index:
                        break  # in the same breath as the first
                    known = self.call_ids[index] if index < len(self.call_ids) else new_id("call_")
                    self.calls.append(Call(id=known, name=name))
                case Argued(index, text):
                    self.calls[index].arguments += text
            taken.append(piece)
        return taken


def read_again(raw: str, names: Collection[str], call_ids: list[str]) -> Answer:
    """The answer that a stored text was."""
    answer = Answer(names=names, call_ids=call_ids)
    answer.read(Event(sequence=0, text=raw, finish="stop"))
    return answer
