"""The guard in Hugging Face's trainer, which asks nobody whether to step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from guard_kit import FAST
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from overwinter.errors import UsageError
from overwinter.learn.stability import GuardConfig
from overwinter.learn.stability.callback import GuardCallback


class Net(nn.Module):
    """A regression that gives its loss, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.layers(x) - y).square().mean()}


class Watcher(TrainerCallback):
    """Notes the weights after each step, and does harm before chosen ones."""

    def __init__(self, harm: dict[int, Callable[[nn.Module], None]]) -> None:
        self.harm, self.weights, self.rates = harm, [], []

    def on_step_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **parts: Any) -> None:
        if state.global_step in self.harm:
            self.harm[state.global_step](model)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, optimizer: Any, **parts: Any) -> None:
        self.weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        self.rates.append(optimizer.param_groups[0]["lr"])


def examples(bad: set[int], *, batch: int = 8, steps: int = 60) -> list[dict[str, Tensor]]:
    """In order: those of a bad step have targets a hundred times too large."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(batch * steps, 4, generator=draw)
    y = x.sum(-1, keepdim=True).sin() + 0.3 * torch.randn(len(x), 1, generator=draw)
    return [{"x": x[at], "y": y[at] * (100 if at // batch in bad else 1)} for at in range(len(x))]


def run(
    folder: Path,
    callback: GuardCallback,
    *,
    bad: set[int] | None = None,
    harm: dict[int, Callable[[nn.Module], None]] | None = None,
    resume: bool = False,
    **arguments: Any,
) -> tuple[Watcher, Trainer]:
    torch.manual_seed(0)
    watcher = Watcher(harm or {})
    given = {"max_grad_norm": 0.0, "learning_rate": 1e-2, "save_strategy": "no", "num_train_epochs": 1} | arguments
    trainer = Trainer(
        Net(),
        TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=8,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            logging_strategy="no",
            **given,
        ),
        train_dataset=examples(bad or set()),
        callbacks=[callback, watcher],
    )
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    callback.watch(trainer)
    trainer.train(resume_from_checkpoint=resume)
    return watcher, trainer


def test_a_bad_batch_changes_nothing_and_the_schedule_goes_on(tmp_path: Path) -> None:
    callback = GuardCallback(GuardConfig(**FAST), folder=tmp_path / "guard")
    watcher, _ = run(tmp_path, callback, bad={40, 41, 42})
    for step in (40, 41, 42):
        assert torch.equal(watcher.weights[step], watcher.weights[39])
    assert not torch.equal(watcher.weights[43], watcher.weights[42])
    assert watcher.rates == sorted(watcher.rates, reverse=True)
    assert callback.guard is not None
    assert [event["step"] for event in callback.guard.log.of("skip")] == [41, 42, 43]
    assert (tmp_path / "guard" / "events.jsonl").exists()


def test_several_batches_a_step_are_one_loss(tmp_path: Path) -> None:
    callback = GuardCallback(GuardConfig(**FAST | {"window": 8, "window_least": 8}))
    run(tmp_path, callback, bad={40}, gradient_accumulation_steps=2)
    assert callback.guard is not None
    assert callback.guard.step == 30
    # The step of batches 40 and 41; its loss is the mean of both.
    (event, *_) = callback.guard.log.of("alarm")
    assert event["step"] == 21
    measured = [each["values"]["loss"] for each in callback.guard.signal_log.events]
    assert 0.05 < measured[0] < 3


def test_broken_weights_come_back(tmp_path: Path) -> None:
    def break_it(model: nn.Module) -> None:
        with torch.no_grad():
            next(model.parameters())[0, 0] = float("nan")

    callback = GuardCallback(GuardConfig(**FAST))
    watcher, _ = run(tmp_path, callback, harm={45: break_it})
    assert callback.guard is not None
    (event,) = callback.guard.log.of("roll_back")
    # Snapshots are numbered by the guard's steps, and the list counts from 0.
    assert torch.equal(watcher.weights[45], watcher.weights[event["to"] - 1])
    assert torch.isfinite(watcher.weights[-1]).all()


def test_a_stop_ends_the_training(tmp_path: Path) -> None:
    callback = GuardCallback(GuardConfig(**FAST | {"hold_steps": 3}), signals=lambda: {"staleness": 99.0})
    _, trainer = run(tmp_path, callback)
    assert trainer.state.global_step < 10
    assert callback.guard is not None
    assert callback.guard.ladder.stopped.startswith("level.staleness")


def test_what_it_knows_is_in_the_checkpoint(tmp_path: Path) -> None:
    config = GuardConfig(**FAST)
    whole = GuardCallback(config)
    expected, _ = run(tmp_path / "whole", whole, bad={25, 50})
    first = GuardCallback(config)
    run(tmp_path / "cut", first, bad={25, 50}, save_strategy="steps", save_steps=30)
    state = json.loads((tmp_path / "cut" / "checkpoint-30" / "guard.json").read_text())
    assert state["step"] == 30
    for left in (tmp_path / "cut").glob("checkpoint-60"):
        left.rename(tmp_path / "later")
    second = GuardCallback(config)
    found, _ = run(tmp_path / "cut", second, bad={25, 50}, resume=True)
    assert second.guard is not None
    assert [event["step"] for event in second.guard.log.of("skip")] == [51]
    torch.testing.assert_close(found.weights[-1], expected.weights[-1])


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_grad_norm=0"):
        run(tmp_path, GuardCallback(), max_grad_norm=1.0)
    callback = GuardCallback()
    callback.watch = lambda trainer: None  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="watch"):
        run(tmp_path, callback)
