"""The scan of Mamba-2 (state space duality): one linear recurrence, computed three ways that agree.

Idea: each head keeps a matrix S (P×N). A token shrinks it by one scalar, adds an outer product, and reads it with C:
    S_t = a_t·S_{t−1} + x̃_t ⊗ B_t        y_t = S_t C_t        a_t = exp(ℓ_t), ℓ_t = dt_t·A ≤ 0, x̃_t = dt_t·x_t
Unrolled, y = (L ∘ C Bᵀ) x̃ with L_ij = exp(ℓ_{j+1} + … + ℓ_i): attention with decay. So inside a chunk of Q tokens it is
computed as matrix products, and only one state per chunk is carried on: O(T·Q) work instead of O(T²), no loop over tokens.

`ssd_chunked` is for prefill and training, `ssd_step` for decoding, `ssd_sequential` is the slow twin the others are tested by.
Source: Dao & Gu 2024, arXiv 2405.21060, §6; state-spaces/mamba, `ssd_minimal.py`. What we changed: B and C are never repeated
per head (the heads of a group share wide matrix products), decays are summed in float64 and masked before exp, documents
packed into one row can be kept apart.

Shapes: B batch, L time, H heads, P head width, G groups, R heads per group (H = G·R), N state size, K chunks, Q and J places in
a chunk. `b_BLGN` and `c_BLGN` are the B and C of the equation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model.backward import decay_pairs


class ScanInput(NamedTuple):
    """What the scan reads: time first in every tensor after the batch."""

    x: Tensor
    """BLHP: values, already multiplied by dt."""
    decay: Tensor
    """BLH: ℓ = dt·A, the logarithm of what is kept; at most 0."""
    b: Tensor
    """BLGN: where a value is written."""
    c: Tensor
    """BLGN: where the output is read."""

    def at(self, time: int) -> ScanInput:
        """One token, without the time axis."""
        return ScanInput(*(tensor[:, time] for tensor in self))

    def between(self, start: int, stop: int) -> ScanInput:
        return ScanInput(*(tensor[:, start:stop] for tensor in self))


def zero_state(scan: ScanInput) -> Tensor:
    batch, _, heads, width = scan.x.shape
    return scan.x.new_zeros(batch, heads, width, scan.b.shape[-1])


def ssd_sequential(
    scan: ScanInput, *, initial_BHPN: Tensor | None = None, starts_BL: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence as it is written, token by token; returns (y_BLHP, final state). The oracle: clear and slow."""
    state_BHPN = zero_state(scan) if initial_BHPN is None else initial_BHPN
    repeats = scan.x.shape[2] // scan.b.shape[2]
    b_BLHN, c_BLHN = (each.repeat_interleave(repeats, dim=2) for each in (scan.b, scan.c))
    outputs = []
    for t in range(scan.x.shape[1]):
        if starts_BL is not None:
            state_BHPN = torch.where(starts_BL[:, t, None, None, None], 0.0, state_BHPN)
        kept_BHPN = scan.decay[:, t].exp()[..., None, None] * state_BHPN
        state_BHPN = kept_BHPN + torch.einsum("bhp,bhn->bhpn", scan.x[:, t], b_BLHN[:, t])
        outputs.append(torch.einsum("bhpn,bhn->bhp", state_BHPN, c_BLHN[:, t]))
    return torch.stack(outputs, dim=1), state_BHPN


