"""Attempts, waiting and the deadline: carries one request to the server until there is an answer or no hope.

One `Call` is one journalled call of the loop. Everything done for it shares one deadline and one idempotency key, and
what its failed attempts may have cost is summed up in it. The clock, the sleep and the jitter are handed in, so that
tests neither wait nor guess.

The deadline is checked with every piece that arrives, and a watchdog ends a connection that outlives it. What neither
bounds is the operating system's name lookup.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from overwinter.loop.models.answer import BadAnswer, EmptyAnswer, read_usage
from overwinter.loop.models.faults import AttemptFailed, Fault, fault_of_error, fault_of_status, read_error
from overwinter.loop.models.request import encode
from overwinter.loop.models.sse import Event, SseDecoder
from overwinter.loop.models.stream import StreamAssembler
from overwinter.loop.models.tokens import estimate_tokens
from overwinter.loop.models.watchdog import Watchdog

if TYPE_CHECKING:
    import httpx

    from overwinter.loop.models.endpoint import Config

_CONNECT_TIMEOUT_S = 10.0
_SIDE_REQUEST_TIMEOUT_S = 5.0
_MOST_ERROR_BYTES = 64 * 1024
_OPTIONAL_FIELDS = ("return_token_ids", "stream_options", "seed")
"""Fields a server may refuse by name; the request is then sent without them. None of them was promised."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Time, as tests may replace it."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


@dataclass(kw_only=True, slots=True)
class Call:
    """One journalled call: its bounds, and what its failed attempts may have cost.

    Attributes:
        deadline: on the timing's clock.
        prompt_tokens: estimate of one request's prompt.
        most_completion_tokens: what one request may generate, all choices together.
    """

    deadline: float
    timeout_s: float
    prompt_tokens: int
    most_completion_tokens: int
    idempotency_key: str = field(default_factory=lambda: uuid.uuid4().hex)
    attempts: int = 0
    lost_prompt_tokens: int = 0
    lost_completion_tokens: int = 0

    def charge(self, fault: Fault) -> None:
        """Adds what a failed attempt may have cost."""
        if not fault.billed:
            return
        known = fault.completion_tokens
        self.lost_prompt_tokens += self.prompt_tokens
        self.lost_completion_tokens += self.most_completion_tokens if known is None else known


