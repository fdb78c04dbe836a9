"""The ASGI application: which path leads where.

| path | who answers |
|---|---|
| `GET /v1/models`, `GET /v1/models/NAME` | `models` |
| `POST /v1/completions` | `completions` |
| `POST /v1/chat/completions` | `chat` |
| `POST /v1/responses`, `GET /v1/responses/ID`, `POST /v1/responses/ID/cancel` | `responses` |
| `POST /tokenize` | `models` |
| `GET /health`, `GET /metrics` | `models`, without a key |
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overwinter.errors import OverwinterError
from overwinter.serve import models
from overwinter.serve.backend import Backend
from overwinter.serve.chat import create_chat_completion
from overwinter.serve.completions import create_completion
from overwinter.serve.errors import Refusal, error_response, on_error
from overwinter.serve.metrics import Metrics
from overwinter.serve.responses import cancel_response, create_response, get_response

log = logging.getLogger("overwinter.serve")

ROUTES = [
    Route("/v1/models", models.list_models),
    Route("/v1/models/{name:path}", models.get_model),
    Route("/v1/completions", create_completion, methods=["POST"]),
    Route("/v1/chat/completions", create_chat_completion, methods=["POST"]),
    Route("/v1/responses", create_response, methods=["POST"]),
    Route("/v1/responses/{id}", get_response),
    Route("/v1/responses/{id}/cancel", cancel_response, methods=["POST"]),
    Route("/tokenize", models.tokenize, methods=["POST"]),
    Route("/health", models.health),
    Route("/metrics", models.metrics),
]


def create_app(backend: Backend) -> ASGIApp:
    """The application of one backend."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if backend.desk is not None:
            await backend.desk.start()
        yield
        if backend.desk is not None:
            await backend.desk.stop()

    # One handler for all: an error that a route raises is an answer, not a fault of the server.
    handlers = dict.fromkeys((Refusal, OverwinterError, ValidationError, HTTPException, Exception), on_error)
    app = Starlette(routes=ROUTES, lifespan=lifespan, exception_handlers=handlers)
    app.state.backend = backend
    return Counted(app, backend.metrics)


class Counted:
    """Counts answers by route and status, and writes a line for each; neither has room for a key or a prompt."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = 0, time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001
            # Starlette's outermost layer answers and then raises again, for servers that log it; `on_error` has done so.
            if not status:
                await error_response(error)(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route=route, status=str(status)).inc()
            log.info("%s %s %s %.3f s", scope["method"], route, status, time.monotonic() - began)
