"""The training loop, on one page: batches, loss, gradient, step; and now and then a figure, an evaluation, a checkpoint.

    trainer = Trainer(objective, optimiser, Schedule(steps=400, warmup=40), mixture, TrainerConfig(), folder=folder)
    trainer.resume()                 # from the newest checkpoint, if there is one
    outcome = trainer.run()

Invariants: everything that decides how a training goes on is in a checkpoint (weights, moments, cursor, torch's generator) or is
a function of seed and step (rates, the depths of loops). So on a CPU a training that was killed at any moment and resumed
has the bits of one that was not. Evaluation draws nothing and changes nothing.

A step takes `accumulate` batches on each process. A guard (learn/stability) may come between gradient and step: it is asked before, told
after, and may skip the step, go back, or end the training; it then clips, in place of `clip`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from overwinter.errors import UsageError
from overwinter.learn.train.checkpoint import latest, restore, write_checkpoint
from overwinter.learn.train.data import Batch, Mixture, Source, in_order
from overwinter.learn.train.distributed import Workers
from overwinter.learn.train.metrics import Metrics
from overwinter.learn.train.objective import Objective
from overwinter.learn.train.optim import Optimiser, clip_gradients
from overwinter.learn.train.schedule import Schedule

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How the loop runs. Numbers of steps are optimiser steps; 0 for `…_every` is never."""

    batch_rows: int = 16
    """Rows of a batch on each process."""
    accumulate: int = 1
    """Batches of a step on each process."""
    clip: float | None = 1.0
    """Longest gradient; none for no clipping."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` computes products in it (autocast); weights and moments stay float32."""
    evaluate_every: int = 0
    evaluate_rows: int = 64
    """Rows of what is held out, spread over all of it; the last evaluation takes all of it."""
    checkpoint_every: int = 200
    keep: int = 2
    """Checkpoints that stay."""
    log_every: int = 10
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.batch_rows, self.accumulate, self.evaluate_rows, self.keep)
        if min(counts) < 1 or min(self.evaluate_every, self.checkpoint_every, self.log_every) < 0:
            raise UsageError(
                "a number of rows, batches or checkpoints is below 1, or a number of steps below 0", "correct [run]"
            )
        if self.precision not in ("float32", "bfloat16") or (self.clip is not None and self.clip <= 0):
            raise UsageError(
                f"precision {self.precision!r} and clip {self.clip}", "use float32 or bfloat16, and a clip above 0"
            )


