"""Published families of attention and Mamba-2.

| family | switches |
|---|---|
| bamba | part of each head is turned (half by default), biases on all of attention or none, on the MLP |
| granitemoehybrid | without experts: factors on embedding, attention, parts and logits; rotary positions or none |

Chunk sizes are not taken from the file: they change the speed alone, and the published ones are meant for GPUs.
"""

from __future__ import annotations

import math
from typing import Any

from overwinter.errors import UsageError
from overwinter.model.config import Config
from overwinter.model.families import pattern_of
from overwinter.model.family import ATTENTION, FETCH_AGAIN, TOP, Family, Names, Values, rope_switches, scaling_keys
from overwinter.model.mamba_state import MambaConfig

_MAMBA = {
    "mixer": "mamba",
    **{f"mixer.{part}": f"mamba.{part}" for part in ("in_proj", "conv1d", "norm", "out_proj")},
}
_MAMBA_SIZES: dict[str, Any] = {"expand": 2, "n_heads": 128, "d_head": "auto"}
_KINDS = {"full_attention": "A", "attention": "A", "linear_attention": "M", "mamba": "M"}


def time_step_limit(given: Any) -> dict[str, Any]:
    """(lowest, highest) as MambaConfig says it; files write infinity in several ways."""
    if given is None:
        return {}
    try:
        low, high = (float(each["__float__"] if isinstance(each, dict) else each) for each in given)
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"time_step_limit cannot be {given!r}", "it is a pair of numbers") from error
    return {"dt_lowest": low, "dt_highest": None if math.isinf(high) else high}


def _mamba(values: Values, pattern: str) -> dict[str, Any]:
    if "M" not in pattern:
        return {"pattern": pattern}
    expand, heads, width = (values.get(f"mamba_{key}", default) for key, default in _MAMBA_SIZES.items())
    if not all(isinstance(size, int) and size > 0 for size in (expand, heads)):
        raise UsageError(f"mamba_expand {expand!r} and mamba_n_heads {heads!r} are not sizes", FETCH_AGAIN)
    inner = expand * values["hidden_size"]
    if width == "auto":
        width = inner // heads
    if not isinstance(width, int) or heads * width != inner:
        raise UsageError(
            f"{heads} Mamba-2 heads of {width} do not make mamba_expand · hidden_size = {inner}", FETCH_AGAIN
        )
    mamba = MambaConfig(
        n_heads=heads,
        head_dim=width,
        d_state=values.get("mamba_d_state", 256),
        d_conv=values.get("mamba_d_conv", 4),
        n_groups=values.get("mamba_n_groups", 1),
        norm_eps=values["rms_norm_eps"],
        bias=values.get("mamba_proj_bias", False),
        conv_bias=values.get("mamba_conv_bias", True),
        **time_step_limit(values.get("time_step_limit")),
    )
    return {"pattern": pattern, "mamba": mamba}


def _mamba_keys(config: Config) -> dict[str, Any]:
    mamba = config.mamba
    if mamba is None:  # sizes that no layer has, but that the family's own checks look at
        return {"mamba_n_heads": 1, "mamba_d_head": "auto", "mamba_expand": 2}
    limits = mamba.dt_lowest, {"__float__": "Infinity"} if mamba.dt_highest is None else mamba.dt_highest
    return {
        "mamba_n_heads": mamba.n_heads,
        "mamba_d_head": mamba.head_dim,
        "mamba_expand": mamba.d_inner // config.d_model,
        "mamba_d_state": mamba.d_state,
        "mamba_d_conv": mamba.d_conv,
        "mamba_n_groups": mamba.n_groups,
        "mamba_chunk_size": mamba.chunk_size,
        "mamba_proj_bias": mamba.bias,
        "mamba_conv_bias": mamba.conv_bias,
        "time_step_limit": limits,
    }


def _bamba_switches(values: Values) -> dict[str, Any]:
    n_layers, at = values["num_hidden_layers"], values.get("attn_layer_indices") or []
    if not isinstance(at, list) or not all(layer in range(n_layers) for layer in at):
        raise UsageError(f"attn_layer_indices cannot be {at!r} with {n_layers} layers", FETCH_AGAIN)
    bias = values.get("attention_bias", False)
    return {
        **_mamba(values, pattern_of(["attention" if i in at else "mamba" for i in range(n_layers)], _KINDS, n_layers)),
        "qkv_bias": bias,
        "out_bias": bias,
        "mlp_bias": values.get("mlp_bias", False),
    }


