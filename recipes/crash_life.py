"""One life of the process that works on the run: start or resume, work, answer what it waits for, until it ends or is killed.

What has been acknowledged is told at once, through a pipe: `ack SEQ HASH`. A life can be forked from a process that has
everything imported, which makes thousands of them affordable.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crash_ledger import Ledger, die_with_parent
from crash_plan import CAPS, DENIED, GOAL, make_parts
from crash_points import Points, WatchedPostgres, WatchedSqlite
from overwinter.errors import LeaseLost, UsageError
from overwinter.journal import Entry, Store
from overwinter.journal.lease import DEFAULT_TTL_S
from overwinter.loop import session as session_module
from overwinter.loop.run import Run, answer_approval, send_event

CACHE_EVERY = 15
RENEW_EVERY = 12
WAITS_MAX = 200


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run lives.

    Attributes:
        database: a SQLite file, or a postgresql:// URL.
        schema: the Postgres schema; empty for SQLite.
    """

    database: str
    schema: str
    ledger: Path
    run: str

    def open(self, points: Points) -> Any:
        if self.schema:
            return WatchedPostgres(points, self.database, schema=self.schema)
        return WatchedSqlite(points, self.database)

    def named(self, run: str) -> Place:
        """The place of another run: a database, or a schema, of its own."""
        if self.schema:
            return replace(self, schema=f"crash_{run.replace('-', '_')}", run=run)
        return replace(self, database=str(Path(self.database).with_name(f"{run}.db")), run=run)

    def remove(self) -> None:
        """Delete the run's database."""
        if self.schema:
            import psycopg

            with psycopg.connect(self.database, autocommit=True) as db:
                db.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE".encode())
            return
        for end in ("", "-wal", "-shm"):
            Path(self.database + end).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class Death:
    """How a life ended. `said` holds its lines: ack, point, error, ended."""

    killed: bool
    said: tuple[str, ...]

    def lines(self, word: str) -> list[str]:
        return [line.partition(" ")[2] for line in self.said if line.startswith(word + " ")]


class Life:
    """The work of one process. `say` tells the outside what has been acknowledged."""

    def __init__(self, place: Place, points: Points, out: int) -> None:
        self.place = place
        self.points = points
        self.ledger = Ledger(place.ledger, points)
        self._out = out

    def say(self, line: str) -> None:
        os.write(self._out, line.encode() + b"\n")

    def acknowledge(self, entry: Entry) -> None:
        self.say(f"ack {entry.seq} {entry.hash}")

    def live(self) -> None:
        """Until the run has ended."""
        session_module.CACHE_EVERY = CACHE_EVERY
        store = self.place.open(self.points)
        for _ in range(WAITS_MAX):
            with self.start_or_resume(store) as run:
                self.work(run)
                state = run.state
            if state.ended:
                self.say(f"ended {state.ended}")
                return
            with contextlib.suppress(UsageError):  # it has been answered meanwhile, or has ended
                self.answer(store, state.waiting or {})
        self.say("error the run did not end")

    def start_or_resume(self, store: Store) -> Run:
        parts = make_parts(self.place.run, self.ledger, self.points)
        try:
            return Run.start(store, GOAL, parts=parts, caps=CAPS, name=self.place.run)
        except UsageError:
            return self.resume(store)

    def resume(self, store: Store, *, take_over: bool = False) -> Run:
        def parts() -> Any:
            return make_parts(self.place.run, self.ledger, self.points)

        return Run.open(store, self.place.run, parts=parts, take_over=take_over)

    def work(self, run: Run) -> None:
        self.say(f"ack {run.state.head_seq} {run.state.head_hash}")
        for entry in run.work():
            self.acknowledge(entry)
            if entry.seq % RENEW_EVERY == 0:
                run.session.store.renew(run.session._lease, DEFAULT_TTL_S)

    def answer(self, store: Store, waiting: dict[str, Any]) -> None:
        """What a truthful person would answer, who can look into the ledger."""
        name = self.place.run
        if waiting["reason"] == "sleep":
            send_event(store, name, waiting["event"], {"degrees": -3}, by="auditor")
            return
        call = session_module.load_state(store, name).calls[0]
        if waiting["reason"] == "approval":
            answer_approval(store, name, approve=call.tool != DENIED, by="auditor")
        elif waiting["reason"] == "in_doubt":
            effect = self.ledger.ask("probe", run=name, label=call.key)
            answer_approval(store, name, approve=effect is not None, by="auditor")
        else:
            raise RuntimeError(f"the run waits for {waiting}")


