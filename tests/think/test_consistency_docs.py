"""The examples of docs/consistency.md run, and its table names every kind under its category."""

from __future__ import annotations

import re
from pathlib import Path

from overwinter.think.consistency import CATEGORY_OF, KINDS, LOOKS_FOR, Subtype

PAGE = (Path(__file__).parents[2] / "docs" / "consistency.md").read_text()


def test_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_the_table_of_kinds_is_complete_and_right() -> None:
    category, found = "", {}
    for row in re.findall(r"^\| (.*?) ?\| (.*?) \| (`.*?`) \| .* \|$", PAGE, re.MULTILINE):
        category = row[0].strip() or category
        for kind in re.findall(r"`(\w+)`", row[2]):
            found[kind] = (category, row[1])
    assert found == {name: (kind.category.value, kind.subtype.value) for name, kind in KINDS.items()}


def test_the_taxonomy_is_five_by_nineteen() -> None:
    assert len(Subtype) == 19 == len(CATEGORY_OF) == len(LOOKS_FOR)
    assert len(set(CATEGORY_OF.values())) == 5