def _bamba_rope(values: Values) -> dict[str, Any]:
    rope = values.get("rope_scaling") or values.get("rope_parameters") or {}
    return {**rope_switches(values), "rope_fraction": rope.get("partial_rotary_factor") or 0.5}


def _bamba_keys(config: Config) -> dict[str, Any]:
    rope = {"rope_type": "default", **(scaling_keys(config.rope_scaling) or {})}
    return {
        "attn_layer_indices": [layer for layer, letter in enumerate(config.letters) if letter == "A"],
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "rope_theta": None,
        "rope_scaling": None,
        "rope_parameters": {**rope, "rope_theta": config.rope_base, "partial_rotary_factor": config.rope_fraction},
        **_mamba_keys(config),
    }


def _granite_switches(values: Values) -> dict[str, Any]:
    experts = values.get("num_local_experts", 8)
    if experts:
        raise UsageError(
            f"num_local_experts is {experts}; mixtures of experts are not built", "use a dense checkpoint of the family"
        )
    positions = values.get("position_embedding_type")
    if positions not in (None, "nope", "rope"):
        raise UsageError(f"position_embedding_type {positions!r} is not built", "known are rope and none")
    n_layers = values["num_hidden_layers"]
    kinds = values.get("layer_types") or values.get("layers_block_type") or ["mamba"] * n_layers
    bias = values.get("attention_bias", False)
    return {
        **_mamba(values, pattern_of(kinds, _KINDS, n_layers)),
        "qkv_bias": bias,
        "out_bias": bias,
        "attention_scale": values.get("attention_multiplier", 1.0),
        "embedding_scale": values.get("embedding_multiplier", 1.0),
        "residual_scale": values.get("residual_multiplier", 1.0),
        "logit_divisor": values.get("logits_scaling", 1.0),
    }


def _granite_keys(config: Config) -> dict[str, Any]:
    scale = config.d_head**-0.5 if config.attention_scale is None else config.attention_scale
    return {
        "num_local_experts": 0,
        "shared_intermediate_size": config.d_mlp,
        "layer_types": ["linear_attention" if letter == "M" else "full_attention" for letter in config.letters],
        "position_embedding_type": None if config.rope_base is None else "rope",
        "attention_bias": config.qkv_bias,
        "attention_multiplier": scale,
        "embedding_multiplier": config.embedding_scale,
        "residual_multiplier": config.residual_scale,
        "logits_scaling": config.logit_divisor,
        **_mamba_keys(config),
    }


HYBRID_FAMILIES = {
    "bamba": Family(
        architecture="BambaForCausalLM",
        defaults={"num_key_value_heads": 8, "max_position_embeddings": 262144, "rms_norm_eps": 1e-5},
        switches=_bamba_switches,
        keys=_bamba_keys,
        rope=_bamba_rope,
        names=Names(
            top={**TOP, "norm.weight": "model.final_layernorm.weight"},
            parts={
                "mixer_norm": "input_layernorm",
                "mlp_norm": "pre_ff_layernorm",
                **ATTENTION,
                **_MAMBA,
                **{f"mlp.{part}": f"feed_forward.{part}_proj" for part in ("gate", "up", "down")},
            },
        ),
    ),
    "granitemoehybrid": Family(
        architecture="GraniteMoeHybridForCausalLM",
        switches=_granite_switches,
        keys=_granite_keys,
        common=lambda values: {**values, "intermediate_size": values.get("shared_intermediate_size", 1024)},
        rope=lambda values: (
            rope_switches(values) if values.get("position_embedding_type") == "rope" else {"rope_base": None}
        ),
        names=Names(
            parts={
                "mixer_norm": "input_layernorm",
                "mlp_norm": "post_attention_layernorm",
                **ATTENTION,
                **_MAMBA,
                "mlp.gate": "shared_mlp.input_linear",
                "mlp.up": "shared_mlp.input_linear",
                "mlp.down": "shared_mlp.output_linear",
            },
            halves=("mlp.gate", "mlp.up"),
        ),
    ),
}
