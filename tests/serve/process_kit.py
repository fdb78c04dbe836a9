"""`overwinter serve` as a process, over a folder with a tiny random model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from serve_kit import CHATML, text_format

from overwinter.model import Config as Shape
from overwinter.model import fresh, save

SOURCE = Path(__file__).parents[2] / "src"
KEY = "k" * 24


def model_folder(path: Path) -> Path:
    """A model that says anything at all, with a context long enough for an answer that takes a while."""
    text = text_format()
    shape = Shape(
        vocab_size=text.vocab_size, d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_head=16, d_mlp=32, context=8192
    )
    decoder = fresh(shape, seed=5)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(2.0)
    save(decoder, path, tokenizer=text.tokenizer)
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "chat_template": CHATML}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": list(text.end_ids)}))
    return path


class Process:
    """A server that is started when it is needed, and again after its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = model_folder(folder / "tiny")
        self.keys = folder / "keys"
        self.keys.write_text(f"tests {KEY}\n")
        self.keys.chmod(0o600)
        self._running: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}

    @property
    def url(self) -> str:
        if self._running is None or self._running.poll() is not None:
            self._start()
        return str(self.ready["url"])

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._running is not None
        return self._running

    def _start(self) -> None:
        options = ["--model", self.model, "--port", "0", "--json", "--api-key-file", self.keys, "--max-running", "2"]
        command = [
            sys.executable,
            "-m",
            "overwinter",
            "serve",
            *map(str, options),
            "--store",
            str(self.folder / "serve.db"),
        ]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        self._running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=(self.folder / "stderr").open("a"), text=True, env=environment
        )
        assert self._running.stdout is not None
        line = self._running.stdout.readline()
        assert line, (self.folder / "stderr").read_text()
        self.ready = json.loads(line)

    def end(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.kill()
        if self._running is not None:
            self._running.wait()
            assert self._running.stdout is not None
            self._running.stdout.close()


def served(folder: Path) -> Iterator[Process]:
    process = Process(folder)
    try:
        yield process
    finally:
        process.end()
