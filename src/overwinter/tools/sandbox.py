"""Python and shell for the model, in a sandbox process.

Which effect class is honest depends on what stays behind:

    fresh folder, no network    idempotent     the folder is deleted afterwards, so running again is the same as once
    persistent root             irreversible   `echo x >> log` run twice leaves two lines
    network                     irreversible   the other side remembers

`idempotent`, not `pure`: where the system has no Landlock or no namespaces, code can still leave traces outside its
folder. `sandbox_report()` finds out by trying; where it says that files or network are open, give
`effect=Effect.IRREVERSIBLE` if the code is not to be trusted with a second run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from overwinter.errors import UsageError
from overwinter.tools.effect import Effect, ToolContext, ToolResult
from overwinter.tools.process import Ended, Limits, run_process
from overwinter.tools.tool import Tool, tool

__all__ = ["Limits", "python_sandbox", "sandbox_report", "shell_sandbox"]

_SHELL = "/bin/sh"
_SETUP_S = 5.0  # what starting and killing may take on top of the command's own time
_KILL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class _Sandbox:
    """Where commands run and what they may do."""

    root: Path | None
    limits: Limits
    network: bool
    readable: tuple[Path, ...]

    @classmethod
    def of(cls, root: str | PathLike[str] | None, limits: Limits, network: bool, readable: Sequence[Any]) -> _Sandbox:
        folder = None if root is None else Path(root).resolve()
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder} is no folder", "create it, or give another root")
        return cls(
            root=folder, limits=limits, network=network, readable=tuple(Path(each).resolve() for each in readable)
        )

    @property
    def effect(self) -> Effect:
        return Effect.IRREVERSIBLE if self.root is not None or self.network else Effect.IDEMPOTENT

    def run(self, argv: list[str], context: ToolContext, scratch: Path) -> ToolResult:
        limits = self.limits
        if context.deadline_s is not None:
            # A little earlier than the caller gives up, so that the killing happens while somebody still watches.
            time_s = max(context.deadline_s - _KILL_S, context.deadline_s / 2)
            limits = dataclasses.replace(limits, time_s=min(limits.time_s, time_s))
        ended = run_process(
            argv,
            folder=self.root or scratch,
            scratch=scratch,
            limits=limits,
            network=self.network,
            readable=self.readable,
        )
        return self._result(ended, limits)

    def _result(self, ended: Ended, limits: Limits) -> ToolResult:
        facts: dict[str, Any] = {"exit_code": ended.exit_code, "timed_out": ended.timed_out}
        if ended.replaced_bytes:
            facts["replaced_bytes"] = True
        if ended.timed_out:
            note = f"[killed after {limits.time_s:g} s, with all its children]"
            # Killed for certain, but what it did before that in a lasting place nobody knows.
            facts["in_doubt"] = self.effect is Effect.IRREVERSIBLE
        else:
            note = f"[exit code {ended.exit_code}{_signal_name(ended.exit_code)}]" if ended.exit_code else ""
        good = ended.exit_code == 0 and not ended.timed_out
        return ToolResult(
            ok=good,
            text="\n".join(part for part in (ended.output, note) if part) or "(done, no output)",
            data=facts,
            error=None if good else "timeout" if ended.timed_out else "crash",
            truncated_bytes=ended.left_out_bytes,
        )


def python_sandbox(
    *,
    root: str | PathLike[str] | None = None,
    limits: Limits | None = None,
    network: bool = False,
    readable: Sequence[str | PathLike[str]] = (),
    effect: Effect | None = None,
) -> list[Tool]:
    """The tool `python`: run a program with this Python and its installed packages.

    Args:
        root: the folder to work in; a fresh one for each call if None.
        limits: time, memory, files and output; see `Limits`.
        network: whether the program may use the network.
        readable: files and folders that it may read besides the system's own.
        effect: overrides the class that follows from `root` and `network`.
    """
    sandbox = _Sandbox.of(root, limits or Limits(), network, readable)

    @_declare(sandbox, effect, "python")
    def python(code: str, context: ToolContext) -> ToolResult:
        """Run a Python program and return what it prints.

        Args:
            code: the whole program; nothing is kept between calls except files in a persistent folder.
        """
        with _scratch() as scratch:
            program = scratch / "main.py"
            program.write_bytes(code.encode("utf-8", errors="replace"))
            return sandbox.run([sys.executable, "-I", "-B", "-u", str(program)], context, scratch)

    return [python]


def shell_sandbox(
    *,
    root: str | PathLike[str] | None = None,
    limits: Limits | None = None,
    network: bool = False,
    readable: Sequence[str | PathLike[str]] = (),
    effect: Effect | None = None,
) -> list[Tool]:
    """The tool `shell`: run a command line with /bin/sh. The arguments are those of `python_sandbox`."""
    sandbox = _Sandbox.of(root, limits or Limits(), network, readable)

    @_declare(sandbox, effect, "shell")
    def shell(command: str, context: ToolContext) -> ToolResult:
        """Run a shell command and return its output, errors included.

        Args:
            command: for /bin/sh; there is no terminal and no input.
        """
        with _scratch() as scratch:
            # As a file, because the system caps the length of one argument.
            script = scratch / ".command.sh"
            script.write_bytes(command.encode("utf-8", errors="replace"))
            return sandbox.run([_SHELL, str(script)], context, scratch)

    return [shell]


def _declare(sandbox: _Sandbox, effect: Effect | None, tag: str) -> Callable[[Callable[..., Any]], Tool]:
    return tool(
        effect=effect or sandbox.effect,
        timeout_s=sandbox.limits.time_s + _SETUP_S,
        max_output_bytes=sandbox.limits.output_bytes + 4096,  # room for the notes
        tags=["sandbox", tag],
    )


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="overwinter-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _signal_name(exit_code: int) -> str:
    try:
        name = signal.Signals(exit_code - 128).name
    except ValueError:
        return ""
    limits = {"SIGKILL": "time or memory", "SIGXCPU": "CPU time", "SIGXFSZ": "file size"}
    return f", {name}: perhaps the limit on {limits[name]}" if name in limits else f", {name}"


# Each line tries to break one promise and prints whether it held.
_TRIAL = """
import json, os, signal, socket, sys
port, outside = int(sys.argv[1]), sys.argv[2]
held = {}
def attempt(name, act):
    try:
        act()
        held[name] = False
    except (OSError, MemoryError):
        held[name] = True
