"""The memory of training: there is none, for the whole text is at hand. What it saves, and how packed documents stay apart.

    hidden_BLD = decoder.hidden(ids_BL, training_cache(decoder, starts_BL), positions_BL)

A decoder leaves the looking back to its memories (model/cache.py). This one keeps nothing: each layer sees the rows that it is
given. Attention without window, softcap and borders runs as plain causal attention, which needs no mask, where a decoder
without a memory must allow for padding; masks that are needed are made once per batch, not once per layer. With `starts`, a
document sees nothing of what stands before it in its row: attention by a mask, Mamba-2 by dropping its state and its
convolution's past. Gradients flow.

The twin is the decoder without a memory, on rows without borders, and each document alone. Loops have their own walk in training
(model/loop_training.py), so they come without this.

Shapes: B rows, L tokens, H query heads, K key heads, C head width, X what a recurrent mixer makes of a token, I what it gives back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from overwinter.model.attend import Look
from overwinter.model.cache import Cache, Core

if TYPE_CHECKING:
    from overwinter.model.decoder import Decoder


class Whole:
    """What all layers share during one forward: a `KVMemory` and a `RecurrentMemory` at once."""

    def __init__(self, starts_BL: Tensor | None = None) -> None:
        self.starts_BL = starts_BL
        self._document_BL = None if starts_BL is None else starts_BL.cumsum(1)
        self._masks: dict[int | None, Tensor] = {}

    def attend(self, q_BHLC: Tensor, k_BKLC: Tensor, v_BKLC: Tensor, positions_BL: Tensor, look: Look) -> Tensor:
        """Each query's mean of the values before it in its document [BHLC]."""
        if look.window is None and look.softcap is None and self._document_BL is None:
            return functional.scaled_dot_product_attention(
                q_BHLC, k_BKLC, v_BKLC, is_causal=True, enable_gqa=q_BHLC.shape[1] != k_BKLC.shape[1]
            )
        if look.window not in self._masks:
            visible_B1LL = look.visible(positions_BL, positions_BL)
            if self._document_BL is not None:
                visible_B1LL = visible_B1LL & (self._document_BL[:, None, :, None] == self._document_BL[:, None, None])
            self._masks[look.window] = visible_B1LL
        return look.attend(q_BHLC, k_BKLC, v_BKLC, self._masks[look.window])

    def mix(self, core: Core, projected_BLX: Tensor, positions_BL: Tensor) -> Tensor:  # noqa: ARG002 (no padding)
        """Convolution and scan from nothing [BLI]; they begin anew where a document starts."""
        mixed_BLI: Tensor = cast("Any", core)(projected_BLX, starts_BL=self.starts_BL)
        return mixed_BLI


class _Layers:
    """As much of a `Cache` as a decoder asks for in a forward."""

    length = 0

    def __init__(self, layers: list[Whole]) -> None:
        self.layers = tuple(layers)


def training_cache(decoder: Decoder, starts_BL: Tensor | None = None) -> Cache:
    """A memory for one forward of whole rows. With it, give positions of shape (1, L): all rows have the same."""
    return cast("Cache", _Layers([Whole(starts_BL)] * len(decoder.plan.slots)))


def training_hidden(decoder: Decoder, ids_BL: Tensor, starts_BL: Tensor | None = None) -> Tensor:
    """The normed stream of whole rows [BLD], for a decoder without loops; `decoder.logits` goes on from it."""
    positions_1L = torch.arange(ids_BL.shape[1], device=ids_BL.device)[None]
    return decoder.hidden(ids_BL, training_cache(decoder, starts_BL), positions_1L)
