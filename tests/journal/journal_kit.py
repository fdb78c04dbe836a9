"""What the journal's tests share: short ways to write entries, and a journal that can be opened again and elsewhere."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overwinter.journal import Draft, Entry, Lease, NewRun, Packer, Store

SRC = Path(__file__).parents[2] / "src"
REMOTE = "elsewhere/boot/1/1"
"""An owner on another machine: nobody here can tell whether it lives."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a journal lies.

    Attributes:
        open: opens it, once more with each call; takes `clock_us` as keyword.
        code: Python source for another process; leaves the opened journal in `store`.
    """

    open: Callable[..., Store]
    code: str


def python(source: str) -> subprocess.Popen[str]:
    """Another process, that runs `source`."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SRC)!r})\n{source}"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ticking(start_us: int = 1_000_000, step_us: int = 1) -> Callable[[], int]:
    """A clock that moves a little each time it is read."""
    return itertools.count(start_us, step_us).__next__


def observed(text: str = "frost at dawn") -> Draft:
    return Draft(kind="observed", body={"source": "test", "text": {"text": text}, "data": {}})


def started(caps: Mapping[str, int] | None = None) -> Draft:
    body: dict[str, Any] = {"goal": "spring", "acceptance": [], "setup": {}, "budgets": [], "version": "0"}
    return Draft(kind="run.started", body=body | {"caps": dict(caps or {})})


def forked(parent: str, seq: int, caps: Mapping[str, int] | None = None) -> Draft:
    body = {"parent": parent, "seq": seq, "reason": "test", "budgets": [], "caps": dict(caps or {})}
    return Draft(kind="run.forked", body=body)


def intent(**reserve: int) -> Draft:
    return Draft(kind="sample.intent", body={"step": 0, "view": {}, "limits": {}, "constraint": {}, "reserve": reserve})


def settled(reserved: Mapping[str, int], spent: Mapping[str, int]) -> Draft:
    body = {"intent": 0, "error": "", "settle": {"reserved": dict(reserved), "spent": dict(spent)}}
    return Draft(kind="sample.failed", body=body)


def more(budget: str, **add: int) -> Draft:
    return Draft(kind="budget.changed", body={"budget": budget, "add": add, "by": "test"})


def begin(
    store: Store, run: str = "r", *, caps: Mapping[str, int] | None = None, shared: tuple[str, ...] = ()
) -> Lease:
    """A new run with its first entry, and the lease to go on with."""
    store.create(NewRun(run=run, caps=caps, shared=shared))
    lease = store.acquire(run, "test", 3600)
    store.append(run, [started(caps)], fence=lease.fence)
    return lease


def branch(
    store: Store,
    run: str,
    parent: str,
    seq: int,
    *,
    caps: Mapping[str, int] | None = None,
    shared: tuple[str, ...] = (),
) -> Lease:
    """A fork with its first entry."""
    store.create(NewRun(run=run, parent=parent, fork_seq=seq, caps=caps, shared=shared))
    lease = store.acquire(run, "test", 3600)
    store.append(run, [forked(parent, seq, caps)], fence=lease.fence)
    return lease


def append_texts(store: Store, lease: Lease, *texts: str) -> list[Entry]:
    return store.append(lease.run, [observed(text) for text in texts], fence=lease.fence)


def append_blob(store: Store, lease: Lease, text: str, kind: str = "observed") -> str:
    """One entry that refers to `text` as a blob; the blob's hash."""
    packer = Packer()
    payload = packer.text(text)
    body = {"source": "test", "text": payload, "data": {}}
    if kind == "world.saved":
        body = {"world": "test", "state": payload, "outcome": {}}
    refs = packer.take_refs()
    store.append(lease.run, [Draft(kind=kind, body=body, refs=refs)], fence=lease.fence, blobs=packer.blobs)
    return refs[0]


def texts(store: Store, run: str, start: int = 0, stop: int | None = None) -> list[str]:
    """The texts of what was observed, in order."""
    return [entry.body["text"]["text"] for entry in store.read(run, start, stop, kinds=["observed"])]
