"""What a client is told when a request is not served: OpenAI's JSON form, whatever went wrong.

    {"error": {"message": "…", "type": "invalid_request_error", "param": "messages.0.content", "code": null}}

Messages name what was asked and what to do; they never hold a key, a header or the text of a prompt.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from overwinter.errors import BudgetExhausted, LeaseLost, ModelError, OverwinterError, StoreError, UsageError

log = logging.getLogger("overwinter.serve")

_TYPES = {429: "rate_limit_error", 401: "authentication_error", 403: "permission_error"}
_STATUS = ((UsageError, 400), (StoreError, 503), (LeaseLost, 409), (BudgetExhausted, 429), (ModelError, 500))


class Refusal(Exception):
    """A request that is answered with an error. Stays inside this package.

    Args:
        status: of HTTP.
        message: for the client's developer.
        param: the field it is about, dotted.
        code: one word for programs.
        headers: such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def as_refusal(error: BaseException) -> Refusal:
    """Any error as what a client may see of it."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, OverwinterError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return Refusal(status, f"{error.problem}; {error.next_step}")
    if isinstance(error, ValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        return Refusal(error.status_code, f"{error.detail}", headers=error.headers)
    # No detail: it may hold anything. The log has the trace.
    return Refusal(500, "the server failed on this request; its log says why", code="internal_error")


def _from_validation(error: ValidationError) -> Refusal:
    """The problem to tell of a body. Where several forms of a field were tried in vain, the one that fitted longest tells."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = next(
        (each for each in problems if each["type"] == "extra_forbidden"),
        max(problems, key=lambda each: len(each["loc"])),
    )
    param = ".".join(str(part) for part in first["loc"] if not _is_branch(part)) or None
    if first["type"] == "extra_forbidden":
        return Refusal(400, f"unknown field {param!r}; remove it", param=param, code="unknown_parameter")
    if first["type"] == "missing":
        return Refusal(400, f"field {param!r} is missing", param=param, code="missing_required_parameter")
    message = first["msg"].removeprefix("Value error, ")
    return Refusal(400, f"{param or 'the body'}: {message}", param=param, code="invalid_value")


def _is_branch(part: str | int) -> bool:
    # pydantic names the branch of a union in the location: "str", "list[str]", "function-after[…]", a class, a tag.
    named = {"str", "int", "float", "bool", "message", "function_call_output"}
    return isinstance(part, str) and (part in named or "[" in part or part[:1].isupper())


def error_response(error: BaseException) -> Response:
    refusal = as_refusal(error)
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


Handler = Callable[[Request], Awaitable[Response]]


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything that a route raises."""
    refusal = as_refusal(error)
    if refusal.code == "internal_error":
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(refusal)
