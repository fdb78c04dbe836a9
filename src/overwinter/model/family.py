"""What a published architecture is to us: switches read from its config.json, keys to write there, names of its tensors.

A family that cannot say a switch need not know of it: before a decoder is exported, the keys are read back, and where that
gives another config the family is the wrong one (huggingface.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.model.config import Config, Llama3Scaling, RopeScaling, YarnScaling
from overwinter.model.rope import yarn_attention_factor

Values = Mapping[str, Any]

FETCH_AGAIN = "copy or download the checkpoint again"
TOP = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
ATTENTION = {
    "mixer.q_norm": "self_attn.q_norm",
    "mixer.k_norm": "self_attn.k_norm",
    **{f"mixer.{part}": f"self_attn.{part}_proj" for part in "qkvo"},
}
PARTS = {
    "mixer_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    **ATTENTION,
    **{f"mlp.{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")},
}
_HALF = re.compile(r" \((\d) of 2\)$")


@dataclass(frozen=True, kw_only=True)
class Names:
    """Where a family keeps our tensors."""

    top: Mapping[str, str] = field(default_factory=lambda: TOP)
    parts: Mapping[str, str] = field(default_factory=lambda: PARTS)
    """Module of a block → module of a layer."""
    layers: str = "model.layers"
    halves: tuple[str, ...] = ()
    """Two modules of a block that are one there, the first above the second."""
    split_blocks: bool = False
    """Mixer and MLP are layers of their own there."""

    def published(self, name: str, letters: str) -> str:
        """The name of one of our tensors in the family's files; a half of a tensor is "name (1 of 2)"."""
        if name in self.top:
            return self.top[name]
        _, number, part = name.split(".", 2)
        module, _, kind = part.rpartition(".")
        layer = int(number)
        if self.split_blocks:
            layer += sum(letter.isupper() for letter in letters[:layer]) + module.startswith("mlp")
        half = f" ({self.halves.index(module) + 1} of 2)" if module in self.halves else ""
        return f"{self.layers}.{layer}.{self.parts[module]}.{kind}{half}"

    def divide(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of a file, with those that hold two of ours in halves."""
        whole = {self.parts[module] for module in self.halves}
        divided: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            module = name.removeprefix(f"{self.layers}.").partition(".")[2].rpartition(".")[0]
            if module in whole:
                middle = tensor.shape[0] // 2
                divided |= {f"{name} (1 of 2)": tensor[:middle], f"{name} (2 of 2)": tensor[middle:]}
            else:
                divided[name] = tensor
        return divided

    def unite(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The way back."""
        united: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if (match := _HALF.search(name)) is None:
                united[name] = tensor
            elif match[1] == "1":
                whole = name.removesuffix(match[0])
                united[whole] = torch.cat([tensor, tensors[f"{whole} (2 of 2)"]])
        return united


def rope_switches(values: Values) -> dict[str, Any]:
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
        raise UsageError(f"{kind} rope lacks {error}", FETCH_AGAIN) from error
    return {"rope_base": base, "rope_scaling": scaling}


def whole_rope_switches(values: Values) -> dict[str, Any]:
    """Of a family that always turns whole heads."""
    for part in (values, values.get("rope_parameters") or {}):
        if part.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise UsageError(
                f"partial_rotary_factor is not built for {values.get('model_type')}",
                "use a checkpoint that turns whole heads",
            )
    return rope_switches(values)


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


def scaling_keys(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """What `rope_scaling` says of a scaling."""
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


@dataclass(frozen=True, kw_only=True)
class Family:
    """One published architecture."""

    architecture: str
    switches: Callable[[Values], dict[str, Any]]
    """Config fields beyond the common shape."""
    keys: Callable[[Config], dict[str, Any]]
    """Keys of config.json beyond the common shape."""
    defaults: Values = field(default_factory=dict)
    """What a config.json that leaves a key out means by it."""
    common: Callable[[Values], dict[str, Any]] = dict
    """Its values, with the common keys under their common names."""
    rope: Callable[[Values], dict[str, Any]] = whole_rope_switches
    """Config fields of the rotary positions."""
    rope_keys: Callable[[Config], dict[str, Any]] = lambda c: {
        "rope_theta": c.rope_base,
        "rope_scaling": scaling_keys(c.rope_scaling),
    }
    """Keys of config.json for them."""
    names: Names = field(default_factory=Names)
