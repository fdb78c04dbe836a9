"""Looped layers: the same weights run T times, with a gate that says after each loop whether to stop.

    e = prelude(embed(ids));   h_1 = stack(e);   h_{t+1} = stack(reinject(n_t, e)),   n_t = norm(h_t);   logits = head(coda(n_t))
    λ_t = σ(w·n_t + b_t),   S_t = Π_{j≤t} (1 − λ_j),   p_t = λ_t·S_{t−1} for t < T,   p_T = S_{T−1},   so Σ p_t = 1
    exit of a token at threshold q:   t = min{ t : p_1 + … + p_t ≥ q }

Source: Ouro (arXiv 2510.25741); prelude, coda and reinjection from Huginn (arXiv 2502.05171) and Parcae (arXiv 2604.12946, code
sandyresearch/parcae). Each loop and layer has a memory of its own: slot prelude + t·N + ℓ, then the coda's.

What we changed. The first loop starts from e itself, not from noise, and reinjection begins with the second: so one loop is
the plain decoder and the same tokens give the same logits. b_t may differ per loop, for one bias cannot make all depths equally
likely. The exit is real: a token that stops is computed no further. Its unvisited loops remember it as the last loop it
took did: each mixer takes it in with the input it had there. For attention that is a copy of its keys and values, which a
memory that is a `NarrowMemory` makes without computing; a recurrent state takes the step it took in that loop. A memory that
cannot narrow computes all tokens and drops what is not wanted: right, and no faster.

Shapes: B batch, L tokens, D model width, T loops, A active tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.model.backward import RMSNorm
from overwinter.model.cache import NarrowMemory
from overwinter.model.checks import check_types
from overwinter.model.pointwise import softplus

if TYPE_CHECKING:
    from overwinter.model.config import Config

M = TypeVar("M")

FIRST_DECAY = math.sqrt(1 / 5)
"""How much of its state a Parcae loop keeps before training, as published."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Which layers are run how often. With one loop, nothing here changes anything."""

    n_loops: int
    prelude: int = 0
    """Layers before the loop, run once."""
    coda: int = 0
    """Layers after it, run once."""
    reinject: Literal["none", "add", "concat", "parcae"] = "none"
    """How the loop's input comes in again, from the second loop on."""
    loop_norm: bool = True
    """The next loop starts from the normed state, not from the state itself."""
    gate: bool = True
    """A probability to stop after each loop."""
    gate_bias: Literal["loop", "shared"] = "loop"
    """A bias for each loop, so that all depths start equally likely; or one for all, as Ouro's checkpoints have."""
    exit: float = 1.0
    """Decoding stops a token's loops at this cumulative probability, where the caller names none. 1.0: never early."""
    depth_sampling: Literal["fixed", "poisson"] = "fixed"
    """Training: all sequences take `n_loops`, or each draws its own number with that mean."""
    bptt: int | None = None
    """Training: gradients flow through the last so many loops alone."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.exit > 1 or (self.exit < 1 and not self.gate):
            raise UsageError(f"LoopConfig.exit cannot be {self.exit}", "give at most 1.0, and 1.0 without a gate")
        if self.bptt is not None and self.reinject == "none":
            raise UsageError(
                "bptt without reinjection leaves the embedding without gradient", "choose a reinject, or no bptt"
            )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the layers fall into prelude, middle and coda, and which memory belongs to which."""

    prelude: int
    middle: int
    coda: int
    n_loops: int

    @classmethod
    def of(cls, config: Config) -> Plan:
        loop = config.looped
        if loop is None:
            return cls(prelude=0, middle=config.n_layers, coda=0, n_loops=1)
        middle = config.n_layers - loop.prelude - loop.coda
        return cls(prelude=loop.prelude, middle=middle, coda=loop.coda, n_loops=loop.n_loops)

    @property
    def layers(self) -> dict[str, slice]:
        """Layers of each part."""
        end = self.prelude + self.middle
        return {"prelude": slice(self.prelude), "middle": slice(self.prelude, end), "coda": slice(end, end + self.coda)}

    @property
    def slots(self) -> tuple[int, ...]:
        """The layer that each memory slot serves."""
        every = range(self.prelude + self.middle + self.coda)
        before, looped, after = (tuple(every[layers]) for layers in self.layers.values())
        return before + looped * self.n_loops + after

    def split(self, memories: Sequence[M]) -> tuple[Sequence[M], list[Sequence[M]], Sequence[M]]:
        """Memories of the prelude, of each loop, of the coda."""
        end = len(memories) - self.coda
        loops = [memories[start : start + self.middle] for start in range(self.prelude, end, self.middle)]
        return memories[: self.prelude], loops, memories[end:]


class Run(Protocol):
    """Once through the shared layers. `carry` sees and may change what each of their mixers gets."""

    def __call__(
        self, h_BLD: Tensor, positions_BL: Tensor, memories: Sequence[Any], carry: Carry | None = None
    ) -> Tensor: ...


