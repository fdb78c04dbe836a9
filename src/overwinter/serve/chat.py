"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from overwinter.engine.request import Event, Request, TokenLogprob
from overwinter.serve.answer import Answer
from overwinter.serve.asking import demand_model, requests_of
from overwinter.serve.backend import Backend, Head, Usage, backend_of, new_id, tenant_of
from overwinter.serve.conversation import Conversation
from overwinter.serve.intake import Ticket
from overwinter.serve.keys import Tenant
from overwinter.serve.logprobs import chat_logprobs
from overwinter.serve.schemas.chat import HARMLESS, ChatBody
from overwinter.serve.schemas.common import parse
from overwinter.serve.sse import DONE, EventStream, encode, unless_gone
from overwinter.serve.tool_text import Argued, CallBegun, Piece, Said


async def create_chat_completion(request: HttpRequest) -> Response:
    backend, tenant = backend_of(request), tenant_of(request)
    with backend.intake.place() as place:
        body = parse(ChatBody, await backend.read(request), HARMLESS)
        demand_model(backend.served, body.model)
        job = await run_in_threadpool(_prepare, backend, tenant, body)
        ticket = place.admit(job.requests)
    if body.stream:
        return EventStream(job.stream(ticket), ticket)
    with ticket:
        return await unless_gone(request, job.whole(ticket))


def _prepare(backend: Backend, tenant: Tenant, body: ChatBody) -> _Job:
    """Everything that may take long: the template, tokenising, compiling. Off the event loop."""
    served = backend.served
    chat = Conversation.of_chat(body)
    prompt = chat.prompt(served)
    wish = chat.wish(
        served,
        body,
        max_tokens=body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens,
        n=body.n or 1,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
    requests = requests_of(served, backend.config, tenant, body, [prompt], wish)
    return _Job(backend, body, chat, requests)


class _Job:
    """One request on its way to an answer."""

    def __init__(self, backend: Backend, body: ChatBody, chat: Conversation, requests: list[Request]) -> None:
        served = backend.served
        self.body, self.requests = body, requests
        self.usage = Usage.of([requests[0].prompt_ids])
        self._text = served.text
        self._head = Head(
            id=new_id("chatcmpl-"), object="chat.completion", model=served.name, fingerprint=served.fingerprint
        )
        self._answers = [Answer(chat.names, chat.one_call) for _ in requests]

    async def whole(self, ticket: Ticket) -> Response:
        async for batch in ticket.batches():
            for index, event in batch:
                self._read(ticket, index, event)
        data = {
            **self._head.as_json(),
            "choices": [self._choice(index, answer) for index, answer in enumerate(self._answers)],
            "usage": self.usage.as_json(),
        }
        if self.body.return_token_ids:
            data["prompt_token_ids"] = list(self.requests[0].prompt_ids)
        return JSONResponse(data)

    async def stream(self, ticket: Ticket) -> AsyncGenerator[bytes]:
        head = self._head.as_json("chat.completion.chunk")
        if self.body.includes_usage:
            head["usage"] = None
        first = {**head, "choices": []}
        if self.body.return_token_ids:
            first["prompt_token_ids"] = list(self.requests[0].prompt_ids)
        yield b"".join(
            encode({**first, "choices": [_chunk(index, {"role": "assistant", "content": ""})]})
            for index in range(len(self._answers))
        )
        async for batch in ticket.batches():
            chunks = [chunk for index, event in batch for chunk in self._chunks(ticket, index, event)]
            if chunks:
                yield b"".join(encode({**head, "choices": [chunk]}) for chunk in chunks)
        if self.body.includes_usage:
            yield encode({**head, "choices": [], "usage": self.usage.as_json()})
        yield DONE

    def _read(self, ticket: Ticket, index: int, event: Event) -> list[Piece]:
        answer = self._answers[index]
        if not answer.is_satisfied:
            self.usage.note(event, is_first_choice=index == 0)
        pieces = answer.read(event)
        if answer.is_satisfied and event.finish is None:
            ticket.cancel(index)
        return pieces

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.calls:
            message |= {"content": answer.text or None, "tool_calls": [call.as_json() for call in answer.calls]}
        choice: dict[str, Any] = {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(answer.logprobs),
            "finish_reason": answer.finish,
        }
        if self.body.return_token_ids:
            choice["token_ids"] = answer.token_ids
        return choice

    def _chunks(self, ticket: Ticket, index: int, event: Event) -> list[dict[str, Any]]:
        """The chunks of an event; its tokens and their log-probabilities go with the first."""
        answer = self._answers[index]
        was_satisfied = answer.is_satisfied
        deltas = [self._delta(answer, piece) for piece in self._read(ticket, index, event)]
        wants_tokens = self.body.logprobs or self.body.return_token_ids
        if not deltas and event.token_ids and wants_tokens and not was_satisfied:
            deltas = [{}]
        chunks = [_chunk(index, delta) for delta in deltas]
        if chunks and not was_satisfied:
            chunks[0]["logprobs"] = self._logprobs(event.logprobs)
            if self.body.return_token_ids:
                chunks[0]["token_ids"] = list(event.token_ids)
        if answer.finish is not None:
            chunks.append(_chunk(index, {}, answer.finish))
        return chunks

    def _delta(self, answer: Answer, piece: Piece) -> dict[str, Any]:
        match piece:
            case Said(text):
                return {"content": text}
            case CallBegun(index, name):
                begun = {"id": answer.calls[index].id, "type": "function", "function": {"name": name, "arguments": ""}}
                return {"tool_calls": [{"index": index, **begun}]}
            case Argued(index, text):
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}

    def _logprobs(self, rows: list[TokenLogprob] | tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
        if not self.body.logprobs:
            return None
        return {"content": chat_logprobs(self._text, rows, self.body.top_logprobs or 0), "refusal": None}


def _chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
