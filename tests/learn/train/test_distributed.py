"""Two processes are one process with twice the batches, whether weights are copied or split."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from train_kit import recipe, tiny, weights_of

from group_kit import together
from overwinter.errors import UsageError
from overwinter.learn.train.data import Batch
from overwinter.learn.train.distributed import workers
from overwinter.learn.train.metrics import read_metrics
from overwinter.learn.train.objective import Objective
from overwinter.learn.train.recipe import Recipe
from overwinter.learn.train.training import train

HYBRID: dict[str, Any] = {"pattern": "MA", "mamba": {"n_heads": 2, "head_dim": 8, "d_state": 4, "chunk_size": 8}}


def trained(rank: int, made: Recipe, out: Path, *, resume: bool = False) -> None:
    train(made, out, resume=resume)


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
    together(partial(trained, made=recipe(tmp_path, **shared), out=tmp_path / "pair"))
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
    together(partial(trained, made=recipe(tmp_path, **tables), out=tmp_path / "pair"))
    whole = weights_of(tmp_path / "pair" / "model")
    for name in ("model", "checkpoints/step-00000006"):
        folder = tmp_path / "pair" / name
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    together(partial(trained, made=recipe(tmp_path, **tables), out=tmp_path / "pair", resume=True))
    for key, value in weights_of(tmp_path / "pair" / "model").items():
        assert torch.equal(value, whole[key])


def refused(rank: int, made: Recipe, out: Path) -> None:
    with pytest.raises(UsageError) as error:
        train(made, out / "model")
    (out / f"{rank}.txt").write_text(str(error.value))


def test_what_the_first_process_refuses_is_refused_in_all(tmp_path: Path) -> None:
    """And not by a broken connection, of which nobody learns anything."""
    made = recipe(tmp_path, data={"holdout": 0.01, "holdout_by": "document"})
    together(partial(refused, made=made, out=tmp_path))
    assert "left nothing out" in (tmp_path / "0.txt").read_text()
    assert "read what it says" in (tmp_path / "1.txt").read_text()


def rounds(rank: int, folder: Path, count: int) -> None:
    """Trainings that end while their module is still there, without a pause in which gloo's threads could tidy up."""
    sys.setswitchinterval(10)
    begin = torch.distributed.init_process_group
    for number in range(count):
        torch.distributed.init_process_group = partial(
            begin, init_method=f"file://{folder}/{number}", rank=rank, world_size=2
        )
        _over()


def _over() -> torch.nn.Module:
    with workers("ddp", "cpu") as crew:
        module = crew.wrap(Objective(tiny()))
        ids = torch.arange(9)[None]
        module(Batch(ids[:, :-1], ids[:, 1:], None), 0).loss.backward()
        float(crew.total(torch.ones(2))[0])
        return module


def test_the_end_of_a_training_waits_for_nobody(tmp_path: Path) -> None:
    """DDP's reducer must not be the last to let go of the group: it joins gloo's threads while it holds what they wait for."""
    together(partial(rounds, folder=tmp_path, count=40))
