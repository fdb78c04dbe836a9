"""The decoder: one network whose parts are switches of one frozen `Config`, in plain PyTorch, clear and right first.

    from overwinter.model import load

    decoder = load("path/to/checkpoint")        # a Hugging Face folder, or one of our own
    cache = decoder.new_cache()
    logits_BLV = decoder(ids_BL, cache)         # a prompt, a piece of a prompt, or one token

Invariants: a switch that is off leaves exactly the plain decoder; a prompt at once, in pieces and token by token give the
same logits; what a cache forgets (`truncate`, `restore`) never shows in later logits; a file that does not fit is an error
that names the tensor and both shapes.

Reading order: `config.py` (the switches), `decoder.py` (the whole network on one page), `mixer.py` (what a layer's token
mixing must offer, and where the next kind plugs in), `attention.py`, `rope.py`, `cache.py`, `mamba2.py`, `mamba_state.py`,
`ssd.py`; `residual.py`, `loop.py` and `loop_training.py` for depth; then `checkpoint.py` and `huggingface.py` for files, and
`text.py` for tokenizers and chats. Needs `overwinter[local]`; names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.model.cache import Cache, KVCache
    from overwinter.model.checkpoint import load, save
    from overwinter.model.config import Config, Llama3Scaling, YarnScaling
    from overwinter.model.decoder import Decoder, fresh
    from overwinter.model.embedding import LowrankConfig, Retraction, retractions
    from overwinter.model.groups import ParameterGroup, parameter_groups, torch_groups
    from overwinter.model.huggingface import export
    from overwinter.model.initialise import Init
    from overwinter.model.loop import LoopConfig
    from overwinter.model.loop_training import LoopLosses, gate_loss, joint_loss, last_loss, loop_losses, sample_depths
    from overwinter.model.mamba_state import MambaConfig, MambaState
    from overwinter.model.mixer import Mixer
    from overwinter.model.noble import NobleConfig, default_rank, noble_cost
    from overwinter.model.ole import ole_loss
    from overwinter.model.residual import AttnResConfig
    from overwinter.model.text import TextFormat, load_tokenizer

_HOMES = {
    "AttnResConfig": "residual",
    "Cache": "cache",
    "Config": "config",
    "Decoder": "decoder",
    "Init": "initialise",
    "KVCache": "cache",
    "Llama3Scaling": "config",
    "LoopConfig": "loop",
    "LoopLosses": "loop_training",
    "LowrankConfig": "embedding",
    "MambaConfig": "mamba_state",
    "MambaState": "mamba_state",
    "Mixer": "mixer",
    "NobleConfig": "noble",
    "ParameterGroup": "groups",
    "Retraction": "embedding",
    "TextFormat": "text",
    "YarnScaling": "config",
    "default_rank": "noble",
    "export": "huggingface",
    "fresh": "decoder",
    "gate_loss": "loop_training",
    "joint_loss": "loop_training",
    "last_loss": "loop_training",
    "load": "checkpoint",
    "load_tokenizer": "text",
    "loop_losses": "loop_training",
    "noble_cost": "noble",
    "ole_loss": "ole",
    "parameter_groups": "groups",
    "retractions": "embedding",
    "sample_depths": "loop_training",
    "save": "checkpoint",
    "torch_groups": "groups",
}

__all__ = [
    "AttnResConfig",
    "Cache",
    "Config",
    "Decoder",
    "Init",
    "KVCache",
    "Llama3Scaling",
    "LoopConfig",
    "LoopLosses",
    "LowrankConfig",
    "MambaConfig",
    "MambaState",
    "Mixer",
    "NobleConfig",
    "ParameterGroup",
    "Retraction",
    "TextFormat",
    "YarnScaling",
    "default_rank",
    "export",
    "fresh",
    "gate_loss",
    "joint_loss",
    "last_loss",
    "load",
    "load_tokenizer",
    "loop_losses",
    "noble_cost",
    "ole_loss",
    "parameter_groups",
    "retractions",
    "sample_depths",
    "save",
    "torch_groups",
]

_missing = [name for name in ("torch", "safetensors", "tokenizers", "jinja2") if find_spec(name) is None]
if _missing:
    raise UsageError(
        f"local models need {', '.join(_missing)}, which this install does not have",
        "pip install 'overwinter[local]'",
    )


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'overwinter.model' has no attribute {name!r}")
    return getattr(import_module(f"overwinter.model.{_HOMES[name]}"), name)
