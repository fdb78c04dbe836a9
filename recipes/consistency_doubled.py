"""Real sentences said twice with one figure changed: contradictions in words that nobody wrote for a test.

A sentence of a book that names somebody or something and holds a figure, a colour, a rank … is put in again elsewhere, with another
figure. The patterns here only say which sentences are taken and what is changed in them; they know nothing of the rules.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from overwinter.think.consistency.planted import places_of
from overwinter.think.consistency.slots import WEEKDAYS, in_words
from overwinter.think.consistency.text import Text
from overwinter.think.consistency.wordlist import listed

_SMALL = {in_words(n): n for n in range(2, 100)}
_NUM = rf"(?P<v>\d[\d,]*|{'|'.join(sorted(_SMALL, key=len, reverse=True))})"
_COLOURS = listed("blue brown green black red golden")
_RANKS = listed("Captain Major Colonel General Lieutenant Admiral Sergeant")
_KIN = listed("son daughter brother sister uncle aunt nephew niece cousin father mother")


def _number(words: str, rng: random.Random) -> str:
    """Another number, at least a third larger, in the same form."""
    if words.lower() in _SMALL:
        value = _SMALL[words.lower()]
        return in_words(min(99, value + max(2, value // 3) + rng.randrange(3)))
    value = int(words.replace(",", ""))
    return (
        f"{value + max(2, value // 3) + rng.randrange(5):,}"
        if "," in words
        else str(value + max(2, value // 3) + rng.randrange(5))
    )


def _year(words: str, rng: random.Random) -> str:
    return str(int(words) + rng.choice([-8, -5, 4, 7]))


def _other(choices: list[str]) -> Callable[[str, random.Random], str]:
    return lambda words, rng: rng.choice([one for one in choices if one.lower() != words.lower()])


_YEAR = r"(?P<v>1[4-9]\d\d|20[01]\d)"
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
FORMS: dict[str, tuple[re.Pattern[str], Callable[[str, random.Random], str]]] = {
    "year of birth": (re.compile(rf"\bborn\b[^.;]{{0,40}}\bin\s+{_YEAR}\b"), _year),
    "year of death": (re.compile(rf"\bdied\b[^.;]{{0,30}}\bin\s+{_YEAR}\b"), _year),
    "date": (re.compile(rf"\b{_MONTH}\s+\d{{1,2}},\s+{_YEAR}\b|\b\d{{1,2}}\s+{_MONTH}\s+(?P<w>1[4-9]\d\d)\b"), _year),
    "weekday": (re.compile(rf"\b(?P<v>{'|'.join(WEEKDAYS)}),\s+{_MONTH}\s+\d{{1,2}},\s+\d{{4}}"), _other(WEEKDAYS)),
    "duration": (re.compile(rf"\blast(?:ed|s)\s+(?:for\s+|about\s+|only\s+)?{_NUM}\s+(?:hours|days|weeks|months|years)\b"), _number),
    "count": (re.compile(rf"\b(?:has|had|have|contains?|contained)\s+{_NUM}\s+[a-z]+s\b(?<!years)(?<!days)"), _number),
    "size": (re.compile(rf"\b{_NUM}\s+(?:feet|meters|metres|miles|kilometers|yards)\s+(?:high|tall|long|wide|deep|across)\b"), _number),
    "price": (re.compile(rf"\b(?:cost|paid|price|bought|purchased)\b[^.;]{{0,40}}(?:\$"
                         rf"|£)?{_NUM}\s+(?:million|dollars|pounds|cents)"), _number),
    "distance": (re.compile(rf"\b{_NUM}\s+(?:miles|kilometers|leagues)\s+(?:\w+\s+){{0,2}}from\s+[A-Z]"), _number),
    "colour of eyes or hair": (re.compile(rf"\b(?P<v>{'|'.join(_COLOURS)})\s+(?:eyes|hair)\b"), _other(_COLOURS)),
    "direction": (re.compile(r"\b(?P<v>north|south|east|west)\s+of\s+[A-Z]"), _other(listed("north south east west"))),
    "list": (re.compile(r"\b(?P<v>two|three|four|five|six)\s+(?:[a-z]+\s+)?[a-z]+s:\s+[^.:;]+\."), _number),
    "rank": (re.compile(rf"\b(?P<v>{'|'.join(_RANKS)})\s+[A-Z][a-z]+\s+[A-Z][a-z]+\b"), _other(_RANKS)),
    "kinship": (re.compile(rf"\b(?P<v>{'|'.join(_KIN)})\s+of\s+[A-Z][a-z]+"), _other(_KIN)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Doubled:
    """A sentence of a book and its changed copy, with the spans of both in `text`."""

    form: str
    text: str
    first: tuple[int, int]
    second: tuple[int, int]


def doubled(book: str, seed: int, most: int = 40) -> Iterator[Doubled]:
    """Up to `most` sentences of each form, each doubled in a text of its own: the pages round it, the copy three paragraphs later."""
    read, rng = Text(book), random.Random(seed)
    places = places_of(book)
    named = [one for one in read.sentences if one.asserted and 40 < one.last - one.first < 300 and _names(one.words)]
    for form, (pattern, change) in FORMS.items():
        found = [(one, match) for one in named for match in [pattern.search(one.words)] if match]
        for one, match in rng.sample(found, min(most, len(found))):
            group = "v" if match.groupdict().get("v") else "w"
            value = match[group]
            sentence = book[one.first : one.last]
            copy = sentence[: match.start(group)] + change(value, rng) + sentence[match.end(group) :]
            later = [place for place in places if place > one.last + 600][:3]
            if later:
                start, end = max(0, one.first - 4000), later[-1] + 4000
                text = f"{book[start : later[-1]]} {copy}{book[later[-1] : end]}"
                second = later[-1] - start + 1
                yield Doubled(
                    form=form,
                    text=text,
                    first=(one.first - start, one.last - start),
                    second=(second, second + len(copy)),
                )


def _names(words: str) -> bool:
    """Somebody or something is named beyond the sentence's first word."""
    return re.search(r"(?<=[a-z,] )[A-Z][a-z]+", words) is not None
