"""One command in a sandbox process: started with limits, read as it speaks, killed with all its children.

Output is never buffered beyond the limit: the first three quarters and the last quarter are kept, the middle is counted
and dropped while the command runs. The command gets a clean environment, no input, and a session of its own.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overwinter.errors import UsageError

_LAUNCH = str(Path(__file__).with_name("_launch.py"))
_SLICE_S = 0.05
_DRAIN_S = 0.5
_READ_BYTES = 64 * 1024
# What programs need in order to start: the system, this Python, name resolution, certificates. Not /home, not /root,
# not /var, not the journal.
_READABLE = [
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki", "/etc/mime.types"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/host.conf"),
    *("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
]
_DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one sandboxed command may use. Not capped: how much disk many small files take together."""

    time_s: float = 10.0  # wall time; CPU time is limited to the same, per process
    memory_bytes: int = 1 << 30  # address space of each process
    file_bytes: int = 64 << 20  # the largest file it may write
    open_files: int = 256
    processes: int = 64  # in force only inside a user namespace, where other processes of the user do not count
    output_bytes: int = 32 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a command ended. `exit_code` is 128 + n after signal n."""

    output: str
    exit_code: int
    timed_out: bool
    left_out_bytes: int
    replaced_bytes: bool


class Capture:
    """The beginning and the end of a stream of unknown length, in bounded memory."""

    def __init__(self, limit_bytes: int) -> None:
        self._head_bytes = limit_bytes * 3 // 4
        self._tail_bytes = limit_bytes - self._head_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self.left_out_bytes = 0

    def add(self, part: bytes) -> None:
        """Take the next bytes."""
        room = self._head_bytes - len(self._head)
        self._head += part[:room] if room > 0 else b""
        self._tail += part[max(room, 0) :]
        surplus = len(self._tail) - self._tail_bytes
        if surplus > 0:
            del self._tail[:surplus]
            self.left_out_bytes += surplus

    def text(self) -> tuple[str, bool]:
        """What was kept, as text, and whether some of it was no UTF-8."""
        if not self.left_out_bytes:
            return _decode(bytes(self._head + self._tail))
        head, head_replaced = _decode(bytes(self._head))
        tail, tail_replaced = _decode(bytes(self._tail))
        return f"{head}\n[… {self.left_out_bytes} bytes left out …]\n{tail}", head_replaced or tail_replaced


def _decode(raw: bytes) -> tuple[str, bool]:
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", errors="replace"), True


def run_process(
    argv: Sequence[str], *, folder: Path, scratch: Path, limits: Limits, network: bool, readable: Sequence[Path] = ()
) -> Ended:
    """Run a command in the sandbox.

    Args:
        argv: the command; the first word is an absolute path.
        folder: where it works and may write.
        scratch: where it may also write; its home and place for temporary files.
        limits: what it may use.
        network: whether it keeps the network.
        readable: files and folders it may read besides the system's own.
    """
    if os.name != "posix":
        raise UsageError("the sandbox needs a POSIX system", "use Linux, macOS or WSL, or leave out sandboxed tools")
    spec = {
        "parent": os.getpid(),
        "argv": list(argv),
        "network": network,
        "writable": sorted({str(folder), str(scratch)}),
        "readable": [*_READABLE, sys.prefix, sys.base_prefix, *map(str, readable)],
        "devices": _DEVICES,
        "limits": {
            "RLIMIT_CPU": math.ceil(limits.time_s) + 1,
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_NOFILE": limits.open_files,
            "RLIMIT_CORE": 0,
            **({"RLIMIT_NPROC": limits.processes} if sys.platform == "linux" else {}),
        },
    }
    begun_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", _LAUNCH, json.dumps(spec)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=_environment(scratch),
        start_new_session=True,
    )
    capture = Capture(limits.output_bytes)
    try:
        timed_out = not _read_until_end(process, capture, begun_s + limits.time_s)
    finally:
        # Before it is reaped, so that the number of its group cannot belong to anybody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    _drain(process, capture)
    output, replaced = capture.text()
    exit_code = code if code >= 0 else 128 - code
    return Ended(
        output=output,
        exit_code=exit_code,
        timed_out=timed_out,
        left_out_bytes=capture.left_out_bytes,
        replaced_bytes=replaced,
    )


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing of ours: keys and tokens live in environments."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _read_until_end(process: subprocess.Popen[bytes], capture: Capture, until_s: float) -> bool:
    """Read until the command ends; False if the time was up before. A child that holds the pipe does not count."""
    pipe = _pipe(process)
    while (left_s := until_s - time.monotonic()) > 0:
        ready = select.select([pipe], [], [], min(left_s, _SLICE_S))[0]
        part = os.read(pipe, _READ_BYTES) if ready else b""
        capture.add(part)
        if not part and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        if ready and not part:
            time.sleep(_SLICE_S / 10)  # closed its output and works on in silence
    return False


def _drain(process: subprocess.Popen[bytes], capture: Capture) -> None:
    """What was still in the pipe. Bounded, for a child that escaped the group may hold it and go on writing."""
    pipe = _pipe(process)
    until_s = time.monotonic() + _DRAIN_S
    while (left_s := until_s - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left_s)[0] or not (part := os.read(pipe, _READ_BYTES)):
            break
        capture.add(part)
    if process.stdout is not None:
        process.stdout.close()


def _pipe(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None, "started with a pipe"
    return process.stdout.fileno()
