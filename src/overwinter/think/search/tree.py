"""The tree of one decision: what was tried, what it was found worth, what it cost. Pure; grows by `add` alone.

The root is the decision. A child is a step further; the children of the root carry the *label* of their first step (the action, the
call, the answer), and children with one label are one *option*. Where luck plays a part (`luck`), an option can be tried several times,
each in an imagined world of its own number; tries with one number met the same luck, so their values can be compared in pairs. Without
luck a second try would only repeat the first.

A node's value is what the critic made of it, in (0, 1]: V(child) = Φ(V(parent) + δ), δ the progress of this step alone (BAVT,
arXiv 2603.12634), Φ the clip to [`FLOOR`, 1]. A value of 0 could never be chosen again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FLOOR = 0.01
"""The least value of a node."""
ROOT = 0


@dataclass(kw_only=True, slots=True)
class Node:
    """Attributes:
    label: of the first step of its branch, for children of the root; of its own step below.
    prior: the model's probability of that step among all it could take, None where unknown.
    scenario: number of the imagined world it is tried in.
    tokens: what it cost, critic included.
    again: its first step is a sibling's, tried once more on purpose.
    over: nothing can come after it: the branch has ended, waits for somebody, or was cut.
    why: what the critic said, or why the branch is over.
    """

    number: int
    parent: int | None
    depth: int
    label: str
    value: float
    tokens: int = 0
    prior: float | None = None
    scenario: int = 0
    again: bool = False
    over: bool = False
    why: str = ""
    children: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One first step and its tries (numbers of nodes, in the order they were made)."""

    label: str
    tries: tuple[int, ...]
    prior: float | None


class Tree:
    """Args:
    budget: tokens the search may spend.
    value: of the root, as the critic sees it before anything is done.
    depth: nodes below the root at most.
    luck: the same step can come out differently.
    """

    def __init__(self, *, budget: int, depth: int, luck: bool = False, value: float = 0.5, tokens: int = 0) -> None:
        self.budget, self.depth, self.luck = budget, depth, luck
        self.nodes: list[Node] = [
            Node(number=ROOT, parent=None, depth=0, label="", value=bounded(value), tokens=tokens)
        ]

    def add(self, parent: int, label: str, value: float, **found: Any) -> Node:
        """The next node; `found` are other attributes of `Node`. Below the root's children every node has its branch's scenario."""
        above = self.nodes[parent]
        node = Node(
            number=len(self.nodes), parent=parent, depth=above.depth + 1, label=label, value=bounded(value), **found
        )
        if parent != ROOT:
            node.scenario = above.scenario
        node.over = node.over or node.depth >= self.depth
        self.nodes.append(node)
        above.children.append(node.number)
        return node

    @property
    def spent(self) -> int:
        return sum(node.tokens for node in self.nodes)

    @property
    def left(self) -> int:
        return max(0, self.budget - self.spent)

    @property
    def ratio(self) -> float:
        """The part of the budget that is left, 0..1."""
        return self.left / self.budget

    @property
    def dearest(self) -> int:
        """What the most expensive node so far cost: with less than that left the next one may not come to its end."""
        return max((node.tokens for node in self.nodes[1:]), default=0)

    def options(self) -> list[Option]:
        """First steps in the order they were found."""
        tries: dict[str, list[int]] = {}
        for number in self.nodes[ROOT].children:
            tries.setdefault(self.nodes[number].label, []).append(number)
        return [
            Option(label=label, tries=tuple(found), prior=self.nodes[found[0]].prior) for label, found in tries.items()
        ]

    def unexplored(self) -> float:
        """The model's probability of first steps that nobody tried; 1 where it is unknown."""
        priors = [option.prior for option in self.options()]
        return 1.0 if not priors or None in priors else max(0.0, 1.0 - sum(p for p in priors if p is not None))

    def tip(self, number: int) -> Node:
        """The end of the way through the best children: where a branch that goes on would go on."""
        node = self.nodes[number]
        while node.children:
            node = max((self.nodes[child] for child in node.children), key=lambda each: (each.value, -each.number))
        return node

    def worth(self, number: int) -> float:
        """A node's value in the light of what came after it: of the best child, and with luck of the mean, for the best of several
        lucky ones is no better than the others."""
        node = self.nodes[number]
        if not node.children:
            return node.value
        below = [self.worth(child) for child in node.children]
        return sum(below) / len(below) if self.luck else max(below)

    def visits(self, number: int) -> int:
        """Nodes at and below this one."""
        return 1 + sum(self.visits(child) for child in self.nodes[number].children)

    def cost(self, number: int) -> int:
        """Tokens at and below this node."""
        return self.nodes[number].tokens + sum(self.cost(child) for child in self.nodes[number].children)

    def option_worth(self, option: Option) -> float:
        """Mean over tries."""
        return sum(self.worth(each) for each in option.tries) / len(option.tries)

    def done(self, number: int) -> bool:
        """A try whose branch is at its end."""
        return self.tip(number).over


def bounded(value: float) -> float:
    """Φ: into [FLOOR, 1]."""
    return min(1.0, max(FLOOR, value))
