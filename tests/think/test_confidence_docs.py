"""The examples of docs/confidence.md run, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from overwinter.think.confidence.calibrators import METHODS
from overwinter.think.confidence.metrics import METRICS
from overwinter.think.vote import RULES

PAGE = (Path(__file__).parents[2] / "docs" / "confidence.md").read_text()


def test_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_tables_are_complete() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert METHODS.keys() <= named
    assert RULES.keys() <= named
    assert METRICS.keys() - {"accuracy"} <= named
