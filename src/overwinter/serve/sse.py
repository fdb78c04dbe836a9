"""Server-sent events, and clients that go away.

A stream is sent as it comes: what one step of the engine brought is one write. Both kinds of answer watch the connection: when
the client is gone, the work is cancelled, and with it the sequences whose ticket it held.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from overwinter.serve.errors import as_refusal, log

DONE = b"data: [DONE]\n\n"
GONE = 499
"""Nobody reads the answer; the number is for metrics and logs (nginx's)."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""Made once: `json.dumps` with settings of its own makes one for each call."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def encode(data: Any, event: str | None = None) -> bytes:
    """One event."""
    text = _ENCODER.encode(data)
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {text}\n\n".encode()


class EventStream(Response):
    """A streamed answer.

    Args:
        pieces: encoded events; an error that it raises becomes a last event with OpenAI's error object.
        guard: entered for as long as the stream lasts; cancels the work when that ends early.
    """

    media_type = "text/event-stream"

    def __init__(self, pieces: AsyncGenerator[bytes], guard: AbstractContextManager[Any] | None = None) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._pieces = pieces
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (the ASGI signature)
        # Here and not in the generator: one that was never begun does not clean up.
        with self._guard or nullcontext():
            await self._serve(receive, send)

    async def _serve(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pump = asyncio.ensure_future(self._pump(send))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _stop(gone)
            await _stop(pump)
        if not pump.cancelled():
            pump.result()

    async def _pump(self, send: Send) -> None:
        try:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Exception as error:  # noqa: BLE001 (the status is sent already; the client hears of it in the stream)
            refusal = as_refusal(error)
            if refusal.code == "internal_error":
                log.error("a stream failed", exc_info=error)
            await send({"type": "http.response.body", "body": encode(refusal.body), "more_body": True})
        finally:
            await self._pieces.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The answer of `work`, or an empty one as soon as the client has gone."""
    answer = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request.receive))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _stop(gone)
        await _stop(answer)
    return Response(status_code=GONE) if answer.cancelled() else answer.result()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stop(task: asyncio.Future[Any]) -> None:
    """Cancel a task that is not done, and wait until it has cleaned up."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
