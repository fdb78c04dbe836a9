"""Claims about places: how far apart two are, and on which side of the other one lies."""

from __future__ import annotations

import re
from collections.abc import Iterator

from overwinter.think.consistency.claim import Claim
from overwinter.think.consistency.figures import NUMBER, is_hedged, number_of
from overwinter.think.consistency.names import Name
from overwinter.think.consistency.seen import Seen, thing_key
from overwinter.think.consistency.things import DIMENSIONS, LENGTH, MEASURES

_FAR = re.compile(rf"\b(?P<n>{NUMBER})\s+{LENGTH}\b(?!\s+(?:in\s+)?(?:{'|'.join(DIMENSIONS)}|an\s+hour|per\b))", re.I)
_ROAD = re.compile(
    rf"\b(?:road|way|line|track|path|railway|canal)\s+(?:from"
    rf"|between)\s[^.;]{{2,60}}?\s(?P<n>{NUMBER})\s+{LENGTH}\s+(?:long|in\s+length)\b",
    re.I,
)
_APART = re.compile(r"\b(?:(?:[Ff]rom|[Bb]etween)\s+(?:the\s+)?[A-ZÀ-Þ]|separat(?:es?|ed)\b|apart\b|distance\b)")
_MOVES = re.compile(
    r"\b(?:walked|rode|ran|drove|travelled|traveled|marched|sailed|came|went|halfway|within|more|further|farther|still|now"
    r"|yet|already|nearly\s+all)\b",
    re.I,
)
_LIES = re.compile(r"\b(?:lay|lies|was|is|stood|stands|situated|located|found)\b|^[^.]*,[^,]*\bof\b[^,]*,", re.I)
_SIDE = re.compile(r"\b(?P<v>(?:north|south)-?(?:east|west)|north|south|east|west)(?:ward)?s?\s+of\s+(?:the\s+)?", re.I)
_BESIDE = re.compile(
    r"\s*[,(]?\s*(?:(?:which|that|is|was|are|were|lies|lay|stands?|stood|situated|located|about|only|some|just|directly|immediately|due|far"
    r"|a|an|the|to|little|town|village|city|small|short\s+distance)\s+)*",
    re.I,
)
_FROM = re.compile(r"\s+(?:(?:[a-z]+|[a-z]+-[a-z]+)\s+){0,2}?from\s+(?:the\s+)?", re.I)


def distances(seen: Seen) -> Iterator[Claim]:
    """How far two places are apart."""
    far = list(_FAR.finditer(seen.words)) or list(_ROAD.finditer(seen.words))
    if (
        len(far) != 1
        or not _APART.search(seen.words)
        or _MOVES.search(seen.words, max(0, far[0].start() - 60), far[0].end() + 10)
    ):
        return
    ends = _two_places(seen) or _ends(seen.name_before(far[0].start(), _BESIDE), seen.name_after(far[0].end(), _FROM))
    value = number_of(far[0]["n"])
    if ends is None or value is None:
        return
    tolerance = 0.05 + (0.15 if is_hedged(seen.words, far[0].start("n")) else 0.0)
    one, two = sorted(ends)
    metres = value * MEASURES[far[0]["m"].lower()]
    yield seen.claim("distance", one, metres, far[0][0], attribute=two, tolerance=tolerance)


def _ends(one: Name | None, two: Name | None) -> tuple[str, str] | None:
    """Two names that stand beside what is said of them, as keys of places; None for persons."""
    if one is None or two is None or any(name.title or name.sort == "person" for name in (one, two)):
        return None
    keys = thing_key(one.words), thing_key(two.words)
    return keys if keys[0] != keys[1] else None


def _two_places(seen: Seen) -> tuple[str, str] | None:
    """The two places of a sentence that names two and nobody."""
    return _ends(*seen.names) if len(seen.names) == 2 else None


def directions(seen: Seen) -> Iterator[Claim]:
    """On which side of another a place lies; the value is from the first in alphabetical order."""
    for match in _SIDE.finditer(seen.words):
        owner = next((name for name in seen.names if name.first == match.end()), None)
        if owner is None:
            continue
        other: Name | None = seen.name_before(match.start(), _BESIDE)
        if other is None and len(seen.names) == 2 and _LIES.search(seen.words):
            other = next(name for name in seen.names if name is not owner)
        ends = _ends(other, owner)
        if ends is not None:
            one, two = sorted(ends)
            side = match["v"].lower().replace("-", "")
            side = side if ends[0] == one else _opposite(side)
            yield seen.claim("direction", one, side, f"{match['v']} of {owner.words}", attribute=two)


def _opposite(side: str) -> str:
    for word, against in (("north", "south"), ("south", "north")):
        if side.startswith(word):
            return against + {"east": "west", "west": "east"}.get(side.removeprefix(word), "")
    return {"east": "west", "west": "east"}[side]
