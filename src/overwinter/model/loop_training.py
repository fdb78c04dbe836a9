"""How a looped decoder is trained: every loop's cross-entropy, and the two losses over them.

    Stage I, everything:      mean over tokens of  Σ_t p_t·CE_t − β·H(p),   H(p) = −Σ_t p_t·log p_t
    Stage II, the gate:       I_t = max(0, CE_{t−1} − CE_t),   w_t = σ(k·(I_t − γ)),   mean over t ≥ 2 of BCE(1 − λ_t, w_t)

The first is a negative ELBO under a uniform prior over depths; without the entropy the gate collapses onto the last loop. The
second teaches the frozen model's gate to go on where a loop helps. Source: Ouro, arXiv 2510.25741. Our notes of it leave open whether
w_t belongs to the gate after loop t or to the one before it, which decides on loop t: `gate_label_shift` chooses. Neither loss is a
figure to compare models by; the last loop's cross-entropy is (`last_loss`).

Each sequence may draw its own depth (Parcae, arXiv 2604.12946: drawn per batch, the short depths collapse), and gradients may stop
some loops back (Huginn, arXiv 2502.05171). What we changed: a drawn depth is at most 2·n_loops; a loop before those with gradient
trains head and gate alone, on its state as it is.

Probabilities are made in log space. Cross-entropies are computed for a few tokens at a time and their logits computed again
in the backward pass, so that T·B·L·V logits never exist.

Shapes: B batch, L tokens, D model width, T loops, V vocabulary, R rows of the batch that take a loop, N tokens flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.model.decoder import Decoder
    from overwinter.model.loop import LoopConfig

NO_TARGET = -100
"""Any negative target means that there is none; this one is customary."""


class LoopLosses(NamedTuple):
    """What each loop makes of each token."""

    ce: Tensor
    """BLT: cross-entropy in nats; 0 where there is no target or the sequence did not take the loop."""
    gates: Tensor | None
    """BLT: logits of λ_t; None without a gate."""
    depths: Tensor
    """B: loops that each sequence took."""
    valid: Tensor
    """BL: whether there is a target."""


def exit_log_probs(gates_BLT: Tensor, depths_B: Tensor | None = None) -> Tensor:
    """log p_t [BLT]; −∞ beyond a sequence's own depth. The gate after its last loop is not asked."""
    gates_BLT = gates_BLT.float()
    passed_BLT = functional.logsigmoid(-gates_BLT).cumsum(-1)
    before_BLT = functional.pad(passed_BLT[..., :-1], (1, 0))
    last_B1T, beyond_B1T = _places(gates_BLT, depths_B)
    stop_BLT = torch.where(last_B1T, before_BLT, before_BLT + functional.logsigmoid(gates_BLT))
    return stop_BLT.masked_fill(beyond_B1T, -torch.inf)


def joint_loss(
    ce_BLT: Tensor,
    gates_BLT: Tensor,
    *,
    beta: float,
    depths_B: Tensor | None = None,
    valid_BL: Tensor | None = None,
) -> Tensor:
    """Stage I: the expected cross-entropy less β times the entropy of the depth."""
    log_p_BLT = exit_log_probs(gates_BLT, depths_B)
    beyond_BLT = torch.isneginf(log_p_BLT)
    # 0·log 0 is 0, also for the gradient.
    log_p_BLT = log_p_BLT.masked_fill(beyond_BLT, 0.0)
    p_BLT = log_p_BLT.exp().masked_fill(beyond_BLT, 0.0)
    return _mean((p_BLT * (ce_BLT + beta * log_p_BLT)).sum(-1), valid_BL)


