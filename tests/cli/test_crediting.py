"""`overwinter credit`: which entries earned a run's outcome, by a model that reads what the player saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_kit import Cli

from player_kit import WORLD, make_player


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_player(tmp_path_factory.mktemp("judges") / "small")


@pytest.fixture
def played(cli: Cli) -> Cli:
    said = cli("run", "--world", WORLD, "--policy", "rules", "--seed", "4", "--name", "r1")
    assert said.code in (0, 4), said.err
    return cli


def test_every_decision_has_its_entry_and_its_credit(played: Cli, judge: Path) -> None:
    records = played("credit", "r1", "--model", str(judge), "--json").records
    receipts = [
        entry for entry in played("log", "r1", "--json").records if entry["kind"] == "effect.receipt"
    ]  # a scripted run has text alone; the pages are made from the world
    assert [row["entry"] for row in records] == [entry["seq"] for entry in receipts]
    assert [row["action"] for row in records] == [entry["body"]["data"]["action"] for entry in receipts]
    success = played("log", "r1", "--json").records[-1]
    outcome = float(success["body"].get("status") == "verified")
    assert sum(row["credit"] for row in records) == pytest.approx(outcome - records[0]["before"], abs=1e-3)


def test_a_person_sees_what_cost_most_and_what_the_world_says(played: Cli, judge: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "credit.html"
    said = played("credit", "r1", "--model", str(judge), "--top", "3", "--what-if", "2", "--html", str(page))
    assert said.code == 0, said.err
    assert "Choices that cost most" in said.out
    assert "played on to the end both ways" in said.out
    assert "twice each" in said.err
    html = page.read_text()
    assert html.count('class="mark"') == 3
    assert "Chance of success" in html
    assert "<script" not in html
    rows = [
        json.loads(line)
        for line in played("credit", "r1", "--model", str(judge), "--what-if", "2", "--json").out.splitlines()
    ]
    asked = [row for row in rows if "what_if" in row]
    assert len(asked) == 2
    assert all(row["gain"] == pytest.approx(row["other"] - row["actual"]) for row in asked)


def test_of_a_season_the_rules_lost_the_bundled_head_says_what_would_have_helped(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "credit.html"
    cli("run", "--world", WORLD, "--policy", "rules", "--seed", "5", "--name", "lost")
    said = cli("credit", "lost", "--top", "2", "--what-if", "1", "--html", str(page))
    assert said.code == 0, said.err
    assert "goal not met" in said.out
    assert "chance that it is better" in said.out
    assert "chance that it is better" in page.read_text()
    rows = cli("credit", "lost", "--what-if", "1", "--json").records
    told = [row["advice"] for row in rows if row.get("advice")]
    [asked] = [row for row in rows if "what_if" in row]
    surest = max(told, key=lambda advice: advice["sure"])
    assert asked["instead"] == surest["action"]
    assert all(0.0 <= advice["sure"] <= 1.0 for advice in told)


def test_what_has_no_credit_says_why(cli: Cli, judge: Path, tmp_path: Path) -> None:
    script = tmp_path / "replies.json"
    script.write_text(json.dumps([{"tool": "finish", "arguments": {"summary": "done"}}]))
    cli("run", "do it", "--model", f"script:{script}", "--name", "words")
    said = cli("credit", "words", "--model", str(judge))
    assert said.code == 2
    assert "plays no world" in said.err
    cli("run", "--world", WORLD, "--policy", "rules", "--name", "r2", "--max-steps", "1")
    assert cli("credit", "r2", "--model", str(tmp_path)).code == 2
    assert "still open" in cli("credit", "r2", "--model", str(judge)).out
