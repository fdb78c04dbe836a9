"""What a search writes: that it began, what each branch was found worth, how it ended. See `loop/search`."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class SearchBegan(TypedDict):
    step: int
    settings: dict[str, Any]
    tokens: int
    """What this search may spend."""
    kept: int
    """Tokens it leaves for the answer that is given without it."""
    critic: str
    luck: bool
    """The same step can come out differently: branches go on in imagined worlds."""


class BranchScored(TypedDict):
    node: int
    of: int
    label: str
    value: float
    delta: float
    prior: NotRequired[float]
    scenario: int
    tokens: int
    """What this node cost, lost answers and critic included."""
    over: bool
    critic: str
    why: str


class SearchEnded(TypedDict):
    began: int
    branch: str
    """The branch that is committed; empty where none is."""
    votes: dict[str, float]
    nodes: list[dict[str, Any]]
    """Per node: run, node, of, label, value, worth, visits, tokens, scenario, prior, over."""
    tokens: int
    why: str


class BranchCommitted(TypedDict):
    branch: str
    seq: int
    """The branch's first completion, whose calls this run now makes for real."""
