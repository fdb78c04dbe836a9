"""`overwinter memory …` as one types it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_kit import Cli, Said

from overwinter.cli.when import age_text, date_text, parse_time
from overwinter.errors import UsageError

CHAT = [
    {"role": "user", "content": "My name is Reinhold and I live in Graz.", "time": "2031-04-07T10:00:00Z"},
    {"role": "assistant", "content": "Nice to meet you, Reinhold.", "time": "2031-04-07T10:00:05Z"},
    {"role": "user", "content": "I keep the spare key under the third flower pot.", "time": "2031-04-08T10:00:00Z"},
    {"role": "user", "content": "The boiler was cleaned by Eva.", "time": "2031-05-01T09:00:00Z"},
]


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """`memory("search", …)` in a folder of its own, with a chat imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "overwinter.toml").write_text('store = "journal.db"\nby = "Ada"\n')
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, CHAT)), "utf-8")
    cli = Cli(monkeypatch)

    def call(*words: str) -> Said:
        return cli("memory", *words)

    said = call("import", "chat.jsonl", "--json")
    assert (said.code, said.record["written"]) == (0, 4), said.err
    return call


def test_importing_twice_changes_nothing(memory: Callable[..., Said]) -> None:
    said = memory("import", "chat.jsonl")
    assert said.out == "took in 0 of 4; 4 were here already\n"
    assert memory("import", "none.jsonl").code == 2
    assert memory("import", "chat.jsonl", "--as", "poem").code == 2


def test_timeline_shows_times_in_words_and_citations(memory: Callable[..., Said]) -> None:
    said = memory("timeline")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("memory-default#2  2031-04-07 10:00, ")
    assert lines[1].strip() == CHAT[0]["content"]
    texts = [
        record["text"] for record in memory("timeline", "--since", "2031-04-08", "--until", "2031-04", "--json").records
    ]
    assert texts == [CHAT[2]["content"]]
    newest = memory("timeline", "--newest", "--limit", "1", "--json").record
    assert newest["cite"] == "memory-default#5"
    assert memory("timeline", "--known", "2020-01-01", "--json").out == ""
    assert memory("timeline", "--actor", "agent", "--json").record["text"] == CHAT[1]["content"]
    assert memory("timeline", "--digests", "hour").code == 2
    assert memory("timeline", "--since", "whenever").code == 2


def test_show_prints_a_unit_whole_and_its_neighbours(memory: Callable[..., Said]) -> None:
    record = memory("show", "memory-default#4", "--json").record
    assert (record["text"], record["actor"], record["session"]) == (CHAT[2]["content"], "user", "chat")
    assert memory("show", record["id"], "--json").record == record
    around = memory("show", "memory-default#4", "--around", "1", "--json").records
    assert [each["cite"] for each in around] == ["memory-default#3", "memory-default#4", "memory-default#5"]
    missing = memory("show", "memory-default#99")
    assert missing.code == 2
    assert "→" in missing.err
    assert memory("show", "f" * 32).code == 2


def test_why_traces_a_unit_to_its_entry(memory: Callable[..., Said]) -> None:
    said = memory("why", "memory-default#4")
    assert "said by entry memory-default#4 (observed), characters 0–48" in said.out
    record = memory("why", "memory-default#4", "--json").record
    assert record["kind"] == "observed"
    assert len(record["entry_hash"]) == 64


def test_stats_and_rebuild(memory: Callable[..., Said]) -> None:
    before = memory("stats", "--json").record
    assert (before["namespace"], before["units"], before["behind"]) == ("default", 4, 0)
    said = memory("rebuild", "--json").record
    assert (said["units"], said["rebuilt"]) == (4, True)
    after = memory("stats", "--json").record
    assert {key: after[key] for key in after if key != "bytes"} == {
        key: before[key] for key in before if key != "bytes"
    }
    assert "units" in memory("stats").out


def test_check_finds_what_searching_does_not_meet(memory: Callable[..., Said], tmp_path: Path) -> None:
    assert memory("check", "--json").record["found"] == []
    (path,) = tmp_path.rglob("*.memory/default.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE texts SET text = 'another text' WHERE num = 0")
    said = memory("check", "--json").record
    assert said["rebuilt"]
    assert said["found"]
    assert memory("check", "--json").record["found"] == []
    assert "as they were written" in memory("check").out


