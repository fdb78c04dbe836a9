"""What the routes work with: one object per server, and what every answer has in common."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request as HttpRequest

from overwinter.engine.request import Event
from overwinter.serve.config import Config
from overwinter.serve.errors import Refusal
from overwinter.serve.intake import Intake
from overwinter.serve.keys import Keys, Tenant
from overwinter.serve.metrics import Metrics
from overwinter.serve.schemas.common import read_body
from overwinter.serve.served import Served

if TYPE_CHECKING:
    from overwinter.serve.desk import ResponseDesk


@dataclass(kw_only=True)
class Backend:
    """A server's parts.

    Attributes:
        desk: stored and background responses; None where no store was given.
    """

    served: Served
    config: Config
    keys: Keys
    metrics: Metrics
    intake: Intake = field(init=False)
    desk: ResponseDesk | None = None

    def __post_init__(self) -> None:
        self.intake = Intake(self.served.worker, self.served.slots, self.config.max_queue, self.metrics)
        worker = self.served.worker
        self.metrics.watch(lambda: worker.running, lambda: worker.waiting, worker.stats)

    async def read(self, request: HttpRequest) -> dict[str, Any]:
        return await read_body(request, self.config.max_body_bytes)


def backend_of(request: HttpRequest) -> Backend:
    return cast("Backend", request.app.state.backend)


def tenant_of(request: HttpRequest) -> Tenant:
    """Who asks, as the key that came with the request says. Raises Refusal with 401."""
    return backend_of(request).keys.tenant_of(request.headers.get("authorization"))


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


@dataclass(kw_only=True)
class Usage:
    """Tokens of one answer. A prompt counts once, however many outputs it has."""

    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, prompts: Iterable[Iterable[int]]) -> Usage:
        return cls(prompt_tokens=sum(len(tuple(prompt)) for prompt in prompts))

    def note(self, event: Event, *, is_first_choice: bool) -> None:
        """Count an event. The second output of a prompt finds it in memory, which is nobody's saving."""
        self.completion_tokens += len(event.token_ids)
        if is_first_choice:
            self.cached_tokens += event.cached_tokens

    def as_json(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


@dataclass(frozen=True, kw_only=True)
class Head:
    """What all pieces of one answer repeat."""

    id: str
    object: str
    model: str
    fingerprint: str
    created: int = field(default_factory=lambda: int(time.time()))

    def as_json(self, kind: str = "") -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind or self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def finish_reason(event: Event) -> str:
    """The API's word for how a sequence ended.

    Raises:
        Refusal: it did not end by itself.
    """
    match event.finish:
        case "stop" | "length":
            return event.finish
        case "timeout":
            raise Refusal(504, "the time for this request was up before its end", code="timeout")
        case "cancelled":
            raise Refusal(503, "the server stopped before the end of this request; ask again", code="stopped")
        case _:
            raise Refusal(500, f"the engine could not go on: {event.problem}", code="engine_fault")
