"""Monte Carlo tree search, and AB-MCTS: which branch next, by what was found so far and how little it was looked at.

- mcts: UCT, mean + C·sqrt(2 ln N / n), a node being widened while it has fewer children than sqrt(visits). As in LATS
  (arXiv 2310.04406) the critic's value stands in for the end; what LATS adds is left out on purpose: it stops at, and selects, the
  branch that the environment calls correct, which nobody tells a run.
- ab-mcts: at every node Thompson sampling decides between a new child (wider) and each that is there (deeper), with the conjugate
  posterior of AB-MCTS-A (arXiv 2503.04412): normal-inverse-χ², m 0.5, κ 1, ν 1, τ² 0.1.

AB-MCTS's own package (treequest) is not used: it keeps its tree in Python objects that are saved by pickle, knows no budget and no
imagined worlds, and the rule itself is the forty lines below.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from overwinter.think.search.settings import SearchSettings
from overwinter.think.search.strategy import Choice, Expand, can_pay, can_widen, go_on, luck_of, shares
from overwinter.think.search.tree import ROOT, Node, Option, Tree

EXPLORE = 0.5
"""C: values lie within a few tenths of each other."""
PRIOR_MEAN, PRIOR_KAPPA, PRIOR_NU, PRIOR_VAR = 0.5, 1.0, 1.0, 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """A way on from a node: an option of the root, or a child. `found` are the values seen through it."""

    option: Option | None
    node: Node
    found: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.found) / len(self.found)


def arms(tree: Tree, node: Node) -> list[Arm]:
    """Ways on from `node` that are not exhausted."""
    if node.number == ROOT and tree.luck:
        rows = [
            Arm(option=each, node=tree.nodes[each.tries[0]], found=tuple(v for n in each.tries for v in below(tree, n)))
            for each in tree.options()
        ]
        return [each for each in rows if each.option is not None and go_on(tree, each.option) is not None]
    found = [Arm(option=None, node=tree.nodes[n], found=tuple(below(tree, n))) for n in node.children]
    return [each for each in found if _is_open(tree, each.node)]


def below(tree: Tree, number: int) -> list[float]:
    """The values of a node and of all after it. With luck a branch counts once, by its end: the rest of it is the same luck."""
    if tree.luck:
        return [tree.worth(number)]
    node = tree.nodes[number]
    return [node.value, *(value for child in node.children for value in below(tree, child))]


def _is_open(tree: Tree, node: Node) -> bool:
    return not node.over and (not node.children or any(_is_open(tree, tree.nodes[n]) for n in node.children))


class _Descending(ABC):
    """Goes down from the root by `_pick`, as long as there is something to spend."""

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings

    def next(self, tree: Tree) -> Expand | None:
        if tree.nodes[ROOT].children and not can_pay(tree):
            return None
        return _descend(tree, self.settings, self._pick)

    @abstractmethod
    def _pick(self, tree: Tree, node: Node, ways: list[Arm], may_widen: bool) -> Arm | None:
        """Which of the ways that are there to follow; None for another one."""


class Mcts(_Descending):
    """See the module docstring."""

    name, needs_critic = "mcts", True

    def _pick(self, tree: Tree, node: Node, ways: list[Arm], may_widen: bool) -> Arm | None:  # noqa: ARG002
        visits = sum(len(each.found) for each in ways)
        if may_widen and (not ways or len(node.children) ** 2 <= visits):
            return None
        return max(ways, key=lambda each: each.mean + EXPLORE * math.sqrt(2 * math.log(visits + 1) / len(each.found)))

    def choose(self, tree: Tree) -> Choice:
        options = tree.options()
        if not options:
            return Choice(node=None, why="nothing was tried")
        counts = {each.label: sum(tree.visits(n) for n in each.tries) for each in options}
        best = max(options, key=lambda each: (counts[each.label], tree.option_worth(each), -each.tries[0]))
        votes = shares({label: float(count) for label, count in counts.items()})
        return Choice(
            node=best.tries[0], votes=votes, why=f"{counts[best.label]} of {sum(counts.values())} visits, the most"
        )


class AbMcts(_Descending):
    """See the module docstring. What was found best on average is committed."""

    name, needs_critic = "ab-mcts", True

    def _pick(self, tree: Tree, node: Node, ways: list[Arm], may_widen: bool) -> Arm | None:
        draw = luck_of(self.settings, tree, f"node {node.number}")
        first = [tree.nodes[n].value for n in node.children]
        drawn = [(thompson(each.found, draw), each) for each in ways]
        if may_widen:
            wider = thompson(first, draw)
            if not drawn or wider >= max(value for value, _ in drawn):
                return None
        return max(drawn, key=lambda pair: pair[0])[1]

    def choose(self, tree: Tree) -> Choice:
        options = tree.options()
        if not options:
            return Choice(node=None, why="nothing was tried")
        best = max(options, key=lambda each: (tree.option_worth(each), -each.tries[0]))
        votes = shares({each.label: float(sum(tree.visits(n) for n in each.tries)) for each in options})
        return Choice(node=best.tries[0], votes=votes, why=f"mean value {tree.option_worth(best):.3f}, the highest")


def thompson(values: list[float] | tuple[float, ...], draw: random.Random) -> float:
    """A mean drawn from the normal-inverse-χ² posterior of `values`."""
    n = len(values)
    mean = sum(values) / n if n else 0.0
    kappa, nu = PRIOR_KAPPA + n, PRIOR_NU + n
    centre = (PRIOR_KAPPA * PRIOR_MEAN + n * mean) / kappa
    squares = sum((value - mean) ** 2 for value in values)
    scale = PRIOR_NU * PRIOR_VAR + squares + n * PRIOR_KAPPA / kappa * (mean - PRIOR_MEAN) ** 2
    # A χ² variate of ν degrees is a gamma variate of shape ν/2 and scale 2.
    variance = scale / draw.gammavariate(nu / 2.0, 2.0)
    return draw.gauss(centre, math.sqrt(variance / kappa))


Pick: TypeAlias = Callable[[Tree, Node, "list[Arm]", bool], "Arm | None"]
"""Of a node: which way on; None widens it."""


def _descend(tree: Tree, settings: SearchSettings, pick: Pick) -> Expand | None:
    """Down from the root until a node is to be widened, or has no child yet."""
    node = tree.nodes[ROOT]
    while True:
        ways = arms(tree, node)
        may_widen = not tree.luck and len(node.children) < settings.width
        may_widen = can_widen(tree, settings) if node.number == ROOT else may_widen
        if not node.children:
            return None if node.over else Expand(node=node.number)
        if not ways and not may_widen:
            return None
        if len(ways) == 1 and not may_widen and node.number == ROOT and len(tree.options()) == 1:
            return None  # one thing to do: there is nothing to compare
        arm = pick(tree, node, ways, may_widen)
        if arm is None:
            return Expand(node=node.number, fresh=True)
        if arm.option is not None:
            return go_on(tree, arm.option)
        node = arm.node
