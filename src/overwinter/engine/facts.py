"""What there is to know about a model once it is in an engine: sizes, switches that are on, packed linears, exactness."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from overwinter.engine.engine import Engine
from overwinter.model import Config, Decoder, KVCache, fresh


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of one engine.

    Attributes:
        shape: the numbers without which there is no decoder.
        switches: what is set otherwise than the plain decoder has it.
        weight_bytes: of all parameters in the number format at work.
        cache_bytes_token: keys and values of one token.
        state_bytes: of a sequence's recurrent states, however long it is.
        packed: how many linears were rearranged for speed.
        plain: names of those that were not.
        is_exact: log-probabilities keep their last bits whoever shares a step (probe.py).
    """

    shape: dict[str, int]
    switches: dict[str, Any]
    parameters: int
    dtype: str
    weight_bytes: int
    cache_bytes_token: int
    state_bytes: int
    context_tokens: int
    packed: int
    plain: tuple[str, ...]
    is_exact: bool


def facts(engine: Engine) -> Facts:
    """Measures exactness, which computes about two hundred tokens."""
    decoder = engine.decoder
    parameters, given = parameter_count(decoder.config), decoder.config.given()
    shape = {field.name: given.pop(field.name) for field in dataclasses.fields(decoder.config) if _required(field)}
    given.pop("context", None)
    return Facts(
        shape=shape,
        switches=given,
        parameters=parameters,
        dtype=str(decoder.embed.weight.dtype).removeprefix("torch."),
        weight_bytes=parameters * decoder.embed.weight.itemsize,
        cache_bytes_token=engine.store.token_bytes if engine.store.config.layers else 0,
        state_bytes=_state_bytes(decoder),
        context_tokens=engine.context_tokens,
        packed=engine.packed_linears,
        plain=tuple(name for name, module in decoder.named_modules() if isinstance(module, nn.Linear)),
        is_exact=engine.is_exact,
    )


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What an engine can promise here, seen on a tiny decoder.

    Attributes:
        packs: linears can be rearranged for speed.
        is_exact: see `Facts`; a large model is wider, and is asked itself (`Engine.is_exact`).
    """

    threads: int
    packs: bool
    is_exact: bool


def machine() -> Machine:
    shape = Config(vocab_size=96, d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, d_head=16, d_mlp=96)
    engine = Engine(fresh(shape))
    return Machine(threads=torch.get_num_threads(), packs=engine.packed_linears > 0, is_exact=engine.is_exact)


def parameter_count(config: Config) -> int:
    """How many numbers a decoder of this shape learns. Packed ones no longer say."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Decoder(config).parameters())


@torch.inference_mode()
def _state_bytes(decoder: Decoder) -> int:
    cache = decoder.new_cache()
    if all(isinstance(layer, KVCache) for layer in cache.layers):
        return 0
    decoder.hidden(torch.zeros(1, 1, dtype=torch.int64, device=decoder.embed.weight.device), cache)
    return sum(layer.bytes for layer in cache.layers if not isinstance(layer, KVCache))


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
