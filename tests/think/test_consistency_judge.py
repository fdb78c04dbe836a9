"""Contradictions by a model: quotes are looked up, failures are named, far-apart statements meet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from overwinter.errors import ModelError
from overwinter.think.consistency import Category, Subtype, check_text
from overwinter.think.consistency.judge import MAX_PAIRS, check_by_model, merged

FILLER = "\n\n".join(
    f"The rain went on over the fields, and turn {n} of the road was as grey as the last." for n in range(120)
)
TEXT = f"Anna could not read.\n\n{FILLER}\n\nAnna’s letter\nsaid “come”, and she read it twice.\n"


class Reader:
    """Plays a model: notes whatever of `statements` stands in a piece, and judges by `verdict`."""

    def __init__(
        self,
        statements: list[dict[str, str]],
        verdict: str = "contradiction",
        pairs: list[dict[str, str]] | None = None,
    ) -> None:
        self.statements, self.verdict, self.pairs = statements, verdict, pairs or []
        self.judged: list[str] = []

    def __call__(self, system: str, question: str, schema: Mapping[str, Any]) -> str:
        if "verdict" in schema["properties"]:
            self.judged.append(question)
            return json.dumps({"verdict": self.verdict, "confidence": 0.7, "why": "she cannot do both"})
        if Category.CHARACTER.value not in system:
            return '{"statements": [], "pairs": []}'
        here = [row for row in self.statements if row["quote"].split()[-1] in question]
        return "Here it is: " + json.dumps({"statements": here, "pairs": self.pairs})


def statement(quote: str, value: str) -> dict[str, str]:
    return {"about": "Anna", "aspect": "reading", "value": value, "subtype": "skill fluctuation", "quote": quote}


FAR = [
    statement("Anna could not read.", "cannot"),
    statement('Anna\'s letter said "come", and she read it twice.', "can"),
]


def test_statements_far_apart_meet_and_quotes_are_the_texts_own() -> None:
    reader = Reader(FAR)
    report, tally = check_by_model(TEXT, reader, model="m", piece_chars=3000)
    (one,) = report.findings
    assert (one.first.text, one.second.text) == (
        "Anna could not read.",
        "Anna’s letter\nsaid “come”, and she read it twice.",
    )
    assert TEXT[one.second.first : one.second.last] == one.second.text
    assert (one.subtype, one.by, one.confidence) == (Subtype.SKILL, "m", 0.7)
    assert (report.status, report.problems, tally.unverified, len(reader.judged)) == ("checked", (), 0, 1)


@pytest.mark.parametrize("verdict", ["consistent", "unclear"])
def test_the_second_pass_decides(verdict: str) -> None:
    report, tally = check_by_model(TEXT, Reader(FAR, verdict), model="m")
    assert not report.findings
    assert tally.unclear == (verdict == "unclear")


def test_a_quote_that_does_not_stand_in_the_text_is_dropped_and_counted() -> None:
    made_up = statement("Anna was famous for what she could read.", "can")
    report, tally = check_by_model(TEXT, Reader([FAR[0], made_up]), model="m")
    assert not report.findings
    assert (report.unverified, tally.unverified) == (1, 1)
    pairs = [{"subtype": "memory", "first": "Anna could not read.", "second": "never in the text"}]
    report, tally = check_by_model(TEXT, Reader([], pairs=pairs), model="m")
    assert (report.findings, tally.unverified) == ((), 1)


def test_pairs_are_put_into_text_order() -> None:
    later, earlier = "and she read it twice.", "Anna could not read."
    pairs = [{"subtype": "memory", "first": later, "second": earlier}]
    report, _ = check_by_model(TEXT, Reader([], pairs=pairs), model="m")
    assert [(one.first.text, one.second.text, one.subtype) for one in report.findings] == [
        (earlier, later, Subtype.MEMORY)
    ]


@pytest.mark.parametrize(
    "answer", ["", "I found nothing.", "[]", '{"statements": "none", "pairs": []}', '{"statements": [1], "pairs": []}']
)
def test_an_answer_out_of_form_is_a_failure_and_not_a_clean_text(answer: str) -> None:
    report, tally = check_by_model(TEXT, lambda *_: answer, model="m")
    assert (report.status, report.findings) == ("not checked", ())
    assert sum(tally.failed.values()) == tally.asked > 0
    assert "form" in report.problems[0]


def test_a_question_that_fails_is_named() -> None:
    good = Reader(FAR)

    def ask(system: str, question: str, schema: Mapping[str, Any]) -> str:
        if Category.STYLE.value in system:
            raise ModelError("the server is gone", "start it")
        return good(system, question, schema)

    report, _ = check_by_model(TEXT, ask, model="m")
    assert (report.status, len(report.findings)) == ("partly checked", 1)
    assert report.problems == ("1 of 6 questions to the model failed: the server is gone",)


def test_too_many_pairs_are_not_left_out_in_silence() -> None:
    values = [statement(f"turn {n} of the road", str(n)) for n in range(120)]
    pairs = [{"subtype": "memory", "first": f"turn {n} of", "second": f"turn {n + 1} of"} for n in range(119)]
    report, tally = check_by_model(TEXT, Reader(values, "consistent", pairs), model="m", piece_chars=20_000)
    assert tally.left_out == 119 + 119 - MAX_PAIRS
    assert report.status == "partly checked"


def test_what_both_have_found_stands_once() -> None:
    text = "Anna Moll had blue eyes.\n\nIt rained.\n\nAnna Moll had brown eyes.\n"
    pairs = [{"subtype": "memory", "first": "blue eyes", "second": "brown eyes"}]
    rules, (model, _) = check_text(text), check_by_model(text, Reader([], pairs=pairs), model="m")
    assert len(rules.findings) == len(model.findings) == 1
    assert merged(rules, model).findings == rules.findings
    chinese = "他在山里住了十年。" * 5
    assert merged(check_text(chinese), check_by_model(chinese, Reader([]), model="m")[0]).status == "checked"