def spawn():
    for _ in range(40):
        if os.fork() == 0:
            signal.pause()
attempt("network", lambda: socket.create_connection(("127.0.0.1", port), timeout=1))
attempt("memory", lambda: bytearray(1 << 30))
attempt("file_size", lambda: open("big", "wb").write(bytes(1 << 21)))
attempt("read_outside", lambda: open(outside).read())
attempt("write_outside", lambda: open(outside, "a").write("x"))
held["descendants"] = (os.getpid(), os.getppid()) == (2, 1)
attempt("processes", spawn)
attempt("open_files", lambda: [os.open("/dev/null", os.O_RDONLY) for _ in range(100)])
print(json.dumps(held), flush=True)
"""
_ADVICE = {
    "network": "the network is open: allow user namespaces, or run in a container without network",
    "memory": "memory is not limited on this system: run in a container with a memory limit",
    "file_size": "file sizes are not limited: give the sandbox a small volume",
    "open_files": "open files are not limited",
    "read_outside": "files outside the sandbox can be read: needs Linux with Landlock (5.13), or a container",
    "write_outside": "files outside the sandbox can be written: needs Linux with Landlock (5.13), or a container",
    "descendants": "a process that leaves its group can outlive the call: allow user namespaces",
    "processes": "the number of processes is not limited (it never is for root): run as an ordinary user",
}


@functools.cache
def sandbox_report() -> dict[str, Any]:
    """Which promises of the sandbox hold on this system, found out by trying to break each one.

    Returns `{"held": {promise: bool}, "advice": [what to do about each that does not]}`. Time and output are enforced
    by this process itself and always hold.
    """
    held: dict[str, bool] = {}
    limits = Limits(time_s=10, memory_bytes=512 << 20, file_bytes=1 << 20, open_files=64, processes=20)
    with _scratch() as scratch, _scratch() as outside, socket.create_server(("127.0.0.1", 0)) as server:
        secret = outside / "secret"
        secret.write_text("x")
        (scratch / "main.py").write_text(_TRIAL)
        argv = [sys.executable, "-I", "-B", str(scratch / "main.py"), str(server.getsockname()[1]), str(secret)]
        ended = run_process(argv, folder=scratch, scratch=scratch, limits=limits, network=False)
    for line in ended.output.splitlines():
        if line.startswith("{"):
            held = json.loads(line)
    if not held:
        return {"held": {}, "advice": [f"the sandbox does not start here: {ended.output.strip()[:500]}"]}
    held = {"time": True, "output": True, **{name: held.get(name, False) for name in _ADVICE}}
    return {"held": held, "advice": [_ADVICE[name] for name, good in held.items() if not good]}
