"""One training from recipe to model folder: `train(recipe, out)`, which `overwinter train` calls.

The folder `out` holds `recipe.json` (the recipe in full), `tokenizer/` and `data/` (prepare.py), `metrics.jsonl`, `checkpoints/`,
`guard/` (what the guard did, if the recipe has one), and in the end `model/`: config.json, model.safetensors, the tokenizer and
`training.json` with recipe, versions and figures.
`overwinter generate --model out/model` takes it as it is.

A folder that has a training goes on with it if asked to, under the same recipe; what may change is how it runs (`FREE`).
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from overwinter.errors import UsageError
from overwinter.learn.stability import Guard, GuardConfig, gather_over
from overwinter.learn.train.allocator import keep_freed_memory
from overwinter.learn.train.checkpoint import whole, write_json_whole, write_model
from overwinter.learn.train.data import Examples, Mixture, Source, Windows
from overwinter.learn.train.distributed import Workers, workers
from overwinter.learn.train.objective import Objective
from overwinter.learn.train.optim import build_optimiser
from overwinter.learn.train.prepare import Prepared, prepare
from overwinter.learn.train.recipe import Recipe, difference
from overwinter.learn.train.shards import Shards
from overwinter.learn.train.trainer import Outcome, Trainer
from overwinter.model.checkpoint import load
from overwinter.model.decoder import Decoder, fresh
from overwinter.model.weights import new_folder, read_json, write_json

RECIPE, MODEL, RECORD, GUARD = "recipe.json", "model", "training.json", "guard"
FREE = tuple(
    f"run.{name}"
    for name in ("device", "threads", "checkpoint_every", "keep", "log_every", "tensorboard", "evaluate_", "parallel")
)
"""Keys that may differ when a training is resumed: they change nothing of what is computed, but on another device its rounding."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that was called once."""

    outcome: Outcome
    model: Path | None
    """The finished model; None if it was stopped before."""
    parameters: int
    resumed_at: int | None
    """The step it went on from."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
    begin: Callable[[Trainer], None] | None = None,
) -> Trained:
    """Train as a recipe says, in this process and those that torchrun started beside it.

    Args:
        recipe: what to do.
        out: where everything goes.
        resume: go on with what is there.
        watch: called with each event of the metrics, on the first process.
        begin: called with the trainer before the first step: to hang a guard on it, or to be able to stop it.

    Raises:
        UsageError: the folder has a training and `resume` is not asked for, or another recipe; and whatever data, model
            and files complain of.
    """
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    keep_freed_memory()
    with workers(recipe.run.parallel, recipe.run.device) as crew:
        crew.lead(lambda: _begin(recipe, out, resume=resume))
        prepared = prepare(recipe, out)
        trainer = build_trainer(recipe, prepared, crew, folder=out)
        if watch is not None:
            trainer.watch = watch
        if begin is not None:
            begin(trainer)
        resumed = trainer.resume()
        at = trainer.step
        outcome = trainer.run()
        decoder = trainer.objective.decoder
        parameters = sum(parameter.numel() for parameter in decoder.parameters())
        weights = whole(decoder.state_dict())
        if outcome.finished and crew.leads and not (out / MODEL).exists():
            with new_folder(out / MODEL) as folder:
                write_model(folder, weights, decoder, text=prepared.text)
                write_json(folder / RECORD, _record(recipe, outcome, parameters, crew))
    model = out / MODEL if outcome.finished else None
    return Trained(outcome=outcome, model=model, parameters=parameters, resumed_at=at if resumed else None)


def build_trainer(recipe: Recipe, prepared: Prepared, crew: Workers | None = None, *, folder: Path | None) -> Trainer:
    """Everything that a recipe describes, put together and not yet begun."""
    crew = Workers() if crew is None else crew
    run = recipe.run
    decoder = build_decoder(recipe, prepared.vocab_size)
    objective = Objective(decoder.to(crew.device), recipe.loss)
    module = crew.wrap(objective)
    optimiser = build_optimiser(decoder, recipe.optimiser, scaling=recipe.model.scaling)
    sources = [_source(recipe, shards, seed=run.seed + number) for number, shards in enumerate(prepared.train)]
    held = [_source(recipe, shards, seed=0, shuffle=False) for shards in prepared.held if shards is not None]
    trainer = Trainer(
        objective,
        optimiser,
        recipe.schedule,
        Mixture(sources, [source.weight for source in recipe.data.sources]),
        run,
        folder=folder,
        held=Joined(held) if held else None,
    )
    trainer.share(crew, module)
    trainer.text = prepared.text
    if recipe.guard is not None and recipe.guard.enabled:
        trainer.guard = _guard(recipe.guard, trainer, crew, folder)
    return trainer


def _guard(config: GuardConfig, trainer: Trainer, crew: Workers, folder: Path | None) -> Guard:
    """A guard that can send this trainer back; each process has one, and all come to the same verdict."""
    place = None if folder is None else folder / GUARD
    if place is not None and not crew.leads:
        place = place / f"rank-{crew.rank}"
    return Guard(
        trainer.objective.decoder,
        list(trainer.optimiser.parts.values()),
        config,
        save=trainer.state,
        load=trainer.load_state,
        skip=trainer.skip,
        folder=place,
        gather=gather_over(crew.device) if crew.count > 1 else None,
    )


def build_decoder(recipe: Recipe, vocab_size: int) -> Decoder:
    """The decoder a recipe begins with."""
    table = recipe.model
    if table.start is not None:
        decoder = load(table.start, dtype=torch.float32)
        if decoder.config.vocab_size < vocab_size:
            raise UsageError(
                f"{table.start} has {decoder.config.vocab_size} tokens, the tokenizer {vocab_size}",
                "leave tokenizer.path out, so that the model's own is taken",
            )
        return decoder
    config, init = table.build(vocab_size=vocab_size, context=recipe.data.context)
    return fresh(config, seed=recipe.run.seed, init=init)


class Joined:
    """Several sources behind each other as one, for evaluation."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources

    @property
    def rows_per_pass(self) -> int:
        return sum(source.rows_per_pass for source in self.sources)

    def row(self, number: int) -> Any:
        for source in self.sources:
            if number < source.rows_per_pass:
                return source.row(number)
            number -= source.rows_per_pass
        raise IndexError(number)


