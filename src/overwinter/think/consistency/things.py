"""Claims about things: counts, sizes, prices, and lists with a number in front.

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
    r"|are|was|were)|with|count(?:s|ed)|compris(?:es?|ed)|consist(?:s|ed)\s+of|includ(?:es|ed)|by\s+its)\b",
    re.I,
)
_COUNTED = re.compile(rf"\b{_N}\s+(?P<u>[a-z]+[^\Ws]s|[a-z]+\s+[a-z]{(3,)}s|men|women|children|people|oxen|sheep)\b")
_NUMBER_OF = re.compile(
    rf"\bnumber\s+of\s+(?P<u>[a-z]+s|men|women|children|people)\b.*\b(?:is|was|are|were|be|to)\s+{_N}", re.I
)
_CHANGED = re.compile(
    r"\b(?:more|added|enlarged|rebuilt|grown|reduced|extended|increased|decreased|now|by\s+then|remained|left|lost)\b",
    re.I,
)
_NO_UNIT = frozenset(listed("has is was does this as its us thus yes less unless always perhaps times"))
_TIME_UNITS = frozenset(
    listed("seconds minutes hours days nights weeks months years decades centuries times o'clock moments")
)
MEASURES = {
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
LENGTH = rf"(?P<m>{'|'.join(sorted(MEASURES, key=len, reverse=True))})s?"
DIMENSIONS = {
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
_SIZE = re.compile(rf"\b{_N}\s+{LENGTH}\s+(?:in\s+)?(?P<d>{'|'.join(DIMENSIONS)})\b", re.I)
_MONEY = re.compile(
    rf"(?:(?P<s>[£$€])\s?(?P<a>\d[\d,]*(?:\.\d+)?(?:\s+(?:million|billion))?)|\b(?P<n>{NUMBER})\s+(?P<c>pounds|dollars|guineas"
    rf"|shillings|francs|crowns|euros?|cents|pence|marks|ducats|roubles|florins|livres))(?!\s+(?:a|per|each)\b)",
    re.I,
)
_PRICED = re.compile(r"\b(?:costs?|price|bought|paid|purchased?|worth)\b", re.I)
_LIST = re.compile(
    rf"(?<![\w-])(?P<n>{NUMBER})\s+(?P<u>(?:[a-z]+\s+){{0,2}}?(?:[a-z]+s|men|women|children"
    rf"|people|mice|feet))\b(?P<gap>[^:.;!?]{{0,60}}):\s+(?P<items>[^:.;!?]+)\.(?:\s|$)",
    re.I,
)


_PEOPLES = re.compile(r"(?:[ai]ns|ists|ites|ese)$")
_HEAD = re.compile(r"\b[Tt]he\s+(?:[a-z]+\s+)?(?:price|cost|number|height|width|length|depth|size|value)\s+of\s+", re.I)


def _thing(seen: Seen, skip: str) -> str:
    """The one named thing of a sentence as a key, "" where there is none or more than one. `skip` is what was said of it."""
    words = _HEAD.sub("", seen.words.replace(skip, "#", 1) if skip else seen.words)
    if seen.persons and any(not _is_thing(seen, person) for person in seen.persons):
        return ""
    found: dict[str, None] = {}
    for match in _NAMED.finditer(words):
        name = _leading(_without_verb(match, words))
        if name and not (match.start() < 2 and seen.is_plain(name)) and not _PEOPLES.search(name):
            found[thing_key(name)] = None
    if not found:
        technical = _TECHNICAL.match(words)
        present = _PRESENT.search(words) and not _PAST.search(words)
        key = thing_key(technical[0]) if technical and present else ""
        return key if len(key.split()) > 1 else ""
    return next(iter(found)) if len(found) == 1 else ""


def _without_verb(match: re.Match[str], words: str) -> str:
    """A phrase without the verb that was taken for its noun: "the Nunwick Arms comprises 12 rooms", not "the Foxhall mill was"."""
    noun = re.search(r"\s[a-z]+(?:s|ed)$", match[0])
    if noun and not re.match(
        r"\s+(?:is|are|was|were|has|had|have|cost|costs|of|in|at|on)\b|\s*[,.;:(]", words[match.end() :]
    ):
        return match[0][: noun.start()]
    return match[0]


def _is_thing(seen: Seen, person: Name) -> bool:
    """A full name that stands behind "the", or before a common noun with it, is a thing's name ("the Foxhall mill")."""
    return (
        not person.title
        and re.search(r"\b[Tt]he\s+(?:[a-z]+\s+(?:of|at|in|near|on)\s+)?$", seen.words[: person.first]) is not None
    )


