"""Pages keep what they promise: links lead somewhere, commands exist, figures come from recipes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    named = set(re.findall(r"\b(?:recipes|tests)/[\w/]+\.py\b", page.read_text()))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_readme_shows_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"^ +make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert shown == {"demo", "test"} <= targets


def test_the_glossary_stays_small() -> None:
    rows = re.findall(r"^\| \*\*", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    assert 10 <= len(rows) <= 25
