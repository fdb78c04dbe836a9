"""From a decoder to what moves its weights: AdamW for everything, or Muon for hidden matrices beside it.

    optimiser = build_optimiser(decoder, OptimiserConfig(lr=2e-3))
    for step in range(steps):
        optimiser.set_factor(schedule.factor(step))
        loss(…).backward()
        norm = clip_gradients(decoder, 1.0)
        optimiser.step()                    # and what the model asks for after each step (`retractions`)
        optimiser.zero_grad()

Which parameter is moved how follows from `parameter_groups`; nothing is decided by shape here. The state is tensors by
name, so it goes into safetensors, and a load that does not fit names what is missing. Everything works without the trainer.

AdamW is torch's (decoupled decay, arXiv 1711.05101), in its fused form, one pass over a tensor where the plain form takes a
dozen; `plain_adamw` is the formula, and the test of it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.learn.train.muon import Muon, Scale
from overwinter.learn.train.scaling import Rates, Scaling
from overwinter.model.config import Config
from overwinter.model.embedding import Retraction, retractions
from overwinter.model.groups import KINDS, MATRIX, VECTOR, ParameterGroup, parameter_groups, torch_groups

_KINDS = tuple(kind.name for kind in (*KINDS, MATRIX, VECTOR))


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Rates are those at the full schedule, for a multiplier of 1."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon`: Muon for the groups that were made for it, AdamW for all others."""
    lr: float = 2e-3
    """Of AdamW."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    """Times the rate; of the kinds that decay (model/groups.py)."""
    muon_lr: float = 0.02
    muon_weight_decay: float | None = None
    """None: as `weight_decay`."""
    momentum: float = 0.95
    nesterov: bool = True
    newton_schulz_steps: int = 5
    muon_scale: Scale = "spectral"
    lr_by_kind: Mapping[str, float] = field(default_factory=dict)
    """Further multipliers, such as {"embed": 5, "head": 0.5}."""
    decay: tuple[str, ...] = ()
    """Regular expressions of parameter names that decay although their kind does not."""
    no_decay: tuple[str, ...] = ()
    """Those that do not although their kind does. Goes before `decay`."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.lr_by_kind) - set(_KINDS))
        if unknown:
            raise UsageError(f"lr_by_kind has no kind {', '.join(unknown)}", f"known are {', '.join(_KINDS)}")
        if self.name not in ("adamw", "muon"):
            raise UsageError(f"there is no optimiser {self.name!r}", "use adamw or muon")
        rates = (self.lr, self.muon_lr, *self.lr_by_kind.values())
        if min(rates) < 0 or self.weight_decay < 0 or (self.muon_weight_decay or 0) < 0 or self.eps <= 0:
            raise UsageError("a rate or a decay is negative, or eps is not positive", "correct the optimiser's numbers")
        if not all(0 <= each < 1 for each in (*self.betas, self.momentum)) or self.newton_schulz_steps < 1:
            raise UsageError(
                f"betas {self.betas}, momentum {self.momentum}, {self.newton_schulz_steps} steps of Newton-Schulz",
                "give averages from 0 to below 1, and at least one step",
            )
        for pattern in (*self.decay, *self.no_decay):
            _compiled(pattern)


class Optimiser:
    """Several torch optimisers as one, with the rate as a factor and the state as named tensors.

    Args:
        parts: by name; each group has `names` beside `params`.
        after: called after each step.
    """

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer], after: Sequence[Retraction] = ()) -> None:
        self.parts, self.after = dict(parts), tuple(after)
        for group in self.param_groups:
            group["full_lr"] = group["lr"]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, as torch has them; `full_lr` is the rate that `set_factor` scales."""
        return [group for part in self.parts.values() for group in part.param_groups]

    def set_factor(self, factor: float) -> None:
        """Set every group's rate to so much of its full one."""
        for group in self.param_groups:
            group["lr"] = group["full_lr"] * factor

    def step(self) -> None:
        for part in self.parts.values():
            part.step()
        for each in self.after:
            each.call()

    def zero_grad(self) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Name and parameter of all that is moved."""
        for group in self.param_groups:
            yield from zip(group["names"], group["params"], strict=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """The state as `part/parameter/what`; empty before the first step. The tensors are the live ones, not copies."""
        return {
            f"{part_name}/{name}/{what}": value
            for part_name, part in self.parts.items()
            for group in part.param_groups
            for name, parameter in zip(group["names"], group["params"], strict=True)
            for what, value in sorted(part.state.get(parameter, {}).items())
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state_tensors` gave, copied to where each parameter is.

        Raises:
            UsageError: a tensor belongs to nothing here, or has another shape than its parameter.
        """
        left = dict(tensors)
        for part_name, part in self.parts.items():
            for group in part.param_groups:
                for name, parameter in zip(group["names"], group["params"], strict=True):
                    prefix = f"{part_name}/{name}/"
                    mine = {key.removeprefix(prefix): left.pop(key) for key in list(left) if key.startswith(prefix)}
                    part.state[parameter] = {what: _placed(value, parameter, name) for what, value in mine.items()}
        if left:
            raise UsageError(
                f"the optimiser's state has {len(left)} tensors that belong to nothing here, such as {min(left)}",
                "resume with the model and the optimiser that it was saved with",
            )


