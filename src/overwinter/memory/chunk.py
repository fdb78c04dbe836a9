"""Long texts in pieces: at paragraphs where that works, else at lines, sentences, words. Every piece is an exact span of the text.

A piece is not more than `CHUNK_CHARS` long unless something that must not be cut is. Spans leave out the white space around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

CHUNK_TOKENS = 220
CHUNK_CHARS = 4 * (CHUNK_TOKENS - 1) + 3
"""The longest text that `rough_tokens` counts as `CHUNK_TOKENS`. Embedders of sentences read 256 tokens or more."""

_BORDERS = tuple(
    re.compile(border) for border in (r"\n\s*\n+", r"\n", r"(?<=[.!?。！？])[\"')\]]*\s+|(?<=[。！？])", r"\s+")
)
"""Where a text may be cut, the best places first; the cut is at the end of the match."""

Range = tuple[int, int]


def chunks(text: str, whole: Sequence[Range] = (), apart: Sequence[Range] = ()) -> list[Range]:
    """Half-open spans that hold all of the text but white space between them, in order.

    Args:
        whole: ranges that are never cut (a secret, of which half would be no secret to the redactor).
        apart: ranges that get spans of their own (what repeats recalled text, within a text that says more).
    """
    found: list[Range] = []
    whole = _merged(whole)
    for first, last in _stretches(len(text), _not_through(apart, whole)):
        found += _packed(text, first, last, whole)
    return found


def _not_through(apart: Sequence[Range], whole: Sequence[Range]) -> list[Range]:
    """Ranges grown to the ends of the uncut ranges they touch."""
    grown: list[Range] = []
    for first, last in apart:
        touched = [(start, end) for start, end in whole if start < last and first < end]
        grown.append((min([first, *(start for start, _ in touched)]), max([last, *(end for _, end in touched)])))
    return _merged(grown)


def _merged(ranges: Sequence[Range]) -> list[Range]:
    """Ranges in order, those that share a character joined."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _stretches(length: int, apart: Sequence[Range]) -> Iterator[Range]:
    at = 0
    for first, last in apart:
        yield at, first
        yield first, last
        at = last
    yield at, length


def _packed(text: str, first: int, last: int, whole: Sequence[Range]) -> list[Range]:
    """Pieces of one stretch: as many small parts together as fit."""
    found: list[Range] = []
    for start, end in _parts(text, first, last, whole, 0):
        if found and end - found[-1][0] <= CHUNK_CHARS:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    trimmed = (_trim(text, start, end) for start, end in found)
    return [(start, end) for start, end in trimmed if start < end]


def _parts(text: str, first: int, last: int, whole: Sequence[Range], level: int) -> Iterator[Range]:
    """A stretch taken apart at ever smaller borders until each part fits; cuts inside `whole` are left out."""
    if last - first <= CHUNK_CHARS:
        yield first, last
        return
    if level == len(_BORDERS):
        yield from _hard_cuts(first, last, whole)
        return
    at = first
    for border in _BORDERS[level].finditer(text, first, last):
        cut = border.end()
        if at < cut < last and not _inside(cut, whole):
            yield from _parts(text, at, cut, whole, level + 1)
            at = cut
    yield from _parts(text, at, last, whole, level + 1)


def _hard_cuts(first: int, last: int, whole: Sequence[Range]) -> Iterator[Range]:
    """A word longer than a piece."""
    at = first
    while at < last:
        cut = min(at + CHUNK_CHARS, last)
        cut = next((end for start, end in whole if start < cut < end), cut)
        cut = min(cut, last)
        yield at, cut
        at = cut


def _inside(cut: int, whole: Sequence[Range]) -> bool:
    return any(start < cut < end for start, end in whole)


def _trim(text: str, first: int, last: int) -> Range:
    while first < last and text[first].isspace():
        first += 1
    while first < last and text[last - 1].isspace():
        last -= 1
    return first, last