def gate_loss(
    ce_BLT: Tensor,
    gates_BLT: Tensor,
    *,
    k: float = 50.0,
    gamma: float = 0.005,
    gate_label_shift: int = 0,
    valid_BL: Tensor | None = None,
) -> Tensor:
    """Stage II, for sequences of equal depth: going on should be as likely as it was worth it. Gradients reach the gates alone.

    Args:
        ce_BLT: of each loop; detached here.
        gates_BLT: logits of λ_t.
        k: steepness of the label, per nat.
        gamma: nats that a loop must gain.
        gate_label_shift: 0 pairs the gain of loop t with the gate after it; 1 with the gate before it.
        valid_BL: tokens that count.
    """
    if gate_label_shift not in (0, 1):
        raise UsageError(f"gate_label_shift cannot be {gate_label_shift!r}", "give 0 or 1")
    ce_BLT = ce_BLT.detach()
    gain_BLT = (ce_BLT[..., :-1] - ce_BLT[..., 1:]).clamp(min=0)
    worth_BLT = torch.sigmoid(k * (gain_BLT - gamma))
    gates_BLT = gates_BLT[..., :-1] if gate_label_shift else gates_BLT[..., 1:]
    losses_BLT = functional.binary_cross_entropy_with_logits(-gates_BLT.float(), worth_BLT, reduction="none")
    return _mean(losses_BLT.mean(-1), valid_BL)