class Looped(NamedTuple):
    """Where the tokens came out."""

    state: Tensor
    """BLD: what the next loop would have started from."""
    normed: Tensor
    """BLD"""
    depth: Tensor
    """BL: loops that each token took."""


class Carry:
    """Holds each mixer's input of the last loop, for the tokens that take no further one."""

    def __init__(self) -> None:
        self.active_BL: Tensor | None = None
        self._held: dict[int, Tensor] = {}

    def __call__(self, layer: int, x_BLD: Tensor) -> Tensor:
        if self.active_BL is not None:
            x_BLD = torch.where(self.active_BL[..., None], x_BLD, self._held[layer])
        self._held[layer] = x_BLD
        return x_BLD


class ExitGate(nn.Module):
    """Logits of λ_t. The published weight has the shape of a linear layer with one output, so ours has too."""

    def __init__(self, d_model: int, options: LoopConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, d_model))
        self.bias = nn.Parameter(torch.empty(1 if options.gate_bias == "shared" else options.n_loops))
        self.init_own()

    @torch.no_grad()
    def init_own(self, generator: torch.Generator | None = None) -> None:  # noqa: ARG002 (nothing is drawn)
        """λ_t = 1/(T − t + 1), which makes p uniform; one shared bias cannot, and starts at λ = ½."""
        self.weight.zero_()
        n_loops = self.bias.shape[0]
        for t in range(n_loops):
            # The last loop's bias decides nothing, unless training draws a depth beyond n_loops.
            self.bias[t] = -math.log(max(1, n_loops - 1 - t))

    def forward(self, normed_BLD: Tensor, t: int) -> Tensor:
        """BL, float32, after loop `t` counted from zero."""
        bias = self.bias[min(t, self.bias.shape[0] - 1)]
        # Multiplied and summed, for a product with one column rounds by how many tokens there are.
        return (normed_BLD.float() * self.weight[0].float()).sum(-1) + bias.float()


class Concat(nn.Module):
    """Huginn: a linear layer from state and input side by side."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.adapter = nn.Linear(2 * d_model, d_model, bias=False)

    def forward(self, h_BLD: Tensor, e_BLD: Tensor) -> Tensor:
        mixed_BLD: Tensor = self.adapter(torch.cat([h_BLD, e_BLD], dim=-1))
        return mixed_BLD


class Parcae(nn.Module):
    """h ← exp(−Δ·exp(A_log)) ⊙ h + Δ ⊙ (e B),  Δ = softplus(dt_bias): it forgets, so loops alone cannot make it grow."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.empty(d_model))
        self.dt_bias = nn.Parameter(torch.empty(d_model))
        self.B = nn.Linear(d_model, d_model, bias=False)
        self.init_own()

    @torch.no_grad()
    def init_own(self, generator: torch.Generator | None = None) -> None:  # noqa: ARG002 (nothing is drawn)
        first_dt = -math.log(FIRST_DECAY)
        self.A_log.zero_()
        self.dt_bias.fill_(first_dt + math.log(-math.expm1(-first_dt)))
        self.B.weight.copy_(torch.eye(self.B.in_features))

    def forward(self, h_BLD: Tensor, e_BLD: Tensor) -> Tensor:
        dt_D = softplus(self.dt_bias.float())
        decay_D = (-dt_D * self.A_log.float().exp()).exp()
        entry_BLD: Tensor = self.B(e_BLD)
        return h_BLD * decay_D.to(h_BLD.dtype) + entry_BLD * dt_D.to(h_BLD.dtype)


