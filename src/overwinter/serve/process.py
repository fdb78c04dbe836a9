"""The server as a process: it listens, and leaves in good order.

The first SIGTERM or SIGINT begins the end: new requests get 503, `/health` too, those under way may end within `drain_s`, then what
is left is cancelled with an error that says so, and the process leaves. Background responses that are cancelled so stay in the
journal, and the next server takes them up. A second signal leaves at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from overwinter.errors import UsageError
from overwinter.serve.app import create_app
from overwinter.serve.backend import Backend

log = logging.getLogger("overwinter.serve")

LAST_WORDS_S = 5
"""How long cancelled requests may take to tell their clients."""
BACKLOG = 4096
SWITCH_INTERVAL_S = 0.0005
"""How long the event loop may keep the interpreter from the engine's thread; Python's own 5 ms are a good part of a step."""


class Server(uvicorn.Server):
    """uvicorn, with an end that lets requests finish before the socket closes."""

    def __init__(self, config: uvicorn.Config, backend: Backend, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._backend = backend
        self._on_ready = on_ready
        self._ending: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if sockets and self.started:
            self._on_ready(url_of(sockets[0]))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's signature)
        """Called by the signal, between two instructions: it only leaves word."""
        if self._backend.intake.is_draining or self._loop is None:
            self.should_exit = self.force_exit = True
            return
        self._backend.intake.drain()
        log.warning("%s: taking no new requests", signal.Signals(sig).name)
        self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        intake = self._backend.intake
        if not await intake.until_idle(self._backend.config.drain_s):
            log.warning("%d sequences did not end in time and are cancelled", intake.open)
            intake.cancel_all()
            await intake.until_idle(LAST_WORDS_S)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        UsageError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or error
        raise UsageError(
            f"cannot listen on {host}:{port}: {reason}", "choose another with --host and --port"
        ) from error
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(backend: Backend, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it.

    Args:
        on_ready: is given the URL once requests are answered.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    config = uvicorn.Config(
        create_app(backend),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=LAST_WORDS_S,
        backlog=BACKLOG,
        server_header=False,
        http="auto",
        ws="none",
    )
    server = Server(config, backend, on_ready)
    server.run(sockets=[listener])
    if not server.started:
        raise UsageError("the server could not start; its log says why", "check the store and the model")
    log.info("process %d ends", os.getpid())
