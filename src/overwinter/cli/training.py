"""`train`: from a recipe to a model folder, resumable at any moment; under torchrun, on several processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Plain
from overwinter.cli.output import Output, note

if TYPE_CHECKING:
    from overwinter.learn.train import Trained, Trainer

STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file; see docs/training.md.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where it goes; default: the recipe's name, here.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the training that is in DIR.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TABLE.KEY=VALUE", help="Instead of what RECIPE says; several times for several."
        ),
    ] = None,
    common: Plain,
) -> None:
    """Train a model as a recipe says, and write a folder that `generate` and `serve` take."""
    from overwinter.learn.train import read_recipe
    from overwinter.learn.train import train as train_model

    made = read_recipe(recipe, changes or ())
    folder = Path(recipe.stem) if out is None else out
    leads = os.environ.get("RANK", "0") == "0"
    output, line = Output(as_json=common.json), _Line(made.schedule.steps, quiet=common.json or not leads)
    received: list[int] = []

    def watch(event: Mapping[str, Any]) -> None:
        output.record(event)
        text = line.show(event)
        if text:
            output.line(text)

    with _stopping(received) as begin:
        try:
            done = train_model(made, folder, resume=resume, watch=watch, begin=begin)
        finally:
            line.clear()
    if leads:
        _tell(output, done, folder)
    if not done.outcome.finished:
        raise typer.Exit(STOPPED[signal.Signals(received[0])] if received else 1)


def _tell(output: Output, done: Trained, folder: Path) -> None:
    outcome = done.outcome
    output.record({"kind": "outcome", **asdict(outcome), "model": None if done.model is None else str(done.model)})
    speed = f"{outcome.tokens:,} targets in {outcome.wall_s:.0f} s ({outcome.cpu_s:.0f} s of the processor)"
    if done.model is None:
        output.line(f"stopped after step {outcome.step}: {outcome.cause}")
        output.line(f"  go on with `overwinter train … --out {folder} --resume`", "dim")
        return
    loss = "" if outcome.loss is None else f"held-out loss {outcome.loss:.4f}; "
    output.line(f"{done.model}: {done.parameters:,} parameters; {loss}{speed}")
    output.line(f"  try `overwinter generate --model {done.model} …`", "dim")


@contextmanager
def _stopping(received: list[int]) -> Iterator[Any]:
    """While inside, Ctrl-C and a termination signal end the training after the step at hand; a second one ends it at once."""
    trainers: list[Trainer] = []

    def ask(number: int, _: object) -> None:
        if received or not trainers:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        received.append(number)
        trainers[0].stop(f"{signal.Signals(number).name} was received")

    before = {number: signal.signal(number, ask) for number in STOPPED}
    try:
        yield trainers.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Line:
    """Progress: a line on standard error that repaints itself on a terminal; elsewhere a line every ten seconds."""

    EVERY_S = 10.0

    def __init__(self, steps: int, *, quiet: bool) -> None:
        self.steps, self.quiet = steps, quiet
        self._tty = sys.stderr.isatty()
        self._next, self._shown = time.monotonic(), False
        self._began: tuple[float, int] | None = None

    def show(self, event: Mapping[str, Any]) -> str:
        """Note an event; returns a line to keep, if it is worth one."""
        if self.quiet:
            return ""
        step = int(event["step"])
        if event["kind"] == "step":
            self._paint(step, f"loss {event['ce']:.4f}  {event['tokens_s']:,.0f} targets/s")
            return ""
        self.clear()
        if event["kind"] == "guard":
            return f"step {step:6}  guard: {event['action']} ({event['cause']})"
        return f"step {step:6}  held-out loss {event['ce']:.4f}"

    def clear(self) -> None:
        if self._shown and self._tty:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        self._shown = False

    def _paint(self, step: int, figures: str) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now, step
        if not self._tty and now < self._next:
            return
        self._next = now + self.EVERY_S
        since, first = self._began
        left = "" if step == first else f"  {(now - since) / (step - first) * (self.steps - step):.0f} s left"
        text = f"step {step} of {self.steps}  {figures}{left}"
        if self._tty:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
            self._shown = True
        else:
            note(text)
