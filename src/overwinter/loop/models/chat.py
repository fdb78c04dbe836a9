"""From a view to the messages of a chat template. Templates differ in what they can show, and most say nothing about what they
leave out; so each is tried with marked messages, and what it does not show is written as text where it does show it:

    system turn      at the head of the first user turn
    tools            as lines of JSON at the end of the system turn
    calls, results   as the JSON that the loop's instructions ask for, and as user turns

A view without tools is one of a world: actions are shown as their words, what came of them as user turns. Neighbours of one
role become one turn, and a conversation begins with a user turn: many templates refuse anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from overwinter.errors import UsageError
from overwinter.loop.model import Message, ToolCall, View

Turn = dict[str, Any]
BEGIN = "Begin."
"""The user turn of a view that has none."""
_NAME, _ARGUMENT, _RESULT, _QUESTION = "qzname", "qzargument", "qzresult", "qzquestion"
_TOOL = {"type": "function", "function": {"name": _NAME, "description": _ARGUMENT, "parameters": {"type": "object"}}}


class Writer(Protocol):
    """Writes a chat as its template wants it; `model.text.TextFormat` is one."""

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
    ) -> str: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatForm:
    """What a template shows.

    Attributes:
        system, tools: it shows a system turn, a list of tools.
        calls: it shows calls, and results as turns of their own.
        tagged: it writes calls in `<tool_call>` tags, as several open-weight families were taught.
    """

    system: bool = True
    tools: bool = True
    calls: bool = True
    tagged: bool = False

    @classmethod
    def of(cls, writer: Writer, variables: Mapping[str, Any] | None = None) -> ChatForm:
        """Try a template out."""

        def shown(messages: Sequence[Turn], tools: Sequence[Mapping[str, Any]] | None = None) -> str:
            try:
                return writer.render_chat(messages, tools, variables=variables)
            except UsageError:
                return ""

        question = {"role": "user", "content": _QUESTION}
        call = _call_turn("", [ToolCall(id="c1", tool=_NAME, arguments={"x": _ARGUMENT})])
        result = {"role": "tool", "content": _RESULT, "tool_call_id": "c1", "name": _NAME}
        system = shown([{"role": "system", "content": _NAME}, question])
        called = shown([question, call, result])
        return cls(
            system=_NAME in system and _QUESTION in system,
            tools=_NAME in shown([question], [_TOOL]),
            calls=all(mark in called for mark in (_NAME, _ARGUMENT, _RESULT, _QUESTION)),
            tagged="<tool_call>" in called,
        )

    def turns(self, view: View) -> tuple[list[Turn], list[dict[str, Any]] | None]:
        """Messages and tools for the template."""
        rows = self._with_calls(view.messages) if view.tools else [_acted(message) for message in view.messages]
        if view.tools and not self.tools:
            listing = "Tools:\n" + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in view.tools)
            place = int(bool(rows) and rows[0]["role"] == "system")
            rows.insert(place, {"role": "system", "content": listing})
        if not self.system:
            rows = [{**turn, "role": "user"} if turn["role"] == "system" else turn for turn in rows]
        rows = _merged(rows)
        place = int(bool(rows) and rows[0]["role"] == "system")
        if len(rows) == place or rows[place]["role"] != "user":
            rows.insert(place, {"role": "user", "content": BEGIN})
        return rows, list(view.tools) if view.tools and self.tools else None

    def _with_calls(self, messages: Sequence[Message]) -> list[Turn]:
        rows: list[Turn] = []
        tool_of: dict[str | None, str] = {}
        for message in messages:
            if message.role == "tool":
                name = tool_of.get(message.tool_call_id)
                # A result whose call the view has hidden has nothing to answer: templates refuse it, so it is told.
                rows.append(_result_turn(message, name) if self.calls and name else _told(message))
            elif message.tool_calls:
                tool_of |= {call.id: call.tool for call in message.tool_calls}
                calls = message.tool_calls
                rows.append(_call_turn(message.text, calls) if self.calls else _written_calls(message.text, calls))
            else:
                rows.append({"role": message.role, "content": message.text})
        return rows


def _acted(message: Message) -> Turn:
    if message.role == "tool":
        return {"role": "user", "content": message.text}
    return (
        _written_calls("", message.tool_calls) if not message.text else {"role": message.role, "content": message.text}
    )


def _call_turn(text: str, calls: Sequence[ToolCall]) -> Turn:
    # Arguments as an object: templates write them by `tojson`, and would write a string of JSON as a quoted string.
    wire = [
        {"id": call.id, "type": "function", "function": {"name": call.tool, "arguments": _object(call.arguments)}}
        for call in calls
    ]
    return {"role": "assistant", "content": text, "tool_calls": wire}


def _written_calls(text: str, calls: Sequence[ToolCall]) -> Turn:
    rows = [json.dumps({"tool": c.tool, "arguments": _object(c.arguments)}, ensure_ascii=False) for c in calls]
    return {"role": "assistant", "content": "\n".join(filter(None, [text, *rows]))}


def _result_turn(message: Message, name: str) -> Turn:
    return {"role": "tool", "content": message.text, "tool_call_id": message.tool_call_id, "name": name}


def _told(message: Message) -> Turn:
    return {"role": "user", "content": f"Result of a tool call:\n{message.text}"}


def _object(arguments: dict[str, Any] | str) -> dict[str, Any]:
    return arguments if isinstance(arguments, dict) else {"malformed_arguments": arguments}


def _merged(rows: Sequence[Turn]) -> list[Turn]:
    """Neighbours of one role as one turn; calls and results stay apart."""
    merged: list[Turn] = []
    for turn in rows:
        before = merged[-1] if merged else None
        if (
            before is not None
            and before["role"] == turn["role"]
            and before.keys() == turn.keys() == {"role", "content"}
        ):
            merged[-1] = {**before, "content": f"{before['content']}\n\n{turn['content']}"}
        else:
            merged.append(turn)
    return merged