def build_optimiser(
    module: nn.Module, config: OptimiserConfig | None = None, *, scaling: Scaling | None = None
) -> Optimiser:
    """The optimiser of a decoder. Parameters that need no gradient are left out.

    Args:
        module: a decoder; with `scaling`, one that has a `config`.
        config: default is AdamW.
        scaling: factors of muP or CompleteP; the model must have been made with the same.
    """
    config = OptimiserConfig() if config is None else config
    learns = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    adam: list[dict[str, Any]] = []
    muon: list[dict[str, Any]] = []
    for group in parameter_groups(module):
        by_muon = config.name == "muon" and group.optimiser == "muon"
        rates = _rates(module, group, config, scaling, by_muon=by_muon)
        for part in _by_decay(group, learns, config):
            (muon if by_muon else adam).append(_group(module, part, config, rates, by_muon=by_muon))
    parts: dict[str, torch.optim.Optimizer] = {}
    if adam:
        floating = all(each.dtype == torch.float32 for group in adam for each in group["params"])
        parts["adamw"] = torch.optim.AdamW(adam, lr=config.lr, betas=config.betas, eps=config.eps, fused=floating)
    if muon:
        parts["muon"] = Muon(
            muon,
            lr=config.muon_lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            steps=config.newton_schulz_steps,
            scale=config.muon_scale,
        )
    if not parts:
        raise UsageError("no parameter needs a gradient", "unfreeze what is to be trained")
    return Optimiser(parts, retractions(module))


def clip_gradients(module: nn.Module, longest: float | None) -> float:
    """Scale all gradients so that their joint norm is at most `longest`; returns the norm before. None only measures."""
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if longest is not None:
        nn.utils.clip_grads_with_norm_(module.parameters(), longest, norm)
    full = getattr(norm, "full_tensor", None)
    return float(norm if full is None else full())


@torch.no_grad()
def plain_adamw(
    parameter: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """One step of AdamW as it is written, in place: the twin of the fused one. `state` begins empty."""
    step = state["step"] = state.get("step", torch.tensor(0.0)) + 1
    first = state["exp_avg"] = betas[0] * state.get("exp_avg", torch.zeros(())) + (1 - betas[0]) * gradient
    second = state["exp_avg_sq"] = betas[1] * state.get("exp_avg_sq", torch.zeros(())) + (1 - betas[1]) * gradient**2
    parameter.mul_(1 - lr * weight_decay)
    unbiased_first, unbiased_second = first / (1 - betas[0] ** step), second / (1 - betas[1] ** step)
    parameter.sub_(lr * unbiased_first / (unbiased_second.sqrt() + eps))


def _rates(
    module: nn.Module, group: ParameterGroup, config: OptimiserConfig, scaling: Scaling | None, *, by_muon: bool
) -> Rates:
    if scaling is None:
        return Rates()
    return scaling.rates(cast("Config", module.config), group.kind, muon=config.muon_scale if by_muon else None)


def _by_decay(group: ParameterGroup, learns: set[str], config: OptimiserConfig) -> Iterator[ParameterGroup]:
    """The group in up to two: what decays and what does not."""
    decays: dict[bool, list[str]] = {}
    for name in group.parameters:
        if name in learns:
            decay = group.weight_decay or any(_compiled(each).search(name) for each in config.decay)
            decay = decay and not any(_compiled(each).search(name) for each in config.no_decay)
            decays.setdefault(decay, []).append(name)
    for decay, names in decays.items():
        yield dataclasses.replace(group, parameters=tuple(names), weight_decay=decay)


def _group(
    module: nn.Module, group: ParameterGroup, config: OptimiserConfig, rates: Rates, *, by_muon: bool
) -> dict[str, Any]:
    lr, weight_decay = config.lr, config.weight_decay
    if by_muon:
        lr = config.muon_lr
        weight_decay = weight_decay if config.muon_weight_decay is None else config.muon_weight_decay
    lr *= rates.lr * config.lr_by_kind.get(group.kind, 1.0)
    (made,) = torch_groups(module, [group], lr=lr, weight_decay=weight_decay * rates.weight_decay)
    made |= {"names": list(group.parameters), "kind": group.kind}
    return made if by_muon else made | {"eps": config.eps * rates.eps}


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}", "correct decay or no_decay") from error


def _placed(value: Tensor, parameter: Tensor, name: str) -> Tensor:
    if value.dim() and value.shape != parameter.shape:
        raise UsageError(
            f"the optimiser's state of {name} has shape {tuple(value.shape)}, the parameter {tuple(parameter.shape)}",
            "resume with the model that it was saved with",
        )
    if value.dim() and hasattr(parameter, "full_tensor"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(parameter, DTensor)
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return value.to(parameter.device, copy=True)
