"""The small routes: what is served, whether it works, what was counted."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from overwinter.serve.asking import demand_model
from overwinter.serve.backend import Backend, backend_of, tenant_of
from overwinter.serve.metrics import CONTENT_TYPE
from overwinter.serve.schemas.common import Body, parse, read_body


class TokenizeBody(Body):
    """A text to be counted. llama.cpp's names for its fields are understood too."""

    prompt: str | None = None
    content: str = ""
    model: str | None = None
    add_special_tokens: bool | None = None
    add_special: bool = Field(default=True)


async def list_models(request: HttpRequest) -> Response:
    tenant_of(request)
    return JSONResponse({"object": "list", "data": [_model(backend_of(request))]})


async def get_model(request: HttpRequest) -> Response:
    tenant_of(request)
    backend = backend_of(request)
    demand_model(backend.served, request.path_params["name"])
    return JSONResponse(_model(backend))


async def tokenize(request: HttpRequest) -> Response:
    """Token ids of a text, and how many."""
    tenant_of(request)
    backend = backend_of(request)
    body = parse(TokenizeBody, await read_body(request, backend.config.max_body_bytes), {})
    text = body.content if body.prompt is None else body.prompt
    special = body.add_special if body.add_special_tokens is None else body.add_special_tokens
    ids = await run_in_threadpool(lambda: backend.served.text.encode(text, add_special=special))
    return JSONResponse({"count": len(ids), "tokens": ids, "max_model_len": backend.served.most_tokens})


async def health(request: HttpRequest) -> Response:
    """200 while requests are taken; 503 while draining or after the engine's end."""
    backend = backend_of(request)
    alive, draining = backend.intake.worker.is_alive, backend.intake.is_draining
    status = "ok" if alive and not draining else "draining" if alive else "failed"
    return JSONResponse({"status": status}, 200 if status == "ok" else 503)


async def metrics(request: HttpRequest) -> Response:
    return Response(backend_of(request).metrics.text(), media_type=CONTENT_TYPE)


def _model(backend: Backend) -> dict[str, Any]:
    served = backend.served
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "overwinter",
        "max_model_len": served.most_tokens,
    }
