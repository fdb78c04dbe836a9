"""What is made small: a batch's loss, as a sum over its targets, so that pieces of a batch add up whoever computes them.

    plain      Σ CE  + z·Σ (log Σ exp logits)²  [+ OLE on the stream before the head]
    looped     the expected cross-entropy over exits less β times the entropy of the depth (`joint_loss`), or, in the stage
               `gate`, the gate's own loss alone with everything else frozen (`gate_loss`)

A trainer divides by the number of targets of the whole step: then accumulation, several processes and rows of unequal
length change nothing but the rounding. The figure to compare models by is `ce`, which is the last loop's for loops.

z-loss: PaLM, arXiv 2204.02311; instead of a softcap, which the model itself has. Logits exist for places with a target alone, and above
`LARGEST_LOGITS` for a part of them at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from overwinter.errors import UsageError
from overwinter.learn.train.data import Batch
from overwinter.learn.train.whole import training_hidden
from overwinter.model.decoder import Decoder
from overwinter.model.loop_training import LoopLosses, gate_loss, joint_loss, last_loss, loop_losses, sample_depths
from overwinter.model.ole import ole_loss

LARGEST_LOGITS = 1 << 25
"""Numbers (128 MB in float32) of logits that may exist at a time."""
CHUNK_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What is added to the cross-entropy of the next token."""

    z_loss: float = 0.0
    """1e-4 (PaLM) where nothing else holds the logits; 0 with a softcap."""
    stage: Literal["joint", "gate"] = "joint"
    """Of looped models: `joint` trains everything, `gate` the exit gate alone."""
    beta: float = 0.1
    """Of looped models: weight of the depth's entropy."""
    ole: float = 0.0
    """Weight of OLE, with the target token as the class."""
    ole_tokens: int = 256
    """How many of a batch's targets OLE looks at: it costs a singular value decomposition."""

    def __post_init__(self) -> None:
        if min(self.z_loss, self.beta, self.ole) < 0 or self.ole_tokens < 2 or self.stage not in ("joint", "gate"):
            raise UsageError(
                f"a loss with z_loss {self.z_loss}, beta {self.beta}, ole {self.ole}, stage {self.stage!r}",
                "give weights of at least 0, and the stage joint or gate",
            )


class Sums(NamedTuple):
    """Over the targets of one batch; scalars."""

    loss: Tensor
    """What the gradient is of."""
    ce: Tensor
    """Cross-entropy in nats, detached."""


class Objective(nn.Module):
    """A decoder with its loss as one module, which is what DDP and FSDP wrap."""

    def __init__(self, decoder: Decoder, config: LossConfig | None = None) -> None:
        super().__init__()
        self.decoder, self.config = decoder, LossConfig() if config is None else config
        looped = decoder.config.looped is not None
        if self.config.stage == "gate":
            _freeze_all_but_gate(decoder)
        if looped and (self.config.z_loss or self.config.ole):
            raise UsageError("z_loss and ole are not built for looped models", "set both to 0")

    def forward(self, batch: Batch, seed: int = 0) -> Sums:
        """The sums of one batch. `seed` is of what is drawn: depths of loops."""
        if self.decoder.config.looped is not None:
            return self._looped(batch, seed)
        hidden_BLD = training_hidden(self.decoder, batch.ids, batch.starts)
        valid_BL = batch.targets >= 0
        # Where all count, a copy would be for nothing.
        every = bool(valid_BL.all())
        hidden_ND = hidden_BLD.flatten(0, 1) if every else hidden_BLD[valid_BL]
        targets_N = batch.targets.flatten() if every else batch.targets[valid_BL]
        loss, ce = self._token_sums(hidden_ND, targets_N)
        if self.config.ole and self.training and len(targets_N) > 1:
            some = slice(0, self.config.ole_tokens)
            loss = loss + len(targets_N) * ole_loss(hidden_ND[some].float(), targets_N[some], weight=self.config.ole)
        return Sums(loss, ce.detach())

    def _token_sums(self, hidden_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        if len(targets_N) * self.decoder.config.vocab_size <= LARGEST_LOGITS:
            return self._chunk(hidden_ND, targets_N)
        sums = []
        for begin in range(0, len(targets_N), CHUNK_TOKENS):
            part = hidden_ND[begin : begin + CHUNK_TOKENS], targets_N[begin : begin + CHUNK_TOKENS]
            kept = torch.is_grad_enabled()
            sums.append(checkpoint(self._chunk, *part, use_reentrant=False) if kept else self._chunk(*part))
        return torch.stack([loss for loss, _ in sums]).sum(), torch.stack([ce for _, ce in sums]).sum()

    def _chunk(self, hidden_ND: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
        logits_NV = self.decoder.logits(hidden_ND).float()
        if not self.config.z_loss:
            ce = nn.functional.cross_entropy(logits_NV, targets_N, reduction="sum")
            return ce, ce
        log_sum_N = logits_NV.logsumexp(-1)
        ce = (log_sum_N - logits_NV.gather(1, targets_N[:, None])[:, 0]).sum()
        return ce + self.config.z_loss * log_sum_N.square().sum(), ce

    def _looped(self, batch: Batch, seed: int) -> Sums:
        options = self.decoder.config.looped
        assert options is not None
        if batch.starts is not None:
            raise UsageError("looped models cannot keep documents of one row apart", "use borders mask, or bucket")
        depths_B = None
        if self.training and self.config.stage == "joint":
            depths_B = sample_depths(options, len(batch.ids), torch.Generator().manual_seed(seed))
        out = loop_losses(self.decoder, batch.ids, batch.targets, depths_B=depths_B)
        ce = last_loss(out.ce, depths_B=out.depths, valid_BL=out.valid)
        count = out.valid.sum()
        return Sums(self._exit_loss(out, ce) * count, (ce * count).detach())

    def _exit_loss(self, out: LoopLosses, ce: Tensor) -> Tensor:
        if out.gates is None:
            return ce
        if self.config.stage == "gate":
            return gate_loss(out.ce, out.gates, valid_BL=out.valid)
        return joint_loss(out.ce, out.gates, beta=self.config.beta, depths_B=out.depths, valid_BL=out.valid)


def _freeze_all_but_gate(decoder: Decoder) -> None:
    gate = None if decoder.loop is None else decoder.loop.exit_gate
    if gate is None:
        raise UsageError(
            "the stage gate needs a looped model with an exit gate", "set stage to joint, or add loop.gate"
        )
    decoder.requires_grad_(False)
    gate.requires_grad_(True)
