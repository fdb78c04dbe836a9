"""`serve`: an OpenAI-compatible server over a model folder, its responses in the journal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overwinter.cli.flags import Common
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from socket import socket

    from overwinter.engine.worker import EngineWorker
    from overwinter.serve.backend import Backend
    from overwinter.serve.keys import Keys

NEEDED = ("torch", "tokenizers", "starlette", "uvicorn", "prometheus_client")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where the server listens, and to whom."""

    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1"
    port: Annotated[
        int, typer.Option("--port", metavar="NUMBER", min=0, max=65535, help="0 takes a free one, and says which.")
    ] = 8000
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="One key per line, a name before it if you like."),
    ] = None
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Let everyone in who can reach the address; needed beyond loopback.")
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="A line for each answered request.")] = False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is taken on."""

    max_queue: Annotated[
        int, typer.Option("--max-queue", metavar="NUMBER", min=1, help="Sequences that may wait; more get 429.")
    ] = 256
    max_running: Annotated[
        int, typer.Option("--max-running", metavar="NUMBER", min=1, help="Sequences computed at the same time.")
    ] = 16
    max_output: Annotated[
        int | None, typer.Option("--max-output", metavar="TOKENS", min=1, help="Most a request may ask for.")
    ] = None
    max_body_mb: Annotated[
        int, typer.Option("--max-body-mb", metavar="MB", min=1, help="Largest body; more gets 413.")
    ] = 8
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Ends a sequence, waiting included.")
    ] = None
    drain: Annotated[
        float,
        typer.Option("--drain", metavar="SECONDS", min=0, help="How long requests may take to end after SIGTERM."),
    ] = 30.0


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How the model is loaded."""

    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The model's name for clients; default: its folder's.")
    ] = None
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="TYPE", help="float32, bfloat16 or float16; default: the file's.")
    ] = None
    context: Annotated[
        int | None, typer.Option("--context", metavar="TOKENS", min=1, help="Longest prompt and output together.")
    ] = None
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="NUMBER", min=1, help="Default: torch's choice.")
    ] = None
    kv_mb: Annotated[int | None, typer.Option("--kv-mb", metavar="MB", min=1, help="Memory for keys and values.")] = (
        None
    )


def serve(
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="DIR", help="A model folder, or a name on the hub as org/name.")
    ],
    listening: Listening,
    limits: Limits,
    loading: Loading,
    common: Common,
) -> None:
    """Serve a model to OpenAI clients: chat, completions, responses."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"serve needs {', '.join(missing)}", "pip install 'overwinter[local,serve]'")
    from overwinter.model.hub import find_folder, shown_name
    from overwinter.serve.keys import Keys
    from overwinter.serve.process import listen

    folder = find_folder(model)
    keys = Keys.load(listening.api_key_file, os.environ)
    _demand_keys(listening, keys)
    _log(listening.verbose)
    with workplace(common) as at:
        # First the address, then the model: a port in use is found before minutes of loading.
        listener = listen(listening.host, listening.port)
        try:
            worker = _worker(folder, limits, loading)
            try:
                backend = _backend(at, worker, keys, limits, loading.name or shown_name(folder))
                _serve(at, backend, listener)
            finally:
                worker.close()
        finally:
            listener.close()


def _serve(at: Workplace, backend: Backend, listener: socket) -> None:
    from overwinter.serve.process import serve as serve_until_stopped

    served = backend.served

    def ready(url: str) -> None:
        at.out.record({"url": url, "pid": os.getpid(), "model": served.name, "context_tokens": served.most_tokens})
        at.out.line(f"{served.name} at {url}/v1, {served.most_tokens} tokens of context; stop with Ctrl-C", "bold")
        if served.text.template.is_plain:
            at.out.line("it has no chat template: chats are written as plain lines 'role: text'", "yellow")

    serve_until_stopped(backend, listener, ready)


def _demand_keys(listening: Listening, keys: Keys) -> None:
    if not keys.is_open and listening.without_keys:
        raise UsageError("there are keys, and --without-keys", "leave one of them out")
    if keys.is_open and not listening.without_keys and not _is_loopback(listening.host):
        raise UsageError(
            f"{listening.host} can be reached from other machines, and no API key is set",
            "name a file with --api-key-file, or say --without-keys if everyone may ask",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _worker(folder: Path, limits: Limits, loading: Loading) -> EngineWorker:
    import torch

    from overwinter.engine import Config, Engine
    from overwinter.engine.worker import EngineWorker

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, None: None}
    if loading.dtype not in dtypes:
        raise UsageError(f"--dtype is {loading.dtype!r}", "use float32, bfloat16 or float16")
    if loading.threads is not None:
        torch.set_num_threads(loading.threads)
    config = Config(
        max_running=limits.max_running,
        context=loading.context,
        kv_bytes=None if loading.kv_mb is None else loading.kv_mb << 20,
    )
    return EngineWorker(Engine.load(folder, config, dtype=dtypes[loading.dtype]))


def _backend(at: Workplace, worker: EngineWorker, keys: Keys, limits: Limits, name: str) -> Backend:
    from overwinter.serve.backend import Backend
    from overwinter.serve.config import Config
    from overwinter.serve.desk import ResponseDesk
    from overwinter.serve.metrics import Metrics
    from overwinter.serve.served import Served
    from overwinter.serve.stored import ResponseStore

    config = Config(
        max_queue=limits.max_queue,
        max_body_bytes=limits.max_body_mb << 20,
        max_output_tokens=limits.max_output,
        sequence_timeout_s=limits.timeout,
        drain_s=limits.drain,
    )
    backend = Backend(served=Served.of(worker, name), config=config, keys=keys, metrics=Metrics())
    backend.desk = ResponseDesk(backend, ResponseStore(at.store))
    return backend


def _log(verbose: bool) -> None:
    """Warnings to standard error, and on wish a line per request; nothing of either holds a key or a prompt."""
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("overwinter.serve").setLevel(logging.INFO if verbose else logging.WARNING)
