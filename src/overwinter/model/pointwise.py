"""Functions of single numbers that give the same bits wherever a number stands in its tensor.

torch's own `silu`, `sigmoid` and `softplus` compute the last few numbers of a range with other instructions than the rest, and
threads cut ranges anywhere; so a row alone and the same row in a batch may differ in the last bit. `exp` and `log1p` do not.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from overwinter.model.backward import wants_gradient

_LARGEST = 80.0
"""exp of it is still finite in float32, with room for its square in a gradient's quotients."""


def silu(x: Tensor) -> Tensor:
    """x / (1 + exp(−x)); torch's own, forward and backward one pass each, where a gradient is wanted."""
    if wants_gradient(x):
        return functional.silu(x)
    # Clamped, for an infinite exp gives 0·inf in the backward pass.
    return x / (1.0 + torch.exp(-x.clamp(min=-_LARGEST)))


def softplus(x: Tensor) -> Tensor:
    """ln(1 + exp(x)), which is x where x is large."""
    small = x.clamp(max=20.0)
    return torch.log1p(torch.exp(small)) + (x - small)
