"""The package as a whole: every public name is there, importing it is cheap, and the documented examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import overwinter.tools

DOCS = Path(__file__).parents[2] / "docs" / "tools.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_every_public_name_exists() -> None:
    for name in overwinter.tools.__all__:
        assert getattr(overwinter.tools, name) is not None
    with pytest.raises(AttributeError):
        overwinter.tools.nothing_of_the_kind  # noqa: B018


def test_importing_the_package_loads_none_of_the_heavy_ones() -> None:
    program = (
        "import sys, overwinter.tools; print([n for n in ('pydantic', 'httpx', 'mcp', 'asyncio') if n in sys.modules])"
    )
    source = str(Path(overwinter.tools.__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_in_the_documentation_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    exec(compile(example, str(DOCS), "exec"), {})


def test_the_documentation_has_examples() -> None:
    assert len(EXAMPLES) >= 4
