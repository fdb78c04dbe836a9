"""From messages to a prompt: what the chat template is shown, and what the answer is held to.

The chat API and the responses API both come down to a `Conversation`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overwinter.engine.constraint import Constraint
from overwinter.errors import UsageError
from overwinter.serve.answer import Answer
from overwinter.serve.asking import Wish
from overwinter.serve.schemas.chat import ChatBody, Message, NamedChoice
from overwinter.serve.schemas.common import Sampling
from overwinter.serve.schemas.responses import NamedChoice as NamedTool
from overwinter.serve.schemas.responses import ResponseBody
from overwinter.serve.served import Served

TemplateMessage = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What is to be answered.

    Attributes:
        messages: as templates read them.
        tools: in the chat API's form; none where the model may not call any.
        tool_choice: "auto", "required" or a named one, for tools.
        schema: what the answer's JSON has to satisfy; None for any text.
        variables: more names for the template.
        one_call: at most one call.
    """

    messages: Sequence[TemplateMessage]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Any = "auto"
    schema: Any = None
    variables: Mapping[str, Any] | None = None
    one_call: bool = False

    @classmethod
    def of_chat(cls, body: ChatBody) -> Conversation:
        choice = body.tool_choice.model_dump() if isinstance(body.tool_choice, NamedChoice) else body.tool_choice
        form = body.response_format
        schema: Any = None
        if form is not None and form.type != "text":
            schema = {"type": "object"} if form.json_schema is None else form.json_schema.schema_
        return cls(
            messages=template_messages(body.messages),
            tools=() if choice == "none" else [tool.model_dump(exclude_none=True) for tool in body.tools or ()],
            tool_choice=choice or "auto",
            schema=schema,
            variables=body.chat_template_kwargs,
            one_call=body.parallel_tool_calls is False,
        )

    @classmethod
    def of_response(cls, body: ResponseBody, messages: Sequence[TemplateMessage]) -> Conversation:
        """A turn of the responses API, with everything that was said before it.

        Raises:
            UsageError: the choice of a tool does not suit the tools.
        """
        tools = response_tools(body.model_dump(by_alias=True, exclude_none=True))
        choice: Any = body.tool_choice or "auto"
        if isinstance(choice, NamedTool):
            choice = {"type": "function", "function": {"name": choice.name}}
        names = [tool["function"]["name"] for tool in tools]
        if len(set(names)) < len(names):
            raise UsageError("two tools have the same name", "give each a name of its own")
        if not isinstance(choice, str) and choice["function"]["name"] not in names:
            raise UsageError(f"tool_choice names a tool that is not there; there are {names}", "name one of these")
        if choice == "required" and not names:
            raise UsageError("tool_choice is 'required' and there are no tools", "give tools, or leave the choice out")
        form = body.text.format if body.text else None
        schema: Any = None
        if form is not None and form.type != "text":
            schema = {"type": "object"} if form.schema_ is None else form.schema_
        return cls(
            messages=messages,
            tools=tools,
            tool_choice=choice,
            schema=schema,
            variables=body.chat_template_kwargs,
            one_call=body.parallel_tool_calls is False,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tools that may be called."""
        return tuple(tool["function"]["name"] for tool in self.tools)

    def prompt(self, served: Served) -> list[int]:
        """The prompt's token ids. Raises UsageError where the template refuses the messages."""
        return served.text.encode_chat(self.messages, list(self.tools) or None, variables=self.variables)

    def constraint(self, served: Served, body: Sampling) -> Constraint | None:
        """What the whole answer is held to.

        Raises:
            UsageError: two things at once, or one that cannot be enforced.
        """
        if not self.tools:
            return served.constraints.asked(body, self.schema)
        if self.tool_choice == "auto" and self.schema is not None:
            served.constraints.asked(body, self.schema)
            return served.constraints.answer_or_call(self.schema, self.tools, served.call_form)
        own = served.constraints.asked(body, self.schema)
        if self.tool_choice == "auto" and own is None:
            return None
        if own is not None:
            raise UsageError(
                "a constraint on the text and a tool call are both asked for",
                "leave out the tools, or the regex, grammar, choices or response format",
            )
        return served.constraints.tool_call(self.tools, self.tool_choice, served.call_form)

    def wish(self, served: Served, body: Sampling, *, max_tokens: int | None, n: int, logprobs: int | None) -> Wish:
        return Wish(
            max_tokens=max_tokens,
            n=n,
            logprobs=logprobs,
            constraint=self.constraint(served, body),
            stops=served.text.turn_stops,
        )


def template_messages(messages: Iterable[Message]) -> list[TemplateMessage]:
    """Messages as templates read them: text for parts, objects for arguments, `system` for `developer`, names for results."""
    shown: list[TemplateMessage] = []
    called: dict[str, str] = {}
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        row: TemplateMessage = {"role": role, "content": message.text}
        if message.name is not None:
            row["name"] = message.name
        if message.reasoning_content is not None:
            row["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            row["tool_calls"] = [
                template_call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls
            ]
            called |= {call.id: call.function.name for call in message.tool_calls}
        if message.tool_call_id is not None:
            row["tool_call_id"] = message.tool_call_id
            if message.tool_call_id in called:
                row.setdefault("name", called[message.tool_call_id])
        shown.append(row)
    return shown


def template_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A call in a history. Templates write arguments out with `tojson`, so they are shown an object where it is one."""
    try:
        value = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        value = arguments
    shown = value if isinstance(value, dict) else arguments
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": shown}}


def response_tools(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools of a responses request in the chat API's form; none where none may be called."""
    if settings.get("tool_choice") == "none":
        return []
    return [
        {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
        for tool in settings.get("tools") or ()
    ]


def item_messages(items: Iterable[Mapping[str, Any]], before: Sequence[TemplateMessage]) -> list[TemplateMessage]:
    """Items of the responses API as messages. Calls join the assistant's message that they follow."""
    shown: list[TemplateMessage] = []
    called = {call["id"]: call["function"]["name"] for message in before for call in message.get("tool_calls", ())}
    for item in items:
        if item["type"] == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            shown.append({"role": role, "content": _item_text(item["content"])})
        elif item["type"] == "function_call":
            call = template_call(item["call_id"], item["name"], item["arguments"])
            called[item["call_id"]] = item["name"]
            if not (shown and shown[-1]["role"] == "assistant"):
                shown.append({"role": "assistant", "content": ""})
            shown[-1].setdefault("tool_calls", []).append(call)
        else:
            row = {"role": "tool", "tool_call_id": item["call_id"], "content": _item_text(item["output"])}
            name = called.get(item["call_id"])
            shown.append(row if name is None else {**row, "name": name})
    return shown


def message_of(answer: Answer) -> TemplateMessage:
    """An answer as the message it becomes in the next prompt."""
    message: TemplateMessage = {"role": "assistant", "content": answer.text}
    if answer.calls:
        message["tool_calls"] = [template_call(call.id, call.name, call.arguments) for call in answer.calls]
    return message


def _item_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
