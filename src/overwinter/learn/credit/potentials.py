"""Phi(s): the probability of success from a state, as the fixed point of a graph of what was seen.

    Phi(s) = gamma · M_p over the transitions leaving s of Phi(s'),   Phi = 1 where the goal was met, 0 where it was missed

M_p is the power mean of order p weighted by counts: 1 is the expectation under the behaviour, infinity the best continuation seen
(then Phi = gamma^distance). The map contracts by gamma for every p ≥ 1, so the fixed point is unique, cycles or not, and k passes
leave an error of at most gamma^k. Source: GraphHCA 2609.35084; closed-form ratio rho = Phi(s')/Phi(s).

`solve` is the fast path, one sparse pass over the distinct edges per iteration; plain.py has the same with dictionaries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from overwinter.learn.batch import Bools, Floats, Ints
from overwinter.learn.credit.arrays import Array, Arrays, Buckets, buckets_of

TOLERANCE = 1e-10
PASSES = 5000


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A weighted graph of N nodes and E edges; some nodes have a value that is given.

    Attributes:
        nodes: N.
        source, target: [E] nodes; a target of -1 is an end of its own, whose value is `end`.
        action: [E] what was done; transitions with equal source and action are averaged first.
        weight: [E] counts.
        end: [E] value of the end where target is -1.
        leak: [N] weight of episodes that ended at the node without the goal, beside its transitions.
        fixed: [N] nodes whose value is given.
        given: [N] these values.
    """

    nodes: int
    source: Ints
    target: Ints
    action: Ints
    weight: Floats
    end: Floats
    leak: Floats
    fixed: Bools
    given: Floats


def solve(graph: Graph, x: Arrays, *, gamma: float, order: float, tolerance: float = TOLERANCE) -> tuple[Array, Array]:
    """Phi of the nodes [N], and of the edges [E]: the mean over what followed the same action in the same state."""
    edges = buckets_of(
        graph.source, graph.action, graph.target, np.unique(graph.end, return_inverse=True)[1].reshape(-1)
    )
    first = np.unique(edges.index, return_index=True)[1]
    source, target, weight = graph.source[first], graph.target[first], _sums(edges, graph.weight)
    choices = buckets_of(source, graph.action[first])
    chosen_at = source[np.unique(choices.index, return_index=True)[1]]
    choice_weight = _sums(choices, weight)
    node_weight = np.bincount(source, weights=weight, minlength=graph.nodes) + graph.leak
    share = x.of(weight / choice_weight[choices.index])
    choice_share = x.of(choice_weight / node_weight[chosen_at])
    ends, end = x.of(target < 0), x.of(graph.end[first])
    target = np.maximum(target, 0)
    fixed, given = x.of(graph.fixed), x.of(graph.given)
    phi = given
    followed = x.of(np.zeros(choices.count))
    for _ in range(PASSES):
        arrived = x.where(ends, end, x.take(phi, target))
        followed = x.segment_sum(share * arrived, choices.index, choices.count)
        if math.isinf(order):
            backed_up = x.segment_max(followed, chosen_at, graph.nodes)
        elif order == 1:
            backed_up = x.segment_sum(choice_share * followed, chosen_at, graph.nodes)
        else:
            backed_up = x.segment_sum(choice_share * followed**order, chosen_at, graph.nodes) ** (1.0 / order)
        before, phi = phi, x.where(fixed, given, gamma * backed_up)
        if x.largest(phi - before) <= tolerance:
            break
    return phi, x.take(followed, choices.index[edges.index])


def _sums(buckets: Buckets, weights: Floats) -> Floats:
    return np.bincount(buckets.index, weights=weights, minlength=buckets.count).astype(np.float64)


def log_difference(x: Arrays, now: Array, then: Array, floor: float) -> Array:
    """log max(then, floor) - log max(now, floor): the log of the hindsight ratio, at most log(1/floor) either way."""
    return x.log(x.clip(then, floor, math.inf)) - x.log(x.clip(now, floor, math.inf))
