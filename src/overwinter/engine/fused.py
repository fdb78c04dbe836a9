"""Attention with its many small operations made few: one product for queries, keys and values, one turn for all heads.

With one token to compute, an operation costs its call and not its numbers; a layer that turns queries and keys apart and works out
the angles anew makes forty calls where a dozen do. The plain twin is `model.attention.Attention`; numbers differ from it by
rounding only, and a row's bits depend on that row alone.

Shapes: B batch, L tokens, D model width, H query heads, K key heads, N = H + K heads that are turned, C head width, R the part of a
head that is turned.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.engine.linear import PackedLinear, can_pack
from overwinter.model import Decoder
from overwinter.model.attention import Attention
from overwinter.model.cache import KVCache, KVMemory, LayerCache
from overwinter.model.rope import Rope


class StepAngles:
    """cos and sin of one step's positions, worked out by the first layer that asks and used by all."""

    def __init__(self, rope: Rope) -> None:
        self.rope = rope
        self._seen: Tensor | None = None
        self._angles: tuple[Tensor, Tensor] | None = None

    def of(self, positions_BL: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Both [B, L, 1, R]; the first half of the sines is negative, so that x · cos + halves exchanged · sin turns x."""
        if self._seen is not positions_BL or self._angles is None:
            angles_BL1P = positions_BL[:, :, None, None].float() * self.rope.frequencies_P
            cos_BL1P = (angles_BL1P.cos() * self.rope.factor).to(dtype)
            sin_BL1P = (angles_BL1P.sin() * self.rope.factor).to(dtype)
            self._angles = torch.cat((cos_BL1P, cos_BL1P), dim=-1), torch.cat((-sin_BL1P, sin_BL1P), dim=-1)
            self._seen = positions_BL
        return self._angles

    def is_of(self, rope: Rope) -> bool:
        """Whether another layer turns by the same angles."""
        return rope.factor == self.rope.factor and torch.equal(rope.frequencies_P, self.rope.frequencies_P)


class PackedAttention(nn.Module):
    """The attention of one layer, for inference."""

    def __init__(self, plain: Attention, angles: StepAngles | None) -> None:
        super().__init__()
        parts = cast("list[nn.Linear]", [plain.q, plain.k, plain.v])
        biases = [part.bias for part in parts]
        bias = None if any(each is None for each in biases) else torch.cat(cast("list[Tensor]", biases))
        self.qkv = PackedLinear(torch.cat([part.weight for part in parts]), bias)
        o = cast("nn.Linear", plain.o)
        self.o = PackedLinear(o.weight, o.bias)
        self.n_heads, self.n_kv_heads, self.d_head = plain.n_heads, plain.n_kv_heads, plain.d_head
        self.look, self.q_scale, self.angles = plain.look, plain.q_scale, angles
        self.gains_NC: Tensor | None = None
        self.eps = 0.0
        if plain.q_norm is not None and plain.k_norm is not None:
            gains = [plain.q_norm.weight.expand(self.n_heads, -1), plain.k_norm.weight.expand(self.n_kv_heads, -1)]
            self.gains_NC, self.eps = torch.cat(gains).detach().clone(), cast("float", plain.q_norm.eps)

    def new_cache(self, *, rollback: int = 0) -> KVCache:  # noqa: ARG002 (keys and values can be cut anywhere)
        return KVCache()

    def forward(self, x_BLD: Tensor, positions_BL: Tensor, cache: LayerCache | None) -> Tensor:
        heads_BLHC = self.qkv(x_BLD).view(*x_BLD.shape[:2], -1, self.d_head)
        turned = self.n_heads + self.n_kv_heads
        qk_BLNC, v_BLKC = heads_BLHC[:, :, :turned], heads_BLHC[:, :, turned:]
        if self.gains_NC is not None:
            qk_BLNC = functional.rms_norm(qk_BLNC, (self.d_head,), None, self.eps) * self.gains_NC
        if self.angles is not None:
            qk_BLNC = _turned(qk_BLNC, *self.angles.of(positions_BL, qk_BLNC.dtype))
        q_BHLC = qk_BLNC[:, :, : self.n_heads].transpose(1, 2)
        k_BKLC, v_BKLC = qk_BLNC[:, :, self.n_heads :].transpose(1, 2), v_BLKC.transpose(1, 2)
        if self.q_scale is not None:
            q_BHLC = q_BHLC * self.q_scale
        if cache is None:
            y_BHLC = self.look.attend(q_BHLC, k_BKLC, v_BKLC, self.look.visible(positions_BL, positions_BL))
        else:
            # No isinstance: asking a protocol costs as much as the turn.
            y_BHLC = cast("KVMemory", cache).attend(q_BHLC, k_BKLC, v_BKLC, positions_BL, self.look)
        y_BLD: Tensor = self.o(y_BHLC.transpose(1, 2).flatten(2))
        return y_BLD


def _turned(x_BLNC: Tensor, cos_BL1R: Tensor, sin_BL1R: Tensor) -> Tensor:
    width = cos_BL1R.shape[-1]
    part_BLNR = x_BLNC[..., :width]
    turned_BLNR = torch.addcmul(part_BLNR * cos_BL1R, part_BLNR.roll(width // 2, -1), sin_BL1R)
    return turned_BLNR if width == x_BLNC.shape[-1] else torch.cat((turned_BLNR, x_BLNC[..., width:]), dim=-1)


def fuse_attention(decoder: Decoder) -> int:
    """Replace the attention of every layer whose linears are plain. Returns how many linears went into it."""
    shared: list[StepAngles] = []
    count = 0
    for block in decoder.blocks:
        mixer: Any = block.mixer
        if not isinstance(mixer, Attention) or not all(map(_is_plain, (mixer.q, mixer.k, mixer.v, mixer.o))):
            continue
        angles = None if mixer.rope is None else next((each for each in shared if each.is_of(mixer.rope)), None)
        if angles is None and mixer.rope is not None:
            angles = StepAngles(mixer.rope)
            shared.append(angles)
        block.mixer = PackedAttention(mixer, angles)
        count += 4
    return count


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Linear and can_pack(module.weight)