def last_loss(ce_BLT: Tensor, *, depths_B: Tensor | None = None, valid_BL: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of the last loop that each sequence took: the figure to compare models by."""
    last_B1T, _ = _places(ce_BLT, depths_B)
    return _mean((ce_BLT * last_B1T).sum(-1), valid_BL)


def sample_depths(options: LoopConfig, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Loops for each sequence of a batch [B]: 1 + Poisson(n_loops − 1), at most 2·n_loops; or all `n_loops`."""
    if options.depth_sampling == "fixed":
        return torch.full((batch,), options.n_loops)
    drawn_B = torch.poisson(torch.full((batch,), options.n_loops - 1.0), generator=generator)
    return (1 + drawn_B.long()).clamp(max=2 * options.n_loops)


def loop_losses(
    decoder: Decoder,
    ids_BL: Tensor,
    targets_BL: Tensor,
    *,
    depths_B: Tensor | None = None,
    chunk_tokens: int = 1024,
) -> LoopLosses:
    """Every loop's cross-entropy and gate for every token, with gradients as `config.loop.bptt` says.

    Args:
        decoder: with a loop.
        ids_BL: the tokens.
        targets_BL: the tokens to be predicted; negative for none.
        depths_B: loops of each sequence, such as `sample_depths` gives; default is `n_loops` for all.
        chunk_tokens: how many tokens' logits exist at a time.
    """
    options = decoder.config.looped
    if options is None or decoder.loop is None:
        raise UsageError("this decoder has no loops", "train it by the cross-entropy of its logits")
    if depths_B is None:
        depths_B = torch.full(ids_BL.shape[:1], options.n_loops)
    if depths_B.shape != ids_BL.shape[:1] or bool((depths_B < 1).any()):
        raise UsageError(
            f"depths {depths_B.tolist()} for {ids_BL.shape[0]} sequences", "give one of at least 1 to each"
        )
    depths_B = depths_B.to(ids_BL.device)
    walk = _Walk(decoder, ids_BL)
    ce, gates = [], []
    for t in range(int(depths_B.max())):
        left_B = depths_B - t
        normed_RLD, out_RLD = walk.loop(left_B, options.bptt)
        rows_R = (left_B > 0).nonzero()[:, 0]
        losses_RL = chunked_cross_entropy(decoder, out_RLD, targets_BL[rows_R], chunk_tokens=chunk_tokens)
        ce.append(_spread(losses_RL, rows_R, ids_BL.shape[0]))
        if decoder.loop.exit_gate is not None:
            gates.append(_spread(decoder.loop.exit_gate(normed_RLD, t), rows_R, ids_BL.shape[0]))
    return LoopLosses(
        ce=torch.stack(ce, dim=-1),
        gates=torch.stack(gates, dim=-1) if gates else None,
        depths=depths_B,
        valid=targets_BL >= 0,
    )


def chunked_cross_entropy(
    decoder: Decoder, normed_BLD: Tensor, targets_BL: Tensor, *, chunk_tokens: int = 1024
) -> Tensor:
    """Cross-entropy of each token [BL], 0 without a target; the logits of `chunk_tokens` tokens exist at a time."""

    def part(h_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = decoder.logits(h_ND).float()
        return functional.cross_entropy(logits_NV, targets_N, reduction="none", ignore_index=NO_TARGET)

    h_ND, targets_N = normed_BLD.flatten(0, 1), targets_BL.flatten()
    targets_N = targets_N.masked_fill(targets_N < 0, NO_TARGET)
    recompute, losses = torch.is_grad_enabled(), []
    for start in range(0, targets_N.shape[0], chunk_tokens):
        chunk = (h_ND[start : start + chunk_tokens], targets_N[start : start + chunk_tokens])
        losses.append(checkpoint(part, *chunk, use_reentrant=False) if recompute else part(*chunk))
    return torch.cat(losses).view(targets_BL.shape)


class _Walk:
    """The state of a training forward: rows of the batch leave it when their depth is reached."""

    def __init__(self, decoder: Decoder, ids_BL: Tensor) -> None:
        assert decoder.loop is not None
        self.decoder, self.at = decoder, decoder.loop
        positions_L = torch.arange(ids_BL.shape[1], device=ids_BL.device)
        self.positions_BL = positions_L.expand(ids_BL.shape)
        h_BLD = decoder.run("prelude", decoder.embedded(ids_BL), self.positions_BL, [None] * decoder.plan.prelude)
        self.e_BLD = self.at.enter(h_BLD)
        self.state_BLD: Tensor | None = None

    def loop(self, left_B: Tensor, bptt: int | None) -> tuple[Tensor, Tensor]:
        """One loop for the rows that have any left: the normed state, and what goes to the head (the coda between them)."""
        rows_R = (left_B > 0).nonzero()[:, 0]
        flows_R = torch.ones_like(rows_R, dtype=torch.bool) if bptt is None else left_B[rows_R] <= bptt
        with torch.set_grad_enabled(torch.is_grad_enabled() and bool(flows_R.any())):
            given_RLD = self.e_BLD[rows_R]
            if self.state_BLD is not None:
                given_RLD = self.at.reinject(self.state_BLD[rows_R], given_RLD)
            positions_RL, plan = self.positions_BL[rows_R], self.decoder.plan
            state_RLD = self.decoder.run("middle", given_RLD, positions_RL, [None] * plan.middle)
            normed_RLD: Tensor = self.decoder.norm(state_RLD)
            if not bool(flows_R.all()):
                state_RLD = torch.where(flows_R[:, None, None], state_RLD, state_RLD.detach())
                normed_RLD = torch.where(flows_R[:, None, None], normed_RLD, normed_RLD.detach())
            next_RLD = normed_RLD if self.at.options.loop_norm else state_RLD
            whole_BLD = torch.zeros_like(self.e_BLD)
            self.state_BLD = whole_BLD.index_copy(0, rows_R, next_RLD)
        if not plan.coda:
            return normed_RLD, normed_RLD
        out_RLD = self.decoder.run("coda", next_RLD, positions_RL, [None] * plan.coda)
        return normed_RLD, self.decoder.norm(out_RLD)


def _spread(part_RL: Tensor, rows_R: Tensor, batch: int) -> Tensor:
    """Rows in their places of the batch, zero elsewhere."""
    return part_RL.new_zeros(batch, part_RL.shape[1]).index_copy(0, rows_R, part_RL)


def _places(like_BLT: Tensor, depths_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """B1T: which loop is a sequence's last, and which it does not take."""
    n_loops = like_BLT.shape[-1]
    loops_T = torch.arange(1, n_loops + 1, device=like_BLT.device)
    if depths_B is None:
        depths_B = torch.full(like_BLT.shape[:1], n_loops, device=like_BLT.device)
    depths_B11 = depths_B[:, None, None]
    return loops_T == depths_B11, loops_T > depths_B11


def _mean(losses_BL: Tensor, valid_BL: Tensor | None) -> Tensor:
    if valid_BL is None:
        return losses_BL.mean()
    return (losses_BL * valid_BL).sum() / valid_BL.sum().clamp(min=1)
