"""When the process that works on a run dies with its whole group, nothing that it started goes on: no shell, no grandchild."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(sys.platform != "linux", reason="dying with the parent is a Linux feature"),
]

WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from overwinter.tools import ToolContext
from overwinter.tools.sandbox import Limits, shell_sandbox
shell, = shell_sandbox(root=sys.argv[2], limits=Limits(time_s=60))
print("go", flush=True)
shell.call({"command": sys.argv[3]}, ToolContext(run="r", entry=1, idempotency_key="k"))
"""


def start(folder: Path, command: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WORKER, str(SRC), str(folder), command]
    worker = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "go\n"
    return worker


def kill_group(worker: subprocess.Popen[str]) -> None:
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()


def living(mark: str) -> list[str]:
    """Command lines of processes that bear the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found


def gone(mark: str, within_s: float = 10.0) -> bool:
    until_s = time.monotonic() + within_s
    while living(mark) and time.monotonic() < until_s:
        time.sleep(0.01)
    return not living(mark)


def test_a_shell_and_its_background_jobs_die_with_the_worker(tmp_path: Path) -> None:
    mark = f"31{random.randrange(10**6)}"
    worker = start(tmp_path, f"sleep {mark} & (setsid sleep {mark} &) ; touch started; sleep {mark}")
    until_s = time.monotonic() + 20
    while not (tmp_path / "started").exists() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert (tmp_path / "started").exists()
    kill_group(worker)
    assert gone(mark), living(mark)


def test_a_worker_that_dies_while_the_sandbox_starts_leaves_nothing(tmp_path: Path) -> None:
    """The sandbox can tie its life to the worker's only once it runs; by then the worker may be dead."""
    mark = f"32{random.randrange(10**6)}"
    dying = WORKER.replace(
        "shell,",
        "import os, signal, subprocess\n"
        "class Last(subprocess.Popen):\n"
        "    def __init__(self, *args, **settings):\n"
        "        super().__init__(*args, **settings)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "subprocess.Popen = Last\n"
        "shell,",
    )
    argv = [sys.executable, "-c", dying, str(SRC), str(tmp_path), f"touch lived; sleep {mark}"]
    assert subprocess.run(argv, stdout=subprocess.DEVNULL, start_new_session=True).returncode == -signal.SIGKILL
    assert gone(mark), living(mark)
    assert not (tmp_path / "lived").exists()
