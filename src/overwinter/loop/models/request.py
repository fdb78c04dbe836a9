"""From a view to the body of a request: the chat form, or a plain transcript for servers that only complete text.

The transcript of completions mode is this, and nothing cleverer (chat templates belong to the server):

    System: You keep a greenhouse ...

    User: Day 3. ...

    Assistant: [calls water {"zone": 1}]

    Tool: soil moisture 41 %

    Assistant:

Labels of other roles at a line's start are stop strings, so that a base model does not go on to play the user. With the
"plain"
transcript the texts are joined by empty lines and nothing is added: for base models that continue one text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from overwinter.loop.model import Constraint, Limits, Message, ToolCall, View

if TYPE_CHECKING:
    from overwinter.loop.models.endpoint import Config

_LABELS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
_MOST_STOP_STRINGS = 4  # what hosted servers accept


def chat_body(view: View, n: int, constraint: Constraint, limits: Limits, config: Config) -> dict[str, Any]:
    """Body of POST /chat/completions."""
    messages = _with_constraint(view.messages, constraint, config)
    body = _common_body(n, constraint, limits, config)
    body["messages"] = chat_messages(messages)
    if view.tools:
        body["tools"] = list(view.tools)
    if limits.stop:
        body["stop"] = list(limits.stop)
    if limits.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": limits.top_logprobs}
    return _finish(body, config)


def completions_body(view: View, n: int, constraint: Constraint, limits: Limits, config: Config) -> dict[str, Any]:
    """Body of POST /completions."""
    messages = _with_constraint(view.messages, constraint, config)
    body = _common_body(n, constraint, limits, config)
    body["prompt"] = transcript(View(messages=messages, tools=view.tools), config.transcript)
    stop = limits.stop
    if config.transcript == "labelled":
        stop = (*stop, "\nUser:", "\nSystem:", "\nTool:")[:_MOST_STOP_STRINGS]
    if stop:
        body["stop"] = list(stop)
    if limits.top_logprobs:
        body["logprobs"] = limits.top_logprobs
    return _finish(body, config)


def score_body(prompt: str, config: Config) -> dict[str, Any]:
    """Body that asks for the log-probabilities of `prompt` itself.

    One token is generated and thrown away: `max_tokens: 0` means "no limit" to llama-cpp-python and is refused by
    others.
    """
    body = {"model": config.model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
    return _finish(body, config)


def chat_messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Messages in the chat form."""
    wire: list[dict[str, Any]] = []
    asked: set[str] = set()
    for message in messages:
        if message.role == "tool" and message.tool_call_id not in asked:
            # The view hid the call this answers; servers refuse a result without its call, so it is told as text.
            wire.append({"role": "user", "content": f"Result of an earlier tool call:\n{message.text}"})
        elif message.role == "tool":
            wire.append({"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text})
        elif message.tool_calls:
            asked.update(call.id for call in message.tool_calls)
            calls = [_wire_call(call) for call in message.tool_calls]
            wire.append({"role": message.role, "content": message.text, "tool_calls": calls})
        else:
            wire.append({"role": message.role, "content": message.text})
    return wire


def transcript(view: View, form: str) -> str:
    """The prompt of completions mode; see the module's docstring."""
    if form == "plain":
        return "\n\n".join(message.text for message in view.messages)
    turns: list[str] = []
    for message in view.messages:
        calls = [f"[calls {call.tool} {_arguments_json(call.arguments)}]" for call in message.tool_calls]
        turns.append(f"{_LABELS[message.role]}: " + "\n".join(filter(None, [message.text, *calls])))
    if view.tools:
        schemas = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in view.tools)
        turns.insert(1 if view.messages and view.messages[0].role == "system" else 0, f"System: Tools:\n{schemas}")
    return "\n\n".join([*turns, "Assistant:"])


def encode(body: Mapping[str, Any]) -> bytes:
    """The body as UTF-8 JSON; a lone surrogate (from a tool's broken output) becomes a question mark, not a crash."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _wire_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.tool, "arguments": _arguments_json(call.arguments)},
    }


def _arguments_json(arguments: dict[str, Any] | str) -> str:
    """Arguments as a JSON object. Malformed ones are wrapped: chat templates parse them, and refuse a broken history."""
    shown = arguments if isinstance(arguments, dict) else {"malformed_arguments": arguments}
    return json.dumps(shown, ensure_ascii=False)


def _common_body(n: int, constraint: Constraint, limits: Limits, config: Config) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": config.model,
        "max_tokens": limits.max_tokens,
        "temperature": limits.temperature,
        "top_p": limits.top_p,
    }
    if n > 1:
        body["n"] = n
    if limits.seed is not None:
        body["seed"] = limits.seed
    if config.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if config.return_token_ids is not False:
        body["return_token_ids"] = True
    return body | _constraint_fields(constraint, config)


def _constraint_fields(constraint: Constraint, config: Config) -> dict[str, Any]:
    """Fields by which the server enforces the constraint; none where the configuration has it asked in text."""
    if constraint.choices and config.choices_by == "structured_outputs":
        return {"structured_outputs": {"choice": list(constraint.choices)}}
    if constraint.choices and config.choices_by == "guided_choice":
        return {"guided_choice": list(constraint.choices)}
    if constraint.json_schema is None:
        return {}
    schema = dict(constraint.json_schema)
    if config.schema_by == "response_format":
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if config.schema_by == "json_object":
        return {"response_format": {"type": "json_object", "schema": schema}}
    if config.schema_by == "structured_outputs":
        return {"structured_outputs": {"json": schema}}
    return {}


def _with_constraint(messages: tuple[Message, ...], constraint: Constraint, config: Config) -> tuple[Message, ...]:
    """The messages, with the constraint told in words where the server is not asked to enforce it."""
    if constraint.choices and config.choices_by == "text":
        words = "Answer with exactly one of these lines and nothing else:\n" + "\n".join(constraint.choices)
    elif constraint.json_schema is not None and config.schema_by == "text":
        schema = json.dumps(dict(constraint.json_schema), ensure_ascii=False)
        words = f"Answer with one JSON value of this schema and nothing else:\n{schema}"
    else:
        return messages
    if messages and messages[-1].role == "user":  # chat templates insist on alternating roles
        last = messages[-1]
        return (*messages[:-1], Message(role="user", text=f"{last.text}\n\n{words}", entry=last.entry))
    return (*messages, Message(role="user", text=words))


def _finish(body: dict[str, Any], config: Config) -> dict[str, Any]:
    """`extra_body` over the body; a None there removes the field, for servers that refuse one of ours."""
    merged = body | dict(config.extra_body)
    return {name: value for name, value in merged.items() if value is not None}
