"""Reinforcement learning by our own engine: play, give credit, change the weights.

    report = reinforce(Config(iterations=50), policy, seats, form, credit=credit, folder=Path("run"))

Idea: many games are played in lock-step; each step of all of them is asked of the model together. What was asked and drawn is kept as
token ids, with the log-probabilities of the distribution it was drawn from. A credit estimator says which decisions earned the outcome, and
an updater moves the weights by a loss whose every token has a weight that was said.

Invariants:
- Ids and log-probabilities come from whoever drew; nothing is tokenised again. An entry of text alone is refused.
- Log-probabilities are those of what could be drawn: masked to the candidates, divided by the temperature. Training computes the same.
- The number of optimiser steps and the weight of an episode do not depend on its number of turns.
- An episode that was cut short has no outcome.
- All that is random is a function of the seed and of places (iteration, group, member, step), so a training has no other state
  than its weights, and on a CPU one that is killed and resumed ends with the same bits.

Reading order: decision.py (what is remembered), policy.py (log-probabilities with gradients), and collate.py and ends.py below it; seat.py,
form.py, player.py, rollouts.py (play); losses.py, corrections.py, update.py (learn); trainer.py and checkpoint.py (the loop);
pool.py (worlds in processes, or on other machines); journal.py (runs as episodes). Names load when first used. Guide:
docs/reinforce.md
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overwinter.learn.reinforce.corrections import CorrectionConfig
    from overwinter.learn.reinforce.decision import Decision, Episode, batch_of
    from overwinter.learn.reinforce.form import Form, TextForm
    from overwinter.learn.reinforce.journal import Reading, read_episodes
    from overwinter.learn.reinforce.losses import EntropyConfig, LossConfig
    from overwinter.learn.reinforce.player import AnyPlayer, DirectPlayer, EnginePlayer
    from overwinter.learn.reinforce.policy import CandidatePolicy, OutcomeIds, TokenPolicy
    from overwinter.learn.reinforce.pool import ProcessSeats, RaySeats
    from overwinter.learn.reinforce.rollouts import Config as RolloutConfig
    from overwinter.learn.reinforce.rollouts import Task, rollout
    from overwinter.learn.reinforce.seat import OPEN_SEAT, LocalSeats, Seat, Seats, open_seat
    from overwinter.learn.reinforce.trainer import Config, EvaluateConfig, Report, evaluate, reinforce
    from overwinter.learn.reinforce.update import UpdateConfig, Updater

_HOMES = {
    "AnyPlayer": "player",
    "CandidatePolicy": "policy",
    "Config": "trainer",
    "CorrectionConfig": "corrections",
    "Decision": "decision",
    "DirectPlayer": "player",
    "EnginePlayer": "player",
    "EntropyConfig": "losses",
    "Episode": "decision",
    "EvaluateConfig": "trainer",
    "Form": "form",
    "LocalSeats": "seat",
    "LossConfig": "losses",
    "OPEN_SEAT": "seat",
    "OutcomeIds": "policy",
    "ProcessSeats": "pool",
    "RaySeats": "pool",
    "Reading": "journal",
    "Report": "trainer",
    "RolloutConfig": "rollouts.Config",
    "Seat": "seat",
    "Seats": "seat",
    "Task": "rollouts",
    "TextForm": "form",
    "TokenPolicy": "policy",
    "UpdateConfig": "update",
    "Updater": "update",
    "batch_of": "decision",
    "evaluate": "trainer",
    "open_seat": "seat",
    "read_episodes": "journal",
    "reinforce": "trainer",
    "rollout": "rollouts",
}
"""Name → module, with the name it has there where that is another."""

__all__ = [
    "OPEN_SEAT",
    "AnyPlayer",
    "CandidatePolicy",
    "Config",
    "CorrectionConfig",
    "Decision",
    "DirectPlayer",
    "EnginePlayer",
    "EntropyConfig",
    "Episode",
    "EvaluateConfig",
    "Form",
    "LocalSeats",
    "LossConfig",
    "OutcomeIds",
    "ProcessSeats",
    "RaySeats",
    "Reading",
    "Report",
    "RolloutConfig",
    "Seat",
    "Seats",
    "Task",
    "TextForm",
    "TokenPolicy",
    "UpdateConfig",
    "Updater",
    "batch_of",
    "evaluate",
    "open_seat",
    "read_episodes",
    "reinforce",
    "rollout",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'overwinter.learn.reinforce' has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(".")
    return getattr(import_module(f"overwinter.learn.reinforce.{module}"), there or name)
