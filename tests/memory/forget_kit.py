"""What the tests of forgetting share: a memory over a fresh journal, and runs that say things."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overwinter.journal import Draft, NewRun, Packer, Store
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory.memory import Memory

DAY_US = 86_400_000_000
START_US = 1_900_000_000_000_000
SECRET = "Reinhold keeps the spare key under the third flower pot"


class Clock:
    """Moves a second with each reading, and wherever a test puts it."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        self.now_us += 1_000_000
        return self.now_us


def sqlite(folder: Path, clock: Clock | None = None) -> SqliteStore:
    opened = SqliteStore(folder / "journal.db", clock_us=clock or Clock())
    # Nobody pulls the plug here; tests/journal is about that.
    opened._execute("PRAGMA synchronous = OFF")
    return opened


def begin(store: Store, run: str = "r", namespace: str = "default") -> None:
    store.create(NewRun(run=run, title="a winter"))
    setup: dict[str, Any] = {} if namespace == "default" else {"memory": {"namespace": namespace}}
    body = {"goal": "bring them through", "acceptance": [], "setup": setup, "budgets": [], "caps": {}, "version": "0"}
    append(store, run, Draft(kind="run.started", body=body))


def append(store: Store, run: str, *drafts: Draft, blobs: Mapping[str, bytes] | None = None) -> list[str]:
    """Their citations."""
    lease = store.acquire(run, "test", 60)
    entries = store.append(run, drafts, fence=lease.fence, blobs=blobs)
    store.release(lease)
    return [f"{entry.run}#{entry.seq}" for entry in entries]


def say(store: Store, run: str, *texts: str, actor: str = "user", **data: Any) -> list[str]:
    """Observations; their citations."""
    packer = Packer()
    drafts = []
    for text in texts:
        body = {"source": "user", "text": packer.text(text), "data": {"actor": actor, **data}}
        drafts.append(Draft(kind="observed", body=body, refs=packer.take_refs()))
    return append(store, run, *drafts, blobs=packer.blobs)


def end(store: Store, run: str) -> None:
    append(store, run, Draft(kind="run.ended", body={"status": "verified", "detail": ""}))


def answer(store: Store, run: str, text: str, shown: tuple[int, int], tokens: str = "") -> list[str]:
    """A question that showed these entries and its answer, with a token record as large as `tokens`."""
    intent = {"step": 1, "view": {"shown": [list(shown)], "hidden": 0}, "limits": {}, "constraint": {}, "reserve": {}}
    (asked,) = append(store, run, Draft(kind="sample.intent", body=intent))
    packer = Packer()
    body: dict[str, Any] = {
        "intent": int(asked.rpartition("#")[2]),
        "text": packer.text(text),
        "calls": [],
        "text_only": not tokens,
        "finish_reason": "stop",
        "usage": {},
        "model": "test",
        "settle": {"reserved": {}, "spent": {}},
    }
    if tokens:
        body["tokens"] = packer.text(tokens)
    return append(store, run, Draft(kind="sample.completion", body=body, refs=packer.take_refs()), blobs=packer.blobs)


def texts_of(memory: Memory) -> list[str]:
    rows = memory.index.scan(everything(), limit=10_000)
    return [unit.text for _, unit in rows]


def everything() -> Any:
    from overwinter.memory.unit import Filter

    return Filter(exclude_flags=frozenset())


counter = itertools.count()
