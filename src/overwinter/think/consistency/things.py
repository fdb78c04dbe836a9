"""Claims about things and places: counts, sizes, prices, distances, directions, and lists with a number in front.

The thing must have a proper name; in the present tense, where a text describes what is always so (a manual, a specification), a definite
noun phrase of two or more words is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from overwinter.think.consistency.claim import Claim
from overwinter.think.consistency.figures import NUMBER, is_hedged, number_of
from overwinter.think.consistency.names import PLACE_WORDS, Name, is_common
from overwinter.think.consistency.seen import Seen, thing_key
from overwinter.think.consistency.wordlist import listed

_N = rf"(?P<n>{NUMBER})"
_PROPER = r"[A-ZÀ-Þ][\w’'-]+(?<!['’]s)(?:\s+[A-ZÀ-Þ][\w’'-]+(?<!['’]s)){0,3}"
_COMMON = r"(?:[a-z]+\s+){0,2}?[a-z]+"
_NAMED = re.compile(
    rf"\b[Tt]he\s+{_COMMON}\s+(?:of|at|in|near|on)\s+(?:the\s+)?{_PROPER}|\b[Tt]he\s+{_PROPER}(?:\s+[a-z]+)?|{_PROPER}"
)
_TECHNICAL = re.compile(r"^(?:The|the)\s+(?:[\w.-]+\s+){1,4}?(?=(?:is|are|has|holds|costs|lasts|contains|takes)\b)")
_PRESENT = re.compile(r"\b(?:is|are|has|holds|costs|lasts|contains|takes)\b")
_PAST = re.compile(r"\b(?:was|were|had|did)\b|ed\b")
_HAS = re.compile(
    r"\b(?:has|have|had|held|holds?|contain(?:s|ed)?|boast(?:s|ed)?|number\s+of|there\s+(?:is"
    r"|are|was|were)|with|count(?:s|ed)|compris(?:es?|ed)|consist(?:s|ed)\s+of|includ(?:es|ed))\b",
    re.I,
)
_COUNTED = re.compile(rf"\b{_N}\s+(?P<u>[a-z]+(?:\s+[a-z]+)?s|men|women|children|people|oxen|sheep)\b")
_NUMBER_OF = re.compile(
    rf"\bnumber\s+of\s+(?P<u>[a-z]+s|men|women|children|people)\b.*\b(?:is|was|are|were|be|to)\s+{_N}", re.I
)
_CHANGED = re.compile(
    r"\b(?:more|added|enlarged|rebuilt|grown|reduced|extended|increased|decreased|now|by\s+then|remained|left|lost)\b",
    re.I,
)
_TIME_UNITS = frozenset(
    listed("seconds minutes hours days nights weeks months years decades centuries times o'clock moments")
)
_MEASURES = {
    "inch": 0.0254,
    "inche": 0.0254,
    "foot": 0.3048,
    "feet": 0.3048,
    "yard": 0.9144,
    "fathom": 1.8288,
    "mile": 1609.344,
    "league": 4828.0,
    "metre": 1.0,
    "meter": 1.0,
    "kilometre": 1000.0,
    "kilometer": 1000.0,
    "centimetre": 0.01,
    "km": 1000.0,
    "m": 1.0,
    "cm": 0.01,
    "ft": 0.3048,
}
_LENGTH = rf"(?P<m>{'|'.join(sorted(_MEASURES, key=len, reverse=True))})s?"
_DIMENSIONS = {
    "high": "height",
    "tall": "height",
    "wide": "width",
    "broad": "width",
    "long": "length",
    "deep": "depth",
    "thick": "thickness",
    "across": "width",
    "height": "height",
    "width": "width",
    "length": "length",
    "depth": "depth",
    "breadth": "width",
    "thickness": "thickness",
}
_SIZE = re.compile(rf"\b{_N}\s+{_LENGTH}\s+(?:in\s+)?(?P<d>{'|'.join(_DIMENSIONS)})\b", re.I)
_FAR = re.compile(rf"\b{_N}\s+{_LENGTH}\b(?!\s+(?:in\s+)?(?:{'|'.join(_DIMENSIONS)}|an\s+hour|per\b))", re.I)
_APART = re.compile(r"\b(?:(?:[Ff]rom|[Bb]etween)\s+(?:the\s+)?[A-ZÀ-Þ]|separat(?:es?|ed)\b|apart\b|distance\b)")
_MOVES = re.compile(
    r"\b(?:walked|rode|ran|drove|travelled|traveled|marched|sailed|came|went"
    r"|halfway|within|more|further|farther|still|now|yet|already|nearly\s+all)\b",
    re.I,
)
_MONEY = re.compile(
    rf"(?:(?P<s>[£$€])\s?(?P<a>\d[\d,]*(?:\.\d+)?)|\b(?P<n>{NUMBER})\s+(?P<c>pounds|dollars|guineas"
    rf"|shillings|francs|crowns|euros?|cents|pence|marks|ducats|roubles|florins|livres))(?!\s+(?:a|per|each)\b)",
    re.I,
)
_PRICED = re.compile(r"\b(?:costs?|price|bought|paid|purchased?|worth)\b", re.I)
_COMPASS = "north|south|east|west|north-?east|north-?west|south-?east|south-?west"
_SIDE = re.compile(rf"\b(?P<v>{_COMPASS})(?:ward)?s?\s+of\s+(?:the\s+)?$", re.I)
_LIES = re.compile(r"\b(?:lay|lies|was|is|stood|stands|situated|located|found)\b|^[^.]*,[^,]*\bof\b[^,]*,", re.I)
OPPOSITE = {"north": "s", "south": "n", "east": "w", "west": "e"}
_LIST = re.compile(
    rf"(?<![\w-])(?P<n>{NUMBER})\s+(?P<u>(?:[a-z]+\s+){{0,2}}?(?:[a-z]+s|men|women|children"
    rf"|people|mice|feet))\b(?P<gap>[^:.;!?]{{0,60}}):\s*(?P<items>[^:.;!?]+)\.(?:\s|$)",
    re.I,
)


_HEAD = re.compile(r"\b[Tt]he\s+(?:price|cost|number|height|width|length|depth|size|value)\s+of\s+", re.I)


def _thing(seen: Seen, skip: str) -> str:
    """The one named thing of a sentence as a key, "" where there is none or more than one. `skip` is what was said of it."""
    words = _HEAD.sub("", seen.words.replace(skip, "#", 1) if skip else seen.words)
    if seen.persons and any(not _is_thing(seen, person) for person in seen.persons):
        return ""
    found: dict[str, None] = {}
    for match in _NAMED.finditer(words):
        name = _leading(match[0])
        if name:
            found[thing_key(name)] = None
    if not found:
        technical = _TECHNICAL.match(words)
        present = _PRESENT.search(words) and not _PAST.search(words)
        key = thing_key(technical[0]) if technical and present else ""
        return key if len(key.split()) > 1 else ""
    return next(iter(found)) if len(found) == 1 else ""


def _is_thing(seen: Seen, person: Name) -> bool:
    """A full name that stands behind "the", or before a common noun with it, is a thing's name ("the Foxhall mill")."""
    return (
        not person.title
        and re.search(r"\b[Tt]he\s+(?:[a-z]+\s+(?:of|at|in|near|on)\s+)?$", seen.words[: person.first]) is not None
    )


