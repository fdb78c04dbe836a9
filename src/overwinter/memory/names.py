"""Names of things in a text: ids, paths, versions, dates and code names, which a tokenizer for prose takes apart.

`order-17`, `src/a.py` and `2031-04-07` are stored as one term each, beside their words, so that a question that spells one finds
it among thousands of orders. Separators count as equal: `order_17` is `order-17`. Of a path its file name is a name too, and
`parseConfig` is also found as `parse` and `config`. A day that is spelled out ("7 April 2031") is also found as `2031-04-07`, and
the other way round: a promise is looked for by its day, however either of them writes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from overwinter.memory.calendar import NAMES as MONTHS
from overwinter.memory.words import stems, words

JOINER = "\ue000"
"""Stands between the parts of a name: a letter of nobody's alphabet, so that no tokenizer cuts there."""

LONGEST = 80
"""Characters of a name; of longer ones (addresses with parameters) only the last part is one."""

# Starting at words only, and never going back into one: else a text without names would cost its length squared.
_NAME = re.compile(r"(?<![^\W_])[^\W_]++(?:[-_./:@#+\\~]++[^\W_]++)+")
_SLASHES = re.compile(r"[/\\]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS)
_SPELLED_DAY = re.compile(
    rf"\b(?:(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+(?P<month>{_MONTH})\.?"
    rf"|(?P<month_first>{_MONTH})\.?\s+(?P<day_second>\d{{1,2}})(?:st|nd|rd|th)?),?\s+(?P<year>[12]\d{{3}})\b",
    re.IGNORECASE,
)


def names(text: str) -> list[str]:
    """The joined names in a text, in order, those of a path's parts behind it."""
    found: list[str] = []
    for match in _NAME.finditer(text):
        spelled = match.group()
        parts = _SLASHES.split(spelled)
        for name in dict.fromkeys([spelled, *parts] if len(spelled) <= LONGEST else parts[-1:]):
            pieces = words(name.replace("_", " "))
            if len(pieces) > 1 and len(name) <= LONGEST:
                found.append(JOINER.join(pieces))
    return found


def named_days(text: str) -> list[str]:
    """Days that a text spells out with their year, as YYYY-MM-DD, in order."""
    found: list[str] = []
    for match in _SPELLED_DAY.finditer(text):
        month = (match["month"] or match["month_first"]).lower()[:3]
        number = next(number for number, name in enumerate(MONTHS, 1) if name.startswith(month))
        day = int(match["day"] or match["day_second"])
        if 1 <= day <= 31:
            found.append(f"{match['year']}-{number:02d}-{day:02d}")
    return found


def _humps(text: str) -> list[str]:
    if _HUMP.search(text) is None:
        return []
    humped = (word for word in _WORD.findall(text) if _HUMP.search(word))
    return [piece for word in humped for piece in stems(_HUMP.sub(" ", word))]


def index_terms(text: str) -> list[str]:
    """All terms a text is found by: the stems of its words, its names, and the parts of words with humps."""
    days = [JOINER.join(day.split("-")) for day in named_days(text)]
    return stems(text) + names(text) + days + _humps(text)


def asked_terms(terms: Sequence[str]) -> list[str]:
    """The index terms that any of these terms of a question may be found by, each once."""
    return list(dict.fromkeys(found for term in terms for found in stems(term) + names(term)))


def counted_terms(term: str) -> list[str]:
    """The index terms that say how rare a term is: its name where it is one, else its words."""
    return names(term) or stems(term)
