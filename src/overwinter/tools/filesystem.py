"""Files under one root: `read_file`, `list_files`, `search_files`, and on request `write_file`.

Nothing outside the root can be reached. Every path is walked one name at a time from an open descriptor of the root
with O_NOFOLLOW, so links are refused by the walk itself and not by a check beforehand: a folder swapped for a link
between check and use gains nothing. Links are refused also where they point inside: a rule without exceptions needs no
trust in what they point to. `..` and absolute paths are refused by their names.

Not covered: hard links into the root made by someone who may already write there.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ParamSpec

from pydantic import Field

from overwinter.errors import ToolError, UsageError
from overwinter.tools.effect import Effect, ToolContext, ToolResult, failure
from overwinter.tools.tool import Tool, tool

PAGE_BYTES = 16 * 1024
MAX_PAGE_BYTES = 64 * 1024
LISTED_FILES = 500
WALKED_FILES = 100_000
FOUND_LINES = 100
_LINE_BYTES = 400
_PREVIEW_BYTES = 64
_UTF8_BYTES = 4
_SPARE_BYTES = 1024  # room for the line that says how to read on

Given = ParamSpec("Given")


def files(root: str | os.PathLike[str], *, write: bool = False) -> list[Tool]:
    """The file tools for one folder.

    Args:
        root: the folder; it must exist.
        write: whether `write_file` is among them.
    """
    folder = _Folder(root)
    made = [_reader(folder), _lister(folder), _searcher(folder)]
    return [*made, _writer(folder)] if write else made


class _Folder:
    """The root, and the only way to a file below it."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise UsageError("file tools need a POSIX system (openat)", "use Linux, macOS or WSL")
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise UsageError(f"{self.root} is no folder", "create it, or give another root")

    @contextlib.contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """An open descriptor of the folder that holds `path`, and the last name of the path."""
        *folders, name = _split(path)
        at = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder, dir_fd=at)
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = below
            yield at, name
        finally:
            os.close(at)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[int]:
        """An open descriptor of the regular file at `path`."""
        with self.parent(path) as (at, name):
            # Without O_NONBLOCK, a named pipe put there by someone else would hang the tool.
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
            try:
                mode = os.fstat(opened).st_mode
                if stat.S_ISDIR(mode):
                    raise IsADirectoryError(errno.EISDIR, "it is a folder; use list_files", path)
                if not stat.S_ISREG(mode):
                    raise ToolError(f"{path!r} is no regular file", "choose another")
                yield opened
            finally:
                os.close(opened)

    def walk(self, pattern: str) -> Iterator[tuple[str, int]]:
        """Path and size of each regular file that matches, in sorted order; links are neither listed nor followed."""
        wanted = _glob(pattern)
        walked = 0
        top = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder, folders, names, at in os.fwalk(".", dir_fd=top, follow_symlinks=False):
                folders.sort()
                for name in sorted(names):
                    walked += 1
                    if walked > WALKED_FILES:
                        raise ToolError(f"there are more than {WALKED_FILES} files", "give a narrower root")
                    path = os.path.normpath(os.path.join(folder, name))
                    size = _regular_size(name, at) if wanted(path) else None
                    if size is not None:
                        yield path, size
        finally:
            os.close(top)


def _regular_size(name: str, folder: int) -> int | None:
    """Size of a regular file in an open folder; None for links and other things, or when it was deleted meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None
    return None


def _split(path: str) -> list[str]:
    """The names in a relative path."""
    if path.startswith("/") or "\0" in path:
        raise ToolError(f"{path!r} is not a path relative to the root", "leave out the leading slash")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ToolError(f"{path!r} would leave the root", "give the path from the root downwards")
    if not names:
        raise ToolError(f"{path!r} names no file", "give the path of a file, such as 'notes/plan.md'")
    return names


def _glob(pattern: str) -> Callable[[str], bool]:
    """A matcher for `*`, `?` and `[…]` within one name, and `**` for any number of folders."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]

    def skip(reached: set[int]) -> set[int]:
        for at, part in enumerate(parts):
            if at in reached and part == "**":
                reached.add(at + 1)
        return reached

    def fits(path: str) -> bool:
        # A set of places in the pattern instead of backtracking, so that no pattern is slow.
        reached = skip({0})
        for name in path.split("/"):
            live = [at for at in reached if at < len(parts)]
            stay = {at for at in live if parts[at] == "**"}
            move = {at + 1 for at in live if parts[at] != "**" and fnmatch.fnmatchcase(name, parts[at])}
            reached = skip(stay | move)
        return len(parts) in reached

    return fits


