"""Slow twins, from the definitions: what the quick forms are tested against."""

from __future__ import annotations

from fractions import Fraction
from math import comb

from overwinter.think.search.tree import Node, Tree


def weights(values: list[float], power: float) -> list[float]:
    """V^α over their sum, as powers. Underflows for high powers, which is why it is the twin."""
    raw = [value**power for value in values]
    return [each / sum(raw) for each in raw]


def descendants(tree: Tree, number: int) -> list[Node]:
    """A node and all below it, found by looking at every node's line of parents."""
    return [node for node in tree.nodes if number in line_of(tree, node)]


def line_of(tree: Tree, node: Node) -> list[int]:
    """Numbers from the node up to the root."""
    line = [node.number]
    while node.parent is not None:
        node = tree.nodes[node.parent]
        line.append(node.number)
    return line


def visits(tree: Tree, number: int) -> int:
    return len(descendants(tree, number))


def cost(tree: Tree, number: int) -> int:
    return sum(node.tokens for node in descendants(tree, number))


def lead_is_kept(lead: int, second: int) -> float:
    """P(p > ½), p ~ Beta(lead + 1, second + 1), as the sum of a binomial, in whole numbers."""
    trials = lead + second + 1
    below = sum(comb(trials, k) for k in range(lead + 1, trials + 1))
    return 1.0 - float(Fraction(below, 2**trials))
