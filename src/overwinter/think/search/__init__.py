"""Search under a budget: several ways of going on are tried, one is taken.

Pure: the tree of a decision and strategies that say where to go on and when to stop. What a node is (a fork of a run, a row of a table)
is the caller's; `loop/search` drives it over forks of runs.

Reading order: tree.py, strategy.py, bavt.py (budget-aware value tree search, the default), flat.py, mcts.py, plain.py (slow twins).
"""

from __future__ import annotations

from overwinter.think.search.bavt import TreeSearch
from overwinter.think.search.flat import Beam, BestOfN, Majority
from overwinter.think.search.mcts import AbMcts, Mcts
from overwinter.think.search.settings import CRITICS, STRATEGIES, SearchSettings, parse_search
from overwinter.think.search.strategy import Choice, Expand, Strategy
from overwinter.think.search.tree import ROOT, Node, Option, Tree

__all__ = [
    "CRITICS",
    "ROOT",
    "STRATEGIES",
    "Choice",
    "Expand",
    "Node",
    "Option",
    "SearchSettings",
    "Strategy",
    "Tree",
    "make_strategy",
    "parse_search",
]


def make_strategy(settings: SearchSettings) -> Strategy:
    """The strategy that the settings name."""
    made: dict[str, type[TreeSearch | BestOfN | Majority | Beam | Mcts | AbMcts]] = {
        each.name: each for each in (TreeSearch, BestOfN, Majority, Beam, Mcts, AbMcts)
    }
    return made[settings.strategy](settings)
