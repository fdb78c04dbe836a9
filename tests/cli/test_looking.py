"""ls, log, why, watch, fork and replay: what they say of a run, and that they write nothing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from cli_kit import Cli

from overwinter.cli.output import visible


def head(cli: Cli) -> str:
    return cli("ls", "--json").record["head_hash"]


def test_ls(season: Cli) -> None:
    record = season("ls", "--json").record
    assert record["run"] == "done"
    assert record["status"] == "verified"
    assert set(record) >= {"parent", "fork_seq", "head_seq", "head_hash", "head_time_us", "title", "step", "budget"}
    assert record["budget"]["done"]["tool_calls"]["spent"] > 20
    text = season("ls").out
    assert "STATUS" in text
    assert "verified" in text


def test_ls_without_a_journal(cli: Cli) -> None:
    said = cli("ls")
    assert said.code == 2
    assert "no journal at" in said.err


def test_log_is_the_journal(season: Cli) -> None:
    records = season("log", "done", "--json").records
    assert [record["seq"] for record in records] == list(range(len(records)))
    assert set(records[0]) == {"run", "seq", "kind", "time_us", "body", "refs", "prev", "hash"}
    assert season("log", "do", "--json", "--from", "10").records == records[10:]
    kinds = season("log", "--json", "--kind", "verdict", "--kind", "run.ended").records
    assert [record["kind"] for record in kinds] == ["verdict", "run.ended"]
    lines = season("log", "done").out.splitlines()
    assert len(lines) == len(records)
    assert "Fuel:" in season("log", "done", "--full").out


def test_log_of_mistakes(season: Cli) -> None:
    assert season("log", "done", "--kind", "effect").code == 2
    assert season("log", "nobody").code == 2
    assert season("log", "done", "--expect", "0" * 64).code == 2


def test_a_beginning_that_fits_two_runs(season: Cli) -> None:
    season("run", "--world", "greenhouse:days=20", "--name", "done2", "--max-steps", "1")
    assert season("log", "done").code == 0
    said = season("log", "don")
    assert said.code == 2
    assert "done, done2" in said.err or "done2, done" in said.err


def test_verify(season: Cli) -> None:
    report = season("log", "done", "--verify", "--json").record
    assert report["ok"] is True
    assert report["head"] == head(season)
    assert report["problems"] == []
    assert season("log", "done", "--verify", "--expect", report["head"]).code == 0
    said = season("log", "done", "--verify", "--expect", "0" * 64)
    assert said.code == 1
    assert "DAMAGED" in said.out


def test_one_flipped_byte_is_named(season: Cli, tmp_path: Path) -> None:
    with sqlite3.connect("overwinter.db") as database:
        database.execute("PRAGMA journal_mode = DELETE")
        data = bytes(database.execute("SELECT data FROM entries WHERE seq = 21").fetchone()[0])
    database.close()
    raw = bytearray((tmp_path / "overwinter.db").read_bytes())
    place = raw.find(data) + 30
    raw[place] ^= 1
    (tmp_path / "overwinter.db").write_bytes(raw)
    said = season("log", "done", "--verify")
    assert said.code == 1
    assert "entry 21: byte 30 was changed" in said.out
    report = season("log", "done", "--verify", "--json").record
    assert [problem["seq"] for problem in report["problems"]] == [21]
    assert season("log", "done").code == 1
    page = season("log", "done", "--html", "damaged.html")
    assert page.code == 0
    assert "damaged after entry 20" in (tmp_path / "damaged.html").read_text("utf-8")


@pytest.mark.parametrize("part", ["first page", "a page within", "second half", "everything"])
def test_verify_of_a_ruined_file(season: Cli, tmp_path: Path, part: str) -> None:
    path = tmp_path / "overwinter.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    raw = bytearray(path.read_bytes())
    page = len(raw) // 2 // 4096 * 4096
    first, last = {
        "first page": (0, 100),
        "a page within": (page, page + 4096),
        "second half": (page, len(raw)),
        "everything": (0, len(raw)),
    }[part]
    raw[first:last] = bytes(b ^ 0x5A for b in raw[first:last])
    path.write_bytes(raw if part != "second half" else raw[:first])
    said = season("log", "done", "--verify")
    assert said.code == 1
    assert "DAMAGED" in said.out
    assert "Traceback" not in said.err
    assert season("log", "done", "--verify", "--json").record["ok"] is False


def test_why(season: Cli) -> None:
    records = season("log", "done", "--json").records
    receipt = next(record["seq"] for record in records if record["kind"] == "effect.receipt")
    explained = season("why", "done", str(receipt), "--json").record
    assert [reason["kind"] for reason in explained["reasons"]] == [
        "effect.intent",
        "sample.completion",
        "sample.intent",
    ]
    assert explained["shown"]
    assert "is the result of" in season("why", "done", str(receipt)).out
    assert "run.ended" in season("why", "last").out
    assert season("why", "done", "99999").code == 2


def test_replay(season: Cli) -> None:
    before = head(season)
    report = season("replay", "done", "--json").record
    assert report["ok"] is True
    assert report["samples"] > 20
    assert report["divergence"] is None
    assert "ok" in season("replay").out
    assert head(season) == before


def test_fork(season: Cli) -> None:
    made = season("fork", "done@40", "--policy", "random", "--name", "other", "--reason", "to compare", "--json").record
    assert made == {"run": "other", "parent": "done", "seq": 40, "reason": "to compare"}
    assert "not started" in season("ls").out
    assert season("resume", "other").code in {0, 4}
    own = season("log", "other", "--json").records
    assert own[40] == season("log", "done", "--json").records[40]
    assert own[41]["kind"] == "run.forked"
    assert season("log", "other", "--verify").code == 0
    assert season("fork", "done@40", "--budget", "calls=5", "--name", "poor").code == 0
    assert season("resume", "poor").code == 3
    for where in ("done", "done@x", "done@99999", "@3"):
        assert season("fork", where).code == 2


def test_watch_draws_a_finished_run(season: Cli) -> None:
    picture = season("watch", "done", "--once").out
    assert "verified" in picture
    assert "score" in picture
    assert "calls" in picture
    assert season("watch", "done", "--once", "--json").record == season("ls", "--json").record


def test_watch_follows_to_the_end(season: Cli) -> None:
    said = season("watch", "done", "--json")
    assert said.records[-1]["kind"] == "run.ended"
    assert "run.ended" in season("watch", "done").out


@pytest.mark.crash
def test_watch_follows_another_process(cli: Cli) -> None:
    process = cli.process("run", "--world", "greenhouse:days=40", "--name", "r1")
    assert process.stdout is not None
    process.stdout.readline()
    seqs = [record["seq"] for record in cli("watch", "r1", "--json", "--every", "0.05").records]
    process.communicate()
    assert seqs == list(range(seqs[0], cli("ls", "--json").record["head_seq"] + 1))


def test_no_colour_and_no_escapes(cli: Cli, script, monkeypatch: pytest.MonkeyPatch) -> None:
    model = script(
        "\x1b[2J\x1b]0;owned\x07 harmless \u202e text", {"tool": "finish", "arguments": {"summary": "\x1b[31m"}}
    )
    monkeypatch.setenv("NO_COLOR", "1")
    outputs = [cli("run", "say hello", "--model", model, "--name", "r1")]
    outputs += [cli(*words) for words in (["log"], ["log", "--full"], ["why", "last"], ["watch", "--once"], ["ls"])]
    assert all("\x1b" not in said.out and "\x07" not in said.out and "\u202e" not in said.out for said in outputs)
    assert "␛[2J" in outputs[1].out


def test_visible_keeps_what_can_be_read() -> None:
    assert visible("Grüße, 冬, a\tb\nc") == "Grüße, 冬, a\tb\nc"
    assert visible("\x00\x7f\x9b\ud800") == "␀␡�?"


def test_a_reader_that_leaves_early(season: Cli) -> None:
    process = season.process("log", "done", "--json")
    assert process.stdout is not None
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()
