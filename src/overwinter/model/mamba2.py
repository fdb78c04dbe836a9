"""The Mamba-2 block: a sequence mixer whose memory has one size, however long the text.

Idea: each head keeps a P×N matrix that forgets by a factor chosen per token and takes in one outer product per token.
    [z | x | B | C | dt] = u W_in        [x|B|C] ← SiLU(causal depthwise conv([x|B|C]))       dt ← clamp(softplus(dt + dt_bias))
    S_t = exp(dt_t·A)·S_{t−1} + dt_t·x_t ⊗ B_t        y_t = S_t C_t + D·x_t        A = −exp(A_log), one scalar per head
    out = W_out · RMSNorm(y ∘ SiLU(z)), the norm per group of channels
Three parts, as in attention: W_in token by token; the `core`, convolution and scan, which alone sees other tokens and the
memory; gate, norm and W_out token by token. Prefill, chunked prefill and decoding are the same call.

Rows of a batch do not touch each other, and on a CPU in float32 the core gives each row the bits that it has alone.

Source: Dao & Gu 2024, arXiv 2405.21060; state-spaces/mamba `modules/mamba2.py`. Parameter names and their order inside in_proj
are the published ones. What we changed: the time step is clamped in decoding exactly as in prefill, padding does not
move the state, rolled-back tokens are possible. docs/mamba2.md has the costs.

Shapes: B batch, L time, D model width, I inner width (H·P), H heads, P head width, G groups, N state size, C conv channels
(I + 2·G·N), X = C + H what the core reads of a token, T tokens of conv history.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model.backward import rms_norm, tap_convolution
from overwinter.model.cache import LayerCache, RecurrentMemory
from overwinter.model.mamba_state import MambaConfig, MambaState
from overwinter.model.noble import NobleConfig, linear
from overwinter.model.pointwise import silu, softplus
from overwinter.model.ssd import ScanInput, ssd_chunked, ssd_step


class GatedRMSNorm(nn.Module):
    """RMSNorm of y ∘ SiLU(z), or RMSNorm(y) ∘ SiLU(z) with `norm_before_gate`; per group of channels, in float32."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.d_inner))
        self.groups, self.eps, self.norm_before_gate = config.n_groups, config.norm_eps, config.norm_before_gate

    def forward(self, y_BLI: Tensor, z_BLI: Tensor) -> Tensor:
        gate_BLI = silu(z_BLI.float())
        gated_BLI = y_BLI.float() if self.norm_before_gate else y_BLI.float() * gate_BLI
        if self.groups == 1:
            normed_BLI = rms_norm(gated_BLI, self.weight.float(), self.eps)
            return normed_BLI * gate_BLI if self.norm_before_gate else normed_BLI
        grouped = torch.unflatten(gated_BLI, -1, (self.groups, -1))
        scale = torch.rsqrt(grouped.square().mean(-1, keepdim=True) + self.eps)
        normed_BLI = (grouped * scale).flatten(-2) * self.weight.float()
        return normed_BLI * gate_BLI if self.norm_before_gate else normed_BLI


