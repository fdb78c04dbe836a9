"""What a question asks, read by rules in well under a millisecond: its words, names, dates, and the route to an answer.

lookup    it spells a citation (RUN#SEQ) or a unit's id: that entry, nothing else
as-of     "as of March 2031", "at 7 May": what held, or with "known", "believed": what had been told, at that time
timeline  it asks for an order or a number ("first", "last", "how many"), or names a time and nothing else
claims    "now", "still", "currently": what holds, newest first
hybrid    everything else
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from overwinter.memory.dates import TimeRange, find_dates
from overwinter.memory.names import named_days
from overwinter.memory.unit import AsOf, Filter
from overwinter.memory.words import stem, words

LOOKUP, AS_OF, TIMELINE, CLAIMS, HYBRID = "lookup", "as-of", "timeline", "claims", "hybrid"
ROUTES = (LOOKUP, AS_OF, TIMELINE, CLAIMS, HYBRID)

_STOP = """
a about also am an and any are as at be been being but by can could did do does doing each for from had has have having he her hers
him his how i if in into is it its just many may me might mine much my no not of on or our ours out shall she should so some than
that the their theirs them then there these they this those to up us was we were what when where which who whom whose why will with
would yes you your yours s t d m re ve ll
"""
STOP_WORDS = frozenset(_STOP.split())
"""Words that say how something is asked, not what is asked for."""

_CITE = re.compile(r"(?<![\w#])([A-Za-z0-9][\w.-]*)#(\d{1,12})\b")
_ID = re.compile(r"\b[0-9a-f]{32}\b")
_WORD = re.compile(r"[^\W_]+")
_SPELLED = re.compile(r"[^\W_]+(?:[-_./:@#+\\~]+[^\W_]+)+")
_FIRST = re.compile(r"\b(?:first|earliest|originally|initially)\b", re.IGNORECASE)
_LAST = re.compile(r"\b(?:last time|last thing|latest|most recent(?:ly)?|newest)\b", re.IGNORECASE)
_ALL = re.compile(
    r"\b(?:how many|how often|in (?:what|which) order|chronological\w*|timeline|sequence of|number of)\b", re.IGNORECASE
)
_NOW = re.compile(
    r"\b(?:now(?:adays)?|still|current(?:ly)?|at present|at the moment|these days|any ?more)\b", re.IGNORECASE
)
_AS = re.compile(r"\bas (?:of|at|(?=(?:known|believed) (?:at|on|in)\b))\s*", re.IGNORECASE)
_AS_OF = re.compile(r"\b(?:at|back (?:in|on)|(?:known|believed) (?:on|in))\s*(?:the\s*)?$", re.IGNORECASE)
_KNOWN = re.compile(r"\b(?:known|knew|know|believed?|thought|think|assumed?|told)\b", re.IGNORECASE)
_WHEN = re.compile(
    r"^\W*(?:when|since when|how long|how often|(?:in |on )?(?:what|which) (?:day|date|year|month|week|time))\b",
    re.IGNORECASE,
)
_TIME_WORDS = ("happened", "going", "went", "done", "said", "day", "time", "order", "tell", "everything", "anything")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question to a memory.

    Attributes:
        k: how many hits at most.
        at: the view of the past; None on an axis is now.
        where: which units may be returned.
        session: where the question is asked: what was said there last counts a little more. "" for nowhere.
        budget_tokens: rough tokens of text the hits may have together; 0 for no limit.
        now_us: what "yesterday" is counted from. 0: dates relative to now are not looked for.
    """

    text: str
    k: int = 10
    at: AsOf = field(default=AsOf())
    where: Filter = field(default=Filter())
    session: str = ""
    budget_tokens: int = 0
    now_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A question as it was understood.

    Attributes:
        terms: stems of its content words, each once, in order.
        asked: the words themselves, as the index is asked for them, in the same order.
        spelled: ids, paths and code names it spells, folded, and days as YYYY-MM-DD: `order-17`, `src/a.py`.
        names: those of `terms` that are capitalised inside the sentence.
        said: stems of all its words, of stop words too.
        ranges: times it names.
        order: "first", "last", "all" where it asks for an order or a number, else "".
        when: whether it asks for a time.
        who: "user" where it says I, "agent" where it says you, "" for both or neither.
        cites: (run, seq) it spells; ids: units it spells.
        where, at: with what the question's own dates add.
    """

    route: str
    terms: tuple[str, ...]
    asked: tuple[str, ...]
    spelled: tuple[str, ...]
    names: tuple[str, ...]
    said: frozenset[str]
    ranges: tuple[TimeRange, ...]
    order: str
    when: bool
    who: str
    cites: tuple[tuple[str, int], ...]
    ids: tuple[str, ...]
    where: Filter
    at: AsOf


def read(question: Question) -> Reading:
    """Read a question. The same question gives the same reading."""
    text = _AS.sub("at ", question.text)
    cites = tuple((run, int(seq)) for run, seq in _CITE.findall(text))
    ids = tuple(_ID.findall(text))
    ranges = tuple(find_dates(text, question.now_us)) if question.now_us else ()
    asked = _terms(_without(text, ranges)) or ({} if ranges else _terms(text))
    # "now" says which answer is meant; a unit that happens to say it is not a better one.
    asked = _terms(_NOW.sub(" ", _without(text, ranges))) or asked
    order = "first" if _FIRST.search(text) else "last" if _LAST.search(text) else "all" if _ALL.search(text) else ""
    as_of = _as_of(text, ranges)
    at = _narrowed(question.at, as_of)
    only_time = bool(ranges) and not as_of and all(term in _TIME_STEMS for term in asked)
    asked = {} if only_time else asked
    terms = tuple(asked)
    if cites or ids:
        route = LOOKUP
    elif as_of or question.at != AsOf():
        route = AS_OF
    elif order or only_time:
        route = TIMELINE
    else:
        route = CLAIMS if _NOW.search(text) else HYBRID
    return Reading(
        route=route,
        terms=terms,
        asked=tuple(asked.values()),
        spelled=tuple(dict.fromkeys([*(match.lower() for match in _SPELLED.findall(text)), *named_days(text)])),
        names=_names(text, terms),
        said=frozenset(stem(word) for word in words(text)),
        ranges=() if as_of else ranges,
        order=order or ("all" if only_time else ""),
        when=bool(_WHEN.search(text)),
        who=_who(text),
        cites=cites,
        ids=ids,
        where=seen_from(question.where, at),
        at=at,
    )


def seen_from(where: Filter, at: AsOf) -> Filter:
    """A filter that also lets through only what had happened, and had been told, at a point of view."""
    changes: dict[str, Any] = {}
    if at.valid_us is not None:
        changes["until_us"] = min(at.valid_us + 1, where.until_us if where.until_us is not None else at.valid_us + 1)
    if at.known_us is not None:
        changes["known_us"] = min(at.known_us, where.known_us if where.known_us is not None else at.known_us)
    return replace(where, **changes)


def within(where: Filter, span: TimeRange) -> Filter:
    """A filter cut down to a range of time."""
    changes: dict[str, Any] = {}
    if span.since_us is not None:
        changes["since_us"] = max(span.since_us, where.since_us if where.since_us is not None else span.since_us)
    if span.until_us is not None:
        changes["until_us"] = min(span.until_us, where.until_us if where.until_us is not None else span.until_us)
    return replace(where, **changes)


def _terms(text: str) -> dict[str, str]:
    """stem → the first word that has it, of the content words. An index stems by itself, and a stem's stem may be another."""
    found: dict[str, str] = {}
    for word in words(text):
        if word not in STOP_WORDS:
            found.setdefault(stem(word), word)
    return found


