"""A training at one moment, to come back to: weights, moments, settings of the optimiser, random numbers, and whatever the loop adds.

    snapshot = Snapshot.take(step, model, optimizers, extra=…)      copies on the host; nothing in it is written to again
    snapshot.restore(model, optimizers)                             the same bits as then

Optimisers are taken parameter by parameter instead of by their `load_state_dict`, which casts moments to the type of the parameters. In a
folder, tensors are safetensors and the rest is JSON (`write`, `read`); no pickle.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from overwinter.errors import UsageError
from overwinter.learn.stability.signals import local
from overwinter.model.weights import new_folder, read_json, write_tensors

FORMAT = 1
TENSOR, ARRAY, TUPLE, INT_KEYS, FLOAT = "__tensor__", "__array__", "__tuple__", "__int_keys__", "__float__"


class Optimizer(Protocol):
    """What is needed of an optimiser; all of torch's have it."""

    param_groups: list[dict[str, Any]]
    state: Any


def random_state() -> dict[str, Any]:
    """The generators that everybody shares: Python's, NumPy's, torch's on the CPU and on each GPU."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Copies of everything that decides how a training goes on."""

    step: int
    model: Mapping[str, Tensor]
    optimizers: tuple[Mapping[str, Any], ...]
    random: Mapping[str, Any]
    extra: Mapping[str, Any]
    """Of the loop: the data cursor, the scheduler, its own generators."""

    @classmethod
    def take(
        cls, step: int, model: nn.Module, optimizers: Sequence[Optimizer], *, extra: Mapping[str, Any] | None = None
    ) -> Snapshot:
        return cls(
            step=step,
            model=on_host(dict(model.state_dict())),
            optimizers=tuple(_optimizer_state(optimizer) for optimizer in optimizers),
            random=copied(random_state()),
            extra=copied(dict(extra or {})),
        )

    def restore(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put everything back but `extra`, which is the loop's own to put back."""
        present = model.state_dict()
        if any(local(value) is not value for value in present.values() if isinstance(value, Tensor)):
            # Split over processes: each puts its own part back.
            for name, value in present.items():
                local(value).copy_(self.model[name])
        else:
            model.load_state_dict(dict(self.model))
        for optimizer, state in zip(optimizers, self.optimizers, strict=True):
            _restore_optimizer(optimizer, state)
        set_random_state(copied(self.random))

    def write(self, folder: Path) -> None:
        """To a folder that does not exist yet."""
        write_folder(folder, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, folder: Path) -> Snapshot:
        return cls(**read_folder(folder))


class Shelf:
    """The last snapshots, in memory, or in a folder that the next process finds again.

    Close by and far back at once: when there are too many, the one goes that is missed least, which is where neighbours are near for their
    age. One that lies further back than `reach` steps goes first. A snapshot counts as healthy when the steps after it were
    (`confirm`): a sick state can look well for a while.
    """

    def __init__(self, kept: int, folder: Path | None = None, *, reach: int = 1000) -> None:
        self.kept, self.folder, self.reach = kept, folder, reach
        self._held: dict[int, Snapshot | Path] = {}
        self.healthy: set[int] = set()
        if folder is not None:
            found = sorted(folder.glob("step-*")) if folder.is_dir() else []
            self._held = {int(path.name.removeprefix("step-")): path for path in found}

    @property
    def steps(self) -> list[int]:
        return sorted(self._held)

    def add(self, snapshot: Snapshot) -> None:
        """Keep one more."""
        if self.folder is None:
            self._held[snapshot.step] = snapshot
        else:
            path = self.folder / f"step-{snapshot.step:09d}"
            if path.exists():
                _discard(path)
            snapshot.write(path)
            self._held[snapshot.step] = path
        self.healthy.discard(snapshot.step)
        while len(self._held) > self.kept:
            self.drop(self._least_missed())

    def _least_missed(self) -> int:
        steps = self.steps
        newest = steps[-1]
        if newest - steps[0] > self.reach or len(steps) < 3:
            return steps[0]
        inner = range(1, len(steps) - 1)
        return steps[min(inner, key=lambda at: (steps[at + 1] - steps[at - 1]) / (newest - steps[at - 1]))]

    def confirm(self, until: int) -> None:
        """What was taken at or before a step has proven healthy."""
        self.healthy |= {step for step in self._held if step <= until}

    def drop(self, step: int) -> None:
        held = self._held.pop(step)
        self.healthy.discard(step)
        if isinstance(held, Path):
            _discard(held)

    def before(self, step: int) -> Snapshot | None:
        """The newest healthy one that is older than a step, else the newest older, else the oldest there is; None from an empty shelf."""
        if not self._held:
            return None
        older = [each for each in self.steps if each < step]
        proven = [each for each in older if each in self.healthy]
        held = self._held[(proven or older or self.steps[:1])[-1]]
        return Snapshot.read(held) if isinstance(held, Path) else held

    def drop_after(self, step: int) -> None:
        """Forget what was taken later: that future is not going to happen."""
        for each in [each for each in self.steps if each > step]:
            self.drop(each)


def copied(value: Any) -> Any:
    """The same values, sharing no memory with the given ones."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(copied(each) for each in value)
    if isinstance(value, list):
        return [copied(each) for each in value]
    return value


def on_host(value: Any) -> Any:
    """The same values as copies on the CPU, for an accelerator's memory is not there to hold the past."""
    if isinstance(value, Tensor):
        return local(value.detach()).to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: on_host(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_host(each) for each in value)
    return copied(value)


def write_folder(folder: Path, values: Mapping[str, Any]) -> None:
    """Nested values to a new folder: state.json in the order given, and state.safetensors."""
    tensors: dict[str, Tensor] = {}
    packed = json.dumps({"format": FORMAT, "state": pack(values, tensors)}, allow_nan=False)
    with new_folder(folder) as partial:
        (partial / "state.json").write_text(packed + "\n", encoding="utf-8")
        write_tensors(partial / "state.safetensors", tensors)


def read_folder(folder: Path) -> dict[str, Any]:
    """What `write_folder` wrote."""
    values = read_json(folder / "state.json")
    if values.get("format") != FORMAT:
        raise UsageError(
            f"{folder} is of format {values.get('format')!r}, this version reads {FORMAT}",
            "update overwinter to read it",
        )
    try:
        tensors = load_file(folder / "state.safetensors")
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{folder} is damaged: {error}", "remove it; the guard makes a new one in time") from error
    found: dict[str, Any] = unpack(values["state"], tensors)
    return found


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """As JSON values, with the tensors put aside under the places they have."""
    if isinstance(value, Tensor):
        name = path or "value"
        tensors[name] = value.detach().clone()
        return {TENSOR: name}
    if isinstance(value, np.ndarray):
        return {ARRAY: value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if value and all(isinstance(key, int) for key in value):
            return {INT_KEYS: [[key, pack(each, tensors, f"{path}.{key}")] for key, each in value.items()]}
        return {str(key): pack(each, tensors, f"{path}.{key}" if path else str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        packed = [pack(each, tensors, f"{path}.{at}") for at, each in enumerate(value)]
        return {TUPLE: packed} if isinstance(value, tuple) else packed
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(
        f"{path or 'the state'} is a {type(value).__name__}, which a checkpoint cannot hold",
        "give tensors, arrays, numbers, texts, and lists and dicts of these",
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What was packed."""
    if isinstance(value, list):
        return [unpack(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return tensors[value[TENSOR]]
    if ARRAY in value:
        return np.asarray(value[ARRAY], dtype=value["dtype"])
    if TUPLE in value:
        return tuple(unpack(each, tensors) for each in value[TUPLE])
    if FLOAT in value:
        return float(value[FLOAT])
    if INT_KEYS in value:
        return {key: unpack(each, tensors) for key, each in value[INT_KEYS]}
    return {key: unpack(each, tensors) for key, each in value.items()}


def _optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    groups = [
        {name: on_host(value) for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        at: on_host(optimizer.state[parameter])
        for at, parameter in enumerate(parameters)
        if parameter in optimizer.state
    }
    return {"groups": groups, "state": state}


def _restore_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    for group, values in zip(optimizer.param_groups, saved["groups"], strict=True):
        group.update({name: _placed(value, group.get(name), "cpu") for name, value in values.items()})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for at, parameter in enumerate(parameters):
        present = optimizer.state.pop(parameter, {})
        if at in saved["state"]:
            optimizer.state[parameter] = {
                name: _placed(value, present.get(name), parameter.device if _is_wide(value) else "cpu")
                for name, value in saved["state"][at].items()
            }


def _is_wide(value: Any) -> bool:
    """Moments lie with their parameter; the number of steps, which has no axes, on the CPU unless it was elsewhere."""
    return isinstance(value, Tensor) and value.dim() > 0


def _placed(value: Any, present: Any, device: torch.device | str) -> Any:
    """A copy where the present value lies, or on a device if there is none."""
    if isinstance(value, Tensor) and isinstance(present, Tensor) and local(present) is not present:
        part = present.clone()
        local(part).copy_(value)
        return part
    if isinstance(value, Tensor):
        return value.detach().to(present.device if isinstance(present, Tensor) else device, copy=True)
    return copied(value)


def _discard(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
