"""`overwinter train`: from a recipe to text, stopped by a signal and resumed, refused with the place."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from cli_kit import Cli

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

RECIPE = """
[data]
sources = [{ path = "text.txt" }]
context = 16
holdout = 0.2
holdout_by = "tail"
[tokenizer]
kind = "chars"
[model]
d_model = 16
n_layers = 1
n_heads = 2
n_kv_heads = 2
d_head = 8
d_mlp = 32
[schedule]
steps = 4
[run]
batch_rows = 2
log_every = 1
evaluate_every = 2
device = "cpu"
threads = 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("a robin sings in the greenhouse. " * 20)
    path = tmp_path / "robin.toml"
    path.write_text(RECIPE)
    return path


def test_from_a_recipe_to_text(cli: Cli, recipe: Path) -> None:
    out = recipe.parent / "out"
    said = cli("train", str(recipe), "--out", str(out), "--json")
    assert said.code == 0, said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["kind"] for event in events] == [
        "step",
        "step",
        "evaluation",
        "step",
        "step",
        "evaluation",
        "final",
        "outcome",
    ]
    assert events[-1]["finished"] is True
    assert events[-1]["loss"] == events[-2]["ce"]
    text = cli("generate", "a robin", "--model", str(out / "model"), "--max-tokens", "5", "--json")
    assert text.code == 0, text.err
    assert len(json.loads(text.out)["token_ids"]) <= 5
    again = cli("train", str(recipe), "--out", str(out))
    assert again.code == 2
    assert "--resume" in again.err
    for_people = cli("train", str(recipe), "--out", str(out), "--resume")
    assert "held-out loss" in for_people.out
    assert "\x1b" not in for_people.out + for_people.err


def test_a_signal_stops_it_with_a_checkpoint(cli: Cli, recipe: Path) -> None:
    out = recipe.parent / "out"
    with cli.process("train", str(recipe), "--out", str(out), "--json", "--set", "schedule.steps=2000") as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["step"] < 3:
            pass
        os.kill(process.pid, signal.SIGTERM)
        rest = [json.loads(line) for line in process.stdout]
    assert process.returncode == 143
    stopped = rest[-1]
    assert (stopped["finished"], stopped["cause"]) == (False, "SIGTERM was received")
    assert (out / "checkpoints" / f"step-{stopped['step']:08d}" / "state.json").exists()


def test_a_wrong_key_is_refused_with_its_place(cli: Cli, recipe: Path) -> None:
    said = cli("train", str(recipe), "--set", "run.sede=1")
    assert said.code == 2
    assert "robin.toml: run.sede is no key; did you mean seed?" in said.err
