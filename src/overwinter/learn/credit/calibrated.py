"""Calibrated hindsight credit: how much an action changed the odds of success.

    l(s, a) = log rho_S - log rho_F,   rho_S = Phi(s') / Phi(s),   rho_F = (1 - Phi(s')) / (1 - Phi(s))
    A = critic's or GRPO's term + omega · clip(l / std of l over the batch, ±clip)

Idea: for a binary outcome the hindsight ratio of an action compares the chance of success after it with the chance before it, given
success (rho_S) or given failure (rho_F). The difference of their logs is the weight of evidence the action gives for success, in nats. It
speaks in failed trajectories too, it does not fade where success is likely (there rho_S stays near 1, and rho_F does not), and it scores
the choice, not its tokens, so length cannot enter.

Each source speaks where it can:

- The graph of all transitions seen, fading (memory.py). Phi(s) = gamma · mean of Phi over what left s, so that the mean of gamma rho_S
  over a state's transitions is 1 by construction; gamma is the price of a step. The end set by a time limit is open, not a failure.
  Where luck decides at the end, shares of success are shrunk to their mean by the evidence (empirical Bayes), so that one lucky success
  does not make its path the right one.
- A critic (columns value, end_value): its advantages (GAE) take the place of GRPO's as the term that carries the outcome. They compare
  with what was to be expected from this state, and need no state to come twice.
- An outcome-conditioned head over the candidates (columns policy, hindsight), off by default: log h - log pi at the temperature under
  which it predicts the batch's actions best, normalised so that the mean of its ratio under pi is 1. It counts like `evidence` visits
  against the graph's.

With states that never come again, the graph says no more than how far a success was, and the outcome term leads. Without optional
columns graph and GRPO remain.

Source: 1912.02503 for the ratios, 2609.35084 for the closed form by a graph, ours for the rest. docs/credit.md has the measurements,
docs/log.md the variants that lost. plain_calibrated.py has the same with dictionaries.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from overwinter.learn.batch import Batch, Floats, Ints
from overwinter.learn.credit.arrays import Array, Arrays, Frame, buckets_of
from overwinter.learn.credit.critic import Gae, gae_turn
from overwinter.learn.credit.graph import batch_deviation, memory_graph
from overwinter.learn.credit.groups import Grpo, demand, grpo_outcomes
from overwinter.learn.credit.memory import GraphMemory, remember
from overwinter.learn.credit.parts import Parts
from overwinter.learn.credit.potentials import Graph

TOLERANCE, PASSES = 1e-8, 1000
TEMPERATURES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Exponents of the head's ratio that are tried; 0 silences it, 1 takes it at its word."""


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Args:
    gamma: contraction of the graph.
    decay: what is left of a count after one more batch.
    forget: counts below it are dropped.
    floor: Phi is read between this and 1 minus this.
    clip: bound of the scaled step term.
    omega: weight of the step term; 0 leaves the critic's or GRPO's term alone.
    successor: credit the "realised" next state, or the "average" over what followed the same action in the same state.
    evidence: the head counts like this many visits of a state; 0 ignores it.
    critic: how the critic's advantages are formed.
    macro: GRPO's term, where there is no critic.
    """

    gamma: float = 0.95
    decay: float = 0.6
    forget: float = 0.05
    floor: float = 1e-2
    clip: float = 3.0
    omega: float = 1.0
    successor: Literal["realised", "average"] = "realised"
    evidence: float = 0.0
    critic: Gae = field(default_factory=lambda: Gae(gamma=0.99, lam=0.95))
    macro: Grpo = field(default_factory=lambda: Grpo(ddof=1, eps=1e-3, clip=5.0))

    def __post_init__(self) -> None:
        demand(0 < self.gamma < 1, f"gamma is {self.gamma}", "give a number between 0 and 1")
        demand(0 <= self.decay <= 1, f"decay is {self.decay}", "give a number from 0 to 1")
        demand(self.forget > 0, f"forget is {self.forget}", "give a positive count, or memory grows without bound")
        demand(0 < self.floor < 0.5, f"floor is {self.floor}", "give a small probability, like 1e-2")
        demand(self.clip > 0, f"clip is {self.clip}", "give a positive bound, or inf")
        demand(self.evidence >= 0, f"evidence is {self.evidence}", "give 0 or more visits; 0 ignores the head")
        demand(self.successor in ("realised", "average"), f"successor is {self.successor!r}", "realised or average")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What one source says of the actions taken.

    Attributes:
        log_success, log_failure: [S] logs of rho_S and rho_F.
        visits: [S] how often the state was left, fading.
    """

    log_success: Array
    log_failure: Array
    visits: Floats

    @property
    def log_odds(self) -> Array:
        """[S] l(s, a)"""
        return self.log_success - self.log_failure


