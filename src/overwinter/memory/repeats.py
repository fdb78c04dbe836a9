"""Text that memory itself brought up: it must not come back into memory as something new.

An agent that reads a memory and says it again would otherwise store it again, find it twice, say it more surely, and so on: 668
copies of one invention in an audited store. So what was recalled in a run is remembered by blocks of `BLOCK` characters, and
later text of the agent or of tools that shares `SHORTEST` characters in a row with it is marked.

Any stretch of 2 · BLOCK − 1 characters holds a whole block of the recalled text, so looking up every window of BLOCK characters
finds all that are long enough; each find is then grown to both sides and measured. Behind a find the search goes on a block before its
end, not at its next character, or a long run of dashes would cost its length squared: of text that repeats itself, fewer than `BLOCK`
characters at the edge of a find may stay unmarked.
"""

from __future__ import annotations

from collections import deque

SHORTEST = 80
BLOCK = 40
REACH = 5000
"""How many entries back a recalled text still counts: far longer than any view, short enough to be read again on a resume."""

PLACES = 8
"""The newest places that are looked at for a block; one that is recalled every step would fill the list."""

Range = tuple[int, int]


class Recalled:
    """What memory brought up in one run, entry by entry; what lies more than `REACH` entries back is let go."""

    def __init__(self) -> None:
        self._texts: deque[tuple[int, str]] = deque()
        self._blocks: dict[str, list[tuple[int, str, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._texts)

    def add(self, seq: int, text: str) -> None:
        """Text that entry `seq` showed. Entries come in order."""
        if len(text) < SHORTEST:
            return
        self._texts.append((seq, text))
        for at in range(0, len(text) - BLOCK + 1, BLOCK):
            places = self._blocks.setdefault(text[at : at + BLOCK], [])
            places.append((seq, text, at))
            del places[:-PLACES]

    def forget_before(self, seq: int) -> None:
        while self._texts and self._texts[0][0] < seq:
            old, text = self._texts.popleft()
            for at in range(0, len(text) - BLOCK + 1, BLOCK):
                block = text[at : at + BLOCK]
                left = [place for place in self._blocks.get(block, ()) if place[0] > old]
                if left:
                    self._blocks[block] = left
                else:
                    self._blocks.pop(block, None)

    def repeated(self, text: str) -> list[Range]:
        """Half-open ranges of `text` that repeat at least `SHORTEST` characters of it, in order, apart from each other."""
        found: list[Range] = []
        if not self._texts or len(text) < SHORTEST:
            return found
        at = 0
        while at <= len(text) - BLOCK:
            places = self._blocks.get(text[at : at + BLOCK])
            longest = max(
                (_grown(text, at, place[1], place[2]) for place in places or ()), default=(at, at), key=_length
            )
            if _length(longest) < SHORTEST:
                at += 1
                continue
            # Not behind it: what repeats itself may go on to match from a place within.
            at = max(at + 1, longest[1] - BLOCK + 1)
            if found and longest[0] <= found[-1][1]:
                first, last = found.pop()
                longest = min(first, longest[0]), max(last, longest[1])
            found.append(longest)
        return found


def _length(found: Range) -> int:
    return found[1] - found[0]


def _grown(text: str, at: int, recalled: str, there: int) -> Range:
    """The longest common stretch around a block that both texts share."""
    before = 0
    while before < min(at, there) and text[at - before - 1] == recalled[there - before - 1]:
        before += 1
    behind = BLOCK
    most = min(len(text) - at, len(recalled) - there)
    while behind < most and text[at + behind] == recalled[there + behind]:
        behind += 1
    return at - before, at + behind
