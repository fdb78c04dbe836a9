"""`overwinter learn`: runs in, a better model folder out, with what was learned and whether it helped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import Cli

from player_kit import WORLD, make_player

SETTINGS = "[pace]\ntemperature = 1.0\nmax_stalls = 1000\n[local]\nthreads = 1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_player(tmp_path_factory.mktemp("players") / "small")


@pytest.fixture
def played(cli: Cli, folder: Path, tmp_path: Path) -> Cli:
    (tmp_path / "overwinter.toml").write_text(SETTINGS)
    for name, seed in (("a", "1"), ("b", "2")):
        said = cli("run", "--world", WORLD, "--model", str(folder), "--seed", seed, "--name", name)
        assert said.code in (0, 4), said.err
        assert "acted by small" in said.out
        assert "success" in said.out, "it states its chance in each line"
    return cli


def test_runs_become_a_model_that_plays(played: Cli, tmp_path: Path) -> None:
    out = tmp_path / "better"
    said = played(
        "learn", "a", "b", "--out", str(out), "--held-out", "3", "--calibrate", "2", "--estimator", "gae_turn"
    )
    assert said.code == 0, said.err
    for words in ("2 runs in", "Encouraged most", "Discouraged most", "held-out seeds (3)", "95 %"):
        assert words in said.out
    record = json.loads((out / "training.json").read_text())
    assert record["learned_from"] == ["a", "b"]
    assert record["held_out"]["low"] <= record["held_out"]["change"] <= record["held_out"]["high"]
    assert len(record["curve"]) == 2
    assert json.loads((out / "player.json").read_text())["calibration"]["world"] == WORLD
    assert played("run", "--world", WORLD, "--model", str(out), "--max-steps", "2").code == 3
    assert played("learn", "a", "--out", str(out)).code == 2, "nothing is overwritten"


def test_every_decision_is_told_with_its_credit(played: Cli, tmp_path: Path) -> None:
    out = tmp_path / "other"
    command = (
        "learn",
        "a",
        "--out",
        str(out),
        "--held-out",
        "0",
        "--calibrate",
        "0",
        "--estimator",
        "gae_turn",
        "--json",
    )
    records = played(*command).records
    kinds = [row["kind"] for row in records]
    receipts = [e for e in played("log", "a", "--json").records if e["kind"] == "effect.receipt"]
    assert kinds.count("credit") == len(receipts)
    assert kinds.count("epoch") == 2
    assert kinds[-1] == "learned"
    assert json.loads((out / "player.json").read_text())["calibration"] == {}, "uncalibrated: it states no chance"


def test_what_has_no_ids_is_refused_with_the_reason(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--world", WORLD, "--policy", "rules", "--name", "script")
    said = cli("learn", "script", "--out", str(tmp_path / "x"))
    assert said.code == 2
    assert "no token ids" in said.err
    assert not (tmp_path / "x").exists()