def test_erase_says_first_and_does_it_with_yes(memory: Callable[..., Said], tmp_path: Path) -> None:
    planned = memory("erase", "--words", "SPARE key")
    assert planned.code == 0
    assert "would erase 1 entries" in planned.out
    assert "nothing was erased" in planned.out
    assert memory("show", "memory-default#4").code == 0
    done = memory("erase", "--words", "SPARE key", "--reason", "he asked us to", "--yes")
    assert done.code == 0, done.err
    assert "0 bytes left" in done.out
    assert memory("show", "memory-default#4").code == 2
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("journal.db*") if path.is_file())
    assert b"flower pot" not in raw
    assert memory("erase").code == 2
    assert memory("erase", "nonsense#x").code == 2


def test_erase_keeps_and_names_echoes(memory: Callable[..., Said]) -> None:
    memory("write", f"He said: {CHAT[2]['content']}", "--session", "notes")
    record = memory("erase", "memory-default#4", "--keep-echoes", "--yes", "--json")
    assert record.code == 1
    assert record.record["kept"] == {"memory-default#6": "asked to keep it"}
    assert record.record["clean"] is False
    done = memory("erase", "memory-default#6", "--yes", "--json")
    assert (done.code, done.record["clean"]) == (0, True)


def test_notes_are_written_with_their_time_and_citations(memory: Callable[..., Said]) -> None:
    said = memory("write", "The pump is loud.", "--happened", "2031-06", "--cite", "memory-default#5", "--json").record
    assert said["body"]["cites"] == ["memory-default#5"]
    assert said["body"]["by"] == "person:Ada"
    (found,) = memory("timeline", "--since", "2031-06", "--json").records
    assert (found["text"], found["actor"]) == ("The pump is loud.", "person:Ada")
    assert memory("write", "x", "--cite", "7").code == 2


def test_core_blocks_are_set_listed_and_taken_out(memory: Callable[..., Said]) -> None:
    assert memory("core", "preferences", "short answers").out.startswith("set core block preferences")
    assert memory("core", "--json").record == {
        "name": "preferences",
        "text": "short answers",
        "by": "person:Ada",
        "approved_by": "person:Ada",
    }
    assert "short answers" in memory("core", "preferences").out
    assert memory("core", "none").code == 2
    assert memory("core", "--remove").code == 2
    assert memory("core", "preferences", "--remove").code == 0
    assert memory("core", "--json").out == ""


def test_policies_are_set_applied_and_lifted(memory: Callable[..., Said]) -> None:
    assert (
        memory("policy", "old", "--older-than", "0s", "--kind", "message").out
        == "policy old: erase message older than 0.0 s\n"
    )
    assert memory("policy", "keep", "--session", "chat", "--hold").out == "policy keep: hold chat\n"
    assert [each["name"] for each in memory("policy", "--json").records] == ["old", "keep"]
    assert memory("policy", "--apply", "--json").record["held"] == 4
    refused = memory("erase", "memory-default#4", "--yes")
    assert (refused.code, "policy 'keep' holds" in refused.err, "--lift" in refused.err) == (2, True, True)
    assert memory("policy", "keep", "--lift").code == 0
    done = memory("policy", "--apply", "--yes", "--json").record
    assert (done["policy"], done["entries"], done["held"]) == ("old", 4, 0)
    for wrong in (["--apply", "old"], ["--lift"], ["nameless", "--lift"], ["a", "--hold", "--max-units", "3"]):
        assert memory("policy", *wrong).code == 2, wrong


