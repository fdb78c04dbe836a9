"""An engine in a thread of its own, for callers that serve many clients.

The thread alone touches the engine. Callers leave requests and cancellations in an inbox and get events through the listener
that they gave; it runs on the worker's thread, so it must hand over and return. A fault of the engine itself ends every sequence
with the reason, and the worker refuses new ones.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from overwinter.engine.engine import Engine, Stats
from overwinter.engine.request import Event, Request
from overwinter.errors import ModelError, UsageError

Listener = Callable[[Event], None]


class EngineWorker:
    """Steps an engine while it has work, and sleeps while it has none."""

    def __init__(self, engine: Engine, *, name: str = "engine") -> None:
        self.engine = engine
        self._wake = threading.Condition()
        self._inbox: deque[Callable[[], None]] = deque()
        self._listeners: dict[int, Listener] = {}
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        return len(self.engine.scheduler.running)

    @property
    def waiting(self) -> int:
        """Sequences that hold no memory yet, those in the inbox included."""
        return len(self._inbox) + len(self.engine.scheduler.waiting)

    @property
    def is_alive(self) -> bool:
        return self._failure is None and self._thread.is_alive()

    def submit(self, request: Request, listener: Listener) -> int:
        """Queue a request. Every event of its sequence goes to the listener, the last one with `finish`.

        Raises:
            UsageError: the engine can never serve it, or the worker is closing.
            ModelError: the engine has failed.
        """
        live = self.engine.prepare(request)  # touches nothing that steps touch
        number = live.number

        def enter() -> None:
            self._listeners[number] = listener
            self.engine.enter(live)

        with self._wake:
            if self._failure is not None:
                raise ModelError(f"the engine has failed: {self._failure}", "start the server again")
            if self._closing:
                raise UsageError("the engine is closing", "ask another server, or this one after its restart")
            self._inbox.append(enter)
            self._wake.notify()
        return number

    def cancel(self, sequence: int) -> None:
        """End a sequence; its listener hears of it, unless it has heard of another end."""
        with self._wake:
            self._inbox.append(lambda: self.engine.cancel(sequence))
            self._wake.notify()

    def stats(self) -> Stats:
        return self.engine.stats()

    def close(self, drain_s: float = 0.0) -> None:
        """Take no more requests, let those under way end for up to `drain_s` seconds, cancel the rest, and stop."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(drain_s)
        if self._thread.is_alive():
            with self._wake:
                self._inbox.append(self._cancel_all)
                self._wake.notify()
            self._thread.join()

    def _cancel_all(self) -> None:
        for number in list(self._listeners):
            self.engine.cancel(number)

    def _work(self) -> None:
        try:
            while self._take_in():
                for event in self.engine.step():
                    self._tell(event)
        except BaseException as failure:  # noqa: BLE001 (whatever it was, nobody may wait for ever)
            with self._wake:
                self._failure = failure
            for number in list(self._listeners):
                self._tell(Event(sequence=number, finish="fault", problem=f"the engine has failed: {failure!r}"))

    def _take_in(self) -> bool:
        """Carry out the inbox; wait while there is nothing to do. False when the worker is to stop."""
        while True:
            with self._wake:
                while not (self._inbox or self.engine.has_work or self._closing):
                    self._wake.wait()
                orders = [self._inbox.popleft() for _ in range(len(self._inbox))]
                if not orders and not self.engine.has_work:
                    return False
            for order in orders:
                order()
            if self.engine.has_work:
                return True

    def _tell(self, event: Event) -> None:
        listener = self._listeners.get(event.sequence)
        if event.finish is not None:
            self._listeners.pop(event.sequence, None)
        if listener is not None:
            listener(event)
