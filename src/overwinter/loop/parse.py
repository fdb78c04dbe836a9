"""From a completion to tool calls: native ones as they are, or read out of the text. What cannot be read is said, not guessed.

Text forms understood, in this order: one of the world's legal actions, alone or on its last line; JSON objects
`{"tool": …, "arguments": …}` (also "name"/"parameters", as several open-weight families write them), bare, in a code fence
or in `<tool_call>` tags. Of bare objects only the first that is a call counts: what a model writes behind its call is often made up.

Whatever comes out is plain JSON that the journal can hold: no NaN, no infinities, no lone surrogates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal.canonical import canonical
from overwinter.loop.model import Completion, ToolCall

_TAG, _TAG_END = re.compile(r"<tool_call>\s*(?=\{)"), re.compile(r"\s*</tool_call>")
_FENCED = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)
_DECODER = json.JSONDecoder()


def read_calls(
    completion: Completion, legal_actions: Sequence[str], act_tool: str, prefix: str
) -> list[dict[str, Any]]:
    """Calls as a completion entry holds them: {id, tool, arguments}; [] for plain text. Arguments that are no JSON object stay
    text, and are refused with the reason when the call is made.

    Args:
        prefix: makes the ids unique in the run. Servers number calls anew with each answer, and some give no ids at all.
    """
    if completion.tool_calls:
        rows = [_as_row(call) for call in completion.tool_calls]
    else:
        action = _legal_action(completion.text, legal_actions)
        if action is not None:
            rows = [{"tool": act_tool, "arguments": {"action": action}}]
        else:
            rows = [row for row in map(_from_object, _objects(completion.text)) if row is not None]
    return [{"id": f"{prefix}.{number}", **_writable(row)} for number, row in enumerate(rows)]


def _writable(row: dict[str, Any]) -> dict[str, Any]:
    """A call the journal can hold. What JSON cannot say (NaN, half a character) goes on as text, for the tool to refuse."""
    try:
        canonical(row)
    except UsageError:
        arguments = row["arguments"]
        text = arguments if isinstance(arguments, str) else repr(arguments)
        return {
            key: value.encode("utf-8", "replace").decode()
            for key, value in (("tool", row["tool"]), ("arguments", text))
        }
    return row


def _as_row(call: ToolCall) -> dict[str, Any]:
    arguments: Any = call.arguments
    if isinstance(arguments, str):
        arguments = _load(arguments, arguments) if arguments.strip() else {}
    if not isinstance(arguments, dict):
        arguments = call.arguments
    return {"tool": call.tool, "arguments": arguments}


def _legal_action(text: str, legal_actions: Sequence[str]) -> str | None:
    if not legal_actions:
        return None
    lines = [line.strip().strip("`\"'.") for line in text.splitlines() if line.strip()]
    candidates = lines[-1:] + lines[:1]
    folded = {action.casefold(): action for action in legal_actions}
    for candidate in candidates:
        bare = re.sub(r"(?i)^action\s*:\s*", "", candidate)
        if bare.casefold() in folded:
            return folded[bare.casefold()]
    return None


def _objects(text: str) -> list[dict[str, Any]]:
    # An argument may quote fences and tags; where the whole is a call, nothing inside it is one.
    whole = _load(text, None) if text.lstrip().startswith("{") else None
    if isinstance(whole, dict) and _from_object(whole) is not None:
        return [whole]
    fenced = (parsed for match in _FENCED.findall(text) if isinstance(parsed := _load(match, None), dict))
    if found := _tagged(text) or list(fenced):
        return found
    start = text.find("{")
    while start >= 0:
        end = start + 1
        try:
            value, end = _DECODER.raw_decode(text, start)
        except ValueError:
            value = None
        except RecursionError:
            # Brackets without end: no call, and looking on from each of them would take for ever.
            return []
        if isinstance(value, dict) and _from_object(value) is not None:
            return [value]
        start = text.find("{", end)
    return []


def _tagged(text: str) -> list[dict[str, Any]]:
    """Objects between `<tool_call>` tags. Read by the JSON decoder to their own end: a string in them may hold a tag."""
    found, opened = [], _TAG.search(text)
    while opened is not None:
        end = opened.end()
        try:
            value, last = _DECODER.raw_decode(text, end)
        except (ValueError, RecursionError):
            value, last = None, end
        closed = _TAG_END.match(text, last)
        if value is not None and closed is not None:
            found.append(value)
            end = closed.end()
        opened = _TAG.search(text, end)
    return found


def _load(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def _from_object(value: dict[str, Any]) -> dict[str, Any] | None:
    name = value.get("tool", value.get("name"))
    if not isinstance(name, str) or not ({"tool", "arguments", "parameters"} & value.keys()):
        # A "name" alone may be anybody's.
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    # What is no object goes on as text, and the tool's own check says what is wrong with it.
    return {"tool": name, "arguments": arguments if isinstance(arguments, dict | str) else json.dumps(arguments)}
