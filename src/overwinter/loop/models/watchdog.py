"""Ends a connection at a point in time, whatever the server is doing with it.

HTTP libraries bound the wait for the next bytes, not for the whole answer; a server that sends a byte of its headers
now and then keeps a client for ever. The watchdog learns of the connection's socket through httpcore's trace and shuts
it down when its time is up; the reading side then sees a broken line. It needs a connection of its own for each
request, so none are kept alive.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any


class Watchdog:
    """Shuts down the connection opened inside its `with` block after `left_s` seconds.

    Attributes:
        fired: the time was up.
    """

    def __init__(self, left_s: float) -> None:
        self.fired = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(left_s, self._fire)
        self._timer.daemon = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """For the request's `trace` extension."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self.fired:
                self._fire()  # the time was up while the connection was being made

    def __enter__(self) -> Watchdog:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None

    def _fire(self) -> None:
        self.fired = True
        with self._lock:
            if self._socket is None:
                return
            try:
                # The plain socket's method: TLS's own would take the encryption from under the thread that is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                return  # closed already
