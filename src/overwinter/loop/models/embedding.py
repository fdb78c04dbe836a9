"""Vectors from a model folder of our own: what the decoder makes of a text, as an `Embedder` of memory.

`engine:FOLDER` beside the forms that memory knows by itself. A vector is the mean of the last layer's normed states over the tokens of
a text, without the tokens that begin every text, scaled to norm 1. A decoder that was trained to predict the next token makes rough
vectors; one that was trained to embed (Qwen3-Embedding, say) makes good ones. Measure before you rely on it: `recipes/bench_memory.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from overwinter.memory import embed

if TYPE_CHECKING:
    import numpy as np

    from overwinter.memory.embed import Embedder

MAX_TOKENS = 512
BATCH = 16


def open_embedder(spec: str) -> Embedder | None:
    """The embedder that `spec` names; None for "none" and "".

    Raises:
        UsageError: an unknown form, a folder that cannot be read, or packages that are not installed.
    """
    kind, _, rest = spec.partition(":")
    return EngineEmbedder(rest) if kind == "engine" and rest else embed.open_embedder(spec)


class EngineEmbedder:
    """Mean-pooled hidden states of a decoder.

    Args:
        folder: config.json, safetensors and a tokenizer; or a name on the hub.
        max_tokens: longer texts are cut.

    Raises:
        UsageError: the folder cannot be read, or torch is not installed.
    """

    def __init__(self, folder: str, *, max_tokens: int = MAX_TOKENS) -> None:
        from overwinter.errors import UsageError

        try:
            import torch

            from overwinter.engine.suspending import fingerprint
            from overwinter.model import TextFormat, load
            from overwinter.model.hub import find_folder
        except ModuleNotFoundError as missing:
            raise UsageError(f"{missing.name} is not installed", "pip install 'overwinter[local]'") from None
        place = find_folder(folder)
        self._text = TextFormat.load(place)
        self._decoder = load(place, dtype=torch.float32).eval()
        self._torch = torch
        config = self._decoder.config
        self.dim = config.d_model
        self.max_tokens = min(max_tokens, config.context)
        self.name = (
            f"engine/{self._text.name}@{fingerprint(self._decoder, self._text).model[:12]}/mean/{self.max_tokens}"
        )

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[len(texts), dim] float32, each of norm 1; a text without a token gets the first unit vector."""
        import numpy as np

        ids = [self._text.encode(text, add_special=False)[: self.max_tokens] for text in texts]
        vectors = np.zeros((len(texts), self.dim), np.float32)
        vectors[:, 0] = 1.0
        # Of like length together, since padding costs as much as text.
        order = sorted((row for row in range(len(ids)) if ids[row]), key=lambda row: len(ids[row]))
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            vectors[rows] = self._means([ids[row] for row in rows])
        return vectors

    def _means(self, ids: list[list[int]]) -> np.ndarray:
        torch = self._torch
        longest = max(map(len, ids))
        ids_BL = torch.tensor([[*each, *[0] * (longest - len(each))] for each in ids])
        lengths_B1 = torch.tensor([[len(each)] for each in ids])
        places_L = torch.arange(longest)
        real_BL = places_L < lengths_B1
        with torch.inference_mode():
            h_BLD = self._decoder.hidden(ids_BL, None, torch.where(real_BL, places_L, -1))
            mean_BD = (h_BLD * real_BL[..., None]).sum(1) / lengths_B1
            unit_BD: np.ndarray = torch.nn.functional.normalize(mean_BD, dim=-1).numpy()
        return unit_BD
