"""Budget-aware value tree search (BAVT, Li et al., arXiv 2603.12634): spend broadly while there is much, on the best when little is left.

    r = tokens left / budget        α = (1/r)^exponent, at most ALPHA_MAX
    the next node is drawn with weights V^α out of those that can be gone on with
    a step that added nothing: another idea from its parent (widen); one that did: on from there (deepen)

What we changed, and why.

- The exponent is capped and the weights are taken in logarithms: 1/r grows without bound.
- *Luck.* In a world of chance, the value of one branch is mostly its luck, and the highest is the luckiest. There the candidates
  are options, each tried in the imagined worlds 0, 1, 2, … in this order, so that any two were tried in the same ones. The value
  that α works on is then the chance that the option is better than the model's own first choice, from the pairs: Φ(mean / standard
  error), with Φ the normal distribution. The model's own choice has ½.
- *The model's choice stands* unless another is better with a chance of `CONVINCED`: picking the best of several noisy values finds
  the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from overwinter.think.search.settings import SearchSettings
from overwinter.think.search.strategy import TRIES_MAX, Choice, Expand, can_pay, can_widen, go_on, luck_of, shares
from overwinter.think.search.tree import ROOT, Node, Option, Tree

ALPHA_MAX = 16.0
ENOUGH = 0.98
"""τ: an ended branch without luck that is worth as much is answered at once."""
CONVINCED = 0.8
SETTLED, SETTLED_PAIRS = 0.99, 6
"""A rival that is better, or not better, with that chance after so many pairs is looked into no further."""
SD_BEFORE, SD_WEIGHT = 0.02, 2.0
"""What the spread of paired differences is taken for before any were seen, and how many pairs that is worth."""


def alpha(ratio: float, exponent: float) -> float:
    """How sharply values are told apart with this part of the budget left."""
    return min(ALPHA_MAX, math.pow(1.0 / max(ratio, 1.0 / ALPHA_MAX), exponent))


def weights(values: list[float], power: float) -> list[float]:
    """V^α as parts of 1, in logarithms: small values to high powers vanish otherwise."""
    logs = [power * math.log(value) for value in values]
    top = max(logs)
    raw = [math.exp(each - top) for each in logs]
    total = sum(raw)
    return [each / total for each in raw]


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """What pairs of tries say of an option against the model's own.

    Attributes:
        gain: mean difference of worth.
        chance: that the option is the better one, Φ(gain / standard error).
        pairs: how many tries that were played to their end in the same imagined world.
    """

    gain: float
    chance: float
    pairs: int


def edge(tree: Tree, option: Option, own: Option) -> Edge:
    """An option compared with the model's own choice, world by world."""
    there = {tree.nodes[n].scenario: tree.worth(n) for n in own.tries if tree.done(n)}
    differences = [
        tree.worth(n) - there[tree.nodes[n].scenario]
        for n in option.tries
        if tree.done(n) and tree.nodes[n].scenario in there
    ]
    if option.label == own.label or not differences:
        return Edge(gain=0.0, chance=0.5, pairs=len(differences))
    count = len(differences)
    mean = sum(differences) / count
    squares = sum((each - mean) ** 2 for each in differences)
    variance = (squares + SD_WEIGHT * SD_BEFORE**2) / (count - 1 + SD_WEIGHT)
    error = math.sqrt(variance / count)
    return Edge(gain=mean, chance=0.5 * (1.0 + math.erf(mean / error / math.sqrt(2.0))), pairs=count)


def _is_settled(found: Edge) -> bool:
    return found.pairs >= SETTLED_PAIRS and not 1.0 - SETTLED < found.chance < SETTLED


class TreeSearch:
    """See the module docstring."""

    name, needs_critic = "tree", True

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings

    def next(self, tree: Tree) -> Expand | None:
        if not tree.nodes[ROOT].children:
            return Expand(node=ROOT)
        if not can_pay(tree):
            return None
        return self._by_options(tree) if tree.luck else self._by_nodes(tree)

    def choose(self, tree: Tree) -> Choice:
        options = tree.options()
        if not options:
            return Choice(node=None, why="nothing was tried")
        if tree.luck:
            return self._best_option(tree, options)
        best = max(options, key=lambda each: (tree.option_worth(each), -each.tries[0]))
        votes = shares({each.label: tree.option_worth(each) for each in options})
        return Choice(node=best.tries[0], votes=votes, why=f"worth {tree.option_worth(best):.2f}, the most")

    # --- without luck: the paper's frontier -----------------------------------------------------------------------

    def _by_nodes(self, tree: Tree) -> Expand | None:
        if any(node.over and node.value >= ENOUGH for node in tree.nodes[1:]):
            return None
        frontier = [node for node in tree.nodes if self._is_open(tree, node)]
        if not frontier:
            return None
        power = alpha(tree.ratio, self.settings.exponent)
        parts = weights([node.value for node in frontier], power)
        [node] = luck_of(self.settings, tree).choices(frontier, parts)
        return Expand(node=node.number, fresh=bool(node.children))

    def _is_open(self, tree: Tree, node: Node) -> bool:
        """A leaf can be deepened. A node whose last child added nothing can be widened."""
        if node.over or len(node.children) >= self.settings.width:
            return False
        if not node.children:
            return True
        if node.number == ROOT and not can_widen(tree, self.settings):
            return False
        return tree.nodes[node.children[-1]].value <= node.value or all(tree.done(each) for each in node.children)

    # --- with luck: options against each other --------------------------------------------------------------------

    def _by_options(self, tree: Tree) -> Expand | None:
        options = tree.options()
        own = options[0]
        if can_widen(tree, self.settings):
            # Ideas first: what has not been tried once cannot be compared. The model's own choice is only played if there is another.
            return Expand(node=ROOT, fresh=True)
        if len(options) == 1:
            return None
        behind = [each for each in options if not tree.done(each.tries[0])]
        if behind:
            return go_on(tree, behind[0])
        power = alpha(tree.ratio, self.settings.exponent)
        edges = {each.label: edge(tree, each, own) for each in options[1:]}
        others = [each for each in options[1:] if len(each.tries) < TRIES_MAX and not _is_settled(edges[each.label])]
        if not others:
            return None
        parts = weights([max(1e-6, edges[each.label].chance) for each in others], power)
        [rival] = luck_of(self.settings, tree).choices(others, parts)
        # The rival is tried where the own choice has been; a new imagined world is opened by the own choice.
        return go_on(tree, rival if len(rival.tries) < len(own.tries) or not tree.done(rival.tries[-1]) else own)

    def _best_option(self, tree: Tree, options: list[Option]) -> Choice:
        own = options[0]
        edges = {each.label: edge(tree, each, own) for each in options}
        votes = shares({label: found.chance for label, found in edges.items()})
        better = [each for each in options[1:] if edges[each.label].chance >= CONVINCED]
        if not better:
            why = "the model's own choice; " + ("no other was shown to be better" if len(options) > 1 else "it is sure")
            return Choice(node=own.tries[0], votes=votes, why=why)
        best = max(better, key=lambda each: edges[each.label].gain)
        found = edges[best.label]
        why = f"better than {own.label!r} with a chance of {found.chance:.2f}, by {found.gain:+.3f} in {found.pairs} imagined worlds"
        return Choice(node=best.tries[0], votes=votes, why=why)
