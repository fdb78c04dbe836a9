"""Attention itself, without weights and without memory: which keys a query sees, and the average it takes of their values.

A query sees the keys whose position is at most its own, and with a window only those less than `window` behind (Mistral,
arXiv 2310.06825). Positions are compared, not places in the batch, so sequences of different lengths share a batch: a
place with a negative position is padding, which no token sees and whose output means nothing. Softcap (Gemma 2, arXiv
2408.00118) bounds logits smoothly: c · tanh(s / c); it needs the logits in hand, so it costs torch's fused attention.

Shapes: B batch, L new tokens, S all tokens so far, H query heads, K key heads, G = H/K, C width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a layer looks back: over everything (`window=None`) or the last `window` tokens, with bounded logits or not."""

    window: int | None = None
    softcap: float | None = None

    def visible(self, positions_BL: Tensor, positions_BS: Tensor) -> Tensor:
        """Which keys each query sees [B1LS]."""
        query_B1L1, key_B11S = positions_BL[:, None, :, None], positions_BS[:, None, None, :]
        visible_B1LS = (key_B11S <= query_B1L1) & (key_B11S >= 0)
        if self.window is not None:
            visible_B1LS &= key_B11S > query_B1L1 - self.window
        # Padding may look anywhere: a row that sees nothing would be NaN.
        return visible_B1LS | (query_B1L1 < 0)

    def attend(self, q_BHLC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, visible_B1LS: Tensor) -> Tensor:
        """The weighted mean of visible values for each query [BHLC]."""
        if self.softcap is not None:
            return _softcapped(q_BHLC, k_BKSC, v_BKSC, visible_B1LS, self.softcap)
        return functional.scaled_dot_product_attention(
            q_BHLC, k_BKSC, v_BKSC, attn_mask=visible_B1LS, enable_gqa=q_BHLC.shape[1] != k_BKSC.shape[1]
        )


def _softcapped(q_BHLC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, visible_B1LS: Tensor, softcap: float) -> Tensor:
    batch, _, length, width = q_BHLC.shape
    q_BKGLC = q_BHLC.reshape(batch, k_BKSC.shape[1], -1, length, width)
    scores_BKGLS = (q_BKGLC @ k_BKSC[:, :, None].transpose(-1, -2)).float() / math.sqrt(width)
    scores_BKGLS = softcap * torch.tanh(scores_BKGLS / softcap)
    scores_BKGLS = scores_BKGLS.masked_fill(~visible_B1LS[:, None], -math.inf)
    weights_BKGLS = scores_BKGLS.softmax(dim=-1).to(v_BKSC.dtype)
    return (weights_BKGLS @ v_BKSC[:, :, None]).flatten(1, 2)
