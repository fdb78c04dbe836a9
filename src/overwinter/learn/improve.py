"""From the journals of runs to better weights of the model that made them.

    lesson = read_lesson(store, runs, folder)             # decisions with their ids, their candidates, their outcome
    better, figures = improve(folder, lesson, Config())
    before, after = held_out(folder, …), held_out(better, …)

Token ids and outcomes come from the journal. The candidates of a decision do not stand there: the world is played again from its seed and
says what was legal, and the pages it gives must be, id by id, the prompts that were journalled. So a run that was made by another
version of the world is refused, not learned from.

Ratios are taken to the weights as they are now ("recomputed"), for runs may have been greedy or by slightly older weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from overwinter.errors import UsageError
from overwinter.journal import Store
from overwinter.learn.appraisal import Trace, played, retrace
from overwinter.learn.batch import Floats
from overwinter.learn.credit import Config as CreditConfig
from overwinter.learn.credit import advantages
from overwinter.learn.players import Student
from overwinter.learn.reinforce.decision import Decision, Episode, batch_of
from overwinter.learn.reinforce.form import TextForm
from overwinter.learn.reinforce.journal import read_episodes
from overwinter.learn.reinforce.player import DirectPlayer
from overwinter.learn.reinforce.policy import CandidatePolicy
from overwinter.learn.reinforce.rollouts import Config as RolloutConfig
from overwinter.learn.reinforce.seat import LocalSeats, open_seat
from overwinter.learn.reinforce.trainer import evaluate
from overwinter.learn.reinforce.update import UpdateConfig, Updater
from overwinter.learn.train.optim import OptimiserConfig, build_optimiser

SEATS = 64
PAGES: Mapping[str, Any] = {"critic": {"gamma": 1.0, "lam": 0.95}, "evidence": 8.0}
"""Options of calibrated credit where pages hardly ever come twice: the critic and the hindsight head speak, the graph hardly. Undiscounted:
an outcome months later is worth as much."""


def credit_for_pages(estimator: str) -> CreditConfig:
    """A credit estimator with the constants that suit pages of notes."""
    return CreditConfig(estimator=estimator, options=PAGES if estimator == "calibrated" else {})


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is learned.

    Args:
        estimator: of credit (`overwinter.learn.credit.estimator_names`).
        lr: small: a few runs say little, and what the model knows already is worth more.
        epochs, minibatches: passes over all decisions, and optimiser steps in each.
        kl_coef: how strongly the policy is held to what it was.
        success_coef: of learning the outcome itself.
    """

    estimator: str = "calibrated"
    lr: float = 3e-5
    epochs: int = 2
    minibatches: int = 8
    kl_coef: float = 0.1
    success_coef: float = 0.1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Runs as what is learned from.

    Attributes:
        entries: of each run, the sample.completion of each decision.
        world: the name of the world, the same in all.
    """

    runs: tuple[str, ...]
    world: str
    episodes: tuple[Episode, ...]
    traces: tuple[Trace, ...]


def read_lesson(store: Store, runs: Sequence[str], folder: Path) -> Lesson:
    """The runs with the candidates of each decision.

    Raises:
        UsageError: a run has answers of text alone, is not over, plays another world than the others, or its pages are not those of today's
            world and notebook.
    """
    form = Student(folder).form
    reading = read_episodes(store, runs, outcome=form.outcome)
    if reading.is_mixed:
        raise UsageError(
            f"the runs were made by several models: {', '.join(reading.models)}", "learn from the runs of one of them"
        )
    episodes, traces, worlds = [], [], set()
    for run, episode in zip(runs, reading.episodes, strict=True):
        done = played(store, run)
        trace = retrace(done.world, done.seed, done.actions)
        episodes.append(_with_candidates(run, episode, trace, form))
        traces.append(trace)
        worlds.add(done.world)
    if len(worlds) > 1:
        raise UsageError(f"the runs play several worlds: {', '.join(sorted(worlds))}", "learn from one world at a time")
    return Lesson(runs=tuple(runs), world=worlds.pop(), episodes=tuple(episodes), traces=tuple(traces))


def _with_candidates(run: str, episode: Episode, trace: Trace, form: TextForm) -> Episode:
    if not trace.is_over:
        raise UsageError(f"run {run!r} is not over", f"let it end: overwinter resume {run}")
    if len(episode.decisions) != len(trace.looks):
        raise UsageError(
            f"run {run!r} has {len(episode.decisions)} answers for {len(trace.looks)} actions",
            "learn from runs in which every answer was carried out",
        )
    decisions = []
    for number, (decision, look) in enumerate(zip(episode.decisions, trace.looks, strict=True)):
        prompt = form.prompt(look.page)
        if prompt.ids != decision.prompt:
            raise UsageError(
                f"decision {number} of run {run!r} was made from another page than today's world and notes give",
                "learn with the version of overwinter that made the run",
            )
        candidates = form.candidates(look.actions)
        choice = look.actions.index(look.action)
        if candidates[choice] != decision.ids:
            raise UsageError(
                f"decision {number} of run {run!r} said {decision.ids}, and {look.action!r} was done",
                "learn with the tokenizer that the run was made with",
            )
        decisions.append(replace(decision, slot=prompt.slot, candidates=candidates, choice=choice))
    return replace(episode, decisions=tuple(decisions), success=trace.success, score=trace.score)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Attributes:
    student: the changed policy, with its form.
    advantages: [S] the credit of each decision.
    curve: loss and figures after each epoch.
    """

    student: Student
    advantages: Floats
    diagnostics: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]


