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
`ssd.py`, then `checkpoint.py` and `huggingface.py` for files, and `text.py` for tokenizers and chats. Needs
`overwinter[local]`; names load when first used.
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
    from overwinter.model.huggingface import export
    from overwinter.model.mamba_state import MambaConfig, MambaState
    from overwinter.model.mixer import Mixer
    from overwinter.model.text import TextFormat, load_tokenizer

_HOMES = {
    "Cache": "cache",
    "Config": "config",
    "Decoder": "decoder",
    "KVCache": "cache",
    "Llama3Scaling": "config",
    "MambaConfig": "mamba_state",
    "MambaState": "mamba_state",
    "Mixer": "mixer",
    "TextFormat": "text",
    "YarnScaling": "config",
    "export": "huggingface",
    "fresh": "decoder",
    "load": "checkpoint",
    "load_tokenizer": "text",
    "save": "checkpoint",
}

__all__ = [
    "Cache",
    "Config",
    "Decoder",
    "KVCache",
    "Llama3Scaling",
    "MambaConfig",
    "MambaState",
    "Mixer",
    "TextFormat",
    "YarnScaling",
    "export",
    "fresh",
    "load",
    "load_tokenizer",
    "save",
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
