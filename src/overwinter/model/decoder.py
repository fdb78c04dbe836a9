"""The whole network on one page: embed, blocks, norm, head.

    h ← embed(ids);   each block:  h ← h + post(mixer(pre(h))),   h ← h + post(mlp(pre(h)));   logits = cap(head(norm(h)))

`post` is nothing with `norm="pre"` and an RMS norm with `norm="sandwich"` (CogView, arXiv 2105.13290; Gemma 2). The MLP is
SwiGLU (arXiv 2002.05202) or squared ReLU (Primer, arXiv 2109.08668), which has two matrices where SwiGLU has three.
`h + …` is one way to add up the parts; `residual.py` has the other. With `loop`, the middle blocks run several times (`loop.py`).

Shapes: B batch, L tokens, D model width, F width of the MLP, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from overwinter.errors import UsageError
from overwinter.model.backward import RMSNorm, relu2
from overwinter.model.cache import Cache
from overwinter.model.config import Config
from overwinter.model.embedding import Embedding, build_embedding
from overwinter.model.initialise import Init, initialise
from overwinter.model.loop import Carry, Loop, Plan
from overwinter.model.mixer import Mixer, build_mixer
from overwinter.model.noble import linear
from overwinter.model.residual import SubLayer, build_stack


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
        y_BLD: Tensor = self.down(relu2(self.up(x_BLD)))
        return y_BLD


class Block(nn.Module):
    """One mixer and, unless the letter is a small one, one MLP, each on a branch of the residual stream."""

    def __init__(self, config: Config, letter: str) -> None:
        super().__init__()
        sandwich = config.norm == "sandwich"
        self.mixer_norm = _norm(config)
        self.mixer = build_mixer(letter, config)
        self.mixer_post = _norm(config) if sandwich else None
        has_mlp = letter.isupper()
        self.mlp_norm = _norm(config) if has_mlp else None
        self.mlp = None if not has_mlp else SwiGLU(config) if config.mlp == "swiglu" else ReLU2(config)
        self.mlp_post = _norm(config) if has_mlp and sandwich else None
        self.scale = config.residual_scale

    def sublayers(
        self, positions_BL: Tensor, memory: Any, carry: Callable[[Tensor], Tensor] | None = None
    ) -> list[SubLayer]:
        """The parts as functions from the stream to what they add to it. `carry` sees what the mixer gets."""
        mix = partial(self.mix, positions_BL=positions_BL, memory=memory, carry=carry)
        return [mix] if self.mlp is None else [mix, self.think]

    @property
    def n_sublayers(self) -> int:
        return 1 if self.mlp is None else 2

    def mix(
        self, h_BLD: Tensor, *, positions_BL: Tensor, memory: Any, carry: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        x_BLD = self.mixer_norm(h_BLD)
        mixed_BLD: Tensor = self.mixer(x_BLD if carry is None else carry(x_BLD), positions_BL, memory)
        return self._scaled(mixed_BLD if self.mixer_post is None else self.mixer_post(mixed_BLD))

    def think(self, h_BLD: Tensor) -> Tensor:
        assert self.mlp is not None, "only a block with an MLP thinks"
        assert self.mlp_norm is not None
        thought_BLD: Tensor = self.mlp(self.mlp_norm(h_BLD))
        return self._scaled(thought_BLD if self.mlp_post is None else self.mlp_post(thought_BLD))

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
        self.plan = Plan.of(config)
        self.loop = None if config.looped is None else Loop(config, config.looped)
        blocks = cast("tuple[Block, ...]", tuple(self.blocks))
        self._parts = {part: blocks[layers] for part, layers in self.plan.layers.items()}
        self.stacks = nn.ModuleDict(
            {
                part: build_stack(config, n_sublayers=_count(layers), n_all=_count(blocks))
                for part, layers in self._parts.items()
                if layers
            }
        )

    def new_cache(self, *, rollback: int = 0) -> Cache:
        """An empty memory. Give it to every call of one batch of sequences.

        With M layers, `Cache.truncate` takes back at most the last `rollback` tokens; each costs a state per M layer.
        """
        mixers = (cast("Mixer", cast("Block", self.blocks[layer]).mixer) for layer in self.plan.slots)
        return Cache([mixer.new_cache(rollback=rollback) for mixer in mixers])

    def forward(
        self,
        ids_BL: Tensor,
        cache: Cache | None = None,
        positions_BL: Tensor | None = None,
        exit_thresholds_BL: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token after each given one.

        Args:
            ids_BL: token ids; with a cache, the ones that follow what it holds.
            cache: memory of the tokens before; the new ones are added to it.
            positions_BL: default is to count on from the cache; negative marks padding, which is neither seen nor counted.
            exit_thresholds_BL: cumulative exit probability at which a token stops looping; 1.0 takes all loops. Default is
                1.0 for a prompt or a piece of one, and `config.loop.exit` for one token with a cache. Give tokens of a prompt
                1.0: what they leave out is missed by all that follows. A decoder without loops ignores it.
        """
        return self.logits(self.hidden(ids_BL, cache, positions_BL, exit_thresholds_BL))

    def hidden(
        self,
        ids_BL: Tensor,
        cache: Cache | None = None,
        positions_BL: Tensor | None = None,
        exit_thresholds_BL: Tensor | None = None,
    ) -> Tensor:
        """The normed stream before the head. Whoever needs few positions calls `logits` on those alone."""
        return self.hidden_and_depth(ids_BL, cache, positions_BL, exit_thresholds_BL)[0]

    def hidden_and_depth(
        self,
        ids_BL: Tensor,
        cache: Cache | None = None,
        positions_BL: Tensor | None = None,
        exit_thresholds_BL: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`hidden`, and how many loops each token took [BL]."""
        if positions_BL is None:
            start = 0 if cache is None else cache.length
            positions_BL = torch.arange(start, start + ids_BL.shape[1], device=ids_BL.device).expand(ids_BL.shape)
        memories = [None] * len(self.plan.slots) if cache is None else cache.layers
        before, loops, after = self.plan.split(memories)
        h_BLD = self.run("prelude", self.embedded(ids_BL), positions_BL, before)
        if self.loop is None:
            return self.norm(self.run("middle", h_BLD, positions_BL, memories)), torch.ones_like(ids_BL)
        thresholds_BL = self._thresholds(ids_BL, cache, exit_thresholds_BL)
        run = partial(self.run, "middle")
        looped = self.loop(h_BLD, positions_BL, loops, run, self.norm, thresholds_BL)
        if not after:
            return looped.normed, looped.depth
        return self.norm(self.run("coda", looped.state, positions_BL, after)), looped.depth

    def embedded(self, ids_BL: Tensor) -> Tensor:
        """Where the stream begins."""
        h_BLD: Tensor = self.embed(ids_BL)
        return h_BLD if self.config.embedding_scale == 1 else h_BLD * self.config.embedding_scale

    def run(
        self, part: str, h_BLD: Tensor, positions_BL: Tensor, memories: Sequence[Any], carry: Carry | None = None
    ) -> Tensor:
        """Once through the blocks of a part: "prelude", "middle" or "coda"."""
        blocks = self._parts[part]
        if not blocks:
            return h_BLD
        sublayers: list[SubLayer] = []
        for layer, (block, memory) in enumerate(zip(blocks, memories, strict=True)):
            held = None if carry is None else partial(carry, layer)
            sublayers += block.sublayers(positions_BL, memory, held)
        out_BLD: Tensor = self.stacks[part](h_BLD, sublayers)
        return out_BLD

    def _thresholds(self, ids_BL: Tensor, cache: Cache | None, given_BL: Tensor | None) -> Tensor | None:
        if given_BL is not None and given_BL.shape != ids_BL.shape:
            raise UsageError(
                f"exit thresholds of shape {tuple(given_BL.shape)} for tokens of shape {tuple(ids_BL.shape)}",
                "give one threshold per token",
            )
        assert self.config.loop is not None
        if given_BL is None and cache is not None and ids_BL.shape[1] == 1 and self.config.loop.exit < 1:
            return torch.full(ids_BL.shape, self.config.loop.exit, device=ids_BL.device)
        return given_BL

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


def _count(blocks: Sequence[Block]) -> int:
    return sum(block.n_sublayers for block in blocks)


def _norm(config: Config) -> RMSNorm:
    return RMSNorm(config.d_model, eps=config.norm_eps)
