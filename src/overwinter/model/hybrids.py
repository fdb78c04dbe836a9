"""Published families of attention and Mamba-2.

| family | switches |
|---|---|
| bamba | part of each head is turned (half by default), biases on all of attention or none, on the MLP |
| granitemoehybrid | without experts: factors on embedding, attention, parts and logits; rotary positions or none |
| nemotron_h | without experts: layers without an MLP, squared ReLU, no rotary positions, time steps of at least `time_step_min` |

Chunk sizes are not taken from the file: they change the speed alone, and the published ones are meant for GPUs.
"""

from __future__ import annotations

import math
from typing import Any

from overwinter.errors import UsageError
from overwinter.model.config import Config
from overwinter.model.families import pattern_of, shortest_pattern
from overwinter.model.family import ATTENTION, FETCH_AGAIN, TOP, Family, Names, Values, rope_switches, scaling_keys
from overwinter.model.mamba_state import MambaConfig

_MAMBA = {
    "mixer": "mamba",
    **{f"mixer.{part}": f"mamba.{part}" for part in ("in_proj", "conv1d", "norm", "out_proj")},
}
_MAMBA_SIZES: dict[str, Any] = {"expand": 2, "n_heads": 128, "d_head": "auto"}
_OLD_KINDS = {"A": "attention", "M": "mamba"}
"""Names of kinds that older readers know too."""
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


def _only_letters(config: Config, known: str) -> None:
    if set(config.letters) - set(known):
        raise UsageError(f"pattern {config.pattern!r} has letters other than {known}", "choose another family")


def _mamba_keys(config: Config) -> dict[str, Any]:
    mamba = config.mamba
    if mamba is None:  # sizes that no layer has, but that the family's own checks look at
        return {"mamba_n_heads": 1, "mamba_d_head": "auto", "mamba_expand": 2}
    limits: dict[str, Any] = {}
    if (mamba.dt_lowest, mamba.dt_highest) != (0.0, None):  # infinity, which JSON has not, is left to the default
        highest = {"__float__": "Infinity"} if mamba.dt_highest is None else mamba.dt_highest
        limits = {"time_step_limit": [mamba.dt_lowest, highest]}
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
        **limits,
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


def _bamba_rope_keys(config: Config) -> dict[str, Any]:
    """In the newer spelling, for the family does not heed a fraction in the older one."""
    rope = {"rope_type": "default", **(scaling_keys(config.rope_scaling) or {})}
    parameters = {**rope, "rope_theta": config.rope_base, "partial_rotary_factor": config.rope_fraction}
    return {"rope_parameters": parameters}


def _bamba_keys(config: Config) -> dict[str, Any]:
    return {
        "attn_layer_indices": [layer for layer, letter in enumerate(config.letters) if letter == "A"],
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
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
    _only_letters(config, "AM")
    scale = config.d_head**-0.5 if config.attention_scale is None else config.attention_scale
    return {
        "num_local_experts": 0,
        "shared_intermediate_size": config.d_mlp,
        "layer_types": [_OLD_KINDS[letter] for letter in config.letters],
        "position_embedding_type": None if config.rope_base is None else "rope",
        "attention_bias": config.qkv_bias,
        "attention_multiplier": scale,
        "embedding_multiplier": config.embedding_scale,
        "residual_multiplier": config.residual_scale,
        "logits_scaling": config.logit_divisor,
        **_mamba_keys(config),
    }


_NEMOTRON_KINDS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}
_NEMOTRON_LETTERS = {"linear_attention": "m", "mamba": "m", "full_attention": "a", "attention": "a"}


