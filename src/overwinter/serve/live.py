"""A response that is being made in this process.

It runs in a task of its own. A client that waits for it, or follows its stream, only looks on; when the client of an ordinary
response goes away, the task is cancelled, that of a background response goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any

from overwinter.engine.request import Event, Request
from overwinter.errors import LeaseLost, OverwinterError
from overwinter.journal import Lease
from overwinter.serve.answer import Answer
from overwinter.serve.backend import Usage
from overwinter.serve.conversation import Conversation
from overwinter.serve.errors import Refusal, as_refusal, log
from overwinter.serve.intake import Ticket
from overwinter.serve.logprobs import finite
from overwinter.serve.response_form import Items, answered, listed_of, response_form
from overwinter.serve.schemas.responses import ResponseBody
from overwinter.serve.served import Served
from overwinter.serve.sse import encode
from overwinter.serve.stored import PREFIX, ResponseStore, Said, Turn
from overwinter.serve.threads import to_the_end


class LiveResponse:
    """Follows the engine and writes the answer down. As a context manager it stops on leaving, if it is not over.

    Args:
        store: where the answer is written.
        lease: of its run; None for a response that is not stored.
        request: for the engine.
    """

    def __init__(
        self,
        served: Served,
        store: ResponseStore,
        turn: Turn,
        body: ResponseBody,
        chat: Conversation,
        request: Request,
        lease: Lease | None,
    ) -> None:
        self.turn, self.body, self.request, self.lease = turn, body, request, lease
        self.form = response_form(turn, body, served.name)
        self.is_over = False
        self.is_cancelled = False
        """By the client's wish."""
        self.refusal: Refusal | None = None
        """Why there is no answer."""
        self._served = served
        self._store = store
        self._usage = Usage.of([request.prompt_ids])
        key = turn.id.removeprefix(PREFIX)[:24]
        self._items = Items(key, Answer(chat.names, chat.one_call), served.text, listed_of(body))
        self._events: list[bytes] = []
        self._count = 0
        self._grown = asyncio.Event()
        self._ticket: Ticket | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_begun = False
        self._is_unwanted = False
        """Stopped before the task began: a task that is cancelled then would not run at all, and so not clean up."""

    def __enter__(self) -> LiveResponse:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, ticket: Ticket) -> None:
        self._ticket = ticket
        self._task = asyncio.ensure_future(self._run(ticket))

    def stop(self) -> None:
        """Give up now; `until_over` waits for what has to be written down."""
        self._is_unwanted = True
        if self._task is not None and self._is_begun and not self.is_over:
            self._task.cancel()

    def cancel(self) -> None:
        """The client wants no answer any more."""
        if not self.is_over and self._ticket is not None:
            self.is_cancelled = True
            self._ticket.cancel()

    async def until_over(self) -> None:
        while not self.is_over:
            self._grown.clear()
            await self._grown.wait()

    async def stream(self, after: int = -1) -> AsyncGenerator[bytes]:
        """Events of the API behind number `after`, as they come."""
        at = after + 1
        while at < len(self._events) or not self.is_over:
            if at < len(self._events):
                piece, at = b"".join(self._events[at:]), len(self._events)
                yield piece
            else:
                self._grown.clear()
                await self._grown.wait()

    # --- the task -------------------------------------------------------------------------------------------------

    async def _run(self, ticket: Ticket) -> None:
        self._is_begun = True
        try:
            with ticket:
                if self._is_unwanted:
                    raise asyncio.CancelledError
                await self._follow(ticket)
        except asyncio.CancelledError:
            await self._stopped()
        except LeaseLost:
            self.refusal = Refusal(409, "another server has taken this response over", code="taken_over")
        except Exception as error:  # noqa: BLE001 (whatever it was, the response has to end and say so)
            await self._failed(error)
        finally:
            self.is_over = True
            self._grown.set()

    async def _follow(self, ticket: Ticket) -> None:
        self._emit("response.created", {"response": dict(self.form)})
        self._emit("response.in_progress", {"response": dict(self.form)})
        async for batch in ticket.batches():
            for _, event in batch:
                if event.finish == "cancelled" and self.is_cancelled:
                    await self._end("cancelled", "cancelled by the client")
                    return
                self._take(ticket, event)
        await self._complete()

    def _take(self, ticket: Ticket, event: Event) -> None:
        answer = self._items.answer
        if not answer.is_satisfied:
            self._usage.note(event, is_first_choice=True)
        for kind, fields in self._items.read(event):
            self._emit(kind, fields)
        if answer.is_satisfied and event.finish is None:
            ticket.cancel()

    async def _complete(self) -> None:
        answer, usage = self._items.answer, self._usage.as_json()
        if self.lease is not None:
            said = Said(
                text=answer.raw,
                call_ids=[call.id for call in answer.calls],
                finish=str(answer.finish),
                usage=usage,
                token_ids=answer.token_ids,
                prompt_ids=list(self.request.prompt_ids),
                logprobs=[finite(row.logprob or 0.0) for row in answer.logprobs],
                top=[[(token, finite(logprob)) for token, logprob in row.top] for row in answer.logprobs],
            )
            calls = [{"id": call.id, "tool": call.name, "arguments": call.arguments} for call in answer.calls]
            await to_the_end(self._store.complete, self.turn, self.lease, said, calls, self._served.name)
        shown = (list(self.request.prompt_ids), answer.token_ids) if self.body.return_token_ids else None
        ended_us = self.turn.ended_us or int(time.time() * 1e6)
        self.form = answered(self.form, self._items, usage, shown) | {"completed_at": ended_us / 1e6}
        self._emit(f"response.{self.form['status']}", {"response": self.form})

    async def _failed(self, error: Exception) -> None:
        refusal = as_refusal(error)
        if refusal.code == "internal_error":
            log.error("response %s failed", self.turn.id, exc_info=error)
        self.refusal = refusal
        if refusal.code == "stopped" and self.turn.is_background:
            await self._stopped()
        else:
            await self._end("failed", refusal.message)

    async def _stopped(self) -> None:
        """The server stops, or nobody waits any more. A background response is left for the next server."""
        if self.turn.ended:
            return  # it was written down in the same moment
        if self.turn.is_background and self.lease is not None:
            await to_the_end(self._store.leave, self.lease)
        else:
            await self._end("cancelled", "the client went away")

    async def _end(self, status: str, problem: str) -> None:
        """No answer: write it down and say so."""
        self.form = {**self.form, "status": status}
        if status == "failed":
            self.form["error"] = {"code": "server_error", "message": problem}
            self._emit("response.failed", {"response": self.form})
        if self.lease is None:
            return
        try:
            await to_the_end(self._store.give_up, self.turn, self.lease, status, problem)
        except OverwinterError:  # the client has its answer; a journal that cannot be written is the operator's to know
            log.exception("the end of response %s could not be written", self.turn.id)

    def _emit(self, kind: str, fields: dict[str, Any]) -> None:
        if self.body.stream:
            data = {"type": kind, "sequence_number": self._count, **fields}
            self._events.append(encode(data, kind))
            self._count += 1
            self._grown.set()
