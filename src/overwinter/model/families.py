"""Published families of attention alone.

| family | switches |
|---|---|
| llama | biases on all of attention or none, biases on the MLP, llama3 and YaRN scaling |
| mistral | window on every layer |
| qwen2 | biases on q, k, v; window from a layer on |
| qwen3 | QK-norm; biases on all of attention or none; window from a layer on |
| ouro | all layers looped, norms before and after each part, an exit gate with one bias; window from a layer on |

Ouro (arXiv 2510.25741) is no part of transformers: its checkpoints bring their own code. Names and order of things are those of
that code and of vLLM's `ouro.py`. Its code computes all loops and then picks one per token by the threshold, prompt included;
ours takes all loops for a prompt, and stops for good when decoding (`loop.py`). At the published threshold, 1.0, both are the same.
"""

from __future__ import annotations

from typing import Any

from overwinter.errors import UsageError
from overwinter.model.config import Config
from overwinter.model.family import PARTS, TOP, Family, Names, Values
from overwinter.model.loop import LoopConfig


def shortest_pattern(letters: str) -> str:
    """The shortest pattern that repeats to these letters."""
    periods = (n for n in range(1, len(letters) + 1) if (letters[:n] * len(letters))[: len(letters)] == letters)
    return letters[: next(periods)]


def pattern_of(kinds: Any, known: dict[str, str], n_layers: int) -> str:
    """A pattern from the kinds of all layers, by the family's names of kinds."""
    if not isinstance(kinds, list):
        raise UsageError(f"layer_types cannot be {kinds!r}", f"it is a list of {sorted(known)}")
    unknown = sorted({str(kind) for kind in kinds} - set(known))
    if unknown or len(kinds) != n_layers:
        raise UsageError(
            f"layer_types has {len(kinds)} entries for {n_layers} layers, of unknown kinds {unknown}",
            f"known kinds are {sorted(known)}",
        )
    return shortest_pattern("".join(known[kind] for kind in kinds))


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
    pattern = pattern_of(kinds, {"full_attention": "A", "sliding_attention": "W"}, n_layers)
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


def _ouro_switches(values: Values) -> dict[str, Any]:
    n_loops, threshold = values.get("total_ut_steps", 4), values.get("early_exit_threshold")
    if n_loops == 1:
        raise UsageError(
            "total_ut_steps is 1, where the gate of the checkpoint has nothing to decide",
            "load all loops and ask for a low exit threshold",
        )
    loop = LoopConfig(n_loops=n_loops, gate_bias="shared", exit=1.0 if threshold is None else threshold)
    return {"norm": "sandwich", "loop": loop, **_windows(values)}


def _ouro_keys(config: Config) -> dict[str, Any]:
    if config.looped is None:
        return {}
    loop = config.looped
    return {"total_ut_steps": loop.n_loops, "early_exit_threshold": loop.exit, **_window_keys(config)}


_OURO_NAMES = Names(
    top=TOP | {f"loop.exit_gate.{part}": f"model.early_exit_gate.{part}" for part in ("weight", "bias")},
    parts=PARTS | {"mixer_post": "input_layernorm_2", "mlp_post": "post_attention_layernorm_2"},
)

ATTENTION_FAMILIES = {
    "llama": Family(
        architecture="LlamaForCausalLM",
        switches=_llama_switches,
        keys=lambda c: {"attention_bias": c.qkv_bias, "mlp_bias": c.mlp_bias},
    ),
    "mistral": Family(
        architecture="MistralForCausalLM",
        defaults={"num_key_value_heads": 8, "max_position_embeddings": 131072},
        switches=_mistral_switches,
        keys=lambda c: {"sliding_window": c.window},
    ),
    "qwen2": Family(
        architecture="Qwen2ForCausalLM",
        defaults={"num_key_value_heads": 32, "max_position_embeddings": 32768},
        switches=lambda values: {"qkv_bias": True, **_windows(values)},
        # Older readers know no other width of a head.
        keys=lambda c: {"head_dim": c.d_model // c.n_heads, **_window_keys(c)},
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
        keys=lambda c: {"attention_bias": c.qkv_bias, **_window_keys(c)},
    ),
    "ouro": Family(
        architecture="OuroForCausalLM",
        defaults={"num_key_value_heads": 32, "max_position_embeddings": 32768},
        switches=_ouro_switches,
        keys=_ouro_keys,
        names=_OURO_NAMES,
    ),
}
