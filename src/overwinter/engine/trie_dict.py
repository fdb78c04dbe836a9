"""The slow clear twin of `trie`: nested dictionaries, one row at a time. Tests and benchmark hold the fast one to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Node:
    """A prefix: its children by token, and whether the end token may follow."""

    children: dict[int, Node] = field(default_factory=dict)
    may_end: bool = False


class DictTrie:
    """Same answers as `Trie`, with a node where it has a state. `None` is a dead row, `self.done` a finished one."""

    def __init__(self, sequences: Iterable[Sequence[int]], *, end_token: int) -> None:
        self.end_token = end_token
        self.root = Node()
        self.done = Node(may_end=True)
        for sequence in sequences:
            node = self.root
            for token in sequence:
                if token != end_token:
                    node = node.children.setdefault(token, Node())
            node.may_end = True

    def allowed(self, node: Node | None) -> list[int]:
        """Tokens that may follow; a dead row gets the end token, so that its softmax stays finite."""
        if node is None:
            return [self.end_token]
        return [*node.children, self.end_token] if node.may_end else list(node.children)

    def advance(self, node: Node | None, token: int) -> Node | None:
        if node is None:
            return None
        if token == self.end_token:
            return self.done if node.may_end else None
        return node.children.get(token)

    def constrain_(self, logits_RV: Tensor, nodes: Sequence[Node | None]) -> None:
        """Set what may not follow to -inf, row by row."""
        for row_V, node in zip(logits_RV, nodes, strict=True):
            allowed = torch.tensor(self.allowed(node))
            kept = row_V[allowed]
            row_V.fill_(float("-inf"))
            row_V[allowed] = kept
