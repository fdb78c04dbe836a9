"""What a failed attempt means: may it be tried again, and may it have been billed?

| what happened                                   | again? | billed?                              |
|-------------------------------------------------|--------|--------------------------------------|
| no connection, name not found                   | yes    | no: nothing was sent                 |
| 429, 503                                        | yes    | no: refused before any work          |
| 429 for a used-up quota, 402                    | no     | no                                   |
| 400, 401, 403, 404, 422, other 4xx, redirects   | no     | no                                   |
| 500 that reports a validation error             | no     | no                                   |
| 408, 500, 502, 504, other 5xx                   | yes    | perhaps: prompt + max_tokens         |
| line cut, deadline, unreadable body             | yes    | perhaps: prompt + max_tokens         |
| error object inside a stream                    | yes    | perhaps: prompt + what was received  |
| an answer of the wrong shape                    | no     | yes: what it says, or as above       |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_BUSY = frozenset({429, 503})
_PASSING_CLIENT_ERRORS = frozenset({408, 409, 425})
_MOST_SHOWN_CHARS = 400

_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_CONTEXT_WORDS = re.compile(
    r"maximum (?:context|model) length|exceeds? the (?:available )?context|context window", re.I
)
_CONTEXT_LIMIT = re.compile(r"(?:(?:context|model) (?:length|size|window)) (?:is |of |\()?(\d+)", re.I)
_CONTEXT_ASKED = re.compile(
    r"requested (\d+) tokens|(\d+) input tokens|\(length (\d+)\)|resulted in (\d+) tokens|\((\d+) tokens\)", re.I
)

_VALIDATION_WORDS = re.compile(r"^\d+ validation error")
"""llama-cpp-python answers 500 to a request it cannot read; nothing was generated, and asking again is no use."""
_UNKNOWN_MODEL = re.compile(r"model\b.*\b(?:not exist|not found|unknown)|(?:unknown|invalid|no such) model", re.I)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why an attempt gave no answer.

    Attributes:
        problem, next_step: for the ModelError, should this be the last attempt.
        again: another attempt may do better.
        billed: the server may charge for it.
        completion_tokens: tokens generated, where that is known; None stands for as many as were allowed.
        wait_s: how long the server asks us to wait.
        status: HTTP status, 0 where there was none.
        message: the server's own words.
    """

    problem: str
    next_step: str
    again: bool
    billed: bool
    completion_tokens: int | None = None
    wait_s: float | None = None
    status: int = 0
    message: str = ""

    @property
    def means_no_chat(self) -> bool:
        """The server has no chat route, or no template for it: the completions route may still work."""
        if self.status in {400, 422, 500}:
            return "chat template" in self.message.lower()
        return self.status in {404, 405, 501} and not self.means_unknown_model

    @property
    def means_unknown_model(self) -> bool:
        """The server has the route but not the model asked for."""
        return self.status in {400, 404} and _UNKNOWN_MODEL.search(self.message) is not None


class AttemptFailed(Exception):
    """Carries the fault of one attempt."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.problem)
        self.fault = fault


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerError:
    """An error as the server words it."""

    message: str
    code: str = ""
    status: int = 0
    prompt_tokens: int | None = None
    context_tokens: int | None = None


def read_error(body: bytes | Any) -> ServerError:
    """The error in a body of any of the usual forms; its beginning where it has none of them."""
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace").strip()
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return ServerError(message=_shorten(text))
    else:
        parsed = body
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return ServerError(message=_shorten(error if isinstance(error, str) else json.dumps(error)))
    message = error.get("message", error.get("detail"))
    code = error.get("code")
    return ServerError(
        message=_shorten(message if isinstance(message, str) else json.dumps(message or error)),
        code=code if isinstance(code, str) else str(error.get("type") or ""),
        status=code if isinstance(code, int) and not isinstance(code, bool) else 0,
        prompt_tokens=_count(error.get("n_prompt_tokens")),
        context_tokens=_count(error.get("n_ctx")),
    )


def fault_of_status(status: int, headers: Mapping[str, str], body: bytes, key_source: str) -> Fault:
    """The fault of an answer that is not 200."""
    return fault_of_error(status, read_error(body), headers, key_source)


def fault_of_error(status: int, error: ServerError, headers: Mapping[str, str], key_source: str) -> Fault:
    """The fault of a status and the server's words.

    Args:
        key_source: where the API key comes from, for the advice when it is refused.
    """
    said = f": {error.message}" if error.message else ""
    if error.code in _CONTEXT_CODES or (status != 429 and _CONTEXT_WORDS.search(error.message)):
        return _context_fault(status, error)
    problem = f"the server answered {status}{said}"
    if status in _BUSY and error.code != "insufficient_quota":
        wait_s = read_retry_after(headers)
        next_step = "try again later, or give the call a longer timeout"
        return _fault(status, error, problem, next_step, again=True, wait_s=wait_s)
    if status == 500 and _VALIDATION_WORDS.search(error.message):
        return _fault(status, error, problem, _advice(status, error, headers, key_source))
    if status >= 500 or status in _PASSING_CLIENT_ERRORS:
        next_step = "look into the server's log; the run can be resumed when it is well"
        return _fault(status, error, problem, next_step, again=True, billed=True)
    return _fault(status, error, problem, _advice(status, error, headers, key_source))


def read_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds the server asks us to wait: a number, or a date."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _fault(
    status: int,
    error: ServerError,
    problem: str,
    next_step: str,
    *,
    again: bool = False,
    billed: bool = False,
    wait_s: float | None = None,
) -> Fault:
    return Fault(
        problem=problem,
        next_step=next_step,
        again=again,
        billed=billed,
        wait_s=wait_s,
        status=status,
        message=error.message,
    )


def _context_fault(status: int, error: ServerError) -> Fault:
    limit = error.context_tokens or _number(_CONTEXT_LIMIT, error.message)
    asked = error.prompt_tokens or _number(_CONTEXT_ASKED, error.message)
    lengths = f"the server takes {limit or '?'} tokens, the request has {asked or '?'}"
    advice = f"set context_tokens to {limit}" if limit else "lower context_tokens"
    problem = f"the prompt does not fit the model's context: {lengths} ({error.message})"
    return _fault(status, error, problem, f"{advice} so that the view is cut to fit, or lower max_tokens")


def _advice(status: int, error: ServerError, headers: Mapping[str, str], key_source: str) -> str:
    if status in {401, 403}:
        return f"check --api-key-env ({key_source}) and that the key may use this model"
    if status in {402, 429}:
        return "check the account's quota and billing with the provider"
    if status in {404, 405}:
        return "check the base URL (it usually ends in /v1) and the model's name"
    if 300 <= status < 400:
        return f"set the base URL to where the server redirects: {headers.get('location', 'not said')}"
    if "response_format" in error.message:
        return 'set schema_by to a form this server knows: "json_object", "structured_outputs", or "text"'
    return "the server refuses this request; if it names a field, take it out with extra_body={'field': None}"


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return next((int(group) for group in found.groups() if group), None) if found else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST_SHOWN_CHARS else text[: _MOST_SHOWN_CHARS - 1] + "…"