def _nemotron_common(values: Values) -> dict[str, Any]:
    """Their layers are single parts; ours are mixers, each with the MLP that follows it."""
    kinds = values.get("layers_block_type") or values.get("layer_types")
    if kinds is None:
        pattern = values.get("hybrid_override_pattern")
        if not isinstance(pattern, str) or not pattern or set(pattern) - set(_NEMOTRON_KINDS):
            raise UsageError(
                f"hybrid_override_pattern cannot be {pattern!r}", f"it is made of {''.join(_NEMOTRON_KINDS)}"
            )
        kinds = [_NEMOTRON_KINDS[letter] for letter in pattern]
    if not isinstance(kinds, list):
        raise UsageError(f"layers_block_type cannot be {kinds!r}", "it is a list of the kinds of layers")
    letters = ""
    for kind in map(str, kinds):
        if kind in _NEMOTRON_LETTERS:
            letters += _NEMOTRON_LETTERS[kind]
        elif kind == "mlp" and letters[-1:].islower():
            letters = letters[:-1] + letters[-1].upper()
        else:
            where = "without a mixer before it" if kind == "mlp" else "of an unknown kind"
            raise UsageError(
                f"layers_block_type has {kind!r} {where}", "mixtures of experts and lone MLPs are not built"
            )
    return {
        **values,
        "letters": letters,
        "num_hidden_layers": len(letters),
        "rms_norm_eps": values.get("layer_norm_epsilon", 1e-5),
        "hidden_act": values.get("mamba_hidden_act", "silu"),
    }


def _nemotron_switches(values: Values) -> dict[str, Any]:
    if values["tie_word_embeddings"]:
        raise UsageError("the family ties no embeddings", "save a tied decoder in our own format with save()")
    activation = values.get("mlp_hidden_act", "relu2")
    if activation != "relu2":
        raise UsageError(f"mlp_hidden_act {activation!r} is not built", "use a checkpoint with relu2")
    switches = {
        "pattern": shortest_pattern(values["letters"]),
        "mlp": "relu2",
        "mlp_bias": values.get("mlp_bias", False),
    }
    if "m" in values["letters"].lower():
        switches["mamba"] = MambaConfig(
            n_heads=values.get("mamba_num_heads", 128),
            head_dim=values.get("mamba_head_dim", 64),
            d_state=values.get("ssm_state_size", 128),
            d_conv=values.get("conv_kernel", 4),
            n_groups=values.get("n_groups", 8),
            norm_eps=values["rms_norm_eps"],
            bias=values.get("use_bias", False),
            conv_bias=values.get("use_conv_bias", True),
            dt_lowest=values.get("time_step_min", 0.001),
        )
    return switches


def _nemotron_keys(config: Config) -> dict[str, Any]:
    _only_letters(config, "AMam")
    pattern = "".join({"M": "M", "A": "*"}[letter.upper()] + "-" * letter.isupper() for letter in config.letters)
    mamba = config.mamba or MambaConfig(n_heads=1)
    return {
        "num_hidden_layers": len(pattern),
        "hybrid_override_pattern": pattern,
        "layer_norm_epsilon": config.norm_eps,
        "mamba_hidden_act": "silu",
        "mlp_hidden_act": config.mlp,
        "mlp_bias": config.mlp_bias,
        "mamba_num_heads": mamba.n_heads,
        "mamba_head_dim": mamba.head_dim,
        "ssm_state_size": mamba.d_state,
        "conv_kernel": mamba.d_conv,
        "n_groups": mamba.n_groups,
        "chunk_size": mamba.chunk_size,
        "use_bias": mamba.bias,
        "use_conv_bias": mamba.conv_bias,
        "time_step_min": mamba.dt_lowest,
    }


HYBRID_FAMILIES = {
    "bamba": Family(
        architecture="BambaForCausalLM",
        defaults={"num_key_value_heads": 8, "max_position_embeddings": 262144, "rms_norm_eps": 1e-5},
        switches=_bamba_switches,
        keys=_bamba_keys,
        rope=_bamba_rope,
        rope_keys=_bamba_rope_keys,
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
    "nemotron_h": Family(
        architecture="NemotronHForCausalLM",
        defaults={"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 4096},
        switches=_nemotron_switches,
        keys=_nemotron_keys,
        common=_nemotron_common,
        rope=lambda _: {"rope_base": None},
        names=Names(
            top={
                "embed.weight": "backbone.embeddings.weight",
                "norm.weight": "backbone.norm_f.weight",
                "head.weight": "lm_head.weight",
            },
            parts={
                "mixer_norm": "norm",
                "mlp_norm": "norm",
                **{ours: theirs.replace("self_attn", "mixer") for ours, theirs in ATTENTION.items()},
                **{ours: theirs.replace("mamba", "mixer") for ours, theirs in _MAMBA.items()},
                "mlp.up": "mixer.up_proj",
                "mlp.down": "mixer.down_proj",
            },
            layers="backbone.layers",
            split_blocks=True,
        ),
    ),
}
