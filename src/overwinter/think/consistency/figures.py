"""Numbers, amounts and dates in words and digits. What is ambiguous has no value, rather than a guessed one."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from overwinter.think.consistency.wordlist import listed

SMALL = {
    word: number
    for number, word in enumerate(
        listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
}
TENS = {
    word: 10 * number for number, word in enumerate(listed("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
LARGE = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "dozen": 12, "score": 20}
ORDINALS = {
    word: number
    for number, word in enumerate(
        listed(
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
            "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
        ),
        1,
    )
} | {
    f"twenty-{word}": 20 + n
    for n, word in enumerate(listed("first second third fourth fifth sixth seventh eighth ninth"), 1)
}
ORDINALS |= {
    "thirtieth": 30,
    "thirty-first": 31,
    "fortieth": 40,
    "fiftieth": 50,
    "sixtieth": 60,
    "seventieth": 70,
    "eightieth": 80,
}
MONTHS = {
    name: number
    for number, name in enumerate(
        listed("january february march april may june july august september october november december"),
        1,
    )
}
WEEKDAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

_BIG = "hundred|thousand|million"
_FIRST = "|".join([*SMALL, *TENS])
_UNIT = "|".join([*SMALL, *TENS, *LARGE])
NUMBER = (
    rf"(?:\d[\d,]*(?:\.\d+)?(?:\s+(?:{_BIG}))?|(?:an?\s+(?:{'|'.join(LARGE)})"
    rf"|{_FIRST})s?(?:(?:\s+and\s+(?=(?:{_UNIT})\b)|[\s-]+)(?:{_UNIT}))*)\b"
)
"""A pattern without groups; `number_of` says what it is worth."""
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
YEAR = r"(?:1[0-9]\d\d|20\d\d)"
_ORD = rf"(?:{'|'.join(sorted(ORDINALS, key=len, reverse=True))})"
DATE = re.compile(
    rf"\b(?:(?:the\s+)?(?P<d1>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+day)?(?:\s+of)?\s+(?P<m1>{_MONTH})(?:,?\s+(?P<y1>{YEAR}))?"
    rf"|(?P<m2>{_MONTH})\s+(?:the\s+)?(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<y2>{YEAR}))?"
    rf"|the\s+(?P<o3>{_ORD})(?:\s+day)?\s+of\s+(?P<m3>{_MONTH})(?:,?\s+(?P<y3>{YEAR}))?"
    rf"|(?P<m5>{_MONTH})(?:,?\s+(?:of\s+)?|\s+)(?P<y5>{YEAR})"
    rf"|(?P<y4>{YEAR})-(?P<m4>\d\d)-(?P<d4>\d\d))\b"
)
BARE_YEAR = re.compile(rf"(?<![\d£$€,.-]){YEAR}(?![\d,.]*\d)(?!\s*(?:feet|miles|pounds|dollars|men|people|years?|°))\b")
_HEDGE = re.compile(
    r"\b(?:about|around|nearly|almost|some|roughly|approximately|over|under"
    r"|more\s+than|less\s+than|at\s+least|hardly|scarcely|quite)\s+(?:an?\s+)?$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Day:
    """A date as far as it is given; `month` and `day` 0 where they are not, `year` 0 for a day of every year."""

    year: int
    month: int
    day: int
    first: int
    last: int

    @property
    def is_whole(self) -> bool:
        return bool(self.year and self.month and self.day)

    @property
    def key(self) -> tuple[int, int, int]:
        return self.year, self.month, self.day

    def differs(self, other: Day) -> bool:
        """Whether no day fits both: a part that both give is not the same."""
        return any(a and b and a != b for a, b in zip(self.key, other.key, strict=True))

    def weekday(self) -> int | None:
        """0 for Monday; None where the date is not whole."""
        return date(*self.key).weekday() if self.is_whole else None

    def __str__(self) -> str:
        month = list(MONTHS)[self.month - 1].title() if self.month else ""
        return " ".join(part for part in (str(self.day or ""), month, str(self.year or "")) if part)


def days_in(words: str) -> list[Day]:
    """All dates with a month, in order."""
    found = []
    for match in DATE.finditer(words):
        parts = match.groupdict()
        year = next((int(parts[k]) for k in listed("y1 y2 y3 y4 y5") if parts[k]), 0)
        named = next((parts[k] for k in ("m1", "m2", "m3", "m5") if parts[k]), "")
        month = MONTHS[named.lower()] if named else int(parts["m4"])
        day = ORDINALS[parts["o3"]] if parts["o3"] else next((int(parts[k]) for k in ("d1", "d2", "d4") if parts[k]), 0)
        if 1 <= month <= 12 and day <= monthrange(year or 2000, month)[1]:
            found.append(Day(year, month, day, match.start(), match.end()))
    return found


def years_in(words: str) -> list[tuple[int, int]]:
    """(year, place) of all years, those inside dates included."""
    return [(int(match[0]), match.start()) for match in BARE_YEAR.finditer(words)]


def number_of(words: str) -> float | None:
    """The value of what `NUMBER` matched; None for what is no one number ("two three")."""
    plain = words.strip().lower()
    if plain[:1].isdigit():
        digits, _, large = plain.partition(" ")
        return float(digits.replace(",", "").rstrip(".")) * LARGE.get(large.strip(), 1)
    total, current, behind_tens = 0.0, 0.0, False
    tokens = [token for token in re.split(r"[\s-]+", plain) if token not in {"and", "a", "an"}]
    if len(tokens) == 2 and tokens[0] in SMALL and tokens[1] in TENS and 0 < SMALL[tokens[0]] < 10:
        return float(SMALL[tokens[0]] + TENS[tokens[1]])  # "five and twenty"
    for token in (t if t in SMALL or t in TENS else t.removesuffix("s") for t in tokens):
        if token in LARGE:
            current = (current or 1) * LARGE[token]
            if LARGE[token] >= 1000:
                total, current = total + current, 0.0
        elif token in TENS and current % 100 == 0:
            current += TENS[token]
        elif token in SMALL and (current % 100 == 0 or (behind_tens and SMALL[token] < 10)):
            current += SMALL[token]
        else:
            return None
        behind_tens = token in TENS
    return total + current


def is_hedged(words: str, place: int) -> bool:
    """Whether the number at `place` is said to be about right."""
    return _HEDGE.search(words, max(0, place - 24), place) is not None


def numbers_in(words: str) -> Iterator[tuple[float, re.Match[str]]]:
    for match in re.finditer(rf"\b{NUMBER}", words, re.I):
        value = number_of(match[0])
        if value is not None:
            yield value, match