def calibrated(frame: Frame, options: Calibrated, memory: GraphMemory | None) -> Parts:
    """A = outcome term + omega · clip(l / std of l over the batch, ±clip)."""
    batch, x = frame.batch, frame.x
    macro = outcome_term(frame, options)
    remembered = remember(memory, without_time_limits(batch), decay=options.decay, forget=options.forget)
    evidence = graph_evidence(frame, remembered, options)
    log_odds, figures = evidence.log_odds, {}
    if batch.policy is not None and batch.hindsight is not None and options.evidence:
        said, figures["head_temperature"] = head_evidence(batch)
        share = evidence.visits / (evidence.visits + options.evidence)
        log_odds = x.of(share) * log_odds + x.of((1.0 - share) * said)
    scaled = log_odds / (batch_deviation(frame, log_odds) + 1e-6)
    micro = options.omega * x.clip(scaled, -options.clip, options.clip)
    ratio = x.exp(evidence.log_success)
    return Parts(
        advantages=macro + micro,
        macro=macro,
        micro=micro,
        ratio=ratio,
        raw_ratio=ratio,
        states=frame.states,
        memory=remembered,
        figures=figures,
    )


def outcome_term(frame: Frame, options: Calibrated) -> Array:
    """[S] the critic's advantage over its deviation, or GRPO's where there is no critic."""
    batch, macro = frame.batch, options.macro
    cut = batch.truncated[batch.last].any()
    if batch.value is None or (cut and batch.end_value is None):
        return frame.by_step(grpo_outcomes(frame, macro))
    surprise = gae_turn(frame, options.critic).advantages
    return frame.x.clip(surprise / (batch_deviation(frame, surprise) + macro.eps), -macro.clip, macro.clip)


def without_time_limits(batch: Batch) -> Batch:
    """The batch with unknown outcomes where a time limit came before the goal: it says nothing about the state it struck in."""
    cut = batch.truncated[batch.last] & (batch.success <= 0)
    return replace(batch, success=np.where(cut, np.nan, batch.success))


def graph_evidence(frame: Frame, memory: GraphMemory, options: Calibrated) -> Evidence:
    """What the remembered graph says; all zeros until the goal has been met once."""
    batch, x = frame.batch, frame.x
    graph, source, target = memory_graph(shrunk_ends(memory), batch)
    visits = np.bincount(graph.source, weights=graph.weight, minlength=graph.nodes)[source]
    if not (graph.given > 0).any():
        nothing = x.of(np.zeros(len(batch)))
        return Evidence(log_success=nothing, log_failure=nothing, visits=visits)
    phi = success_chance(graph, x, options.gamma)
    average = options.successor == "average"
    after = _averaged(graph, phi, x, (memory.action, source, batch.action)) if average else x.take(phi, target)
    low, high = options.floor, 1.0 - options.floor
    then, now = x.clip(after, low, high), x.clip(x.take(phi, source), low, high)
    return Evidence(log_success=x.log(then / now), log_failure=x.log((1.0 - then) / (1.0 - now)), visits=visits)


