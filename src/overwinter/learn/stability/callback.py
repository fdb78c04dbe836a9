"""The guard as a callback of Hugging Face's `Trainer`, and of what is built upon it (TRL).

    guard = GuardCallback(GuardConfig(), folder=Path("guard"))
    trainer = Trainer(model, TrainingArguments(…, max_grad_norm=0.0), callbacks=[guard], …)
    guard.watch(trainer)
    trainer.train()

The trainer asks nobody whether to step. So a refused step is one without gradients, in which torch's optimisers change nothing, and a
rollback puts weights, moments and random numbers back while the data go on: what lay between is left out by that alone. Steps, schedule and
log of the trainer go on counting. What the guard knows goes into the trainer's checkpoints as guard.json, and is found there on
resuming.

Clipping by the trainer comes before its callbacks and hides every spike, so it is refused. Needs `transformers`.
"""

# ruff: noqa: ARG002 (a hook takes what the trainer gives)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from overwinter.errors import UsageError
from overwinter.learn.stability.config import GuardConfig
from overwinter.learn.stability.guard import Guard, Verdict
from overwinter.learn.stability.together import gather_over
from overwinter.learn.train.checkpoint import write_json_whole
from overwinter.model.weights import read_json

STATE = "guard.json"


class GuardCallback(TrainerCallback):
    """Asked by the trainer before each optimiser step, once `watch` has told it which trainer.

    Args:
        config: when to act. `skip_batches` counts for nothing here: the data go on as they come.
        folder: as for `Guard`; ranks but the first take a folder in it.
        signals: further measurements of the step at hand, called once a step.
    """

    def __init__(
        self,
        config: GuardConfig | None = None,
        *,
        folder: Path | None = None,
        signals: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self.config = replace(config or GuardConfig(), skip_batches=0)
        self.folder, self.signals = folder, signals
        self.guard: Guard | None = None
        self.verdict = Verdict()
        """On the last step."""
        self._loss = 0.0
        self._batches: list[Any] = []
        self._watched = False

    def watch(self, trainer: Trainer) -> None:
        """Hear the loss of each batch from this trainer, which tells it to no callback."""
        step = trainer.training_step

        def training_step(model: Any, inputs: Any, *others: Any, **named: Any) -> Tensor:
            loss: Tensor = step(model, inputs, *others, **named)
            self._loss += float(loss.detach())
            self._batches.append(inputs)
            return loss

        trainer.training_step = training_step  # type: ignore[method-assign]
        self._watched = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        if not self._watched:
            raise UsageError("the guard hears no loss", "call GuardCallback.watch(trainer) before trainer.train()")
        if args.max_grad_norm and args.max_grad_norm > 0:
            raise UsageError(
                f"the trainer clips at {args.max_grad_norm} before the guard can see a spike",
                "give TrainingArguments(max_grad_norm=0.0) and GuardConfig(max_norm=…)",
            )
        together = args.world_size > 1
        folder = self.folder
        if folder is not None and args.process_index:
            folder = folder / f"rank-{args.process_index}"
        self.guard = Guard(
            parts["model"],
            parts["optimizer"],
            self.config,
            folder=folder,
            gather=gather_over(args.device) if together else None,
        )
        found = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}" / STATE
        if state.global_step and found.exists():
            self.guard.load_state_dict(read_json(found))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        assert self.guard is not None
        signals = None if self.signals is None else self.signals()
        self.verdict = self.guard.before_step(self._loss, signals=signals, batch=self._batches)
        self._loss, self._batches = 0.0, []

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        assert self.guard is not None
        if self.verdict.go:
            self.guard.after_step()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> TrainerControl:
        if self.verdict.stopped:
            control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        if self.guard is not None and state.is_world_process_zero and folder.is_dir():
            write_json_whole(folder / STATE, self.guard.state_dict())
