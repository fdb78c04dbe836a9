"""Parameter groups, as data that a trainer reads: who learns how fast, who decays, and which optimiser each was made for.

    for group in parameter_groups(decoder):        # a partition: each parameter is in exactly one group
        print(group.name, group.optimiser, group.lr_mult, group.weight_decay, group.parameters)

The kind of a parameter follows from its name by the first row of `KINDS` that fits, or from its number of axes; so a new switch
is one row here. Multipliers come by parameter name from the modules that have them (`lr_multipliers`): hung on a module or
forgotten on a copied tensor, they would be lost without a word. Nothing here imports an optimiser or knows a base rate.

Sources of the rules: NOBLE, arXiv 2603.06492 (Adam for branches, with multipliers); Mamba-2 (no decay on A_log, D, dt_bias);
OLMo 2, arXiv 2501.00656 (no decay on embeddings, for it shrinks them and so raises the gradients of early layers); Muon
(hidden matrices alone).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import nn

from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of parameter, and what an optimiser must know of it."""

    name: str
    pattern: str = ""
    """Searched in the parameter's name."""
    weight_decay: bool = False
    optimiser: Literal["adam", "muon"] = "adam"
    """Muon may take these parameters; Adam always may."""


KINDS = (
    Kind(name="noble_matrix", pattern=r"\.branch\.(down|mid|up)\.weight$", weight_decay=True),
    Kind(name="noble_vector", pattern=r"\.branch\.wave[12]\.(omega|phi)$"),
    Kind(name="embed", pattern=r"^embed\."),
    Kind(name="head", pattern=r"^head\."),
    Kind(name="ssm_vector", pattern=r"(^|\.)(A_log|D|dt_bias|conv1d\.bias)$"),
    Kind(name="conv", pattern=r"(^|\.)conv1d\.weight$"),
    Kind(name="depth_query", pattern=r"(^|\.)depth_(query|key_norm)$"),
    Kind(name="gate", pattern=r"(^|\.)exit_gate\."),
    Kind(name="reinjection", pattern=r"(^|\.)injection\.B\.weight$"),
)
"""First match wins."""
MATRIX = Kind(name="matrix", weight_decay=True, optimiser="muon")
"""Everything else with two axes or more."""
VECTOR = Kind(name="vector")
"""Everything else: gains of norms, biases, scalars."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters of one kind and one multiplier."""

    name: str
    """The kind, with the multiplier where it is not 1."""
    parameters: tuple[str, ...]
    """Names, as in `named_parameters`."""
    kind: str
    lr_mult: float
    """Times the base rate of the optimiser."""
    weight_decay: bool
    optimiser: Literal["adam", "muon"]


@runtime_checkable
class HasLrMultipliers(Protocol):
    def lr_multipliers(self) -> Mapping[str, float]:
        """Parameter name within the module → multiplier."""
        ...


def kind_of(name: str, axes: int) -> Kind:
    """The kind of a parameter by its name and number of axes."""
    for kind in KINDS:
        if re.search(kind.pattern, name):
            return kind
    return MATRIX if axes >= 2 else VECTOR


def parameter_groups(module: nn.Module) -> tuple[ParameterGroup, ...]:
    """All parameters of a module, grouped, in the order in which groups first occur. Shared parameters count once."""
    multipliers = _multipliers(module)
    members: dict[tuple[Kind, float], list[str]] = {}
    for name, parameter in module.named_parameters():
        members.setdefault((kind_of(name, parameter.dim()), multipliers.pop(name, 1.0)), []).append(name)
    assert not multipliers, f"multipliers for parameters that do not exist: {sorted(multipliers)}"
    return tuple(
        ParameterGroup(
            name=kind.name if lr_mult == 1 else f"{kind.name} ×{lr_mult:.4g}",
            parameters=tuple(names),
            kind=kind.name,
            lr_mult=lr_mult,
            weight_decay=kind.weight_decay,
            optimiser=kind.optimiser,
        )
        for (kind, lr_mult), names in members.items()
    )


def torch_groups(
    module: nn.Module, groups: Sequence[ParameterGroup], *, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups in the form of torch's optimisers: `AdamW(torch_groups(decoder, parameter_groups(decoder), lr=…, weight_decay=…))`.

    Args:
        module: the parameters' owner.
        groups: all of its groups, or those that this optimiser takes.
        lr: base rate.
        weight_decay: of the groups that decay.
    """
    parameters = dict(module.named_parameters())
    unknown = sorted({name for group in groups for name in group.parameters} - set(parameters))
    if unknown:
        raise UsageError(f"groups name parameters that are not there: {unknown[:5]}", "make the groups of this module")
    return [
        {
            "name": group.name,
            "params": [parameters[name] for name in group.parameters],
            "lr": lr * group.lr_mult,
            "weight_decay": weight_decay if group.weight_decay else 0.0,
        }
        for group in groups
    ]


def _multipliers(module: nn.Module) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, part in module.named_modules():
        if isinstance(part, HasLrMultipliers):
            found |= {f"{name}.{inner}".lstrip("."): value for inner, value in part.lr_multipliers().items()}
    return found
