"""From the body of an answer to completions: chat form and completions form, as the various servers write them.

What differs between servers, and is read here:

- token ids: vLLM with `return_token_ids` (`token_ids` in the choice; `prompt_token_ids` in the choice for completions,
  at the top for chat) or with `return_tokens_as_token_ids` (tokens spelled "token_id:17"); llama.cpp's server (an `id`
  in each log-probability of the chat form). Others give none, and the completion is text-only.
- log-probabilities: `logprobs.content[]` (chat; also llama.cpp's completions) or parallel lists (the older completions
  form).
- thinking text: `reasoning_content` or, newer, `reasoning`.
- tool arguments: a JSON string, now and then an object.

Anything that is not of the expected shape is a BadAnswer; nothing is guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from overwinter.loop.model import FinishReason, ToolCall

LEAST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON cannot hold; the value vLLM uses."""

TEXT_CHUNKS = "overwinter_text_chunks"
"""Field of a choice that was put together from a stream: how many of its chunks carried text."""

_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "abort": "cancelled",
    "cancelled": "cancelled",
    "content_filter": "cancelled",
}


class BadAnswer(ValueError):
    """The server answered with something that is no completion; the message says what. Stays inside this package."""


class EmptyAnswer(BadAnswer):
    """The answer has no choices: now and then a passing fault of a gateway, so worth another attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One completion as the server gave it, before its cost is known.

    Attributes:
        text_chunks: pieces of text in which it was streamed, 0 if it was not. A piece is at least a token.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[Mapping[str, float], ...] = ()
    finish_reason: FinishReason = "stop"
    text_chunks: int = 0

    @property
    def contradicts_greedy(self) -> bool:
        """True where more than half of the chosen tokens were not the likeliest by the server's own numbers.

        At temperature 0 that cannot be: the numbers then belong to other tokens. (llama-cpp-python 0.3.36 shifts them
        by one where the prompt is empty.) A few tokens off the top are rounding, or a repetition penalty, and are let
        pass.
        """
        if not self.logprobs or len(self.top_logprobs) != len(self.logprobs):
            return False
        pairs = zip(self.logprobs, self.top_logprobs, strict=True)
        outdone = sum(max(top.values(), default=chosen) > chosen + 0.01 for chosen, top in pairs)
        return 2 * outdone > len(self.logprobs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Billed:
    """The server's own count for one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The body of one answer. `billed` is None where the server does not count."""

    choices: tuple[Choice, ...]
    billed: Billed | None
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Logprobs:
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] | None = None
    top: tuple[Mapping[str, float], ...] = ()
    ids: tuple[int, ...] | None = None


def read_answer(body: Any, call_id_prefix: str = "call") -> Answer:
    """The completions in `body`. Raises BadAnswer.

    Args:
        call_id_prefix: tool calls to which the server gave no id get this one and their index.
    """
    choices = _expect(_expect(body, dict, "the answer").get("choices"), list, "`choices`")
    if not choices:
        raise EmptyAnswer("`choices` is empty")
    ordered = sorted((_expect(choice, dict, "a choice") for choice in choices), key=_index)
    model = body.get("model")
    return Answer(
        choices=tuple(_read_choice(choice, body, call_id_prefix) for choice in ordered),
        billed=read_usage(body.get("usage")),
        model=model if isinstance(model, str) else "",
    )


def read_usage(usage: Any) -> Billed | None:
    """The server's count, or None where it is missing or is no count."""
    if not isinstance(usage, dict) or not _is_count(usage.get("prompt_tokens")):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("prompt_cache_hit_tokens")
    completion = usage.get("completion_tokens")
    return Billed(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=completion if _is_count(completion) else 0,
        cached_tokens=min(cached, usage["prompt_tokens"]) if _is_count(cached) else 0,
    )


def parse_arguments(arguments: Any) -> dict[str, Any] | str:
    """A tool call's arguments: the object, or the raw string where it is no JSON object. "" is a call without any."""
    if isinstance(arguments, dict):
        return arguments
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if not isinstance(arguments, str):
        return json.dumps(arguments)
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return parsed if isinstance(parsed, dict) else arguments


