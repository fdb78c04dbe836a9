"""Where a value ends: what trails it says when, what for, or what it was before."""

from __future__ import annotations

import re

from overwinter.memory.claims.phrases import NO_VALUE, PRONOUNS

_TAIL = re.compile(
    r"\s*[,(]?\s*(?:(?P<wrong>(?:and\s+|but\s+)?not)|instead\s+of|rather\s+than|formerly|previously|up\s+from|down\s+from|no\s+longer|was|it\s+was|replacing|from)"
    r"\s+(?P<a>[^,()]{1,80}?)\)?$",
    re.IGNORECASE,
)
_NO_OBJECT = re.compile(
    r"^(?:that|what|why|how|who|where|when|because|it|there|here|not|to\b|going|being|able|about\s+to|in\s*$|at\s*$|of\b|than\b|as\b"
    r"|over\s*$|away\s*$|back\s*$|important|necessary|possible|clear|true|time\s+to|up\s+to|like\b|so\b|very\b|a\s+lot|why\b)",
    re.IGNORECASE,
)
_SAYS_MORE = re.compile(r"\s(?:is|are|was|were|has|have|will)\s", re.IGNORECASE)
_PLACES = frozenset({"home", "location", "employer", "birthplace"})
_OF_VERBS = frozenset({"has", "home", "employer", "likes", "dislikes", "uses", "vehicle", "spouse"})
_ADJUNCT = re.compile(
    r"(?<=\S)\s+(?:after|before|during|for|with|because\s+of|due\s+to|thanks\s+to|on|at|in|from|to|when|so)\s+\S.*$",
    re.IGNORECASE,
)
_ADJUNCT_OF_ATTRIBUTE = re.compile(
    r"(?<=\S)\s+(?:after|before|during|for|because\s+of|due\s+to|thanks\s+to|when|so\s+that|by\s+(?:the|my|our|his|her|their)|with\s+(?:immediate|the))\s+\S.*$",
    re.IGNORECASE,
)
INSTEAD = re.compile(r"(?P<a>\S.*?),?\s+but\s+(?:rather\s+|now\s+)?(?P<o>\S.*)")
"""In what is denied: "no longer A but B"."""


def last_value(words: str) -> str:
    """The words behind the last verb, pronoun or preposition."""
    tokens = words.split()
    start = len(tokens)
    while start and not NO_VALUE.fullmatch(tokens[start - 1]):
        start -= 1
    return " ".join(tokens[start:]) if 0 < start < len(tokens) else ""


def trimmed(predicate: str, words: str) -> str:
    """An object without the adjunct behind it ("to Rome for work"): more prepositions can be one after a verb than after an attribute."""
    words = (_ADJUNCT if predicate in _OF_VERBS else _ADJUNCT_OF_ATTRIBUTE).sub("", words)
    return re.sub(r"^(?:in|at|to)\s+", "", words, flags=re.IGNORECASE) if predicate in _PLACES else words


def object_of(words: str) -> tuple[str, str, str]:
    """An object without what trails it: (object, former value, value called wrong); "" where it is none."""
    object_, former, wrong = re.split(r"\s{2,}", words.strip(), maxsplit=1)[0].strip(" ,.;:"), "", ""
    tail = _TAIL.search(object_)
    if tail and tail.start() > 0:
        object_ = object_[: tail.start()].strip(" ,.;:(")
        former, wrong = tail["a"].strip(), tail["a"].strip() if tail["wrong"] else ""
    object_ = object_.strip("\"'`“”‘’*")
    if (
        not object_
        or len(object_.split()) > 10
        or len(object_) > 120
        or _NO_OBJECT.match(object_)
        or _SAYS_MORE.search(object_)
        or object_.casefold() in PRONOUNS
    ):
        return "", "", ""
    return object_, former, wrong
