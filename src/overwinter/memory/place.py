"""Where the index of a namespace lies: beside a SQLite journal, within a Postgres one, else in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overwinter.errors import StoreError, UsageError
from overwinter.journal import Store
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory.index import Index
from overwinter.memory.namespace import check_namespace
from overwinter.memory.sqlite import SqliteIndex, index_is_damaged

ASIDE = ".damaged"
_SIDES = ("", "-wal", "-shm")


def index_folder(journal: Path) -> Path:
    return journal.with_name(journal.name + ".memory")


def index_path(journal: Path, namespace: str) -> Path:
    """The file of a namespace's index."""
    return index_folder(journal) / f"{check_namespace(namespace)}.db"


def open_index(store: Store, namespace: str) -> tuple[Index, str]:
    """The index of a namespace, and what had to be repaired for it ("" for nothing); it may be empty then."""
    if isinstance(store, SqliteStore):
        return _open_file(index_path(store.path, namespace), namespace)
    settings = getattr(store, "connection_settings", None)
    if settings is None:
        raise UsageError(f"there is no memory index for {store.url}", "give one: Memory.open(store, index=…)")
    from overwinter.memory.postgres import PostgresIndex

    url, schema = settings()
    return PostgresIndex(url, check_namespace(namespace), schema=f"{schema}_memory"), ""


def _open_file(path: Path, namespace: str) -> tuple[Index, str]:
    seen = inode(path)
    try:
        return SqliteIndex(path, namespace), ""
    except StoreError as error:
        if not index_is_damaged(error):
            raise
        message = set_aside(path, seen, error)
    return SqliteIndex(path, namespace), message


def inode(path: Path) -> int:
    """Which file a path names just now; 0 for none."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def set_aside(path: Path, seen: int, error: StoreError) -> str:
    """Give a damaged index another name, unless another process has done so already; what to tell the user.

    Args:
        seen: the file that was found damaged (`inode`).
    """
    aside = path.with_name(path.name + ASIDE)
    with _alone(path.with_name(path.name + ".lock")):
        if inode(path) == seen:
            for side in _SIDES:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{path}{side}", f"{aside}{side}")
    return (
        f"the memory index was damaged and is derived again from the journal; the old file is {aside} ({error.problem})"
    )


def set_aside_files(path: Path) -> list[Path]:
    """Files of an index that was found damaged. They hold what it held, so whoever erases must delete them."""
    aside = path.with_name(path.name + ASIDE)
    return [file for side in _SIDES if (file := Path(f"{aside}{side}")).exists()]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process at a time through, where the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