def _without(text: str, ranges: Sequence[TimeRange]) -> str:
    """The text without the dates it names: a range finds them, and their words would find other years' Mays."""
    for span in sorted(ranges, key=lambda span: -span.first):
        text = f"{text[: span.first]} {text[span.last :]}"
    return text


def _names(text: str, terms: Sequence[str]) -> tuple[str, ...]:
    found = []
    for i, match in enumerate(_WORD.finditer(text)):
        if i and match.group()[0].isupper():
            found += [stem(word) for word in words(match.group())]
    return tuple(name for name in dict.fromkeys(found) if name in terms)


def _as_of(text: str, ranges: Sequence[TimeRange]) -> AsOf | None:
    for span in ranges:
        before = text[: span.first]
        if _AS_OF.search(before) and span.until_us is not None:
            if _KNOWN.search(before):
                return AsOf(known_us=span.until_us - 1)
            return AsOf(valid_us=span.until_us - 1)
    return None


def _narrowed(at: AsOf, more: AsOf | None) -> AsOf:
    if more is None:
        return at
    return AsOf(
        valid_us=more.valid_us if at.valid_us is None else at.valid_us,
        known_us=more.known_us if at.known_us is None else at.known_us,
    )


def _who(text: str) -> str:
    said = set(words(text))
    me, you = bool(said & {"i", "me", "my", "mine"}), bool(said & {"you", "your", "yours"})
    return "" if me == you else "user" if me else "agent"


_TIME_STEMS = frozenset(stem(word) for word in _TIME_WORDS)
