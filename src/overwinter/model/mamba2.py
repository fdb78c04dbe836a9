"""The Mamba-2 block: a sequence mixer whose memory has one size, however long the text.

Idea: each head keeps a P×N matrix that forgets by a factor chosen per token and takes in one outer product per token.
    [z | x | B | C | dt] = u W_in        [x|B|C] ← SiLU(causal depthwise conv([x|B|C]))       dt ← clamp(softplus(dt + dt_bias))
    S_t = exp(dt_t·A)·S_{t−1} + dt_t·x_t ⊗ B_t        y_t = S_t C_t + D·x_t        A = −exp(A_log), one scalar per head
    out = W_out · RMSNorm(y ∘ SiLU(z)), the norm per group of channels
Prefill, chunked prefill and decoding are the same call; `MambaState` carries the memory and can take back the last few tokens.

Source: Dao & Gu 2024, arXiv 2405.21060; state-spaces/mamba `modules/mamba2.py`. Parameter names and their order inside in_proj
are the published ones. What we changed: the time step is clamped in decoding exactly as in prefill, padding does not
move the state, rolled-back tokens are possible. docs/mamba2.md has the costs.

Shapes: B batch, L time, D model width, I inner width (H·P), H heads, P head width, G groups, N state size, C conv channels
(I + 2·G·N), T tokens of conv history.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model.noble import NobleConfig, linear
from overwinter.model.ssd import ScanInput, ssd_chunked, ssd_step


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and switches of one block."""

    d_model: int
    d_state: int = 128
    """N, numbers per channel that are remembered."""
    d_conv: int = 4
    expand: int = 2
    """Inner width over model width; not read where `n_heads` is given."""
    n_heads: int | None = None
    """Heads, where they are not expand·d_model / head_dim (Nemotron Nano)."""
    head_dim: int = 64
    n_groups: int = 1
    """B and C are shared by the heads of a group; the gated norm is per group too."""
    chunk_size: int = 64
    """Changes the speed, not the result. 64 suits a CPU; checkpoints often say 256, which suits a GPU."""
    norm_before_gate: bool = False
    norm_eps: float = 1e-5
    bias: bool = False
    """On in_proj and out_proj."""
    conv_bias: bool = True
    dt_min: float = 0.001
    dt_max: float = 0.1
    dt_init_floor: float = 1e-4
    """dt_min, dt_max and dt_init_floor say where the time steps begin; training may leave that range."""
    dt_limit: tuple[float, float] = (0.0, math.inf)
    """Clamp of the time step in every forward pass."""
    a_init_range: tuple[float, float] = (1.0, 16.0)
    noble: NobleConfig | None = None
    """Branches beside in_proj (target `ssm_in`) and out_proj (`ssm_out`)."""

    def __post_init__(self) -> None:
        sizes = ("d_model", "d_state", "d_conv", "expand", "head_dim", "n_groups", "chunk_size")
        wrong = {name: getattr(self, name) for name in sizes if getattr(self, name) < 1}
        if wrong:
            raise UsageError(f"Mamba-2 sizes below 1: {wrong}", "give positive whole numbers")
        if self.n_heads is None and self.expand * self.d_model % self.head_dim:
            problem = f"inner width {self.expand * self.d_model} is not a multiple of head_dim {self.head_dim}"
            raise UsageError(problem, "choose a head_dim that divides expand·d_model, or give n_heads")
        if self.heads < 1 or self.heads % self.n_groups:
            raise UsageError(f"{self.heads} heads, {self.n_groups} groups", "let n_groups divide the number of heads")
        low, high = self.dt_limit
        if not (
            0 <= low <= high and 0 < self.dt_min <= self.dt_max and 0 < self.a_init_range[0] <= self.a_init_range[1]
        ):
            problem = f"dt_limit {self.dt_limit}, dt {self.dt_min} to {self.dt_max}, A from {self.a_init_range}"
            raise UsageError(problem, "give each range as (low, high) with positive numbers; dt_limit may begin at 0")

    @property
    def heads(self) -> int:
        return self.expand * self.d_model // self.head_dim if self.n_heads is None else self.n_heads

    @property
    def d_inner(self) -> int:
        return self.heads * self.head_dim

    @property
    def d_conv_channels(self) -> int:
        return self.d_inner + 2 * self.n_groups * self.d_state


@dataclass(frozen=True, kw_only=True)
class MambaSnapshot:
    """The memory of a block at one place of the text. Its tensors are never written to; save them as they are."""

    length: int
    conv: Tensor
    """BTC: the last d_conv − 1 inputs of the convolution."""
    matrix: Tensor
    """BHPN: the recurrent matrix, float32."""

    @property
    def bytes(self) -> int:
        return self.conv.nbytes + self.matrix.nbytes


