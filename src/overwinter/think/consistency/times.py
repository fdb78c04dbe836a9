"""Claims about time: dates, order and length of named events, weekdays, spans of years, and where somebody was on a date.

A named event is a noun for something that happens with a proper name on it ("the fire at Ashwick"): two fires without a name may be two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from overwinter.think.consistency.claim import Claim
from overwinter.think.consistency.figures import NUMBER, WEEKDAYS, YEAR, Day, is_hedged, number_of
from overwinter.think.consistency.seen import Seen, thing_key
from overwinter.think.consistency.wordlist import listed

_EVENT_NOUN = listed(
    "fire flood wedding marriage battle siege war voyage journey trial strike riot rising revolt rebellion mutiny "
    "ball fair feast festival election meeting council conference congress storm tempest earthquake accident "
    "explosion wreck shipwreck collapse murder robbery coronation funeral treaty expedition march attack assault "
    "raid concert exhibition race match regatta harvest famine plague epidemic fever winter dinner banquet party "
    "picnic auction sale inquest hearing inquiry examination parade procession pilgrimage crossing passage reign "
    "campaign truce armistice blockade occupation lockout rehearsal performance opening launch outage incident "
    "migration release"
)
_NOUN = rf"(?:{'|'.join(_EVENT_NOUN)})"
_PROPER = r"(?:the\s+)?[A-ZÀ-Þ][\w’'-]+(?<!['’]s)(?:\s+(?:of\s+)?[A-ZÀ-Þ][\w’'-]+(?<!['’]s)){0,3}"
_EVENT = re.compile(
    rf"\b(?:[Tt]he\s+(?:[a-z]+\s+)?{_NOUN}\s+(?:of|at|in|to|on|near|from"
    rf"|with|for|between)\s+{_PROPER}|[Tt]he\s+{_PROPER}\s+{_NOUN})\b(?!['’]s)"
)
_HAPPENS = re.compile(
    r"\b(?:was|is|took\s+place|takes\s+place|happened|occurred|began|begins|broke\s+out"
    r"|started|came|fell|date|dated|opened|held|burned|on\s+$|ended|closed|finished)\b",
    re.I,
)
_ENDS = re.compile(r"\b(?:ended|closed|finished|over|end\s+of)\b", re.I)
_UNIT_DAYS = {
    "second": 1 / 86400,
    "minute": 1 / 1440,
    "hour": 1 / 24,
    "day": 1.0,
    "night": 1.0,
    "week": 7.0,
    "fortnight": 14.0,
    "month": 30.44,
    "year": 365.25,
    "decade": 3652.5,
    "century": 36525.0,
    "centurie": 36525.0,
}
_SPAN = re.compile(
    rf"\b(?P<n>{NUMBER}|an?)\s+(?P<u>{'|'.join(_UNIT_DAYS)})s?\b(?!\s+(?:later|earlier|after|ago|old|of\s+age))", re.I
)
_LASTS = re.compile(
    r"\b(?:last(?:s|ed)?|took|takes|taken|continued?|went\s+on|dragged\s+on|raged"
    r"|endured|occupied|ran|kept\s+on|was\s+over|ended|length|duration|stretched)\b",
    re.I,
)
_BETWEEN = [
    (
        re.compile(
            r"^.{0,40}?\b(?:before|preceded|precedes|earlier\s+than|prior\s+to|led\s+to|was\s+followed\s+by)\b.{0,40}$",
            re.I,
        ),
        1,
    ),
    (
        re.compile(
            r"^.{0,40}?\b(?:after|followed|follows|later\s+than|was\s+preceded\s+by|subsequent\s+to)\b.{0,40}$", re.I
        ),
        -1,
    ),
]
_IN_FRONT = [(re.compile(r"\bafter\s+$", re.I), 1), (re.compile(r"\bbefore\s+$", re.I), -1)]
_WEEKDAY = re.compile(rf"\b(?:{'|'.join(WEEKDAYS)})\b")
_ELAPSED = [
    re.compile(
        rf"\b(?:[Ff]rom|[Bb]etween)\s+(?P<a>{YEAR})\s+(?:to|and|until|till"
        rf"|through)\s+(?P<b>{YEAR})\b[^.;\d]{{0,40}}?(?<!first\s)(?<!last\s)\b(?P<n>{NUMBER})\s+years?\b(?!\s+(?:later"
        rf"|earlier|before|after|old))"
    ),
    re.compile(
        rf"\b(?P<a>{YEAR})\b[^.\d]{{0,60}}?\b(?P<n>{NUMBER})\s+years?\s+(?:later|after(?:wards)?),?\s+(?:in\s+)?(?P<b>{YEAR})\b"
    ),
    re.compile(
        rf"\b[Ii]n\s+(?P<b>{YEAR}),?\s+(?P<n>{NUMBER})\s+years?\s+after\s+[^.\d]{{0,40}}?\bin\s+(?P<a>{YEAR})\b"
    ),
]
_AT = re.compile(r"\b(?:in|at|inside)\s+(?:the\s+)?$")
_NOT_THERE = re.compile(
    r"\b(?:from|left|leaving|for|towards?|about|between|wrote|letter|news|born|died|heard|before|after|until|since|by)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Event:
    key: str
    words: str
    first: int
    last: int


def _events(seen: Seen) -> list[_Event]:
    return [_Event(thing_key(match[0]), match[0], match.start(), match.end()) for match in _EVENT.finditer(seen.words)]


def _one_event(seen: Seen) -> _Event | None:
    found = _events(seen)
    return found[0] if len({event.key for event in found}) == 1 else None


def event_dates(seen: Seen) -> Iterator[Claim]:
    """When a named event was."""
    days = seen.days
    if len({day.key for day in days}) != 1 or not days[0].day:
        return
    event = _one_event(seen)
    if event is None or re.match(r"\s+of\s+(?:the\s+)?\d", seen.words[event.last :]):
        return
    around = seen.words[: event.first] + seen.words[event.last :]
    happens = _HAPPENS.search(around) or re.match(
        r"\s*,?\s*(?:on|of|in)?\s*$", seen.words[event.last : max(days[0].first, event.last)]
    )
    if not happens or re.search(r"\b(?:before|after|until|since|during|till)\b", around, re.I):
        return
    part = "end" if _ENDS.search(around) else "date"
    yield seen.claim("event_date", event.key, days[0].key, str(days[0]), attribute=part)


def orders(seen: Seen) -> Iterator[Claim]:
    """Which of two named events came first; the key is the pair in alphabetical order, the value the earlier one."""
    events = _events(seen)
    if len(events) != 2 or events[0].key == events[1].key:
        return
    one, two = events
    before, between = seen.words[: one.first], seen.words[one.last : two.first]
    sign = next((sign for pattern, sign in _IN_FRONT if pattern.search(before)), 0)
    sign = sign or next((sign for pattern, sign in _BETWEEN if pattern.match(between)), 0)
    if not sign or (re.search(r"\bnot\b|n['’]t\b", between)):
        return
    first, second = (one, two) if sign > 0 else (two, one)
    pair = sorted([first.key, second.key])
    yield seen.claim("order", pair[0], first.key, f"{first.words} before {second.words}", attribute=pair[1])


def durations(seen: Seen) -> Iterator[Claim]:
    """How long a named event was."""
    event = _one_event(seen) if _LASTS.search(seen.words) else None
    spans = list(_SPAN.finditer(seen.words)) if event else []
    if (
        event is None
        or len(spans) != 1
        or re.search(r"\b(?:first|last|another|more|every|each)\s+$", seen.words[: spans[0].start()])
    ):
        return
    value = 1.0 if spans[0]["n"].lower() in {"a", "an"} else number_of(spans[0]["n"])
    if value is None:
        return
    unit = _UNIT_DAYS[spans[0]["u"].lower()]
    # A month is no exact number of days: what is given in months may be a few days off.
    tolerance = 0.04 + (0.12 if is_hedged(seen.words, spans[0].start()) else 0.0) + (0.03 if unit > 28 else 0.0)
    yield seen.claim("duration", event.key, value * unit, spans[0][0], tolerance=tolerance)


def weekdays(seen: Seen) -> Iterator[Claim]:
    """A weekday beside a whole date."""
    named = list(_WEEKDAY.finditer(seen.words))
    days = [day for day in seen.days if day.is_whole]
    if len(named) != 1 or len(days) != 1 or len(seen.days) != 1:
        return
    day, word = days[0], named[0]
    gap = seen.words[min(word.end(), day.last) : max(word.start(), day.first)]
    if len(gap) > 24 or re.search(r"\b(?:after|before|following|next|last|previous|since|until|between|and|to)\b", gap):
        return
    if day.year < 1753:
        return  # the calendar changed, at different times in different countries
    right = WEEKDAYS[day.weekday() or 0]
    if right != word[0]:
        first = seen.sentence.first
        yield seen.claim(
            "weekday",
            str(day),
            right,
            word[0],
            against=(first + day.first, first + day.last),
            attribute=str(seen.sentence.number),
        )


def spans_of_years(seen: Seen) -> Iterator[Claim]:
    """Two years and how far they are said to be apart; an inclusive count is let pass."""
    if len(seen.years) < 2:
        return
    for pattern in _ELAPSED:
        match = pattern.search(seen.words)
        value = number_of(match["n"]) if match else None
        if match is None or value is None or is_hedged(seen.words, match.start("n")):
            continue
        apart = int(match["b"]) - int(match["a"])
        if apart > 0 and value not in (apart, apart + 1, apart - 1):
            first = seen.sentence.first
            yield seen.claim(
                "elapsed",
                f"{match['a']} to {match['b']}",
                float(apart),
                f"{match['n']} years",
                against=(first + match.start("n"), first + match.end("n")),
                attribute=str(seen.sentence.number),
            )
        return


def whereabouts(seen: Seen) -> Iterator[Claim]:
    """Where a person was on a whole date."""
    days = [day for day in seen.days if day.is_whole]
    person = seen.person
    if len(days) != 1 or len(seen.days) != 1 or person is None:
        return
    rest = _without(seen.words, days[0])
    if _NOT_THERE.search(rest):
        return
    at = [name for name in seen.names if name.key != person.key and _AT.search(seen.words[: name.first])]
    if len(at) == 1 and len(seen.names) == 2 and not at[0].title:
        yield seen.claim_of(
            "place", person, thing_key(at[0].words), at[0].words, attribute="-".join(map(str, days[0].key))
        )


def _without(words: str, day: Day) -> str:
    return words[: day.first] + words[day.last :]
