"""The page on benchmarks: its code runs, its lists are whole, its form of answers is the program's."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from overwinter.bench import suite as suite_module
from overwinter.bench.answers import Answer, Header, read_answers
from overwinter.bench.suite import suites

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text("utf-8")


def test_the_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_module, "_SUITES", suites())
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/bench.md", "exec"), {})


def test_every_suite_is_listed() -> None:
    hard = {name for name in suites() if name.endswith("-hard")}
    missing = [
        name
        for name, suite in suites().items()
        if suite.family not in {"mine", "tests"} and name not in hard and f"`{name}`" not in PAGE
    ]
    assert not missing


def test_the_form_of_answers_is_the_program_s(tmp_path: Path) -> None:
    shown = re.findall(r'^    (\{"(?:overwinter_answers|item)".*\})$', PAGE, re.MULTILINE)
    assert len(shown) == 2
    (tmp_path / "shown.jsonl").write_text("\n".join(shown))
    found = read_answers(tmp_path / "shown.jsonl")
    assert found.answers[0].confidence == {"stated": 0.8}
    assert set(json.loads(shown[0])) - {"overwinter_answers"} <= {each.name for each in dataclasses.fields(Header)}
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {each.name for each in dataclasses.fields(Answer)} <= named
