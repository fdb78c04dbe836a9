"""A streamed answer put together: chunks in, the body the server would have sent in one piece out.

So there is one reader of answers (`answer.py`), and streaming is only a way to carry them. A stream is whole when the
server said [DONE] or gave every choice a finish reason; a stream that merely ends was cut.
"""

from __future__ import annotations

from typing import Any

from overwinter.loop.models.answer import TEXT_CHUNKS, BadAnswer

_JOINED_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_JOINED_LISTS = ("content", "tokens", "token_logprobs", "top_logprobs", "text_offset")
"""Fields of `logprobs`, of the chat form and of the completions form."""


class StreamAssembler:
    """Folds the chunks of one stream, in the order in which they arrive."""

    def __init__(self) -> None:
        self.text_chunks = 0
        """Chunks that carried generated text. Servers send at least a token in each, so this is a lower bound."""
        self.received_chars = 0
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Any) -> None:
        """Takes one chunk. Raises BadAnswer where it is not of the expected shape."""
        if not isinstance(chunk, dict):
            raise BadAnswer(f"a chunk of the stream is {type(chunk).__name__}, not dict")
        for name in ("model", "usage", "prompt_token_ids"):
            if chunk.get(name) is not None:
                self._top[name] = chunk[name]
        choices = chunk.get("choices") or []  # empty in the chunk that carries the usage
        if not isinstance(choices, list):
            raise BadAnswer("`choices` of a chunk is no list")
        for choice in choices:
            if not isinstance(choice, dict):
                raise BadAnswer("a choice of a chunk is no object")
            self._add_choice(choice)

    @property
    def finished(self) -> bool:
        """True when every choice seen has a finish reason."""
        return bool(self._choices) and all(choice.get("finish_reason") for choice in self._choices.values())

    @property
    def usage(self) -> Any:
        """The server's count as it was sent, None before it came."""
        return self._top.get("usage")

    def body(self) -> dict[str, Any]:
        """The answer in the form of an unstreamed one."""
        return self._top | {"choices": [self._choices[index] for index in sorted(self._choices)]}

    def _add_choice(self, part: dict[str, Any]) -> None:
        index = part["index"] if isinstance(part.get("index"), int) else 0
        choice = self._choices.setdefault(index, {"index": index})
        if part.get("finish_reason"):
            choice["finish_reason"] = part["finish_reason"]
        if isinstance(part.get("prompt_token_ids"), list):
            choice["prompt_token_ids"] = part["prompt_token_ids"]
        if isinstance(part.get("token_ids"), list):
            choice.setdefault("token_ids", []).extend(part["token_ids"])
        if isinstance(part.get("logprobs"), dict):
            _extend_lists(choice.setdefault("logprobs", {}), part["logprobs"])
        if isinstance(part.get("text"), str):
            choice["text"] = choice.get("text", "") + part["text"]
            self._count(choice, part["text"])
        delta = part.get("delta", part.get("message"))
        if isinstance(delta, dict):
            self._add_delta(choice, delta)

    def _add_delta(self, choice: dict[str, Any], delta: dict[str, Any]) -> None:
        message = choice.setdefault("message", {})
        for name in _JOINED_TEXTS:
            if isinstance(delta.get(name), str):
                message[name] = message.get(name, "") + delta[name]
                self._count(choice, delta[name])
        calls = delta.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadAnswer("`tool_calls` of a chunk is no list")
        for call in calls:
            if not isinstance(call, dict):
                raise BadAnswer("a tool call of a chunk is no object")
            self._count(choice, self._add_call(message.setdefault("tool_calls", []), call))

    @staticmethod
    def _add_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> str:
        """The piece of arguments that was added.

        Servers number the calls; those that do not start a new one with a new id or, with neither, send it whole.
        """
        position = part.get("index")
        if not isinstance(position, int):
            known = [at for at, call in enumerate(calls) if part.get("id") and call["id"] == part["id"]]
            position = known[0] if known else len(calls)
        while len(calls) <= position and len(calls) <= _MOST_CALLS:
            calls.append({"id": "", "function": {"name": "", "arguments": ""}})
        if not 0 <= position < len(calls):
            raise BadAnswer(f"a tool call has the index {position}")
        call = calls[position]
        if isinstance(part.get("id"), str) and part["id"]:
            call["id"] = part["id"]
        function = part.get("function")
        if not isinstance(function, dict):
            return ""
        if isinstance(function.get("name"), str) and not call["function"]["name"]:
            call["function"]["name"] = function["name"]
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            call["function"]["arguments"] = arguments
        elif isinstance(arguments, str) and isinstance(call["function"]["arguments"], str):
            call["function"]["arguments"] += arguments
            return arguments
        return ""

    def _count(self, choice: dict[str, Any], text: str) -> None:
        choice[TEXT_CHUNKS] = choice.get(TEXT_CHUNKS, 0) + bool(text)
        self.text_chunks += bool(text)
        self.received_chars += len(text)


_MOST_CALLS = 256
"""A server that numbers a call 10**9 must not make us fill a list of that length."""


def _extend_lists(into: dict[str, Any], part: dict[str, Any]) -> None:
    for name in _JOINED_LISTS:
        if isinstance(part.get(name), list):
            into.setdefault(name, []).extend(part[name])
