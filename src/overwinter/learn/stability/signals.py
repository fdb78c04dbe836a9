"""What is measured of an optimiser step: the gradient by groups, and how far the weights moved.

Norms of all parameters are taken in one go and brought to the host together; `plain_norm` is the twin. Nothing here draws random numbers or
writes to a tensor that is not its own. Tensors that are split over processes (FSDP2) are measured as the whole that they are parts of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from overwinter.learn.stability.zclip import EPS, clip_factor
from overwinter.model.groups import parameter_groups


class Groups:
    """Parameters by the kinds of `overwinter.model.parameter_groups`, which go by names and axes and so suit any module."""

    def __init__(self, model: nn.Module) -> None:
        named = dict(model.named_parameters())
        self.parameters: list[Tensor] = list(named.values())
        places = {name: at for at, name in enumerate(named)}
        self.members = {group.name: [places[name] for name in group.parameters] for group in parameter_groups(model)}

    def by_group(self, norms: Sequence[float]) -> dict[str, float]:
        """The norm of each group from the norms of all parameters."""
        return {name: math.sqrt(sum(norms[at] ** 2 for at in places)) for name, places in self.members.items()}


def parameter_norms(tensors: Sequence[Tensor | None]) -> tuple[list[float], float]:
    """L2 norm of each tensor (0 where there is none), and of all together as `torch.nn.utils.clip_grad_norm_` reckons it."""
    there = [(at, tensor) for at, tensor in enumerate(tensors) if tensor is not None]
    if not there:
        return [0.0] * len(tensors), 0.0
    with torch.no_grad():
        found = torch._foreach_norm([local(tensor) for _, tensor in there])
        device = found[0].device
        norms_N = _over_shards(torch.stack([norm.to(device) for norm in found]), [tensor for _, tensor in there])
        total = torch.linalg.vector_norm(norms_N)
        *each, whole = torch.cat([norms_N.double(), total.double().reshape(1)]).tolist()
    norms = [0.0] * len(tensors)
    for (at, _), norm in zip(there, each, strict=True):
        norms[at] = norm
    return norms, whole


def local(tensor: Tensor) -> Tensor:
    """The part that lies in this process, of a tensor that is split; else the tensor."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def _over_shards(norms_N: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Norms of whole tensors from those of this process's parts: one reduction for all that are split over the same processes."""
    split = [at for at, tensor in enumerate(tensors) if _is_split(tensor)]
    if not split:
        return norms_N
    squares_N = norms_N[split].double().square()
    torch.distributed.all_reduce(squares_N, group=tensors[split[0]].device_mesh.get_group())  # type: ignore[attr-defined]
    norms_N = norms_N.clone()
    norms_N[split] = squares_N.sqrt().to(norms_N.dtype)
    return norms_N


def _is_split(tensor: Tensor) -> bool:
    return any(placement.is_shard() for placement in getattr(tensor, "placements", ()))


def plain_norm(tensors: Sequence[Tensor | None]) -> float:
    """The twin: squares of all numbers, added up in double precision."""
    return math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors if tensor is not None))


def scale_gradients(parameters: Sequence[Tensor], norm: float, target: float) -> float:
    """Scale gradients from a norm to a target. Returns the factor; at 1 nothing is touched.

    The factor is rounded as in `torch.nn.utils.clip_grad_norm_`, so that a hard cap alone gives the bits of torch's.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if clip_factor(norm, target) >= 1 or not gradients:
        return 1.0
    factor = target / (torch.tensor(norm, dtype=gradients[0].dtype) + EPS)
    with torch.no_grad():
        for gradient in gradients:
            local(gradient).mul_(factor.to(gradient.device))
    return float(factor)


class Movement:
    """Update over weight: ‖w_after − w_before‖ / ‖w_after‖, of all parameters and of each group."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self._before: list[Tensor] | None = None

    def begin(self) -> None:
        """Copy the weights, just before the optimiser's step."""
        self._before = [parameter.detach().clone() for parameter in self.groups.parameters]

    def end(self) -> dict[str, float]:
        """The ratios, just after the step; nothing if `begin` was not called."""
        if self._before is None:
            return {}
        with torch.no_grad():
            moves = [now.detach() - before for now, before in zip(self.groups.parameters, self._before, strict=True)]
        self._before = None
        move, moved = parameter_norms(moves)
        weight, weighed = parameter_norms([parameter.detach() for parameter in self.groups.parameters])
        ratios = {"update_ratio": moved / max(weighed, 1e-30)}
        sizes = self.groups.by_group(weight)
        ratios |= {
            f"update_ratio.{name}": size / max(sizes[name], 1e-30) for name, size in self.groups.by_group(move).items()
        }
        return ratios