def ssd_step(scan: ScanInput, state_BHPN: Tensor) -> tuple[Tensor, Tensor]:
    """One token (`scan` without its time axis); returns (y_BHP, new state). The given state is not written to."""
    x_BHP, decay_BH, b_BGN, c_BGN = scan
    batch, heads, width, size = state_BHPN.shape
    groups = b_BGN.shape[1]
    x_BGRP1 = x_BHP.view(batch, groups, heads // groups, width, 1)
    added_BGRPN = x_BGRP1 * b_BGN[:, :, None, None, :]
    new_BHPN = torch.addcmul(added_BGRPN.view(state_BHPN.shape), decay_BH.exp()[..., None, None], state_BHPN)
    new_BGMN = new_BHPN.view(batch, groups, heads // groups * width, size)  # M: all channels of a group
    # Not a matrix product: BLAS takes another path for one row than for many, and other paths give other bits.
    y_BHP = (new_BGMN * c_BGN[:, :, None]).sum(-1).view(batch, heads, width)
    return y_BHP, new_BHPN


def ssd_chunked(
    scan: ScanInput, *, chunk: int, initial_BHPN: Tensor | None = None, starts_BL: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The recurrence in chunks of `chunk` tokens; any length; returns (y_BLHP, final state).

    Args:
        scan: inputs of all tokens.
        chunk: tokens per chunk. It changes the speed and nothing else; 32 or 64 on a CPU, 128 or 256 on a GPU. A short end is
            computed as a whole chunk, so that a text cut at chunk borders gives the bits of the text at once.
        initial_BHPN: the state before the first token; zeros if absent.
        starts_BL: true at the first token of a document: nothing from before it reaches it or what follows.
    """
    if chunk < 1:
        raise UsageError(f"chunk is {chunk}", "give a chunk of at least one token; 64 is right on a CPU")
    batch, length, heads, width = scan.x.shape
    state_BHPN = zero_state(scan) if initial_BHPN is None else initial_BHPN
    x_BKGRQP, decay_BKGRQ, b_BKGQN, c_BKGQN = _in_chunks(scan, chunk)
    until_BKGRQ, pair_BKGRQJ, rest_BKGRQ = _decays(decay_BKGRQ, starts_BL)

    # Inside the chunk: attention with decay. C Bᵀ is computed once per group.
    score_BKGQJ = c_BKGQN @ b_BKGQN.transpose(-1, -2)
    inside_BKGRQP = (score_BKGQJ[:, :, :, None] * pair_BKGRQJ) @ x_BKGRQP

    # What each chunk adds to the state, and the state each chunk begins with.
    weighted_BKGRQP = x_BKGRQP * rest_BKGRQ[..., None]
    added_BKGMN = weighted_BKGRQP.transpose(-1, -2).flatten(3, 4) @ b_BKGQN  # M = R·P, all channels of a group
    added_BKHPN = added_BKGMN.reshape(batch, -1, heads, width, b_BKGQN.shape[-1])
    kept_BKH = until_BKGRQ[..., -1].flatten(2)
    before = []
    for k in range(added_BKHPN.shape[1]):
        before.append(state_BHPN)
        state_BHPN = torch.addcmul(added_BKHPN[:, k], kept_BKH[:, k, :, None, None], state_BHPN)

    # What the state before the chunk says to its tokens.
    before_BKGMN = torch.stack(before, dim=1).reshape(added_BKGMN.shape)
    said_BKGQM = c_BKGQN @ before_BKGMN.transpose(-1, -2)
    said_BKGRQP = torch.unflatten(said_BKGQM, -1, (-1, width)).transpose(3, 4)
    y_BKGRQP = torch.addcmul(inside_BKGRQP, said_BKGRQP, until_BKGRQ[..., None])
    y_BLHP = y_BKGRQP.permute(0, 1, 4, 2, 3, 5).reshape(batch, -1, heads, width)
    return y_BLHP[:, :length], state_BHPN


def _in_chunks(scan: ScanInput, chunk: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pad the end with tokens that do nothing (x̃ = 0, ℓ = 0: the state stays as it is) and cut into chunks."""
    groups = scan.b.shape[2]
    padding = -scan.x.shape[1] % chunk

    def cut(tensor: Tensor) -> Tensor:
        after = (0, 0) * (tensor.ndim - 2) + (0, padding)
        return torch.unflatten(functional.pad(tensor, after), 1, (-1, chunk))

    x_BKGRQP = torch.unflatten(cut(scan.x), 3, (groups, -1)).permute(0, 1, 3, 4, 2, 5)
    decay_BKGRQ = torch.unflatten(cut(scan.decay), 3, (groups, -1)).permute(0, 1, 3, 4, 2)
    return x_BKGRQP, decay_BKGRQ, cut(scan.b).transpose(2, 3), cut(scan.c).transpose(2, 3)


def _decays(decay_BKGRQ: Tensor, starts_BL: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """What is kept: from the chunk's border until i, from token j until i (0 above the diagonal), from j until the chunk's end.

    Sums are float64, for the difference of two long sums is what decides.
    """
    dtype, chunk = decay_BKGRQ.dtype, decay_BKGRQ.shape[-1]
    exact = dtype if decay_BKGRQ.device.type == "mps" else torch.float64
    sum_BKGRQ = decay_BKGRQ.cumsum(-1, dtype=exact)
    hidden = torch.ones(chunk, chunk, dtype=torch.bool, device=decay_BKGRQ.device).triu(1)
    until_BKGRQ = sum_BKGRQ.to(dtype)
    rest_BKGRQ = (sum_BKGRQ[..., -1:] - sum_BKGRQ).to(dtype)
    if starts_BL is not None:
        started_BKQ = _documents_started(starts_BL, chunk)[:, :, None, None]
        other_BKQJ = started_BKQ[..., :, None] != started_BKQ[..., None, :]
        hidden = hidden | other_BKQJ
        until_BKGRQ = until_BKGRQ.masked_fill(started_BKQ > 0, -torch.inf)
        rest_BKGRQ = rest_BKGRQ.masked_fill(started_BKQ != started_BKQ[..., -1:], -torch.inf)
    return until_BKGRQ.exp(), decay_pairs(sum_BKGRQ, hidden, dtype), rest_BKGRQ.exp()


def _documents_started(starts_BL: Tensor, chunk: int) -> Tensor:
    """How many documents have begun since the chunk's border, up to and with each token."""
    padding = -starts_BL.shape[1] % chunk
    return torch.unflatten(functional.pad(starts_BL.long(), (0, padding)), 1, (-1, chunk)).cumsum(-1)
