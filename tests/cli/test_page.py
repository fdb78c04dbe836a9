"""The HTML page: nothing hostile gets through, nothing is loaded, long runs fit, damage is said."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cli_kit import Cli

from overwinter.cli.page.digest import CURVE_POINTS, FIRST_ROWS, LAST_ROWS, Curve
from overwinter.journal import Draft, open_store

HOSTILE = (
    "</pre></details><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31m <style>*{display:none}</style>"
)
ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "footer",
        "section",
        "div",
        "p",
        "h1",
        "h2",
        "h3",
    ),
    *(
        "span",
        "b",
        "i",
        "a",
        "code",
        "pre",
        "ul",
        "ol",
        "li",
        "details",
        "summary",
        "figure",
        "figcaption",
        "svg",
        "path",
    ),
    *("label", "input", "time"),
}


class Page(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page_of(cli: Cli, run: str = "last") -> str:
    assert cli("log", run, "--html", "page.html").code == 0
    return Path("page.html").read_text("utf-8")


def check_safe(text: str) -> None:
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for _, attributes in page.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in {"src", "srcdoc", "style", "xlink:href"}
        ]
        assert (attributes.get("href") or "#").startswith("#")
    assert len(re.findall("<style", text)) == 1
    assert not re.search(r"url\(|@import|https?://", text.partition("</style>")[0])
    assert "default-src 'none'" in text


@pytest.fixture
def hostile(cli: Cli, script, tmp_path: Path) -> Cli:
    """A run "r1" in which everything a model, a tool or a person can say is hostile."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.txt").write_text(HOSTILE)
    model = script(
        HOSTILE,
        {"tool": "read_file", "arguments": {"path": "a.txt"}},
        {"tool": "write_file", "arguments": {"path": "b.txt", "content": HOSTILE}},
        {"tool": "ask_person", "arguments": {"question": HOSTILE}},
        {"tool": "commit_to", "arguments": {"text": HOSTILE}},
        {"tool": "finish", "arguments": {"summary": HOSTILE}},
    )
    judge = script(f'{{"met": false, "entries": [], "note": "{HOSTILE.replace(chr(27), "")}"}}', name="judge.json")
    cli(
        *("run", HOSTILE, "--model", model, "--judge", judge, "--accept", HOSTILE, "--write-files", "w"),
        *("--ask", "write_file", "--name", "r1", "--budget", "tokens=100k,calls=9"),
    )
    cli("deny", "r1", "--reason", HOSTILE, "--by", HOSTILE)
    cli("resume", "r1")
    cli("resume", "r1", "--say", HOSTILE)
    return cli


def test_hostile_text_is_text(hostile: Cli) -> None:
    text = page_of(hostile)
    check_safe(text)
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 8
    assert "\x1b" not in text


def test_a_season(season: Cli) -> None:
    text = page_of(season)
    check_safe(text)
    page = Page(text)
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and attributes.get("href")}
    assert links <= ids
    assert {"show-decided", "show-gates", "show-books", "e0"} <= ids
    assert sum(tag == "svg" for tag, _ in page.tags) == 3
    assert "Verdict at" in text
    assert "scripted heuristic" in text
    assert 'class="badge verified"' in text


def test_gates_and_answers(cli: Cli) -> None:
    cli("run", "--world", "greenhouse:days=30", "--ask", "orders", "--name", "r1")
    assert "waits for an approval" in page_of(cli)
    cli("deny", "r1", "--reason", "too dear", "--by", "Ada")
    cli("resume", "r1", "--max-steps", "2")
    text = page_of(cli)
    check_safe(text)
    assert "Gates and approvals" in text
    assert "by Ada “too dear”" in text


def test_a_long_run_is_cut_and_says_so(cli: Cli) -> None:
    cli("run", "--world", "greenhouse:days=20", "--name", "r1", "--max-steps", "2")
    store = open_store("overwinter.db")
    lease = store.acquire("r1", "test", 60)
    body = {"source": "test", "text": {"text": "nothing new"}, "data": {}}
    extra = FIRST_ROWS + LAST_ROWS + 2000
    store.append("r1", [Draft(kind="observed", body=body)] * extra, fence=lease.fence)
    store.release(lease)
    store.close()
    text = page_of(cli)
    check_safe(text)
    assert text.count('<li id="e') <= FIRST_ROWS + LAST_ROWS
    assert re.search(r"\d,\d{3} entries not shown here", text)


def test_curves_are_thinned_but_keep_their_end() -> None:
    curve = Curve()
    for seq in range(100_000):
        curve.add(seq, float(seq))
    assert len(curve.points) <= 2 * CURVE_POINTS + 1
    assert curve.points[-1] == (99_999, 99_999.0)
    assert (curve.bottom, curve.top) == (0.0, 99_999.0)


def test_a_thinned_mean_keeps_the_level() -> None:
    curve = Curve(mean=True)
    for seq in range(100_000):
        curve.add(seq, seq % 50 / 50)
    assert all(abs(value - 0.49) < 0.2 for _, value in curve.points[:-1])


def test_a_file_that_cannot_be_written(season: Cli) -> None:
    said = season("log", "done", "--html", "/proc/nothing/page.html")
    assert said.code == 2
    assert "cannot be written" in said.err
