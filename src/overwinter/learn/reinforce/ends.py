"""Hidden rows where they are needed: a decision needs those that decide its tokens and its outcome, two of fifty, say.

All layers but the last need every token. In the last one, only keys and values do: what is read out nowhere need not be attended,
mixed or thought about. With three layers that is a quarter of the work, forwards and backwards. The twin is the whole pass and a
gather, which is also what decoders get whose last layer is recurrent, or whose depth is mixed or looped.

Shapes: U rows, L columns, K needed columns, H heads, C width of a head, D model width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from overwinter.model import Decoder
from overwinter.model.attend import Look
from overwinter.model.attention import Attention
from overwinter.model.decoder import Block


class _Chosen:
    """In place of a memory: queries of chosen columns look at all keys, and the others' are dropped."""

    def __init__(self, columns_UK: Tensor) -> None:
        self._columns_UK = columns_UK

    def attend(self, q_UHLC: Tensor, k_UKLC: Tensor, v_UKLC: Tensor, positions_UL: Tensor, look: Look) -> Tensor:
        picked_UHKC = q_UHLC.gather(
            2, self._columns_UK[:, None, :, None].expand(-1, q_UHLC.shape[1], -1, q_UHLC.shape[3])
        )
        visible = look.visible(positions_UL.gather(1, self._columns_UK), positions_UL)
        return look.attend(picked_UHKC, k_UKLC, v_UKLC, visible)


def hidden_at(decoder: Decoder, ids_UL: Tensor, positions_UL: Tensor, columns_UK: Tensor) -> Tensor:
    """The normed stream [UKD] in the given columns of each row."""
    last = cast("Block", decoder.blocks[-1])
    if decoder.loop is not None or decoder.config.attnres is not None or not isinstance(last.mixer, Attention):
        return hidden_everywhere(decoder, ids_UL, positions_UL, columns_UK)
    h_ULD = decoder.embedded(ids_UL)
    for block in decoder.blocks[:-1]:
        for sublayer in cast("Block", block).sublayers(positions_UL, None):
            h_ULD = h_ULD + sublayer(h_ULD)
    mix, *think = last.sublayers(positions_UL, _Chosen(columns_UK))
    h_UKD = _picked(h_ULD, columns_UK) + mix(h_ULD)
    for sublayer in think:
        h_UKD = h_UKD + sublayer(h_UKD)
    normed_UKD: Tensor = decoder.norm(h_UKD)
    return normed_UKD


def hidden_everywhere(decoder: Decoder, ids_UL: Tensor, positions_UL: Tensor, columns_UK: Tensor) -> Tensor:
    """The same by the whole pass."""
    return _picked(decoder.hidden(ids_UL, positions_BL=positions_UL), columns_UK)


def _picked(x_ULD: Tensor, columns_UK: Tensor) -> Tensor:
    rows_U1 = torch.arange(len(x_ULD), device=x_ULD.device)[:, None]
    return x_ULD[rows_U1, columns_UK]
