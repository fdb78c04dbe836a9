"""Looks inside a decoder during a forward pass, by hooks that compute beside it and change nothing.

| signal | what it foretells |
|---|---|
| `attention_logit` | bound max‖q‖·max‖k‖·scale of the worst head; grows slowly, then fast, long before the loss does |
| `attention_entropy_low_share` | share of heads whose mean entropy is under 0.1 nat |
| `output_rms`, `output_rms.<layer>` | outputs of mixers and MLPs; unchecked growth foretells divergence (arXiv 2410.16682, Chameleon) |
| `logsumexp_square` | mean of logsumexp² of the logits; late |
| `ssm_state_rms`, `ssm_dt_most`, `ssm_decay_least` | the Mamba-2 recurrence of the batch's first row |
| `gate_entropy_share` | mean entropy of the exit depth over log T |

`attach` before a forward pass, `collect` after it; several passes in between (gradient accumulation) give the worst of each. The
bound needs no attention matrix, is 2 to 2.5 times loose on random data, and is exact enough to trigger on. Other modules than
this package's are not looked into: their list of signals is empty.

Shapes: B batch, L tokens, D width, H query heads, K key heads, C width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from overwinter.model.attention import Attention
from overwinter.model.decoder import Block, Decoder
from overwinter.model.loop import ExitGate
from overwinter.model.loop_training import exit_log_probs
from overwinter.model.mamba2 import Mamba2

LOW_ENTROPY = 0.1
LOOKED_AT = 256
"""Tokens of the first row whose attention is reckoned exactly."""


class Monitors:
    """Hooks on the parts of a module that are known here."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._handles: list[Any] = []
        self._found: dict[str, float] = {}
        self._gates: list[Tensor] = []
        self._logits: dict[str, tuple[Tensor, Attention]] = {}
        self._entropies: dict[str, Tensor] = {}
        self._last: dict[str, tuple[Tensor, Attention]] = {}

    def attach(self, *, attention_only: bool = False) -> None:
        """Look at the forward passes from now on."""
        self.detach()
        for name, part in self.model.named_modules():
            if isinstance(part, Attention):
                self._hook(part, partial(self._attention, name))
            elif attention_only:
                continue
            elif isinstance(part, Mamba2):
                self._hook(part.in_proj, partial(self._mamba, part))
            elif isinstance(part, ExitGate):
                self._hook(part, self._gate)
            elif isinstance(part, Block):
                for inner in ("mixer", "mlp"):
                    module = getattr(part, inner)
                    if module is not None:
                        self._hook(module, partial(self._output, f"{name}.{inner}"))
            elif isinstance(part, Decoder):
                self._hook(part.head if part.head is not None else part, self._head)

    def detach(self) -> None:
        """Stop looking, and forget what was seen."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._found, self._gates, self._entropies, self._logits = [], {}, [], {}, {}

    def collect(self) -> dict[str, float]:
        """What the passes since `attach` showed; looking ends with it."""
        found, self._last = dict(self._found), self._logits
        if self._logits:
            found["attention_logit"] = max(float(logits_H.max()) for logits_H, _ in self._logits.values())
        if self._entropies:
            low = torch.cat(list(self._entropies.values())) < LOW_ENTROPY
            found["attention_entropy_low_share"] = float(low.double().mean())
        rms = [value for name, value in found.items() if name.startswith("output_rms.")]
        if rms:
            found["output_rms"] = max(rms)
        if len(self._gates) > 1:
            found["gate_entropy_share"] = _gate_entropy(self._gates)
        self.detach()
        return found

    def take_logits(self) -> list[tuple[str, Tensor, Attention]]:
        """Per attention layer the bound of each head [H] that the last `collect` found; once."""
        taken = [(name, logits_H, attention) for name, (logits_H, attention) in self._last.items()]
        self._last = {}
        return taken

    def _hook(self, module: nn.Module, see: Callable[[tuple[Any, ...], Any], None]) -> None:
        def hook(_: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            with torch.no_grad():
                see(given, out)

        self._handles.append(module.register_forward_hook(hook))

    def _most(self, name: str, value: Tensor | float) -> None:
        self._found[name] = max(float(value), self._found.get(name, -math.inf))

    def _attention(self, name: str, given: tuple[Any, ...], _: Tensor) -> None:
        attention = self.model.get_submodule(name)
        assert isinstance(attention, Attention)
        x_BLD, positions_BL = given[0], given[1]
        bounds_H = logit_bounds(attention, x_BLD)
        held = self._logits.get(name)
        self._logits[name] = (bounds_H if held is None else torch.maximum(held[0], bounds_H), attention)
        _, entropy_H = look_exactly(attention, x_BLD[:1, :LOOKED_AT], positions_BL[:1, :LOOKED_AT])
        self._entropies[name] = entropy_H

    def _output(self, name: str, _: tuple[Any, ...], out_BLD: Tensor) -> None:
        self._most(f"output_rms.{name}", out_BLD.float().square().mean().sqrt())

    def _head(self, _: tuple[Any, ...], logits_BLV: Tensor) -> None:
        self._most("logsumexp_square", logits_BLV.float().logsumexp(-1).square().mean())

    def _gate(self, given: tuple[Any, ...], gate_BL: Tensor) -> None:
        if given[1] == 0:
            self._gates = []
        if not self._gates or self._gates[0].shape == gate_BL.shape:
            self._gates.append(gate_BL.detach())

    def _mamba(self, mixer: Mamba2, _: tuple[Any, ...], projected_BLX: Tensor) -> None:
        config = mixer.config
        _z, rest_BLX = torch.split(projected_BLX[:1], [config.d_inner, config.d_conv_channels + config.n_heads], dim=-1)
        state = mixer.new_cache()
        mixer.core(rest_BLX, state)
        seen = state.snapshot()
        assert seen is not None, "a core that ran leaves a state"
        dt_1LH = torch.nn.functional.softplus(rest_BLX[..., -config.n_heads :].float() + mixer.dt_bias.float())
        self._most("ssm_state_rms", seen.matrix.square().mean().sqrt())
        self._most("ssm_dt_most", dt_1LH.max())
        decay = float((-dt_1LH * mixer.A_log.float().exp()).exp().min())
        self._found["ssm_decay_least"] = min(decay, self._found.get("ssm_decay_least", 1.0))


def _queries_and_keys(attention: Attention, x_BLD: Tensor) -> tuple[Tensor, Tensor]:
    """q_BHLC with its scale and k_BKLC, before they are turned."""
    batch, length = x_BLD.shape[:2]
    q_BHLC: Tensor = attention.q(x_BLD).view(batch, length, attention.n_heads, attention.d_head).transpose(1, 2)
    k_BKLC: Tensor = attention.k(x_BLD).view(batch, length, attention.n_kv_heads, attention.d_head).transpose(1, 2)
    if attention.q_norm is not None and attention.k_norm is not None:
        q_BHLC, k_BKLC = attention.q_norm(q_BHLC), attention.k_norm(k_BKLC)
    return q_BHLC if attention.q_scale is None else q_BHLC * attention.q_scale, k_BKLC


def logit_bounds(attention: Attention, x_BLD: Tensor) -> Tensor:
    """The largest |logit| that each head can have [H]: max‖q‖ · max‖k‖ / √C. Turning keeps norms, but for YaRN's factor."""
    q_BHLC, k_BKLC = _queries_and_keys(attention, x_BLD)
    q_H = q_BHLC.float().norm(dim=-1).amax((0, 2))
    k_H = k_BKLC.float().norm(dim=-1).amax((0, 2)).repeat_interleave(attention.n_heads // attention.n_kv_heads)
    stretch = 1.0 if attention.rope is None else attention.rope.factor**2
    bounds_H: Tensor = q_H * k_H * stretch / math.sqrt(attention.d_head)
    return bounds_H if attention.look.softcap is None else bounds_H.clamp(max=attention.look.softcap)


def look_exactly(attention: Attention, x_BLD: Tensor, positions_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Each head's largest |logit| [H] and mean entropy in nats [H], of queries that see more than one key."""
    q_BHLC, k_BKLC = _queries_and_keys(attention, x_BLD)
    if attention.rope is not None:
        q_BHLC, k_BKLC = attention.rope(q_BHLC, k_BKLC, positions_BL)
    k_BHLC = k_BKLC.repeat_interleave(attention.n_heads // attention.n_kv_heads, dim=1)
    scores_BHLS = (q_BHLC.float() @ k_BHLC.float().transpose(-1, -2)) / math.sqrt(attention.d_head)
    if attention.look.softcap is not None:
        scores_BHLS = attention.look.softcap * torch.tanh(scores_BHLS / attention.look.softcap)
    visible_B1LS = attention.look.visible(positions_BL, positions_BL)
    most_H = scores_BHLS.abs().masked_fill(~visible_B1LS, 0.0).amax((0, 2, 3))
    log_p_BHLS = scores_BHLS.masked_fill(~visible_B1LS, -math.inf).log_softmax(-1)
    entropy_BHL = -(log_p_BHLS.exp() * log_p_BHLS.masked_fill(~visible_B1LS, 0.0)).sum(-1)
    several_B1L = visible_B1LS.sum(-1) > 1
    entropy_H = (entropy_BHL * several_B1L).sum((0, 2)) / several_B1L.sum().clamp(min=1)
    return most_H, entropy_H


def _gate_entropy(gates: list[Tensor]) -> float:
    log_p_BLT = exit_log_probs(torch.stack(gates, dim=-1))
    entropy_BL = -(log_p_BLT.exp() * log_p_BLT.masked_fill(log_p_BLT.isneginf(), 0.0)).sum(-1)
    return float(entropy_BL.mean()) / math.log(len(gates))
