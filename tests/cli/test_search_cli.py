"""`run --search` from the command line: branches under a budget, killed in mid-search, resumed, explained, replayed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Cli

from player_kit import WORLD, make_player

FLAGS = (
    "--world",
    WORLD,
    "--search-critic",
    "outcome",
    "--search-depth",
    "1",
    "--search-stride",
    "2",
    "--search-tokens",
    "400",
)


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return make_player(tmp_path_factory.mktemp("players") / "small")


def run(cli: Cli, player: Path, *more: str) -> Any:
    return cli("run", "--model", str(player), *FLAGS, "--budget", "tokens=50k", "--name", "r1", *more)


@pytest.mark.parametrize("strategy", ["tree", "best-of-n"])
def test_a_run_that_searches(cli: Cli, player: Path, strategy: str) -> None:
    said = run(cli, player, "--search", strategy, "--max-steps", "2")
    assert said.code == 3, said.err
    assert said.out.count("search.ended") == 2
    started, *rest = cli("log", "r1", "--json").records
    assert started["body"]["setup"]["search"]["strategy"] == strategy
    ended = [entry["body"] for entry in rest if entry["kind"] == "search.ended"]
    assert all(0 < body["tokens"] <= 400 for body in ended)
    assert all(len(body["nodes"]) > 3 for body in ended)

    listed = cli("ls")
    assert "branches of searches" in listed.out
    assert listed.out.count("r1-b") == 0
    assert len(cli("ls", "--all", "--branches", "--json").records) > 6
    assert cli("ls", "--json").record["budget"]["r1"]["tokens"]["spent"] == sum(body["tokens"] for body in ended)

    completion = next(entry for entry in rest if entry["kind"] == "sample.completion")
    told = cli("why", "r1", str(completion["seq"]), "--json").record
    [search] = told["searches"]
    assert sum(option["committed"] for option in search["options"]) == 1
    assert search["options"][0].keys() >= {"label", "vote", "worth", "visits", "tokens", "tries"}
    assert told["shown_ranges"], "what the branch was shown, the run had shown"
    words = cli("why", "r1", str(completion["seq"])).out
    assert "FIRST STEP" in words
    assert "→" in words

    assert cli("resume", "r1", "--max-steps", "1").code == 3
    entries = cli("log", "r1", "--json").records
    assert [entry["kind"] for entry in entries].count("branch.committed") == 3, "resume searches on, with no flag"
    for name in ("r1", ended[-1]["branch"]):
        replayed = cli("replay", name)
        assert replayed.code == 0, replayed.out
        assert cli("log", name, "--verify").code == 0


@pytest.mark.crash
def test_killed_in_mid_search(cli: Cli, player: Path) -> None:
    flags = ("--model", str(player), *FLAGS, "--budget", "tokens=50k", "--name", "r1")
    process = cli.process("run", *flags, "--search", "tree", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("kind") == "search.began":
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert cli("resume", "r1", "--max-steps", "2").code == 3
    entries = cli("log", "r1", "--json").records
    kinds = [entry["kind"] for entry in entries]
    assert kinds.count("search.began") == kinds.count("search.ended") == kinds.count("branch.committed")
    spent = sum(entry["body"]["tokens"] for entry in entries if entry["kind"] == "search.ended")
    assert cli("ls", "--json").record["budget"]["r1"]["tokens"] == {"cap": 50_000, "spent": spent, "reserved": 0}
    assert cli("replay", "r1").code == 0


def test_settings_without_a_search_are_refused(cli: Cli) -> None:
    said = cli("run", "--search-width", "3")
    assert said.code == 2
    assert "add --search tree" in said.err


def test_a_world_that_cannot_be_imagined_is_refused(cli: Cli) -> None:
    said = cli("run", "--world", "household", "--policy", "rules", "--search", "tree")
    assert said.code == 2
    assert "would see what really comes" in said.err
    assert "no run yet" in cli("ls").out


def test_an_unknown_strategy_is_refused_before_anything_is_written(cli: Cli) -> None:
    said = cli("run", "--search", "luck")
    assert said.code == 2
    assert "best-of-n" in said.err
    assert "no run yet" in cli("ls").out
