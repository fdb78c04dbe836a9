"""Verifiers over what the loop has: the claims of a memory, texts at hand, pure tools.

Whose word counts? What the agent said itself supports nothing, or a chain would be its own witness. Where a trusted source (users,
persons) gave a value, it decides; what tools and documents say counts only where none did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from overwinter.errors import ToolError
from overwinter.loop.recall.statements import stated
from overwinter.memory.claim import Claim
from overwinter.memory.claims.query import cited, known
from overwinter.memory.claims.statement import OWN_CONFIDENCE, Statement
from overwinter.memory.claims.words import covers, is_single, predicate_of, subject_of, value_of
from overwinter.memory.memory import Memory
from overwinter.memory.unit import TRUSTED, UNTRUSTED, AsOf
from overwinter.think.recall import Fact, Standing
from overwinter.think.recall.verify import UNKNOWN, Check
from overwinter.tools import Effect, Tool, ToolContext, ToolResult


class MemoryVerifier:
    """A verifier over the claims of a namespace: what its runs, notes and imports state, with the entry that says it.

    Args:
        at: what held, and what was known, at another time than now.
    """

    max_tokens = 0

    def __init__(self, memory: Memory, *, at: AsOf | None = None) -> None:
        self._memory, self._at = memory, at
        memory.sync(digests=False)

    def verify(self, fact: Fact) -> Check:
        found = known(self._memory.index, fact.subject, fact.relation, at=self._at)
        predicate = predicate_of(fact.relation)
        wanted, several = value_of(predicate, fact.object), not is_single(predicate)
        values = [claim for claim in found.values if claim.confidence != OWN_CONFIDENCE]
        for claim in values:
            if covers(wanted, value_of(predicate, claim.object), several=several):
                return self._check(Standing.SUPPORTED, claim)
        if values and not several:
            return self._check(Standing.CONTRADICTED, values[0])
        denied = found.denied
        if denied is None or denied.confidence == OWN_CONFIDENCE:
            return UNKNOWN
        if covers(value_of(predicate, denied.object), wanted, several=several):
            return self._check(Standing.CONTRADICTED, denied)
        return UNKNOWN

    def _check(self, standing: Standing, claim: Claim) -> Check:
        words = next(
            (f"{unit.cite}: {said.strip()}" for unit, said, supports in cited(self._memory.index, claim) if supports),
            "",
        )
        return Check(standing=standing, source=words or f"{claim.subject} – {claim.predicate} – {claim.object}")


class TextVerifier:
    """A verifier over texts at hand, such as the turns of a view: what they state, the later ones before the earlier ones.

    Args:
        texts: (whose, text), oldest first. "user", "system": trusted; anything else is a report, whose lines `name: value` count too.
    """

    max_tokens = 0

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        self._rows: dict[tuple[str, str], list[Statement]] = {}
        for whose, text in texts:
            trusted = whose in {"user", "system"}
            kind, actor = ("message", whose) if trusted else ("tool_result", f"tool:{whose}")
            for each in stated(text, actor=actor, kind=kind, trust=TRUSTED if trusted else UNTRUSTED):
                self._rows.setdefault(each.key, []).append(each)

    def verify(self, fact: Fact) -> Check:
        subject, predicate = subject_of(fact.subject), predicate_of(fact.relation)
        rows = self._rows.get((subject, predicate), [])
        rows = [row for row in rows if row.sure] or rows
        several, wanted = not is_single(predicate), value_of(predicate, fact.object)
        for row in reversed(rows):
            same = (
                covers(wanted, row.value, several=several)
                if row.polarity
                else covers(row.value, wanted, several=several)
            )
            if same:
                return self._check(Standing.SUPPORTED if row.polarity else Standing.CONTRADICTED, row)
            if row.polarity and not several:
                return self._check(Standing.CONTRADICTED, row)
        return UNKNOWN

    @staticmethod
    def _check(standing: Standing, row: Statement) -> Check:
        denial = "" if row.polarity else "not "
        return Check(standing=standing, source=f"{row.subject} – {row.predicate} – {denial}{row.object}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolVerifier:
    """A verifier that asks a pure tool, outside of any run: nothing is journalled.

    Attributes:
        tool: of effect class `pure` whatever its arguments.
        arguments: of the call for a fact; None where the tool knows nothing of such facts.
        read: what the result says of the fact.
    """

    tool: Tool
    arguments: Callable[[Fact], Mapping[str, Any] | None]
    read: Callable[[Fact, ToolResult], Standing]
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if self.tool.effect is not Effect.PURE:
            raise ToolError(
                f"{self.tool.name} is not pure, and verifying must change nothing",
                "give a tool with effect=Effect.PURE",
            )

    def verify(self, fact: Fact) -> Check:
        """Unknown where the call fails."""
        given = self.arguments(fact)
        if given is None:
            return UNKNOWN
        result = self.tool.call(dict(given), ToolContext(run="", entry=0, idempotency_key=""))
        if not result.ok:
            return UNKNOWN
        return Check(standing=self.read(fact, result), source=f"{self.tool.name}: {result.text[:120]}")
