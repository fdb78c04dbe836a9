"""docs/credit.md is true: its code runs, and its tables are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from overwinter.learn.credit import ESTIMATORS, diagnostics

PAGE = (Path(__file__).parents[3] / "docs" / "credit.md").read_text()


def test_the_examples_run() -> None:
    torch.set_num_threads(1)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {"__name__": "credit_page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/credit.md, block {number}", "exec", dont_inherit=True), names)


def test_the_table_is_the_code_s() -> None:
    section = PAGE[PAGE.index("## Estimators") : PAGE.index("### Outcomes")]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [name.strip("`") for name, *_ in rows] == list(ESTIMATORS)
    for name, _, needs, states, source in rows:
        row = ESTIMATORS[name.strip("`")]
        assert tuple(re.findall(r"`(\w+)`", needs)) == row.needs, name
        assert (states == "yes") == row.reads_states, name
        for paper in re.findall(r"\d{4}\.\d{5}", source):
            assert paper in row.source, name


def test_the_figures_are_the_code_s() -> None:
    assert diagnostics.__doc__ is not None
    listed = [line for line in diagnostics.__doc__.splitlines() if line.startswith("|")]
    assert "\n".join(listed) in PAGE


def test_known_failures_come_first() -> None:
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert sections[0] == "When it fails"
    assert sections[-1] == "Which is best"
    pitfalls = (Path(__file__).parent / "test_credit_pitfalls.py").read_text()
    assert pitfalls.count("\ndef test_") >= 12
