"""Where commands print: lines for people, or one JSON object per line for programs.

What comes from a model, a tool or a web page may hold escape sequences that repaint a terminal. `visible` shows them instead
of sending them; every line printed here goes through it. rich decides about colour: none where NO_COLOR is set or the output
is not a terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_CONTROL |= {127: "␡", **dict.fromkeys(range(0x80, 0xA0), "�")}
# Marks that reorder what stands beside them: a denied command could read as a harmless one.
_CONTROL |= dict.fromkeys([0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�")
PIPE_WIDTH = 200


def visible(text: str) -> str:
    """`text` with control characters and direction marks shown as symbols; lone surrogates replaced."""
    return text.translate(_CONTROL).encode("utf-8", "replace").decode("utf-8")


def one_line(text: str, chars: int = 120) -> str:
    """`text` on one line of at most `chars` characters."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= chars else text[: chars - 1] + "…"


class Output:
    """Standard output of one command.

    Args:
        as_json: print records only; lines and tables are for people and say nothing then.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        width = None if sys.stdout.isatty() else PIPE_WIDTH
        return Console(highlight=False, markup=False, emoji=False, width=width)

    def record(self, record: Mapping[str, Any]) -> None:
        """One JSON line, at once; nothing without --json."""
        if self.as_json:
            sys.stdout.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people; nothing with --json."""
        if not self.as_json:
            self.console.print(visible(text), style=style or None, soft_wrap=True)

    def piece(self, text: str) -> None:
        """A piece of a line that is still being written, at once; nothing with --json."""
        if not self.as_json:
            sys.stdout.write(visible(text))
            sys.stdout.flush()

    def parts(self, parts: Iterable[tuple[str, str]]) -> None:
        """A line of (text, style) parts, cut at the terminal's edge."""
        if self.as_json:
            return
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        for part, style in parts:
            text.append(visible(part), style=style)
        self.console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[str]], *, right: Iterable[str] = ()) -> None:
        """A table without lines; the last column takes what room is left."""
        if self.as_json:
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="dim")
        names = list(columns)
        for name in names:
            last = name == names[-1]
            table.add_column(
                name, justify="right" if name in right else "left", no_wrap=True, ratio=1 if last else None
            )
        for row in rows:
            table.add_row(*(visible(cell) for cell in row))
        self.console.print(table)


def note(text: str) -> None:
    """A line on standard error: progress and advice, never data."""
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


class Progress:
    """Progress of long work on standard error: a line that repaints itself on a terminal, a line every 10 s elsewhere."""

    EVERY_S = (0.1, 10.0)

    def __init__(self, what: str) -> None:
        self.what = what
        self._tty = sys.stderr.isatty()
        self._next = time.monotonic() + self.EVERY_S[not self._tty]
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next, self._shown = time.monotonic() + self.EVERY_S[not self._tty], True
        sys.stderr.write(f"\r{self.what}: {done} of {total}" if self._tty else f"{self.what}: {done} of {total}\n")
        sys.stderr.flush()

    def done(self) -> None:
        if self._shown and self._tty:
            sys.stderr.write("\r\x1b[K")
