"""Two generations of vectors side by side: while units are embedded by a new model, questions go on being answered with the old.

A generation is complete once no unit lacks its vector. From then on it is the one in use, and stays so while newer units wait for
their vectors; the old one can be dropped. Which one is in use is a note of the index, so that all processes agree.
"""

from __future__ import annotations

from overwinter.memory.embed import Embedder
from overwinter.memory.index import Index
from overwinter.memory.vectors import Config, VectorScan

GENERATION_NOTE = "vectors.generation"


class Generations:
    """The vectors that questions are answered with.

    Args:
        embedder: the model whose vectors are wanted.
        previous: the model before it. Without it its vectors cannot be searched, since questions cannot be embedded; what the new
            one has so far is then searched instead.
    """

    def __init__(
        self, index: Index, embedder: Embedder, previous: Embedder | None = None, config: Config | None = None
    ) -> None:
        self.index, self.embedder, self.previous, self._config = index, embedder, previous, config
        self._current: tuple[Embedder, VectorScan] | None = None

    def refresh(self) -> tuple[Embedder, VectorScan] | None:
        """Take in what is new, and go over to the new generation once it is complete; the model to embed questions with and the
        vectors to search, None where there are none."""
        chosen = self._choose()
        if chosen is None:
            self._current = None
            return None
        if self._current is None or self._current[0].name != chosen.name:
            self._current = chosen, VectorScan(self.index, chosen.name, self._config)
        self._current[1].refresh()
        return self._current

    def drop_old(self) -> list[str]:
        """Delete all generations but the one in use; their names. Nothing before the new one is complete."""
        if self._in_use() != self.embedder.name:
            return []
        old = [model for model in self.index.vector_models() if model != self.embedder.name]
        with self.index.transaction():
            for model in old:
                self.index.drop_vectors(model)
        return old

    def _choose(self) -> Embedder | None:
        have = {model for model, (_, count) in self.index.vector_models().items() if count}
        if self.embedder.name in have:
            if self._in_use() == self.embedder.name:
                return self.embedder
            if not self.index.without_vector(self.embedder.name, 1):
                with self.index.transaction():
                    self.index.set_note(GENERATION_NOTE, self.embedder.name.encode())
                return self.embedder
        if self.previous is not None and self.previous.name in have:
            return self.previous
        return self.embedder if self.embedder.name in have else None

    def _in_use(self) -> str:
        return (self.index.note(GENERATION_NOTE) or b"").decode()
