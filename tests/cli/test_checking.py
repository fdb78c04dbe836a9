"""`overwinter check`: both places quoted, exit codes that a script can rely on, JSON that says the same."""

from __future__ import annotations

from pathlib import Path

from cli_kit import Cli

STORY = (
    "Anna Moll was born in 1840 and had blue eyes.\n\nIt rained for a week, and the road to the mill was deep in mud.\n\n"
    "Anna Moll had brown eyes.\n\nThey left on Monday, 4 May 1875.\n"
)


def test_contradictions_are_quoted_and_exit_with_1(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text(STORY, encoding="utf-8")
    said = cli("check", str(file))
    assert said.code == 1
    assert "line 1: “Anna Moll was born in 1840 and had blue eyes.”" in said.out
    assert "line 5: “Anna Moll had brown eyes.”" in said.out
    assert "4 May 1875 was a Tuesday" in said.out
    assert "2 contradictions in" in said.out


def test_json_gives_offsets_of_exact_quotes(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_bytes(STORY.replace("\n", "\r\n").encode())
    said = cli("check", str(file), "--json", "--kinds", "eyes")
    assert said.code == 1
    *findings, summary = said.records
    assert [(one["type"], one["kind"], one["category"]) for one in findings] == [("finding", "eyes", "factual detail")]
    text = file.read_bytes().decode()
    for side in ("first", "second"):
        quoted = findings[0][side]
        assert text[quoted["first"] : quoted["last"]] == quoted["text"]
    assert (summary["type"], summary["status"], summary["contradictions"]) == ("summary", "checked", 1)
    assert summary["per_10000_words"]["low"] < summary["per_10000_words"]["value"] < summary["per_10000_words"]["high"]


def test_a_consistent_text_exits_with_0(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text("Anna Moll had blue eyes.\n", encoding="utf-8")
    said = cli("check", str(file))
    assert (said.code, "0 contradictions" in said.out) == (0, True)


def test_what_could_not_be_checked_does_not_exit_with_0(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(
        "Der Hof lag still, und niemand ging über die nasse Straße hinter dem alten Haus vorbei. " * 3, encoding="utf-8"
    )
    said = cli("check", str(file))
    assert (said.code, "not checked" in said.out) == (4, True)


def test_what_cannot_be_read_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    said = cli("check", str(tmp_path / "none.txt"))
    assert (said.code, "→" in said.err) == (2, True)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    said = cli("check", str(tmp_path / "latin.txt"))
    assert (said.code, "iconv" in said.err) == (2, True)
    said = cli("check", str(tmp_path / "latin.txt"), "--kinds", "tone")
    assert (said.code, "use some of" in said.err) == (2, True)


def test_a_model_that_answers_out_of_form_is_no_clean_bill(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("Anna Moll had blue eyes.\n", encoding="utf-8")
    (tmp_path / "script.json").write_text('["I see nothing wrong."]', encoding="utf-8")
    said = cli("check", "story.txt", "--model", "script:script.json")
    assert (said.code, "partly checked: 5 of 5 questions" in said.out) == (4, True)
    (tmp_path / "script.json").write_text('["{\\"statements\\": [], \\"pairs\\": []}"]', encoding="utf-8")
    said = cli("check", "story.txt", "--model", "script:script.json", "--json")
    model, summary = said.records
    assert (said.code, model["asked"], model["failed"], summary["status"]) == (0, 5, {}, "checked")
