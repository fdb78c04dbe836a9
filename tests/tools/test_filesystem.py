"""File tools: pages, links, escapes, atomic writes. Escapes are tried on a real tree with a secret beside the root."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.tools import Effect, Toolbox, ToolContext, ToolResult
from overwinter.tools.filesystem import FOUND_LINES, LISTED_FILES, MAX_PAGE_BYTES, files

SECRET = "the secret beside the root"
CONTEXT = ToolContext(run="r", entry=1, idempotency_key="k")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a link of every kind that leads out of it."""
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(SECRET)
    inside = tmp_path / "root"
    (inside / "notes").mkdir(parents=True)
    (inside / "notes" / "plan.md").write_text("sow kale\nbuy fuel\n")
    (inside / "link").symlink_to(tmp_path / "secret.txt")
    (inside / "door").symlink_to(tmp_path / "outside")
    (inside / "notes" / "up").symlink_to("../..")
    (inside / "self").symlink_to("notes/plan.md")
    (inside / "dangling").symlink_to(tmp_path / "made-by-write")
    return inside


def call(root: Path, name: str, **arguments: Any) -> ToolResult:
    return Toolbox(files(root, write=True)).call(name, arguments, CONTEXT)


ESCAPES = [
    "../secret.txt",
    "notes/../../secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "link",
    "door/secret.txt",
    "notes/up/secret.txt",
    "notes/up/root/notes/plan.md",
    "self",
    "./././../secret.txt",
    "notes/plan.md/..",
    "..",
    "a\0b",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_known_escapes_are_denied_for_reading_and_writing(root: Path, path: str) -> None:
    for result in (call(root, "read_file", path=path), call(root, "write_file", path=path, content="x")):
        assert (result.ok, result.error) == (False, "denied")
        assert SECRET not in result.text
    assert (root.parent / "secret.txt").read_text() == SECRET
    assert (root / "self").is_symlink()


names = st.sampled_from(
    ["..", ".", "", "notes", "plan.md", "up", "link", "door", "self", "secret.txt", "root", "new", "~"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(parts=st.lists(names, max_size=6), absolute=st.booleans())
def test_no_path_reads_or_changes_anything_outside(root: Path, parts: list[str], absolute: bool) -> None:
    path = ("/" if absolute else "") + "/".join(parts)
    assert SECRET not in call(root, "read_file", path=path).text
    call(root, "write_file", path=path, content="changed")
    for secret in [root.parent / "secret.txt", root.parent / "outside" / "secret.txt"]:
        assert secret.read_text() == SECRET
    assert sorted(os.listdir(root.parent)) == ["outside", "root", "secret.txt"]


def test_a_folder_swapped_for_a_link_while_reading_gains_nothing(root: Path) -> None:
    """The race that a check beforehand loses: the path is good when looked at and bad when opened."""
    swap, away, stop = root / "swap", root / "away", threading.Event()
    swap.mkdir()
    (swap / "secret.txt").write_text("harmless")

    def swapping() -> None:
        while not stop.is_set():
            swap.rename(away)
            swap.symlink_to(root.parent / "outside")
            swap.unlink()
            away.rename(swap)

    thread = threading.Thread(target=swapping)
    thread.start()
    reader = files(root)[0].function
    try:
        texts = {reader(path="swap/secret.txt").text for _ in range(2_000)}
    finally:
        stop.set()
        thread.join()
    # How often the folder is in place depends on the machine's load; that the read works at all does not.
    assert reader(path="swap/secret.txt").text == "harmless"
    assert not any(SECRET in text for text in texts)


def test_listing_and_searching_do_not_follow_links(root: Path) -> None:
    assert [each["path"] for each in call(root, "list_files").data["files"]] == ["notes/plan.md"]
    assert call(root, "search_files", text="secret").data["matches"] == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.text(max_size=200), limit=st.integers(min_value=4, max_value=20))
def test_pages_join_to_the_whole_file(tmp_path: Path, content: str, limit: int) -> None:
    content = content.encode("utf-8", errors="ignore").decode()
    (tmp_path / "f.txt").write_bytes(content.encode())
    read, offset, joined = files(tmp_path)[0], 0, ""
    while offset is not None:
        result = read.call({"path": "f.txt", "offset": offset, "limit": limit}, CONTEXT)
        assert result.data["encoding"] == "utf-8"
        assert offset < (result.data["next_offset"] or len(content.encode()) + 1), "each page goes forward"
        offset = result.data["next_offset"]
        joined += result.text.rpartition("\n[… bytes")[0] if offset is not None else result.text
    assert joined == content


def test_a_huge_file_is_read_by_pages_without_loading_it(root: Path) -> None:
    with open(root / "huge.log", "wb") as stream:
        stream.truncate(1 << 40)  # sparse: a terabyte that takes no room
        stream.seek((1 << 40) - 4)
        stream.write(b"last")
    first = call(root, "read_file", path="huge.log")
    assert first.data["total_bytes"] == 1 << 40
    assert f"offset={first.data['next_offset']}" in first.text
    last = call(root, "read_file", path="huge.log", offset=(1 << 40) - 4)
    assert (last.text, last.data["next_offset"]) == ("last", None)
    beyond = call(root, "read_file", path="huge.log", offset=1 << 41)
    assert (beyond.ok, beyond.text, beyond.data["next_offset"]) == (True, "", None)


def test_the_largest_page_fits_the_output_limit(root: Path) -> None:
    (root / "big").write_text("x" * (MAX_PAGE_BYTES + 10))
    result = call(root, "read_file", path="big", limit=MAX_PAGE_BYTES)
    assert result.truncated_bytes == 0
    assert result.data["next_offset"] == MAX_PAGE_BYTES


def test_a_file_that_is_no_text_is_reported_with_a_preview(root: Path) -> None:
    (root / "image").write_bytes(b"\x89PNG\xff\xfe rest")
    result = call(root, "read_file", path="image")
    assert result.ok
    assert result.data["encoding"] == "binary"
    assert "not UTF-8" in result.text
    assert "89 50 4e 47 ff fe" in result.text
    assert "PNG" in result.text


def test_what_is_missing_or_no_file_is_said_plainly(root: Path) -> None:
    os.mkfifo(root / "pipe")
    for path, error, says in [
        ("nothing.md", "arguments", "No such file"),
        ("notes", "arguments", "folder"),
        ("pipe", "denied", "no regular file"),
        ("notes/plan.md/deeper", "denied", "only folders"),
        ("x" * 300, "arguments", "too long"),
        ("", "denied", "names no file"),
    ]:
        result = call(root, "read_file", path=path)
        assert (result.ok, result.error) == (False, error), path
        assert says in result.text


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["a.md", "b.txt", "d/c.md", "d/e/f.md"]),
        ("*", ["a.md", "b.txt"]),
        ("*.md", ["a.md"]),
        ("**/*.md", ["a.md", "d/c.md", "d/e/f.md"]),
        ("d/**", ["d/c.md", "d/e/f.md"]),
        ("d/*", ["d/c.md"]),
        ("**/e/*", ["d/e/f.md"]),
        ("?.[mt]*", ["a.md", "b.txt"]),
        ("**/" * 50 + "f.md", ["d/e/f.md"]),
        ("*a*" * 200, []),
        ("x", []),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for path in ["a.md", "b.txt", "d/c.md", "d/e/f.md"]:
        (tmp_path / path).write_text("x")
    assert [each["path"] for each in call(tmp_path, "list_files", pattern=pattern).data["files"]] == expected


def test_long_lists_come_in_pages(tmp_path: Path) -> None:
    for n in range(LISTED_FILES + 3):
        (tmp_path / f"{n:04}").touch()
    first = call(tmp_path, "list_files")
    rest = call(tmp_path, "list_files", offset=first.data["next_offset"])
    assert len(first.data["files"]) == LISTED_FILES
    assert [each["path"] for each in rest.data["files"]] == ["0500", "0501", "0502"]
    assert f"offset={LISTED_FILES}" in first.text


def test_a_file_name_that_is_no_utf8_does_not_break_the_list(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).touch()
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    assert "bad\\xff" in call(tmp_path, "list_files").text


def test_search_names_file_and_line_and_stops_in_time(root: Path) -> None:
    found = call(root, "search_files", text="KALE", ignore_case=True)
    assert found.text == "notes/plan.md:1: sow kale"
    (root / "many").write_text("kale\n" * 1_000)
    (root / "binary").write_bytes(b"\xff\xfe kale")
    many = call(root, "search_files", text="kale")
    assert len(many.data["matches"]) == FOUND_LINES
    assert many.data["complete"] is False
    assert "narrow" in many.text
    assert call(root, "search_files", text="kale", pattern="binary").data["matches"][0]["line"] == 1
    assert "no line contains" in call(root, "search_files", text="turnip").text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.text(max_size=100))
