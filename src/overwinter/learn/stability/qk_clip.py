"""QK-clip: after a step, shrink the queries and keys of heads whose attention logits have grown past τ.

    γ_h = min(1, τ/S_h)       W_q^h ← γ_h^α · W_q^h       W_k ← γ^(1−α) · W_k
With grouped queries the heads of one key head share W_k, which takes the smallest γ of them, and each query makes up for it, so
that every head's logits shrink by exactly its own γ_h:
    γ_kv = min over its heads        W_k ← γ_kv^(1−α) · W_k        W_q^h ← (γ_h / γ_kv^(1−α)) · W_q^h
QK-norm undoes any scale of W; there the gains of the norms are scaled, which all heads share, by the smallest γ.

Source: Kimi K2 (τ = 100, α = ½); the rule for grouped queries is ours. Shapes: H query heads, K key heads, C width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.model.attention import Attention


def clip_factors(logits_H: Tensor, *, tau: float, n_kv_heads: int, alpha: float = 0.5) -> tuple[Tensor, Tensor]:
    """Factors of the query heads [H] and of the key heads [K]."""
    gamma_H = (tau / logits_H.clamp(min=1e-30)).clamp(max=1.0)
    gamma_KG = gamma_H.view(n_kv_heads, -1)
    k_K = gamma_KG.amin(-1) ** (1 - alpha)
    return (gamma_KG / k_K[:, None]).flatten(), k_K


@torch.no_grad()
def clip_attention(attention: Attention, logits_H: Tensor, *, tau: float, alpha: float = 0.5) -> float:
    """Shrink one layer in place. Returns the smallest γ."""
    gamma = float((tau / logits_H.clamp(min=1e-30)).clamp(max=1.0).min())
    if attention.q_norm is not None and attention.k_norm is not None:
        attention.q_norm.weight.mul_(gamma**alpha)
        attention.k_norm.weight.mul_(gamma ** (1 - alpha))
        return gamma
    if not (isinstance(attention.q, nn.Linear) and isinstance(attention.k, nn.Linear)):
        raise UsageError(
            "QK-clip cannot scale queries or keys with a nonlinear branch",
            "take q and k out of the NOBLE targets, or set qk_norm",
        )
    q_H, k_K = clip_factors(logits_H, tau=tau, n_kv_heads=attention.n_kv_heads, alpha=alpha)
    for layer, factors in ((attention.q, q_H), (attention.k, k_K)):
        rows = factors.repeat_interleave(attention.d_head)
        layer.weight.mul_(rows[:, None].to(layer.weight))
        if layer.bias is not None:
            layer.bias.mul_(rows.to(layer.bias))
    return gamma
