"""docs/engine.md is true: its code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "engine.md").read_text()


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"__name__": "engine_page"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/engine.md, block {number}", "exec", dont_inherit=True), names)


def test_every_named_file_exists() -> None:
    source = Path(__file__).parents[2] / "src" / "overwinter" / "engine"
    named = set(re.findall(r"`(\w+\.py)`", PAGE))
    assert named
    assert not [name for name in named if not (source / name).exists()]
