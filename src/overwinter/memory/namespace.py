"""Namespaces: whose memory a run's entries belong to. Read from the journal, never from a tool's arguments.

A fork belongs where its line began: naming another namespace in a fork's setup opens no way across.
"""

from __future__ import annotations

from collections.abc import Iterable

from overwinter.errors import UsageError
from overwinter.journal import Entry, RunInfo, Store
from overwinter.journal.tombstone import kind_of
from overwinter.memory.unit import DEFAULT_NAMESPACE

NOTEBOOK_PREFIX = "memory-"
LONGEST = 90


def check_namespace(name: str) -> str:
    """The name itself. Raises UsageError for one that could not name a file and a run everywhere."""
    if not 0 < len(name) <= LONGEST or name[0] == "." or any(not (c.isalnum() or c in "-_.") for c in name):
        raise UsageError(
            f"namespace {name!r} is not allowed",
            f"use 1 to {LONGEST} letters, digits, '-', '_' or '.', and no '.' in front",
        )
    return name


def notebook_of(namespace: str) -> str:
    """The run that memory of no run of the loop is written to."""
    return NOTEBOOK_PREFIX + check_namespace(namespace)


def namespace_of_setup(setup: object) -> str | None:
    """The namespace that a run.started's setup names.

    None for a response of the server, which belongs to one of its tenants and to no memory unless it says so.
    """
    memory = setup.get("memory") if isinstance(setup, dict) else None
    if isinstance(memory, dict):
        named = memory.get("namespace", DEFAULT_NAMESPACE)
        return named if isinstance(named, str) and named else None
    return None if isinstance(setup, dict) and "response" in setup else DEFAULT_NAMESPACE


def namespace_of(store: Store, run: str) -> str | None:
    """The namespace of a run; None where it has none: no entry yet, or one that belongs to no memory."""
    first = next(store.read(run, 0, 1), None)
    return None if first is None else _of_first(first)


def _of_first(first: Entry) -> str | None:
    # An erased first entry keeps what of its setup says whose it is (`journal.tombstone`).
    return namespace_of_setup(first.body["setup"]) if kind_of(first) == "run.started" else None


class Runs:
    """The runs of one namespace. What a run belongs to never changes, so each is asked once in a process."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._namespace = namespace
        self._known: dict[tuple[str, int], str | None] = {}

    def of(self, infos: Iterable[RunInfo]) -> list[RunInfo]:
        """Those that belong to it, oldest first."""
        mine = [info for info in infos if not info.unborn and self._belongs(info)]
        return sorted(mine, key=lambda info: (info.created_us, info.run))

    def _belongs(self, info: RunInfo) -> bool:
        key = info.run, info.created_us
        if key not in self._known:
            self._known[key] = namespace_of(self._store, info.run)
        return self._known[key] == self._namespace
