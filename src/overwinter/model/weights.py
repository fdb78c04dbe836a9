"""Tensors in and out of folders: every damage an error with a name, and no folder half written.

Reading takes one `model.safetensors` or the shards of `model.safetensors.index.json`. Writing fills a hidden folder beside the
target, syncs each file, and renames it: whoever sees the target sees all of it. A target with content is never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from overwinter.errors import UsageError

CONFIG, WEIGHTS, INDEX, TOKENIZER = "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"
SHOWN = 5
"""How many names an error lists before it says how many more there are."""

_FETCH_AGAIN = "copy or download the checkpoint again"


def read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no {path.name} in {path.parent}", "name the folder of a checkpoint") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", _FETCH_AGAIN) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} does not hold a JSON object", _FETCH_AGAIN)
    return values


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by their names in the files."""
    if (folder / WEIGHTS).exists():
        return _read_file(folder / WEIGHTS)
    if not (folder / INDEX).exists():
        raise UsageError(
            f"{folder} has neither {WEIGHTS} nor {INDEX}", "only safetensors are read; convert other formats first"
        )
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UsageError(f"{folder / INDEX} has no weight_map", _FETCH_AGAIN)
    shards = sorted({str(shard) for shard in places.values()})
    foreign = [shard for shard in shards if Path(shard).name != shard]
    if foreign:
        raise UsageError(
            f"{INDEX} points out of its folder: {listed(foreign)}", "use a checkpoint from a source you trust"
        )
    absent = [shard for shard in shards if not (folder / shard).exists()]
    if absent:
        raise UsageError(f"{folder} lacks {len(absent)} of {len(shards)} shards: {listed(absent)}", _FETCH_AGAIN)
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors.update(_read_file(folder / shard))
    lost = sorted(set(places) - set(tensors))
    if lost:
        raise UsageError(f"{INDEX} promises tensors that no shard holds: {listed(lost)}", _FETCH_AGAIN)
    return tensors


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping, only keys())
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size if path.exists() else 0
        raise UsageError(f"{path} is damaged or cut short ({size} bytes): {error}", _FETCH_AGAIN) from error


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, names: Mapping[str, str] | None = None) -> None:
    """Put tensors in place of the module's parameters, all of them or none.

    Args:
        module: whose parameters; may be on torch's "meta" device.
        tensors: by the module's names.
        names: the module's name → the name in the file, for messages.
    """
    shown = dict(names or {})
    wanted = module.state_dict()
    missing = [shown.get(name, name) for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        problems = [
            f"{word}: {listed(found)}" for word, found in (("missing", missing), ("unexpected", extra)) if found
        ]
        raise UsageError(
            f"the tensors do not match the config; {'; '.join(problems)}",
            "check that config and weights belong together",
        )
    for name, place in wanted.items():
        tensor = tensors[name]
        if tensor.shape != place.shape:
            raise UsageError(
                f"tensor {shown.get(name, name)} has shape {tuple(tensor.shape)}, the config asks for {tuple(place.shape)}",
                "check that config and weights belong together",
            )
        if not tensor.is_floating_point():
            raise UsageError(
                f"tensor {shown.get(name, name)} is {tensor.dtype}",
                "quantised weights are not read; use the plain ones",
            )
    module.load_state_dict(dict(tensors), assign=True)


def listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder to fill; it becomes `target` when the block ends well and vanishes when it does not."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder", "choose another name; nothing is overwritten")
    partial = target.parent / f".{target.name}.{uuid.uuid4().hex}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in partial.iterdir():
            _sync(path)
        _sync(partial)
        partial.rename(target)
        _sync(target.parent)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{target} cannot be written: {error}", "check space and permissions there") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        kept = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    save_file(kept, path, metadata={"format": "pt"})


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
