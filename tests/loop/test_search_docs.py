"""The examples of docs/search.md run, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from overwinter.think.search import CRITICS, STRATEGIES

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text("utf-8")


def test_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_tables_are_complete() -> None:
    rows = set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))
    assert set(STRATEGIES) | set(CRITICS) - {"auto"} <= rows