class Loop(nn.Module):
    """What a loop has beyond the layers it runs: the gate, the reinjection, and the order of things."""

    def __init__(self, config: Config, options: LoopConfig) -> None:
        super().__init__()
        self.options = options
        self.exit_gate = ExitGate(config.d_model, options) if options.gate else None
        parcae = options.reinject == "parcae"
        self.entry_norm = RMSNorm(config.d_model, eps=config.norm_eps) if parcae else None
        kinds: dict[str, Callable[[int], nn.Module]] = {"concat": Concat, "parcae": Parcae}
        self.injection = kinds[options.reinject](config.d_model) if options.reinject in kinds else None

    def enter(self, h_BLD: Tensor) -> Tensor:
        """The loop's input; Parcae norms it."""
        entry_BLD: Tensor = h_BLD if self.entry_norm is None else self.entry_norm(h_BLD)
        return entry_BLD

    def reinject(self, state_BLD: Tensor, e_BLD: Tensor) -> Tensor:
        if self.injection is not None:
            mixed_BLD: Tensor = self.injection(state_BLD, e_BLD)
            return mixed_BLD
        return state_BLD + e_BLD if self.options.reinject == "add" else state_BLD

    def forward(
        self,
        h_BLD: Tensor,
        positions_BL: Tensor,
        loops: Sequence[Sequence[Any]],
        run: Run,
        norm: Callable[[Tensor], Tensor],
        thresholds_BL: Tensor | None,
    ) -> Looped:
        """All loops, or for each token as many as its threshold asks for.

        Args:
            h_BLD: the prelude's output.
            positions_BL: of the tokens.
            loops: memories (or None) of the layers, for each loop.
            run: once through the layers.
            norm: the norm after each loop.
            thresholds_BL: cumulative exit probability at which each token stops; 1 and above means never early.
        """
        thresholds_BL = self._real(thresholds_BL)
        e_BLD = self.enter(h_BLD)
        step = partial(self._step, run=run, norm=norm)
        if thresholds_BL is None:
            state_BLD, normed_BLD = e_BLD, e_BLD
            for t, memories in enumerate(loops):
                given_BLD = state_BLD if t == 0 else self.reinject(state_BLD, e_BLD)
                state_BLD, normed_BLD = step(given_BLD, positions_BL, memories)
            return Looped(state_BLD, normed_BLD, torch.full_like(positions_BL, len(loops)))
        return self._until(e_BLD, positions_BL, loops, step, thresholds_BL)

    def _until(
        self,
        e_BLD: Tensor,
        positions_BL: Tensor,
        loops: Sequence[Sequence[Any]],
        step: Callable[..., tuple[Tensor, Tensor]],
        thresholds_BL: Tensor,
    ) -> Looped:
        """Loops that tokens leave. `active_BL` is None as long as no token has left, so that nothing changes until then."""
        narrow = _can_narrow(loops, positions_BL)
        carry = None if narrow else Carry()
        state_BLD, normed_BLD = step(e_BLD, positions_BL, loops[0], carry)
        stay_BL = torch.zeros_like(thresholds_BL)
        depth_BL, active_BL = torch.ones_like(positions_BL), torch.ones_like(thresholds_BL, dtype=torch.bool)
        for t in range(1, len(loops)):
            stay_BL, leave_BL = self._leaving(normed_BLD, t - 1, stay_BL, thresholds_BL)
            active_BL = active_BL & ~leave_BL
            depth_BL = depth_BL + active_BL
            given_BLD = self.reinject(state_BLD, e_BLD)
            if bool(active_BL.all()):
                state_BLD, normed_BLD = step(given_BLD, positions_BL, loops[t], carry)
            elif carry is None:
                memories = [
                    memory.narrow(active_BL, source) for memory, source in zip(loops[t], loops[t - 1], strict=True)
                ]
                if bool(active_BL.any()):
                    pick = partial(_pick, active_BL)
                    new = step(pick(given_BLD), pick(positions_BL), memories)
                    state_BLD, normed_BLD = (
                        old.masked_scatter(active_BL[..., None], part)
                        for old, part in zip((state_BLD, normed_BLD), new, strict=True)
                    )
            else:
                carry.active_BL = active_BL
                new = step(given_BLD, positions_BL, loops[t], carry)
                state_BLD, normed_BLD = (
                    torch.where(active_BL[..., None], part, old)
                    for old, part in zip((state_BLD, normed_BLD), new, strict=True)
                )
        return Looped(state_BLD, normed_BLD, depth_BL)

    def _step(
        self,
        given_BLD: Tensor,
        positions_BL: Tensor,
        memories: Sequence[Any],
        carry: Carry | None = None,
        *,
        run: Run,
        norm: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """One loop: what the next one starts from, and the normed state."""
        state_BLD = run(given_BLD, positions_BL, memories, carry)
        normed_BLD = norm(state_BLD)
        return (normed_BLD if self.options.loop_norm else state_BLD), normed_BLD

    def _leaving(self, normed_BLD: Tensor, t: int, stay_BL: Tensor, thresholds_BL: Tensor) -> tuple[Tensor, Tensor]:
        """log S after this loop, and who stops here: 1 − S is the probability to have stopped by now."""
        gate_BL = cast("ExitGate", self.exit_gate)(normed_BLD, t)
        stay_BL = stay_BL - softplus(gate_BL)
        # With a saturated gate 1 − S rounds to 1; a threshold of 1 means all loops nevertheless.
        return stay_BL, (1 - stay_BL.exp() >= thresholds_BL) & (thresholds_BL < 1)

    def _real(self, thresholds_BL: Tensor | None) -> Tensor | None:
        """None where no token asks to stop early."""
        if thresholds_BL is None or not bool((thresholds_BL < 1).any()):
            return None
        if self.exit_gate is None:
            raise UsageError("this decoder's loop has no gate to stop at", "ask for an exit threshold of 1.0")
        return thresholds_BL.float()


def _can_narrow(loops: Sequence[Sequence[Any]], tokens_BL: Tensor) -> bool:
    """Active tokens make one row of tokens or fewer rows of one token; a ragged batch of longer rows is computed whole."""
    regular = tokens_BL.shape[0] == 1 or tokens_BL.shape[1] == 1
    return regular and all(isinstance(memory, NarrowMemory) for memories in loops for memory in memories)


def _pick(active_BL: Tensor, part_BL: Tensor) -> Tensor:
    """The active tokens of BL or BLD: as one row where there is one row, else as rows of one token."""
    picked_A = part_BL[active_BL]
    return picked_A[None] if active_BL.shape[0] == 1 else picked_A[:, None]
