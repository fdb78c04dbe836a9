"""Tiny decoders of every kind, and where shared weights may lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overwinter.model import (
    AttnResConfig,
    Config,
    Decoder,
    Llama3Scaling,
    LoopConfig,
    LowrankConfig,
    MambaConfig,
    NobleConfig,
    YarnScaling,
    fresh,
)

torch.set_num_threads(1)

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 32,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_head": 8,
    "d_mlp": 48,
    "context": 256,
}
MAMBA = MambaConfig(n_heads=6, head_dim=8, d_state=5, n_groups=2, chunk_size=6)
SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "llama3": {"rope_scaling": Llama3Scaling(factor=8.0, original_context=16)},
    "yarn": {"rope_scaling": YarnScaling(factor=4.0, original_context=16)},
    "qkv_bias": {"qkv_bias": True},
    "all_biases": {"qkv_bias": True, "out_bias": True, "mlp_bias": True},
    "qk_norm": {"qk_norm": True},
    "window": {"pattern": "W", "window": 5},
    "mixed_windows": {"pattern": "AW", "window": 5},
    "mamba": {"pattern": "M", "mamba": MAMBA},
    "hybrid": {"pattern": "MMA", "mamba": MAMBA},
    "hybrid_window": {"pattern": "MW", "window": 5, "mamba": MAMBA},
    "lone_mixers": {"pattern": "mMa", "mamba": MAMBA},
    "no_positions": {"rope_base": None},
    "partial_rope": {"rope_fraction": 0.5},
    "partial_yarn": {"rope_fraction": 0.5, "rope_scaling": YarnScaling(factor=4.0, original_context=16)},
    "factors": {"attention_scale": 0.9, "embedding_scale": 2.0, "residual_scale": 0.6, "logit_divisor": 3.0},
    "attn_softcap": {"attn_softcap": 2.0},
    "logit_softcap": {"logit_softcap": 4.0},
    "relu2": {"mlp": "relu2"},
    "sandwich": {"norm": "sandwich"},
    "tied": {"tied": True},
    "noble": {"noble": NobleConfig(rank=4)},
    "noble_other": {
        "noble": NobleConfig(rank=3, activation="gelu", targets=("q", "o", "down", "ssm_in", "ssm_out")),
        "mlp": "relu2",
        "out_bias": True,
    },
    "noble_hybrid": {
        "pattern": "MA",
        "mamba": MAMBA,
        "noble": NobleConfig(rank=3, targets=("v", "up", "ssm_in", "ssm_out")),
    },
    "lowrank": {"lowrank_orthogonal": LowrankConfig(rank=8)},
    "lowrank_tied": {"lowrank_orthogonal": LowrankConfig(rank=8), "tied": True, "noble": NobleConfig(rank=2)},
    "attnres_full": {"attnres": AttnResConfig(kind="full")},
    "attnres_block": {"attnres": AttnResConfig(blocks=3)},
    "loop": {"loop": LoopConfig(n_loops=3)},
    "loop_middle": {"loop": LoopConfig(n_loops=2, prelude=1, coda=1, reinject="parcae", loop_norm=False)},
    "width_and_depth": {
        "pattern": "MA",
        "mamba": MAMBA,
        "noble": NobleConfig(rank=3, targets=("q", "o", "up", "down", "ssm_in", "ssm_out")),
        "lowrank_orthogonal": LowrankConfig(rank=8),
        "tied": True,
        "attnres": AttnResConfig(blocks=2),
        "loop": LoopConfig(n_loops=2, prelude=1),
    },
    "everything": {
        "pattern": "AWM",
        "window": 4,
        "mamba": MAMBA,
        "rope_fraction": 0.5,
        "attention_scale": 0.4,
        "embedding_scale": 1.5,
        "logit_divisor": 0.7,
        "rope_scaling": YarnScaling(factor=4.0, original_context=16),
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
        "qk_norm": True,
        "attn_softcap": 3.0,
        "logit_softcap": 5.0,
        "mlp": "relu2",
        "norm": "sandwich",
        "tied": True,
        "loop": LoopConfig(n_loops=3, coda=1, reinject="concat"),
    },
}
SWITCHES["everything_mixed"] = SWITCHES["everything"] | {"residual_scale": 1.0, "attnres": AttnResConfig(blocks=3)}


def tiny(seed: int = 0, **switches: Any) -> Decoder:
    """A decoder whose weights are large enough, biases and gains too, for every switch to show in the logits."""
    decoder = fresh(Config(**{**SHAPE, **switches}), seed=seed)
    stir(decoder, seed)
    return decoder


def stir(module: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.normal_(centre, 0.2, generator=generator)


def some_ids(batch: int, length: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, SHAPE["vocab_size"], (batch, length), generator=generator)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def shared_weights(name: str) -> Path | None:
    """A folder of real weights: under OVERWINTER_SHARED, or under a `shared` beside the checkout."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("OVERWINTER_SHARED", beside)) / "data" / "weights" / name
    return folder if folder.is_dir() else None
