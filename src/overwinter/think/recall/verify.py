"""What is known of a fact: supported, contradicted, or nothing. Each distinct fact is asked about once.

A verifier must be able to say "unknown": taking what it does not know for false would reject the chains that recall most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from overwinter.errors import UsageError
from overwinter.think.recall.facts import Fact, plain


class Standing(StrEnum):
    """What a verifier says of a fact."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A fact's standing and why.

    Attributes:
        source: what it rests on (a cited entry, a tool's answer, a share of samples), "" for nothing.
        tokens: what asking cost.
    """

    standing: Standing
    source: str = ""
    tokens: int = 0


UNKNOWN = Check(standing=Standing.UNKNOWN)


class Verifier(Protocol):
    """Says how a fact stands. Built on retrieval, on a knowledge base, on a pure tool, or on the model itself (`Agreement`)."""

    max_tokens: int
    """Most tokens that one call of `verify` may cost; 0 for free. A budget is reserved by it."""

    def verify(self, fact: Fact) -> Check: ...


class FactBase:
    """A verifier that knows a table of facts; of a subject and relation that it holds, every other object is contradicted.

    Args:
        facts: (subject, relation) → the objects that are right.
        complete: it is all there is to know, so that what it lacks is false.
    """

    max_tokens = 0

    def __init__(self, facts: Mapping[tuple[str, str], str | Iterable[str]], *, complete: bool = False) -> None:
        self.complete = complete
        self._known: dict[tuple[str, str], frozenset[str]] = {}
        for (subject, relation), objects in facts.items():
            several = [objects] if isinstance(objects, str) else list(objects)
            self._known[plain(subject), plain(relation)] = frozenset(map(plain, several))

    def verify(self, fact: Fact) -> Check:
        subject, relation, object_ = fact.key
        known = self._known.get((subject, relation))
        if known is None:
            return Check(standing=Standing.CONTRADICTED, source="not listed") if self.complete else UNKNOWN
        if object_ in known:
            return Check(standing=Standing.SUPPORTED, source="listed")
        return Check(standing=Standing.CONTRADICTED, source=f"listed: {', '.join(sorted(known))}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """A verifier without retrieval: how often fresh samples of the model, asked for the fact, agree with it.

    It finds what a model makes up on the spot, since that varies; what it firmly believes and is wrong it supports.

    Attributes:
        ask: fact and a number → so many fresh answers, and the tokens they cost. The question names subject and relation, never the object.
        samples: answers asked for.
        supported, contradicted: shares of agreement from which a fact is supported, and below which it is contradicted; tune them on
            labelled facts.
        max_tokens: of one question with all its samples.
    """

    ask: Callable[[Fact, int], tuple[Sequence[str], int]]
    samples: int = 8
    supported: float = 0.7
    contradicted: float = 0.3
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or not 0 <= self.contradicted <= self.supported <= 1:
            raise UsageError(
                f"{self.samples} samples, supported from {self.supported}, contradicted below {self.contradicted}",
                "ask at least once, and give shares with contradicted ≤ supported",
            )

    def verify(self, fact: Fact) -> Check:
        said, tokens = self.ask(fact, self.samples)
        if not said:
            return Check(standing=Standing.UNKNOWN, tokens=tokens)
        share = sum(plain(each) == fact.key[2] for each in said) / len(said)
        standing = Standing.UNKNOWN
        if share >= self.supported:
            standing = Standing.SUPPORTED
        elif share < self.contradicted:
            standing = Standing.CONTRADICTED
        return Check(standing=standing, source=f"agreement {share:.2f} of {len(said)}", tokens=tokens)


@dataclass(kw_only=True, slots=True)
class Consensus:
    """A verifier that costs nothing: how many of the chains that speak of a subject and relation say the same of it.

    `recall` shows it the chains. Like `Agreement` it finds what is made up on the spot; but each fact was said with the thinking before it,
    and not asked for out of the blue.

    Attributes:
        least: chains that must speak of it; with fewer it is unknown.
        supported, contradicted: shares from which it is supported, and below which it is contradicted.
    """

    least: int = 3
    supported: float = 0.7
    contradicted: float = 0.3
    max_tokens: int = 0
    _said: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def observe(self, chains: Sequence[Sequence[Fact]]) -> None:
        """Take in the facts of all chains of one question; a chain says each only once."""
        self._said.clear()
        for facts in chains:
            for subject, relation, object_ in dict.fromkeys(fact.key for fact in facts):
                self._said.setdefault((subject, relation), []).append(object_)

    def verify(self, fact: Fact) -> Check:
        subject, relation, object_ = fact.key
        said = self._said.get((subject, relation), [])
        if len(said) < self.least:
            return UNKNOWN
        share = said.count(object_) / len(said)
        standing = Standing.UNKNOWN
        if share >= self.supported:
            standing = Standing.SUPPORTED
        elif share < self.contradicted:
            standing = Standing.CONTRADICTED
        return Check(standing=standing, source=f"said so by {share:.2f} of {len(said)} chains")


@dataclass(kw_only=True, slots=True)
class Checker:
    """Asks several verifiers in turn, the first that knows decides, and nobody is asked about the same fact twice.

    Attributes:
        verifiers: cheap ones first.
        checks: what was found so far.
        tokens: what all asking cost.
    """

    verifiers: Sequence[Verifier]
    checks: dict[tuple[str, str, str], Check] = field(default_factory=dict)
    tokens: int = 0

    def observe(self, chains: Sequence[Sequence[Fact]]) -> None:
        """Show the facts of all chains to the verifiers that compare them. What these said of other chains is forgotten."""
        comparing = [verifier for verifier in self.verifiers if isinstance(verifier, Consensus)]
        for verifier in comparing:
            verifier.observe(chains)
        if comparing:
            self.checks.clear()

    def check(self, fact: Fact, *, tokens: int | None = None) -> Check:
        """How a fact stands.

        Args:
            tokens: what may be spent on it; a verifier that might need more is not asked, and the fact may stay unknown. None for no limit.
        """
        if fact.key in self.checks:
            return self.checks[fact.key]
        found, spent, complete = UNKNOWN, 0, True
        for verifier in self.verifiers:
            if tokens is not None and verifier.max_tokens > tokens - spent:
                complete = False
                continue
            found = verifier.verify(fact)
            spent += found.tokens
            if found.standing is not Standing.UNKNOWN:
                break
        self.tokens += spent
        if complete or found.standing is not Standing.UNKNOWN:
            self.checks[fact.key] = found
        return found
