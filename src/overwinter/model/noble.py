"""NOBLE: a linear layer with a permanent branch of low rank that bends, where the layer itself is straight.

The branch waves twice within r dimensions. It is no adapter: it is trained from the start and cannot be merged into W.
    u = x W_down + b_down,   c₁ = cos(ω₁ ⊙ u + φ₁),   m = c₁ M + b_M,   c₂ = cos(ω₂ ⊙ m + φ₂),   y = x W + b + c₂ W_up
At the start W has `main_scale` (half) of the usual spread and W_up is nearly zero, not zero: so the network begins as the plain
one and every tensor has a gradient at once. Nothing in it makes anything orthogonal, whatever the name is said to stand for.

Source: Smith 2026, arXiv 2603.06492 ("nonlinear low-rank branch for linear enhancement"); ethansmith2000/noble. What we changed:
multipliers of the learning rate are asked for by parameter name (the published code hangs M's on the module, where the
published recipe does not look); cosines and their arguments are float32 in every dtype, for a bfloat16 argument of 8 is
uncertain by 0.03 rad; activations can be recomputed in the backward pass. docs/model.md has the costs.

Shapes: … any leading axes, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from overwinter.errors import UsageError
from overwinter.model.checks import SEE_DOCS
from overwinter.model.pointwise import silu

Activation = Literal["cosnet", "cos", "gelu", "silu", "tanh"]
LrMode = Literal["one_sided", "two_sided", "off"]

TARGETS = ("q", "k", "v", "o", "gate", "up", "down", "ssm_in", "ssm_out")
"""The linear layers that can have a branch: of attention, of the MLP, of Mamba-2. Embedding and head never do."""
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "silu": silu, "tanh": torch.tanh}
OMEGA_RANGE, PHI_STD, MID_SCALE = (0.8, 1.2), 0.1, 0.5
OMEGA_LR, PHI_LR, MID_POWER, SIDE_POWER = 2.0, 4.0, 0.5, 0.2


@dataclass(frozen=True, kw_only=True)
class NobleConfig:
    """Which layers have a branch, and of what kind."""

    rank: int
    """r; 0 is off. `default_rank` gives the usual one for a width."""
    targets: tuple[str, ...] = TARGETS[:7]
    """Names of `TARGETS`. One that no layer of the decoder bears does nothing (`gate` in a squared-ReLU MLP)."""
    activation: Activation = "cosnet"
    """What stands between W_down and W_up: the two cosines and M; one cosine; or a function without parameters."""
    up_std: float = 0.01
    """Spread of W_up at the start, times 1/√r."""
    main_scale: float = 0.5
    """Spread of W at the start, times 1/√d_in."""
    lr_mode: LrMode = "one_sided"
    """W_up takes the whole multiplier, W_down and W_up share it, or everything in the branch learns at rate 1."""
    mid_lr_mult: bool = True
    """M has its multiplier, as the paper's code means; without, it learns at rate 1, as the published recipe does."""
    recompute: bool = False
    """In training, keep u alone and compute the rest again in the backward pass: less memory, the same result."""

    def __post_init__(self) -> None:
        if not isinstance(self.rank, int) or isinstance(self.rank, bool) or self.rank < 0:
            raise UsageError(f"NobleConfig.rank cannot be {self.rank!r}", "give a whole number; 0 is off")
        unknown = sorted({str(target) for target in self.targets} - set(TARGETS))
        if not isinstance(self.targets, tuple) or not self.targets or unknown:
            raise UsageError(f"NobleConfig.targets cannot be {self.targets!r}", f"give some of {', '.join(TARGETS)}")
        for name, choices in (("activation", get_args(Activation)), ("lr_mode", get_args(LrMode))):
            if getattr(self, name) not in choices:
                raise UsageError(f"NobleConfig.{name} cannot be {getattr(self, name)!r}", f"it is one of {choices}")
        for name in ("up_std", "main_scale"):
            given = getattr(self, name)
            real = isinstance(given, int | float) and not isinstance(given, bool)
            # Zero would starve: W_up = 0 leaves the rest of the branch without gradient, W = 0 takes the gain away.
            if not real or not math.isfinite(given) or given <= 0:
                raise UsageError(f"NobleConfig.{name} cannot be {given!r}", "give a finite number above 0")
        for name in ("mid_lr_mult", "recompute"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"NobleConfig.{name} cannot be {getattr(self, name)!r}", SEE_DOCS)