def _guarded(function: Callable[Given, ToolResult]) -> Callable[Given, ToolResult]:
    """Turn what the file system refuses into results that say what to do."""

    @functools.wraps(function)
    def answer(*args: Given.args, **kwargs: Given.kwargs) -> ToolResult:
        try:
            return function(*args, **kwargs)
        except ToolError as reason:
            return failure("denied", str(reason))
        except UnicodeError as reason:
            return failure("arguments", f"this path cannot be written as UTF-8: {reason}")
        except OSError as reason:
            where = str(kwargs.get("path", ""))
            if reason.errno in (errno.ELOOP, errno.EMLINK) or _is_link_refusal(reason):
                return failure("denied", f"{where!r}: links are not followed, and only folders can be walked through.")
            if isinstance(reason, FileNotFoundError | IsADirectoryError):
                return failure("arguments", f"{where!r}: {reason.strerror}. List what exists with list_files.")
            if isinstance(reason, PermissionError):
                return failure("denied", f"{where!r}: {reason.strerror}.")
            if reason.errno == errno.ENAMETOOLONG:
                return failure("arguments", f"the path is too long: {where[:100]!r}…")
            return failure("unavailable", f"{where!r}: {reason.strerror}.")

    return answer


def _is_link_refusal(reason: OSError) -> bool:
    # With O_DIRECTORY, Linux reports a link (or a file) in the middle of a path as ENOTDIR.
    return isinstance(reason, NotADirectoryError)


def _reader(folder: _Folder) -> Tool:
    @tool(effect=Effect.PURE, max_output_bytes=MAX_PAGE_BYTES + _SPARE_BYTES, tags=["files"])
    @_guarded
    def read_file(
        path: str,
        offset: Annotated[int, Field(ge=0)] = 0,
        limit: Annotated[int, Field(ge=_UTF8_BYTES, le=MAX_PAGE_BYTES)] = PAGE_BYTES,
    ) -> ToolResult:
        """Read a text file, a page at a time.

        Args:
            path: relative to the root.
            offset: where to begin, in bytes; take `next_offset` from the page before.
            limit: how many bytes to read at most.
        """
        with folder.reading(path) as opened:
            total_bytes = os.fstat(opened).st_size
            raw = _read_at(opened, offset, limit)
        facts: dict[str, Any] = {"path": path, "offset": offset, "total_bytes": total_bytes}
        page = _Page.cut(raw, at_start=offset == 0, at_end=offset + len(raw) >= total_bytes)
        if page is None:
            shown = raw[:_PREVIEW_BYTES]
            text = (
                f"{path!r} is not UTF-8 text at byte {offset} ({total_bytes} bytes in all).\n"
                f"The first {len(shown)} of these bytes in hex: {shown.hex(' ')}\n"
                f"As text, with � for what cannot be read: {shown.decode('utf-8', errors='replace')}"
            )
            return ToolResult(ok=True, text=text, data={**facts, "encoding": "binary"})
        next_offset = offset + page.read_bytes
        done = next_offset >= total_bytes
        note = "" if done else f"\n[… bytes {offset}–{next_offset} of {total_bytes}; go on with offset={next_offset}]"
        facts |= {"encoding": "utf-8", "next_offset": None if done else next_offset}
        return ToolResult(ok=True, text=page.text + note, data=facts)

    return read_file


@dataclass(frozen=True, slots=True)
class _Page:
    text: str
    read_bytes: int

    @classmethod
    def cut(cls, raw: bytes, *, at_start: bool, at_end: bool) -> _Page | None:
        """Decode a page whose edges may cut through a character; None if it is not UTF-8."""
        skipped = 0
        while not at_start and skipped < min(len(raw), _UTF8_BYTES - 1) and raw[skipped] & 0xC0 == 0x80:
            skipped += 1
        for cut in range(1 if at_end else _UTF8_BYTES):
            with contextlib.suppress(UnicodeDecodeError):
                return cls(raw[skipped : len(raw) - cut].decode("utf-8"), len(raw) - cut)
        return None


def _read_at(opened: int, offset: int, limit: int) -> bytes:
    parts, wanted = [], limit
    while wanted and (part := os.pread(opened, wanted, offset + limit - wanted)):
        parts.append(part)
        wanted -= len(part)
    return b"".join(parts)


def _lister(folder: _Folder) -> Tool:
    @tool(effect=Effect.PURE, tags=["files"])
    @_guarded
    def list_files(pattern: str = "**", offset: Annotated[int, Field(ge=0)] = 0) -> ToolResult:
        """List files with their sizes in bytes.

        Args:
            pattern: a glob such as `*.md` or `notes/**/*.txt`; `**` stands for any number of folders.
            offset: how many to skip; take `next_offset` from the page before.
        """
        found = [{"path": _printable(path), "bytes": size} for path, size in folder.walk(pattern)]
        page = found[offset : offset + LISTED_FILES]
        next_offset = offset + len(page) if offset + len(page) < len(found) else None
        lines = [f"{each['path']}  {each['bytes']}" for each in page] or [f"(no file matches {pattern!r})"]
        if next_offset is not None:
            lines.append(f"[… {len(found)} files in all; go on with offset={next_offset}]")
        data = {"files": page, "total": len(found), "next_offset": next_offset}
        return ToolResult(ok=True, text="\n".join(lines), data=data)

    return list_files


