"""The demo keeps its promises: it plays, kills, resumes, counts and checks, and says so with its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import SOURCE, Cli


@pytest.mark.crash
def test_demo(cli: Cli, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SOURCE.parent / "recipes" / "demo.py"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BROKEN" not in done.stdout
    assert "none sent twice" in done.stdout
    assert (tmp_path / "out" / "run.html").exists()
