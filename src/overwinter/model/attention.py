"""Grouped-query attention (arXiv 2305.13245) with its switches: window, QK-norm, softcap, biases.

Three parts: queries, keys and values are made token by token; the memory brings the keys and values of earlier tokens and
carries out the `Look` (attend.py); the output is made token by token. The middle part alone knows which tokens belong to one
sequence, so a memory of another kind (paged, for many sequences at once) needs no other attention. QK-norm (Qwen3) scales
each head's query and key to unit RMS with a gain before they are turned. A scale other than 1/√C (Granite) is put into the
queries, so that memories need not know of it.

Shapes: B batch, L new tokens, D model width, H query heads, K key heads, C width of a head.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn

from overwinter.model.attend import Look
from overwinter.model.backward import RMSNorm
from overwinter.model.cache import KVCache, KVMemory, LayerCache
from overwinter.model.config import Config
from overwinter.model.noble import linear
from overwinter.model.rope import Rope


class Attention(nn.Module):
    """One layer's attention; `window=None` sees everything before."""

    def __init__(self, config: Config, *, window: int | None) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.d_head = config.n_heads, config.n_kv_heads, config.d_head
        self.look = Look(window=window, softcap=config.attn_softcap)
        d_q, d_kv = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
        self.q = linear(config.noble, "q", config.d_model, d_q, bias=config.qkv_bias)
        self.k = linear(config.noble, "k", config.d_model, d_kv, bias=config.qkv_bias)
        self.v = linear(config.noble, "v", config.d_model, d_kv, bias=config.qkv_bias)
        self.o = linear(config.noble, "o", d_q, config.d_model, bias=config.out_bias)
        self.q_norm = RMSNorm(config.d_head, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.d_head, eps=config.norm_eps) if config.qk_norm else None
        self.rope = None if config.rope_base is None else Rope(config)
        scale = config.attention_scale
        self.q_scale = None if scale is None else scale * math.sqrt(config.d_head)

    def new_cache(self, *, rollback: int = 0) -> KVCache:  # noqa: ARG002 (keys and values can be cut anywhere)
        return KVCache()

    def forward(self, x_BLD: Tensor, positions_BL: Tensor, cache: LayerCache | None) -> Tensor:
        q_BHLC = self._heads(self.q(x_BLD), self.n_heads)
        k_BKLC = self._heads(self.k(x_BLD), self.n_kv_heads)
        v_BKLC = self._heads(self.v(x_BLD), self.n_kv_heads)
        if self.q_norm is not None and self.k_norm is not None:
            q_BHLC, k_BKLC = self.q_norm(q_BHLC), self.k_norm(k_BKLC)
        if self.rope is not None:
            q_BHLC, k_BKLC = self.rope(q_BHLC, k_BKLC, positions_BL)
        if self.q_scale is not None:
            q_BHLC = q_BHLC * self.q_scale
        if cache is None:
            y_BHLC = self.look.attend(q_BHLC, k_BKLC, v_BKLC, self.look.visible(positions_BL, positions_BL))
        else:
            assert isinstance(cache, KVMemory), "a mixer meets only memories of its kind"
            y_BHLC = cast("KVMemory", cache).attend(q_BHLC, k_BKLC, v_BKLC, positions_BL, self.look)
        y_BLD: Tensor = self.o(y_BHLC.transpose(1, 2).flatten(2))
        return y_BLD

    def _heads(self, x_BLD: Tensor, n_heads: int) -> Tensor:
        return x_BLD.view(*x_BLD.shape[:2], n_heads, self.d_head).transpose(1, 2)
