"""Tiny decoders for the trainer's tests."""

from __future__ import annotations

from typing import Any

import torch

from overwinter.model import Config, Decoder, Init, MambaConfig, fresh

torch.set_num_threads(1)

SHAPE: dict[str, Any] = {
    "vocab_size": 33,
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 2,
    "d_head": 8,
    "d_mlp": 32,
    "context": 64,
}
HYBRID: dict[str, Any] = {"pattern": "MA", "mamba": MambaConfig(n_heads=2, head_dim=8, d_state=4, chunk_size=8)}


def tiny(seed: int = 0, init: Init | None = None, **switches: Any) -> Decoder:
    return fresh(Config(**{**SHAPE, **switches}), seed=seed, init=init)