class Mamba2(nn.Module):
    """One Mamba-2 mixer, without the residual and the norm before it.

    Call it with a whole text, with a piece of it, or with one token; with a memory it goes on from there.
    """

    NO_DECAY: ClassVar[frozenset[str]] = frozenset({"A_log", "D", "dt_bias"})
    """Parameters that weight decay harms."""

    def __init__(self, d_model: int, config: MambaConfig, noble: NobleConfig | None = None) -> None:
        super().__init__()
        self.d_model, self.config = d_model, config
        inner, channels, heads = config.d_inner, config.d_conv_channels, config.n_heads
        self.in_proj = linear(noble, "ssm_in", d_model, inner + channels + heads, bias=config.bias)
        self.conv1d = nn.Conv1d(channels, channels, config.d_conv, groups=channels, bias=config.conv_bias)
        self.A_log = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.empty(heads))
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.norm = GatedRMSNorm(config)
        self.out_proj = linear(noble, "ssm_out", inner, d_model, bias=config.bias)
        self.init_own()

    @torch.no_grad()
    def init_own(self, generator: torch.Generator | None = None) -> None:
        """What decides how the block remembers: A uniform, the time step log-uniform (dt_bias is its inverse softplus), D one,
        the convolution uniform up to 1/√d_conv. The projections and the norm are left alone.
        """
        config = self.config
        self.A_log.uniform_(config.a_min, config.a_max, generator=generator).log_()
        self.D.fill_(1.0)
        low, high = math.log(config.dt_min), math.log(config.dt_max)
        dt = torch.empty_like(self.dt_bias).uniform_(low, high, generator=generator).exp()
        dt = dt.clamp(min=config.dt_init_floor)
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        for parameter in self.conv1d.parameters():
            parameter.uniform_(-(config.d_conv**-0.5), config.d_conv**-0.5, generator=generator)

    def new_cache(self, *, rollback: int = 0) -> MambaState:
        return MambaState(self.config, rollback=rollback)

    def forward(
        self,
        x_BLD: Tensor,
        positions_BL: Tensor | None = None,
        cache: LayerCache | None = None,
        *,
        starts_BL: Tensor | None = None,
    ) -> Tensor:
        """Mix over time; returns y_BLD. A memory is read and moved on by L tokens.

        Args:
            x_BLD: the tokens' activations, at least one token.
            positions_BL: of which only the sign is read: negative is padding, which must come before a row's tokens. Default
                is no padding.
            cache: what came before; nothing if absent.
            starts_BL: true at the first token of each document packed into a row; documents do not see each other. Only
                without a memory.
        """
        config = self.config
        if x_BLD.ndim != 3 or x_BLD.shape[2] != self.d_model or x_BLD.shape[1] < 1:
            problem = f"Mamba-2 got a tensor of shape {tuple(x_BLD.shape)}"
            raise UsageError(problem, f"give (batch, at least one token, {self.d_model})")
        if positions_BL is None:
            positions_BL = torch.zeros(x_BLD.shape[:2], dtype=torch.long, device=x_BLD.device)
        rest = config.d_conv_channels + config.n_heads
        z_BLI, projected_BLX = torch.split(self.in_proj(x_BLD), [config.d_inner, rest], dim=-1)
        if cache is None:
            y_BLI = self.core(projected_BLX, mask_BL=positions_BL >= 0, starts_BL=starts_BL)
        elif starts_BL is not None:
            problem = "documents packed into one row cannot share a state"
            raise UsageError(problem, "give each document its own row and state, or pack without a state")
        else:
            assert isinstance(cache, RecurrentMemory), "a mixer meets only memories of its kind"
            y_BLI = cache.mix(self.core, projected_BLX, positions_BL)
        out_BLD: Tensor = self.out_proj(self.norm(y_BLI, z_BLI).to(z_BLI.dtype))
        return out_BLD

    def core(
        self,
        projected_BLX: Tensor,
        state: MambaState | None = None,
        mask_BL: Tensor | None = None,
        *,
        starts_BL: Tensor | None = None,
    ) -> Tensor:
        """Convolution and scan: y_BLI in float32, before gate and norm. A state is read and moved on by L tokens.

        Args:
            projected_BLX: what W_in gives after z: x, B, C and dt.
            state: what came before; nothing if absent.
            mask_BL: false at padding, which must come before a row's tokens and does not move the state.
            starts_BL: true at the first token of a packed document; only without a state.
        """
        self._check(projected_BLX, state, mask_BL, starts_BL)
        config = self.config
        raw_BLC, dt_BLH = torch.split(projected_BLX, [config.d_conv_channels, config.n_heads], dim=-1)
        if state is not None:
            state.begin(raw_BLC.shape[0], raw_BLC)
        if mask_BL is not None:
            raw_BLC = raw_BLC * mask_BL[..., None]
        mixed_BLC = silu(self._conv(raw_BLC, state, starts_BL))
        dt_BLH = softplus(dt_BLH.float() + self.dt_bias.float()).clamp(config.dt_lowest, config.dt_highest)
        if mask_BL is not None:
            dt_BLH = dt_BLH * mask_BL[..., None]

        wide = config.n_groups * config.d_state
        x_BLI, b_BLM, c_BLM = torch.split(mixed_BLC, [config.d_inner, wide, wide], dim=-1)
        x_BLHP = torch.unflatten(x_BLI, -1, (config.n_heads, config.head_dim))
        b_BLGN, c_BLGN = (torch.unflatten(each, -1, (config.n_groups, config.d_state)) for each in (b_BLM, c_BLM))
        decay_BLH = -self.A_log.float().exp() * dt_BLH
        scan = ScanInput(x_BLHP * dt_BLH[..., None], decay_BLH, b_BLGN, c_BLGN)
        if state is None:
            y_BLHP, _ = ssd_chunked(scan, chunk=config.chunk_size, starts_BL=starts_BL)
        else:
            y_BLHP, matrices = self._scan_on(scan, state)
            state.append(raw_BLC, matrices)
        return (y_BLHP + self.D.float()[:, None] * x_BLHP).flatten(-2)

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
        """Causal depthwise convolution over the last d_conv inputs, those of the state among them; float32.

        Tap by tap: faster than `conv1d` on a CPU, and a token's bits depend neither on the length nor on the batch.
        """
        (batch, length, channels), taps = raw_BLC.shape, self.config.d_conv
        weight_TC, bias_C = self.conv1d.weight[:, 0].float().t().contiguous(), self.conv1d.bias
        before_BTC = raw_BLC.new_zeros(batch, taps - 1, channels) if state is None else state.conv.to(raw_BLC.dtype)
        joined_BTC = torch.cat([before_BTC, raw_BLC], dim=1).float()
        bias_C = joined_BTC.new_zeros(()) if bias_C is None else bias_C.float()
        if starts_BL is None:
            return tap_convolution(joined_BTC, weight_TC, bias_C)
        document_BL = starts_BL.long().cumsum(1)
        document_BT = functional.pad(document_BL, (taps - 1, 0), value=-1)
        mixed_BLC = bias_C
        for tap in range(taps):
            seen_BL = document_BT[:, tap : tap + length] == document_BL
            mixed_BLC = torch.addcmul(mixed_BLC, joined_BTC[:, tap : tap + length] * seen_BL[..., None], weight_TC[tap])
        return mixed_BLC

    def _check(
        self, projected_BLX: Tensor, state: MambaState | None, mask_BL: Tensor | None, starts_BL: Tensor | None
    ) -> None:
        rows = tuple(projected_BLX.shape[:2])
        for name, given in (("the mask", mask_BL), ("starts_BL", starts_BL)):
            if given is not None and (given.shape != rows or given.dtype != torch.bool):
                problem = f"{name} has shape {tuple(given.shape)} and type {given.dtype}"
                raise UsageError(problem, f"give a tensor of shape {rows}; what is true or false as bool")
        if mask_BL is None:
            return
        if (mask_BL[:, :-1] & ~mask_BL[:, 1:]).any():
            problem = "there is padding after a token"
            raise UsageError(problem, "pad on the left; padding on the right needs no mark, for the block is causal")
        if state is not None and state.length and not mask_BL.all():
            raise UsageError("padding in the middle of a text", "pad only the first piece, before any token")