def test_what_was_written_is_read_back(tmp_path: Path, content: str) -> None:
    assert call(tmp_path, "write_file", path="a/b/c.txt", content=content).ok
    assert (tmp_path / "a/b/c.txt").read_bytes() == content.encode()
    assert os.listdir(tmp_path / "a/b") == ["c.txt"], "no temporary file stays"


def test_writing_keeps_permissions_and_cuts_hard_links(root: Path) -> None:
    target = root / "run.sh"
    target.write_text("old")
    target.chmod(0o750)
    os.link(target, root.parent / "hard")
    assert call(root, "write_file", path="run.sh", content="new").ok
    assert target.stat().st_mode & 0o777 == 0o750
    assert (root.parent / "hard").read_text() == "old"


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(opened: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = call(root, "write_file", path="notes/plan.md", content="new")
    assert (result.ok, result.error) == (False, "unavailable")
    assert "No space left" in result.text
    assert (root / "notes/plan.md").read_text() == "sow kale\nbuy fuel\n"
    assert sorted(os.listdir(root / "notes")) == ["plan.md", "up"]


def test_a_write_repeated_after_a_crash_takes_up_its_own_temporary_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        assert call(root, "write_file", path="new.md", content="one").error == "crash"
    assert len([name for name in os.listdir(root) if name.endswith(".tmp")]) == 1
    assert call(root, "write_file", path="new.md", content="one").ok
    assert [name for name in os.listdir(root) if name.endswith(".tmp")] == []


def test_reading_is_pure_writing_is_idempotent_and_only_on_request(root: Path) -> None:
    assert {each.name: each.effect for each in files(root)} == dict.fromkeys(
        ["read_file", "list_files", "search_files"], Effect.PURE
    )
    assert files(root, write=True)[-1].effect is Effect.IDEMPOTENT
    with pytest.raises(UsageError, match="no folder"):
        files(root / "missing")
