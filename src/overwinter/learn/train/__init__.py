"""The trainer: from text or examples to a model folder that can run, on one process or several, through any crash.

    from overwinter.learn.train import read_recipe, train

    trained = train(read_recipe(Path("recipe.toml")), Path("out"))        # or: overwinter train recipe.toml --out out
    trained.model                                                         # for `overwinter generate --model …`

Invariants: what is trained on is a function of a seed and one number per source; all else that decides how a training goes on is
in its checkpoint, which is there whole or not at all; so on a CPU, killed and resumed is bit for bit as never killed. A loss is a sum over
targets, divided once by all targets of a step: accumulation and processes change the rounding alone. Which optimiser moves a
parameter, how fast, and whether it decays is read from the model's parameter groups.

Reading order: trainer.py (the loop), objective.py (the loss), data.py and shards.py (rows, cursor, files), optim.py, muon.py,
scaling.py and schedule.py (how weights move), checkpoint.py, whole.py (how packed documents stay apart), distributed.py; then recipe.py,
prepare.py, tokenizer.py and training.py, which make all of it from a file. Everything but the last four is used without a recipe as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overwinter.learn.train.checkpoint import latest, restore, write_checkpoint
    from overwinter.learn.train.data import Batch, Examples, Mixture, Windows
    from overwinter.learn.train.muon import Muon
    from overwinter.learn.train.objective import LossConfig, Objective
    from overwinter.learn.train.optim import Optimiser, OptimiserConfig, build_optimiser, clip_gradients
    from overwinter.learn.train.recipe import Recipe, read_recipe, recipe_of
    from overwinter.learn.train.scaling import Scaling
    from overwinter.learn.train.schedule import Schedule
    from overwinter.learn.train.shards import Document, Shards, write_shards
    from overwinter.learn.train.tokenizer import TokenizerConfig, train_tokenizer, write_tokenizer
    from overwinter.learn.train.trainer import Trainer, TrainerConfig
    from overwinter.learn.train.training import Trained, build_trainer, train

_HOMES = {
    "Batch": "data",
    "Document": "shards",
    "Examples": "data",
    "LossConfig": "objective",
    "Mixture": "data",
    "Muon": "muon",
    "Objective": "objective",
    "Optimiser": "optim",
    "OptimiserConfig": "optim",
    "Recipe": "recipe",
    "Scaling": "scaling",
    "Schedule": "schedule",
    "Shards": "shards",
    "TokenizerConfig": "tokenizer",
    "Trained": "training",
    "Trainer": "trainer",
    "TrainerConfig": "trainer",
    "Windows": "data",
    "build_optimiser": "optim",
    "build_trainer": "training",
    "clip_gradients": "optim",
    "latest": "checkpoint",
    "read_recipe": "recipe",
    "recipe_of": "recipe",
    "restore": "checkpoint",
    "train": "training",
    "train_tokenizer": "tokenizer",
    "write_checkpoint": "checkpoint",
    "write_shards": "shards",
    "write_tokenizer": "tokenizer",
}

__all__ = [
    "Batch",
    "Document",
    "Examples",
    "LossConfig",
    "Mixture",
    "Muon",
    "Objective",
    "Optimiser",
    "OptimiserConfig",
    "Recipe",
    "Scaling",
    "Schedule",
    "Shards",
    "TokenizerConfig",
    "Trained",
    "Trainer",
    "TrainerConfig",
    "Windows",
    "build_optimiser",
    "build_trainer",
    "clip_gradients",
    "latest",
    "read_recipe",
    "recipe_of",
    "restore",
    "train",
    "train_tokenizer",
    "write_checkpoint",
    "write_shards",
    "write_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'overwinter.learn.train' has no attribute {name!r}")
    return getattr(import_module(f"overwinter.learn.train.{_HOMES[name]}"), name)
