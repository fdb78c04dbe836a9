"""`overwinter check RUN`, and the verdict on a run that writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli_kit import Cli

WORLD = ("--world", "greenhouse:days=20", "--name", "r")


def act(action: str) -> dict[str, Any]:
    return {"tool": "act", "arguments": {"action": action}}


def finish(summary: str) -> dict[str, Any]:
    return {"tool": "finish", "arguments": {"summary": summary}}


def verdicts(cli: Cli) -> list[dict[str, Any]]:
    return [one["body"] for one in cli("log", "r", "--kind", "verdict", "--json").records]


def test_a_report_against_the_log_is_sent_back_with_both_places(cli: Cli, script: Any) -> None:
    replies = [
        act("order fuel 100"),
        act("wait"),
        finish("Winter 1: I ordered fuel 3 times so far, which should do."),
        act("wait"),
    ]
    cli("run", *WORLD, "--model", script(*map(_text, replies)), "--max-steps", "4")
    (verdict,) = verdicts(cli)
    assert verdict["status"] == "rejected"
    (wrong,) = [one for one in verdict["findings"] if one["id"] == "report"]
    assert wrong["met"] is False
    assert "orders 3; the log says orders 1" in wrong["note"]
    assert len(wrong["entries"]) == 2
    said = cli("check", "r")
    assert said.code == 1
    assert "claim, line 1: “Winter 1: I ordered fuel 3 times so far, which should do.”" in said.out
    assert "observation, line" in said.out
    finding, summary = cli("check", "r", "--json").records
    assert (finding["kind"], summary["contradictions"]) == ("log", 1)
    seq = finding["first"]["source"].split()[0].removeprefix("#")
    receipt = cli("log", "r", "--from", seq, "--json").records[0]["body"]["text"]["text"]
    assert receipt[finding["first"]["first"] : finding["first"]["last"]] == finding["first"]["text"]


def test_a_true_report_changes_nothing(cli: Cli, script: Any) -> None:
    replies = [
        act("order fuel 100"),
        act("wait"),
        finish("Winter 1: I ordered fuel 1 times so far, which should do."),
        act("wait"),
    ]
    cli("run", *WORLD, "--model", script(*map(_text, replies)), "--max-steps", "4")
    (verdict,) = verdicts(cli)
    assert [one["id"] for one in verdict["findings"]] == ["a1"]
    assert cli("check", "r").code == 0


def test_a_report_that_contradicts_itself_is_not_verified(cli: Cli, script: Any) -> None:
    wrong = "Done on Monday, 4 May 1875, with three papers: a map and a letter."
    assert cli("run", "Put the papers in order", "--model", script(_text(finish(wrong))), "--name", "r").code == 4
    (verdict,) = verdicts(cli)
    assert verdict["status"] == "unverified"
    assert [one["met"] for one in verdict["findings"] if one["id"] == "report"] == [None, None]
    assert cli("check", "r").code == 1


def test_a_good_report_verifies_nothing_by_itself(cli: Cli, script: Any) -> None:
    assert (
        cli(
            "run", "Say hello", "--model", script(_text(finish("I have said hello to all of them."))), "--name", "r"
        ).code
        == 4
    )
    (verdict,) = verdicts(cli)
    assert (verdict["status"], verdict["findings"]) == ("unverified", [])


def test_a_run_without_prose_and_a_run_that_is_not_there(cli: Cli, script: Any, tmp_path: Path) -> None:
    cli("run", "Go", "--model", script(_text(finish("Done"))), "--name", "r")
    said = cli("check", "r")
    assert (said.code, "no prose" in said.err) == (2, True)
    assert cli("check", "nobody").code == 2


def _text(call: dict[str, Any]) -> str:
    import json

    return json.dumps(call)
