"""Every test has a folder of its own as working directory and as home, and no overwinter variables but its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_kit import Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("OVERWINTER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return Cli(monkeypatch)


@pytest.fixture
def season(cli: Cli) -> Cli:
    """A finished run "done" of a short season, with one process after another at it."""
    assert cli("run", "--world", "greenhouse:days=20", "--name", "done", "--max-steps", "5").code == 3
    cli("resume", "done")
    return cli


@pytest.fixture
def script(tmp_path: Path):
    """Writes replies to a file; its model spec."""

    def write(*replies: object, name: str = "script.json") -> str:
        (tmp_path / name).write_text(json.dumps(replies))
        return f"script:{name}"

    return write
