"""Names of things in a text: ids, paths, versions, dates and code names, which a tokenizer for prose takes apart.

`order-17`, `src/a.py` and `2031-04-07` are stored as one term each, beside their words, so that a question that spells one finds
it among thousands of orders. Separators count as equal: `order_17` is `order-17`. Of a path its file name is a name too, and
`parseConfig` is also found as `parse` and `config`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from overwinter.memory.words import stems, words

JOINER = "\ue000"
"""Stands between the parts of a name: a letter of nobody's alphabet, so that no tokenizer cuts there."""

LONGEST = 80
"""Characters of a name; of longer ones (addresses with parameters) only the last part is one."""

_NAME = re.compile(r"[^\W_]+(?:[-_./:@#+\\~]+[^\W_]+)+")
_SLASHES = re.compile(r"[/\\]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HUMPED = re.compile(r"[^\W_]*[a-z0-9][A-Z][^\W_]*")


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


def _humps(text: str) -> list[str]:
    return [piece for match in _HUMPED.finditer(text) for piece in stems(_HUMP.sub(" ", match.group()))]


def index_terms(text: str) -> list[str]:
    """All terms a text is found by: the stems of its words, its names, and the parts of words with humps."""
    return stems(text) + names(text) + _humps(text)


def asked_terms(terms: Sequence[str]) -> list[str]:
    """The index terms that any of these terms of a question may be found by, each once."""
    return list(dict.fromkeys(found for term in terms for found in stems(term) + names(term)))


def counted_terms(term: str) -> list[str]:
    """The index terms that say how rare a term is: its name where it is one, else its words."""
    return names(term) or stems(term)
