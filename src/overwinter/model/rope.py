"""Rotary positions (RoFormer, arXiv 2104.09864): a head's coordinates are turned in pairs by position times frequency.

Pair i of a head of width C turns by position · base^(−2i/C), so that the product of a query and a key depends on their
distance alone. Pairs are (i, i + C/2), the layout of Hugging Face checkpoints. With `rope_fraction` the first part of a head is
turned as if it were all of it, the rest stays. Two ways to reach further than the training context, both acting on the
frequencies only: Llama 3.1's ramp by wavelength and YaRN's ramp by rotations (arXiv 2309.00071), which also enlarges cos and
sin. Angles are float32 whatever the model's dtype.

Shapes: B batch, L tokens, H heads, C width of a head, P = C/2 pairs, or half of the part that is turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from overwinter.model.backward import turned
from overwinter.model.config import Config, Llama3Scaling, YarnScaling


def frequencies(config: Config) -> tuple[Tensor, float]:
    """Radians per position of each pair [P], and the factor on cos and sin."""
    # By name of the device: a decoder built on "meta" for loading still needs real frequencies.
    assert config.rope_base is not None
    exponents_P = torch.arange(0, config.d_rope, 2, dtype=torch.float32, device="cpu") / config.d_rope
    plain_P = 1.0 / config.rope_base**exponents_P
    scaling = config.rope_scaling
    if isinstance(scaling, Llama3Scaling):
        return _llama3(plain_P, scaling), 1.0
    if isinstance(scaling, YarnScaling):
        factor = scaling.attention_factor
        return _yarn(plain_P, config, scaling), yarn_attention_factor(scaling.factor) if factor is None else factor
    return plain_P, 1.0


def yarn_attention_factor(factor: float, scale: float = 1.0) -> float:
    """YaRN's temperature as a factor on cos and sin: 0.1 · scale · ln(factor) + 1."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _llama3(plain_P: Tensor, scaling: Llama3Scaling) -> Tensor:
    turns_P = scaling.original_context * plain_P / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep_P = ((turns_P - low) / (high - low)).clamp(0, 1)
    return keep_P * plain_P + (1 - keep_P) * plain_P / scaling.factor


def _yarn(plain_P: Tensor, config: Config, scaling: YarnScaling) -> Tensor:
    base, width = config.rope_base, config.d_rope
    assert base is not None

    def pair_with(turns: float) -> float:
        """The (fractional) dimension that makes so many turns within the original context."""
        rate = math.log(scaling.original_context / (turns * 2 * math.pi))
        return width * rate / (2 * math.log(base))

    low, high = pair_with(scaling.beta_fast), pair_with(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = high - low if high != low else 0.001
    pairs_P = torch.arange(width // 2, dtype=torch.float32, device="cpu")
    stretch_P = ((pairs_P - low) / ramp).clamp(0, 1)
    return (1 - stretch_P) * plain_P + stretch_P * plain_P / scaling.factor


class Rope(nn.Module):
    """Turns queries and keys. Its frequencies stay float32 when the model changes dtype."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.frequencies_P, self.factor = frequencies(config)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rope:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.frequencies_P = self.frequencies_P.to(fn(self.frequencies_P).device)
        return self

    def forward(self, q_BHLC: Tensor, k_BKLC: Tensor, positions_BL: Tensor) -> tuple[Tensor, Tensor]:
        angles_B1LP = (positions_BL[:, None, :, None].float()) * self.frequencies_P
        cos_B1LP = (angles_B1LP.cos() * self.factor).to(q_BHLC.dtype)
        sin_B1LP = (angles_B1LP.sin() * self.factor).to(q_BHLC.dtype)
        return turned(q_BHLC, cos_B1LP, sin_B1LP), turned(k_BKLC, cos_B1LP, sin_B1LP)
