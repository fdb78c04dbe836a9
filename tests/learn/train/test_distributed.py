"""Two processes are one process with twice the batches, whether weights are copied or split.

What children need is imported here, before they are forked.
"""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.fsdp
import torch.distributed.tensor
from train_kit import ended, in_child, recipe, weights_of

from overwinter.learn.train.metrics import read_metrics
from overwinter.learn.train.training import train

HYBRID: dict[str, Any] = {"pattern": "MA", "mamba": {"n_heads": 2, "head_dim": 8, "d_state": 4, "chunk_size": 8}}


def together(folder: Path, out: Path, tables: dict[str, dict[str, Any]], *, resume: bool = False) -> None:
    """Train in two forked processes, with the environment that torchrun gives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    children = [
        in_child(
            partial(train, recipe(folder, **tables), out, resume=resume),
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [ended(child) for child in children] == [0, 0]


@pytest.mark.parametrize(("kind", "name"), [("ddp", "adamw"), ("fsdp", "muon")])
def test_two_processes_are_one_with_twice_the_batches(tmp_path: Path, kind: str, name: str) -> None:
    tables: dict[str, dict[str, Any]] = {
        "model": HYBRID,
        "optimiser": {"name": name, "eps": 1e-4},
        "schedule": {"steps": 4},
        "run": {"checkpoint_every": 2, "evaluate_every": 2, "evaluate_rows": 4},
    }
    alone = train(recipe(tmp_path, **{**tables, "run": {**tables["run"], "accumulate": 4}}), tmp_path / "alone")
    shared = {**tables, "run": {**tables["run"], "accumulate": 2, "parallel": kind}}
    together(tmp_path, tmp_path / "pair", shared)
    expected, found = weights_of(tmp_path / "alone" / "model"), weights_of(tmp_path / "pair" / "model")
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-5, rtol=0)
    events = read_metrics(tmp_path / "pair")
    assert alone.outcome.loss == pytest.approx(events[-1]["ce"], abs=1e-5)
    for one, other in zip(read_metrics(tmp_path / "alone"), events, strict=True):
        assert one["ce"] == pytest.approx(other["ce"], abs=1e-5)
        assert one.get("gradient_norm", 0) == pytest.approx(other.get("gradient_norm", 0), rel=1e-4)


def test_two_processes_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """One that was split over processes is whole on disk: one process goes on with it as well."""
    tables: dict[str, dict[str, Any]] = {"run": {"parallel": "fsdp", "checkpoint_every": 2, "batch_rows": 2}}
    together(tmp_path, tmp_path / "pair", tables)
    whole = weights_of(tmp_path / "pair" / "model")
    for name in ("model", "checkpoints/step-00000006"):
        folder = tmp_path / "pair" / name
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    together(tmp_path, tmp_path / "pair", tables, resume=True)
    for key, value in weights_of(tmp_path / "pair" / "model").items():
        assert torch.equal(value, whole[key])
