"""The real recaller: the namespace's index (`overwinter.memory`) behind the protocol of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from overwinter.journal import Store
from overwinter.loop.memory.recaller import CoreBlock, Recaller
from overwinter.memory.unit import AsOf, Hit

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory


class MemoryRecaller:
    """Search and core of one namespace. Each search first takes in what the journal has new, this run's own entries included."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.namespace = memory.namespace

    def search(
        self, query: str, *, k: int, at: AsOf | None = None, session: str = "", budget_tokens: int = 0
    ) -> Sequence[Hit]:
        self._memory.sync()
        answer = self._memory.search(query, k=k, at=at, session=session, budget_tokens=budget_tokens)
        return () if answer.abstained else answer.hits

    def core(self) -> Sequence[CoreBlock]:
        from overwinter.memory.core import core_blocks

        return [
            CoreBlock(name=block.name, text=block.text, cite=block.cite)
            for block in core_blocks(self._memory.store, self.namespace)
        ]

    def close(self) -> None:
        self._memory.close()


def open_recaller(store: Store, namespace: str) -> Recaller:
    """Memory of a namespace in the journal `store`. Raises StoreError where its index cannot be opened."""
    from overwinter.memory.memory import Memory

    return MemoryRecaller(Memory.open(store, namespace))
