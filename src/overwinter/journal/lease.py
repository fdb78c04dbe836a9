"""Who owns a run, and whether that process still lives.

A lease is about progress, the fencing number about safety: clocks may be wrong and processes may sleep for an hour, the
store refuses an old number all the same. So this module may guess. It guesses in one case only: an owner on this machine
whose process is gone (killed, or the machine restarted) does not have to be waited for.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

DEFAULT_TTL_S = 60.0
"""How long another machine waits for an owner that has gone silent. Renewed at a third of it."""


def this_owner() -> str:
    """`host/boot+namespace/pid/start`: names one process for as long as the machine is up, even when numbers are reused."""
    pid = os.getpid()
    return "/".join((_host(), f"{_boot_id()}+{_pid_namespace()}", str(pid), _start_time(pid)))


def is_dead(owner: str) -> bool:
    """True only if `owner` ran on this machine and that very process is gone. Unknown or remote owners count as living."""
    parts = owner.split("/")
    if len(parts) != 4 or parts[0] != _host() or not parts[2].isdigit():
        return False
    _, place, pid, start = parts
    boot, _, namespace = place.partition("+")
    if boot != _boot_id():
        return boot != "-"
    if namespace != _pid_namespace():
        return False  # another container on this machine: its process numbers mean nothing here
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start_time(int(pid)) != start or _is_zombie(int(pid))


def _host() -> str:
    return socket.gethostname().replace("/", "_")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "-"


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "-"


def _stat_fields(pid: int) -> list[str]:
    # The command name in field 2 may hold spaces and brackets, so split after its closing bracket.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _start_time(pid: int) -> str:
    fields = _stat_fields(pid)
    return fields[19] if len(fields) > 19 else "-"


def _is_zombie(pid: int) -> bool:
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] in {"Z", "X"}
