"""Hugging Face checkpoints: four families that are one decoder with different switches.

Each `Family` says how its config.json becomes switches, and which switches it can say when a decoder is exported. Tensors
only change names. What would compute something else than the family does (a rope type we lack, quantisation, another
activation) is refused by name.

| family | switches |
|---|---|
| llama | biases on all of attention or none, biases on the MLP, llama3 and YaRN scaling |
| mistral | window on every layer |
| qwen2 | biases on q, k, v; window from a layer on |
| qwen3 | QK-norm; biases on all of attention or none; window from a layer on |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model.config import Config, Llama3Scaling, RopeScaling, YarnScaling
from overwinter.model.decoder import Decoder
from overwinter.model.rope import yarn_attention_factor
from overwinter.model.weights import CONFIG, TOKENIZER, WEIGHTS, new_folder, write_json, write_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Values = Mapping[str, Any]

_TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_PARTS = {
    "mixer_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "mixer.q_norm": "self_attn.q_norm",
    "mixer.k_norm": "self_attn.k_norm",
    **{f"mixer.{part}": f"self_attn.{part}_proj" for part in "qkvo"},
    **{f"mlp.{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}
_DEFAULTS = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_position_embeddings": 2048, "hidden_act": "silu"}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published architecture."""

    architecture: str
    defaults: Values
    """What a config.json that leaves a key out means by it."""
    switches: Callable[[Values], dict[str, Any]]
    """Config fields beyond the common shape."""
    covers: Callable[[Config], bool]
    """Whether the family can say this config, given that `_is_plain` holds."""
    keys: Callable[[Config], dict[str, Any]]
    """Keys of config.json beyond the common shape."""


def _llama_switches(values: Values) -> dict[str, Any]:
    bias = values.get("attention_bias", False)
    return {"qkv_bias": bias, "out_bias": bias, "mlp_bias": values.get("mlp_bias", False)}


def _windows(values: Values) -> dict[str, Any]:
    """Qwen's windows: written out per layer, or all layers from `max_window_layers` on."""
    window = values.get("sliding_window", 4096) if values.get("use_sliding_window", False) else None
    n_layers = int(values["num_hidden_layers"])
    kinds = values.get("layer_types")
    if kinds is None:
        first = values.get("max_window_layers", 28)
        kinds = [
            "sliding_attention" if window is not None and i >= first else "full_attention" for i in range(n_layers)
        ]
    letters = {"full_attention": "A", "sliding_attention": "W"}
    unknown = sorted({str(kind) for kind in kinds} - set(letters))
    if unknown or len(kinds) != n_layers:
        raise UsageError(
            f"layer_types has {len(kinds)} entries for {n_layers} layers, of unknown kinds {unknown}",
            f"known kinds are {sorted(letters)}",
        )
    pattern = "".join(letters[kind] for kind in kinds)
    pattern = pattern[0] if len(set(pattern)) == 1 else pattern
    return {"pattern": pattern, "window": window if "W" in pattern else None}


def _window_keys(config: Config) -> dict[str, Any]:
    kinds = ["sliding_attention" if letter == "W" else "full_attention" for letter in config.letters]
    first = config.letters.find("W") if config.window else config.n_layers
    return {
        "use_sliding_window": config.window is not None,
        "sliding_window": config.window,
        "max_window_layers": first,
        "layer_types": kinds,
    }


def _mistral_switches(values: Values) -> dict[str, Any]:
    window = values.get("sliding_window", 4096)
    return {"pattern": "A" if window is None else "W", "window": window}


