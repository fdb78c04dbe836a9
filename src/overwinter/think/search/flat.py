"""Best-of-n, majority and beam: the strategies that budget-aware search has to beat.

- best-of-n: independent branches from the decision, each played to its end by the model itself; the highest value wins.
- majority: the model is asked again and again and the most frequent first step wins; nothing is played, nobody scores
  (self-consistency, arXiv 2203.11171).
- beam: all first steps one node deep, then the better half one deeper, and so on.
"""

from __future__ import annotations

from collections import Counter

from overwinter.think.search.settings import SearchSettings
from overwinter.think.search.strategy import Choice, Expand, can_pay, can_widen, shares
from overwinter.think.search.tree import ROOT, Tree

SETTLED = 0.95
"""Majority stops early when the leader keeps its lead with this chance."""
LEAST_VOTES = 4


class BestOfN:
    """See the module docstring. Every branch meets luck of its own, as independent runs do."""

    name, needs_critic = "best-of-n", True

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings

    def next(self, tree: Tree) -> Expand | None:
        for number in tree.nodes[ROOT].children:
            tip = tree.tip(number)
            if not tip.over:
                return Expand(node=tip.number) if can_pay(tree) else None
        if tree.nodes[ROOT].children and not can_pay(tree):
            return None
        return Expand(node=ROOT, scenario=len(tree.nodes[ROOT].children))

    def choose(self, tree: Tree) -> Choice:
        tried = [number for number in tree.nodes[ROOT].children if tree.done(number)] or tree.nodes[ROOT].children
        if not tried:
            return Choice(node=None, why="nothing was tried")
        best = max(tried, key=lambda each: (tree.worth(each), -each))
        counts = Counter(tree.nodes[number].label for number in tried)
        votes = shares({label: float(count) for label, count in counts.items()})
        return Choice(node=best, votes=votes, why=f"value {tree.worth(best):.3f}, the best of {len(tried)} branches")


class Majority:
    """See the module docstring. A tie goes to what was said first."""

    name, needs_critic = "majority", False

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings

    def next(self, tree: Tree) -> Expand | None:
        if tree.nodes[ROOT].children and (not can_pay(tree) or self._settled(tree)):
            return None
        return Expand(node=ROOT)

    def choose(self, tree: Tree) -> Choice:
        options = tree.options()
        if not options:
            return Choice(node=None, why="nothing was tried")
        best = max(options, key=lambda each: (len(each.tries), -each.tries[0]))
        total = len(tree.nodes[ROOT].children)
        votes = shares({each.label: float(len(each.tries)) for each in options})
        return Choice(node=best.tries[0], votes=votes, why=f"{len(best.tries)} of {total} votes")

    def _settled(self, tree: Tree) -> bool:
        """Whether more votes would hardly change the leader: Beta(lead + 1, second + 1) puts SETTLED beyond one half."""
        counts = sorted((len(each.tries) for each in tree.options()), reverse=True)
        if sum(counts) < LEAST_VOTES:
            return False
        lead, second = counts[0], counts[1] if len(counts) > 1 else 0
        return lead_is_kept(lead, second) >= SETTLED


def lead_is_kept(lead: int, second: int) -> float:
    """P(p > ½) for p ~ Beta(lead + 1, second + 1): the chance that the leader really is the more frequent of the two."""
    # I_{1/2}(b, a) for whole numbers is a binomial tail: P(at most `second` of lead + second + 1 coins).
    trials = lead + second + 1
    total, term = 0, 1
    for successes in range(second + 1):
        total += term
        term = term * (trials - successes) // (successes + 1)
    return float(total) / float(2**trials) if second > lead else 1.0 - float(total) / float(2**trials)


class Beam:
    """See the module docstring. With luck, all branches meet the same."""

    name, needs_critic = "beam", True

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings

    def next(self, tree: Tree) -> Expand | None:
        children = tree.nodes[ROOT].children
        if children and not can_pay(tree):
            return None
        if can_widen(tree, self.settings):
            return Expand(node=ROOT, fresh=bool(children))
        if len(children) < 2:
            return None
        for level in range(1, tree.depth):
            here = [node for node in tree.nodes if node.depth == level]
            kept = sorted(here, key=lambda each: (-each.value, each.number))[: self._kept(level)]
            behind = [node for node in kept if not node.over and not node.children]
            if behind:
                return Expand(node=behind[0].number)
        return None

    def _kept(self, level: int) -> int:
        return max(1, self.settings.width >> level)

    def choose(self, tree: Tree) -> Choice:
        if not tree.nodes[ROOT].children:
            return Choice(node=None, why="nothing was tried")
        deepest = max(node.depth for node in tree.nodes)
        last = [node for node in tree.nodes if node.depth == deepest]
        best = max(last, key=lambda each: (each.value, -each.number))
        first = best
        while first.parent != ROOT:
            assert first.parent is not None
            first = tree.nodes[first.parent]
        votes = shares({each.label: tree.option_worth(each) for each in tree.options()})
        return Choice(node=first.number, votes=votes, why=f"value {best.value:.3f}, the best at depth {deepest}")
