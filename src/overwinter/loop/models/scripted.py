"""A model that reads its answers from a script: for tests, examples and demonstrations without a server.

It costs nothing, waits for nothing and answers the same in every process. Token ids and log-probabilities are made up,
but made up from the text alone, so that what is journalled can be compared, replayed and fed to `learn` in a test.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from overwinter.errors import ModelError
from overwinter.loop.model import Completion, Constraint, FinishReason, Limits, ToolCall, Usage, View

VOCABULARY_SIZE = 32_768


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Different answers for one position of the script: completion `i` of n gets `replies[i % len(replies)]`."""

    replies: tuple[Reply, ...]


Reply: TypeAlias = (
    "str | ToolCall | Sequence[ToolCall] | Completion | Exception | Alternatives | Callable[[View], Reply]"
)


class ScriptedModel:
    """Answers call after call from `replies`.

    A reply is a text, one or several tool calls, a finished `Completion`, an exception to raise, `Alternatives` for n >
    1, or a function of the view that returns one of these. Constraints and stop strings are not applied: a script may
    disobey, and tests of the loop need it to. A text longer than `limits.max_tokens` is cut there, with finish reason
    "length".

    Args:
        replies: the script.
        by_turn: take the reply whose index is the number of assistant turns in the view, not the number of calls so
            far. A run resumed in a new process then goes on at the right place, as long as its view shows every
            assistant turn.
        with_token_ids: False plays a server that returns text only.
        micro_usd_per_token: price, to test budgets of money.
    """

    local = True

    def __init__(
        self,
        replies: Sequence[Reply],
        *,
        name: str = "scripted",
        context_tokens: int = 1_000_000,
        by_turn: bool = False,
        with_token_ids: bool = True,
        micro_usd_per_token: int = 0,
    ) -> None:
        self.name = name
        self.context_tokens = context_tokens
        self.calls = 0
        self.views: list[View] = []
        self._replies = tuple(replies)
        self._by_turn = by_turn
        self._with_token_ids = with_token_ids
        self._micro_usd_per_token = micro_usd_per_token

    def count_tokens(self, text: str) -> int:
        """Exact: a token is a run of whitespace with the word after it."""
        return len(split_tokens(text))

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:  # noqa: ARG002
        """The reply at this position, `n` times (or `n` alternatives)."""
        position = sum(message.role == "assistant" for message in view.messages) if self._by_turn else self.calls
        self.calls += 1
        self.views.append(view)
        if position >= len(self._replies):
            where = "assistant turn" if self._by_turn else "call"
            raise ModelError(
                f"the script of model {self.name!r} has {len(self._replies)} replies, none for {where} {position + 1}",
                "add a reply to the script, or end the run earlier",
            )
        return [self._complete(self._resolve(self._replies[position], view, i), view, limits, i) for i in range(n)]

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:  # noqa: ARG002
        """The made-up log-probabilities `sample` would return for these texts."""
        return [tuple(map(token_logprob, split_tokens(text))) for text in continuations]

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return (prompt_tokens + completion_tokens) * self._micro_usd_per_token

    def close(self) -> None:
        """Nothing is held."""

    def describe(self) -> dict[str, Any]:
        """What the journal records about this model."""
        return {
            "kind": "scripted",
            "name": self.name,
            "replies": len(self._replies),
            "by_turn": self._by_turn,
            "context_tokens": self.context_tokens,
        }

    def _resolve(self, reply: Reply, view: View, index: int) -> str | tuple[ToolCall, ...] | Completion:
        while callable(reply) or isinstance(reply, Alternatives):
            reply = reply.replies[index % len(reply.replies)] if isinstance(reply, Alternatives) else reply(view)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, ToolCall):
            return (reply,)
        if isinstance(reply, str | Completion):
            return reply
        return tuple(reply)

    def _complete(
        self, reply: str | tuple[ToolCall, ...] | Completion, view: View, limits: Limits, index: int
    ) -> Completion:
        if isinstance(reply, Completion):
            return reply
        calls = () if isinstance(reply, str) else reply
        text = reply if isinstance(reply, str) else ""
        spoken = text or json.dumps([[call.tool, call.arguments] for call in calls], sort_keys=True)
        tokens = split_tokens(spoken)
        finish: FinishReason = "tool_calls" if calls else "stop"
        if text and len(tokens) > limits.max_tokens:
            tokens, finish = tokens[: limits.max_tokens], "length"
            text = "".join(tokens)
        prompt = split_tokens("\n".join(message.text for message in view.messages))
        prompt_tokens = len(prompt) if index == 0 else 0  # one prompt serves all n completions and is billed once
        logprobs = tuple(map(token_logprob, tokens))
        return Completion(
            text=text,
            tool_calls=calls,
            token_ids=tuple(map(token_id, tokens)) if self._with_token_ids else None,
            prompt_token_ids=tuple(map(token_id, prompt)) if self._with_token_ids else None,
            logprobs=logprobs if self._with_token_ids or limits.top_logprobs else None,
            top_logprobs=tuple({t: p} for t, p in zip(tokens, logprobs, strict=True)) if limits.top_logprobs else (),
            finish_reason=finish,
            usage=Usage(
                prompt_tokens=prompt_tokens,
                completion_tokens=len(tokens),
                micro_usd=self.price_micro_usd(prompt_tokens, len(tokens)),
                attempts=1 if index == 0 else 0,
            ),
            model=self.name,
        )


def split_tokens(text: str) -> list[str]:
    """Words with the whitespace before them; joined, they are the text again."""
    return re.findall(r"\s*\S+|\s+\Z", text)


def token_id(token: str) -> int:
    """A made-up id that depends on the token's text alone, the same in every process (unlike `hash`)."""
    return zlib.crc32(token.encode("utf-8", "replace")) % VOCABULARY_SIZE


def token_logprob(token: str) -> float:
    """A made-up log-probability in (-1, 0]."""
    return -(zlib.crc32(token.encode("utf-8", "replace")) % 1000) / 1000