def _leading(words: str) -> str:
    """A matched phrase without the word that only begins the sentence ("In", "There")."""
    parts = words.split()
    while parts and parts[0].lower() != "the" and is_common(parts[0]):
        parts.pop(0)
    if parts and parts[0].lower() == "the":
        verbs = {
            "was",
            "is",
            "had",
            "has",
            "stood",
            "rose",
            "cost",
            "measured",
            "lay",
            "held",
            "were",
            "are",
            "contained",
            "boasted",
            "and",
            "with",
            "could",
        }
        while len(parts) > 1 and parts[-1] in verbs:
            parts.pop()
        return " ".join(parts) if any(part[0].isupper() for part in parts[1:]) else ""
    return " ".join(parts) if parts and parts[0][0].isupper() else ""


def quantities(seen: Seen) -> Iterator[Claim]:
    """How many parts a named thing has."""
    counted = _NUMBER_OF.search(seen.words) or _only(list(_COUNTED.finditer(seen.words)))
    if counted is None:
        return
    unit = counted["u"].lower()
    value = number_of(counted["n"])
    if (
        value is None
        or unit.split()[-1] in _TIME_UNITS
        or unit.rstrip("s") in _MEASURES
        or _MONEY.search(seen.words)
        or value == 1
    ):
        return
    of_it = re.match(
        r"\s+(?:of|in|at)\s+(?:the\s+(?:[a-z]+\s+(?:of|in|at|near)\s+)?)?[A-ZÀ-Þ]", seen.words[counted.end("u") :]
    )
    if of_it is None and not _HAS.search(seen.words):
        return
    if _CHANGED.search(seen.words):
        return
    more = re.search(
        r"\b(?:more|other|another|first|last|next|remaining|all|these|those)\s+$", seen.words[: counted.start("n")]
    )
    thing = "" if more else _thing(seen, "" if counted.re is _NUMBER_OF else counted[0])
    if thing and _may_have_parts(seen, thing):
        hedge = 0.2 if is_hedged(seen.words, counted.start("n")) else 0.0
        yield seen.claim("quantity", thing, value, f"{counted['n']} {unit}", attribute=unit, tolerance=hedge)


def _may_have_parts(seen: Seen, thing: str) -> bool:
    """What persons have changes from day to day; what houses have does not."""
    named = [name for name in seen.names if thing_key(name.words) == thing]
    return not named or named[0].sort == "place" or bool(set(thing.split()) & PLACE_WORDS)


def _only(matches: list[re.Match[str]]) -> re.Match[str] | None:
    return matches[0] if len(matches) == 1 else None


