"""run and resume: exit codes, records, pauses, signals."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from cli_kit import Cli

SHORT = ("--world", "greenhouse:days=20")


def test_a_season_is_verified(cli: Cli) -> None:
    said = cli("run", *SHORT, "--seed", "3", "--name", "r1")
    assert said.code == 0
    assert "scripted heuristic" in said.out
    assert "\nverified\n" in said.out
    assert "overwinter log r1 --verify" in said.out


def test_json_is_every_entry_and_then_the_run(cli: Cli) -> None:
    said = cli("run", *SHORT, "--json", "--name", "r1")
    *entries, row = said.records
    logged = cli("log", "r1", "--json").records
    assert entries == logged[-len(entries) :]
    assert entries[-1]["kind"] == "run.ended"
    assert row["run"] == "r1"
    assert row["status"] == "verified"
    assert row["head_hash"] == entries[-1]["hash"]
    assert cli("ls", "--json").record == row


def test_max_steps_stops_between_steps(cli: Cli) -> None:
    said = cli("run", *SHORT, "--max-steps", "4", "--name", "r1")
    assert said.code == 3
    assert "stopped: asked to stop by --max-steps" in said.out
    assert "overwinter resume r1" in said.out
    kinds = [entry["kind"] for entry in cli("log", "r1", "--json").records]
    assert kinds.count("sample.completion") == kinds.count("effect.receipt") == 4
    assert cli("resume", "--max-steps", "2").code == 3
    assert cli("ls", "--json").record["step"] == 6


def test_a_budget_runs_out_and_is_raised(cli: Cli) -> None:
    said = cli("run", *SHORT, "--budget", "calls=7", "--name", "r1")
    assert said.code == 3
    assert "overwinter resume r1 --add-budget calls=7" in said.out
    assert cli("resume", "r1").code == 3
    assert cli("resume", "r1", "--add-budget", "calls=1000").code == 0
    line = cli("ls", "--json").record["budget"]["r1"]["tool_calls"]
    assert line["cap"] == 1007
    assert line["spent"] > 7


def test_without_a_checker_a_run_ends_unverified(cli: Cli, script) -> None:
    model = script({"tool": "finish", "arguments": {"summary": "all done"}})
    said = cli("run", "do it", "--model", model, "--accept", "it is done")
    assert said.code == 4
    assert "unverified at best" in said.out
    assert "finished, unverified" in said.out
    assert cli("resume").code == 2


def test_judge_and_command_verify(cli: Cli, script, tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.txt").write_text("hello")
    model = script(
        {"tool": "read_file", "arguments": {"path": "a.txt"}}, {"tool": "finish", "arguments": {"summary": "read"}}
    )
    judge = script('{"met": true, "entries": [4], "note": "it says hello"}', name="judge.json")
    said = cli(
        *("run", "read it", "--model", model, "--judge", judge, "--accept", "hello was read"),
        *("--files", "w", "--accept-command", "true", "--name", "r1", "--budget", "tokens=100k,usd=1"),
    )
    assert said.code == 0, said.out + said.err
    assert "a1 met: it says hello (entries 4)" in said.out
    assert "read_file(path=a.txt)" in said.out
    assert "conf 0." in said.out
    assert "left " in said.out


def test_tools_by_flags(cli: Cli, script, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from overwinter.tools import Effect, tool\n\n@tool(effect=Effect.PURE)\ndef twice(n: int) -> int:\n"
        '    """Twice.\n\n    Args:\n        n: a number.\n    """\n    return 2 * n\n'
    )
    server = Path(__file__).parents[1] / "tools" / "mcp_server.py"
    model = script(
        {"tool": "twice", "arguments": {"n": 4}},
        {"tool": "shop.look", "arguments": {"shelf": 2}},
        {"tool": "python", "arguments": {"code": "print(6 * 7)"}},
        {"tool": "http_get", "arguments": {"url": "https://elsewhere.example/"}},
        {"tool": "finish", "arguments": {"summary": "tried"}},
    )
    said = cli(
        *("run", "try them", "--model", model, "--tools", "mine.py", "--python", "--allow-http", "docs.python.org"),
        *("--mcp", f"shop={sys.executable} {server} {tmp_path / 'log'}", "--name", "r1", "--json"),
    )
    assert said.code == 4, said.err
    receipts = [record["body"] for record in said.records if record.get("kind") == "effect.receipt"]
    assert [(body["ok"], body["error"]) for body in receipts] == [(True, None)] * 3 + [(False, "denied"), (True, None)]
    assert [body["text"]["text"].strip() for body in receipts[:3]] == ["8", "x2: café", "42"]


def test_a_question_is_answered(cli: Cli, script) -> None:
    model = script(
        {"tool": "ask_person", "arguments": {"question": "red or blue?"}},
        {"tool": "finish", "arguments": {"summary": "blue"}},
    )
    said = cli("run", "paint it", "--model", model, "--name", "r1")
    assert said.code == 3
    assert "red or blue?" in said.out
    assert "resume r1 --say" in said.out
    assert cli("resume", "r1").code == 3
    assert cli("resume", "r1", "--say", "blue").code == 4
    assert any(e["kind"] == "event.received" for e in cli("log", "r1", "--json").records)


def test_due_resumes_what_has_been_waited_for(cli: Cli, script) -> None:
    end = {"tool": "finish", "arguments": {"summary": "done"}}
    event = script({"tool": "sleep", "arguments": {"reason": "post", "event": "post"}}, end, name="event.json")
    time = script({"tool": "sleep", "arguments": {"reason": "night", "seconds": 0.001}}, end, name="time.json")
    late = script({"tool": "sleep", "arguments": {"reason": "winter", "seconds": 1e6}}, end, name="late.json")
    for name, model in (("event", event), ("time", time), ("late", late)):
        assert cli("run", "wait", "--model", model, "--name", name).code in {3, 4}
    assert "post" in cli("send", "event", "post", "--data", '{"letters": 2}').out
    cli("resume", "--due")
    status = {row["run"]: row["status"] for row in cli("ls", "--json").records}
    assert status == {"event": "unverified", "time": "unverified", "late": "waiting:sleep"}
    assert "no sleeping run is due" in cli("resume", "--due").out
    assert cli("resume", "late", "--due").code == 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["run", "a goal"], "no model is named"),
        (["run", "a goal", "--seed", "3"], "--policy and --seed are for worlds"),
        (["run", "--world", "moon"], "no world called 'moon'"),
        (["run", "--policy", "best"], "no policy called 'best'"),
        (["run", "--policy", "rules", "--model", "policy:expert"], "both say who acts"),
        (["run", "g", "--model", "gpt"], "'gpt' is no model"),
        (["run", "g", "--model", "http://127.0.0.1:1/v1"], "names no model"),
        (["run", "g", "--model", "script:none.json"], "cannot be read"),
        (["run", "--judge", "policy:rules"], "is no judge"),
        (["run", "--budget", "token=5"], "token=5"),
        (["run", "--budget", "usd=many"], "'many' is not an amount of usd"),
        (["run", "--ask", "confidence<7"], "is no rule"),
        (["run", "--files", "nowhere"], "no folder nowhere"),
        (["run", "--mcp", "x="], "names no command"),
        (["run", "--tools", "none.py"], "no Python file"),
        (["resume"], "no unfinished run"),
        (["resume", "r9"], "no run 'r9'"),
        (["run", "--store", "ftp://x/y"], "unknown store"),
    ],
)
def test_mistakes_are_explained(cli: Cli, words: list[str], problem: str) -> None:
    said = cli(*words)
    assert said.code in {1, 2}
    assert problem in said.err
    assert said.err.startswith("error: ")
    assert "\n  → " in said.err
    assert "Traceback" not in said.err


def test_a_name_is_taken_once(cli: Cli) -> None:
    cli("run", *SHORT, "--name", "r1", "--max-steps", "1")
    assert cli("run", *SHORT, "--name", "r1").code == 2


@pytest.mark.crash
def test_kill_9_then_resume(cli: Cli) -> None:
    """SIGKILL leaves no time to write anything: what resume finds is what was acknowledged."""
    process = cli.process("run", "--world", "greenhouse:days=60", "--seed", "7", "--name", "r1", "--json")
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline()) for _ in range(120)]
    process.kill()
    process.communicate()
    assert "interrupted" in cli("ls").out
    assert cli("resume").code == 0
    logged = cli("log", "r1", "--json").records
    assert [entry["hash"] for entry in seen] == [entry["hash"] for entry in logged[2:122]]
    keys = [e["body"]["key"] for e in logged if e["kind"] == "effect.intent" and e["body"]["attempt"] == 1]
    assert len(set(keys)) == len(keys)
    assert cli("log", "r1", "--verify").code == 0


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly(cli: Cli, number: signal.Signals) -> None:
    """Ctrl-C and a service manager's stop end the step at hand and leave a run that says it was stopped."""
    process = cli.process("run", "--name", "r1", "--world", "greenhouse:winters=20", "--json")
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert "stopping" in err
    suspended, row = (json.loads(line) for line in out.splitlines()[-2:])
    assert suspended["kind"] == "run.suspended"
    assert row["status"] == "waiting:stopped"
    kinds = [entry["kind"] for entry in cli("log", "r1", "--json").records]
    assert kinds.count("effect.intent") == kinds.count("effect.receipt")


@pytest.mark.crash
def test_one_run_one_process(cli: Cli) -> None:
    process = cli.process("run", "--name", "r1", "--world", "greenhouse:winters=20", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    said = cli("resume", "r1")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert cli("resume").code == 2
    assert "asked run r1 to stop" in cli("stop", "r1").out
    process.communicate()
    assert process.returncode == 3
    assert cli("stop", "r1").code == 2


def test_a_read_only_store_is_an_error_not_a_crash(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database" * 100)
    said = cli("run", *SHORT, "--store", "text.db")
    assert said.code == 1
    assert "error: " in said.err
    with sqlite3.connect(tmp_path / "newer.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    said = cli("run", *SHORT, "--store", "newer.db")
    assert said.code == 1
    assert "newer overwinter" in said.err
