"""One call loads a folder or a name on the hub, whoever wrote it; another saves our own shapes.

    decoder = load("path/to/folder")     # config.json says: one of the published families, or "overwinter"
    decoder = load("org/name")           # a model on the Hugging Face hub, from its cache if it is there
    save(decoder, "path/to/new-folder")

Our config.json is the `Config` field by field under `"model_type": "overwinter"`, with the number of the format. Tensors keep
the names they have in the decoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from overwinter.errors import UsageError
from overwinter.model import huggingface
from overwinter.model.config import Config
from overwinter.model.decoder import Decoder
from overwinter.model.hub import find_folder
from overwinter.model.weights import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    fill,
    new_folder,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODEL_TYPE, FORMAT = "overwinter", 1


def load(folder: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu") -> Decoder:
    """A decoder with the weights of a folder, ready for inference.

    Args:
        folder: holds config.json and safetensors; or a name on the hub (hub.py).
        dtype: default is what the file holds.
        device: where the weights go.
    """
    folder = find_folder(folder)
    values = read_json(folder / CONFIG)
    own = values.get("model_type") == MODEL_TYPE
    config = _own_config(values) if own else huggingface.read_config(values)
    # On "meta" a decoder is shapes only: no memory and no drawing of weights that are replaced anyway.
    with torch.device("meta"):
        decoder = Decoder(config)
    tensors = read_tensors(folder)
    if own:
        fill(decoder, tensors)
    else:
        renamed, names = huggingface.rename(tensors, decoder, values)
        fill(decoder, renamed, names=names)
    return decoder.to(device=device, dtype=dtype).eval()


def save(decoder: Decoder, folder: str | Path, *, tokenizer: Tokenizer | None = None) -> None:
    """Write config, weights and tokenizer to a folder that does not exist yet, or is empty."""
    with new_folder(Path(folder)) as partial:
        write_tensors(partial / WEIGHTS, decoder.state_dict())
        write_json(partial / CONFIG, {"model_type": MODEL_TYPE, "format": FORMAT, **decoder.config.to_dict()})
        if tokenizer is not None:
            tokenizer.save(str(partial / TOKENIZER))


def _own_config(values: dict[str, object]) -> Config:
    if values.get("format") != FORMAT:
        raise UsageError(
            f"{CONFIG} is of format {values.get('format')!r}, this version reads {FORMAT}",
            "update overwinter to read it",
        )
    return Config.from_dict({key: value for key, value in values.items() if key not in ("model_type", "format")})
