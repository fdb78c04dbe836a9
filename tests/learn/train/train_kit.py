"""Tiny decoders for the trainer's tests."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from overwinter.learn.train.recipe import Recipe, recipe_of
from overwinter.model import Config, Decoder, Init, MambaConfig, fresh

torch.set_num_threads(1)

SHAPE: dict[str, Any] = {
    "vocab_size": 33,
    "d_model": 16,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": 2,
    "d_head": 8,
    "d_mlp": 32,
    "context": 64,
}
HYBRID: dict[str, Any] = {"pattern": "MA", "mamba": MambaConfig(n_heads=2, head_dim=8, d_state=4, chunk_size=8)}


def tiny(seed: int = 0, init: Init | None = None, **switches: Any) -> Decoder:
    return fresh(Config(**{**SHAPE, **switches}), seed=seed, init=init)


TEXT = "".join(f"{n} and {n + 1} make {2 * n + 1}.\n" for n in range(60))
"""Something that a tiny decoder learns a little of in a few steps."""


def recipe(folder: Path, **tables: dict[str, Any]) -> Recipe:
    """A recipe of a few steps on `TEXT`; `tables` are merged into it."""
    if not (folder / "text.txt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "text.txt").write_text(TEXT)
    model = {key: value for key, value in SHAPE.items() if key not in ("vocab_size", "context")}
    table: dict[str, Any] = {
        "data": {"sources": [{"path": "text.txt"}], "context": 16, "holdout": 0.1, "holdout_by": "tail"},
        "tokenizer": {"kind": "chars"},
        "model": model,
        "schedule": {"steps": 6, "warmup": 2},
        "run": {"batch_rows": 4, "checkpoint_every": 2, "log_every": 1, "device": "cpu"},
    }
    for name, values in tables.items():
        table[name] = {**table.get(name, {}), **values}
    return recipe_of(table, folder=folder)


def weights_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def in_child(work: Callable[[], object], *, env: Mapping[str, str] | None = None) -> int:
    """Start work in a forked process, which shares the imports; returns its id. It ends with 0, or by what kills it."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.environ.update(env or {})
        # A pool of OpenMP threads that the parent has made does not survive the fork: a child that waits for it waits for ever.
        torch.set_num_threads(1)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 (a forked process must not go on into the tests)
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Wait for a child; its exit code, or the negative number of the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
