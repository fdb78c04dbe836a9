"""Gates: which calls go through, which wait for a person, which are refused. Rules over tool, arguments, effect and confidence.

Rules are tried in order and the first that matches decides; `DEFAULT_RULES` come last. A rule is data (TOML or JSON), never
code, so that a journal can hold it and an auditor can read it.
"""

from __future__ import annotations

import fnmatch
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overwinter.errors import UsageError

ALLOW, ASK, DENY = "allow", "ask", "deny"
DECISIONS = (ALLOW, ASK, DENY)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "matches": lambda value, pattern: fnmatch.fnmatchcase(str(value), str(pattern)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One comparison on an argument: `{"argument": "litres", "is": ">", "value": 200}`. A missing argument never satisfies it."""

    argument: str
    is_: str
    value: Any

    def holds(self, arguments: Mapping[str, Any]) -> bool:
        if self.argument not in arguments:
            return False
        try:
            return _COMPARE[self.is_](arguments[self.argument], self.value)
        except TypeError:
            # "12" > 5 has no answer; a rule that cannot be evaluated must not open the gate, so it counts as matched.
            return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One gate.

    Attributes:
        name: how the journal names it.
        decision: "allow", "ask" (a person) or "deny".
        tool: shell pattern over tool names.
        effects: effect classes it applies to; empty for all.
        when: conditions on arguments, all of which must hold.
        confidence_below: applies only when the confidence of the completion is known and lower than this, 0..1.
        consequential: applies only to calls the tool itself calls consequential (a fuel order, say), or only to others.
    """

    name: str
    decision: str
    tool: str = "*"
    effects: tuple[str, ...] = ()
    when: tuple[Condition, ...] = ()
    confidence_below: float | None = None
    consequential: bool | None = None

    def matches(self, question: Question) -> bool:
        return (
            fnmatch.fnmatchcase(question.tool, self.tool)
            and (not self.effects or question.effect in self.effects)
            and (self.consequential is None or self.consequential == question.consequential)
            and (
                self.confidence_below is None
                or (question.confidence is not None and question.confidence < self.confidence_below)
            )
            and all(condition.holds(question.arguments) for condition in self.when)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a gate is asked about."""

    tool: str
    arguments: Mapping[str, Any]
    effect: str
    confidence: float | None = None
    consequential: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    decision: str
    rule: str


DEFAULT_RULES = (
    Rule(name="irreversible-asks", decision=ASK, effects=("irreversible",)),
    Rule(name="rest-allowed", decision=ALLOW),
)
"""Nothing that cannot be undone or keyed happens without a person, unless a rule of the user's says otherwise."""

SPECULATIVE_RULES = (
    Rule(name="branches-are-pure", decision=DENY, effects=("idempotent", "keyed", "irreversible")),
    Rule(name="rest-allowed", decision=ALLOW),
)
"""For forks that only look ahead: pure tools (and worlds, of which a branch has its own copy)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gates:
    rules: tuple[Rule, ...] = field(default=DEFAULT_RULES)

    def answer(self, question: Question) -> Answer:
        for rule in self.rules:
            if rule.matches(question):
                return Answer(decision=rule.decision, rule=rule.name)
        # A list that ends without a catch-all must fail safe.
        return Answer(decision=ASK, rule="no-rule-matched")


def parse_rules(rows: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Rules from configuration, before the defaults. Raises UsageError for an unknown field, decision or comparison."""
    return tuple(_parse_rule(number, row) for number, row in enumerate(rows, 1)) + DEFAULT_RULES


def _parse_rule(number: int, row: Mapping[str, Any]) -> Rule:
    known = {"name", "decision", "tool", "effects", "when", "confidence_below", "consequential"}
    unknown = sorted(row.keys() - known)
    if unknown:
        raise UsageError(f"gate {number} has unknown fields {unknown}", f"use: {', '.join(sorted(known))}")
    if row.get("decision") not in DECISIONS:
        raise UsageError(f"gate {number} has decision {row.get('decision')!r}", f"use one of: {', '.join(DECISIONS)}")
    conditions = []
    for condition in row.get("when", ()):
        if condition.get("is") not in _COMPARE or condition.keys() != {"argument", "is", "value"}:
            raise UsageError(
                f"gate {number} has the condition {dict(condition)}",
                f'write {{argument = "NAME", is = "OP", value = …}} with OP one of {", ".join(_COMPARE)}',
            )
        conditions.append(Condition(argument=condition["argument"], is_=condition["is"], value=condition["value"]))
    return Rule(
        name=str(row.get("name", f"gate-{number}")),
        decision=row["decision"],
        tool=row.get("tool", "*"),
        effects=tuple(row.get("effects", ())),
        when=tuple(conditions),
        confidence_below=row.get("confidence_below"),
        consequential=row.get("consequential"),
    )
