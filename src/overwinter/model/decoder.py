"""The whole network on one page: embed, blocks, norm, head.

    h ← embed(ids);   each block:  h ← h + post(mixer(pre(h))),   h ← h + post(mlp(pre(h)));   logits = cap(head(norm(h)))

`post` is nothing with `norm="pre"` and an RMS norm with `norm="sandwich"` (CogView, arXiv 2105.13290; Gemma 2). The MLP is
SwiGLU (arXiv 2002.05202) or squared ReLU (Primer, arXiv 2109.08668), which has two matrices where SwiGLU has three.

Shapes: B batch, L tokens, D model width, F width of the MLP, V vocabulary.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.model.cache import Cache, LayerCache
from overwinter.model.config import Config
from overwinter.model.embedding import Embedding, build_embedding
from overwinter.model.initialise import Init, initialise
from overwinter.model.mixer import Mixer, build_mixer
from overwinter.model.noble import linear


class SwiGLU(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate = linear(config.noble, "gate", config.d_model, config.d_mlp, bias=config.mlp_bias)
        self.up = linear(config.noble, "up", config.d_model, config.d_mlp, bias=config.mlp_bias)
        self.down = linear(config.noble, "down", config.d_mlp, config.d_model, bias=config.mlp_bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BLD: Tensor = self.down(functional.silu(self.gate(x_BLD)) * self.up(x_BLD))
        return y_BLD


class ReLU2(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.up = linear(config.noble, "up", config.d_model, config.d_mlp, bias=config.mlp_bias)
        self.down = linear(config.noble, "down", config.d_mlp, config.d_model, bias=config.mlp_bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        y_BLD: Tensor = self.down(functional.relu(self.up(x_BLD)).square())
        return y_BLD


class Block(nn.Module):
    """One mixer and one MLP, each on a branch of the residual stream."""

    def __init__(self, config: Config, letter: str) -> None:
        super().__init__()
        sandwich = config.norm == "sandwich"
        self.mixer_norm = _norm(config)
        self.mixer = build_mixer(letter, config)
        self.mixer_post = _norm(config) if sandwich else None
        self.mlp_norm = _norm(config)
        self.mlp = SwiGLU(config) if config.mlp == "swiglu" else ReLU2(config)
        self.mlp_post = _norm(config) if sandwich else None
        self.scale = config.residual_scale

    def forward(self, h_BLD: Tensor, positions_BL: Tensor, cache: LayerCache | None) -> Tensor:
        mixed_BLD: Tensor = self.mixer(self.mixer_norm(h_BLD), positions_BL, cache)
        h_BLD = h_BLD + self._scaled(mixed_BLD if self.mixer_post is None else self.mixer_post(mixed_BLD))
        thought_BLD: Tensor = self.mlp(self.mlp_norm(h_BLD))
        return h_BLD + self._scaled(thought_BLD if self.mlp_post is None else self.mlp_post(thought_BLD))

    def _scaled(self, part_BLD: Tensor) -> Tensor:
        return part_BLD if self.scale == 1 else part_BLD * self.scale


class Decoder(nn.Module):
    """A language model. Its weights are torch's defaults until loaded (`load`) or drawn (`fresh`)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed: Embedding = build_embedding(config.vocab_size, config.d_model, config.lowrank_orthogonal)
        self.blocks = nn.ModuleList(Block(config, letter) for letter in config.letters)
        self.norm = _norm(config)
        self.head: nn.Module | None = None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)

    def new_cache(self, *, rollback: int = 0) -> Cache:
        """An empty memory. Give it to every call of one batch of sequences.

        With M layers, `Cache.truncate` takes back at most the last `rollback` tokens; each costs a state per M layer.
        """
        return Cache([cast("Mixer", cast("Block", block).mixer).new_cache(rollback=rollback) for block in self.blocks])

    def forward(self, ids_BL: Tensor, cache: Cache | None = None, positions_BL: Tensor | None = None) -> Tensor:
        """Logits of the next token after each given one.

        Args:
            ids_BL: token ids; with a cache, the ones that follow what it holds.
            cache: memory of the tokens before; the new ones are added to it.
            positions_BL: default is to count on from the cache; negative marks padding, which is neither seen nor counted.
        """
        return self.logits(self.hidden(ids_BL, cache, positions_BL))

    def hidden(self, ids_BL: Tensor, cache: Cache | None = None, positions_BL: Tensor | None = None) -> Tensor:
        """The normed stream before the head. Whoever needs few positions calls `logits` on those alone."""
        if positions_BL is None:
            start = 0 if cache is None else cache.length
            positions_BL = torch.arange(start, start + ids_BL.shape[1], device=ids_BL.device).expand(ids_BL.shape)
        h_BLD: Tensor = self.embed(ids_BL)
        if self.config.embedding_scale != 1:
            h_BLD = h_BLD * self.config.embedding_scale
        layers = [None] * len(self.blocks) if cache is None else cache.layers
        for block, layer in zip(self.blocks, layers, strict=True):
            h_BLD = block(h_BLD, positions_BL, layer)
        normed_BLD: Tensor = self.norm(h_BLD)
        return normed_BLD

    def logits(self, h_BLD: Tensor) -> Tensor:
        logits_BLV: Tensor = self.embed.logits(h_BLD) if self.head is None else self.head(h_BLD)
        if self.config.logit_divisor != 1:
            logits_BLV = logits_BLV / self.config.logit_divisor
        cap = self.config.logit_softcap
        return logits_BLV if cap is None else cap * torch.tanh(logits_BLV / cap)


def fresh(config: Config, *, seed: int = 0, init: Init | None = None) -> Decoder:
    """A decoder with drawn weights. The same seed gives the same weights; without `init`, matrices are normal(0, 0.02)."""
    decoder = Decoder(config)
    initialise(decoder, config, Init() if init is None else init, seed=seed)
    return decoder.eval()


def _norm(config: Config) -> nn.RMSNorm:
    return nn.RMSNorm(config.d_model, eps=config.norm_eps)
