"""The real recaller: the namespace's index (`overwinter.memory`) behind the protocol of the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from overwinter.journal import Store
from overwinter.loop.memory.recaller import CoreBlock, Recaller
from overwinter.memory.unit import AsOf, Hit

if TYPE_CHECKING:
    from overwinter.memory.core import Core
    from overwinter.memory.memory import Memory


class MemoryRecaller:
    """Search and core of one namespace. Each search first takes in what the journal has new, this run's own entries included."""

    def __init__(self, memory: Memory, core: Core) -> None:
        self._memory, self._core = memory, core
        self.namespace = memory.namespace

    def search(
        self, query: str, *, k: int, at: AsOf | None = None, session: str = "", budget_tokens: int = 0
    ) -> Sequence[Hit]:
        self._memory.sync(digests=False)
        return self._memory.search(query, k=k, at=at, session=session, budget_tokens=budget_tokens).hits

    def core(self) -> Sequence[CoreBlock]:
        return [CoreBlock(name=block.name, text=block.text, cite=block.cite) for block in self._core.blocks()]

    def close(self) -> None:
        self._memory.close()


def open_recaller(store: Store, namespace: str, embedder: str = "", previous: str = "") -> Recaller:
    """Memory of a namespace in the journal `store`; `previous` is the embedder before `embedder`.

    Raises:
        UsageError: there is no such embedder.
        StoreError: the index cannot be opened.
    """
    from overwinter.loop.models.embedding import open_embedder
    from overwinter.memory.core import Core
    from overwinter.memory.memory import Memory

    memory = Memory.open(store, namespace, embedder=open_embedder(embedder), previous=open_embedder(previous))
    return MemoryRecaller(memory, Core(store, memory.notebook.run))
