"""Any OpenAI-compatible server as a model: vLLM, llama.cpp, Ollama, SGLang, hosted ones.

The model of the loop is stateless, so a call here is: view to body, body to server, answer to completions. What a
server grants beyond the common ground (token ids, log-probabilities, cached tokens) is taken where it is given; what it
refuses by name is left out from then on. A server that gives one choice where n were asked for is asked again for the
rest.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

from overwinter.errors import ModelError, UsageError
from overwinter.loop.model import Completion, Constraint, Limits, Usage, View
from overwinter.loop.models.answer import Answer, Choice, read_answer
from overwinter.loop.models.faults import AttemptFailed, Fault
from overwinter.loop.models.request import chat_body, completions_body, score_body, transcript
from overwinter.loop.models.scoring import continuation_logprobs
from overwinter.loop.models.tokens import ServerTokenizer, estimate_tokens
from overwinter.loop.models.transport import Call, Timing, Transport

_SCORE_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How to reach a server and what to ask of it. Nothing secret is shown by its repr.

    Attributes:
        base_url: the API's root, usually ending in /v1.
        api_key, api_key_env: the key, or the environment variable that holds it; neither for a server without keys.
        mode: "chat", "completions", or "auto": chat, and completions from the first answer that says there is no chat.
        context_tokens: largest prompt plus completion; the view is cut to fit, so it should be what the server was
            started with.
        usd_per_million_prompt, usd_per_million_cached, usd_per_million_completion: prices; a cached price of None means
            the prompt's.
        stream: ask for the answer in pieces; a cut is then noticed while it happens.
        max_attempts: attempts that may fail before the call does.
        backoff_s, max_backoff_s: first wait before another attempt, doubled each time, and its largest value.
        extra_body: fields added to every request; None as a value takes one of ours out.
        headers: headers added to every request; their values are treated as secret.
        return_token_ids: ask for token ids; "auto" asks until the server refuses the field.
        choices_by, schema_by: how constraints are put: enforced by the server in the named dialect, or asked for in
            "text".
        transcript: form of the prompt in completions mode, see `request.py`.
        count_by: "estimate", or "server" for exact counts where it has a tokenizer route.
        max_response_bytes: an answer longer than this is given up.
    """

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    api_key_env: str = ""
    mode: Literal["chat", "completions", "auto"] = "auto"
    context_tokens: int = 8192
    usd_per_million_prompt: float = 0.0
    usd_per_million_cached: float | None = None
    usd_per_million_completion: float = 0.0
    stream: bool = True
    max_attempts: int = 4
    backoff_s: float = 1.0
    max_backoff_s: float = 30.0
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    return_token_ids: Literal["auto"] | bool = "auto"  # noqa: S105 - model tokens
    choices_by: Literal["text", "structured_outputs", "guided_choice"] = "text"
    schema_by: Literal["response_format", "json_object", "structured_outputs", "text"] = "response_format"
    transcript: Literal["labelled", "plain"] = "labelled"
    count_by: Literal["estimate", "server"] = "estimate"
    max_response_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError("the base URL is not an http(s) URL", "give one such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise UsageError("the base URL holds a password or a query", "put secrets into api_key_env or headers")
        if self.max_attempts < 1 or self.context_tokens < 1:
            raise UsageError("max_attempts and context_tokens must be at least 1", "correct the model's configuration")
        for name, value in self.headers.items():
            if not _is_header_text(value):
                raise UsageError(f"the value of header {name!r} is not printable ASCII", "correct the header")

    @property
    def shown_url(self) -> str:
        return self.base_url

    @property
    def key_source(self) -> str:
        """Where the key comes from, in words."""
        if self.api_key:
            return "the key was given directly"
        return f"the key is read from ${self.api_key_env}" if self.api_key_env else "no key is configured"

    def read_api_key(self) -> str:
        """The key, "" for none. Raises UsageError, which does not show it, where it is missing or cannot be sent."""
        key = self.api_key or (os.environ.get(self.api_key_env, "") if self.api_key_env else "")
        key = key.strip()  # a key read from a file by a shell often ends in a line break
        if self.api_key_env and not key:
            raise UsageError(f"the environment variable {self.api_key_env} is empty", "export the API key in it")
        if not _is_header_text(key):
            raise UsageError(f"the API key is not printable ASCII ({self.key_source})", "set the key again")
        return key

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Rounded up. Dollars per million tokens are millionths of a dollar per token."""
        cached_price = self.usd_per_million_cached
        if cached_price is None:
            cached_price = self.usd_per_million_prompt
        price = (prompt_tokens - cached_tokens) * self.usd_per_million_prompt
        price += cached_tokens * cached_price + completion_tokens * self.usd_per_million_completion
        return math.ceil(price - 1e-9)  # 3 tokens at 0.1 are not one millionth more because of binary fractions


class EndpointModel:
    """A `Model` behind HTTP."""

    local = False

    def __init__(self, config: Config, timing: Timing | None = None) -> None:
        self.config = config
        self.name = config.model
        self.context_tokens = config.context_tokens
        self._timing = timing or Timing()
        self._transport = Transport(config, config.read_api_key(), self._timing)
        self._mode: Literal["chat", "completions"] = "completions" if config.mode == "completions" else "chat"
        self._tokenizer = ServerTokenizer(self._transport.post_json_at_root, config.model)

    def __repr__(self) -> str:
        return f"EndpointModel(model={self.name!r}, base_url={self.config.shown_url!r}, mode={self._mode!r})"

    def count_tokens(self, text: str) -> int:
        """The server's count where `count_by` asks for it and the server can; else the estimate of `tokens.py`."""
        counted = self._tokenizer.count(text) if self.config.count_by == "server" else None
        return estimate_tokens(text) if counted is None else counted

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        """`n` completions. Raises ModelError, whose `lost_tokens` bound what the failed call may have been billed."""
        call = self._begin(view, limits.timeout_s, limits.idempotency_key)
        key = call.idempotency_key
        parts: list[_Part] = []
        name = ""
        while len(parts) < n:
            missing = n - len(parts)
            asked = limits
            if (
                parts
            ):  # another request, not another attempt: it has its own key, and its own seed or it would only repeat
                call.idempotency_key = f"{key}-{len(parts)}"
                seed = None if limits.seed is None else limits.seed + len(parts)
                asked = dataclasses.replace(limits, seed=seed)
            call.most_completion_tokens = missing * limits.max_tokens
            try:
                answer = self._ask(view, missing, constraint, asked, call)
            except AttemptFailed as failed:
                raise self._give_up(failed.fault, call, parts) from None
            name = answer.model or name
            parts += self._shares(answer, missing, call)
        checks_greedy = limits.temperature == 0 and not view.tools and constraint == Constraint()
        return [self._completion(part, i, call, name, checks_greedy) for i, part in enumerate(parts)]

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        """Log-probabilities of the tokens of each continuation, through the completions route with `echo`.

        A token that spans the end of the prompt counts to the continuation. Raises ModelError in chat mode (chat routes
        do not score what they are given) and where the server does not echo log-probabilities.
        """
        if self._mode != "completions":
            raise ModelError(
                f"model {self.name!r} is used in chat mode, which cannot score a given text",
                'set mode="completions" for a server whose completions route takes echo and logprobs (vLLM does)',
            )
        prompt = transcript(view, self.config.transcript)
        if self.config.transcript == "labelled":
            prompt += " "
        return [self._score_one(prompt, continuation, view) for continuation in continuations]

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return self.config.price_micro_usd(prompt_tokens, completion_tokens)

    def served_models(self) -> tuple[str, ...]:
        """Names the server answers under; () where it does not say."""
        listing = self._transport.get_json("/models")
        rows = listing.get("data") if isinstance(listing, dict) else None
        names = [row.get("id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return tuple(name for name in names if isinstance(name, str))

    def describe(self) -> dict[str, Any]:
        """What the journal records about this model: everything that shapes an answer, nothing secret."""
        config = self.config
        return {
            "kind": "endpoint",
            "base_url": config.shown_url,
            "model": config.model,
            "mode": self._mode,
            "context_tokens": config.context_tokens,
            "stream": config.stream,
            "return_token_ids": config.return_token_ids,
            "choices": _enforcement(config.choices_by),
            "json_schema": _enforcement(config.schema_by),
            "transcript": config.transcript if self._mode == "completions" else "",
            "extra_body": json.loads(self._transport.redact(json.dumps(dict(config.extra_body), default=str))),
            "headers": sorted(config.headers),
            "api_key_env": config.api_key_env,
            "usd_per_million": {
                "prompt": config.usd_per_million_prompt,
                "cached": config.usd_per_million_cached,
                "completion": config.usd_per_million_completion,
            },
        }

    def close(self) -> None:
        self._transport.close()

    def _begin(self, view: View, timeout_s: float, idempotency_key: str) -> Call:
        shown = [view.tools, [[message.text, *map(str, message.tool_calls)] for message in view.messages]]
        call = Call(
            deadline=self._timing.clock() + timeout_s,
            timeout_s=timeout_s,
            prompt_tokens=estimate_tokens(json.dumps(shown, ensure_ascii=False)) + 8 * len(view.messages),
            most_completion_tokens=0,
        )
        call.idempotency_key = idempotency_key or call.idempotency_key
        return call

    def _ask(self, view: View, n: int, constraint: Constraint, limits: Limits, call: Call) -> Answer:
        """One request in the mode in use, and in the other where the first says there is no chat."""
        read = partial(read_answer, call_id_prefix=f"call_{call.idempotency_key[:12]}")
        if self._mode == "chat":
            body = chat_body(view, n, constraint, limits, self.config)
            try:
                return self._transport.ask("/chat/completions", body, call, read)
            except AttemptFailed as failed:
                if self.config.mode != "auto" or not failed.fault.means_no_chat:
                    raise
        body = completions_body(view, n, constraint, limits, self.config)
        answer = self._transport.ask("/completions", body, call, read)
        self._mode = "completions"  # only now: a wrong base URL answers 404 to both, and may be corrected
        return answer

    def _shares(self, answer: Answer, n: int, call: Call) -> list[_Part]:
        """The choices of one answer with their shares of what it cost; the shares add up to the server's own count."""
        choices = answer.choices[:n]
        counts = [self._count_choice(choice) for choice in choices]
        billed = answer.billed
        prompt_tokens, cached_tokens = call.prompt_tokens, 0
        if billed is not None:
            prompt_tokens, cached_tokens = billed.prompt_tokens, billed.cached_tokens
            counts = _scale(counts, billed.completion_tokens)
        return [
            _Part(
                choice=choice,
                prompt_tokens=prompt_tokens if i == 0 else 0,  # one prompt serves all choices and is billed once
                cached_tokens=cached_tokens if i == 0 else 0,
                completion_tokens=count,
            )
            for i, (choice, count) in enumerate(zip(choices, counts, strict=True))
        ]

    def _count_choice(self, choice: Choice) -> int:
        if choice.token_ids is not None:
            return len(choice.token_ids)
        if choice.logprobs is not None:
            return len(choice.logprobs)
        calls = "".join(f"{call.tool} {call.arguments}" for call in choice.tool_calls)
        return max(choice.text_chunks, estimate_tokens(choice.text + choice.reasoning + calls))

    def _completion(self, part: _Part, index: int, call: Call, name: str, checks_greedy: bool) -> Completion:
        choice = part.choice
        trusted = not (checks_greedy and choice.contradicts_greedy)
        first = index == 0
        micro_usd = self.config.price_micro_usd(part.prompt_tokens, part.completion_tokens, part.cached_tokens)
        lost_micro_usd = self.config.price_micro_usd(call.lost_prompt_tokens, call.lost_completion_tokens)
        return Completion(
            text=choice.text,
            tool_calls=choice.tool_calls,
            reasoning=choice.reasoning,
            token_ids=choice.token_ids,
            prompt_token_ids=choice.prompt_token_ids,
            logprobs=choice.logprobs if trusted else None,
            top_logprobs=choice.top_logprobs if trusted else (),
            finish_reason=choice.finish_reason,
            usage=Usage(
                prompt_tokens=part.prompt_tokens,
                completion_tokens=part.completion_tokens,
                cached_tokens=part.cached_tokens,
                lost_tokens=call.lost_prompt_tokens + call.lost_completion_tokens if first else 0,
                micro_usd=micro_usd + (lost_micro_usd if first else 0),
                attempts=call.attempts if first else 0,
            ),
            model=name or self.config.model,
        )

    def _give_up(self, fault: Fault, call: Call, parts: Sequence[_Part]) -> ModelError:
        """The error the loop sees; completions already received for n > 1 are lost with it, and charged."""
        next_step = fault.next_step
        if fault.means_unknown_model and (known := self.served_models()):
            next_step = f"the server knows models: {', '.join(known)}"
        attempts = f" (after {call.attempts} attempts)" if call.attempts > 1 else ""
        prompt_tokens = call.lost_prompt_tokens + sum(part.prompt_tokens for part in parts)
        completion_tokens = call.lost_completion_tokens + sum(part.completion_tokens for part in parts)
        return ModelError(
            self._transport.redact(f"model {self.name!r}: {fault.problem}{attempts}"),
            self._transport.redact(next_step),
            lost_tokens=prompt_tokens + completion_tokens,
            lost_micro_usd=self.config.price_micro_usd(prompt_tokens, completion_tokens),
        )

    def _score_one(self, prompt: str, continuation: str, view: View) -> tuple[float, ...]:
        call = self._begin(view, _SCORE_TIMEOUT_S, "")
        call.most_completion_tokens = 1
        body = score_body(prompt + continuation, self.config)
        try:
            answer = self._transport.ask("/completions", body, call, read_answer)
        except AttemptFailed as failed:
            raise self._give_up(failed.fault, call, ()) from None
        logprobs = continuation_logprobs(answer.choices[0], continuation)
        if logprobs is None:
            raise ModelError(
                f"model {self.name!r}: the server does not echo the log-probabilities of a given text",
                "use a server whose completions route takes echo and logprobs, such as vLLM",
            )
        return logprobs


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A choice and its share of one request's cost."""

    choice: Choice
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


def _scale(counts: Sequence[int], total: int) -> list[int]:
    """`counts` scaled to add up to `total`; what rounding leaves goes to the first."""
    whole = sum(counts)
    scaled = [count * total // whole if whole else 0 for count in counts]
    return [scaled[0] + total - sum(scaled), *scaled[1:]]


def _enforcement(how: str) -> str:
    return "asked for in text, not enforced" if how == "text" else f"enforced by the server through {how}"


def _is_header_text(text: str) -> bool:
    return text.isascii() and (text.isprintable() or not text)
