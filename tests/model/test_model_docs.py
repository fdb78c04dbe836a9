"""docs/model.md is true: its code runs, and it names every switch and family there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from overwinter.model.config import Config
from overwinter.model.huggingface import FAMILIES

PAGE = (Path(__file__).parents[2] / "docs" / "model.md").read_text()


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": "model_page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/model.md, block {number}", "exec", dont_inherit=True), names)


def test_every_switch_has_its_row() -> None:
    rows = "".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    shape = {"vocab_size", "d_model", "n_layers", "n_heads", "d_head", "d_mlp", "context", "norm_eps"}
    assert not [field.name for field in fields(Config) if field.name not in shape and f"`{field.name}" not in rows]


def test_every_family_has_its_row() -> None:
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE.partition("## Files")[2], re.MULTILINE)) == set(FAMILIES)
