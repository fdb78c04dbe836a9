"""docs/loop.md is true: its code runs, and its numbers are the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from overwinter.loop import stall, view
from overwinter.loop.gates import _COMPARE
from overwinter.loop.goal import CHECK_FIELDS
from overwinter.loop.step import ANSWERED_BY_RESUMING, WAITS

PAGE = (Path(__file__).parents[2] / "docs" / "loop.md").read_text()


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, Any] = {"__name__": "loop_page"}
    for number, block in enumerate(blocks, 1):
        # Without this module's own `from __future__ import annotations`: tools read real annotations.
        exec(compile(block, f"docs/loop.md, block {number}", "exec", dont_inherit=True), names)


def test_the_page_names_what_there_is() -> None:
    waits = set(re.findall(r"^\| `waiting:(\w+)`", PAGE, re.MULTILINE))
    assert waits == set(WAITS.values()) | ANSWERED_BY_RESUMING
    checks = set(
        re.findall(r"^\| `(\w+)`(?: \([^)]*\))? \| [^|]*(?:met|success|succeeds|exits|cites|never)", PAGE, re.MULTILINE)
    )
    assert checks == set(CHECK_FIELDS)
    operators = re.search(r"`is` is one of `([^`]*)`", PAGE)
    assert operators is not None
    assert operators[1].split() == list(_COMPARE)


def test_the_page_s_numbers_are_the_code_s() -> None:
    assert f"outgrow {view.COMPACT_AT:.0%}".replace("%", " %") in PAGE
    assert f"fill {view.COMPACT_TO:.0%}".replace("%", " %") in PAGE
    assert (stall.REPEATS, stall.PERIODS, stall.MAX_PERIOD, stall.SILENT_TURNS, stall.ERRORS) == (4, 3, 6, 3, 6)
