"""What a question asks for, read from its words by fixed rules: the kind of answer, names, dates, and which time it means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from overwinter.memory.sift.words import GAP, STOP, WORD, terms, word_set

Kind = Literal["when", "number", "who", "where", "list", "cloze", "what"]

MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_SHORT = {month[:3]: number for number, month in enumerate(MONTHS, 1)} | {"sept": 9}
NUMBER_WORDS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "dozen",
    "twenty",
    "thirty",
)
DATE = re.compile(
    r"\b(?:\d{1,2}(?:st|nd|rd|th)?(?: of)? )?(?:"
    + "|".join(month.title() for month in MONTHS)
    + r")\b(?:,? \d{1,2}(?:st|nd|rd|th)?\b)?"
    r"(?:,? (?:19|20)\d\d)?|\b(?:19|20)\d\d(?:-\d\d-\d\d)?\b"
)
RELATIVE = re.compile(
    r"\b(?:yesterday|today|tonight|this morning|last (?:night|week|month|year|weekend|\w+day)|tomorrow|next (?:week|month|year|\w+day)|"
    r"\w+ (?:days|weeks|months|years) ago)\b",
    re.IGNORECASE,
)
NUMBER = re.compile(rf"\b(?:\d+(?:[.,:]\d+)*|{'|'.join(NUMBER_WORDS)})\b", re.IGNORECASE)
HEDGE = re.compile(
    r"\b(?:might|maybe|perhaps|thinking (?:about|of)|considering|wish|if i|would love|almost|dreamt?|dreaming|imagine|not sure|"
    r"in the end i didn't|decided against|tempted)\b",
    re.IGNORECASE,
)
DENIAL = re.compile(r"\b(?:not|never|no longer|n't|anymore|any more|instead of)\b|n['’]t\b", re.IGNORECASE)
_CURRENT = re.compile(
    r"\b(?:now|current|currently|still|these days|at the moment|nowadays|latest|most recent)\b", re.IGNORECASE
)
_EARLIER = re.compile(
    r"\b(?:used to|previous|previously|originally|before|first|earlier|former|formerly|at first|initially)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b[A-Z][\w’'-]*(?: (?:[A-Z][\w’'-]*))*")
_OPENERS = word_set(
    "what when where who whom whose which why how is are was were do does did has have had can could in on at for to from with by "
    "tell name list if the a an since after before during i"
)


@dataclass(frozen=True, slots=True)
class Question:
    """Attributes:
    terms: stems that carry meaning, in order, each once.
    names: capitalised words, lower-cased.
    months: (month, year), either 0 where it is not said.
    current, earlier: whether it asks for how things are, or were before.
    """

    text: str
    kind: Kind
    terms: tuple[str, ...]
    names: tuple[str, ...]
    months: tuple[tuple[int, int], ...]
    current: bool
    earlier: bool


def read_question(text: str) -> Question:
    return Question(
        text=text,
        kind=_kind(text),
        terms=tuple(dict.fromkeys(terms(text.replace(GAP, " ")))),
        names=names_in(text),
        months=tuple(dict.fromkeys(months_in(text))),
        current=bool(_CURRENT.search(text)),
        earlier=bool(_EARLIER.search(text)),
    )


def _kind(text: str) -> Kind:
    words = [word.casefold() for word in WORD.findall(text)]
    if GAP in text:
        return "cloze"
    head = words[:4]
    if "when" in head or {"date", "year", "month"} & set(words[:5]):
        return "when"
    if "how" in head and {"many", "much", "old", "often", "long", "far"} & set(words):
        return "number"
    if {"all", "each"} & set(words[:5]) or (words[:1] in (["which"], ["what"]) and _plural(words)):
        return "list"
    if {"who", "whom", "whose"} & set(head):
        return "who"
    return "where" if "where" in head or {"city", "country", "town", "place"} & set(words[:5]) else "what"


def _plural(words: list[str]) -> bool:
    """ "Which cities has …": the noun that is asked for stands in the plural and before the verb."""
    noun = words[1] if len(words) > 1 else ""
    return len(noun) > 3 and noun.endswith("s") and not noun.endswith(("ss", "us", "is")) and noun not in STOP


def names_in(text: str) -> tuple[str, ...]:
    """Single capitalised words, lower-cased, without those that only begin a question."""
    found: dict[str, None] = {}
    for match in _NAME.finditer(text):
        for word in match[0].split():
            name = word.removesuffix("'s").removesuffix("’s").strip("'’-").casefold()
            if name and name not in _OPENERS and name not in STOP:
                found[name] = None
    return tuple(found)


def months_in(text: str) -> list[tuple[int, int]]:
    """(month, year) of every date in the text, 0 for what it does not say."""
    found = []
    for match in DATE.finditer(text):
        words = re.findall(r"[A-Za-z]+|\d+", match[0])
        year = next((int(word) for word in words if len(word) == 4 and word.isdigit()), 0)
        month = next((_SHORT[word[:3].lower()] for word in words if word[:3].lower() in _SHORT), 0)
        if not month and year and len(words) == 3:
            month = int(words[1])
        found.append((month, year))
    return found
