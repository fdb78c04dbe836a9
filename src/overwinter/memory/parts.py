"""The parts that `Memory` puts together, found in one place: hygiene, claims, digests, search."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from overwinter.memory.hygiene import Redacted, reads_like_instruction, redact
from overwinter.memory.index import Index
from overwinter.memory.unit import Unit

Facts = Mapping[str, Sequence[Mapping[str, Any]]]
"""`data.facts` of entries, by the id of the first unit they came with."""


class Keeper(Protocol):
    """What keeps the claims of an index; both are called within a transaction."""

    def learn(self, units: Sequence[Unit], *, facts: Facts | None = None) -> int: ...

    def forget(self, units: Collection[str]) -> int: ...


class _NoClaims:
    def __init__(self, index: Index) -> None:
        self._index = index

    def learn(self, units: Sequence[Unit], *, facts: Facts | None = None) -> int:  # noqa: ARG002 - the protocol's form
        return 0

    def forget(self, units: Collection[str]) -> int:
        return self._index.remove_units(units)


def _find(module: str, name: str) -> Any:
    if importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), name, None)


def keeper(index: Index) -> Keeper:
    found = _find("overwinter.memory.claims", "ClaimKeeper")
    made: Keeper = (found or _NoClaims)(index)
    return made


def span_updater() -> Callable[[Index, int | None], int]:
    found: Callable[[Index, int | None], int] | None = _find("overwinter.memory.digests", "update_spans")
    return found or (lambda _index, _since_us: 0)


__all__ = ["Facts", "Keeper", "Redacted", "keeper", "reads_like_instruction", "redact", "span_updater"]