class MambaState:
    """What a block remembers of the tokens so far: the last inputs of its convolution and its recurrent matrix (float32).

    `Mamba2.forward` appends to it. A recurrent state cannot be cut, so the matrices before each of the last `rollback` tokens
    are kept; drafted tokens that were rejected are taken back with `truncate`. Tensors are replaced, never written to
    in place, which is why `snapshot` copies no matrix. Gradients end at its border.

    Args:
        config: of the block.
        batch: rows; all rows have the same length.
        rollback: how many tokens `truncate` can take back. Each one costs a matrix.
        device: where the tensors live.
        dtype: of the convolution's inputs; that of the activations.
    """

    def __init__(
        self,
        config: Config,
        batch: int,
        *,
        rollback: int = 0,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch < 1 or rollback < 0:
            raise UsageError(f"a state for {batch} rows and {rollback} tokens back", "give batch ≥ 1 and rollback ≥ 0")
        self.length = 0
        self.rollback = rollback
        self._taps = config.d_conv - 1
        history = self._taps + rollback
        self._conv_BTC = torch.zeros(batch, history, config.d_conv_channels, device=device, dtype=dtype)
        empty = torch.zeros(batch, config.heads, config.head_dim, config.d_state, device=device)
        self._matrices: deque[Tensor] = deque([empty], maxlen=rollback + 1)  # oldest first; the last is the present

    @property
    def batch(self) -> int:
        return self._conv_BTC.shape[0]

    @property
    def bytes(self) -> int:
        """Memory when `rollback` tokens are past, whatever the length: (rollback + 1) matrices and the conv history."""
        return self._conv_BTC.nbytes + (self.rollback + 1) * self._matrices[-1].nbytes

    @property
    def shortest(self) -> int:
        """The smallest length that `truncate` can go back to."""
        return self.length - len(self._matrices) + 1

    @property
    def conv(self) -> Tensor:
        """BTC: the last d_conv − 1 inputs of the convolution."""
        return self._conv_BTC[:, self._conv_BTC.shape[1] - self._taps :]

    @property
    def matrix(self) -> Tensor:
        """BHPN: the recurrent matrix now."""
        return self._matrices[-1]

    def append(self, conv_BLC: Tensor, matrices: list[Tensor]) -> None:
        """Take in L tokens: their inputs of the convolution, and the matrices after the last min(L, rollback + 1) of them."""
        assert len(matrices) == min(conv_BLC.shape[1], self.rollback + 1)
        history = self._conv_BTC.shape[1]
        joined_BTC = torch.cat([self._conv_BTC, conv_BLC.detach().to(self._conv_BTC.dtype)], dim=1)
        # Cloned, for a view would keep the whole chunk alive.
        self._conv_BTC = joined_BTC[:, joined_BTC.shape[1] - history :].clone()
        self._matrices.extend(each.detach() for each in matrices)
        self.length += conv_BLC.shape[1]

    def truncate(self, n: int) -> None:
        """Go back to the first `n` tokens, as if the later ones had never come."""
        if not self.shortest <= n <= self.length:
            problem = f"a recurrent state at token {self.length} can go back to token {self.shortest}, not to {n}"
            raise UsageError(
                problem, f"make the state with a rollback above {self.rollback}, or restore an earlier snapshot"
            )
        back = self.length - n
        for _ in range(back):
            self._matrices.pop()
        kept = self._conv_BTC.shape[1] - back
        # The zeros in front keep the size; nothing can reach them any more.
        self._conv_BTC = functional.pad(self._conv_BTC[:, :kept], (0, 0, back, 0))
        self.length = n

    def snapshot(self) -> MambaSnapshot:
        """The present alone, to be kept or saved; tokens before it cannot be taken back from it."""
        return MambaSnapshot(length=self.length, conv=self.conv.clone(), matrix=self.matrix)

    def restore(self, snapshot: MambaSnapshot) -> None:
        """Continue from a snapshot; `truncate` reaches back to it and no further."""
        given = (snapshot.conv.shape, snapshot.matrix.shape)
        own = (self.conv.shape, self.matrix.shape)
        if given != own:
            problem = f"the snapshot's shapes {[tuple(s) for s in given]} are not the state's {[tuple(s) for s in own]}"
            raise UsageError(problem, "restore it into a state of the same config and batch")
        device, spare = self._conv_BTC.device, self.rollback
        self._conv_BTC = functional.pad(snapshot.conv.to(device, self._conv_BTC.dtype), (0, 0, spare, 0)).clone()
        self._matrices.clear()
        self._matrices.append(snapshot.matrix.to(device, torch.float32))
        self.length = snapshot.length


class GatedRMSNorm(nn.Module):
    """RMSNorm of y ∘ SiLU(z), or RMSNorm(y) ∘ SiLU(z) with `norm_before_gate`; per group of channels, in float32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_inner))
        self.groups, self.eps, self.norm_before_gate = config.n_groups, config.norm_eps, config.norm_before_gate

    def forward(self, y_BLI: Tensor, z_BLI: Tensor) -> Tensor:
        gate_BLI = functional.silu(z_BLI.float())
        gated_BLI = y_BLI.float() if self.norm_before_gate else y_BLI.float() * gate_BLI
        grouped = torch.unflatten(gated_BLI, -1, (self.groups, -1))
        scale = torch.rsqrt(grouped.square().mean(-1, keepdim=True) + self.eps)
        normed_BLI = (grouped * scale).flatten(-2) * self.weight.float()
        return normed_BLI * gate_BLI if self.norm_before_gate else normed_BLI


class Mamba2(nn.Module):
    """One Mamba-2 mixer, without the residual and the norm before it.

    Call it with a whole text, with a piece of it, or with one token; with a `MambaState` it goes on from there.
    """

    NO_DECAY: ClassVar[frozenset[str]] = frozenset({"A_log", "D", "dt_bias"})
    """Parameters that weight decay harms."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        inner, channels, heads = config.d_inner, config.d_conv_channels, config.heads
        self.in_proj = linear(config, "ssm_in", config.d_model, inner + channels + heads, bias=config.bias)
        self.conv1d = nn.Conv1d(channels, channels, config.d_conv, groups=channels, bias=config.conv_bias)
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.empty(heads))
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.norm = GatedRMSNorm(config)
        self.out_proj = linear(config, "ssm_out", inner, config.d_model, bias=config.bias)
        self.init_own()

    @torch.no_grad()
    def init_own(self, generator: torch.Generator | None = None) -> None:
        """A uniform, the time step log-uniform (dt_bias is its inverse softplus), D one; the rest is torch's default."""
        config = self.config
        self.A_log.uniform_(*config.a_init_range, generator=generator).log_()
        self.D.fill_(1.0)
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        dt = (
            torch.empty_like(self.dt_bias)
            .uniform_(low, high, generator=generator)
            .exp()
            .clamp(min=config.dt_init_floor)
        )
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def new_state(self, batch: int, *, rollback: int = 0) -> MambaState:
        """An empty state on this block's device, in its dtype."""
        weight = self.in_proj.weight
        return MambaState(self.config, batch, rollback=rollback, device=weight.device, dtype=weight.dtype)

    def forward(
        self,
        x_BLD: Tensor,
        state: MambaState | None = None,
        *,
        mask_BL: Tensor | None = None,
        starts_BL: Tensor | None = None,
    ) -> Tensor:
        """Mix over time; returns y_BLD. A state is read and moved on by L tokens.

        Args:
            x_BLD: the tokens' activations, at least one token.
            state: what came before; nothing if absent.
            mask_BL: false at padding, which must come before a row's tokens. Padding neither moves nor fills the state.
            starts_BL: true at the first token of each document packed into a row; documents do not see each other. Only
                without a state.
        """
        self._check(x_BLD, state, mask_BL, starts_BL)
        config = self.config
        sizes = [config.d_inner, config.d_conv_channels, config.heads]
        z_BLI, raw_BLC, dt_BLH = torch.split(self.in_proj(x_BLD), sizes, dim=-1)
        if mask_BL is not None:
            raw_BLC = raw_BLC * mask_BL[..., None]
        mixed_BLC = functional.silu(self._conv(raw_BLC, state, starts_BL)).float()
        dt_BLH = functional.softplus(dt_BLH.float() + self.dt_bias.float()).clamp(*config.dt_limit)
        if mask_BL is not None:
            dt_BLH = dt_BLH * mask_BL[..., None]

        wide = config.n_groups * config.d_state
        x_BLI, b_BLM, c_BLM = torch.split(mixed_BLC, [config.d_inner, wide, wide], dim=-1)
        x_BLHP = torch.unflatten(x_BLI, -1, (config.heads, config.head_dim))
        b_BLGN, c_BLGN = (torch.unflatten(each, -1, (config.n_groups, config.d_state)) for each in (b_BLM, c_BLM))
        decay_BLH = -self.A_log.float().exp() * dt_BLH
        scan = ScanInput(x_BLHP * dt_BLH[..., None], decay_BLH, b_BLGN, c_BLGN)
        if state is None:
            y_BLHP, _ = ssd_chunked(scan, chunk=config.chunk_size, starts_BL=starts_BL)
        else:
            y_BLHP, matrices = self._scan_on(scan, state)
            state.append(raw_BLC, matrices)
        y_BLHP = y_BLHP + self.D.float()[:, None] * x_BLHP
        normed_BLI = self.norm(y_BLHP.flatten(-2), z_BLI)
        out_BLD: Tensor = self.out_proj(normed_BLI.to(z_BLI.dtype))
        return out_BLD

    def _scan_on(self, scan: ScanInput, state: MambaState) -> tuple[Tensor, list[Tensor]]:
        """Scan from a state. What can be taken back later goes token by token, everything before it in chunks.

        Returns y_BLHP and the matrices after the last min(L, rollback + 1) tokens.
        """
        length, outputs, matrices = scan.x.shape[1], [], []
        stepped = 1 if length == 1 else min(length, state.rollback)
        matrix_BHPN = state.matrix
        if stepped < length:
            head = scan.between(0, length - stepped)
            y_BLHP, matrix_BHPN = ssd_chunked(head, chunk=self.config.chunk_size, initial_BHPN=matrix_BHPN)
            outputs.append(y_BLHP)
            matrices.append(matrix_BHPN)
        for t in range(length - stepped, length):
            y_BHP, matrix_BHPN = ssd_step(scan.at(t), matrix_BHPN)
            outputs.append(y_BHP[:, None])
            matrices.append(matrix_BHPN)
        return torch.cat(outputs, dim=1), matrices

    def _conv(self, raw_BLC: Tensor, state: MambaState | None, starts_BL: Tensor | None) -> Tensor:
        """Causal depthwise convolution over the last d_conv inputs, those of the state among them."""
        (batch, length, channels), taps = raw_BLC.shape, self.config.d_conv
        weight_C1T, bias_C = self.conv1d.weight, self.conv1d.bias
        before_BTC = raw_BLC.new_zeros(batch, taps - 1, channels) if state is None else state.conv.to(raw_BLC.dtype)
        joined_BTC = torch.cat([before_BTC, raw_BLC], dim=1)
        if starts_BL is None:
            mixed_BCL = functional.conv1d(joined_BTC.transpose(1, 2), weight_C1T, bias_C, groups=channels)
            return mixed_BCL.transpose(1, 2)
        document_BL = starts_BL.long().cumsum(1)
        document_BT = functional.pad(document_BL, (taps - 1, 0), value=-1)
        mixed_BLC = raw_BLC.new_zeros(()) if bias_C is None else bias_C
        for tap in range(taps):
            seen_BL = document_BT[:, tap : tap + length] == document_BL
            mixed_BLC = mixed_BLC + joined_BTC[:, tap : tap + length] * seen_BL[..., None] * weight_C1T[:, 0, tap]
        return mixed_BLC

    def _check(self, x_BLD: Tensor, state: MambaState | None, mask_BL: Tensor | None, starts_BL: Tensor | None) -> None:
        if x_BLD.ndim != 3 or x_BLD.shape[2] != self.config.d_model or x_BLD.shape[1] < 1:
            problem = f"Mamba-2 got a tensor of shape {tuple(x_BLD.shape)}"
            raise UsageError(problem, f"give (batch, at least one token, {self.config.d_model})")
        for name, given in (("mask_BL", mask_BL), ("starts_BL", starts_BL)):
            if given is not None and (given.shape != x_BLD.shape[:2] or given.dtype != torch.bool):
                problem = f"{name} has shape {tuple(given.shape)} and type {given.dtype}"
                raise UsageError(problem, f"give a boolean tensor of shape {tuple(x_BLD.shape[:2])}")
        if state is not None and state.batch != x_BLD.shape[0]:
            problem = f"{x_BLD.shape[0]} rows, and a state of {state.batch}"
            raise UsageError(problem, "make the state with new_state(batch) of the same batch")
        if state is not None and starts_BL is not None:
            problem = "documents packed into one row cannot share a state"
            raise UsageError(problem, "give each document its own row and state, or pack without a state")
        if mask_BL is None:
            return
        if (mask_BL[:, :-1] & ~mask_BL[:, 1:]).any():
            problem = "there is padding after a token"
            raise UsageError(problem, "pad on the left; padding on the right needs no mask, for the block is causal")
        if state is not None and state.length and not mask_BL.all():
            raise UsageError("padding in the middle of a text", "pad only the first piece, before any token")
