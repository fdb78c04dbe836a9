"""How weights begin, as data: one frozen `Init`, drawn by `fresh(config, seed=…, init=…)`.

Each module draws from a generator of its own, made from the seed and the module's name. So a switch that adds parameters
leaves the draw of all others as it was, and two decoders that differ in a switch differ in nothing else.

A module whose parameters have a start of their own (a NOBLE branch, Mamba's dynamics) has a method `init_own(generator)`; it
comes after its parts are drawn. Everything else follows the rules below. Zero outputs (nanochat) make each block begin as
nothing; measured on a small decoder they cancel the gain of NOBLE and of attention residuals, and a norm of nearly nothing
blows noise up to full size, so they are refused there. With AdamW, outputs normal(0, ½/√d_in) were best.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

from overwinter.errors import UsageError
from overwinter.model.checks import check_types
from overwinter.model.config import Config
from overwinter.model.embedding import LowrankOrthogonalEmbedding, PlainEmbedding
from overwinter.model.noble import NobleLinear

OUTPUT = re.compile(r"\.(o|out_proj|down)$")
"""Linear layers whose output joins the residual stream, by the module's name."""


@runtime_checkable
class InitsItself(Protocol):
    def init_own(self, generator: torch.Generator | None = None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Init:
    """Spreads of the start (standard deviations of a normal around zero). Biases begin at 0, gains of norms at 1."""

    matrices: Literal["normal", "half"] = "normal"
    """normal(0, `std`), or normal(0, ½/√d_in). Layers with a NOBLE branch have their own rule (`main_scale`) anyway."""
    outputs: Literal["same", "half", "scaled", "zero"] = "same"
    """Projections into the residual stream: as the other matrices, ½/√d_in, as the others times 1/√(2·layers), or zero."""
    std: float = 0.02
    embed_std: float = 0.02
    head_std: float = 0.02

    def __post_init__(self) -> None:
        check_types(self)


@torch.no_grad()
def initialise(decoder: nn.Module, config: Config, init: Init, *, seed: int) -> None:
    """Draw all weights of a decoder."""
    _refuse(config, init)
    # Parts first: `init_own` has the last word.
    for name, module in reversed(list(decoder.named_modules())):
        generator = torch.Generator().manual_seed(_seed_of(seed, name))
        if isinstance(module, PlainEmbedding | LowrankOrthogonalEmbedding):
            module.draw(generator, init.embed_std)
        elif isinstance(module, nn.Linear):
            _draw_linear(module, name, init, generator)
        else:
            _draw_rest(module, generator, init)
        if OUTPUT.search(name) and isinstance(module, nn.Linear | NobleLinear):
            _fit_output(module.main if isinstance(module, NobleLinear) else module, config, init)


def _draw_linear(module: nn.Linear, name: str, init: Init, generator: torch.Generator) -> None:
    half = init.matrices == "half" or (init.outputs == "half" and OUTPUT.search(name) is not None)
    std = init.head_std if name == "head" else 0.5 / math.sqrt(module.in_features) if half else init.std
    module.weight.normal_(0.0, std, generator=generator)
    if module.bias is not None:
        module.bias.zero_()


def _fit_output(module: nn.Linear, config: Config, init: Init) -> None:
    if init.outputs == "scaled":
        module.weight.mul_(1 / math.sqrt(2 * config.n_layers))
    elif init.outputs == "zero":
        module.weight.zero_()


def _draw_rest(module: nn.Module, generator: torch.Generator, init: Init) -> None:
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.dim() >= 2:
            parameter.normal_(0.0, init.std, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    if isinstance(module, InitsItself):
        module.init_own(generator)


def _seed_of(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8])


def _refuse(config: Config, init: Init) -> None:
    bends = config.noble is not None and config.noble.rank > 0
    mixes = config.attnres is not None
    clashes = {
        "zero": [("NOBLE branches", bends), ("norm='sandwich'", config.norm == "sandwich"), ("attnres", mixes)],
        "scaled": [("attnres, which bounds the stream already,", mixes)],
    }
    found = [what for what, present in clashes.get(init.outputs, []) if present]
    if found:
        raise UsageError(f"Init.outputs={init.outputs!r} spoils {' and '.join(found)}", "use Init(outputs='half')")
