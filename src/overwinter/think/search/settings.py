"""How a run searches: which strategy, how wide and deep, and what one decision may cost. It stands in the run's setup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from overwinter.errors import UsageError

STRATEGIES = ("tree", "best-of-n", "majority", "beam", "mcts", "ab-mcts")
CRITICS = ("auto", "chance", "outcome", "prompt", "none")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """Attributes:
    strategy: one of `STRATEGIES`.
    tokens: what the search for one decision may cost at most, its critic included; the run's budget holds besides.
    width: different first steps that are looked into at most.
    depth: nodes from the decision to where a branch is cut.
    stride: decisions played between two scores; 0 plays on until the branch is at its end.
    exponent: how the budget sharpens the choice of nodes: α = (1/r)^exponent, r the part of the budget that is left. 0 switches it off.
    critic: what scores a node; "auto" takes the model's own chance where it states one.
    temperature: of the first step of every branch but the first, which is the model's own choice.
    sure: with less than this probability left for other first steps there is nothing to look for.
    seed: of the strategy's own chance, and of the worlds that are imagined.
    """

    strategy: str = "tree"
    tokens: int = 4000
    width: int = 4
    depth: int = 4
    stride: int = 1
    exponent: float = 1.0
    critic: str = "auto"
    temperature: float = 1.0
    sure: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("strategy", STRATEGIES), ("critic", CRITICS)):
            if getattr(self, name) not in known:
                raise UsageError(f"search has {name} {getattr(self, name)!r}", f"use one of: {', '.join(known)}")
        for name, least in (("tokens", 1), ("width", 1), ("depth", 1), ("stride", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"search has {name}={value!r}", f"give a whole number from {least} on")
        for name, most in (("exponent", 4.0), ("temperature", 4.0), ("sure", 1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise UsageError(f"search has {name}={value!r}", f"give a number from 0 to {most:g}")

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def parse_search(raw: Mapping[str, Any]) -> SearchSettings:
    """The settings of a setup. Raises UsageError for a field that search does not have."""
    known = {field.name for field in dataclasses.fields(SearchSettings)}
    unknown = sorted(raw.keys() - known)
    if unknown:
        raise UsageError(f"search has unknown fields {unknown}", f"use: {', '.join(sorted(known))}")
    return SearchSettings(**raw)
