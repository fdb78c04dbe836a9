"""Between clients and the engine's thread: who is admitted, and how events come back to the event loop.

    with intake.place() as place:                       # refused here when the queue is full or the server is draining
        …                                               # read, check, tokenise
        ticket = place.admit(requests)
    with ticket:
        async for batch in ticket.batches():            # [(index of the request, event), …]
            …                                           # leaving the block early cancels what is still under way

The engine's thread calls `_heard` for each event; it only puts the event into a deque and wakes the loop, once for all
events of a burst. All else happens on the loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from overwinter.engine.request import Event, Request
from overwinter.serve.errors import Refusal
from overwinter.serve.metrics import Metrics

MOST_WAIT_S = 60


class Worker(Protocol):
    """What the server needs of an `EngineWorker`."""

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def is_alive(self) -> bool: ...

    def submit(self, request: Request, listener: Callable[[Event], None]) -> int: ...

    def cancel(self, sequence: int) -> None: ...

    def stats(self) -> Any: ...


class Ticket:
    """The sequences of one caller. As a context manager it cancels on leaving what has not ended."""

    def __init__(self, worker: Worker, count: int) -> None:
        self.sequences: list[int] = []
        self.asked_at = time.monotonic()
        self.last_at: list[float | None] = [None] * count
        """When each sequence last brought a token."""
        self._worker = worker
        self._open = set(range(count))
        self._events: list[tuple[int, Event]] = []
        self._ready = asyncio.Event()

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    @property
    def open(self) -> int:
        """Sequences that have not ended."""
        return len(self._open)

    def cancel(self, index: int | None = None) -> None:
        """Ask the engine to end one sequence, or all; their last events still come."""
        for each in self._open if index is None else self._open & {index}:
            if each < len(self.sequences):
                self._worker.cancel(self.sequences[each])

    def deliver(self, index: int, event: Event) -> None:
        self._events.append((index, event))
        if event.finish is not None:
            self._open.discard(index)
        self._ready.set()

    def forget(self, index: int) -> None:
        """A sequence that was never submitted."""
        self._open.discard(index)

    async def batches(self) -> AsyncIterator[list[tuple[int, Event]]]:
        """Events as they come, until every sequence has ended."""
        while self._open or self._events:
            await self._ready.wait()
            self._ready.clear()
            batch, self._events = self._events, []
            if batch:
                yield batch


class Place:
    """A request's place in the queue while it is being read; `admit` takes it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._is_held = False

    def __enter__(self) -> Place:
        self._intake.demand_room(1)
        self._intake.held += 1
        self._is_held = True
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def admit(self, requests: Sequence[Request]) -> Ticket:
        """See `Intake.admit`."""
        self._leave()
        return self._intake.admit(requests)

    def _leave(self) -> None:
        self._intake.held -= self._is_held
        self._is_held = False


class Intake:
    """Admits requests while there is room.

    Args:
        worker: the engine in its thread.
        slots: sequences that it computes at the same time.
        max_queue: sequences that may wait beside these.
        metrics: told of what comes and goes.
    """

    def __init__(self, worker: Worker, slots: int, max_queue: int, metrics: Metrics) -> None:
        self.worker = worker
        self.slots = slots
        self.most = slots + max_queue
        self.metrics = metrics
        self.is_draining = False
        self.open = 0
        """Sequences that were admitted and have not ended."""
        self.held = 0
        """Places of requests that are being read."""
        self._tickets: set[Ticket] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[tuple[Ticket, int, Event]] = deque()
        self._is_woken = False
        self._seconds = 1.0
        """How long a sequence takes: a running mean, for Retry-After."""
        self._changed = asyncio.Event()

    def place(self) -> Place:
        """A place in the queue, to be used as a context manager. Entering it may raise a Refusal, see `demand_room`."""
        return Place(self)

    def demand_room(self, count: int) -> None:
        """Refuse early, before a request costs anything.

        Raises:
            Refusal: 503 while draining or after the engine's end, 429 when `count` more would not fit.
        """
        if self.is_draining:
            raise Refusal(503, "the server is about to stop; ask again in a while", code="draining", headers=_after(5))
        if not self.worker.is_alive:
            raise Refusal(503, "the engine has failed; the server has to be started again", code="engine_failed")
        taken = self.open + self.held
        if taken + count > self.most:
            self.metrics.refused.inc()
            raise Refusal(
                429,
                f"{taken} sequences are under way or wait, {count} more do not fit: the server takes {self.most}",
                code="queue_full",
                headers=_after(self._seconds * max(1, taken - self.slots) / self.slots),
            )

    def admit(self, requests: Sequence[Request]) -> Ticket:
        """Queue requests, all of them or none.

        Raises:
            Refusal: there is no room; see `demand_room`.
            UsageError: the engine can never serve one of them.
        """
        self.demand_room(len(requests))
        self._loop = asyncio.get_running_loop()
        ticket = Ticket(self.worker, len(requests))
        for index, request in enumerate(requests):
            try:
                ticket.sequences.append(self.worker.submit(request, partial(self._heard, ticket, index)))
            except BaseException:
                for never in range(index, len(requests)):
                    ticket.forget(never)
                ticket.cancel()
                raise
            self.open += 1
            self._tickets.add(ticket)
            self.metrics.prompt_tokens.inc(len(request.prompt_ids))
        return ticket

    async def until_room(self) -> None:
        """Wait until one more sequence fits the queue."""
        while self.open + self.held >= self.most:
            self._changed.clear()
            await self._changed.wait()

    def drain(self) -> None:
        """Admit nothing from now on."""
        self.is_draining = True

    def cancel_all(self) -> None:
        for ticket in tuple(self._tickets):
            ticket.cancel()

    async def until_idle(self, timeout_s: float) -> bool:
        """Wait for all sequences to end; whether they did in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.open:
                    self._changed.clear()
                    await self._changed.wait()
        return self.open == 0

    def _heard(self, ticket: Ticket, index: int, event: Event) -> None:
        """On the engine's thread."""
        self._inbox.append((ticket, index, event))
        if not self._is_woken and self._loop is not None:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop was closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Cleared first: what is put in from now on wakes the loop again, what was put in before is taken here.
        self._is_woken = False
        now, tokens = time.monotonic(), 0
        while self._inbox:
            ticket, index, event = self._inbox.popleft()
            tokens += len(event.token_ids)
            self._note(ticket, index, event, now)
            ticket.deliver(index, event)
            if not ticket.open:
                self._tickets.discard(ticket)
        self.metrics.output_tokens.inc(tokens)

    def _note(self, ticket: Ticket, index: int, event: Event, now: float) -> None:
        if event.token_ids:
            before = ticket.last_at[index]
            histogram = self.metrics.first_token_s if before is None else self.metrics.next_token_s
            histogram.observe(now - (ticket.asked_at if before is None else before))
            ticket.last_at[index] = now
        if event.cached_tokens:
            self.metrics.cached_tokens.inc(event.cached_tokens)
        if event.finish is not None:
            self.open -= 1
            self.metrics.sequences.labels(finish=event.finish).inc()
            self._seconds += 0.1 * (now - ticket.asked_at - self._seconds)
            self._changed.set()


def _after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(min(MOST_WAIT_S, max(1, math.ceil(seconds))))}
