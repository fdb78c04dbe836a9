"""Grouped-query attention (arXiv 2305.13245) with its switches: window, QK-norm, softcap, biases.

A query sees the keys whose position is at most its own, and with a window only those less than `window` behind (Mistral,
arXiv 2310.06825). The mask compares positions, not places in the batch, so sequences of different lengths share a batch: a
place with a negative position is padding, which no token sees and whose output means nothing. QK-norm (Qwen3) scales each
head's query and key to unit RMS with a gain before they are turned. Softcap (Gemma 2, arXiv 2408.00118) bounds logits
smoothly: c · tanh(s / c); it needs the logits in hand, so it costs torch's fused attention.

Shapes: B batch, L new tokens, S all tokens so far, D model width, H query heads, K key heads, G = H/K, C width of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.model.cache import KVCache, LayerCache
from overwinter.model.config import Config
from overwinter.model.rope import Rope


class Attention(nn.Module):
    """One layer's attention; `window=None` sees everything before."""

    def __init__(self, config: Config, *, window: int | None) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.d_head = config.n_heads, config.n_kv_heads, config.d_head
        self.window, self.softcap = window, config.attn_softcap
        d_q, d_kv = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
        self.q = nn.Linear(config.d_model, d_q, bias=config.qkv_bias)
        self.k = nn.Linear(config.d_model, d_kv, bias=config.qkv_bias)
        self.v = nn.Linear(config.d_model, d_kv, bias=config.qkv_bias)
        self.o = nn.Linear(d_q, config.d_model, bias=config.out_bias)
        self.q_norm = nn.RMSNorm(config.d_head, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(config.d_head, eps=config.norm_eps) if config.qk_norm else None
        self.rope = Rope(config)

    def new_cache(self) -> KVCache:
        return KVCache()

    def forward(self, x_BLD: Tensor, positions_BL: Tensor, cache: LayerCache | None) -> Tensor:
        q_BHLC = self._heads(self.q(x_BLD), self.n_heads)
        k_BKSC = self._heads(self.k(x_BLD), self.n_kv_heads)
        v_BKSC = self._heads(self.v(x_BLD), self.n_kv_heads)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHLC, k_BKSC = self.q_norm(q_BHLC), self.k_norm(k_BKSC)
        q_BHLC, k_BKSC = self.rope(q_BHLC, k_BKSC, positions_BL)
        positions_BS = positions_BL
        if cache is not None:
            assert isinstance(cache, KVCache), "a mixer meets only caches that it made"
            k_BKSC, v_BKSC, positions_BS = cache.append(k_BKSC, v_BKSC, positions_BL)
        visible_B1LS = self._visible(positions_BL, positions_BS)
        if self.softcap is None:
            y_BHLC = functional.scaled_dot_product_attention(
                q_BHLC, k_BKSC, v_BKSC, attn_mask=visible_B1LS, enable_gqa=self.n_heads != self.n_kv_heads
            )
        else:
            y_BHLC = self._softcapped(q_BHLC, k_BKSC, v_BKSC, visible_B1LS)
        y_BLD: Tensor = self.o(y_BHLC.transpose(1, 2).flatten(2))
        return y_BLD

    def _heads(self, x_BLD: Tensor, n_heads: int) -> Tensor:
        return x_BLD.view(*x_BLD.shape[:2], n_heads, self.d_head).transpose(1, 2)

    def _visible(self, positions_BL: Tensor, positions_BS: Tensor) -> Tensor:
        query_B1L1, key_B11S = positions_BL[:, None, :, None], positions_BS[:, None, None, :]
        visible_B1LS = (key_B11S <= query_B1L1) & (key_B11S >= 0)
        if self.window is not None:
            visible_B1LS &= key_B11S > query_B1L1 - self.window
        # Padding may look anywhere: a row that sees nothing would be NaN.
        return visible_B1LS | (query_B1L1 < 0)

    def _softcapped(self, q_BHLC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, visible_B1LS: Tensor) -> Tensor:
        assert self.softcap is not None
        batch, _, length, width = q_BHLC.shape
        q_BKGLC = q_BHLC.reshape(batch, self.n_kv_heads, -1, length, width)
        scores_BKGLS = (q_BKGLC @ k_BKSC[:, :, None].transpose(-1, -2)).float() / math.sqrt(self.d_head)
        scores_BKGLS = self.softcap * torch.tanh(scores_BKGLS / self.softcap)
        scores_BKGLS = scores_BKGLS.masked_fill(~visible_B1LS[:, None], -math.inf)
        weights_BKGLS = scores_BKGLS.softmax(dim=-1).to(v_BKSC.dtype)
        return (weights_BKGLS @ v_BKSC[:, :, None]).flatten(1, 2)
