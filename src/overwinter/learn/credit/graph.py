"""Credit from the graph of pooled rollouts: GraphHCA (2609.35084), GraphGPO (2605.26684), and "pg", which remembers.

    l(s, a) = log Phi(s') - log Phi(s);   GraphHCA: A = A^GRPO + omega · standardised l, within the steps leaving s
                                          pg:       A = A^GRPO + omega · clip(l / std over the batch, ±3), Phi from all batches so far
    GraphGPO: r(s, a) = gamma^(distance of s' to the goal), standardised the same way

States must be recognised when they come again, and transitions should be nearly deterministic; with luck in them, use
`successor="average"`, which credits the action and not what it happened to lead to.

Where an episode was cut short, its end is no failure: `open_end` says what it counts as.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.batch import Batch
from overwinter.learn.credit.arrays import Array, Frame, buckets_of
from overwinter.learn.credit.groups import Grpo, demand, grpo_outcomes
from overwinter.learn.credit.memory import GraphMemory, remember
from overwinter.learn.credit.parts import Parts
from overwinter.learn.credit.potentials import Graph, log_difference, solve

OpenEnd = Literal["graph", "sink", "neutral"]


@dataclass(frozen=True, kw_only=True)
class GraphHca:
    """Args:
    gamma: contraction of the graph, gamma-bar.
    order: power mean of the backup, from 1 (expectation) to inf (best continuation).
    floor: Phi is not read below it; keep it under gamma^(longest episode).
    omega: weight of the step term; 0 is exactly GRPO.
    standardise: "state" within the steps that left a state, "batch" by the batch's deviation alone, "none".
    open_end: the end of an episode that was cut short, or that failed where others went on, is worth what the "graph" says
        (0 where nobody went on), is a "sink" of value 0 for everybody, or is "neutral": its last step gets no credit if nobody went on.
    successor: credit the "realised" next state, or the "average" over what followed the same action.
    macro: the GRPO term.
    """

    gamma: float
    order: float
    floor: float
    omega: float
    standardise: Literal["state", "batch", "none"]
    open_end: OpenEnd
    successor: Literal["realised", "average"]
    macro: Grpo

    def __post_init__(self) -> None:
        demand(0 < self.gamma <= 1, f"gamma is {self.gamma}", "give a number above 0, up to 1")
        demand(self.order >= 1, f"order is {self.order}", "give a power from 1 to inf")
        demand(0 < self.floor < 1, f"floor is {self.floor}", "give a small probability, like 1e-2")
        demand(
            self.standardise in ("state", "batch", "none"), f"standardise is {self.standardise!r}", "state, batch, none"
        )
        demand(
            self.open_end in ("graph", "sink", "neutral"), f"open_end is {self.open_end!r}", "graph, sink or neutral"
        )
        demand(self.successor in ("realised", "average"), f"successor is {self.successor!r}", "realised or average")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollouts:
    """A batch as a graph.

    Attributes:
        graph: one node per (group, state), one edge per row.
        source, target: [S] nodes of each row.
        ended: [S] rows that are an end of their own: the goal was met, or the episode terminated.
        dead: [S] last rows whose end nobody left.
    """

    graph: Graph
    source: np.ndarray
    target: np.ndarray
    ended: np.ndarray
    dead: np.ndarray


def rollout_graph(batch: Batch, *, sinks: bool, by_action: bool) -> Rollouts:
    """The pooled graph of every group. sinks: ends of failures are worth 0 whoever left them; else only for whom ended there."""
    rows = len(batch)
    nodes = buckets_of(np.concatenate([batch.group, batch.group]), np.concatenate([batch.state, batch.next_state]))
    source, target = nodes.index[:rows], nodes.index[rows:]
    success = np.full(rows, np.nan)
    success[batch.last] = batch.success
    if np.isnan(success[batch.terminated]).any():
        raise UsageError(
            "a trajectory terminated, and its success is not known",
            "fill `success`, or drop the trajectory with filters.keep; a verifier that failed is not a failure",
        )
    failed = success == 0
    ended = batch.terminated | (success > 0)
    left = np.bincount(source, minlength=nodes.count) > 0
    fixed = np.zeros(nodes.count, dtype=np.bool_)
    if sinks:
        fixed[target[failed]] = True
    graph = Graph(
        nodes=nodes.count,
        source=source,
        target=np.where(ended, -1, target),
        # Without averaging, every transition is its own choice: rows are told apart by where they led.
        action=batch.action
        if by_action
        else np.where(ended, nodes.count + np.nan_to_num(success) * 2**20, target).astype(np.int64),
        weight=np.ones(rows),
        end=np.nan_to_num(success),
        leak=np.zeros(nodes.count),
        fixed=fixed,
        given=np.zeros(nodes.count),
    )
    ends = np.zeros(rows, dtype=np.bool_)
    ends[batch.last] = True
    return Rollouts(graph=graph, source=source, target=target, ended=ended, dead=ends & ~ended & ~left[target])


def graph_credit(frame: Frame, options: GraphHca) -> tuple[Array, Rollouts]:
    """[S] l(s, a) before it is standardised."""
    x = frame.x
    rollouts = rollout_graph(frame.batch, sinks=options.open_end == "sink", by_action=options.successor == "average")
    phi, followed = solve(rollouts.graph, x, gamma=options.gamma, order=options.order)
    if options.successor == "average":
        then = followed
    else:
        then = x.where(x.of(rollouts.ended), x.of(rollouts.graph.end), x.take(phi, rollouts.target))
    credit = log_difference(x, x.take(phi, rollouts.source), then, options.floor)
    if options.open_end == "neutral":
        credit = x.where(x.of(rollouts.dead), x.of(np.zeros(len(frame.batch))), credit)
    return credit, rollouts


def graphhca(frame: Frame, options: GraphHca) -> Parts:
    """A = A^GRPO + omega A^s."""
    x = frame.x
    credit, _ = graph_credit(frame, options)
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    if options.standardise == "state":
        micro = frame.normalised(credit, frame.states, 0, 1e-10)
    elif options.standardise == "batch":
        micro = credit / (batch_deviation(frame, credit) + 1e-6)
    else:
        micro = credit
    micro = options.omega * micro
    return Parts(
        advantages=macro + micro,
        macro=macro,
        micro=micro,
        ratio=x.exp(credit),
        raw_ratio=x.exp(credit),
        states=frame.states,
    )


def batch_deviation(frame: Frame, values: Array) -> Array:
    """[S] population deviation over all rows, the same in each."""
    everything = buckets_of(np.zeros(len(frame.batch), dtype=np.int64))
    deviation = frame.deviation(frame.centred(values, everything), everything, 0)
    return frame.x.take(deviation, everything.index)


@dataclass(frozen=True, kw_only=True)
class GraphGpo:
    """Args:
    gamma: reward of a step is gamma^(distance of its next state to the goal).
    omega: weight of the step term.
    ddof: 1 for sample deviations, 0 for the population's.
    eps: added to deviations.
    macro: the GRPO term.
    """

    gamma: float
    omega: float
    ddof: int
    eps: float
    macro: Grpo

    def __post_init__(self) -> None:
        demand(0 < self.gamma < 1, f"gamma is {self.gamma}", "give a number between 0 and 1")
        demand(self.ddof in (0, 1), f"ddof is {self.ddof}", "give 0 or 1")


def graphgpo(frame: Frame, options: GraphGpo) -> Parts:
    """A = A^GRPO + omega A^s. A state from which no rollout of the group reached the goal is one step farther than the farthest."""
    x = frame.x
    rollouts = rollout_graph(frame.batch, sinks=False, by_action=False)
    graph = replace(rollouts.graph, end=(rollouts.graph.end > 0).astype(np.float64))
    # With the best continuation and gamma 1/2, Phi is 2^-distance without rounding, after as many passes as it is far.
    phi, _ = solve(graph, x, gamma=0.5, order=math.inf, tolerance=0.0)
    reached = x.numpy(x.where(x.of(rollouts.ended), x.of(graph.end), x.take(phi, rollouts.target)))
    known = reached > 0
    distance = np.zeros(len(reached))
    distance[known] = -np.log2(reached[known])
    farthest = np.zeros(frame.groups.count)
    np.maximum.at(farthest, frame.row_groups.index, distance)
    any_goal = np.bincount(frame.row_groups.index, weights=known, minlength=frame.groups.count) > 0
    distance = np.where(known, distance, farthest[frame.row_groups.index] + 1.0)
    # Without a success in the group there is nothing to be near to: all distances are equal and their credit 0.
    distance = np.where(any_goal[frame.row_groups.index], distance, 0.0)
    micro = options.omega * frame.normalised(x.of(options.gamma**distance), frame.states, options.ddof, options.eps)
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    return Parts(advantages=macro + micro, macro=macro, micro=micro, states=frame.states)


@dataclass(frozen=True, kw_only=True)
class Pg:
    """Args:
    gamma: contraction of the graph.
    decay: what is left of a count after one more batch.
    forget: counts below it are dropped.
    floor: Phi is not read below it.
    clip: bound of the scaled step term.
    omega: weight of the step term.
    potential: "log" for the difference of log Phi, "value" for that of Phi.
    macro: the GRPO term.
    """

    gamma: float
    decay: float
    forget: float
    floor: float
    clip: float
    omega: float
    potential: Literal["log", "value"]
    macro: Grpo

    def __post_init__(self) -> None:
        demand(0 < self.gamma <= 1, f"gamma is {self.gamma}", "give a number above 0, up to 1")
        demand(0 <= self.decay <= 1, f"decay is {self.decay}", "give a number from 0 to 1")
        demand(self.forget > 0, f"forget is {self.forget}", "give a positive count, or memory grows without bound")
        demand(0 < self.floor < 1, f"floor is {self.floor}", "give a small probability, like 1e-2")
        demand(self.clip > 0, f"clip is {self.clip}", "give a positive bound, or inf")
        demand(self.potential in ("log", "value"), f"potential is {self.potential!r}", "log or value")


def memory_graph(memory: GraphMemory, batch: Batch) -> tuple[Graph, np.ndarray, np.ndarray]:
    """The remembered graph, and the nodes [S] that the batch's rows start from and lead to."""
    edges, rows = len(memory.count), len(batch)
    nodes = buckets_of(
        np.concatenate([memory.group, memory.group, memory.end_group, batch.group, batch.group]),
        np.concatenate([memory.source, memory.target, memory.end_state, batch.state, batch.next_state]),
    )
    cuts = np.cumsum([edges, edges, len(memory.goal), rows])
    source, target, end, row_source, row_target = np.split(nodes.index, cuts)
    goal, other = np.zeros(nodes.count), np.zeros(nodes.count)
    goal[end], other[end] = memory.goal, memory.other
    fixed = goal > 0
    graph = Graph(
        nodes=nodes.count,
        source=source,
        target=target,
        action=target,
        weight=memory.count,
        end=np.zeros(edges),
        leak=np.where(fixed, 0.0, other),
        fixed=fixed,
        given=np.where(fixed, goal / np.maximum(goal + other, 1e-300), 0.0),
    )
    return graph, row_source, row_target


def pg(frame: Frame, options: Pg, memory: GraphMemory | None) -> Parts:
    """A = A^GRPO + omega · clip(l / std of l over the batch, ±clip); nothing centred, no bucket.

    Phi comes from the transitions of this batch and, fading, of the ones before. Tasks that never come again gain nothing by it.
    """
    x = frame.x
    remembered = remember(memory, frame.batch, decay=options.decay, forget=options.forget)
    graph, source, target = memory_graph(remembered, frame.batch)
    phi, _ = solve(graph, x, gamma=options.gamma, order=1.0)
    now, then = x.take(phi, source), x.take(phi, target)
    log_credit = log_difference(x, now, then, options.floor)
    credit = log_credit if options.potential == "log" else then - now
    micro = options.omega * x.clip(credit / (batch_deviation(frame, credit) + 1e-6), -options.clip, options.clip)
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    ratio = x.exp(log_credit)
    return Parts(
        advantages=macro + micro,
        macro=macro,
        micro=micro,
        ratio=ratio,
        raw_ratio=ratio,
        states=frame.states,
        memory=remembered,
    )
