"""A training that is killed and resumed has the bits of one that was not, whatever it trains and wherever it dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_kit import ended, in_child, recipe, same_bits, weights_of

from overwinter.errors import UsageError
from overwinter.learn.train import checkpoint, training
from overwinter.learn.train.checkpoint import latest
from overwinter.learn.train.metrics import read_metrics
from overwinter.learn.train.optim import Optimiser
from overwinter.learn.train.trainer import Trainer
from overwinter.learn.train.training import train

HYBRID: dict[str, Any] = {"pattern": "MA", "mamba": {"n_heads": 2, "head_dim": 8, "d_state": 4, "chunk_size": 8}}
LOOP: dict[str, Any] = {
    "loop": {"n_loops": 2, "reinject": "add", "depth_sampling": "poisson", "bptt": 1},
    "norm": "sandwich",
}
KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "hybrid": {"model": HYBRID, "run": {"accumulate": 2}},
    "muon": {"model": HYBRID, "optimiser": {"name": "muon"}},
    "loops": {"model": LOOP},
    "lowrank": {"model": {"lowrank_orthogonal": {"rank": 4}, "noble": {"rank": 2}}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_resumed_is_as_if_it_never_stopped(tmp_path: Path, kind: str) -> None:
    made = recipe(tmp_path, **KINDS[kind])
    whole = train(made, tmp_path / "whole")
    assert whole.outcome.finished

    def stop_at_three(trainer: Trainer) -> None:
        trainer.watch = lambda event: trainer.stop("enough") if event["step"] == 3 else None

    first = train(made, tmp_path / "parts", begin=stop_at_three)
    assert (first.outcome.step, first.outcome.finished, first.outcome.cause) == (3, False, "enough")
    assert not (tmp_path / "parts" / "model").exists()
    second = train(made, tmp_path / "parts", resume=True)
    assert second.resumed_at == 3
    assert second.outcome.loss == whole.outcome.loss
    assert same_bits(weights_of(tmp_path / "parts" / "model"), weights_of(tmp_path / "whole" / "model"))


def die_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill this process at the so-manyth moment at which something is about to be written, renamed or moved."""
    count = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for place, name in (
        (checkpoint, "write_tensors"),
        (checkpoint, "write_json"),
        (training, "write_json"),
        (training, "write_model"),
        (Optimiser, "step"),
        (Path, "rename"),
        (checkpoint.shutil, "rmtree"),
    ):
        monkeypatch.setattr(place, name, counted(getattr(place, name)))


@pytest.mark.crash
def test_killed_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(tmp_path, model=HYBRID, schedule={"steps": 5, "warmup": 2})
    train(made, tmp_path / "whole")
    expected = weights_of(tmp_path / "whole" / "model")
    deaths = 0
    for moment in range(1, 80, 4):
        out = tmp_path / f"killed-{moment}"

        def work(moment: int = moment, out: Path = out) -> None:
            with pytest.MonkeyPatch.context() as patch:
                die_at(moment, patch)
                train(made, out)

        code = ended(in_child(work))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        deaths += 1
        train(made, out, resume=(out / "recipe.json").exists())
        assert same_bits(weights_of(out / "model"), expected), f"killed at moment {moment}"
        steps = [(event["step"], event["ce"]) for event in read_metrics(out)]
        assert steps == [(event["step"], event["ce"]) for event in read_metrics(tmp_path / "whole")]
        assert not list(out.rglob("*.partial"))
    assert deaths >= 7
    assert code == 0, "every moment was tried"


def test_only_the_last_checkpoints_stay(tmp_path: Path) -> None:
    train(recipe(tmp_path, run={"checkpoint_every": 1, "keep": 2}), tmp_path / "out")
    found = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert found == ["step-00000005", "step-00000006"]


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    with pytest.raises(UsageError, match="no training"):
        train(made, tmp_path / "out", resume=True)
    train(made, tmp_path / "out")
    with pytest.raises(UsageError, match="has a training already"):
        train(made, tmp_path / "out")
    with pytest.raises(UsageError, match=r"optimiser\.lr was 0.002 and is 0.1"):
        train(recipe(tmp_path, optimiser={"lr": 0.1}), tmp_path / "out", resume=True)
    again = train(recipe(tmp_path, run={"keep": 5}), tmp_path / "out", resume=True)
    assert again.outcome.finished
    (tmp_path / "text.txt").write_text("other text " * 50)
    with pytest.raises(UsageError, match="have changed"):
        train(made, tmp_path / "out", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        train(made, tmp_path / "full")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    train(made, tmp_path / "out")
    newest = latest(tmp_path / "out" / "checkpoints")
    assert newest is not None
    data = (newest / "optimiser.safetensors").read_bytes()
    (newest / "optimiser.safetensors").write_bytes(data[:-9])
    with pytest.raises(UsageError, match=r"optimiser\.safetensors cannot be read"):
        train(made, tmp_path / "out", resume=True)
