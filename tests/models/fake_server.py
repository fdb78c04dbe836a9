"""A scripted HTTP server on loopback: one `Reply` per request, and a record of what was asked.

Time is the test's: `FakeTime` stands in for clock and sleep, and a piece of a reply may move it on before it is sent,
so a slow server costs no seconds.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from overwinter.loop.model import Limits, Message, View
from overwinter.loop.models.endpoint import Config, EndpointModel
from overwinter.loop.models.transport import Timing

VIEW = View(messages=(Message(role="system", text="Keep the plants alive."), Message(role="user", text="Day 1.")))
LIMITS = Limits(max_tokens=50, timeout_s=100.0, idempotency_key="run7-entry12")


@dataclass(kw_only=True)
class Reply:
    """What the server does with one request.

    Attributes:
        pieces: the body as it is written, piece by piece; a callable is called in place of being written.
        cut: "" ends the body properly, "close" closes the connection before the announced length, "reset" resets it.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Sequence[bytes | Callable[[], None]] = ()
    cut: str = ""


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: Any


class FakeTime:
    """A clock that moves only when told, and a sleep that moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.sleeps_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps_s.append(seconds)
        self.now_s += seconds

    def pass_(self, seconds: float) -> Callable[[], None]:
        def move() -> None:
            self.now_s += seconds

        return move

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now_s, sleep=self.sleep, jitter=lambda: 1.0)


class FakeServer:
    """Answers with `replies` in order; a request beyond the script is answered 418, which no test expects."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[Request] = []
        self.time = FakeTime()
        self.released = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                owner.requests.append(Request(self.path, headers, body))
                position = len(owner.requests) - 1
                reply = owner.replies[position] if position < len(owner.replies) else Reply(status=418)
                owner._answer(self, reply)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def model(self, **settings: Any) -> EndpointModel:
        settings = {"base_url": self.url, "model": "m", "mode": "chat", "stream": False} | settings
        return EndpointModel(Config(**settings), self.time.timing())

    def hang(self) -> None:
        """As a piece of a reply: sends nothing more until the test is over."""
        self.released.wait(20)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.close_connection = True
        written = sum(len(piece) for piece in reply.pieces if isinstance(piece, bytes))
        try:
            handler.send_response(reply.status)
            for name, value in ({"Content-Type": "application/json", "Connection": "close"} | reply.headers).items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(written + (1000 if reply.cut else 0)))
            handler.end_headers()
            for piece in reply.pieces:
                if isinstance(piece, bytes):
                    handler.wfile.write(piece)
                    handler.wfile.flush()
                else:
                    piece()
        except OSError:
            return  # the client has left, as it may
        if reply.cut == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=shown, pieces=[json.dumps(body).encode()])


def chat_answer(text: str = "Water zone 1.", **choice: Any) -> dict[str, Any]:
    return {
        "model": "m-2026",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }


def chunk(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]} | more


def sse_reply(*events: Any, cut: str = "", piece_bytes: int = 0) -> Reply:
    """A stream of chunks; a str is sent as it is, `piece_bytes` splits the whole into pieces of that many bytes."""
    lines = [e if isinstance(e, str) else f"data: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events]
    whole = "".join(lines).encode()
    step = piece_bytes or max(1, len(whole))
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
    return Reply(headers={"Content-Type": "text/event-stream"}, pieces=pieces, cut=cut)