class Fork:
    """A life in a process of its own, forked from this one."""

    def __init__(self, place: Place, points: Points, act: str = "live") -> None:
        reading, writing = os.pipe()
        self._begin, go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            os.close(go)
            _child(Life(place, points, writing), points, act, self._begin)
        os.close(writing)
        os.close(self._begin)
        self._reading, self._go = reading, go
        self._said = b""
        self._status: int | None = None

    def wait_for(self, word: str | tuple[str, ...], within_s: float = 30.0) -> list[str]:
        """Read until a line that begins so has come, or the life has ended."""
        until_s = time.monotonic() + within_s
        while not any(line.startswith(word) for line in self._lines()) and time.monotonic() < until_s:
            if not self._read(until_s):
                break
        return self._lines()

    def go_on(self) -> None:
        """Let a life continue that waits for it, if it still lives."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"\n")

    def is_frozen(self, within_s: float = 30.0) -> bool:
        """Wait until the process has been stopped by SIGSTOP; False if it ended instead."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            pid, status = os.waitpid(self.pid, os.WUNTRACED | os.WNOHANG)
            if pid and os.WIFSTOPPED(status):
                return True
            if pid:
                self._status = status
                return False
            time.sleep(0.002)
        return False

    def end(self, kill_after_s: float | None = None) -> Death:
        """Wait for the end; with SIGKILL from outside after so many seconds, if it still lives then."""
        until_s = None if kill_after_s is None else time.monotonic() + kill_after_s
        while self._read(until_s):
            if until_s is not None and time.monotonic() >= until_s:
                os.kill(self.pid, signal.SIGKILL)
                until_s = None
        if until_s is not None and time.monotonic() >= until_s:
            os.kill(self.pid, signal.SIGKILL)
            while self._read(None):
                pass
        os.close(self._reading)
        os.close(self._go)
        status = os.waitpid(self.pid, 0)[1] if self._status is None else self._status
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return Death(killed=killed, said=tuple(self._lines()))

    def _read(self, until_s: float | None) -> bool:
        left_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        if not select.select([self._reading], [], [], left_s)[0]:
            return False
        part = os.read(self._reading, 1 << 16)
        self._said += part
        return bool(part)

    def _lines(self) -> list[str]:
        # The last piece may be half a line, cut off by the kill; it was never acknowledged as a whole.
        return self._said.decode().split("\n")[:-1]


def _child(life: Life, points: Points, act: str, begin: int) -> None:
    die_with_parent()
    try:
        if act in {"live", "count"}:
            life.live()
        else:
            _hold(life, None if act == "look" else begin, take_over=act == "take over")
        for kind in points.passed if act == "count" else ():
            life.say(f"point {kind}")
    except LeaseLost:
        life.say("lost the lease")
    except BaseException:  # noqa: BLE001 the parent judges
        life.say("error " + " | ".join(traceback.format_exc().splitlines()[-6:]))
    finally:
        os._exit(0)


def _hold(life: Life, begin: int | None, *, take_over: bool) -> None:
    """Resume, say so, and work only when told to; not at all without `begin`."""
    store = life.place.open(life.points)
    with life.resume(store, take_over=take_over) as run:
        life.say("owner")
        if begin is not None:
            select.select([begin], [], [], 60)
            life.work(run)
