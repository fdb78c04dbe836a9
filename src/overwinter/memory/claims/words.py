"""The words of claims: how subjects, predicates and values are normalised, and which predicates hold one value at a time."""

from __future__ import annotations

import re
from functools import lru_cache

MANY = frozenset(
    """has|likes|dislikes|prefers|speaks|knows|visited|member of|allergic to|promised|plays|studies|is|is a|uses|friend|sibling|child|pet
    hobby|can|language|allergy|skill""".replace("\n    ", "|").split("|")
)
"""Predicates of which several values may hold together. Any other holds one, and a newer value ends the older."""

_SAME = {
    "address": "address",
    "home": "home",
    "home town": "home",
    "hometown": "home",
    "home city": "home",
    "city": "home",
    "city of residence": "home",
    "place of residence": "home",
    "residence": "home",
    "workplace": "employer",
    "company": "employer",
    "place of work": "employer",
    "occupation": "job",
    "profession": "job",
    "job title": "job",
    "position": "job",
    "phone": "phone number",
    "telephone": "phone number",
    "telephone number": "phone number",
    "mobile": "phone number",
    "mobile number": "phone number",
    "cell": "phone number",
    "e-mail": "email",
    "email address": "email",
    "e-mail address": "email",
    "mail address": "email",
    "date of birth": "birthday",
    "due date": "deadline",
    "supervisor": "manager",
    "boss": "manager",
    "cost": "price",
    "status": "state",
    "condition": "state",
    "colour": "color",
    "temp": "temperature",
    "nick": "nickname",
    "surname": "last name",
}

_DETERMINERS = re.compile(
    r"^(?:(?:the|a|an|this|that|these|those|its|his|her|their|my|our|your|some|any|no|new|current|latest|actual|present)\s+)+",
    re.I,
)
_OLD = re.compile(
    r"^(?:(?:old|former|previous|original|latest|new|newest|current|present|usual|actual|updated|official|preferred)\s+)+",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[\s_]+")
_EDGES = " \t\n.,;:!?\"'`“”‘’()[]<>*"


@lru_cache(maxsize=65536)
def subject_of(words: str) -> str:
    """ "The old Pump-3" → "old pump-3"."""
    return _DETERMINERS.sub("", _SPACE.sub(" ", words.strip(_EDGES))).removesuffix("'s").removesuffix("’s").casefold()


@lru_cache(maxsize=65536)
def predicate_of(words: str) -> str:
    """ "her new telephone number" → "phone number"."""
    plain = _SPACE.sub(" ", words.strip(_EDGES)).casefold()
    plain = _OLD.sub("", _DETERMINERS.sub("", plain))
    plain = re.sub(r"\bfavorite\b", "favourite", plain)
    return _SAME.get(plain, plain)


@lru_cache(maxsize=65536)
def value_of(predicate: str, words: str) -> str:
    """What of an object counts when values are compared: no case, articles, politeness; of a promise, what was promised."""
    plain = _DETERMINERS.sub("", _SPACE.sub(" ", words.strip(_EDGES))).casefold()
    if predicate == "promised":
        kept = re.sub(
            r"\b(?:by|before|until|till|on|at|in|within|next|this|for|to|today|tomorrow|tonight)\b.*$", "", plain
        ).split()
        return " ".join(_DETERMINERS.sub("", " ".join(kept[1:])).split()) or plain
    return plain


def covers(denied: str, value: str, *, several: bool) -> bool:
    """Does a denial of one value end another? "No longer has a car" ends "red car", where several values may hold."""
    if denied in {"", value}:
        return True
    return several and set(denied.split()) <= set(value.split())


def is_single(predicate: str) -> bool:
    return predicate not in MANY
