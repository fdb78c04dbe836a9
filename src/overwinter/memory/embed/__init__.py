"""Embedders: from texts to unit-norm vectors, behind one protocol. None at all (words only) is the default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class Embedder(Protocol):
    """Makes vectors of texts.

    Attributes:
        name: names the vectors' generation; it changes whenever the same text would get another vector.
        dim: length of a vector.
        max_tokens: longer texts are cut, so index pieces that are shorter.
    """

    name: str
    dim: int
    max_tokens: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[len(texts), dim] float32, each of norm 1. Raises ModelError when the embedder cannot be reached."""
        ...