def _searcher(folder: _Folder) -> Tool:
    @tool(effect=Effect.PURE, tags=["files"])
    @_guarded
    def search_files(
        text: Annotated[str, Field(min_length=1)], pattern: str = "**", ignore_case: bool = False
    ) -> ToolResult:
        """Find the lines that contain a text.

        Args:
            text: what to look for, letter by letter (no regular expression).
            pattern: which files, as in list_files.
            ignore_case: whether A and a are the same.
        """
        # Not a regular expression: Python's engine holds the interpreter while it backtracks, so one bad pattern from a
        # model would stop the whole program, time limit included.
        found: list[dict[str, Any]] = []
        for path, _ in folder.walk(pattern):
            found += _matches(folder, path, text, ignore_case, FOUND_LINES + 1 - len(found))
            if len(found) > FOUND_LINES:
                break
        lines = [f"{each['path']}:{each['line']}: {each['text']}" for each in found[:FOUND_LINES]]
        if len(found) > FOUND_LINES:
            lines.append(f"[… more than {FOUND_LINES} lines; narrow the text or the pattern]")
        data = {"matches": found[:FOUND_LINES], "complete": len(found) <= FOUND_LINES}
        return ToolResult(ok=True, text="\n".join(lines) or f"(no line contains {text!r})", data=data)

    return search_files


def _matches(folder: _Folder, path: str, text: str, ignore_case: bool, wanted: int) -> list[dict[str, Any]]:
    sought = text.casefold() if ignore_case else text
    found: list[dict[str, Any]] = []
    with contextlib.suppress(OSError), folder.reading(path) as opened, os.fdopen(os.dup(opened), "rb") as stream:
        number = 0
        # A file without line ends is read in pieces, so that memory stays small; a match across a cut is missed.
        while len(found) < wanted and (raw := stream.readline(MAX_PAGE_BYTES)):
            number += 1
            line = raw.decode("utf-8", errors="replace")
            at = (line.casefold() if ignore_case else line).find(sought)
            if at >= 0:
                shown = line[max(0, at - _LINE_BYTES // 2) :][:_LINE_BYTES].strip()
                found.append({"path": _printable(path), "line": number, "text": shown})
    return found


def _writer(folder: _Folder) -> Tool:
    @tool(effect=Effect.IDEMPOTENT, tags=["files"])
    @_guarded
    def write_file(path: str, content: str, context: ToolContext) -> ToolResult:
        """Write a text file whole, replacing what it held. Missing folders are made.

        Args:
            path: relative to the root.
            content: the new content.
        """
        raw = content.encode("utf-8", errors="replace")
        # Named after the call: repeated after a crash, it takes up the same half-written file and leaves no litter.
        call = hashlib.sha256(f"{context.run} {context.entry} {context.idempotency_key} {path}".encode()).hexdigest()
        with folder.parent(path, create=True) as (at, name):
            mode = _mode_of(at, name, path)
            _replace(at, name, f".overwinter-{call[:16]}.tmp", raw, mode)
        return ToolResult(ok=True, text=f"Wrote {len(raw)} bytes to {path!r}.", data={"path": path, "bytes": len(raw)})

    return write_file


def _mode_of(at: int, name: str, path: str) -> int:
    """The permissions the new file should have; refuses to replace what is no regular file."""
    try:
        mode = os.stat(name, dir_fd=at, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0o644
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
    if not stat.S_ISREG(mode):
        raise ToolError(f"{path!r} is a link or a special file and is not replaced", "choose another path")
    return stat.S_IMODE(mode)


def _replace(at: int, name: str, temporary: str, raw: bytes, mode: int) -> None:
    """Whole or not at all, also when the power fails: write aside, sync, rename, sync the folder."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=at)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    opened = os.open(temporary, flags, 0o600, dir_fd=at)
    try:
        try:
            left = memoryview(raw)
            while left:
                left = left[os.write(opened, left) :]
            os.fchmod(opened, mode)
            os.fsync(opened)
        finally:
            os.close(opened)
        os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=at)
        raise
    os.fsync(at)


def _printable(path: str) -> str:
    """File names are bytes; those that are no UTF-8 are shown escaped (and cannot be opened by that name)."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
