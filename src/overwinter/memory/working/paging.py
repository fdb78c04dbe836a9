"""Content in pages of limited size, cut at line ends where lines are short enough."""

from __future__ import annotations

from collections.abc import Callable


def pages(text: str, limit: int, count: Callable[[str], int]) -> list[str]:
    """`text` in pages of at most `limit` tokens each (a single character may have more). Joined, they are the text again.

    Args:
        count: tokens of a text.
    """
    found: list[str] = []
    page, held = "", 0
    for line in text.splitlines(keepends=True):
        # A long line in small parts, or most of a page stays empty behind the half of it that fits.
        for part in [line] if count(line) <= limit else _parts(line, max(1, limit // 8), count):
            size = count(part)
            if page and held + size > limit:
                found.append(page)
                page, held = "", 0
            page, held = page + part, held + size
    return [*found, page] if page or not found else found


def _parts(line: str, limit: int, count: Callable[[str], int]) -> list[str]:
    """A line, halved between words until each part fits."""
    if len(line) < 2 or count(line) <= limit:
        return [line]
    middle = line.rfind(" ", 1, len(line) // 2) + 1 or len(line) // 2
    return [*_parts(line[:middle], limit, count), *_parts(line[middle:], limit, count)]
