"""Embedders: from texts to unit-norm vectors, behind one protocol. None at all (words only) is the default.

`open_embedder` names them in words: "none", "minilm:FOLDER", "endpoint:URL#MODEL". Anything else with the attributes of
`Embedder` can be given to a memory as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from overwinter.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

KEY_VARIABLE = "OVERWINTER_EMBEDDINGS_KEY"
"""The environment variable whose key an `endpoint:` embedder sends, where it is set."""


class Embedder(Protocol):
    """Makes vectors of texts.

    Attributes:
        name: names the vectors' generation; it changes whenever the same text would get another vector.
        dim: length of a vector.
        max_tokens: longer texts are cut, so index pieces that are shorter.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[len(texts), dim] float32, each of norm 1. Raises ModelError when the embedder cannot be reached."""
        ...


def open_embedder(spec: str) -> Embedder | None:
    """The embedder that `spec` names; None for "none".

    Raises:
        UsageError: an unknown form, a folder that cannot be read, or packages that are not installed.
    """
    kind, _, rest = spec.partition(":")
    if spec in ("", "none"):
        return None
    try:
        if kind == "minilm" and rest:
            from overwinter.memory.embed.minilm import MiniLM

            return MiniLM(rest)
        if kind == "endpoint" and rest:
            return _endpoint(rest)
    except ModuleNotFoundError as missing:
        raise UsageError(f"{missing.name} is not installed", "pip install 'overwinter[memory]'") from None
    raise UsageError(f"there is no embedder {spec!r}", "use none, minilm:FOLDER or endpoint:URL#MODEL")


def _endpoint(rest: str) -> Embedder:
    import os

    from overwinter.memory.embed.endpoint import Config, EndpointEmbedder

    url, _, model = rest.partition("#")
    key = KEY_VARIABLE if os.environ.get(KEY_VARIABLE, "").strip() else ""
    return EndpointEmbedder(Config(base_url=url, model=model, api_key_env=key))
