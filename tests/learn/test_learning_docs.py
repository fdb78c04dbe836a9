"""docs/learning.md is true, and the model that comes with the package is what its card says it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from overwinter.learn.appraisal import Appraiser
from overwinter.learn.improve import held_out
from overwinter.learn.players import Student
from overwinter.worlds.greenhouse.notebook import all_lines
from overwinter.worlds.player import BUNDLED_FOLDER, Card, bundled_for, is_player

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "learning.md").read_text("utf-8")
FOLDER = BUNDLED_FOLDER / "greenhouse"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    teaching, block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(teaching, "docs/learning.md", "exec", dont_inherit=True), {"__name__": "learning_page"})
    assert "action='heat off'" in capsys.readouterr().out
    exec(compile(block, "docs/learning.md", "exec", dont_inherit=True), {"__name__": "learning_page"})
    assert is_player(tmp_path / "newborn")
    assert 0.0 < Appraiser(tmp_path / "newborn").chance("left 120\n") < 1.0


def test_lines_of_the_page_are_lines_of_the_notebook() -> None:
    (sample,) = re.findall(r"((?:    .*\n)+)    outcome \?", PAGE)
    shown = [line.strip() for line in sample.splitlines() if line.strip() != "…"]
    assert set(shown) <= set(all_lines())


def test_the_bundled_model_is_small_and_has_a_card() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 20_000_000
    assert bundled_for("greenhouse")
    assert not bundled_for("greenhouse:days=30")
    card, record = (FOLDER / "README.md").read_text("utf-8"), json.loads((FOLDER / "training.json").read_text())
    players = record["figures"]["players"]
    last = "bundled"
    assert f"{players[last]['score'][0]:.1f}" in card
    assert players[last]["over_rules"][1] > 0.0, "it beats the rules"
    assert players[last]["of_expert"][0] >= 0.9
    assert f"{record['parameters']:,}" in card
    for heading in ("How it was made", "Scores on held-out seeds", "Its stated chance", "Limits"):
        assert f"## {heading}" in card


def test_the_bundled_model_plays_as_its_card_says() -> None:
    """Two of the held-out seasons: greedy play is the same on every machine, so far that no near tie is decided otherwise."""
    record = json.loads((FOLDER / "training.json").read_text())
    played = held_out(Student(FOLDER), "greenhouse", [0, 1])
    assert played.score.mean() > record["figures"]["players"]["rules"]["score"][0]
    card = Card.read(FOLDER)
    assert all(0.0 < card.calibrated(float(odds)) < 1.0 for each in played.odds for odds in each)
