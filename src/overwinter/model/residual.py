"""The residual stack: how the outputs of earlier sub-layers reach the next one.

A stack runs sub-layers (a mixer or an MLP with its norms: a function from the stream to an output) one after the other:

    Additive          h_{l+1} = h_l + f_l(h_l)
    DepthAttention    h_l = Σ_i α_{i→l} b_i,   α_{·→l} = softmax_i( w_l · RMSNorm_l(b_i) ),   i over the sources so far

The second is Attention Residuals (Kimi Team, arXiv 2603.15031). Sources are the stack's input b_0 and the summed outputs of
each finished block of S sub-layers, and inside a block the sum so far; S = 1 is the full form, where every output is a source.
Keys are normed, values are not, there is no 1/√D, and all of it is float32. w_l starts at zero, so α starts uniform: the input
of a sub-layer is the mean where `Additive` has the sum, which is the same to a part that begins with a norm.

Training takes the formula, source by source, so that a source is stored once, however many look at it. Inference takes two
phases: once per block, all of its queries look at the finished sources; then each sub-layer joins the running sum by an online
softmax. Each is the other's twin. What we changed: nothing in the formula; the RMS of a source is computed once, and a key is
never formed, for w·RMSNorm(b) = (b·(g ⊙ w)) / rms(b). Products are of a kind whose rounding does not depend on how many
tokens there are, which an engine needs.

Shapes: B batch, L tokens, D model width, I sources, S sub-layers of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """One candidate [BLD] in float32, with 1/rms [BL1]."""

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
        return self.in_order(h_BLD, sublayers) if torch.is_grad_enabled() else self.in_phases(h_BLD, sublayers)

    def in_order(self, h_BLD: Tensor, sublayers: Sequence[SubLayer], *, seen: list[Tensor] | None = None) -> Tensor:
        """The formula as it is written, one softmax per sub-layer over all its sources. `seen` receives α [BLI] of each."""
        finished, running = [self._source(h_BLD)], None
        for place, sublayer in enumerate(sublayers):
            sources = finished if running is None else [*finished, self._source(running)]
            mix = cast("DepthMix", self.mixes[place - 1]) if place else None
            output_BLD = sublayer(h_BLD if mix is None else self._mixed(sources, mix, seen).to(h_BLD.dtype))
            running = output_BLD if running is None else running + output_BLD
            if (place + 1) % self.block_size == 0 or place + 1 == len(sublayers):
                finished.append(self._source(running))
                running = None
        return self._last(finished, seen).to(h_BLD.dtype)

    def in_phases(self, h_BLD: Tensor, sublayers: Sequence[SubLayer]) -> Tensor:
        """The same for inference: finished sources are read once per block and lie side by side."""
        count = 1 + -(-self.n_sublayers // self.block_size)
        value_BLID = h_BLD.new_empty((*h_BLD.shape[:2], count, h_BLD.shape[2]), dtype=torch.float32)
        inverse_BLI1 = value_BLID.new_empty((*h_BLD.shape[:2], count, 1))
        value_BLID[:, :, 0], inverse_BLI1[:, :, 0] = self._source(h_BLD)
        for block, start in enumerate(range(0, self.n_sublayers, self.block_size)):
            here = slice(max(0, start - 1), start + self.block_size - 1)
            mixes = [cast("DepthMix", mix) for mix in self.mixes[here]]
            finished = self._finished(value_BLID[:, :, : block + 1], inverse_BLI1[:, :, : block + 1], mixes)
            running: Tensor | None = None
            for place in range(start, min(start + self.block_size, self.n_sublayers)):
                given_BLD = h_BLD if place == 0 else self._joined(next(finished), running)
                output_BLD = sublayers[place](given_BLD.to(h_BLD.dtype))
                running = output_BLD if running is None else running + output_BLD
            assert running is not None, "a block has at least one sub-layer"
            value_BLID[:, :, block + 1], inverse_BLI1[:, :, block + 1] = self._source(running)
        if self.final is None:
            return value_BLID.sum(2).to(h_BLD.dtype)
        last = next(self._finished(value_BLID, inverse_BLI1, [self.final]))
        return self._joined(last, None).to(h_BLD.dtype)

    def _source(self, value_BLD: Tensor) -> Source:
        value_BLD = value_BLD.float()
        if not self.key_norm:
            return Source(value_BLD, torch.ones_like(value_BLD[..., :1]))
        return Source(value_BLD, torch.rsqrt(value_BLD.square().mean(-1, keepdim=True) + self.eps))

    def _mixed(self, sources: Sequence[Source], mix: DepthMix, seen: list[Tensor] | None) -> Tensor:
        folded_D = mix.folded()
        logits = [(source.value * folded_D).sum(-1, keepdim=True) * source.inverse_rms for source in sources]
        alpha_BLI = torch.cat(logits, dim=-1).softmax(-1)
        if seen is not None:
            seen.append(alpha_BLI)
        mixed_BLD = alpha_BLI[..., :1] * sources[0].value
        for i, source in enumerate(sources[1:], 1):
            mixed_BLD = torch.addcmul(mixed_BLD, alpha_BLI[..., i : i + 1], source.value)
        return mixed_BLD

    def _last(self, sources: Sequence[Source], seen: list[Tensor] | None) -> Tensor:
        if self.final is not None:
            return self._mixed(sources, self.final, seen)
        total_BLD = sources[0].value
        for source in sources[1:]:
            total_BLD = total_BLD + source.value
        return total_BLD

    def _finished(
        self, value_BLID: Tensor, inverse_BLI1: Tensor, mixes: Sequence[DepthMix]
    ) -> Iterator[tuple[DepthMix, Finished]]:
        """Phase 1: the queries of a block look at the finished sources at once."""
        if not mixes:
            return
        rows = value_BLID.shape[:2]
        if rows.numel() == 1:
            # A product for one token would round otherwise than one for several.
            value_BLID, inverse_BLI1 = value_BLID.expand(2, -1, -1, -1), inverse_BLI1.expand(2, -1, -1, -1)
        folded_SD = torch.stack([mix.folded() for mix in mixes])
        logits_BLIS = value_BLID @ folded_SD.T.expand(*value_BLID.shape[:2], -1, -1) * inverse_BLI1
        top_BL1S = logits_BLIS.amax(2, keepdim=True)
        weights_BLSI = (logits_BLIS - top_BL1S).exp().transpose(2, 3)
        sum_BLSD = weights_BLSI @ value_BLID
        weight_BLS1, top_BLS1 = weights_BLSI.sum(-1, keepdim=True), top_BL1S.transpose(2, 3)
        for s, mix in enumerate(mixes):
            yield mix, Finished(*(part[: rows[0], :, s] for part in (top_BLS1, weight_BLS1, sum_BLSD)))

    def _joined(self, looked: tuple[DepthMix, Finished], running_BLD: Tensor | None) -> Tensor:
        """Phase 2: the running sum joins by an online softmax."""
        mix, finished = looked
        if running_BLD is None:
            return finished.sum / finished.weight
        source = self._source(running_BLD)
        logit_BL1 = (source.value * mix.folded()).sum(-1, keepdim=True) * source.inverse_rms
        top_BL1 = torch.maximum(finished.top, logit_BL1)
        kept_BL1, new_BL1 = (finished.top - top_BL1).exp(), (logit_BL1 - top_BL1).exp()
        sum_BLD = kept_BL1 * finished.sum + new_BL1 * source.value
        return sum_BLD / (kept_BL1 * finished.weight + new_BL1)


def build_stack(config: Config, *, n_sublayers: int, n_all: int) -> nn.Module:
    """The policy of the config for a piece of `n_sublayers` out of the `n_all` of the network."""
    if config.attnres is None:
        return Additive()
    blocks = n_all if config.attnres.kind == "full" else min(config.attnres.blocks, n_all)
    return DepthAttention(config, config.attnres, n_sublayers=n_sublayers, block_size=-(-n_all // blocks))