def shrunk_ends(memory: GraphMemory) -> GraphMemory:
    """The memory with each end's share of successes shrunk to the mean of all, by as much as outcomes are luck.

    Empirical Bayes: the mean weighs as much as k = lambda / (1 - lambda) visits, where lambda is the variance of outcomes among
    trajectories that ended in the same state over their variance at large. Where an end decides the outcome, k is 0 and nothing changes.
    """
    visits = memory.goal + memory.other
    mean = float(memory.goal.sum() / visits.sum()) if len(visits) else 0.0
    again = visits > 1
    if not 0 < mean < 1 or not again.any():
        return memory
    within = (memory.goal * memory.other / visits)[again].sum() / (visits[again] - 1).sum()
    luck = min(float(within / (mean * (1 - mean))), 0.99)
    weight = luck / (1 - luck)
    if not weight:
        return memory
    return replace(memory, goal=memory.goal + weight * mean, other=memory.other + weight * (1 - mean))


def _averaged(graph: Graph, phi: Array, x: Arrays, taken: tuple[Ints, Ints, Ints]) -> Array:
    """[S] mean of Phi over what followed the same action in the same state.

    Args:
        taken: [E] actions of the graph's edges; [S] nodes and [S] actions of the rows.
    """
    of_edges, source, action = taken
    choices = buckets_of(np.concatenate([graph.source, source]), np.concatenate([of_edges, action]))
    of_edge, of_row = choices.index[: len(graph.source)], choices.index[len(graph.source) :]
    # A batch's rows are edges of the memory, so no choice is without weight.
    mass = np.bincount(of_edge, weights=graph.weight, minlength=choices.count)
    arrived = x.segment_sum(x.of(graph.weight) * x.take(phi, graph.target), of_edge, choices.count)
    return x.take(arrived / x.of(mass), of_row)


def success_chance(graph: Graph, x: Arrays, gamma: float) -> Array:
    """[N] the fixed point Phi(s) = gamma · mean over the transitions and failures of s; given values stay.

    It is `potentials.solve` of order 1 without the means per action, for which that sorts the edges: a third less time.
    """
    mass = np.bincount(graph.source, weights=graph.weight, minlength=graph.nodes) + graph.leak
    share = x.of(gamma * graph.weight / mass[graph.source])
    fixed, given = x.of(graph.fixed), x.of(graph.given)
    phi = given
    for _ in range(PASSES):
        backed_up = x.segment_sum(share * x.take(phi, graph.target), graph.source, graph.nodes)
        before, phi = phi, x.where(fixed, given, backed_up)
        if x.largest(phi - before) <= TOLERANCE:
            break
    return phi


def head_evidence(batch: Batch) -> tuple[Floats, float]:
    """[S] what the head says of the actions taken, in nats for success, and its temperature.

    The columns were written before the batch's outcomes taught the head anything, so the likelihood they give to the batch's own actions is
    one of data held out.
    """
    policy, hindsight = np.asarray(batch.policy), np.asarray(batch.hindsight)
    possible = np.isfinite(policy)
    prior = np.where(possible, np.exp(np.where(possible, policy, 0.0)), 0.0)
    lift = np.where(possible, np.maximum(hindsight, -700.0) - np.where(possible, policy, 0.0), 0.0)
    rows: Ints = np.arange(len(batch))
    won = batch.success[batch.trajectory]
    best, likelihood, temperature = np.zeros(len(batch)), 0.0, 0.0
    if not ((won > 0.5).any() and (won <= 0.5).any()):
        return best, temperature
    for exponent in TEMPERATURES[1:]:
        highest = (exponent * lift).max(1)
        mean = np.log((prior * np.exp(exponent * lift - highest[:, None])).sum(1)) + highest
        said = exponent * lift[rows, batch.action] - mean
        gain = np.bincount(batch.trajectory, weights=said)
        sure = float(gain.sum() - 2.0 * np.sqrt((gain**2).sum()))
        if sure > likelihood:
            best, likelihood, temperature = said, sure, exponent
    return np.where(np.isnan(won), 0.0, np.where(won > 0.5, best, -best)), temperature