FAMILIES = {
    "llama": Family(
        architecture="LlamaForCausalLM",
        defaults={},
        switches=_llama_switches,
        covers=lambda c: not c.qk_norm and c.window is None and c.qkv_bias == c.out_bias,
        keys=lambda c: {"attention_bias": c.qkv_bias, "mlp_bias": c.mlp_bias},
    ),
    "mistral": Family(
        architecture="MistralForCausalLM",
        defaults={"num_key_value_heads": 8, "max_position_embeddings": 131072},
        switches=_mistral_switches,
        covers=lambda c: not (c.qk_norm or c.qkv_bias or c.out_bias or c.mlp_bias) and set(c.letters) == {"W"},
        keys=lambda c: {"sliding_window": c.window},
    ),
    "qwen2": Family(
        architecture="Qwen2ForCausalLM",
        defaults={"num_key_value_heads": 32, "max_position_embeddings": 32768},
        switches=lambda values: {"qkv_bias": True, **_windows(values)},
        covers=lambda c: (
            c.qkv_bias and not (c.qk_norm or c.out_bias or c.mlp_bias) and c.d_head * c.n_heads == c.d_model
        ),
        keys=_window_keys,
    ),
    "qwen3": Family(
        architecture="Qwen3ForCausalLM",
        defaults={"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768},
        switches=lambda values: {
            "qk_norm": True,
            "qkv_bias": values.get("attention_bias", False),
            "out_bias": values.get("attention_bias", False),
            **_windows(values),
        },
        covers=lambda c: c.qk_norm and c.qkv_bias == c.out_bias and not c.mlp_bias,
        keys=lambda c: {"attention_bias": c.qkv_bias, **_window_keys(c)},
    ),
}


def read_config(values: Values) -> Config:
    """The switches that make our decoder the network of this config.json."""
    family = FAMILIES.get(str(values.get("model_type")))
    if family is None:
        named = values.get("model_type") or values.get("architectures") or "without a model_type"
        raise UsageError(
            f"unknown architecture {named!r}", f"known are {', '.join(FAMILIES)}, and our own 'overwinter'"
        )
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [key for key in needed if not isinstance(values.get(key), int)]
    if missing:
        raise UsageError(f"{CONFIG} lacks {', '.join(missing)}", "copy or download the checkpoint again")
    values = {**_DEFAULTS, **family.defaults, **values}
    _refuse_what_differs(values)
    n_heads = values["num_attention_heads"]
    n_kv_heads, d_head = values.get("num_key_value_heads"), values.get("head_dim")
    return Config(
        vocab_size=values["vocab_size"],
        d_model=values["hidden_size"],
        n_layers=values["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=n_heads if n_kv_heads is None else n_kv_heads,
        d_head=values["hidden_size"] // n_heads if d_head is None else d_head,
        d_mlp=values["intermediate_size"],
        context=values["max_position_embeddings"],
        norm_eps=values["rms_norm_eps"],
        tied=values["tie_word_embeddings"],
        **_rope_switches(values),
        **family.switches(values),
    )


def _refuse_what_differs(values: Values) -> None:
    if values["hidden_act"] != "silu":
        raise UsageError(f"hidden_act {values['hidden_act']!r} is not built", "use a checkpoint with silu")
    if values.get("quantization_config"):
        raise UsageError("the checkpoint is quantised", "use the plain weights")
    rope = values.get("rope_parameters") or {}
    for part in (values, rope):
        if part.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise UsageError("partial_rotary_factor is not built", "use a checkpoint that turns whole heads")


def _rope_switches(values: Values) -> dict[str, Any]:
    """Both spellings: `rope_parameters` of transformers 5, `rope_theta` with `rope_scaling` before."""
    rope = dict(values.get("rope_scaling") or values.get("rope_parameters") or {})
    base = rope.get("rope_theta") or values.get("rope_theta") or 10_000.0
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return {"rope_base": base}
    if kind not in ("llama3", "yarn"):
        raise UsageError(f"rope type {kind!r} is not built", "known are default, llama3 and yarn")
    original = rope.get("original_max_position_embeddings") or values["max_position_embeddings"]
    scaling: RopeScaling
    try:
        if kind == "llama3":
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            scaling = Llama3Scaling(
                factor=rope["factor"], original_context=original, low_freq_factor=low, high_freq_factor=high
            )
        else:
            scaling = _yarn(rope, original, rope.get("factor") or values["max_position_embeddings"] / original)
    except KeyError as error:
        raise UsageError(f"{kind} rope lacks {error}", "copy or download the checkpoint again") from error
    return {"rope_base": base, "rope_scaling": scaling}


def _yarn(rope: Values, original: int, factor: float) -> YarnScaling:
    attention_factor = rope.get("attention_factor")
    scale, scale_all = rope.get("mscale"), rope.get("mscale_all_dim")
    if attention_factor is None and scale and scale_all:
        attention_factor = yarn_attention_factor(factor, scale) / yarn_attention_factor(factor, scale_all)
    return YarnScaling(
        factor=factor,
        original_context=original,
        beta_fast=rope.get("beta_fast") or 32.0,
        beta_slow=rope.get("beta_slow") or 1.0,
        attention_factor=attention_factor,
        truncate=rope.get("truncate", True),
    )


def published_name(name: str) -> str:
    """The name of one of our tensors in the families' files."""
    if name in _TOP:
        return _TOP[name]
    _, layer, part = name.split(".", 2)
    module, _, kind = part.rpartition(".")
    return f"model.layers.{layer}.{_PARTS[module]}.{kind}"


def rename(tensors: Mapping[str, Tensor], decoder: Decoder) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a family's files by our names, and our name → theirs. Unknown ones keep theirs, to be reported."""
    names = {name: published_name(name) for name in decoder.state_dict()}
    ours = {theirs: name for name, theirs in names.items()}
    idle = {"lm_head.weight"} if decoder.config.tied else set()
    kept = {theirs: tensor for theirs, tensor in tensors.items() if theirs not in idle and "rotary_emb" not in theirs}
    return {ours.get(theirs, theirs): tensor for theirs, tensor in kept.items()}, names


def export(
    decoder: Decoder,
    folder: str | Path,
    *,
    tokenizer: Tokenizer | None = None,
    token_ids: Mapping[str, int] | None = None,
) -> str:
    """Write a folder that transformers loads; returns the family.

    Args:
        decoder: its switches must be those of one of the families.
        folder: must not exist, or be empty.
        tokenizer: saved beside the weights.
        token_ids: `bos_token_id`, `eos_token_id`, `pad_token_id` where known; without, config.json says null.
    """
    config = decoder.config
    name = family_of(config)
    family = FAMILIES[name]
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")) | dict(token_ids or {})
    values = {
        "architectures": [family.architecture],
        "model_type": name,
        "dtype": str(decoder.embed.weight.dtype).removeprefix("torch."),
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_mlp,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        "rope_theta": config.rope_base,
        "rope_scaling": _published_scaling(config.rope_scaling),
        **family.keys(config),
        **special,
    }
    with new_folder(Path(folder)) as partial:
        write_tensors(partial / WEIGHTS, {published_name(key): value for key, value in decoder.state_dict().items()})
        write_json(partial / CONFIG, values)
        if tokenizer is not None:
            tokenizer.save(str(partial / TOKENIZER))
    return name


def family_of(config: Config) -> str:
    """The published family with exactly these switches."""
    plain = (
        config.mlp == "swiglu"
        and config.norm == "pre"
        and config.attn_softcap is None
        and config.logit_softcap is None
        and (config.noble is None or config.noble.rank == 0)
        and config.lowrank_orthogonal is None
    )
    names = [name for name, family in FAMILIES.items() if plain and family.covers(config)]
    if not names:
        raise UsageError(
            f"no published family of {', '.join(FAMILIES)} has these switches: {config}",
            "save it in our own format with save()",
        )
    return names[0]


def _published_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    common = {"rope_type": scaling.kind, "factor": scaling.factor}
    common["original_max_position_embeddings"] = scaling.original_context
    if isinstance(scaling, Llama3Scaling):
        return {**common, "low_freq_factor": scaling.low_freq_factor, "high_freq_factor": scaling.high_freq_factor}
    rest: dict[str, Any] = {
        "beta_fast": scaling.beta_fast,
        "beta_slow": scaling.beta_slow,
        "truncate": scaling.truncate,
    }
    if scaling.attention_factor is not None:
        rest["attention_factor"] = scaling.attention_factor
    return {**common, **rest}
