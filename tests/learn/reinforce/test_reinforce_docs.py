"""docs/reinforce.md is true: its code runs, its files and settings exist."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from overwinter.learn import reinforce as package
from overwinter.learn.reinforce.corrections import CorrectionConfig
from overwinter.learn.reinforce.losses import AGGREGATIONS, KINDS

PAGE = (Path(__file__).parents[3] / "docs" / "reinforce.md").read_text()


def test_the_example_learns(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {"__name__": "reinforce_page"}
    exec(compile(block, "docs/reinforce.md", "exec", dont_inherit=True), names)
    before, after = map(float, re.findall(r"\d\.\d\d", capsys.readouterr().out))
    assert before < 0.6
    assert after > 0.8


def test_tables_name_what_there_is() -> None:
    assert all(f"| `{kind}` |" in PAGE for kind in KINDS)
    assert all(f"`{name}`" in PAGE for name in AGGREGATIONS)
    assert all(f"| `{rule.name}` |" in PAGE for rule in fields(CorrectionConfig))


def test_public_names_are_there() -> None:
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert package.rollout.__module__.endswith("rollouts")