class Verdict(Protocol):
    """What a guard says before a step."""

    @property
    def go(self) -> bool: ...
    @property
    def stopped(self) -> bool: ...
    @property
    def action(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def skip_batches(self) -> int: ...


class Guard(Protocol):
    """What stands between gradient and step; `learn.stability.Guard` is one."""

    @property
    def clips(self) -> bool:
        """Whether it clips gradients; where not, the trainer does."""
        ...

    def before_step(self, loss: Tensor | float, *, batch: Any = None) -> Verdict: ...
    def after_step(self) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Loss(NamedTuple):
    """Means over the targets of a step or of what is held out, in nats."""

    loss: float
    ce: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where a call of `run` ended."""

    step: int
    finished: bool
    """Whether all steps are done."""
    cause: str
    """Why not, if not."""
    loss: float | None
    """Mean cross-entropy of all that is held out; None without any, or before the end."""
    tokens: int
    """Targets trained on, repetitions included."""
    wall_s: float
    cpu_s: float
    """Of this process, earlier parts of a resumed training included."""


class Trainer:
    """One training. Its parts are made outside, so that any of them can be another.

    Args:
        objective: the decoder with its loss, already on its device.
        optimiser: of the decoder's parameters.
        schedule: of the rate; it also says how many steps there are.
        mixture: what is trained on.
        config: how the loop runs.
        folder: for metrics and checkpoints; None keeps neither.
        held: what is evaluated on.
    """

    def __init__(
        self,
        objective: Objective,
        optimiser: Optimiser,
        schedule: Schedule,
        mixture: Mixture,
        config: TrainerConfig | None = None,
        *,
        folder: Path | None = None,
        held: Source | None = None,
    ) -> None:
        self.objective, self.optimiser, self.schedule, self.mixture = objective, optimiser, schedule, mixture
        self.config = TrainerConfig() if config is None else config
        self.folder, self.held = folder, held
        self.workers, self.module = Workers(), torch.nn.Module()
        self.share(Workers(), objective)
        self.guard: Guard | None = None
        self.watch: Callable[[Mapping[str, Any]], None] = lambda event: None  # noqa: ARG005 (nobody watches)
        self.text: Path | None = None
        """A folder whose tokenizer files go into checkpoints."""
        self.step = self.tokens = 0
        self._wall_s = self._cpu_s = 0.0
        self._stop = ""

    def share(self, workers: Workers, module: torch.nn.Module) -> None:
        """Work as one of several processes, calling what `workers.wrap(objective)` gave."""
        self.workers, self.module = workers, module

    def stop(self, cause: str) -> None:
        """End after the step at hand, with a checkpoint. May be called from a signal's handler."""
        self._stop = cause

    # The loop

    def run(self) -> Outcome:
        """Train until all steps are done or somebody says stop."""
        lead = self.workers.leads
        metrics = Metrics(self.folder if lead else None, step=self.step, tensorboard=self.config.tensorboard and lead)
        try:
            self._loop(metrics)
            finished = self.step >= self.schedule.steps
            if self._due(self.config.checkpoint_every, last=True):
                self.checkpoint()
            loss = self.evaluate(everything=True).ce if finished and self.held is not None else None
            if loss is not None:
                self._tell(metrics, "final", ce=loss)
        finally:
            metrics.close()
        return Outcome(
            step=self.step,
            finished=finished,
            cause="" if finished else self._stop,
            loss=loss,
            tokens=self.tokens,
            wall_s=self._wall_s,
            cpu_s=self._cpu_s,
        )

    def _loop(self, metrics: Metrics) -> None:
        while self.step < self.schedule.steps and not self.workers.any(bool(self._stop)):
            wall, cpu, tokens = time.perf_counter(), time.process_time(), self.tokens
            loss, norm, verdict = self.take_step()
            took = time.perf_counter() - wall
            self._wall_s += took
            self._cpu_s += time.process_time() - cpu
            if verdict is not None and not verdict.go:
                self._tell(metrics, "guard", action=verdict.action, cause=verdict.cause)
            if self._due(self.config.log_every) and (verdict is None or verdict.go):
                lr = max(group["lr"] for group in self.optimiser.param_groups)
                rate = (self.tokens - tokens) / took
                self._tell(
                    metrics,
                    "step",
                    loss=loss.loss,
                    ce=loss.ce,
                    gradient_norm=norm,
                    lr=lr,
                    tokens=self.tokens,
                    tokens_s=rate,
                )
            if self.held is not None and self._due(self.config.evaluate_every):
                self._tell(metrics, "evaluation", ce=self.evaluate().ce)
            if self._due(self.config.checkpoint_every):
                self.checkpoint()

    def take_step(self) -> tuple[Loss, float, Verdict | None]:
        """One optimiser step; returns its loss, the gradient's length before clipping, and what the guard said."""
        config, workers = self.config, self.workers
        self.objective.train()
        batches = [self.mixture.batch(config.batch_rows) for _ in range(config.accumulate * workers.count)]
        n_targets = max(1, sum(batch.n_targets for batch in batches))
        self.optimiser.set_factor(self.schedule.factor(self.step))
        sums = torch.zeros(2, dtype=torch.float64, device=workers.device)
        for place in range(workers.rank, len(batches), workers.count):
            with workers.accumulating(self.module, last=place + workers.count >= len(batches)):
                found = self._forward(batches[place], place)
                (found.loss * (workers.count / n_targets)).backward()
            sums += torch.stack([found.loss.detach(), found.ce]).double()
        mean = Loss(*(workers.total(sums) / n_targets).tolist())
        norm, verdict = self._finish(mean, batches)
        self.optimiser.zero_grad()
        if verdict is None or verdict.action not in ("rolled_back", "stop"):
            self.step += 1
            self.tokens += n_targets
        if verdict is not None and verdict.stopped:
            self.stop(verdict.cause)
        return mean, norm, verdict

    def _forward(self, batch: Batch, place: int) -> Any:
        seed = (self.config.seed * 1_000_003 + self.step) * 4096 + place
        with self._precision():
            return self.module(batch.to(self.workers.device), seed)

    def _finish(self, mean: Loss, batches: list[Batch]) -> tuple[float, Verdict | None]:
        """From gradients to weights."""
        norm = clip_gradients(self.objective, self.config.clip if self.guard is None else None)
        if self.guard is None:
            if not math.isfinite(norm):
                raise UsageError(
                    f"the gradient of step {self.step} is not finite (loss {mean.loss})",
                    "lower the rate, warm up longer, or train with a guard; `--resume` goes on from the last checkpoint",
                )
            self.optimiser.step()
            return norm, None
        verdict = self.guard.before_step(mean.loss, batch=batches)
        if verdict.go:
            if not self.guard.clips:
                clip_gradients(self.objective, self.config.clip)
            self.optimiser.step()
            self.guard.after_step()
        self.skip(verdict.skip_batches)
        return norm, verdict

    def skip(self, steps: int) -> None:
        """Leave out the data of so many steps."""
        self.mixture.skip(steps * self.config.accumulate * self.workers.count * self.config.batch_rows)

    # Evaluation

    @torch.no_grad()
    def evaluate(self, *, everything: bool = False) -> Loss:
        """Means over what is held out, or over some rows of it."""
        if self.held is None:
            raise UsageError("nothing is held out to evaluate on", "give `held`, or data.holdout in a recipe")
        self.objective.eval()
        rows = self.held.rows_per_pass if everything else self.config.evaluate_rows
        sums = torch.zeros(3, dtype=torch.float64, device=self.workers.device)
        for place, batch in enumerate(in_order(self.held, rows, self.config.batch_rows)):
            if place % self.workers.count == self.workers.rank or self.workers.kind == "fsdp":
                with self._precision():
                    found = self.objective(batch.to(self.workers.device))
                sums += torch.stack([found.loss, found.ce, found.ce.new_tensor(batch.n_targets)]).double()
        sums = self.workers.total(sums)
        return Loss(float(sums[0] / sums[2]), float(sums[1] / sums[2]))

    # State

    def state(self) -> dict[str, Any]:
        """What the loop itself must remember, as plain JSON; the model, the optimiser and the guard have their own."""
        return {
            "step": self.step,
            "taken": list(self.mixture.taken),
            "tokens": self.tokens,
            "wall_s": self._wall_s,
            "cpu_s": self._cpu_s,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken; the inverse."""
        self.step, self.tokens = int(state["step"]), int(state["tokens"])
        self.mixture.move(state["taken"])
        self._wall_s, self._cpu_s = float(state["wall_s"]), float(state["cpu_s"])

    def checkpoint(self) -> None:
        """Write where the training stands."""
        if self.folder is None:
            return
        state = {"loop": self.state(), "guard": None if self.guard is None else self.guard.state_dict()}
        write_checkpoint(
            self.folder / CHECKPOINTS,
            self.step,
            self.objective.decoder,
            self.optimiser,
            state,
            text=self.text,
            keep=self.config.keep,
            writes=self.workers.leads,
        )
        self.workers.wait()

    def resume(self) -> bool:
        """Go on from the newest checkpoint; false if there is none."""
        found = None if self.folder is None else latest(self.folder / CHECKPOINTS)
        if found is None:
            return False
        _, state = restore(found, self.objective.decoder, self.optimiser)
        self.load_state(state["loop"])
        if self.guard is not None and state["guard"] is not None:
            self.guard.load_state_dict(state["guard"])
        return True

    # Helpers

    def _due(self, every: int, *, last: bool = False) -> bool:
        """Whether something that happens every so many steps is due; with `last`, whether the end is not covered by it."""
        return every > 0 and (self.step % every == 0) != last

    def _precision(self) -> Any:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.workers.device).type, dtype=torch.bfloat16)

    def _tell(self, metrics: Metrics, kind: str, **figures: Any) -> None:
        if self.workers.leads:
            event = {"kind": kind, "step": self.step, **figures}
            metrics.write(event)
            self.watch(event)
