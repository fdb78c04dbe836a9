"""`run --recall`: several samples a step from the command line, journalled with their vote, replayed."""

from __future__ import annotations

import json
from pathlib import Path

from cli_kit import Cli


def test_recall_votes_on_each_step_and_replays(cli: Cli, tmp_path: Path) -> None:
    finish = {"tool": "finish", "arguments": {"summary": "Bob is asked"}}
    script = tmp_path / "script.json"
    script.write_text(json.dumps(["Alice's manager is Bob.\n" + json.dumps(finish)]))
    goal = "Say who is asked. Alice's manager is Bob."
    assert cli("run", goal, "--model", f"script:{script}", "--recall", "3", "--name", "r").code == 4
    setup = json.loads(cli("log", "r", "--json", "--kind", "run.started").out)["body"]["setup"]
    assert setup["recall"] == {"samples": 3}
    body = json.loads(cli("log", "r", "--json", "--kind", "sample.completion").out)["body"]
    assert body["vote"]["classes"] == {"A": 3, "B": 0, "C": 0}
    assert body["usage"]["completion_tokens"] % 3 == 0
    assert cli("replay", "r").code == 0


def test_one_sample_is_no_vote(cli: Cli) -> None:
    assert cli("run", "hm", "--model", "policy:rules", "--recall", "1").code == 2