_VERBS = frozenset(listed("stood rose cost measured lay held contained boasted could counted came being been"))


def _leading(words: str) -> str:
    """A matched phrase without the word that only begins the sentence ("In", "There")."""
    parts = words.split()
    while parts and parts[0].lower() != "the" and is_common(parts[0]):
        parts.pop(0)
    if parts and parts[0].lower() == "the":
        while len(parts) > 1 and (parts[-1] in _VERBS or (parts[-1].islower() and is_common(parts[-1]))):
            parts.pop()
        return " ".join(parts) if any(part[0].isupper() for part in parts[1:]) else ""
    return " ".join(parts) if parts and parts[0][0].isupper() else ""


_IS_SO = re.compile(
    r"(?:\s+[a-z]+){0,2}(?:\s+(?:is|was|stands|stood|rises|rose|measured"
    r"|measures)|\s*[,(]\s*(?:which\s+(?:is|was)|about|only|some|nearly|an?)?)"
    r"(?:\s+(?:about|only|some|nearly|almost|over|an?|isolated|single|great|small|huge|mountain|hill|tower|wall|island|crater|lake))*\s*",
    re.I,
)
_HAS_SO = re.compile(
    r"\s+(?:now\s+)?(?:has|had|contains|contained|holds|held|boasts|boasted|consists\s+of"
    r"|consisted\s+of)\s+(?:about\s+|only\s+)?",
    re.I,
)


def _named_before(seen: Seen, place: int, gap: re.Pattern[str]) -> str:
    """The thing whose name stands right before what is said of it, as a key; "" for persons and where there is none."""
    name = seen.name_before(place, gap)
    return "" if name is None or name.title or name.sort == "person" else thing_key(name.words)


def quantities(seen: Seen) -> Iterator[Claim]:
    """How many parts a named thing has."""
    several = list(_COUNTED.finditer(seen.words))
    counted = _NUMBER_OF.search(seen.words) or next(iter(several), None)
    if counted is None:
        return
    unit = counted["u"].lower()
    value = number_of(counted["n"])
    if (
        value is None
        or unit.split()[-1] in _TIME_UNITS | _NO_UNIT
        or unit.split()[0] in _NO_UNIT
        or unit.rstrip("s") in MEASURES
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
        r"\b(?:more|other|another|first|last|next|remaining|these|those)\s+$", seen.words[: counted.start("n")]
    )
    alone = len(several) < 2
    thing = "" if more or not alone else _thing(seen, "" if counted.re is _NUMBER_OF else counted[0])
    thing = thing or ("" if more else _named_before(seen, counted.start(), _HAS_SO))
    if thing and _may_have_parts(seen, thing):
        hedge = 0.2 if is_hedged(seen.words, counted.start("n")) else 0.0
        # Members and inhabitants are counted anew each year: of a year, only that year's count is held against it.
        attribute = f"{unit} in {seen.year}" if seen.year else unit
        yield seen.claim("quantity", thing, value, f"{counted['n']} {unit}", attribute=attribute, tolerance=hedge)


def _may_have_parts(seen: Seen, thing: str) -> bool:
    """What persons have changes from day to day; what houses have does not."""
    named = [name for name in seen.names if thing_key(name.words) == thing]
    return not named or named[0].sort != "person" or bool(set(thing.split()) & PLACE_WORDS)


def measures(seen: Seen) -> Iterator[Claim]:
    """Height, width, length, depth of a named thing."""
    size = next(_SIZE.finditer(seen.words), None)
    if size is None:
        return
    alone = len(_SIZE.findall(seen.words)) == 1
    thing = (_thing(seen, size[0]) if alone else "") or _named_before(seen, size.start(), _IS_SO)
    value = number_of(size["n"]) if thing else None
    if value is None:
        return
    metres = value * MEASURES[size["m"].lower()]
    tolerance = 0.03 + (0.12 if is_hedged(seen.words, size.start("n")) else 0.0)
    yield seen.claim("measure", thing, metres, size[0], attribute=DIMENSIONS[size["d"].lower()], tolerance=tolerance)


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
    if re.match(r"(?:The|An?|How|Why|What|When|Each|In)\b", words) or re.search(
        rf"\b(?:the\s+)?{NUMBER}\s+(?:in|of|on)\b|[A-Z][a-z]?\d", words
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
