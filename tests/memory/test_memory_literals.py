"""Gates never say no to a pattern that matches."""

from __future__ import annotations

import importlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_kit import unit

from overwinter.memory import dates
from overwinter.memory.claims import clauses, extract
from overwinter.memory.literals import Gate, bits_of, fold, needs

# The package's own name of this module is a function.
REDACT = importlib.import_module("overwinter.memory.hygiene.redact")
GATES = {"dates": dates._GATE, "clauses": clauses._GATE, "phrases": extract._GATE, "secrets": REDACT._GATE}


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        (r"\bmoved?\s+to\b", [{"move"}, {"to"}]),
        (r"lik(?:es?|ed|ing)\s", [{"like", "liking"}]),
        (r"(?:red|blue) sky", [{"sky"}, {"red", "blue"}]),
        (r"a(?:b|\w)c?", [{"a"}]),
        (r"(?:ab)*cd", [{"cd"}]),
        (r"(?:one|two|\d+) days", [{"days"}]),
        (r"[ab]x", [{"ax", "bx"}]),
        (r"\w+", []),
        (r"(?:left)?", []),
        (r"(?!never)always", [{"always"}]),
    ],
)
def test_what_a_pattern_needs(pattern: str, needed: list[set[str]]) -> None:
    assert [set(each) for each in needs(re.compile(pattern, re.IGNORECASE))] == needed


def test_a_gate_closes() -> None:
    gate = Gate([re.compile(r"\bmoved\s+to\b"), re.compile(r"\bbarks?\b"), re.compile(r"\d")])
    assert list(bits_of(gate.may_match("alice moved to oslo"))) == [0, 2]
    assert list(bits_of(gate.may_match("the dog barks"))) == [1, 2]
    assert list(bits_of(gate.may_match("moved away"))) == [2]


def test_letters_that_only_ignoring_case_makes_equal() -> None:
    pattern = re.compile("sink", re.IGNORECASE)
    for text in ("SINK", "ſink", "sin\u212a", "sınk", "SİNK"):
        if pattern.search(text):
            assert Gate([pattern]).may_match(fold(text)) == 1, text


WORDS = """I you he Alice's the a no longer not never used to is was moved from Paris Rome since because so , ; .
correction: three weeks ago next Friday in 2031 2031-04-07 May 3rd Q2 of deadline changed password = hunter2! Bearer my PIN:
4711 token has been set as phone number likes owns sold gave up her his works at owner → : by the way said that there isn't
any more as sk-ant- AKIA eyJ https://a:b@c ’s 'll quarter tonight end now without 4111 1111 1111 1111"""
WORD = st.sampled_from(WORDS.split())


@pytest.mark.parametrize("name", GATES)
@given(words=st.lists(WORD, max_size=24), noise=st.text(max_size=6))
def test_no_gate_hides_a_match(name: str, words: list[str], noise: str) -> None:
    gate, text = GATES[name], " ".join([*words, noise])
    mask = gate.may_match(fold(text))
    assert mask == gate.may_match_plainly(fold(text))
    for number, pattern in enumerate(gate.patterns):
        if pattern.search(text):
            assert mask >> number & 1, (pattern.pattern, text)


@given(words=st.lists(WORD, max_size=24))
def test_with_every_gate_open_the_claims_are_the_same(words: list[str]) -> None:

    open_gate = (1 << 200) - 1
    one = unit(" ".join(words))
    gated = extract.statements_of(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gate, "may_match", lambda self, _: open_gate & ((1 << len(self.patterns)) - 1))
        assert extract.statements_of(one) == gated
