"""/v1/responses: answers that the server keeps, also those nobody waits for."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from overwinter.errors import UsageError
from overwinter.serve.asking import demand_model
from overwinter.serve.backend import backend_of, tenant_of
from overwinter.serve.desk import ResponseDesk
from overwinter.serve.errors import Refusal
from overwinter.serve.live import LiveResponse
from overwinter.serve.response_form import Form
from overwinter.serve.schemas.common import parse
from overwinter.serve.schemas.responses import HARMLESS, ResponseBody
from overwinter.serve.sse import EventStream, unless_gone


async def create_response(request: HttpRequest) -> Response:
    backend, tenant, desk = backend_of(request), tenant_of(request), _desk(request)
    with backend.intake.place() as place:
        body = parse(ResponseBody, await backend.read(request), HARMLESS)
        demand_model(backend.served, body.model)
        live = await desk.make(tenant, body, place)
    if body.stream:
        return EventStream(live.stream(), None if body.background else live)
    if body.background:
        return JSONResponse(live.form)
    with live:
        return await unless_gone(request, _answer(live))


async def get_response(request: HttpRequest) -> Response:
    """A stored response; with `stream=true` the events of one under way, behind `starting_after`."""
    tenant, desk, id_ = tenant_of(request), _desk(request), request.path_params["id"]
    form = await _found(desk.find(tenant, id_))
    if request.query_params.get("stream", "false") != "true":
        return JSONResponse(form)
    live = desk.live.get(id_)
    after = request.query_params.get("starting_after", "-1")
    if live is None or not live.body.stream:
        raise Refusal(400, "only a response that was asked for as a stream, and is under way here, can be followed")
    if not after.lstrip("-").isdecimal():
        raise Refusal(400, f"starting_after is {after!r}; give a sequence number", param="starting_after")
    return EventStream(live.stream(int(after)))


async def cancel_response(request: HttpRequest) -> Response:
    tenant, desk = tenant_of(request), _desk(request)
    return JSONResponse(await _found(desk.cancel(tenant, request.path_params["id"])))


async def _answer(live: LiveResponse) -> Response:
    await live.until_over()
    if live.refusal is not None:
        raise live.refusal
    return JSONResponse(live.form)


async def _found(work: Awaitable[Form]) -> Form:
    try:
        return await work
    except UsageError as error:
        raise Refusal(404, f"{error.problem}; {error.next_step}", code="response_not_found") from error


def _desk(request: HttpRequest) -> ResponseDesk:
    desk = backend_of(request).desk
    if desk is None:
        raise Refusal(501, "this server keeps no responses: it was started without a store")
    return desk
