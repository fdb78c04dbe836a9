"""A model folder in another format: weights renamed, numbers rounded where asked, and everything about text taken along.

convert("path/to/llama", "path/to/new", to="overwinter", dtype="bfloat16")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from overwinter.errors import UsageError
from overwinter.model import huggingface
from overwinter.model.checkpoint import MODEL_TYPE, load, save
from overwinter.model.hub import find_folder
from overwinter.model.text import (
    GENERATION_CONFIG,
    MORE_TEMPLATES,
    SPECIAL_TOKENS,
    TEMPLATE,
    TOKENIZER_CONFIG,
    TextFormat,
)
from overwinter.model.weights import new_folder

_KEPT = (TOKENIZER_CONFIG, SPECIAL_TOKENS, GENERATION_CONFIG, TEMPLATE)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a conversion wrote. `text_files` lie beside config and weights."""

    family: str
    parameters: int
    dtype: str
    text_files: tuple[str, ...]


def convert(
    source: str | Path, target: str | Path, *, to: Literal["hf", "overwinter"] | str, dtype: str = ""
) -> Written:
    """Write the model of `source` to `target`, which must not exist or be empty.

    Args:
        to: "hf" for the published family with these switches, which transformers loads; "overwinter" for our own format.
        dtype: of the new weights; "" keeps what the files hold.

    Raises:
        UsageError: no published family has these switches, a file is damaged, or the target has content.
    """
    folder = find_folder(source)
    decoder = load(folder, dtype=getattr(torch, dtype) if dtype else None)
    text = _text_of(folder)
    tokenizer = None if text is None else text.tokenizer
    ids = {} if text is None else _ids(text)
    files = {} if text is None else _files(folder, ids)
    with new_folder(Path(target)) as partial:  # whoever sees the target sees the text files too
        if to == "hf":
            family = huggingface.export(decoder, partial, tokenizer=tokenizer, token_ids=_single(ids))
        else:
            family = MODEL_TYPE
            save(decoder, partial, tokenizer=tokenizer)
        for name, content in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(content)
    return Written(
        family=family,
        parameters=sum(parameter.numel() for parameter in decoder.parameters()),
        dtype=str(decoder.embed.weight.dtype).removeprefix("torch."),
        text_files=tuple(sorted([*files, *(["tokenizer.json"] if text is not None else [])])),
    )


def _text_of(folder: Path) -> TextFormat | None:
    """The text side; None for weights without a tokenizer, which are weights nevertheless."""
    try:
        return TextFormat.load(folder)
    except UsageError:
        if any(folder.glob("tokenizer*")):
            raise
        return None


def _ids(text: TextFormat) -> dict[str, int | list[int]]:
    ends = sorted(text.end_ids)
    found: dict[str, int | list[int]] = {} if text.bos_id is None else {"bos_token_id": text.bos_id}
    return {**found, **({"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {})}


def _single(ids: Mapping[str, int | list[int]]) -> dict[str, int]:
    """For config.json, which names one end token; generation_config.json beside it names all."""
    return {name: given[0] if isinstance(given, list) else given for name, given in ids.items()}


def _files(folder: Path, ids: Mapping[str, int | list[int]]) -> dict[str, bytes]:
    """Special tokens, end tokens and templates by file name. Our own config.json has no place for end tokens, so there
    is always a generation_config.json that names them."""
    paths = [folder / name for name in _KEPT] + sorted((folder / MORE_TEMPLATES).glob("*.jinja"))
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    generation = json.loads(files.get(GENERATION_CONFIG, b"{}"))
    files[GENERATION_CONFIG] = (json.dumps({**generation, **ids}, indent=2, sort_keys=True) + "\n").encode()
    return files
