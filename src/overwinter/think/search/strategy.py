"""The Strategy protocol: given the tree and what is left of the budget, which node to go on from, and when to stop.

A strategy is a function of the tree: it keeps nothing, and draws its chances from the tree's size and its seed. So a search that was
killed is gone on with by growing the same tree from the journal and asking again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Protocol

from overwinter.think.search.settings import SearchSettings
from overwinter.think.search.tree import ROOT, Option, Tree

NODES_MAX, TRIES_MAX = 1024, 64
FREE_NODES = 32
"""Nodes of a model that costs nothing: no budget would ever end its search."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expand:
    """Add a child to `node`.

    Attributes:
        repeat: take the first step of this node again, in the imagined world of number `scenario`; None asks the model.
        fresh: the model must not say what was said at this node before.
        scenario: number of the imagined world, for children of the root.
    """

    node: int
    repeat: int | None = None
    fresh: bool = False
    scenario: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What to commit.

    Attributes:
        node: the child of the root whose first step is taken; None where nothing was tried.
        votes: label → share of the votes, or what stands for it; sums to 1.
        why: the reason in one line.
    """

    node: int | None
    votes: dict[str, float] = field(default_factory=dict)
    why: str = ""


class Strategy(Protocol):
    """See the module docstring."""

    name: str
    needs_critic: bool

    def next(self, tree: Tree) -> Expand | None:
        """What to do next; None stops."""
        ...

    def choose(self, tree: Tree) -> Choice:
        """What to commit now. May be asked at any time."""
        ...


def luck_of(settings: SearchSettings, tree: Tree, purpose: str = "") -> random.Random:
    """The strategy's own chance at this point: the same in every process."""
    return random.Random(  # noqa: S311 - nobody is to be kept from guessing it
        f"{settings.strategy}/{settings.seed}/{purpose}/{len(tree.nodes)}"
    )


def can_pay(tree: Tree) -> bool:
    """Whether the next node will probably fit. The driver holds the limit; this keeps it from beginning what it cannot end."""
    idle = tree.spent == 0 and len(tree.nodes) > FREE_NODES
    return tree.left > 0 and tree.left >= tree.dearest and len(tree.nodes) < NODES_MAX and not idle


def can_widen(tree: Tree, settings: SearchSettings) -> bool:
    """Whether there is another first step worth a try: room for one, and probability left for it."""
    options, asked = tree.options(), sum(not tree.nodes[n].again for n in tree.nodes[ROOT].children)
    # A model that may say anything may say the same again and again.
    return len(options) < settings.width and asked < 2 * settings.width and tree.unexplored() >= settings.sure


def go_on(tree: Tree, option: Option) -> Expand | None:
    """Spend on an option: play its last try further; if that is at its end, try it again in the next imagined world. None where
    neither is possible."""
    for number in option.tries:
        tip = tree.tip(number)
        if not tip.over:
            return Expand(node=tip.number)
    if not tree.luck or len(option.tries) >= TRIES_MAX:
        return None
    return Expand(node=ROOT, repeat=option.tries[0], scenario=len(option.tries))


def shares(weights: dict[str, float]) -> dict[str, float]:
    """Weights as parts of 1."""
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()} if total > 0 else dict(weights)
