"""Words as the lexical channel counts them: letters and digits, folded, without accents, cut to their stem.

It is what SQLite's `porter unicode61` tokenizer makes of a text, so that a question's terms can be weighed before an index is
asked; `tests/memory/test_memory_words.py` compares the two on many words. The stemmer is M. F. Porter's (An algorithm for
suffix stripping, Program 14(3), 1980).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")
_SHORTEST, _LONGEST = 3, 64
"""Words outside these lengths are not cut, as SQLite does."""


def words(text: str) -> list[str]:
    """The words of a text in order, folded, not stemmed."""
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in apart if not unicodedata.combining(char))
    return _WORD.findall(text.lower())


def stems(text: str) -> list[str]:
    """The stems of a text's words, in order."""
    return [stem(word) for word in words(text)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a folded word."""
    if not _SHORTEST <= len(word) <= _LONGEST or not word.isascii():
        return word
    for step in (_plurals, _past, _y_to_i, _long_suffixes, _shorter_suffixes, _bare_suffixes, _final_letters):
        word = step(word)
    return word


def _is_consonant(word: str, i: int) -> bool:
    letter = word[i]
    if letter in "aeiou":
        return False
    return letter != "y" or i == 0 or not _is_consonant(word, i - 1)


def _measure(part: str) -> int:
    """How often a vowel is followed by a consonant: m of [C](VC)^m[V]."""
    count, vowel_before = 0, False
    for i in range(len(part)):
        consonant = _is_consonant(part, i)
        count += consonant and vowel_before
        vowel_before = not consonant
    return count


def _has_vowel(part: str) -> bool:
    return any(not _is_consonant(part, i) for i in range(len(part)))


def _ends_double(part: str) -> bool:
    return len(part) > 1 and part[-1] == part[-2] and _is_consonant(part, len(part) - 1)


def _ends_short(part: str) -> bool:
    """Consonant, vowel, consonant, the last not w, x or y."""
    if len(part) < 3 or part[-1] in "wxy":
        return False
    last = len(part) - 1
    return _is_consonant(part, last) and not _is_consonant(part, last - 1) and _is_consonant(part, last - 2)


def _plurals(word: str) -> str:
    if len(word) > 3 and word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        part = word[: -len(suffix)]
        if word.endswith(suffix) and _has_vowel(part):
            return _mend(part)
    return word


def _mend(part: str) -> str:
    """Give back the letter that taking off -ed or -ing cost."""
    if part.endswith(("at", "bl", "iz")):
        return part + "e"
    if _ends_double(part) and part[-1] not in "lsz":
        return part[:-1]
    return part + "e" if _measure(part) == 1 and _ends_short(part) else part


def _y_to_i(word: str) -> str:
    return word[:-1] + "i" if word.endswith("y") and _has_vowel(word[:-1]) else word


_LONG = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "logi": "log", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate",
    "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble",
}  # fmt: skip
_SHORTER = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_BARE = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
)  # fmt: skip


def _replaced(word: str, endings: dict[str, str]) -> str:
    """The longest ending that fits is the one that counts, whether or not the stem before it is long enough."""
    for suffix in sorted(endings, key=len, reverse=True):
        if word.endswith(suffix):
            part = word[: -len(suffix)]
            return part + endings[suffix] if _measure(part) > 0 else word
    return word


def _long_suffixes(word: str) -> str:
    return _replaced(word, _LONG)


def _shorter_suffixes(word: str) -> str:
    return _replaced(word, _SHORTER)


def _bare_suffixes(word: str) -> str:
    for suffix in sorted(_BARE, key=len, reverse=True):
        if word.endswith(suffix):
            part = word[: -len(suffix)]
            fits = suffix != "ion" or part.endswith(("s", "t"))
            return part if fits and _measure(part) > 1 else word
    return word


def _final_letters(word: str) -> str:
    if word.endswith("e"):
        part = word[:-1]
        if _measure(part) > 1 or (_measure(part) == 1 and not _ends_short(part)):
            word = part
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