def test_another_namespace_needs_a_grant(memory: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERWINTER_MEMORY__NAMESPACE", "bob")
    assert memory("stats", "--json").record["units"] == 0
    refused = memory("timeline", "--namespace", "default")
    assert (refused.code, "may not read" in refused.err) == (2, True)
    monkeypatch.setenv("OVERWINTER_MEMORY__NAMESPACE", "default")
    assert memory("grant", "bob").out == "bob may read default\n"
    assert memory("grant", "--json").record == {"reader": "bob", "namespace": "default"}
    monkeypatch.setenv("OVERWINTER_MEMORY__NAMESPACE", "bob")
    assert len(memory("timeline", "--namespace", "default", "--json").records) == 4
    monkeypatch.setenv("OVERWINTER_MEMORY__NAMESPACE", "default")
    assert memory("grant", "bob", "--revoke").code == 0
    assert memory("grant", "--revoke").code == 2
    monkeypatch.setenv("OVERWINTER_MEMORY__NAMESPACE", "../default")
    assert memory("stats").code == 2


def test_exports_are_taken_in_elsewhere(memory: Callable[..., Said]) -> None:
    assert memory("export", "x.jsonl", "--json").record["counts"]["unit"] == 4
    assert "4 units" in memory("export", "x.jsonl").out
    assert memory("export", "--journal", "j.jsonl").code == 0
    first = memory("import", "x.jsonl", "--store", "other.db", "--json").record
    assert (first["written"], first["known"]) == (4, 0)
    assert memory("import", "x.jsonl", "--store", "other.db", "--json").record["written"] == 0
    moved = memory("import", "j.jsonl", "--store", "third.db")
    assert "took in 6 of 6 entries of 1 runs" in moved.out
    assert memory("stats", "--store", "third.db", "--json").record["units"] == 4


def test_diff_tells_what_was_told(memory: Callable[..., Said]) -> None:
    record = memory("diff", "--from", "1h", "--units", "2", "--json").record
    assert record["units"] == 4
    assert [unit["text"] for unit in record["newest"]] == [row["content"] for row in CHAT[2:]]
    assert memory("diff", "--from", "1h").code == 0
    assert memory("diff", "--from", "now", "--to", "1h").code == 2


def test_search_answers_with_citations_and_scores(memory: Callable[..., Said]) -> None:
    said = memory("search", "where is the spare key?")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert "memory-default#4  2031-04-08 10:00, " in lines[0]
    assert lines[1].strip() == CHAT[2]["content"]
    assert lines[2].strip().startswith("found by lexical ")
    *hits, rest = memory("search", "where is the spare key?", "-k", "2", "--json").records
    assert [hits[0]["cite"], len(hits) <= 2, rest["answer"]] == ["memory-default#4", True, len(hits)]
    assert hits[0]["channels"].keys() <= {"lexical", "dense", "session", "time", "entity", "recent"}
    for options in (["--until", "2031-04-07"], ["--as-of", "2031-04-07"], ["--known", "2020"], ["--actor", "agent"]):
        found = memory("search", "where is the spare key?", *options, "--json").records[:-1]
        assert "memory-default#4" not in [hit["cite"] for hit in found], options
    assert "memory holds nothing" in memory("search", "xyzzy", "--session", "none").out


NOW = round(datetime(2031, 4, 7, 12, tzinfo=UTC).timestamp()) * 1_000_000
DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2031-04-07", "2031-04-07", "2031-04-08"),
        ("2031-04", "2031-04-01", "2031-05-01"),
        ("2031-12", "2031-12-01", "2032-01-01"),
        ("2031", "2031-01-01", "2032-01-01"),
        ("2031-04-07T12:30:00+00:00", "2031-04-07T12:30:00", "2031-04-07T12:30:00"),
    ],
)
def test_times_are_read(text: str, first: str, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")

    def us(moment: str) -> int:
        return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000

    assert parse_time(text, NOW) == us(first)
    assert parse_time(text, NOW, end=True) == us(last)


def test_ages_and_words_are_times_too() -> None:
    assert parse_time("2d", NOW) == parse_time("2d ago", NOW) == NOW - 2 * DAY
    assert parse_time("now", NOW) == NOW
    yesterday = parse_time("yesterday", NOW), parse_time("yesterday", NOW, end=True)
    assert yesterday[1] - yesterday[0] == DAY
    assert yesterday[0] < NOW - DAY // 2 <= yesterday[1]
    with pytest.raises(UsageError, match="is no time"):
        parse_time("soon, perhaps", NOW)


def test_ages_are_words() -> None:
    ages = [0, 59, 60, 7200, 3 * 86_400, 8 * 86_400, 70 * 86_400, 800 * 86_400, -3600]
    said = [age_text(age * 1_000_000) for age in ages]
    assert said == [
        *("just now", "just now", "1 minute ago", "2 hours ago", "3 days ago"),
        *("1 week ago", "2 months ago", "2 years ago", "in 1 hour"),
    ]
    assert date_text(-(10**18)) == "always"
