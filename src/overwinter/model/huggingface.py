"""Hugging Face checkpoints: published families that are one decoder with different switches.

Each `Family` (families.py, hybrids.py) says how its config.json becomes switches, and what to write there. Tensors only change
names. What would compute something else than the family does (a rope type we lack, quantisation, another activation) is
refused by name. An export is checked before it is written: read back, it must be the same network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model.config import Config
from overwinter.model.decoder import Decoder
from overwinter.model.families import ATTENTION_FAMILIES, shortest_pattern
from overwinter.model.family import FETCH_AGAIN, Family, Names, Values
from overwinter.model.hybrids import HYBRID_FAMILIES
from overwinter.model.mamba_state import MambaConfig
from overwinter.model.weights import CONFIG, TOKENIZER, WEIGHTS, new_folder, write_json, write_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAMILIES: Mapping[str, Family] = {**ATTENTION_FAMILIES, **HYBRID_FAMILIES}
_DEFAULTS = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_position_embeddings": 2048, "hidden_act": "silu"}


def read_config(values: Values) -> Config:
    """The switches that make our decoder the network of this config.json."""
    family = FAMILIES.get(str(values.get("model_type")))
    if family is None:
        named = values.get("model_type") or values.get("architectures") or "without a model_type"
        raise UsageError(
            f"unknown architecture {named!r}", f"known are {', '.join(FAMILIES)}, and our own 'overwinter'"
        )
    values = {**_DEFAULTS, **family.defaults, **family.common(values)}
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [key for key in needed if not isinstance(values.get(key), int)]
    if missing:
        raise UsageError(f"{CONFIG} lacks {', '.join(missing)}", FETCH_AGAIN)
    if values["hidden_act"] != "silu":
        raise UsageError(f"hidden_act {values['hidden_act']!r} is not built", "use a checkpoint with silu")
    if values.get("quantization_config"):
        raise UsageError("the checkpoint is quantised", "use the plain weights")
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
        **family.rope(values),
        **family.switches(values),
    )


def rename(tensors: Mapping[str, Tensor], decoder: Decoder, values: Values) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a family's files by our names, and our name → theirs. Unknown ones keep theirs, to be reported."""
    published = FAMILIES[str(values["model_type"])].names
    names = {name: published.published(name, decoder.config.letters) for name in decoder.state_dict()}
    ours = {theirs: name for name, theirs in names.items()}
    idle = {published.top["head.weight"]} if decoder.config.tied else set()
    kept = {theirs: tensor for theirs, tensor in tensors.items() if theirs not in idle and "rotary_emb" not in theirs}
    return {ours.get(theirs, theirs): tensor for theirs, tensor in published.divide(kept).items()}, names


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
    name = family_of(decoder.config)
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")) | dict(token_ids or {})
    dtype = str(decoder.embed.weight.dtype).removeprefix("torch.")
    with new_folder(Path(folder)) as partial:
        write_tensors(partial / WEIGHTS, _published(decoder, FAMILIES[name].names))
        write_json(partial / CONFIG, {**_config_values(name, decoder.config), "dtype": dtype, **special})
        if tokenizer is not None:
            tokenizer.save(str(partial / TOKENIZER))
    return name


def family_of(config: Config) -> str:
    """The published family with exactly these switches."""
    for name in FAMILIES:
        try:
            same = _meaning(read_config(_config_values(name, config))) == _meaning(config)
        except UsageError:  # the family has no words for it
            same = False
        if same:
            return name
    raise UsageError(
        f"no published family of {', '.join(FAMILIES)} has these switches: {config}",
        "save it in our own format with save()",
    )


def _config_values(name: str, config: Config) -> dict[str, Any]:
    """config.json of a decoder in a family's words."""
    family = FAMILIES[name]
    return {
        "architectures": [family.architecture],
        "model_type": name,
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
        **({} if config.rope_base is None else family.rope_keys(config)),
        **family.keys(config),
    }


def _meaning(config: Config) -> Config:
    """The config, with what changes nothing in what is computed at its default."""
    mamba = config.mamba
    if mamba is not None:
        idle = ("chunk_size", "dt_min", "dt_max", "dt_init_floor", "a_min", "a_max")
        mamba = MambaConfig(**{name: value for name, value in vars(mamba).items() if name not in idle})
    scale, noble, loop = config.attention_scale, config.noble, config.looped
    return replace(
        config,
        loop=None if loop is None else replace(loop, depth_sampling="fixed", bptt=None),
        noble=None if noble is None or noble.rank == 0 else noble,
        pattern=shortest_pattern(config.letters),
        mamba=mamba,
        attention_scale=None if scale == config.d_head**-0.5 else scale,
    )


def _published(decoder: Decoder, names: Names) -> dict[str, Tensor]:
    letters = decoder.config.letters
    return names.unite({names.published(name, letters): tensor for name, tensor in decoder.state_dict().items()})