def default_rank(d_model: int) -> int:
    """d/32 to the nearest multiple of 8, and at least 8: about 5 % more parameters. Twice as much is the setting for quality."""
    return max(8, 8 * ((d_model + 128) // 256))


@dataclass(frozen=True, kw_only=True)
class NobleCost:
    """What a branch adds to one linear layer."""

    parameters: int
    flops: int
    """Of the matrix products, per token forward; a multiply-add is two."""
    cosines: int
    """Per token forward; or evaluations of the other activation."""


def noble_cost(d_in: int, d_out: int, rank: int, activation: Activation = "cosnet") -> NobleCost:
    """r·(d_in + d_out) + r² + 6r parameters and 2r·(d_in + d_out) + 2r² operations with CosNet; without M and waves less."""
    if not rank:
        return NobleCost(parameters=0, flops=0, cosines=0)
    sides = rank * (d_in + d_out)
    if activation == "cosnet":
        return NobleCost(parameters=sides + rank**2 + 6 * rank, flops=2 * sides + 2 * rank**2, cosines=2 * rank)
    return NobleCost(parameters=sides + (3 if activation == "cos" else 1) * rank, flops=2 * sides, cosines=rank)


class Wave(nn.Module):
    """cos(ω ⊙ x + φ), in float32 or wider, whatever comes in. ω and φ stay so when the model changes dtype."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.omega = nn.Parameter(torch.empty(rank))
        self.phi = nn.Parameter(torch.empty(rank))

    def forward(self, x_R: Tensor) -> Tensor:
        wide = torch.promote_types(x_R.dtype, torch.float32)
        return torch.cos(x_R.to(wide) * self.omega.to(wide) + self.phi.to(wide))

    @torch.no_grad()
    def draw(self, generator: torch.Generator | None = None) -> None:
        self.omega.uniform_(*OMEGA_RANGE, generator=generator)
        self.phi.normal_(0.0, PHI_STD, generator=generator).remainder_(2 * math.pi)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Wave:
        def kept_wide(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            narrow = torch.promote_types(changed.dtype, torch.float32) != changed.dtype
            return tensor.to(device=changed.device, dtype=torch.float32) if narrow else changed

        super()._apply(kept_wide, recurse)  # type: ignore[no-untyped-call]
        return self


class Branch(nn.Module):
    """x W_down + b_down, the activation, then W_up."""

    def __init__(self, noble: NobleConfig, d_in: int, d_out: int) -> None:
        super().__init__()
        rank = noble.rank
        self.noble = noble
        self.down = nn.Linear(d_in, rank)
        self.wave1 = Wave(rank) if noble.activation in ("cosnet", "cos") else None
        self.mid = nn.Linear(rank, rank) if noble.activation == "cosnet" else None
        self.wave2 = Wave(rank) if noble.activation == "cosnet" else None
        self.up = nn.Linear(rank, d_out, bias=False)

    def forward(self, x_I: Tensor) -> Tensor:
        u_R = self.down(x_I)
        if self.noble.recompute and torch.is_grad_enabled():
            y_O: Tensor = checkpoint(self._bend, u_R, use_reentrant=False, preserve_rng_state=False)
            return y_O
        return self._bend(u_R)

    def _bend(self, u_R: Tensor) -> Tensor:
        c_R = self.wave1(u_R) if self.wave1 is not None else PLAIN[self.noble.activation](u_R)
        if self.mid is not None and self.wave2 is not None:
            c_R = self.wave2(self.mid(c_R.to(u_R.dtype)))
        y_O: Tensor = self.up(c_R.to(u_R.dtype))
        return y_O

    @torch.no_grad()
    def draw(self, generator: torch.Generator | None = None) -> None:
        rank = self.noble.rank
        self.down.weight.normal_(0.0, 1 / math.sqrt(self.down.in_features), generator=generator)
        self.down.bias.zero_()
        if self.mid is not None:
            self.mid.weight.normal_(0.0, MID_SCALE / math.sqrt(rank), generator=generator)
            self.mid.bias.uniform_(-1 / math.sqrt(rank), 1 / math.sqrt(rank), generator=generator)
        self.up.weight.normal_(0.0, self.noble.up_std / math.sqrt(rank), generator=generator)
        for wave in (self.wave1, self.wave2):
            if wave is not None:
                wave.draw(generator)


class NobleLinear(nn.Module):
    """x W + b + branch(x). All products within are plain linear layers, so whoever makes those faster finds them."""

    def __init__(self, noble: NobleConfig, d_in: int, d_out: int, *, bias: bool = True) -> None:
        super().__init__()
        self.noble = noble
        self.main = nn.Linear(d_in, d_out, bias=bias)
        self.branch = Branch(noble, d_in, d_out)
        self.init_own()

    @property
    def weight(self) -> Tensor:
        """W [OI] alone."""
        return self.main.weight

    @property
    def bias(self) -> Tensor | None:
        return self.main.bias

    def forward(self, x_I: Tensor) -> Tensor:
        y_O: Tensor = self.main(x_I) + self.branch(x_I)
        return y_O

    @torch.no_grad()
    def init_own(self, generator: torch.Generator | None = None) -> None:
        """Draw every tensor from its published distribution (spreads are standard deviations)."""
        self.main.weight.normal_(0.0, self.noble.main_scale / math.sqrt(self.main.in_features), generator=generator)
        if self.main.bias is not None:
            self.main.bias.zero_()
        self.branch.draw(generator)

    def lr_multipliers(self) -> dict[str, float]:
        """Learning rates over the base rate of Adam, by parameter name; what is not named learns at 1.

        Muon must not see these parameters: with multipliers, its steps blow the branch up.
        """
        noble = self.noble
        if noble.lr_mode == "off":
            return {}
        ratio = min(self.main.in_features, self.main.out_features) / noble.rank
        if noble.lr_mode == "one_sided":
            found = {"branch.up.weight": ratio ** (2 * SIDE_POWER)}
        else:
            found = dict.fromkeys(("branch.down.weight", "branch.up.weight"), ratio**SIDE_POWER)
        if self.branch.mid is not None and noble.mid_lr_mult:
            found["branch.mid.weight"] = ratio**MID_POWER
        for name, wave in (("wave1", self.branch.wave1), ("wave2", self.branch.wave2)):
            if wave is not None:
                found |= {f"branch.{name}.omega": OMEGA_LR, f"branch.{name}.phi": PHI_LR}
        return found


def linear(noble: NobleConfig | None, name: str, d_in: int, d_out: int, *, bias: bool) -> nn.Linear | NobleLinear:
    """The linear layer that a config asks for under one of the names of `TARGETS`: plain, or with a branch."""
    assert name in TARGETS, f"{name} is no target of NOBLE"
    if noble is None or noble.rank == 0 or name not in noble.targets:
        return nn.Linear(d_in, d_out, bias=bias)
    return NobleLinear(noble, d_in, d_out, bias=bias)