def _source(recipe: Recipe, shards: Shards, *, seed: int, shuffle: bool = True) -> Source:
    data = recipe.data
    if data.kind == "text":
        context = data.context if shuffle else min(data.context, shards.tokens - 1)
        return Windows(shards, context=context, seed=seed, borders=data.borders, shuffle=shuffle)
    return Examples(
        shards,
        context=data.context,
        batch_rows=recipe.run.batch_rows,
        seed=seed,
        packing=data.packing if shuffle else "bucket",
        too_long=data.too_long,
        shuffle=shuffle,
    )


def _begin(recipe: Recipe, out: Path, *, resume: bool) -> None:
    """What one process does for all."""
    _enter(recipe, out, resume=resume)
    prepare(recipe, out)


def _enter(recipe: Recipe, out: Path, *, resume: bool) -> None:
    """Make sure that the folder is ours to write to."""
    path = out / RECIPE
    for left in out.glob(".*.partial"):  # of a process that was killed while it wrote
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    if not path.exists():
        if resume:
            raise UsageError(f"there is no training in {out}", "leave --resume out to begin one")
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"{out} exists and is not empty", "name another folder with --out")
        out.mkdir(parents=True, exist_ok=True)
        write_json_whole(path, recipe.to_dict())
        return
    if not resume:
        raise UsageError(
            f"{out} has a training already", "add --resume to go on with it, or name another folder with --out"
        )
    found = difference(read_json(path), recipe.to_dict(), FREE)
    if found is not None:
        raise UsageError(
            f"the training in {out} has another recipe: {found}",
            "resume with the recipe it began with, or train into another folder",
        )


def _record(recipe: Recipe, outcome: Outcome, parameters: int, crew: Workers) -> dict[str, Any]:
    """What a reader of the finished model wants to know of its making."""
    return {
        "recipe": recipe.to_dict(),
        "figures": {**asdict(outcome), "parameters": parameters, "processes": crew.count},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "machine": {"device": crew.device, "threads": torch.get_num_threads(), "processor": platform.machine()},
    }
