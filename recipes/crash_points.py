"""Numbered write points: every place round a write where a process can die, and stores that report theirs.

A point is counted where it is passed; the process kills itself at the point it was told to. Nothing of this is in the
package: the stores are subclasses that watch their own transactions.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from overwinter.journal.postgres import PostgresStore
from overwinter.journal.sqlite import SqliteStore


class Points:
    """Counts the points a process passes, and sends it a signal at one of them.

    Args:
        at: the number of the point to die at, from 1; 0 for none.
        kind, nth: or the nth point of this kind.
        sent: SIGKILL to die, SIGSTOP to be frozen there.
    """

    def __init__(self, at: int = 0, *, kind: str = "", nth: int = 1, sent: signal.Signals = signal.SIGKILL) -> None:
        self.passed: list[str] = []
        self._at = at
        self._kind = kind
        self._left = nth
        self._sent = sent
        self._lock = threading.Lock()

    def __call__(self, kind: str) -> None:
        with self._lock:
            self.passed.append(kind)
            self._left -= kind == self._kind
            here = len(self.passed) == self._at or (kind == self._kind and self._left == 0)
        if here:
            os.kill(os.getpid(), self._sent)


class _Watched:
    """Mixed into a store: points before, inside and after each of its write transactions."""

    def __init__(self, points: Points, *args: Any, **settings: Any) -> None:
        self._points = points
        self._inside = ""
        super().__init__(*args, **settings)

    def _transaction(self) -> AbstractContextManager[None]:
        # The method that writes names the point: append, acquire, save_cache, …
        return self._watch(sys._getframe(1).f_code.co_name.lstrip("_"))

    @contextmanager
    def _watch(self, writer: str) -> Iterator[None]:
        self._points(f"{writer}: before the transaction")
        with super()._transaction():  # type: ignore[misc]
            self._inside = writer
            try:
                yield
            finally:
                self._inside = ""
            self._points(f"{writer}: before the commit")
        self._points(f"{writer}: after the commit")

    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Any]:
        rows: list[Any] = super()._execute(sql, args)  # type: ignore[misc]
        if self._inside:
            self._points(f"{self._inside}: inside the transaction")
        return rows


class WatchedSqlite(_Watched, SqliteStore):
    """A SQLite journal that reports its write points."""


class WatchedPostgres(_Watched, PostgresStore):
    """A Postgres journal that reports its write points."""
