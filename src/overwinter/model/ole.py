"""OLE, orthogonal low-rank embedding: a term of the loss that makes classes of features low-rank and mutually orthogonal.

For N features X with the rows X_c of each class c, and ‖·‖_* the sum of singular values:
    L = (λ/N) · (Σ_c max(Δ, ‖X_c‖_*) − ‖X‖_*)
The sum over classes is at least ‖X‖_*, and equal exactly when the classes' row spaces are orthogonal to each other; Δ keeps a
class from being pressed to nothing. Add it to the cross-entropy of a classification or retrieval head, on features such as
`decoder.hidden` gives. It has nothing to do with NOBLE, nor is it a table of embeddings (see embedding.py for one).

Source: Lezama et al. 2018, arXiv 1712.01727; jlezama/OrthogonalLowrankEmbedding. A subgradient of ‖A‖_* is U₁V₁ᵀ over singular
values above 1e-6. What we changed: the bound also grows with the largest singular value, for in float32 the zeros of a large
matrix come out above 1e-6.

Shapes: N features, D their width, R the smaller of both.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from overwinter.errors import UsageError

ZERO = 1e-6
"""A singular value up to here counts as zero."""


class _NuclearNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        wide_ND = x_ND.to(torch.promote_types(x_ND.dtype, torch.float32))
        u_NR, s_R, vt_RD = torch.linalg.svd(wide_ND, full_matrices=False)
        rounding = torch.finfo(s_R.dtype).eps * max(x_ND.shape) * s_R[0]
        kept_R = s_R > rounding.clamp(min=ZERO)
        ctx.save_for_backward(((u_NR * kept_R) @ vt_RD).to(x_ND.dtype))
        norm: Tensor = s_R.sum()
        return norm

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (subgradient_ND,) = ctx.saved_tensors
        result: Tensor = gradients[0].to(subgradient_ND.dtype) * subgradient_ND
        return result


def nuclear_norm(x_ND: Tensor) -> Tensor:
    """‖X‖_*, with the subgradient of least size. float32 at least; a scalar."""
    return cast("Tensor", _NuclearNorm.apply(x_ND))  # type: ignore[no-untyped-call]


def ole_loss(features_ND: Tensor, classes_N: Tensor, *, weight: float = 1.0, floor: float = 1.0) -> Tensor:
    """The term, a scalar. It costs an SVD of all features and one per class: O(N·D·min(N, D)).

    Args:
        features_ND: one row per example or token.
        classes_N: whole numbers; rows of one number form a class (a label, a cluster of next tokens, a document).
        weight: λ.
        floor: Δ; a class whose nuclear norm is below gets no push towards zero.
    """
    if features_ND.dim() != 2 or not features_ND.numel() or classes_N.shape != features_ND.shape[:1]:
        raise UsageError(
            f"OLE got features of shape {tuple(features_ND.shape)} and classes of shape {tuple(classes_N.shape)}",
            "give (N, D) features, N at least 1, and (N,) class numbers; flatten batches first",
        )
    if classes_N.is_floating_point() or classes_N.is_complex():
        raise UsageError(f"OLE got classes of {classes_N.dtype}", "give whole numbers")
    norms = [nuclear_norm(features_ND[classes_N == label]) for label in torch.unique(classes_N)]
    excess = torch.stack(norms).clamp(min=floor).sum() - nuclear_norm(features_ND)
    return weight / features_ND.shape[0] * excess
