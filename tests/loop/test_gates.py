"""Gates: rules in order, what each may look at, and rules that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_kit import FINISH, Outside, Pond, call, last, of_kind, parts, receipts, run_through

from overwinter.errors import UsageError
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.gates import DECISIONS, Answer, Gates, Question, parse_rules, speculative_rules
from overwinter.loop.world import WorldSession


def ask(rules: list[dict[str, Any]], tool: str = "pay", effect: str = "keyed", **more: Any) -> str:
    arguments = more.pop("arguments", {})
    question = Question(tool=tool, arguments=arguments, effect=effect, **more)
    return Gates(rules=parse_rules(rules)).answer(question).decision


def when(op: str, value: Any, argument: str = "amount", decision: str = "deny") -> list[dict[str, Any]]:
    return [{"decision": decision, "when": [{"argument": argument, "is": op, "value": value}]}]


@pytest.mark.parametrize(
    ("rules", "question", "expected"),
    [
        ([], {"effect": "irreversible"}, "ask"),
        ([], {"effect": "keyed"}, "allow"),
        ([{"decision": "allow", "effects": ["irreversible"]}], {"effect": "irreversible"}, "allow"),
        ([{"decision": "deny", "tool": "p*"}, {"decision": "allow"}], {}, "deny"),
        ([{"decision": "allow"}, {"decision": "deny"}], {}, "allow"),
        ([{"decision": "deny", "tool": "P*"}], {}, "allow"),
        ([{"decision": "ask", "consequential": True}], {"consequential": True}, "ask"),
        ([{"decision": "ask", "consequential": True}], {}, "allow"),
        ([{"decision": "ask", "consequential": False}], {}, "ask"),
        ([{"decision": "ask", "confidence_below": 0.5}], {"confidence": 0.4}, "ask"),
        ([{"decision": "ask", "confidence_below": 0.5}], {"confidence": 0.5}, "allow"),
        ([{"decision": "ask", "confidence_below": 0.5}], {"confidence": None}, "allow"),
        (when(">", 100), {"arguments": {"amount": 101}}, "deny"),
        (when(">", 100), {"arguments": {"amount": 100}}, "allow"),
        (when(">=", 100), {"arguments": {"amount": 100}}, "deny"),
        (when("<", 5), {"arguments": {"amount": 4}}, "deny"),
        (when("<=", 5), {"arguments": {"amount": 5}}, "deny"),
        (when("==", "x"), {"arguments": {"amount": "x"}}, "deny"),
        (when("!=", "x"), {"arguments": {"amount": "x"}}, "allow"),
        (when("matches", "/etc/*"), {"arguments": {"amount": "/etc/passwd"}}, "deny"),
        (when("matches", "1*"), {"arguments": {"amount": 17}}, "deny"),
        (when(">", 100), {"arguments": {}}, "allow"),
    ],
)
def test_the_first_rule_that_matches_decides(
    rules: list[dict[str, Any]], question: dict[str, Any], expected: str
) -> None:
    assert ask(rules, **question) == expected


def test_a_comparison_without_an_answer_never_opens_the_gate() -> None:
    arguments = {"amount": "much"}
    assert ask(when("<", 10, decision="allow"), effect="irreversible", arguments=arguments) == "ask"
    assert ask(when(">", 10, decision="deny"), arguments=arguments) == "deny"
    assert ask(when(">", 10, decision="ask"), arguments=arguments) == "ask"


def test_a_list_without_a_last_rule_asks() -> None:
    assert Gates(rules=()).answer(Question(tool="x", arguments={}, effect="pure")) == Answer(
        decision="ask", rule="no-rule-matched"
    )


def test_branches_are_pure_but_for_their_own_world() -> None:
    for effect in ("idempotent", "keyed", "irreversible"):
        for rules in (speculative_rules(), speculative_rules("act")):
            assert Gates(rules=rules).answer(Question(tool="pay", arguments={}, effect=effect)).decision == "deny"
        own = Question(tool="act", arguments={}, effect=effect)
        assert Gates(rules=speculative_rules()).answer(own).decision == "deny"
        assert Gates(rules=speculative_rules("act")).answer(own).decision == "allow"
    assert Gates(rules=speculative_rules()).answer(Question(tool="x", arguments={}, effect="pure")).decision == "allow"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"decision": "maybe"}, "decision 'maybe'"),
        ({}, "decision None"),
        ({"decision": "ask", "tools": "x"}, r"unknown fields \['tools'\]"),
        ({"decision": "ask", "effects": ["irreversibel"]}, "effects"),
        ({"decision": "ask", "effects": "keyed"}, "effects"),
        ({"decision": "ask", "confidence_below": "low"}, "confidence_below"),
        ({"decision": "ask", "confidence_below": 40}, "confidence_below"),
        ({"decision": "ask", "consequential": "yes"}, "consequential"),
        ({"decision": "ask", "tool": 7}, "tool is a text"),
        ({"decision": "ask", "name": "approved:3"}, "is named .approved:3"),
        ({"decision": "ask", "when": [{"argument": "a", "is": "~", "value": 1}]}, "condition"),
        ({"decision": "ask", "when": [{"argument": "a", "is": "=="}]}, "condition"),
        ({"decision": "ask", "when": ["amount > 5"]}, "condition"),
        ("ask", "no table"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(rule: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=f"gate 2.*{problem}"):
        parse_rules([{"decision": "allow"}, rule])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=3)
)


@given(
    op=st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "matches"]),
    value=json_values,
    given_=json_values,
    decision=st.sampled_from(DECISIONS),
)
def test_no_comparison_raises(op: str, value: Any, given_: Any, decision: str) -> None:
    rules = when(op, value, decision=decision)
    assert ask(rules, arguments={"amount": given_}) in DECISIONS


def test_what_the_journal_says_of_a_gate(store: SqliteStore, outside: Outside) -> None:
    rules = [
        {"name": "no-secrets", "decision": "deny", "when": [{"argument": "text", "is": "matches", "value": "*key*"}]},
        {"name": "unsure", "decision": "ask", "tool": "order", "confidence_below": 0.999},
    ]
    script = [call("put", text="the key"), call("put", text="bread"), call("order", text="milk"), FINISH]
    assert run_through(store, parts(script, outside.tools(), rules=rules)) == "waiting:approval"
    denied, asked = of_kind(store, "gate.decision")
    assert (denied.body["rule"], denied.body["decision"], denied.body["effect"]) == ("no-secrets", "deny", "idempotent")
    assert (asked.body["rule"], asked.body["decision"]) == ("unsure", "ask")
    assert 0 < asked.body["confidence"] < 0.999
    assert last(store, "effect.intent").body["rule"] == "rest-allowed"
    assert receipts(store)[0][1].startswith("This call was not made: refused by rule 'no-secrets'")
    assert outside.effects("put") == ["bread"]


def test_a_world_says_which_actions_are_consequential(store: SqliteStore) -> None:
    rules = [{"decision": "ask", "tool": "act", "consequential": True}]
    made = parts(["cast", "cast", "cast", "cast"], world=WorldSession(Pond(), 0), rules=rules)
    assert run_through(store, made) == "waiting:approval"
    assert len(of_kind(store, "effect.intent")) == 3
