"""The first program inside the sandbox: it takes away its own rights, then becomes the command.

Started as a script of its own (`python -I -S _launch.py SPEC`), because the alternative, code between fork and exec in
a program with threads, can deadlock. It imports only the standard library, and nothing of overwinter.

    outer   dies with its parent; new user, network, process and mount namespaces where the system allows
     └ one  process 1 of the new namespace: when it dies, the kernel kills everything inside; it reaps orphans
        └ command   resource limits, Landlock, no capabilities, no new privileges, then exec

What the system does not allow is left out silently here; `sandbox_report()` finds out by trying.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
LANDLOCK_EXECUTE, LANDLOCK_WRITE, LANDLOCK_READ, LANDLOCK_READ_DIR = 1, 2, 4, 8
LANDLOCK_TRUNCATE, LANDLOCK_IOCTL = 1 << 14, 1 << 15
# How many file rights each version of Landlock knows, from version 1 on.
LANDLOCK_FILE_RIGHTS = [13, 14, 15, 15, 16]
LANDLOCK_SCOPES = 0b11  # from version 6: no abstract sockets and no signals to processes outside


class Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class PathRule(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def main(spec: dict[str, Any]) -> None:
    """Enter the sandbox and run the command; exits as it exits, or with 128 + signal."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    private_proc = False
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != spec["parent"]:
            sys.exit("the process that asked for this is gone")  # it died before we could tie our life to its own
        private_proc = enter_namespaces(libc, network=spec["network"])
    for name, value in spec["limits"].items():
        limit(name, value)
    if libc is not None:
        for capability in range(64):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        restrict_files(libc, spec, private_proc=private_proc)
    # Python ignores these two, and an ignored signal would stay ignored in the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execve(spec["argv"][0], spec["argv"], dict(os.environ))  # noqa: S606 that is its purpose
    except OSError as reason:
        sys.exit(f"cannot start {spec['argv'][0]}: {reason}")


def enter_namespaces(libc: Any, *, network: bool) -> bool:
    """Go on as the grandchild in new namespaces, or in this process where there are none.

    Returns whether /proc shows only the sandbox.
    """
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | (0 if network else CLONE_NEWNET)
    # Tried in a child first: some systems grant the namespace and then refuse the mapping, with no way back.
    trial = os.fork()
    if trial == 0:
        os._exit(0 if unshare_as_same_user(libc, flags) else 1)
    if os.waitpid(trial, 0)[1] != 0 or not unshare_as_same_user(libc, flags):
        return False
    become_child(libc)  # unshare moves only children into the new process namespace: this one is process 1
    libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    private_proc: bool = libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None) == 0
    become_child(libc)  # process 1 is spared many signals, so the command is process 2
    return private_proc


def unshare_as_same_user(libc: Any, flags: int) -> bool:
    """Enter new namespaces as the same user as outside, so that nobody gains rights by entering."""
    user, group = os.getuid(), os.getgid()
    if libc.unshare(flags) != 0:
        return False
    try:
        for name, text in [("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")]:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:
                stream.write(text)
    except OSError:
        return False
    return True


def become_child(libc: Any) -> None:
    """Fork; the parent waits and exits as the child does, the child goes on."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(there)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if select.select([here], [], [], 0)[0]:
            os._exit(1)  # the other end is closed: the parent died before we could tie our life to its own
        os.close(here)
        return
    os.close(here)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def limit(name: str, value: int) -> None:
    """Set one resource limit, as far as the hard limit allows."""
    number = getattr(resource, name, None)
    if number is None:
        return
    hard = resource.getrlimit(number)[1]
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(number, (wanted, wanted))
    except (OSError, ValueError):
        return  # macOS refuses some; the report shows it


def restrict_files(libc: Any, spec: dict[str, Any], *, private_proc: bool) -> None:
    """Landlock: read and run what the spec lists, write only below its writable folders."""
    version = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return
    every = (1 << LANDLOCK_FILE_RIGHTS[min(version, len(LANDLOCK_FILE_RIGHTS)) - 1]) - 1
    rules = Ruleset(fs=every, net=0, scoped=LANDLOCK_SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(LANDLOCK_CREATE, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        return
    reading = LANDLOCK_EXECUTE | LANDLOCK_READ | LANDLOCK_READ_DIR
    readable = [*spec["readable"], *(["/proc"] if private_proc else [])]
    for paths, rights in [
        (readable, reading),
        (spec["writable"], every & ~LANDLOCK_IOCTL),
        (spec["devices"], LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_TRUNCATE),
    ]:
        for path in paths:
            allow(libc, ruleset, path, rights & every)
    libc.syscall(LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)


def allow(libc: Any, ruleset: int, path: str, rights: int) -> None:
    """Add one rule; a path that does not exist needs none."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= LANDLOCK_EXECUTE | LANDLOCK_READ | LANDLOCK_WRITE | LANDLOCK_TRUNCATE | LANDLOCK_IOCTL
    rule = PathRule(allowed=rights, parent=opened)
    libc.syscall(LANDLOCK_ADD, ruleset, 1, ctypes.byref(rule), 0)
    os.close(opened)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
