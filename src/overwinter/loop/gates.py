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
EFFECTS = ("pure", "idempotent", "keyed", "irreversible")
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

    def holds(self, arguments: Mapping[str, Any]) -> bool | None:
        """None where the comparison has no answer, as of `"12" > 5`."""
        if self.argument not in arguments:
            return False
        try:
            return bool(_COMPARE[self.is_](arguments[self.argument], self.value))
        except TypeError:
            return None


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
        doubtful: applies only where the calibrated confidence lies below the threshold that was fitted with it, and wherever there is no
            such threshold for this run; or only to others.
    """

    name: str
    decision: str
    tool: str = "*"
    effects: tuple[str, ...] = ()
    when: tuple[Condition, ...] = ()
    confidence_below: float | None = None
    consequential: bool | None = None
    doubtful: bool | None = None

    def matches(self, question: Question) -> bool:
        return (
            fnmatch.fnmatchcase(question.tool, self.tool)
            and (not self.effects or question.effect in self.effects)
            and (self.consequential is None or self.consequential == question.consequential)
            and (self.doubtful is None or self.doubtful == question.doubtful)
            and (
                self.confidence_below is None
                or (question.confidence is not None and question.confidence < self.confidence_below)
            )
            and all(self._holds(condition, question.arguments) for condition in self.when)
        )

    def _holds(self, condition: Condition, arguments: Mapping[str, Any]) -> bool:
        answer = condition.holds(arguments)
        # A comparison without an answer must not open the gate: it keeps a rule that allows from matching, and no other.
        return self.decision != ALLOW if answer is None else answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a gate is asked about. `confidence` is calibrated where it could be."""

    tool: str
    arguments: Mapping[str, Any]
    effect: str
    confidence: float | None = None
    consequential: bool = False
    doubtful: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    decision: str
    rule: str


DEFAULT_RULES = (
    Rule(name="irreversible-asks", decision=ASK, effects=("irreversible",)),
    Rule(name="rest-allowed", decision=ALLOW),
)
"""Nothing that cannot be undone or keyed happens without a person, unless a rule of the user's says otherwise."""

_LOOKING_AHEAD = (
    Rule(name="branches-are-pure", decision=DENY, effects=("idempotent", "keyed", "irreversible")),
    Rule(name="rest-allowed", decision=ALLOW),
)


def speculative_rules(own_world: str = "") -> tuple[Rule, ...]:
    """For forks that only look ahead: pure tools, and the actions (tool `own_world`) of a world, of which a branch has its own
    copy."""
    if not own_world:
        return _LOOKING_AHEAD
    return (Rule(name="own-copy-of-the-world", decision=ALLOW, tool=own_world), *_LOOKING_AHEAD)


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
    known = {"name", "decision", "tool", "effects", "when", "confidence_below", "consequential", "doubtful"}
    if not isinstance(row, Mapping):
        raise UsageError(f"gate {number} is no table: {row!r}", f"use: {', '.join(sorted(known))}")
    unknown = sorted(row.keys() - known)
    if unknown:
        raise UsageError(f"gate {number} has unknown fields {unknown}", f"use: {', '.join(sorted(known))}")
    if row.get("decision") not in DECISIONS:
        raise UsageError(f"gate {number} has decision {row.get('decision')!r}", f"use one of: {', '.join(DECISIONS)}")
    # A misspelt rule would match nothing and let through what it was written to stop.
    effects = row.get("effects", [])
    if not isinstance(effects, list | tuple) or any(each not in EFFECTS for each in effects):
        raise UsageError(f"gate {number} has effects {effects!r}", f"give a list out of: {', '.join(EFFECTS)}")
    below = row.get("confidence_below")
    if below is not None and (isinstance(below, bool) or not isinstance(below, int | float) or not 0 <= below <= 1):
        raise UsageError(f"gate {number} has confidence_below {below!r}", "give a number from 0 to 1")
    switches = [row.get("consequential"), row.get("doubtful")]
    if not isinstance(row.get("tool", "*"), str) or not all(isinstance(each, bool | None) for each in switches):
        raise UsageError(
            f"gate {number}: tool is a text, consequential and doubtful are true or false", "mend the gate"
        )
    name = str(row.get("name", f"gate-{number}"))
    if ":" in name:
        raise UsageError(
            f"gate {number} is named {name!r}", "leave the colon to overwinter, which names answers with it"
        )
    return Rule(
        name=name,
        decision=row["decision"],
        tool=row.get("tool", "*"),
        effects=tuple(effects),
        when=tuple(_parse_condition(number, condition) for condition in row.get("when", ())),
        confidence_below=below,
        consequential=row.get("consequential"),
        doubtful=row.get("doubtful"),
    )


def _parse_condition(number: int, row: Any) -> Condition:
    in_form = isinstance(row, Mapping) and row.keys() == {"argument", "is", "value"}
    if not in_form or row["is"] not in _COMPARE or not isinstance(row["argument"], str):
        raise UsageError(
            f"gate {number} has the condition {row!r}",
            f'write {{argument = "NAME", is = "OP", value = …}} with OP one of {", ".join(_COMPARE)}',
        )
    return Condition(argument=row["argument"], is_=row["is"], value=row["value"])
