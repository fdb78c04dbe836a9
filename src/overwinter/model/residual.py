"""The residual stack: how the outputs of earlier sub-layers reach the next one.

A stack runs sub-layers (a mixer or an MLP with its norms: a function from the stream to an output) one after the other:

    Additive          h_{l+1} = h_l + f_l(h_l)
    DepthAttention    h_l = Σ_i α_{i→l} b_i,   α_{·→l} = softmax_i( w_l · RMSNorm_l(b_i) ),   i over the sources so far

The second is Attention Residuals (Kimi Team, arXiv 2603.15031). Sources are the stack's input b_0 and the summed outputs of
each finished block of S sub-layers, and inside a block the sum so far; S = 1 is the full form, where every output is a source.
Keys are normed, values are not, there is no 1/√D, and all of it is float32. w_l starts at zero, so α starts uniform: the input
of a sub-layer is the mean where `Additive` has the sum, which is the same to a part that begins with a norm.

`forward` is the two-phase form: once per block, all of its queries look at the finished sources; then each sub-layer joins the
running sum by an online softmax. `forward_direct` is the formula above, its slow twin. What we changed: nothing in the
formula; the RMS of a source is computed once, and a key is never formed, for w·RMSNorm(b) = (b·(g ⊙ w)) / rms(b).

Shapes: B batch, L tokens, D model width, I sources, S sub-layers of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from overwinter.model.checks import check_types

if TYPE_CHECKING:
    from overwinter.model.config import Config

SubLayer = Callable[[Tensor], Tensor]
"""The stream [BLD] → what the sub-layer adds to it [BLD]."""


@dataclass(frozen=True, kw_only=True)
class AttnResConfig:
    """Attention residuals."""

    kind: Literal["full", "block"] = "block"
    """Every output is a source, or sums of several are."""
    blocks: int = 8
    """Of kind "block": how many sums the whole network is cut into, the last one maybe shorter. As many as there are
    sub-layers is the full form."""
    key_norm: bool = True
    final_mix: bool = True
    """One more query mixes all sources for the norm before the head. Off: their plain sum."""

    def __post_init__(self) -> None:
        check_types(self)


class Additive(nn.Module):
    """The plain residual stream."""

    def forward(self, h_BLD: Tensor, sublayers: Sequence[SubLayer]) -> Tensor:
        for sublayer in sublayers:
            h_BLD = h_BLD + sublayer(h_BLD)
        return h_BLD


class DepthMix(nn.Module):
    """What one sub-layer looks for in the depth below it: w and g. They stay apart, as they are published."""

    def __init__(self, d_model: int, *, key_norm: bool) -> None:
        super().__init__()
        self.depth_query = nn.Parameter(torch.empty(d_model))
        self.depth_key_norm = nn.Parameter(torch.empty(d_model)) if key_norm else None
        self.init_own()

    @torch.no_grad()
    def init_own(self, generator: torch.Generator | None = None) -> None:  # noqa: ARG002 (nothing is drawn)
        self.depth_query.zero_()
        if self.depth_key_norm is not None:
            self.depth_key_norm.fill_(1.0)

    def folded(self) -> Tensor:
        """g ⊙ w [D], float32."""
        query_D = self.depth_query.float()
        return query_D if self.depth_key_norm is None else query_D * self.depth_key_norm.float()


class Source(NamedTuple):
    """One candidate [BLD] in float32, with 1/rms [BL]."""

    value: Tensor
    inverse_rms: Tensor


class Finished(NamedTuple):
    """Phase 1 for one query: what the finished sources give, up to the division."""

    top: Tensor
    """BL1: the largest logit."""
    weight: Tensor
    """BL1: Σ e^(logit − top)."""
    sum: Tensor
    """BLD: Σ e^(logit − top)·b."""


class DepthAttention(nn.Module):
    """Attention Residuals over `n_sublayers`, in blocks of `block_size`. The first has one source, so it needs no query."""

    def __init__(self, config: Config, options: AttnResConfig, *, n_sublayers: int, block_size: int) -> None:
        super().__init__()
        self.n_sublayers, self.block_size = n_sublayers, block_size
        self.key_norm, self.eps = options.key_norm, config.norm_eps
        self.mixes = nn.ModuleList(DepthMix(config.d_model, key_norm=options.key_norm) for _ in range(1, n_sublayers))
        self.final = DepthMix(config.d_model, key_norm=options.key_norm) if options.final_mix else None

    def forward(self, h_BLD: Tensor, sublayers: Sequence[SubLayer]) -> Tensor:
        dtype, sources = h_BLD.dtype, [self._source(h_BLD)]
        mixes = [None, *(cast("DepthMix", mix) for mix in self.mixes)]
        for start in range(0, self.n_sublayers, self.block_size):
            here = slice(start, start + self.block_size)
            running: Tensor | None = None
            for sublayer, mix, finished in zip(
                sublayers[here], mixes[here], self._finished(sources, mixes[here]), strict=True
            ):
                mixed_BLD = finished.sum / finished.weight if running is None else self._joined(finished, running, mix)
                output_BLD = sublayer(mixed_BLD.to(dtype))
                running = output_BLD if running is None else running + output_BLD
            assert running is not None, "a block has at least one sub-layer"
            sources.append(self._source(running))
        if self.final is None:
            return torch.stack([source.value for source in sources]).sum(0).to(dtype)
        (finished,) = self._finished(sources, [self.final])
        return (finished.sum / finished.weight).to(dtype)

    def forward_direct(
        self, h_BLD: Tensor, sublayers: Sequence[SubLayer], *, seen: list[Tensor] | None = None
    ) -> Tensor:
        """The formula as it is written, one softmax per sub-layer over all its sources. `seen` receives α [BLI] of each."""
        finished: list[Tensor] = [h_BLD]
        running: Tensor | None = None
        for place, sublayer in enumerate(sublayers):
            sources = finished if running is None else [*finished, running]
            mix = cast("DepthMix", self.mixes[place - 1]) if place else None
            output_BLD = sublayer(h_BLD if mix is None else self._direct(sources, mix, seen))
            running = output_BLD if running is None else running + output_BLD
            if (place + 1) % self.block_size == 0 or place + 1 == len(sublayers):
                finished.append(running)
                running = None
        if self.final is None:
            return torch.stack(finished).sum(0)
        return self._direct(finished, self.final, seen)

    def _source(self, value_BLD: Tensor) -> Source:
        value_BLD = value_BLD.float()
        if not self.key_norm:
            return Source(value_BLD, torch.ones_like(value_BLD[..., 0]))
        return Source(value_BLD, torch.rsqrt(value_BLD.square().mean(-1) + self.eps))

    def _finished(self, sources: Sequence[Source], mixes: Sequence[DepthMix | None]) -> list[Finished]:
        """Phase 1: all queries of a block look at the finished sources at once. Without a query there is one source."""
        folded = [mix.folded() for mix in mixes if mix is not None]
        value_BLID = torch.stack([source.value for source in sources], dim=2)
        alone = [Finished(top=torch.zeros(()), weight=torch.ones(()), sum=value_BLID[:, :, 0])] * (mixes[0] is None)
        if not folded:
            return alone
        scale_BLI = torch.stack([source.inverse_rms for source in sources], dim=2)
        logits_BLSI = (value_BLID @ torch.stack(folded).T * scale_BLI[..., None]).transpose(-1, -2)
        # The result does not depend on what is subtracted, so neither does its gradient.
        top_BLS1 = logits_BLSI.detach().amax(-1, keepdim=True)
        weights_BLSI = (logits_BLSI - top_BLS1).exp()
        sum_BLSD = weights_BLSI @ value_BLID
        weight_BLS1 = weights_BLSI.sum(-1, keepdim=True)
        return alone + [
            Finished(top_BLS1[:, :, s], weight_BLS1[:, :, s], sum_BLSD[:, :, s]) for s in range(len(folded))
        ]

    def _joined(self, finished: Finished, running_BLD: Tensor, mix: DepthMix | None) -> Tensor:
        """Phase 2: the running sum joins by an online softmax."""
        assert mix is not None, "only the first sub-layer of all has no query, and no running sum"
        source = self._source(running_BLD)
        logit_BL1 = (source.value @ mix.folded() * source.inverse_rms)[..., None]
        top_BL1 = torch.maximum(finished.top, logit_BL1.detach())
        kept_BL1, new_BL1 = (finished.top - top_BL1).exp(), (logit_BL1 - top_BL1).exp()
        sum_BLD = kept_BL1 * finished.sum + new_BL1 * source.value
        return sum_BLD / (kept_BL1 * finished.weight + new_BL1)

    def _direct(self, values: Sequence[Tensor], mix: DepthMix, seen: list[Tensor] | None) -> Tensor:
        value_BLID = torch.stack([value.float() for value in values], dim=2)
        key_BLID = value_BLID
        if mix.depth_key_norm is not None:
            key_BLID = nn.functional.rms_norm(value_BLID, value_BLID.shape[-1:], mix.depth_key_norm.float(), self.eps)
        alpha_BLI = (key_BLID @ mix.depth_query.float()).softmax(-1)
        if seen is not None:
            seen.append(alpha_BLI)
        return (alpha_BLI[..., None] * value_BLID).sum(2).to(values[0].dtype)


def build_stack(config: Config, *, n_sublayers: int, n_all: int) -> nn.Module:
    """The policy of the config for a piece of `n_sublayers` out of the `n_all` of the network."""
    if config.attnres is None:
        return Additive()
    blocks = n_all if config.attnres.kind == "full" else min(config.attnres.blocks, n_all)
    return DepthAttention(config, config.attnres, n_sublayers=n_sublayers, block_size=-(-n_all // blocks))
