"""Which entries a `compress` means to keep: a range, three anchors, or a query. Nothing is guessed: what does not fit is refused with
what would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overwinter.memory.working.handles import Ranges, joined
from overwinter.memory.working.text_index import TextIndex

HOW = (
    'write selection as "12-40" (entries, several as "12-40, 44"), as {"start": …, "mid": …, "end": …} with three pieces of text that '
    'stand in the view in this order, or as {"query": …}'
)
QUERY_MAX = 8
"""Most entries a query selects."""
QUERY_SHARE = 0.5
"""Entries that score at least this share of the best one."""
_RANGE = re.compile(r"#?(\d+)(?:\s*-\s*#?(\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One entry of the view, as it is shown."""

    seq: int
    text: str


def select(selection: Any, pieces: Sequence[Piece], head: int) -> Ranges:
    """The entries that are meant.

    Args:
        pieces: what the view shows, oldest first; anchors and queries are looked for in these.
        head: the last entry of the run; ranges may reach up to it.

    Raises:
        ValueError: nothing, or not exactly something, is meant; it says what to write.
    """
    if isinstance(selection, str):
        return _by_range(selection, head)
    if isinstance(selection, dict):
        if selection.keys() == {"entries"} and isinstance(selection["entries"], str):
            return _by_range(selection["entries"], head)
        if selection.keys() == {"query"} and isinstance(selection["query"], str):
            return _by_query(selection["query"], pieces)
        anchors = [selection.get(name) for name in ("start", "mid", "end")]
        if selection.keys() == {"start", "mid", "end"} and all(isinstance(each, str) for each in anchors):
            return _by_anchors([str(each) for each in anchors], pieces)
    raise ValueError(f"the selection {selection!r:.200} is none; {HOW}")


def _by_range(text: str, head: int) -> Ranges:
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no range of entries; {HOW}")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last <= head:
            raise ValueError(f"{part.strip()!r}: entries are numbered 0 to {head}, the smaller number first")
        found += range(first, last + 1)
    return joined(found)


def _by_anchors(anchors: list[str], pieces: Sequence[Piece]) -> Ranges:
    for normalise in (str, _plain):
        texts = [normalise(piece.text) for piece in pieces]
        places = _in_order([normalise(anchor) for anchor in anchors], "\n".join(texts))
        if places is not None:
            ends = _ends(texts)
            within = [next(i for i, end in enumerate(ends) if place < end) for place in places]
            return joined(piece.seq for piece in pieces[within[0] : within[-1] + 1])
    plain = "\n".join(_plain(piece.text) for piece in pieces)
    missing = [anchor for anchor in anchors if not _plain(anchor) or _plain(anchor) not in plain]
    what = f"{missing[0]!r:.120} does not stand in the view" if missing else "the three do not stand in this order"
    raise ValueError(f"{what}; copy 20 to 100 characters each, exactly, from the beginning, the middle and the end")


def _in_order(anchors: list[str], text: str) -> list[int] | None:
    """Places of three anchors one behind the other: the first place of the later ones, and the nearest first one before them."""
    if not all(anchors):
        return None
    start = text.find(anchors[0])
    mid = text.find(anchors[1], start + len(anchors[0])) if start >= 0 else -1
    end = text.find(anchors[2], mid + len(anchors[1])) if mid >= 0 else -1
    if end < 0:
        return None
    return [text.rfind(anchors[0], 0, mid), mid, end + len(anchors[2]) - 1]


def _ends(texts: Sequence[str]) -> list[int]:
    """Where each text ends in all of them joined by line ends."""
    ends, place = [], 0
    for text in texts:
        place += len(text) + 1
        ends.append(place)
    return ends


def _plain(text: str) -> str:
    return " ".join(text.split())


def _by_query(query: str, pieces: Sequence[Piece]) -> Ranges:
    index = TextIndex()
    for piece in pieces:
        index.add(piece.seq, piece.text)
    found = index.search(query, QUERY_MAX)
    if not found:
        raise ValueError(f"no entry in view has a word of the query {query!r:.120}; {HOW}")
    return joined(seq for seq, score in found if score >= QUERY_SHARE * found[0][1])
