"""Chains and their classes: A states facts and none is known to be false, B states none, C states one that is false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.think.recall.facts import Fact
from overwinter.think.recall.thinker import Thought
from overwinter.think.recall.verify import Check, Standing

CLASSES = ("A", "B", "C")
"""In the order in which they are preferred."""
SUPPORT_BONUS, MOST_SUPPORTED = 0.1, 5
"""What a supported fact adds to the weight of a chain of class A, and how many count: listing many must not decide alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """A thought whose facts were checked."""

    thought: Thought
    facts: tuple[Fact, ...] = ()
    checks: tuple[Check, ...] = ()
    """One per fact."""
    kind: str = "B"
    """Of `CLASSES`."""

    def count(self, standing: Standing) -> int:
        return sum(check.standing is standing for check in self.checks)

    @property
    def weight(self) -> float:
        """What its vote counts."""
        supported = min(self.count(Standing.SUPPORTED), MOST_SUPPORTED)
        return 1 + SUPPORT_BONUS * supported if self.kind == "A" else 1.0

    @property
    def false_facts(self) -> tuple[Fact, ...]:
        pairs = zip(self.facts, self.checks, strict=True)
        return tuple(fact for fact, check in pairs if check.standing is Standing.CONTRADICTED)


def classify(thought: Thought, facts: Sequence[Fact], checks: Sequence[Check], *, support: float) -> Chain:
    """A thought with its class.

    Args:
        support: share of its facts that must be supported for class A: 1 with retrieval, about 0.7 with a verifier that is
            unsure itself. A chain of which too little is known, and nothing false, stands with those that state nothing, B.
    """
    if len(facts) != len(checks) or not 0 <= support <= 1:
        raise UsageError(
            f"{len(facts)} facts, {len(checks)} checks, support {support}",
            "give a check per fact, and a share from 0 to 1",
        )
    chain = Chain(thought=thought, facts=tuple(facts), checks=tuple(checks))
    supported, contradicted = chain.count(Standing.SUPPORTED), chain.count(Standing.CONTRADICTED)
    kind = "B"
    if contradicted:
        kind = "C"
    elif supported and supported >= support * len(facts):
        kind = "A"
    return Chain(thought=thought, facts=chain.facts, checks=chain.checks, kind=kind)
