"""A suite from beginning to end through the OpenAI-compatible server: a process serves, the command line asks, the journal holds it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process_kit import KEY, SOURCE, Process, served

from overwinter.bench.recorded import recording
from overwinter.journal import open_store, unpack_json, verify

pytest.importorskip("numpy", reason="benchmarks need overwinter[bench]")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    yield from served(tmp_path_factory.mktemp("served"))


def _bench(folder: Path, *words: str) -> list[dict[str, Any]]:
    (folder / "overwinter.toml").write_text('[endpoint]\napi_key_env = "BENCH_TEST_KEY"\n')
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "BENCH_TEST_KEY": KEY}
    command = [sys.executable, "-m", "overwinter", "bench", *words, "--json", "--draws", "20"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_suite_is_asked_over_http(process: Process, tmp_path: Path) -> None:
    options = [
        "--count",
        "3",
        "--samples",
        "2",
        "--parallel",
        "2",
        "--max-tokens",
        "8",
        "--top-logprobs",
        "5",
        "--name",
        "b",
    ]
    *answers, summary = _bench(
        tmp_path, "arithmetic", "--model", f"{process.url}/v1#tiny", "--html", "page.html", *options
    )
    assert len(answers) == 6
    assert summary["score"]["questions"] == 3
    assert summary["cost"]["mean"]["tokens_out"] > 0
    assert set(summary["calibration"]) >= {"likelihood", "average", "tail"}
    assert "Slices" in (tmp_path / "page.html").read_text() or "score" in (tmp_path / "page.html").read_text()
    store = open_store(str(tmp_path / "overwinter.db"))
    assert not verify(store, "b").problems
    found = recording(store, "b")
    assert found.header.model == "tiny"
    completions = list(store.read("b", kinds=["sample.completion"]))
    tokens = [unpack_json(store, entry.body["tokens"]) for entry in completions]
    assert all(len(each["logprobs"]) == len(each["top_logprobs"]) > 0 for each in tokens)
    # Two samples of one question are not the same text.
    by_item = found.by_item()
    assert any(len({answer.text for answer in samples}) == 2 for samples in by_item.values())
    store.close()
    assert KEY.encode() not in (tmp_path / "overwinter.db").read_bytes()
