"""A training at one step as a folder: whoever finds it goes on to the same bits, and it is a model folder besides.

    write_checkpoint(folder, step, decoder, optimiser, {"taken": mixture.taken}, text=tokenizer_folder)
    step, state = restore(latest(folder), decoder, optimiser)

`step-00000100/` holds config.json and model.safetensors (so `load`, `overwinter generate` and `serve` take it), the tokenizer's
files, `optimiser.safetensors` (moments by name, and the random generators), and `state.json`: the step and whatever the loop must
remember, plain JSON. It is written under a hidden name, synced and renamed: a process killed at any moment leaves the checkpoint
before, and perhaps a hidden folder, which the next write clears away.

Usable without the trainer: any decoder, any `Optimiser`, any JSON state. With FSDP every process calls, and process 0 writes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.learn.train.optim import Optimiser
from overwinter.model.checkpoint import FORMAT as MODEL_FORMAT
from overwinter.model.checkpoint import MODEL_TYPE
from overwinter.model.config import Config
from overwinter.model.weights import (
    CONFIG,
    WEIGHTS,
    listed,
    new_folder,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)

OPTIMISER, STATE, FORMAT = "optimiser.safetensors", "state.json", 1
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_NAME = re.compile(r"step-(\d{8})")
_RNG = "random/"


def write_checkpoint(
    folder: Path,
    step: int,
    decoder: nn.Module,
    optimiser: Optimiser,
    state: Mapping[str, Any],
    *,
    text: Path | None = None,
    keep: int = 2,
    writes: bool = True,
) -> Path:
    """Write `folder/step-NNNNNNNN` and remove all but the last `keep` before it.

    Args:
        folder: of all checkpoints of one training.
        step: optimiser steps taken so far.
        decoder: the model.
        optimiser: its optimiser.
        state: what else the loop must remember: plain JSON.
        text: a folder whose tokenizer files are copied along.
        keep: how many checkpoints stay; at least 1.
        writes: false on all processes but the first, which only help to gather what is split.
    """
    weights, moments = whole(decoder.state_dict()), whole(optimiser.state_tensors())
    target = folder / f"step-{step:08d}"
    if not writes:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".step-*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    if target.exists():
        shutil.rmtree(target)  # a stretch that was rolled back
    with new_folder(target) as partial:
        write_model(partial, weights, decoder, text=text)
        write_tensors(partial / OPTIMISER, {**moments, **_random_state()})
        write_json(partial / STATE, {"format": FORMAT, "step": step, "state": dict(state)})
    for old in _all(folder)[: -max(1, keep)]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def write_model(partial: Path, weights: Mapping[str, Tensor], decoder: nn.Module, *, text: Path | None) -> None:
    """The files of a model folder into a folder that exists."""
    config = decoder.config
    assert isinstance(config, Config)
    write_tensors(partial / WEIGHTS, weights)
    write_json(partial / CONFIG, {"model_type": MODEL_TYPE, "format": MODEL_FORMAT, **config.to_dict()})
    for name in TEXT_FILES:
        if text is not None and (text / name).exists():
            shutil.copyfile(text / name, partial / name)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in a folder; None if there is none."""
    found = _all(folder)
    return found[-1] if found else None


def restore(checkpoint: Path, decoder: nn.Module, optimiser: Optimiser) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint into a decoder and an optimiser of the same making, and the random generators back.

    Returns:
        The step and the state, as they were given to `write_checkpoint`.

    Raises:
        UsageError: the checkpoint is damaged or belongs to something else.
    """
    record = read_json(checkpoint / STATE)
    if record.get("format") != FORMAT:
        raise UsageError(f"{checkpoint} has format {record.get('format')!r}, this version reads {FORMAT}", "update")
    _fill(decoder, read_tensors(checkpoint), checkpoint)
    tensors = _read(checkpoint / OPTIMISER)
    randoms = {name.removeprefix(_RNG): tensors.pop(name) for name in list(tensors) if name.startswith(_RNG)}
    optimiser.load_state_tensors(tensors)
    torch.set_rng_state(randoms["cpu"])
    if "cuda" in randoms and torch.cuda.is_available():
        torch.cuda.set_rng_state(randoms["cuda"])
    return int(record["step"]), dict(record["state"])


def write_json_whole(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    write_json(partial, values)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that are split over processes, put together; others as they are."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = getattr(tensor, "full_tensor", None)
        found[name] = tensor.detach() if full is None else full().detach()
    return found


@torch.no_grad()
def _fill(decoder: nn.Module, tensors: Mapping[str, Tensor], checkpoint: Path) -> None:
    """In place: the optimiser holds on to these parameters."""
    wanted = decoder.state_dict()
    wrong = [name for name in {*wanted, *tensors} if name not in wanted or name not in tensors]
    wrong += [name for name in wanted if name in tensors and wanted[name].shape != tensors[name].shape]
    if wrong:
        raise UsageError(
            f"{checkpoint} does not fit the model: {listed(sorted(wrong))}", "resume with the recipe it was made with"
        )
    for name, place in wanted.items():
        if hasattr(place, "full_tensor"):
            from torch.distributed.tensor import DTensor, distribute_tensor

            assert isinstance(place, DTensor)
            value = tensors[name].to(place.device)
            place.copy_(distribute_tensor(value, place.device_mesh, place.placements, src_data_rank=None))
        else:
            place.copy_(tensors[name])


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping, only keys())
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", "remove this checkpoint and resume from the one before"
        ) from error


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and (path / STATE).exists())


def _random_state() -> dict[str, Tensor]:
    states = {_RNG + "cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states[_RNG + "cuda"] = torch.cuda.get_rng_state()
    return states
