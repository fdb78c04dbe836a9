"""The outside world: a process of its own that carries out effects and keeps a ledger of them.

    keyed          honours idempotency keys: the same key gets the first receipt again, and no second effect
    irreversible   has no keys: each call is an effect; `label` is there for the auditor, not for the ledger
    set            the same twice is the same as once
    probe, audit   ask what happened

One request per connection, one connection at a time, in the order in which they came: a request that was sent is carried
out before the next one, even when the process that sent it is dead by then. Each effect is a synced line of a file.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from crash_points import Points

PR_SET_PDEATHSIG = 1
REQUEST_BYTES = 1 << 16
SILENCE_S = 5.0


class Ledger:
    """The client. Points: before sending, after sending, when the answer is there but unread, when it is read."""

    def __init__(self, path: Path, points: Points | None = None) -> None:
        self.path = path
        self._points = points or Points()

    def ask(self, do: str, **what: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as line:
            self._points("ledger: before the request")
            line.connect(str(self.path))
            line.sendall(json.dumps({"do": do, **what}).encode() + b"\n")
            self._points("ledger: request sent")
            select.select([line], [], [], 30)
            self._points("ledger: carried out, answer unread")
            answer = _read_line(line)
        self._points("ledger: answer read")
        return json.loads(answer)


def die_with_parent() -> None:
    """No process of the matrix outlives it, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(path: Path, book: Path) -> None:
    """Answer until told to stop."""
    effects: dict[str, list[dict[str, Any]]] = {}
    with socket.socket(socket.AF_UNIX) as server, book.open("ab", buffering=0) as file:
        server.bind(str(path))
        server.listen(256)
        print("ready", flush=True)
        while True:
            line, _ = server.accept()
            with line:
                line.settimeout(SILENCE_S)
                try:
                    request = json.loads(_read_line(line))
                except (OSError, ValueError):
                    continue  # the caller died before it had said what it wanted
                if request["do"] == "stop":
                    return
                answer = _carry_out(effects, request, file.fileno())
                try:
                    line.sendall(json.dumps(answer).encode() + b"\n")
                except OSError:
                    continue  # done, and nobody is there to hear of it


def _carry_out(effects: dict[str, list[dict[str, Any]]], request: dict[str, Any], book: int) -> Any:
    of_run = effects.setdefault(request["run"], [])
    do, label = request["do"], request.get("label")
    if do == "audit":
        return of_run
    if do == "forget":
        return len(effects.pop(request["run"]))
    known = next((effect for effect in of_run if effect["label"] == label), None)
    if do == "probe":
        return known
    if known is not None and do in {"keyed", "set"}:
        known["repeats"] += 1
        return known
    effect = {"kind": do, "label": label, "step": request["step"], "receipt": len(of_run) + 1, "repeats": 0}
    os.write(book, json.dumps({"run": request["run"], **effect}).encode() + b"\n")
    os.fsync(book)
    of_run.append(effect)
    return effect


def _read_line(line: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        part = line.recv(REQUEST_BYTES)
        if not part:
            raise OSError("the line was cut")
        data += part
    return data


if __name__ == "__main__":
    die_with_parent()
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
