"""The training loop: play, give credit, learn, look how it goes; and begin again where it was killed.

    report = reinforce(Config(iterations=50), policy, seats, form, folder=Path("run"))

Everything random is made from the config's seed and the number of the iteration. A training that is killed and started again with
the same folder goes on from its last checkpoint and on a CPU ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from overwinter.errors import StoreError, UsageError
from overwinter.learn.batch import Batch, Floats
from overwinter.learn.reinforce import checkpoint
from overwinter.learn.reinforce.checkpoint import Lines, State
from overwinter.learn.reinforce.decision import Episode, batch_of, flat, key_of
from overwinter.learn.reinforce.form import Form
from overwinter.learn.reinforce.player import AnyPlayer, Player
from overwinter.learn.reinforce.policy import Policy
from overwinter.learn.reinforce.rollouts import Config as RolloutConfig
from overwinter.learn.reinforce.rollouts import Task, rollout
from overwinter.learn.reinforce.seat import Seats
from overwinter.learn.reinforce.update import Guard, UpdateConfig, Updater
from overwinter.learn.train.optim import Optimiser, OptimiserConfig, build_optimiser


class Given(Protocol):
    """What a credit estimator gives back (`overwinter.learn.credit.Credit`)."""

    @property
    def advantages(self) -> Floats: ...
    @property
    def diagnostics(self) -> Mapping[str, float]: ...
    @property
    def memory(self) -> Any: ...


Credit = Callable[[Batch, Any], Given]
"""From a batch and what was remembered to advantages."""
GuardMaker = Callable[[nn.Module, Sequence[Any]], Guard]
"""From a model and its optimisers to a guard, such as `overwinter.learn.stability.Guard`."""
Progress = Callable[[Mapping[str, float]], None]
"""Called with the figures of each iteration."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Games on held-out seeds.

    Args:
        every: iterations between evaluations; 0 for none.
        games: how many seeds, from `first_seed` on: far from those of training.
        temperatures: greedy play alone can look collapsed when it is not; the first one decides which weights are the best.
    """

    every: int = 10
    games: int = 32
    first_seed: int = 1_000_000_000
    temperatures: tuple[float, ...] = (1.0, 0.0)

    def __post_init__(self) -> None:
        if self.every < 0 or self.games < 1 or not self.temperatures:
            raise UsageError("an evaluation needs games and a temperature", "give both, or every=0 for none")


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training.

    Args:
        iterations: rounds of play and update.
        tasks, group_size: games of a round: so many starts, each played so often.
        repeating: how many different tasks there are; 0 for new ones in every round. Estimators that remember need them to repeat.
        seed: of everything that is drawn.
        first_seed: of the first task's world.
        play: `seed` and `temperature` in it are set by the training.
        warmup: iterations over which the learning rate rises.
        needs_hindsight: whether credit reads the columns `hindsight` (one more forward pass).
        keep: checkpoints that stay.
    """

    iterations: int = 100
    tasks: int = 8
    group_size: int = 8
    repeating: int = 0
    seed: int = 0
    first_seed: int = 0
    play: RolloutConfig = field(default_factory=RolloutConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(lr=3e-4, weight_decay=0.0))
    warmup: int = 0
    needs_hindsight: bool = False
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    checkpoint_every: int = 10
    keep: int = 2

    def __post_init__(self) -> None:
        if min(self.iterations, self.tasks, self.group_size, self.checkpoint_every, self.keep) < 1:
            raise UsageError(
                "iterations, tasks, group_size, checkpoint_every and keep are counts", "give at least 1 for each"
            )
        if self.repeating < 0 or self.warmup < 0:
            raise UsageError("repeating and warmup are counts", "give 0 for none")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Attributes:
    metrics: of each iteration, those of an earlier process included where there is a folder.
    best: of the evaluations, share of successes at the first temperature; None without one.
    stopped: why it ended before its last iteration; "" if it did not.
    """

    metrics: tuple[Mapping[str, Any], ...]
    best: float | None
    stopped: str = ""


def reinforce(
    config: Config,
    policy: Policy,
    seats: Seats,
    form: Form,
    *,
    credit: Credit,
    folder: Path | None = None,
    guard: GuardMaker | None = None,
    progress: Progress | None = None,
) -> Report:
    """Train a policy in place.

    Args:
        credit: such as `lambda batch, memory: advantages(batch, Config(estimator="gigpo"), memory)`.
        folder: for checkpoints, metrics and events; what is there is gone on from.

    Raises:
        UsageError: the folder holds a training with another config.
    """
    training = _Training(config, policy, seats, form, credit, folder, guard)
    while training.iteration < config.iterations and not training.stopped:
        figures = training.iterate()
        if progress is not None:
            progress(figures)
    return Report(metrics=tuple(training.metrics), best=training.best, stopped=training.stopped)


class _Training:
    def __init__(
        self,
        config: Config,
        policy: Policy,
        seats: Seats,
        form: Form,
        credit: Credit,
        folder: Path | None,
        guard: GuardMaker | None,
    ) -> None:
        self.config, self.policy, self.seats, self.form = config, policy, seats, form
        self.credit, self.folder = credit, folder
        self.player: Player = AnyPlayer(policy)
        self.optimiser: Optimiser = build_optimiser(policy.decoder, config.optimiser)
        reference = self._reference() if config.update.kl_coef else None
        made = None if guard is None else guard(policy.decoder, list(self.optimiser.parts.values()))
        self.updater = Updater(policy, config.update, self.optimiser, reference=reference, guard=made)
        self.memory: Any = None
        self.iteration, self.stopped = 0, ""
        self.best: float | None = None
        self.metrics: list[Mapping[str, Any]] = []
        if folder is not None:
            self._resume(folder)

    # --- one iteration --------------------------------------------------------------------------------------------

    def iterate(self) -> dict[str, float]:
        config, number, began = self.config, self.iteration, time.perf_counter()
        episodes = rollout(self.player, self.seats, self.form, self._tasks(), self._play(number))
        played = time.perf_counter()
        batch = self._batch(episodes)
        given = self.credit(batch, self.memory)
        self.memory = given.memory
        self.optimiser.set_factor(min(1.0, (number + 1) / config.warmup) if config.warmup else 1.0)
        seen, order = episode_figures(episodes), key_of(config.seed, "order", number)
        learned = self.updater.update(episodes, given.advantages, seed=order, signals=seen)
        self.iteration += 1
        figures = {"iteration": float(number), "version": float(self.policy.version)}
        figures |= {f"credit.{name}": value for name, value in given.diagnostics.items()}
        figures |= seen | learned
        figures |= {"play_s": played - began, "learn_s": time.perf_counter() - played}
        if config.evaluate.every and self.iteration % config.evaluate.every == 0:
            figures |= self._evaluate()
        self._note(figures)
        return figures

    def _tasks(self) -> list[Task]:
        first = self.iteration * self.config.tasks
        numbers = [first + each for each in range(self.config.tasks)]
        if self.config.repeating:
            numbers = [number % self.config.repeating for number in numbers]
        return [
            Task(group=number, seed=self.config.first_seed + number, times=self.config.group_size) for number in numbers
        ]

    def _play(self, number: int) -> RolloutConfig:
        return dataclasses.replace(
            self.config.play, seed=key_of(self.config.seed, "play", number), temperature=self.policy.temperature
        )

    def _batch(self, episodes: Sequence[Episode]) -> Batch:
        """The episodes with the columns that the policy can tell and credit may read."""
        if not (self.config.needs_hindsight or self.config.update.success_coef):
            return batch_of(episodes)
        hindsight, chance = self.policy.columns(episodes, hindsight=self.config.needs_hindsight)
        decisions = flat(episodes)
        lacks = hindsight is not None and any(decision.policy is None for decision in decisions)
        return batch_of(
            episodes,
            policy=self.policy.all_candidates(decisions) if lacks else None,
            hindsight=hindsight,
            success_chance=chance,
            end_value=None if chance is None else self.policy.end_values(episodes),
        )

    def _evaluate(self) -> dict[str, float]:
        config = self.config.evaluate
        figures: dict[str, float] = {}
        for temperature in config.temperatures:
            episodes = evaluate(
                self.player, self.seats, self.form, range(config.first_seed, config.first_seed + config.games),
                dataclasses.replace(self.config.play, seed=self.config.seed, temperature=temperature),
            )  # fmt: skip
            found = episode_figures(episodes)
            figures |= {f"eval.{name}@{temperature:g}": found[name] for name in ("success", "score", "reward", "turns")}
        value = figures[f"eval.success@{config.temperatures[0]:g}"]
        if not math.isnan(value) and (self.best is None or value > self.best):
            self.best = value
            if self.folder is not None:
                checkpoint.keep_best(self.folder, self.policy.decoder, self.iteration)
                self._event("best", {"success": value})
        return figures

    # --- what stays -----------------------------------------------------------------------------------------------

    def _note(self, figures: dict[str, float]) -> None:
        self.metrics.append(figures)
        if self.updater.verdict != "go":
            self._event("guard", {"verdict": self.updater.verdict})
        if self.updater.verdict == "stop":
            self.stopped = "the guard stopped it"
        if self.folder is None:
            return
        is_last = self.iteration == self.config.iterations or bool(self.stopped)
        Lines(self.folder / checkpoint.METRICS).add(figures)
        if is_last or self.iteration % self.config.checkpoint_every == 0:
            self._save(self.folder)

    def _event(self, kind: str, facts: Mapping[str, Any]) -> None:
        if self.folder is not None:
            Lines(self.folder / checkpoint.EVENTS).add({"kind": kind, "iteration": self.iteration, **facts})

    def _save(self, folder: Path) -> None:
        state = State(
            iteration=self.iteration,
            version=self.policy.version,
            entropy_coef=self.updater.entropy_coef,
            best=self.best,
            config=_asked(self.config),
            guard=None if self.updater.guard is None else self.updater.guard.state_dict(),
            memory=memory_tensors(self.memory),
        )
        tensors = self.optimiser.state_tensors()
        checkpoint.save(folder, state, self.policy.decoder, tensors, keep=self.config.keep)

    def _resume(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in reversed(checkpoint.checkpoints(folder)):
            try:
                state, moments = checkpoint.load(path, self.policy.decoder)
            except StoreError as error:
                self._event("damaged", {"checkpoint": path.name, "problem": error.problem})
                continue
            if state.config != _asked(self.config):
                raise UsageError(
                    f"{folder} holds a training with another config: {_difference(state.config, _asked(self.config))}",
                    "give the same config (iterations may grow), or another folder",
                )
            self.optimiser.load_state_tensors(moments)
            self.iteration, self.policy.version, self.best = state.iteration, state.version, state.best
            self.updater.entropy_coef = state.entropy_coef
            self.memory = memory_of(state.memory)
            if self.updater.guard is not None and state.guard is not None:
                self.updater.guard.load_state_dict(state.guard)
            break
        for name in (checkpoint.METRICS, checkpoint.EVENTS):
            if (folder / name).exists():
                Lines(folder / name).cut(self.iteration)
        self.metrics = list(Lines(folder / checkpoint.METRICS).read())
        if self.iteration:
            self._event("resumed", {})

    def _reference(self) -> Policy:
        """The policy as training found it; where there is a folder, kept in it, for a resume finds other weights."""
        reference = copy.copy(self.policy)
        reference.decoder = copy.deepcopy(self.policy.decoder)
        if self.folder is not None:
            checkpoint.keep_reference(self.folder, reference.decoder)
        return reference


def evaluate(
    player: Player, seats: Seats, form: Form, seeds: Sequence[int], config: RolloutConfig | None = None
) -> list[Episode]:
    """One game on each seed."""
    return rollout(player, seats, form, [Task(group=seed, seed=seed) for seed in seeds], config)


def episode_figures(episodes: Sequence[Episode]) -> dict[str, float]:
    """What a round of play looks like, by the names of `overwinter.learn.stability`. The first signs of a collapse are here (RAGEN,
    arXiv 2504.20073): the spread of rewards within groups, entropy, length, share of valid actions."""
    reward = np.array([episode.total_reward for episode in episodes])
    turns = np.array([len(episode.decisions) for episode in episodes], np.float64)
    groups: dict[int, list[float]] = {}
    for episode, value in zip(episodes, reward, strict=True):
        groups.setdefault(episode.group, []).append(float(value))
    spreads = [float(np.std(values)) for values in groups.values()]
    decisions = flat(episodes)
    likeliest = [max(decision.policy) for decision in decisions if decision.policy is not None]
    known = [value for value in (episode.success for episode in episodes) if not math.isnan(value)]
    scores = [value for value in (episode.score for episode in episodes) if not math.isnan(value)]
    return {
        "episodes": float(len(episodes)),
        "success": float(np.mean(known)) if known else math.nan,
        "score": float(np.mean(scores)) if scores else math.nan,
        "reward": float(reward.mean()),
        "reward_std": float(np.mean(spreads)),
        "zero_variance_share": float(np.mean([spread < 1e-9 for spread in spreads])),
        "turns": float(turns.mean()),
        "turns_p95": float(np.quantile(turns, 0.95)),
        "truncated": float(np.mean([episode.truncated for episode in episodes])),
        "top_probability": float(np.mean(np.exp(likeliest))) if likeliest else math.nan,
        "length": float(np.mean([len(decision.ids) for decision in decisions])),
        "cap_hit_share": float(np.mean([decision.is_cut for decision in decisions])),
        "valid_ratio": float(np.mean([decision.is_valid for decision in decisions])),
        "states_per_decision": len({decision.state for decision in decisions}) / len(decisions),
    }


def memory_tensors(memory: Any) -> dict[str, Tensor]:
    """What a credit estimator remembers, as tensors: a dataclass of arrays (`overwinter.learn.credit.GraphMemory`)."""
    import torch

    if memory is None:
        return {}
    if not dataclasses.is_dataclass(memory):
        raise UsageError(
            f"a memory of type {type(memory).__name__} cannot be saved", "remember in a dataclass of arrays"
        )
    return {
        f"{type(memory).__module__}:{type(memory).__name__}/{name.name}": torch.from_numpy(getattr(memory, name.name))
        for name in dataclasses.fields(memory)
    }


def memory_of(tensors: Mapping[str, Tensor]) -> Any:
    """The other way."""
    from importlib import import_module

    if not tensors:
        return None
    module, _, name = next(iter(tensors)).partition("/")[0].partition(":")
    if not module.startswith("overwinter."):
        raise UsageError(f"a memory of {module} is not one of ours", "use the folder of a training by overwinter")
    kind = getattr(import_module(module), name)
    return kind(**{key.partition("/")[2]: tensor.numpy() for key, tensor in tensors.items()})


def _asked(config: Config) -> dict[str, Any]:
    """The config as JSON, without how far it shall go."""
    values = dataclasses.asdict(config)
    for name in ("iterations", "keep"):
        del values[name]
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in now if then.get(name) != now[name]]
    return ", ".join(f"{name} was {then.get(name)}, is {now[name]}" for name in names) or "fields were added"