def _read_choice(choice: dict[str, Any], body: dict[str, Any], call_id_prefix: str) -> Choice:
    message = choice.get("message")
    if isinstance(message, dict):
        text = _content(message)
        calls = _read_calls(message.get("tool_calls"), call_id_prefix)
        reasoning = next((r for k in ("reasoning_content", "reasoning") if isinstance(r := message.get(k), str)), "")
    elif isinstance(choice.get("text"), str):
        text, calls, reasoning = choice["text"], (), ""
    else:
        raise BadAnswer("a choice has neither `message` nor `text`")
    scores = _read_logprobs(choice.get("logprobs"))
    token_ids = _ids(choice.get("token_ids")) or scores.ids
    logprobs, top = scores.logprobs, scores.top
    if token_ids is not None and logprobs is not None and len(token_ids) != len(logprobs):
        logprobs, top = None, ()  # log-probabilities that do not line up with the ids would train the wrong tokens
    finish = _FINISH_REASONS.get(str(choice.get("finish_reason")), "stop")
    return Choice(
        text=text,
        tool_calls=calls,
        reasoning=reasoning,
        token_ids=token_ids,
        prompt_token_ids=_ids(choice.get("prompt_token_ids")) or _ids(body.get("prompt_token_ids")),
        tokens=scores.tokens,
        logprobs=logprobs,
        top_logprobs=top,
        finish_reason="tool_calls" if calls and finish == "stop" else finish,
        text_chunks=choice.get(TEXT_CHUNKS, 0),
    )


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        return refusal if isinstance(refusal, str) else ""
    if isinstance(content, list):  # the parts form
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return str(_expect(content, str, "`content`"))


def _read_calls(calls: Any, call_id_prefix: str) -> tuple[ToolCall, ...]:
    if calls is None:
        return ()
    read: list[ToolCall] = []
    for index, call in enumerate(_expect(calls, list, "`tool_calls`")):
        function = _expect(_expect(call, dict, "a tool call").get("function"), dict, "a tool call's `function`")
        name = _expect(function.get("name"), str, "a tool call's name")
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or any(call_id == earlier.id for earlier in read):
            call_id = f"{call_id_prefix}_{index}"
        read.append(ToolCall(id=call_id, tool=name, arguments=parse_arguments(function.get("arguments"))))
    return tuple(read)


def _read_logprobs(logprobs: Any) -> _Logprobs:
    if not isinstance(logprobs, dict):
        return _Logprobs()
    if isinstance(logprobs.get("content"), list):
        return _read_chat_logprobs(logprobs["content"])
    if isinstance(logprobs.get("tokens"), list) and isinstance(logprobs.get("token_logprobs"), list):
        return _read_completions_logprobs(logprobs)
    return _Logprobs()


def _read_chat_logprobs(content: list[Any]) -> _Logprobs:
    entries = [_expect(entry, dict, "a log-probability") for entry in content]
    if not entries:
        return _Logprobs()
    tokens = tuple(str(entry.get("token", "")) for entry in entries)
    top = tuple(_read_alternatives(entry.get("top_logprobs")) for entry in entries)
    ids = [entry.get("id") for entry in entries]
    return _Logprobs(
        tokens=tokens,
        logprobs=tuple(_logprob(entry.get("logprob")) for entry in entries),
        top=top if any(top) else (),
        ids=_ids(ids) or _spelled_ids(tokens),
    )


def _read_completions_logprobs(logprobs: dict[str, Any]) -> _Logprobs:
    tokens = tuple(map(str, logprobs["tokens"]))
    values = logprobs["token_logprobs"]
    if len(values) != len(tokens):
        raise BadAnswer(f"{len(tokens)} tokens but {len(values)} log-probabilities")
    if not tokens:
        return _Logprobs()
    top_values = logprobs.get("top_logprobs")
    top: tuple[Mapping[str, float], ...] = ()
    if isinstance(top_values, list) and len(top_values) == len(tokens):
        top = tuple(_read_alternatives(alternatives) for alternatives in top_values)
    # The first token of an echoed prompt has no log-probability (null).
    return _Logprobs(
        tokens=tokens,
        logprobs=tuple(0.0 if value is None else _logprob(value) for value in values),
        top=top if any(top) else (),
        ids=_spelled_ids(tokens),
    )


def _read_alternatives(alternatives: Any) -> Mapping[str, float]:
    """{token: log-probability} from either form; of two alternatives with the same spelling the likelier is kept."""
    if isinstance(alternatives, dict):
        return {str(token): _logprob(value) for token, value in alternatives.items()}
    read: dict[str, float] = {}
    for entry in alternatives if isinstance(alternatives, list) else ():
        if isinstance(entry, dict):
            token, value = str(entry.get("token", "")), _logprob(entry.get("logprob"))
            read[token] = max(value, read.get(token, value))
    return read


def _logprob(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadAnswer(f"a log-probability is {value!r:.40}")
    return float(value) if math.isfinite(value) and value >= LEAST_LOGPROB else LEAST_LOGPROB


def _ids(ids: Any) -> tuple[int, ...] | None:
    if not isinstance(ids, list) or not ids or not all(map(_is_count, ids)):
        return None
    return tuple(ids)


def _spelled_ids(tokens: Sequence[str]) -> tuple[int, ...] | None:
    numbers = [token.removeprefix("token_id:") for token in tokens if token.startswith("token_id:")]
    if not tokens or len(numbers) != len(tokens) or not all(number.isdecimal() for number in numbers):
        return None
    return tuple(map(int, numbers))


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if _is_count(index) else 0


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _expect(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise BadAnswer(f"{what} is {type(value).__name__}, not {kind.__name__}")
    return value
