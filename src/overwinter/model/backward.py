"""Gradients written out, for what training spends its time on beside matrix products: the same values, fewer passes over memory.

A norm, a rotation or a squared ReLU is a handful of element-wise operations. Autograd differentiates each of them and walks over the tensor
for every one, on a CPU longer than the product next to it takes. Each function here computes its value by the very operations of
the plain form, so no bit of a forward pass depends on whether gradients are wanted, and its gradient by the formula. They
are used only where a gradient is wanted; the plain forms beside them are the twins (tests/model/test_backward.py).

Shapes: B batch, L tokens, D a width, P pairs of coordinates, C channels, T taps, Q and J places in a chunk.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd would follow an operation on these."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


class RMSNorm(nn.RMSNorm):
    """torch's, with y = x̂·w, x̂ = x/rms(x), and dx = (dŷ − x̂·mean(dŷ·x̂))/rms(x), dŷ = dy·w."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 == self.weight.dtype and wants_gradient(x, self.weight):
            assert self.eps is not None
            return rms_norm(x, self.weight, self.eps)
        return super().forward(x)


def rms_norm(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """x̂·w over the last axis, float32."""
    if wants_gradient(x, weight_D):
        return cast("Tensor", _RMSNorm.apply(x, weight_D, eps))  # type: ignore[no-untyped-call]
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight_D


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse, weight = ctx.saved_tensors
        product = gradients[0] * unit
        scaled = product @ weight[:, None] / -weight.shape[0]
        of_weight = product.flatten(0, -2).sum(0)
        return torch.addcmul(gradients[0] * weight, unit, scaled).mul_(inverse), of_weight, None


def relu2(x: Tensor) -> Tensor:
    """max(0, x)²; the gradient is 2·max(0, x)."""
    if wants_gradient(x):
        return cast("Tensor", _ReLU2.apply(x))  # type: ignore[no-untyped-call]
    return functional.relu(x).square()


class _ReLU2(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = functional.relu(x)
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        result: Tensor = (gradients[0] * positive).mul_(2)
        return result


def turned(x_BHLC: Tensor, cos_B1LP: Tensor, sin_B1LP: Tensor) -> Tensor:
    """Pairs (i, i + P) of the first 2P coordinates turned by their angles; the gradient is turned back."""
    if wants_gradient(x_BHLC):
        return cast("Tensor", _Turn.apply(x_BHLC, cos_B1LP, sin_B1LP))  # type: ignore[no-untyped-call]
    return _turned(x_BHLC, cos_B1LP, sin_B1LP)


def _turned(x_BHLC: Tensor, cos_B1LP: Tensor, sin_B1LP: Tensor) -> Tensor:
    width = 2 * cos_B1LP.shape[-1]
    first_BHLP, second_BHLP = x_BHLC[..., :width].chunk(2, dim=-1)
    parts = [first_BHLP * cos_B1LP - second_BHLP * sin_B1LP, second_BHLP * cos_B1LP + first_BHLP * sin_B1LP]
    if width < x_BHLC.shape[-1]:
        parts.append(x_BHLC[..., width:])
    return torch.cat(parts, dim=-1)


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BHLC: Tensor, cos_B1LP: Tensor, sin_B1LP: Tensor) -> Tensor:
        ctx.save_for_backward(cos_B1LP, sin_B1LP)
        return _turned_whole(x_BHLC, cos_B1LP, sin_B1LP)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos_B1LP, sin_B1LP = ctx.saved_tensors
        return _turned_whole(gradients[0], cos_B1LP, -sin_B1LP), None, None


def _turned_whole(x_BHLC: Tensor, cos_B1LP: Tensor, sin_B1LP: Tensor) -> Tensor:
    """The bits of `_turned` in half the time: the same products and sums over whole rows; rows of P numbers are too short to be fast."""
    width, dtype = 2 * cos_B1LP.shape[-1], torch.promote_types(x_BHLC.dtype, cos_B1LP.dtype)
    y_BHLC = torch.empty(x_BHLC.shape, dtype=dtype, device=x_BHLC.device)
    turned_BHLC, first_second_BHLC = y_BHLC[..., :width], x_BHLC[..., :width]
    torch.mul(first_second_BHLC, torch.cat([cos_B1LP, cos_B1LP], dim=-1), out=turned_BHLC)
    second_first_BHLC = torch.cat(first_second_BHLC.chunk(2, dim=-1)[::-1], dim=-1).to(dtype)
    turned_BHLC.add_(second_first_BHLC.mul_(torch.cat([-sin_B1LP, sin_B1LP], dim=-1)))
    y_BHLC[..., width:] = x_BHLC[..., width:]
    return y_BHLC


def tap_convolution(joined_BTC: Tensor, weight_TC: Tensor, bias_C: Tensor) -> Tensor:
    """Causal depthwise convolution, tap by tap: Σ_t joined[:, t : t + L]·weight[t] + bias [BLC].

    Args:
        joined_BTC: L + T − 1 inputs, the ones before the first output among them; float32.
        weight_TC: the taps, the newest last.
        bias_C: of the channels, or a scalar 0.
    """
    if wants_gradient(joined_BTC, weight_TC, bias_C):
        return cast("Tensor", _TapConvolution.apply(joined_BTC, weight_TC, bias_C))  # type: ignore[no-untyped-call]
    return _convolved(joined_BTC, weight_TC, bias_C)


def _convolved(joined_BTC: Tensor, weight_TC: Tensor, bias_C: Tensor) -> Tensor:
    taps = weight_TC.shape[0]
    length = joined_BTC.shape[1] - taps + 1
    mixed_BLC = bias_C
    for tap in range(taps):
        mixed_BLC = torch.addcmul(mixed_BLC, joined_BTC[:, tap : tap + length], weight_TC[tap])
    return mixed_BLC


class _TapConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, joined_BTC: Tensor, weight_TC: Tensor, bias_C: Tensor) -> Tensor:
        ctx.save_for_backward(joined_BTC, weight_TC)
        ctx.has_bias = bias_C.dim() == 1
        return _convolved(joined_BTC, weight_TC, bias_C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        joined_BTC, weight_TC = ctx.saved_tensors
        (gradient_BLC,), taps = gradients, weight_TC.shape[0]
        length = gradient_BLC.shape[1]
        of_joined_BTC = torch.zeros_like(joined_BTC)
        of_weight = []
        for tap in range(taps):
            of_joined_BTC[:, tap : tap + length].addcmul_(gradient_BLC, weight_TC[tap])
            of_weight.append((gradient_BLC * joined_BTC[:, tap : tap + length]).sum((0, 1)))
        of_bias = gradient_BLC.sum((0, 1)) if ctx.has_bias else None
        return of_joined_BTC, torch.stack(of_weight), of_bias


def decay_pairs(sum_Q: Tensor, hidden_QJ: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(sum_i − sum_j) for each pair of places [… Q J], 0 where hidden.

    The difference is formed in the sums' own dtype and rounded once. Its gradient goes to the sums as row sums less column sums.
    """
    if wants_gradient(sum_Q):
        return cast("Tensor", _DecayPairs.apply(sum_Q, hidden_QJ, dtype))  # type: ignore[no-untyped-call]
    return _paired(sum_Q, hidden_QJ, dtype)


def _paired(sum_Q: Tensor, hidden_QJ: Tensor, dtype: torch.dtype) -> Tensor:
    pair_QJ = (sum_Q[..., :, None] - sum_Q[..., None, :]).to(dtype)
    # Before exp: above the diagonal the exponent is positive and may overflow, and inf·0 is NaN in the backward pass.
    return pair_QJ.masked_fill_(hidden_QJ, -torch.inf).exp_()


class _DecayPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sum_Q: Tensor, hidden_QJ: Tensor, dtype: torch.dtype) -> Tensor:
        pair_QJ = _paired(sum_Q, hidden_QJ, dtype)
        ctx.save_for_backward(pair_QJ)
        ctx.dtype = sum_Q.dtype
        return pair_QJ

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pair_QJ,) = ctx.saved_tensors
        product_QJ = gradients[0] * pair_QJ
        return (product_QJ.sum(-1) - product_QJ.sum(-2)).to(ctx.dtype), None, None