def measures(seen: Seen) -> Iterator[Claim]:
    """Height, width, length, depth of a named thing."""
    sizes = list(_SIZE.finditer(seen.words))
    thing = _thing(seen, sizes[0][0]) if len(sizes) == 1 else ""
    value = number_of(sizes[0]["n"]) if thing else None
    if value is None:
        return
    size = sizes[0]
    metres = value * _MEASURES[size["m"].lower()]
    tolerance = 0.03 + (0.12 if is_hedged(seen.words, size.start("n")) else 0.0)
    yield seen.claim("measure", thing, metres, size[0], attribute=_DIMENSIONS[size["d"].lower()], tolerance=tolerance)


def prices(seen: Seen) -> Iterator[Claim]:
    """What a named thing cost."""
    money = list(_MONEY.finditer(seen.words))
    if len(money) != 1 or not _PRICED.search(seen.words):
        return
    match = money[0]
    value = number_of(match["a"] or match["n"])
    thing = _thing(seen, match[0])
    if value is not None and thing:
        unit = (match["s"] or match["c"]).lower().rstrip("s")
        hedge = 0.15 if is_hedged(seen.words, match.start()) else 0.0
        yield seen.claim(
            "price",
            thing,
            value,
            match[0],
            attribute={"£": "pound", "$": "dollar", "€": "euro"}.get(unit, unit),
            tolerance=hedge,
        )


def distances(seen: Seen) -> Iterator[Claim]:
    """How far two places are apart."""
    far = list(_FAR.finditer(seen.words))
    if len(far) != 1 or not _APART.search(seen.words) or _MOVES.search(seen.words):
        return
    ends = _two_places(seen)
    value = number_of(far[0]["n"])
    if ends is None or value is None:
        return
    tolerance = 0.05 + (0.15 if is_hedged(seen.words, far[0].start("n")) else 0.0)
    metres = value * _MEASURES[far[0]["m"].lower()]
    one, two = sorted(ends)
    yield seen.claim("distance", one, metres, far[0][0], attribute=two, tolerance=tolerance)


def _two_places(seen: Seen) -> tuple[str, str] | None:
    """The two places of a sentence that names two and nobody."""
    keys = [thing_key(name.words) for name in seen.names]
    if len(keys) != 2 or keys[0] == keys[1] or any(name.title for name in seen.names):
        return None
    if any(name.sort == "person" for name in seen.names):
        return None
    return keys[0], keys[1]


def directions(seen: Seen) -> Iterator[Claim]:
    """On which side of another a place lies; the value is from the first in alphabetical order."""
    ends = _two_places(seen)
    if ends is None or not _LIES.search(seen.words):
        return
    for name in seen.names:
        match = _SIDE.search(seen.words[: name.first])
        if match is None:
            continue
        other = next(key for key in ends if key != thing_key(name.words))
        side = match["v"].lower().replace("-", "")
        one, two = sorted(ends)
        side = side if other == one else _opposite(side)
        yield seen.claim("direction", one, side, f"{match['v']} of {name.words}", attribute=two)
        return


def _opposite(side: str) -> str:
    for word, against in (("north", "south"), ("south", "north")):
        if side.startswith(word):
            rest = side.removeprefix(word)
            return against + ({"east": "west", "west": "east"}.get(rest, ""))
    return {"east": "west", "west": "east"}[side]


def lists(seen: Seen) -> Iterator[Claim]:
    """A list behind a colon that has another number of items than its head says."""
    match = _LIST.search(seen.words)
    value = number_of(match["n"]) if match else None
    if match is None or value is None or not 2 <= value <= 12 or is_hedged(seen.words, match.start("n")):
        return
    if (
        re.search(r"\bor\s+$", seen.words[: match.start("n")])
        or match["u"].split()[-1].lower() in _TIME_UNITS
        or re.search(r"\b(?:of|or|such|like)\s*$", match["gap"])
    ):
        return
    items = count_items(match["items"])
    if items is None or items == value:
        return
    first = seen.sentence.first
    yield seen.claim(
        "list_count",
        match["u"],
        float(items),
        f"{match['n']} {match['u']}",
        against=(first + match.start("items"), first + match.end("items")),
        attribute=str(seen.sentence.number),
    )


MAX_ITEM_WORDS = 6
"""Longer items have commas and "and" of their own."""


def count_items(words: str) -> int | None:
    """How many items a list has; None where its form does not tell (one item, clauses, a list within a list)."""
    if re.search(
        r"\b(?:which|who|that|because|was|were|had|is|are|he|she|they|it|others?|etc|so\s+on|among|including|not)\b|[—(]|\.\.\.|…",
        words,
    ):
        return None
    parts = [part.strip() for part in re.split(r",\s+(?:and\s+|or\s+)?", words) if part.strip()]
    tail = re.split(r"\s+and\s+", parts[-1])
    if any(len(part.split()) > MAX_ITEM_WORDS for part in (*parts[:-1], *tail)):
        return None
    if len(tail) > 2 or any(re.search(r"\sand\s", part) for part in parts[:-1]):
        return None
    if len(parts) == 1 and len(tail) == 1:
        return None
    return len(parts) - 1 + len(tail)
