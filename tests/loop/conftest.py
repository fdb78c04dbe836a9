"""Fixtures of the loop's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_kit import Clock, Outside, open_store

from overwinter.journal.sqlite import SqliteStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "journal.db", clock)
    yield opened
    opened.close()


@pytest.fixture
def outside() -> Outside:
    return Outside()
