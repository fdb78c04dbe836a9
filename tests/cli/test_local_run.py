"""A model folder plays a world from the command line: constrained, killed, resumed, replayed to the bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cli_kit import Cli

SETTINGS = "[pace]\ntemperature = 1.0\nmax_tokens = 16\nmax_stalls = 1000\n[local]\nthreads = 1\n"
WORLD = ("--world", "greenhouse:days=20")


@pytest.fixture
def player(cli: Cli, tiny_model: Path, tmp_path: Path) -> Cli:
    (tmp_path / "overwinter.toml").write_text(f'model = "local:{tiny_model}"\n{SETTINGS}')
    return cli


def test_a_model_folder_plays(player: Cli, tiny_model: Path) -> None:
    said = player("run", *WORLD, "--max-steps", "4", "--name", "r1")
    assert said.code == 3, said.err
    assert "acted by tiny" in said.out
    started, *rest = player("log", "r1", "--json").records
    assert started["body"]["setup"]["model"] == {"kind": "local", "path": str(tiny_model), "threads": 1}
    assert started["body"]["setup"]["controls"] == []
    receipts = [entry["body"] for entry in rest if entry["kind"] == "effect.receipt"]
    assert len(receipts) == 4
    assert all(body["ok"] for body in receipts), "nothing but legal actions can be uttered"
    assert player("ls", "--json").record["title"] == "greenhouse:days=20, seed 0, tiny"


@pytest.mark.crash
def test_killed_resumed_replayed(player: Cli) -> None:
    process = player.process("run", *WORLD, "--name", "r1", "--json")
    assert process.stdout is not None
    steps = 0
    for line in process.stdout:
        steps += json.loads(line).get("kind") == "effect.receipt"
        if steps == 3:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert player("resume", "r1", "--max-steps", "3").code == 3
    assert player("log", "r1", "--verify").code == 0
    report = player("replay", "r1", "--json").record
    assert report["divergence"] is None
    assert report["samples"] >= 6
    assert report["tokens"] >= report["samples"]
    assert "tokens by id and log-probability" in player("replay", "r1").out


def test_other_weights_are_named(player: Cli, tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from local_kit import make_model

    mine = shutil.copytree(tiny_model, tmp_path / "mine")
    player("run", *WORLD, "--model", str(mine), "--max-steps", "2", "--name", "r1")
    assert player("replay", "r1").code == 0
    shutil.rmtree(mine)
    make_model(mine, seed=9)
    said = player("replay", "r1")
    assert said.code == 1
    assert "differs: then" in said.out
    assert "asked now is mine@" in said.out


def test_controls_stay_where_there_are_tools(player: Cli, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    player("run", *WORLD, "--files", "w", "--max-steps", "1", "--name", "r1")
    setup = next(iter(player("log", "r1", "--json").records))["body"]["setup"]
    assert "controls" not in setup


def test_names_of_models(player: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from overwinter.cli.setup import model_spec
    from overwinter.config import load

    (tmp_path / "overwinter.toml").write_text('model = "local:org/name"\njudge = "local:./models/tiny"\n')
    settings = load(start=tmp_path).settings
    assert settings.model == "local:org/name", "a name on the hub is nobody's folder"
    assert settings.judge == f"local:{tmp_path}/models/tiny"
    assert model_spec("org/name@1f3a", settings) == {"kind": "local", "path": "org/name@1f3a"}
    monkeypatch.setattr("overwinter.model.hub.find_spec", lambda _: None)  # no download
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert "no complete org/name at main" in player("generate", "x", "--model", "org/name").err
