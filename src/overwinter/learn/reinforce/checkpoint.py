"""Where a training stands, on disk: whole or not at all, and read back to the bit.

    FOLDER/checkpoints/000012/     weights and config as a model folder, optimiser.safetensors, memory.safetensors, state.json
    FOLDER/best-000010/            the model folder of the best evaluation so far
    FOLDER/metrics.jsonl           one line per iteration
    FOLDER/events.jsonl            what happened beside: resumed, evaluated better, guarded

Random numbers need no state: all are made from (seed, iteration), (seed, group, member, step). So the state is weights, moments, the
number of the iteration, an entropy coefficient, and what guard and credit estimator remember.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from overwinter.errors import StoreError, UsageError
from overwinter.model import Decoder
from overwinter.model.checkpoint import save as save_model
from overwinter.model.weights import WEIGHTS, fill, new_folder, read_json, write_json, write_tensors

CHECKPOINTS, METRICS, EVENTS, STATE = "checkpoints", "metrics.jsonl", "events.jsonl", "state.json"
OPTIMISER, MEMORY = "optimiser.safetensors", "memory.safetensors"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class State:
    """Attributes:
    iteration: how many are done.
    version: of the policy's weights.
    entropy_coef: of an adaptive bonus.
    best: of evaluations so far; None before the first.
    config: what was asked for, as JSON values; a resume with another one is refused.
    guard: what a guard remembers; None without one.
    memory: what the credit estimator remembers.
    """

    iteration: int
    version: int
    entropy_coef: float
    best: float | None
    config: Mapping[str, Any]
    guard: Mapping[str, Any] | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)


def save(folder: Path, state: State, decoder: Decoder, optimiser: Mapping[str, Tensor], *, keep: int) -> Path:
    """Write a checkpoint and delete all but the newest `keep`."""
    target = folder / CHECKPOINTS / f"{state.iteration:06d}"
    if target.exists():  # written by an attempt that ended before it said so elsewhere
        shutil.rmtree(target)
    with new_folder(target) as partial:
        model = partial / "model"
        save_model(decoder, model)
        for path in model.iterdir():
            path.rename(partial / path.name)
        model.rmdir()
        write_tensors(partial / OPTIMISER, optimiser)
        if state.memory:
            write_tensors(partial / MEMORY, state.memory)
        values = {name: value for name, value in vars(state).items() if name != "memory"}
        write_json(partial / STATE, {"format": FORMAT, **values})
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    place = folder / CHECKPOINTS
    return sorted(path for path in place.iterdir() if path.name.isdigit()) if place.is_dir() else []


def load(path: Path, decoder: Decoder) -> tuple[State, dict[str, Tensor]]:
    """Fill the decoder with a checkpoint's weights; returns the state and the optimiser's tensors.

    Raises:
        StoreError: the state is of a newer format.
        UsageError: the weights are of another decoder.
    """
    values = read_json(path / STATE)
    if values.pop("format", None) != FORMAT:
        raise StoreError(f"{path} was written by another version of overwinter", "resume with that version")
    held = dict(decoder.state_dict())
    weights = _read(path / WEIGHTS)
    fill_in_place(decoder, weights, held)
    memory = _read(path / MEMORY) if (path / MEMORY).exists() else {}
    return State(**values, memory=memory), _read(path / OPTIMISER)


def fill_in_place(decoder: Decoder, weights: Mapping[str, Tensor], held: Mapping[str, Tensor]) -> None:
    """Copy into the tensors that are there: an optimiser holds on to them."""
    if set(weights) != set(held) or any(weights[name].shape != held[name].shape for name in held):
        fill(decoder, weights)  # says what does not fit
        raise UsageError("the weights are of another decoder", "resume with the decoder that was trained")
    with torch.no_grad():
        for name, tensor in held.items():
            tensor.copy_(weights[name])


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path} is damaged: {error}", "delete this checkpoint; the one before it is used") from error


class Lines:
    """A file of JSON lines that is only added to; each line is on disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, values: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_plain(values), sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; a last one that a crash cut is left out."""
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def cut(self, iteration: int) -> None:
        """Drop lines of iterations from this one on: they are done again."""
        kept = [line for line in self.read() if line.get("iteration", 0) < iteration]
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self._path)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinities."""
    return {
        name: None if isinstance(value, float) and not abs(value) < float("inf") else value
        for name, value in values.items()
    }


def keep_reference(folder: Path, decoder: Decoder) -> None:
    """Write the decoder's weights as the reference, or fill it with those that were written before."""
    place = folder / "reference"
    if place.exists():
        fill_in_place(decoder, _read(place / WEIGHTS), dict(decoder.state_dict()))
        return
    save_model(decoder, place)


def keep_best(folder: Path, decoder: Decoder, iteration: int) -> None:
    """Write the weights as the best so far, and delete those that were."""
    target = folder / f"best-{iteration:06d}"
    if not target.exists():  # a resume comes by here again, with the same weights
        save_model(decoder, target)
    for old in folder.glob("best-*"):
        if old != target:
            shutil.rmtree(old)