def improve(
    folder: Path, lesson: Lesson, config: Config, progress: Callable[[Mapping[str, float]], None] | None = None
) -> Learned:
    """Learn from the runs. The folder is left as it is."""
    student = Student(folder)
    policy = student.policy
    episodes = [_with_policy(episode, policy) for episode in lesson.episodes]
    hindsight, chance = policy.columns(episodes, hindsight=True)
    ends = None if chance is None else policy.end_values(episodes)
    batch = batch_of(episodes, hindsight=hindsight, success_chance=chance, end_value=ends)
    credit = advantages(batch, credit_for_pages(config.estimator))
    reference = copy.copy(policy)
    reference.decoder = copy.deepcopy(policy.decoder)
    optimiser = build_optimiser(policy.decoder, OptimiserConfig(lr=config.lr, weight_decay=0.0))
    update = UpdateConfig(
        minibatches=config.minibatches, old="recomputed", kl_coef=config.kl_coef, success_coef=config.success_coef
    )
    updater = Updater(policy, update, optimiser, reference=reference)
    curve = []
    for epoch in range(config.epochs):
        figures = updater.update(episodes, credit.advantages, seed=config.seed + epoch)
        curve.append({"epoch": float(epoch + 1), **figures})
        if progress is not None:
            progress(curve[-1])
    policy.decoder.eval()
    return Learned(student=student, advantages=credit.advantages, diagnostics=credit.diagnostics, curve=tuple(curve))


def _with_policy(episode: Episode, policy: CandidatePolicy) -> Episode:
    """The decisions with what the policy makes of them now, at temperature 1: what credit and ratios are taken to."""
    import torch

    decisions: list[Decision] = []
    for start in range(0, len(episode.decisions), 256):
        part = [replace(each, temperature=1.0) for each in episode.decisions[start : start + 256]]
        with torch.no_grad():
            scores = policy.score(part)
        assert scores.policy is not None, "every action is one token"
        for row, decision in enumerate(part):
            assert decision.candidates is not None
            logs = tuple(scores.policy[row, : len(decision.candidates)].double().tolist())
            entropy = float(scores.entropy[row])
            decisions.append(
                replace(decision, policy=logs, logprobs=(logs[decision.choice],), entropy=entropy, is_raw=False)
            )
    return replace(episode, decisions=tuple(decisions))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Greedy episodes on seeds that nothing was learned from."""

    seeds: tuple[int, ...]
    score: Floats
    success: Floats
    odds: tuple[Floats, ...]
    """Of each episode, the model's own log-odds of success before each decision."""


def held_out(student: Student, world: str, seeds: Sequence[int]) -> HeldOut:
    """Play the seeds greedily.

    Returns:
        The score of an episode that was given up is 0.
    """
    seats = LocalSeats(lambda: open_seat(world, max_steps=1000), count=min(SEATS, len(seeds)))
    episodes = evaluate(DirectPlayer(student.policy), seats, student.form, list(seeds), RolloutConfig(temperature=0.0))
    _, chance = student.policy.columns(episodes, hindsight=False)
    assert chance is not None
    clipped = np.clip(chance, 1e-9, 1 - 1e-9)
    borders = np.cumsum([len(episode.decisions) for episode in episodes])[:-1]
    return HeldOut(
        seeds=tuple(seeds),
        score=np.array([0.0 if episode.truncated else episode.score for episode in episodes]),
        success=np.array([np.nan_to_num(episode.success) for episode in episodes]),
        odds=tuple(np.split(np.log(clipped / (1.0 - clipped)), borders)),
    )


def fit_calibration(odds_of: Sequence[Floats], success: Floats) -> dict[str, float]:
    """Platt scaling of bets: scale and shift of the log-odds with the least log loss, each episode weighing one.

    Args:
        odds_of: of each episode, the log-odds before each decision.
        success: of each episode, 1 or 0.

    A prior worth one episode at scale 1 and shift 0 keeps the fit finite where all episodes ended alike.
    """
    import torch
    from torch.nn import functional

    odds = torch.from_numpy(np.concatenate(odds_of))
    target = torch.from_numpy(np.repeat(success, [len(each) for each in odds_of]))
    weight = torch.from_numpy(np.repeat([1.0 / len(each) for each in odds_of], [len(each) for each in odds_of]))
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    fit = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([fit], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = fit[0] * odds + fit[1]
        value = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
        value = value + ((fit - start) ** 2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    scale, shift = fit.detach().tolist()
    return {"scale": round(scale, 4), "shift": round(shift, 4)}


def paired_change(before: Floats, after: Floats, seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """Mean change per seed with its 95 % percentile bootstrap interval: (mean, low, high)."""
    gaps = after - before
    rows = np.random.default_rng(seed).integers(0, len(gaps), (draws, len(gaps)))
    low, high = np.percentile(gaps[rows].mean(1), [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high)