class Transport:
    """Talks to one server. The HTTP client is made at the first request and kept."""

    def __init__(self, config: Config, api_key: str, timing: Timing) -> None:
        self._config = config
        self._api_key = api_key
        self._timing = timing
        self._client: httpx.Client | None = None
        self._refused_fields: set[str] = set()

    def ask(self, path: str, body: Mapping[str, Any], call: Call, read: Callable[[Any], T]) -> T:
        """The answer to `body`, read by `read`, after as many attempts as are allowed. Raises AttemptFailed."""
        counted = 0
        while True:
            sent = self._without_refused(body)
            call.attempts += 1
            try:
                return self._attempt(path, sent, call, read)
            except AttemptFailed as failed:
                fault = failed.fault
            call.charge(fault)
            if self._learn_refused_field(fault, sent):
                continue  # refused before any work: no failure to be counted, and each field is refused once
            counted += 1
            if not fault.again or counted >= self._config.max_attempts:
                raise AttemptFailed(fault)
            self._wait(fault, counted, call)

    def get_json(self, path: str) -> Any:
        """A side request that may fail: the answer, or None."""
        return self._side_request("GET", self._config.base_url.rstrip("/") + path, None)

    def post_json_at_root(self, path: str, body: Mapping[str, Any]) -> Any:
        """A side request beside the API (tokenizer routes lie outside /v1): the answer, or None."""
        root = self._config.base_url.rstrip("/").removesuffix("/v1")
        return self._side_request("POST", root + path, body)

    def redact(self, text: str) -> str:
        """`text` without the API key and the values of configured headers; servers like to repeat them."""
        for secret in (self._api_key, *self._config.headers.values()):
            if len(secret) >= 4:
                text = text.replace(secret, "***")
        return text

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _attempt(self, path: str, body: Mapping[str, Any], call: Call, read: Callable[[Any], T]) -> T:
        with self._answering(path, body, call) as response:
            if response.status_code != 200:
                content = self._read_bytes(response, call, _MOST_ERROR_BYTES)
                raise AttemptFailed(
                    fault_of_status(response.status_code, response.headers, content, self._config.key_source)
                )
            # A server that does not stream answers in one piece, and says so in the content type.
            if body.get("stream") and "json" not in response.headers.get("content-type", ""):
                answer = self._read_stream(response, call)
            else:
                answer = self._read_json(response, call)
        try:
            return read(answer)
        except BadAnswer as bad:
            billed = read_usage(answer.get("usage"))
            raise AttemptFailed(
                Fault(
                    problem=f"the server's answer is no completion: {bad}",
                    next_step="check that the base URL is an OpenAI-compatible server",
                    again=isinstance(bad, EmptyAnswer),
                    billed=True,
                    completion_tokens=billed.completion_tokens if billed else None,
                )
            ) from None

    @contextmanager
    def _answering(self, path: str, body: Mapping[str, Any], call: Call) -> Iterator[httpx.Response]:
        """One POST, whatever goes wrong with the line turned into a fault."""
        import httpx

        left_s = call.deadline - self._timing.clock()
        if left_s <= 0:
            raise AttemptFailed(self._deadline_fault(call, billed=False))
        timeout = httpx.Timeout(left_s, connect=min(_CONNECT_TIMEOUT_S, left_s))
        url = self._config.base_url.rstrip("/") + path
        headers = self._headers() | {"Idempotency-Key": call.idempotency_key}
        watchdog = Watchdog(left_s)
        request = self._http().build_request("POST", url, content=encode(body), headers=headers, timeout=timeout)
        request.extensions["trace"] = watchdog.trace
        try:
            with watchdog, closing(self._http().send(request, stream=True)) as response:
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise AttemptFailed(
                Fault(
                    problem=f"no connection to {self._config.shown_url}: {str(error) or type(error).__name__}",
                    next_step="check that the server runs and that the base URL is right",
                    again=True,
                    billed=False,
                )
            ) from None
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            raise AttemptFailed(self._deadline_fault(call, billed=True)) from None
        except httpx.RequestError as error:
            if watchdog.fired:
                raise AttemptFailed(self._deadline_fault(call, billed=True)) from None
            # `error` may quote headers; its class says enough.
            raise AttemptFailed(_cut(f"the connection broke ({type(error).__name__})")) from None

    def _read_bytes(self, response: httpx.Response, call: Call, most_bytes: int) -> bytes:
        """The body, up to `most_bytes`."""
        content = bytearray()
        for piece in self._pieces(response, call):
            content += piece
            if len(content) > most_bytes:
                return bytes(content[:most_bytes])
        return bytes(content)

    def _read_json(self, response: httpx.Response, call: Call) -> dict[str, Any]:
        most = self._config.max_response_bytes
        content = self._read_bytes(response, call, most + 1)
        if len(content) > most:
            raise AttemptFailed(self._too_long_fault())
        try:
            answer = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise AttemptFailed(_cut(f"the answer is not JSON ({type(error).__name__})")) from None
        if not isinstance(answer, dict):
            raise AttemptFailed(_cut(f"the answer is a JSON {type(answer).__name__}, not an object", again=False))
        if answer.get("error") and not answer.get("choices"):
            raise AttemptFailed(self._fault_in_body(answer, None))
        return answer

    def _read_stream(self, response: httpx.Response, call: Call) -> dict[str, Any]:
        decoder, assembler = SseDecoder(), StreamAssembler()
        received_bytes = 0
        try:
            for piece in self._pieces(response, call):
                received_bytes += len(piece)
                if received_bytes > self._config.max_response_bytes:
                    raise AttemptFailed(self._too_long_fault())
                if self._take(decoder.feed(piece), assembler):
                    return assembler.body()
            if self._take(decoder.finish(), assembler) or assembler.finished:
                return assembler.body()
        except UnicodeDecodeError:
            raise AttemptFailed(_cut("the stream is not UTF-8")) from None
        except BadAnswer as bad:
            raise AttemptFailed(_cut(f"the stream is no completion: {bad}", again=False)) from None
        raise AttemptFailed(_cut("the stream ended before the answer did"))

    def _take(self, events: list[Event], assembler: StreamAssembler) -> bool:
        """Feeds events to the assembler; True once the stream says it is done."""
        for event in events:
            if event.data.strip() == "[DONE]":
                return True
            try:
                chunk = json.loads(event.data)
            except (ValueError, RecursionError):
                raise AttemptFailed(_cut("a chunk of the stream is not JSON")) from None
            if event.name == "error" or (isinstance(chunk, dict) and chunk.get("error")):
                raise AttemptFailed(self._fault_in_body(chunk, assembler))
            assembler.add(chunk)
        return False

    def _pieces(self, response: httpx.Response, call: Call) -> Iterator[bytes]:
        for piece in response.iter_bytes():
            if self._timing.clock() >= call.deadline:
                raise AttemptFailed(self._deadline_fault(call, billed=True))
            yield piece

    def _fault_in_body(self, answer: Any, assembler: StreamAssembler | None) -> Fault:
        """The fault of an error that came with status 200, alone or in the midst of a stream."""
        error = read_error(answer)
        fault = fault_of_error(error.status or 500, error, {}, self._config.key_source)
        received = None
        if assembler is not None:
            billed = read_usage(assembler.usage)
            estimate = max(assembler.text_chunks, estimate_tokens("x" * assembler.received_chars))
            received = billed.completion_tokens if billed else estimate
        # The server had begun to work, whatever status it names.
        return Fault(
            problem=f"the server broke off with an error{f': {error.message}' if error.message else ''}",
            next_step=fault.next_step,
            again=fault.again,
            billed=True,
            completion_tokens=received,
            wait_s=fault.wait_s,
            status=fault.status,
            message=error.message,
        )

    def _deadline_fault(self, call: Call, *, billed: bool) -> Fault:
        return Fault(
            problem=f"no whole answer from {self._config.shown_url} within {call.timeout_s:g} s",
            next_step="give the call a longer timeout or fewer max_tokens",
            again=False,
            billed=billed,
        )

    def _too_long_fault(self) -> Fault:
        most = self._config.max_response_bytes
        return _cut(f"the answer is longer than max_response_bytes ({most:,} bytes)", again=False)

    def _wait(self, fault: Fault, failures: int, call: Call) -> None:
        """Sleeps before the next attempt. Raises the fault at once where the wait would not end before the deadline."""
        backoff_s = min(self._config.backoff_s * 2 ** (failures - 1), self._config.max_backoff_s)
        wait_s = backoff_s * (0.5 + self._timing.jitter() / 2)
        if fault.wait_s is not None:
            wait_s = max(fault.wait_s, wait_s)
        if self._timing.clock() + wait_s >= call.deadline:
            asked = f"; it asks to wait {fault.wait_s:g} s" if fault.wait_s is not None else ""
            problem = f"{fault.problem}{asked}; the call's {call.timeout_s:g} s leave no time for another attempt"
            raise AttemptFailed(Fault(problem=problem, next_step=fault.next_step, again=False, billed=False))
        self._timing.sleep(wait_s)

    def _without_refused(self, body: Mapping[str, Any]) -> dict[str, Any]:
        sent = {name: value for name, value in body.items() if name not in self._refused_fields}
        if "max_tokens" in self._refused_fields and "max_tokens" in body:
            sent["max_completion_tokens"] = body["max_tokens"]
        return sent

    def _learn_refused_field(self, fault: Fault, sent: Mapping[str, Any]) -> bool:
        """Notes an optional field that the server refuses by name; True if the request is worth sending without it."""
        if fault.status not in {400, 422}:
            return False
        if "max_tokens" in sent and "max_completion_tokens" in fault.message:
            self._refused_fields.add("max_tokens")  # newer hosted models renamed it
            return True
        for name in _OPTIONAL_FIELDS:
            demanded = name == "return_token_ids" and self._config.return_token_ids is True
            if name in sent and name in fault.message and not demanded:
                self._refused_fields.add(name)
                return True
        return False

    def _side_request(self, method: str, url: str, body: Mapping[str, Any] | None) -> Any:
        import httpx

        content = None if body is None else encode(body)
        try:
            response = self._http().request(
                method, url, content=content, headers=self._headers(), timeout=_SIDE_REQUEST_TIMEOUT_S
            )
            return response.json() if response.status_code == 200 else None
        except (httpx.RequestError, ValueError, RecursionError):
            return None

    def _http(self) -> httpx.Client:
        if self._client is None:
            import httpx

            # No connection is kept: the watchdog needs its own, and a stale one that breaks would look like a request
            # that was billed.
            self._client = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
        return self._client

    def _headers(self) -> dict[str, str]:
        # "identity": a compressed stream reaches us only when the compressor flushes, and hides a dripping server.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return headers | dict(self._config.headers)


def _cut(problem: str, *, again: bool = True) -> Fault:
    """The fault of an answer that came in part or cannot be read: the server may have generated all it was allowed."""
    return Fault(
        problem=problem,
        next_step="look into the server's log; the run can be resumed when it is well",
        again=again,
        billed=True,
    )
