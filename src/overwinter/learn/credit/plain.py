"""The slow twins: the same estimators with dictionaries and loops, as one would write them on paper. Tests compare; nothing calls them.

Options are those of the table's rows. Every function returns advantages as a list, one per row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from statistics import fmean

from overwinter.learn.batch import Batch
from overwinter.learn.credit.arrays import ROUNDING
from overwinter.learn.credit.critic import Gae
from overwinter.learn.credit.graph import GraphGpo, GraphHca, Pg
from overwinter.learn.credit.groups import Grpo
from overwinter.learn.credit.hindsight import Hcapo
from overwinter.learn.credit.steps import Gigpo, Hgpo

Credits = list[float]
Key = Hashable


def _grouped(keys: list[Key]) -> dict[Key, list[int]]:
    groups: dict[Key, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    return groups


def _normalised(values: Credits, keys: list[Key], ddof: int, eps: float, scale: bool = True) -> Credits:
    result = [0.0] * len(values)
    for rows in _grouped(keys).values():
        mean = fmean(values[row] for row in rows)
        variance = sum((values[row] - mean) ** 2 for row in rows) / max(len(rows) - ddof, 1)
        deviation = math.sqrt(variance)
        if scale and deviation <= ROUNDING:
            continue
        for row in rows:
            result[row] = (values[row] - mean) / (deviation + eps if scale else 1.0)
    return result


def _outcomes(batch: Batch) -> Credits:
    totals = [0.0] * batch.trajectories
    for trajectory, reward in zip(batch.trajectory.tolist(), batch.reward.tolist(), strict=True):
        totals[trajectory] += reward
    return totals


def _returns(batch: Batch, gamma: float) -> Credits:
    result: Credits = batch.reward.tolist()
    for row in reversed(range(len(batch))):
        if row not in batch.last:
            result[row] += gamma * result[row + 1]
    return result


def grpo(batch: Batch, options: Grpo) -> Credits:
    """Twin of groups.grpo."""
    per_trajectory = _normalised(_outcomes(batch), batch.trajectory_group.tolist(), options.ddof, options.eps)
    bounded = [min(max(value, -options.clip), options.clip) for value in per_trajectory]
    return [bounded[trajectory] for trajectory in batch.trajectory.tolist()]


def rloo(batch: Batch) -> Credits:
    """Twin of groups.rloo."""
    outcomes, groups = _outcomes(batch), batch.trajectory_group.tolist()
    result = []
    for trajectory in batch.trajectory.tolist():
        others = [
            outcome
            for other, outcome in enumerate(outcomes)
            if groups[other] == groups[trajectory] and other != trajectory
        ]
        result.append(outcomes[trajectory] - fmean(others) if others else 0.0)
    return result


def gae_turn(batch: Batch, options: Gae) -> Credits:
    """Twin of critic.gae_turn."""
    assert batch.value is not None
    result = [0.0] * len(batch)
    for row in reversed(range(len(batch))):
        if batch.terminated[row] or batch.truncated[row]:
            assert batch.terminated[row] or batch.end_value is not None
            value = 0.0 if batch.terminated[row] else float(batch.end_value[batch.trajectory[row]])  # type: ignore[index]
            later = 0.0
        else:
            value, later = float(batch.value[row + 1]), result[row + 1]
        delta = float(batch.reward[row]) + options.gamma * value - float(batch.value[row])
        result[row] = delta + options.gamma * options.lam * later
    return result


def _episode_term(batch: Batch, over_steps: bool, scale: bool, ddof: int, eps: float) -> Credits:
    outcomes, trajectory = _outcomes(batch), batch.trajectory.tolist()
    if over_steps:
        return _normalised([outcomes[t] for t in trajectory], batch.group.tolist(), ddof, eps, scale)
    per_trajectory = _normalised(outcomes, batch.trajectory_group.tolist(), ddof, eps, scale)
    return [per_trajectory[t] for t in trajectory]


def gigpo(batch: Batch, options: Gigpo) -> Credits:
    """Twin of steps.gigpo with exact anchors."""
    scale = options.normalise == "std"
    keys: list[Key] = list(zip(batch.group.tolist(), batch.state.tolist(), strict=True))
    steps = _normalised(_returns(batch, options.gamma), keys, options.ddof, options.eps, scale)
    episodes = _episode_term(batch, options.over == "steps", scale, options.ddof, options.eps)
    return [episode + options.omega * step for episode, step in zip(episodes, steps, strict=True)]


def hgpo(batch: Batch, options: Hgpo) -> Credits:
    """Twin of steps.hgpo."""
    scale = options.normalise == "std"
    returns, states, step = _returns(batch, options.gamma), batch.state.tolist(), batch.step.tolist()
    levels: list[tuple[float, Credits]] = []
    for length in range(1, options.history + 2):
        keys: list[Key] = [
            (int(batch.group[row]), *states[row - length + 1 : row + 1]) if step[row] >= length - 1 else ("alone", row)
            for row in range(len(batch))
        ]
        levels.append(((length + 1.0) ** options.alpha, _normalised(returns, keys, 0, options.eps, scale)))
    if options.base:
        levels.append((1.0, _episode_term(batch, True, scale, 1, options.eps)))
    result = []
    for row in range(len(batch)):
        present = [(weight, values[row]) for weight, values in levels if abs(values[row]) > 1e-9]
        total = sum(weight for weight, _ in present)
        result.append(sum(weight * value for weight, value in present) / total if total else 0.0)
    return result


def potentials(
    edges: dict[tuple[Key, Key, Key], float],
    fixed: dict[Key, float],
    leak: dict[Key, float],
    gamma: float,
    order: float = 1.0,
) -> dict[Key, float]:
    """Twin of potentials.solve: Phi of every node.

    Args:
        edges: (state, action, next state) → count.
        fixed: nodes whose value is given; all others without edges are worth 0.
        leak: weight of failures that ended at a node.
    """
    following: dict[Key, dict[Key, dict[Key, float]]] = {}
    for (source, action, target), count in edges.items():
        targets = following.setdefault(source, {}).setdefault(action, {})
        targets[target] = targets.get(target, 0.0) + count
    phi: dict[Key, float] = {node: 0.0 for source, _, target in edges for node in (source, target)} | fixed
    for _ in range(5000):
        changed = {
            node: gamma * _backed_up(actions, phi, leak.get(node, 0.0), order)
            for node, actions in following.items()
            if node not in fixed
        }
        gap = max((abs(value - phi[node]) for node, value in changed.items()), default=0.0)
        phi |= changed
        if gap <= 1e-10:
            break
    return phi


def _backed_up(actions: dict[Key, dict[Key, float]], phi: dict[Key, float], leak: float, order: float) -> float:
    weights = [sum(targets.values()) for targets in actions.values()]
    means = [
        sum(count * phi[target] for target, count in targets.items()) / weight
        for targets, weight in zip(actions.values(), weights, strict=True)
    ]
    if math.isinf(order):
        return max(means)
    total = sum(weights) + leak
    return float(
        sum(weight / total * mean**order for weight, mean in zip(weights, means, strict=True)) ** (1.0 / order)
    )


def _rollout_edges(batch: Batch) -> tuple[list[tuple[Key, Key, Key]], dict[Key, float]]:
    """One edge per row, with ends of their own where a trajectory met the goal or terminated, and the values of these."""
    edges: list[tuple[Key, Key, Key]] = []
    fixed: dict[Key, float] = {}
    for row in range(len(batch)):
        group, success = int(batch.group[row]), float(batch.success[batch.trajectory[row]])
        target: Key = (group, int(batch.next_state[row]))
        ends = bool(batch.terminated[row] or batch.truncated[row])
        if batch.terminated[row] or (ends and success > 0):
            target = ("end", success)
            fixed[target] = success
        edges.append(((group, int(batch.state[row])), int(batch.action[row]), target))
    return edges, fixed


def graph_credit(batch: Batch, options: GraphHca) -> Credits:
    """Twin of graph.graph_credit, for open_end "graph" and "sink" and realised successors."""
    edges, fixed = _rollout_edges(batch)
    if options.open_end == "sink":
        failed = [int(batch.last[t]) for t in range(batch.trajectories) if batch.success[t] == 0]
        fixed |= {(int(batch.group[row]), int(batch.next_state[row])): 0.0 for row in failed}
    counts: dict[tuple[Key, Key, Key], float] = {}
    for source, _, target in edges:
        counts[source, target, target] = counts.get((source, target, target), 0.0) + 1.0
    phi = potentials(counts, fixed, {}, options.gamma, options.order)
    log = _floored_log(options.floor)
    return [log(phi[target]) - log(phi[source]) for source, _, target in edges]


def _floored_log(floor: float) -> Callable[[float], float]:
    return lambda value: math.log(max(value, floor))


def graphhca(batch: Batch, options: GraphHca) -> Credits:
    """Twin of graph.graphhca with per-state standardisation."""
    keys: list[Key] = list(zip(batch.group.tolist(), batch.state.tolist(), strict=True))
    steps = _normalised(graph_credit(batch, options), keys, 0, 1e-10)
    return [macro + options.omega * step for macro, step in zip(grpo(batch, options.macro), steps, strict=True)]


def graphgpo(batch: Batch, options: GraphGpo) -> Credits:
    """Twin of graph.graphgpo: distances by breadth-first search from the ends that met the goal."""
    edges, fixed = _rollout_edges(batch)
    rewards = [0.0] * len(batch)
    for rows in _grouped(batch.group.tolist()).values():
        backwards: dict[Key, set[Key]] = {}
        for row in rows:
            source, _, target = edges[row]
            backwards.setdefault(target, set()).add(source)
        frontier: set[Key] = {edges[row][2] for row in rows if fixed.get(edges[row][2], 0.0) > 0}
        distance: dict[Key, int] = dict.fromkeys(frontier, 0)
        while frontier:
            frontier = {source for node in frontier for source in backwards.get(node, ()) if source not in distance}
            distance |= dict.fromkeys(frontier, max(distance.values()) + 1)
        if not distance:
            continue
        farthest = max(distance[edges[row][2]] for row in rows if edges[row][2] in distance)
        for row in rows:
            rewards[row] = options.gamma ** distance.get(edges[row][2], farthest + 1)
    keys: list[Key] = list(zip(batch.group.tolist(), batch.state.tolist(), strict=True))
    steps = _normalised(rewards, keys, options.ddof, options.eps)
    return [macro + options.omega * step for macro, step in zip(grpo(batch, options.macro), steps, strict=True)]


PlainMemory = tuple[dict[tuple[Key, Key, Key], float], dict[Key, list[float]]]
"""Counts of transitions, and per node how many ends met the goal and how many did not."""


def pg(batch: Batch, options: Pg, memory: PlainMemory | None) -> tuple[Credits, PlainMemory]:
    """Twin of graph.pg with potential="log"."""
    old_edges, old_ends = memory or ({}, {})
    edges = {key: count * options.decay for key, count in old_edges.items() if count * options.decay >= options.forget}
    ends = {
        key: [mass * options.decay for mass in masses]
        for key, masses in old_ends.items()
        if max(masses) * options.decay >= options.forget
    }
    walks: list[tuple[Key, Key]] = []
    for row in range(len(batch)):
        group = int(batch.group[row])
        source, target = (group, int(batch.state[row])), (group, int(batch.next_state[row]))
        walks.append((source, target))
        key = (source, int(batch.action[row]), target)
        edges[key] = edges.get(key, 0.0) + 1.0
    for row, success in zip(batch.last.tolist(), batch.success.tolist(), strict=True):
        if not math.isnan(success):
            masses = ends.setdefault(walks[row][1], [0.0, 0.0])
            masses[0] += success
            masses[1] += 1.0 - success
    fixed = {node: goal / (goal + other) for node, (goal, other) in ends.items() if goal > 0}
    leak = {node: other for node, (goal, other) in ends.items() if goal == 0}
    phi = potentials(edges, fixed, leak, options.gamma)
    log = _floored_log(options.floor)
    credit = [log(phi[target]) - log(phi[source]) for source, target in walks]
    mean = fmean(credit)
    deviation = math.sqrt(fmean((value - mean) ** 2 for value in credit)) + 1e-6
    steps = [min(max(value / deviation, -options.clip), options.clip) for value in credit]
    total = [macro + options.omega * step for macro, step in zip(grpo(batch, options.macro), steps, strict=True)]
    return total, (edges, ends)


def hcapo(batch: Batch, options: Hcapo) -> Credits:
    """Twin of hindsight.hcapo with statistics over the group and without re-centring."""
    assert batch.hindsight_score is not None
    outcomes = _outcomes(batch)
    q: Credits = []
    for trajectory, first, length in zip(
        range(batch.trajectories), batch.first.tolist(), batch.length.tolist(), strict=True
    ):
        scores = batch.hindsight_score[first : first + length].tolist()
        likelihood = [math.exp(score / options.temperature) for score in scores]
        mean = fmean(likelihood)
        ratio = [min(max(value / mean, options.clip_low), options.clip_high) for value in likelihood]
        own = [rho * options.gamma ** (length - 1 - step) * outcomes[trajectory] for step, rho in enumerate(ratio)]
        q += [
            options.smoothing * value + (1 - options.smoothing) * own[min(step + 1, length - 1)]
            for step, value in enumerate(own)
        ]
    micro = _normalised(q, batch.group.tolist(), 0, options.eps)
    if options.do_no_harm:
        successful = [batch.success[trajectory] > 0 for trajectory in batch.trajectory.tolist()]
        micro = [max(value, 0.0) if good else value for value, good in zip(micro, successful, strict=True)]
    return [macro + options.omega * step for macro, step in zip(grpo(batch, options.macro), micro, strict=True)]
