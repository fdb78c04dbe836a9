"""POST /v1/completions: texts or token ids are continued; with `echo` they can be scored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from overwinter.engine.request import Event, Request, TokenLogprob
from overwinter.serve.asking import Wish, demand_model, requests_of
from overwinter.serve.backend import Backend, Head, Usage, backend_of, finish_reason, new_id, tenant_of
from overwinter.serve.errors import Refusal
from overwinter.serve.intake import Ticket
from overwinter.serve.keys import Tenant
from overwinter.serve.logprobs import CompletionLogprobs
from overwinter.serve.schemas.common import parse
from overwinter.serve.schemas.completions import HARMLESS, CompletionBody
from overwinter.serve.sse import DONE, EventStream, encode, unless_gone

DEFAULT_TOKENS = 16
"""The API's, where `max_tokens` is left out."""


async def create_completion(request: HttpRequest) -> Response:
    backend, tenant = backend_of(request), tenant_of(request)
    with backend.intake.place() as place:
        body = parse(CompletionBody, await backend.read(request), HARMLESS)
        demand_model(backend.served, body.model)
        job = await run_in_threadpool(_prepare, backend, tenant, body)
        ticket = place.admit(job.requests)
    if body.stream:
        return EventStream(job.stream(ticket), ticket)
    with ticket:
        return await unless_gone(request, job.whole(ticket))


def _prepare(backend: Backend, tenant: Tenant, body: CompletionBody) -> _Job:
    """Everything that may take long: tokenising and compiling. Off the event loop."""
    text = backend.served.text
    prompts = [text.encode(prompt) if isinstance(prompt, str) else list(prompt) for prompt in body.prompts]
    for token in (token for prompt in prompts for token in prompt):
        if not 0 <= token < backend.served.vocab_size:
            size = backend.served.vocab_size
            raise Refusal(400, f"token id {token} is not in the vocabulary of {size} ids", param="prompt")
    listed = body.logprobs if body.echo else None
    wish = Wish(
        max_tokens=DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens,
        n=body.n or 1,
        logprobs=body.logprobs,
        prompt_logprobs=0 if listed is None and body.max_tokens == 0 else listed,
        constraint=backend.served.constraints.asked(body),
    )
    requests = requests_of(backend.served, backend.config, tenant, body, prompts, wish)
    shown = [p if isinstance(p, str) else text.decode(p, skip_special=False) for p in body.prompts]
    return _Job(backend, body, requests, [prompt for prompt in shown for _ in range(wish.n)], Usage.of(prompts))


@dataclass
class _Choice:
    """One output as it grows."""

    lists: CompletionLogprobs | None
    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: dict[str, list[Any]] | None = None
    finish: str | None = None

    def add(self, part: dict[str, Any]) -> None:
        self.text.append(part["text"])
        self.token_ids += part.get("token_ids", ())
        self.finish = part["finish_reason"]
        for name, values in (part["logprobs"] or {}).items():
            self.logprobs = self.logprobs or {}
            self.logprobs.setdefault(name, []).extend(values)


class _Job:
    """One request on its way to an answer. `prompts` holds the text of each request's prompt."""

    def __init__(
        self, backend: Backend, body: CompletionBody, requests: list[Request], prompts: list[str], usage: Usage
    ) -> None:
        served = backend.served
        self.body, self.requests, self.usage = body, requests, usage
        self._prompts = prompts
        self._head = Head(
            id=new_id("cmpl-"), object="text_completion", model=served.name, fingerprint=served.fingerprint
        )
        wanted = body.logprobs is not None
        self._choices = [
            _Choice(CompletionLogprobs(served.text, 0 if body.echo else len(prompt)) if wanted else None)
            for prompt in prompts
        ]
        self._begun: set[int] = set()

    async def whole(self, ticket: Ticket) -> Response:
        async for batch in ticket.batches():
            for index, event in batch:
                self._choices[index].add(self._part(index, event))
        choices = []
        for index, choice in enumerate(self._choices):
            row: dict[str, Any] = {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish,
            }
            if self.body.return_token_ids:
                row["token_ids"] = choice.token_ids
                row["prompt_token_ids"] = list(self.requests[index].prompt_ids)
            choices.append(row)
        return JSONResponse({**self._head.as_json(), "choices": choices, "usage": self.usage.as_json()})

    async def stream(self, ticket: Ticket) -> AsyncGenerator[bytes]:
        head, with_usage = self._head.as_json(), self.body.includes_usage
        if with_usage:
            head["usage"] = None
        async for batch in ticket.batches():
            parts = [self._part(index, event) for index, event in batch]
            said = [part for part in parts if _says_something(part)]
            if said:
                yield b"".join(encode({**head, "choices": [part]}) for part in said)
        if with_usage:
            yield encode({**head, "choices": [], "usage": self.usage.as_json()})
        yield DONE

    def _part(self, index: int, event: Event) -> dict[str, Any]:
        """What an event adds to its choice."""
        is_first = index not in self._begun
        self._begun.add(index)
        self.usage.note(event, is_first_choice=index % (self.body.n or 1) == 0)
        echoed = is_first and bool(self.body.echo)
        part: dict[str, Any] = {
            "index": index,
            "text": (self._prompts[index] if echoed else "") + event.text,
            "logprobs": None,
            "finish_reason": None if event.finish is None else finish_reason(event),
        }
        lists = self._choices[index].lists
        rows: tuple[TokenLogprob, ...] = (*(event.prompt_logprobs if echoed else ()), *event.logprobs)
        if lists is not None and (rows or is_first):
            part["logprobs"] = lists.lists(rows)
        if self.body.return_token_ids:
            part["token_ids"] = list(event.token_ids)
            if is_first:
                part["prompt_token_ids"] = list(self.requests[index].prompt_ids)
        return part


def _says_something(part: dict[str, Any]) -> bool:
    """Whether a piece of a stream is worth sending: most held-back characters are not."""
    return bool(part["text"] or part["finish_reason"] or part["logprobs"] or part.get("token_ids"))
