"""The slow twin of calibrated.py, with dictionaries and loops. Tests compare; nothing calls it."""

from __future__ import annotations

import math
from statistics import fmean

from overwinter.learn.batch import Batch
from overwinter.learn.credit.calibrated import TEMPERATURES, Calibrated
from overwinter.learn.credit.plain import Credits, Key, PlainMemory, gae_turn, grpo, potentials


def calibrated(batch: Batch, options: Calibrated, memory: PlainMemory | None) -> tuple[Credits, PlainMemory]:
    """Twin of calibrated.calibrated."""
    edges, ends = _remembered(batch, options, memory)
    evidence = _graph_evidence(batch, options, edges, ends)
    if batch.policy is not None and batch.hindsight is not None and options.evidence > 0:
        said = _head_evidence(batch)
        for row in range(len(batch)):
            node = (int(batch.group[row]), int(batch.state[row]))
            visits = sum(count for (source, _, _), count in edges.items() if source == node)
            share = visits / (visits + options.evidence)
            evidence[row] = share * evidence[row] + (1.0 - share) * said[row]
    deviation = _deviation(evidence) + 1e-6
    steps = [options.omega * _within(value / deviation, -options.clip, options.clip) for value in evidence]
    return [outcome + step for outcome, step in zip(_outcome_term(batch, options), steps, strict=True)], (edges, ends)


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _deviation(values: Credits) -> float:
    mean = fmean(values)
    return math.sqrt(fmean((value - mean) ** 2 for value in values))


def _outcome_term(batch: Batch, options: Calibrated) -> Credits:
    if batch.value is None or (batch.end_value is None and any(batch.truncated)):
        return grpo(batch, options.macro)
    surprise = gae_turn(batch, options.critic)
    deviation = _deviation(surprise) + options.macro.eps
    return [_within(value / deviation, -options.macro.clip, options.macro.clip) for value in surprise]


def _remembered(batch: Batch, options: Calibrated, memory: PlainMemory | None) -> PlainMemory:
    old_edges, old_ends = memory or ({}, {})
    edges = {key: count * options.decay for key, count in old_edges.items() if count * options.decay >= options.forget}
    ends = {
        key: [mass * options.decay for mass in masses]
        for key, masses in old_ends.items()
        if max(masses) * options.decay >= options.forget
    }
    for row in range(len(batch)):
        source, target = _nodes(batch, row)
        key = (source, int(batch.action[row]), target)
        edges[key] = edges.get(key, 0.0) + 1.0
        success = float(batch.success[batch.trajectory[row]])
        is_known = batch.terminated[row] or (batch.truncated[row] and success > 0)
        if is_known and not math.isnan(success):
            masses = ends.setdefault(target, [0.0, 0.0])
            masses[0] += success
            masses[1] += 1.0 - success
    return edges, ends


def _nodes(batch: Batch, row: int) -> tuple[Key, Key]:
    group = int(batch.group[row])
    return (group, int(batch.state[row])), (group, int(batch.next_state[row]))


def _graph_evidence(
    batch: Batch, options: Calibrated, edges: dict[tuple[Key, Key, Key], float], ends: dict[Key, list[float]]
) -> Credits:
    ends = _shrunk(ends)
    fixed = {node: goal / (goal + other) for node, (goal, other) in ends.items() if goal > 0}
    if not fixed:
        return [0.0] * len(batch)
    leak = {node: other for node, (goal, other) in ends.items() if goal == 0}
    phi = potentials(edges, fixed, leak, options.gamma)
    evidence = []
    for row in range(len(batch)):
        source, target = _nodes(batch, row)
        after = phi[target]
        if options.successor == "average":
            taken = (source, int(batch.action[row]))
            following = {there: count for (here, action, there), count in edges.items() if (here, action) == taken}
            after = sum(count * phi[there] for there, count in following.items()) / sum(following.values())
        then, now = (_within(chance, options.floor, 1.0 - options.floor) for chance in (after, phi[source]))
        evidence.append(math.log(then / now) - math.log((1.0 - then) / (1.0 - now)))
    return evidence


def _shrunk(ends: dict[Key, list[float]]) -> dict[Key, list[float]]:
    visits, wins = sum(sum(masses) for masses in ends.values()), sum(goal for goal, _ in ends.values())
    again = [(goal, other) for goal, other in ends.values() if goal + other > 1]
    if not again or not 0 < wins < visits:
        return ends
    mean = wins / visits
    within = sum(goal * other / (goal + other) for goal, other in again) / sum(
        goal + other - 1 for goal, other in again
    )
    luck = min(within / (mean * (1 - mean)), 0.99)
    weight = luck / (1 - luck)
    if weight == 0:
        return ends
    return {node: [goal + weight * mean, other + weight * (1 - mean)] for node, (goal, other) in ends.items()}


def _head_evidence(batch: Batch) -> Credits:
    won = [float(batch.success[trajectory]) for trajectory in batch.trajectory]
    silent = [0.0] * len(batch)
    if not (any(outcome > 0.5 for outcome in won) and any(outcome <= 0.5 for outcome in won)):
        return silent
    best, surest = silent, 0.0
    for exponent in TEMPERATURES[1:]:
        said = [_tempered(batch, row, exponent) for row in range(len(batch))]
        gains = [0.0] * batch.trajectories
        for row, value in enumerate(said):
            gains[int(batch.trajectory[row])] += value
        sure = sum(gains) - 2.0 * math.sqrt(sum(gain**2 for gain in gains))
        if sure > surest:
            best, surest = said, sure
    return [0.0 if math.isnan(y) else value if y > 0.5 else -value for value, y in zip(best, won, strict=True)]


def _tempered(batch: Batch, row: int, exponent: float) -> float:
    """log of (h / pi)^exponent of the action taken, over its mean under pi."""
    assert batch.policy is not None
    assert batch.hindsight is not None
    policy, hindsight = batch.policy[row].tolist(), batch.hindsight[row].tolist()
    lifts = [max(h, -700.0) - p for h, p in zip(hindsight, policy, strict=True) if p > -math.inf]
    chances = [math.exp(p) for p in policy if p > -math.inf]
    mean = sum(chance * math.exp(exponent * lift) for chance, lift in zip(chances, lifts, strict=True))
    action = int(batch.action[row])
    return exponent * float(max(hindsight[action], -700.0) - policy[action]) - math.log(mean)
