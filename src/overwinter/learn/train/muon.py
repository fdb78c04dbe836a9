"""Muon: momentum whose direction is made orthogonal, for hidden matrices.

    B ← μB + G;   M = G + μB (Nesterov) or B;   W ← W − η·s·O,   O ≈ UVᵀ of M = UΣVᵀ
O is the orthogonal matrix nearest to M, so every direction of a matrix moves equally far. Five Newton-Schulz steps
X ← aX + (bA + cA²)X, A = XXᵀ, from X = M/‖M‖_F bring all singular values near 1 (not to 1: between 0.7 and 1.2) by products
alone. `polar_factor`, by SVD, is the twin that gets there exactly.

The scale s: `spectral` is √max(1, rows/cols) (KellerJordan/Muon), whose rate carries over between widths; `rms` is
0.2·√max(rows, cols) (MoonshotAI/Moonlight, arXiv 2502.16982), which gives updates the size of AdamW's, so that both may share rate
and decay. What we changed: matrices of one shape go through the steps together.

Shapes: M matrices of one shape, R rows, C columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from overwinter.errors import UsageError

A, B, C = 3.4445, -4.7750, 2.0315
"""Coefficients that grow small singular values fastest (KellerJordan/Muon)."""
Scale = Literal["spectral", "rms"]


def newton_schulz(x_MRC: Tensor, steps: int = 5) -> Tensor:
    """Nearly the orthogonal polar factor of each matrix; bfloat16 on an accelerator, float32 on a CPU, which has no use for less."""
    wide = x_MRC.shape[-2] <= x_MRC.shape[-1]
    x_MRC = x_MRC.to(torch.bfloat16 if x_MRC.is_cuda else torch.float32)
    y: Tensor = x_MRC if wide else x_MRC.mT
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = y @ y.mT
        y = A * y + (B * gram + C * gram @ gram) @ y
    return y if wide else y.mT


def polar_factor(x_MRC: Tensor) -> Tensor:
    """UVᵀ by SVD: what `newton_schulz` approaches, and its test."""
    u, _, vt = torch.linalg.svd(x_MRC.float(), full_matrices=False)
    turned: Tensor = u @ vt
    return turned


def update_scale(rows: int, columns: int, scale: Scale) -> float:
    """The factor s on the orthogonal update."""
    return math.sqrt(max(1.0, rows / columns)) if scale == "spectral" else 0.2 * math.sqrt(max(rows, columns))


class Muon(torch.optim.Optimizer):
    """Muon over matrices; give everything else to another optimiser.

    Args:
        params: matrices, or groups of them.
        lr: η.
        momentum: μ.
        nesterov: look ahead by one momentum step.
        steps: of Newton-Schulz.
        scale: `spectral` or `rms`.
        weight_decay: decoupled, times lr.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        steps: int = 5,
        scale: Scale = "spectral",
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"momentum": momentum, "nesterov": nesterov, "steps": steps, "scale": scale}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, **settings})
        shapes = [tuple(each.shape) for group in self.param_groups for each in group["params"] if each.dim() != 2]
        if shapes:
            raise UsageError(f"Muon got a parameter of shape {shapes[0]}", "give it matrices, and the rest to AdamW")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step for every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for parameters in shapes.values():
                self._move(group, parameters)
        return loss

    def _move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        rows, columns = parameters[0].shape
        looks = torch.stack([_whole(self._look_ahead(group, each)) for each in parameters])
        step = group["lr"] * update_scale(rows, columns, group["scale"])
        for parameter, update_RC in zip(parameters, newton_schulz(looks, group["steps"]), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(_shared_like(update_RC.to(parameter.dtype), parameter), alpha=-step)

    def _look_ahead(self, group: dict[str, Any], parameter: Tensor) -> Tensor:
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
        return parameter.grad.add(momentum, alpha=group["momentum"]) if group["nesterov"] else momentum


def _whole(tensor: Tensor) -> Tensor:
    """A matrix that is split over processes, put together: its polar factor needs all of it."""
    full = getattr(tensor, "full_tensor", None)
    whole: Tensor = tensor if full is None else full()
    return whole


def _shared_like(whole_RC: Tensor, parameter: Tensor) -> Tensor:
    if not hasattr(parameter, "full_tensor"):
        return whole_RC
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    # Every process computed the same whole, so nothing need be sent.
    return distribute_tensor(whole_RC, parameter.device_mesh, parameter.placements, src_data_rank=None)
