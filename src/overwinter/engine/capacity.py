"""How much an engine may hold: from a decoder's shape and the caller's limits to the sizes of pool, store and steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from overwinter.engine.blocks import Config as PoolConfig
from overwinter.engine.paged import Config as StoreConfig
from overwinter.engine.scheduler import Config as SchedulerConfig
from overwinter.errors import UsageError
from overwinter.model import Decoder, KVCache, MambaState
from overwinter.model.mamba_state import MambaConfig

MOST_KV_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Config:
    """What an engine may use.

    Args:
        max_running: sequences that are computed at the same time.
        step_tokens: tokens of one step; lower shortens the wait of running answers behind long prompts.
        context: longest prompt and output together; by default what the model was trained for.
        kv_bytes: memory for keys and values; by default room for `max_running` whole contexts, at most 1 GiB.
        mirror_bytes: memory for contiguous copies of what decoding sequences see, which save a copy at each step; by default
            an eighth of the memory for keys and values.
        block_size: tokens of a block.
        snapshot_bytes: memory for states of recurrent layers at prefix borders.
        snapshot_tokens: how far apart these borders are.
        packed: rearrange the weights for speed; without, the plain linears stay.
        share_prefixes: keep and reuse the memory of prompts.
    """

    max_running: int = 16
    step_tokens: int = 512
    context: int | None = None
    kv_bytes: int | None = None
    mirror_bytes: int | None = None
    block_size: int = 16
    snapshot_bytes: int = 256 << 20
    snapshot_tokens: int = 256
    packed: bool = True
    share_prefixes: bool = True


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The decoder's memories in the order in which it asks for them: which are attention's, which recurrent."""

    is_attention: tuple[bool, ...]
    recurrent: tuple[MambaConfig, ...]

    @classmethod
    def of(cls, decoder: Decoder) -> Slots:
        layers = decoder.new_cache().layers
        return cls(
            is_attention=tuple(isinstance(layer, KVCache) for layer in layers),
            recurrent=tuple(layer.config for layer in layers if isinstance(layer, MambaState)),
        )

    @property
    def attention(self) -> int:
        """How many are attention's."""
        return sum(self.is_attention)


def store_config(decoder: Decoder, slots: Slots, config: Config, context: int) -> StoreConfig:
    """Blocks for keys and values. A decoder without attention has blocks of no bytes, which still name its prefixes."""
    shape, dtype = decoder.config, decoder.embed.weight.dtype
    token_bytes = 2 * max(slots.attention, 1) * shape.n_kv_heads * shape.d_head * dtype.itemsize
    block_bytes = token_bytes * config.block_size
    whole_context = -(-context // config.block_size) * block_bytes
    wanted = min(whole_context * config.max_running, max(MOST_KV_BYTES, whole_context))
    kv_bytes = wanted if config.kv_bytes is None else config.kv_bytes
    if kv_bytes < block_bytes:
        raise UsageError(f"{kv_bytes} bytes do not hold one block of {block_bytes}", "give the engine more kv_bytes")
    return StoreConfig(
        layers=slots.attention,
        blocks=kv_bytes // block_bytes,
        kv_heads=shape.n_kv_heads,
        head_dim=shape.d_head,
        block_size=config.block_size,
        dtype=dtype,
        device=str(decoder.embed.weight.device),
    )


def mirror_bytes(config: Config, kv_bytes: int) -> int:
    return kv_bytes // 8 if config.mirror_bytes is None else config.mirror_bytes


def pool_config(store: StoreConfig) -> PoolConfig:
    watermark = min(store.blocks - 1, store.blocks // 100)
    return PoolConfig(blocks=store.blocks, block_size=store.block_size, watermark_blocks=watermark)


def scheduler_config(slots: Slots, config: Config) -> SchedulerConfig:
    """With recurrent layers prompts are cut at whole chunks and blocks, and where their states are to be kept."""
    if not slots.recurrent:
        return SchedulerConfig(max_running=config.max_running, step_tokens=config.step_tokens)
    align = math.lcm(config.block_size, *(each.chunk_size for each in slots.recurrent))
    return SchedulerConfig(
        max_running=config.max_running,
        step_tokens=max(config.step_tokens, config.max_running + align),
        align=align,
        border=-(-config.snapshot_tokens // align) * align,
    )
