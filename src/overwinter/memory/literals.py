"""Which of many patterns may match a text at all: found by the literals that each cannot do without.

The idea: a rule like `\\s(?:moved|relocated)\\s+to\\s` matches no text that holds neither "moved" nor "relocated". Looking for a
few hundred short strings is a matter of microseconds, trying a few hundred patterns one of milliseconds. What a pattern needs is read off
its syntax tree, as RE2 does for its filtered sets, so nobody has to keep lists in step with patterns. A gate never says no to a pattern
that matches; where a tree is not understood it says yes.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from operator import add
from typing import Any, TypeAlias

MAX_STRINGS = 96
"""Of one alternative's finite language; beyond, its parts are needed one by one."""

_RARE = 6.0
"""Sets of literals that most texts hold gate nothing."""

_EQUAL = {"ſ": "s", "ı": "i", "\u0307": ""}
"""Letters that are equal where `re` ignores case without being each other's lower case; İ becomes i and a dot."""


def fold(text: str) -> str:
    """Lower case as `re.IGNORECASE` sees it; lengths may differ from the text's."""
    lower = text.lower()
    return lower if lower.isascii() else "".join(_EQUAL.get(letter, letter) for letter in lower)


class Gate:
    """Answers for a list of patterns at once: `may_match(fold(text))` has bit i set where pattern i may match somewhere in the text.

    Also holds for what is left of a text after parts of it were blanked with spaces.
    """

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        self.patterns = tuple(patterns)

    @cached_property
    def _needed(self) -> _Needed:
        """Read off when first asked: it takes as long as compiling the patterns, and many a process never reads a text."""
        free, bits = [0, 0], dict[str, list[int]]()
        for number, pattern in enumerate(self.patterns):
            sets = [*needs(pattern)[:2], None, None][:2]
            for place, literals in enumerate(sets):
                if literals is None:
                    free[place] |= 1 << number
                for literal in literals or ():
                    bits.setdefault(literal, [0, 0])[place] |= 1 << number
        rows = [(literal, one, two) for literal, (one, two) in bits.items()]
        return _Needed(
            free=(free[0], free[1]),
            short=[each for each in rows if len(each[0]) < 2],
            by_pair=_by_pair([each for each in rows if len(each[0]) > 1]),
        )

    def may_match(self, folded: str) -> int:
        needed = self._needed
        pairs = needed.by_pair.keys() & {*map(add, folded, folded[1:])}
        return needed.found(folded, [needed.short, *[needed.by_pair[pair] for pair in pairs]])

    def may_match_plainly(self, folded: str) -> int:
        """The slow twin: every literal is looked for."""
        needed = self._needed
        return needed.found(folded, [needed.short, *needed.by_pair.values()])


_Row: TypeAlias = "tuple[str, int, int]"
"""A literal, and the patterns whose first and whose second set it is in, as bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Needed:
    """What the patterns of a gate need. `free`: those without a first, without a second set; literals of two letters and more `by_pair`."""

    free: tuple[int, int]
    short: list[_Row]
    by_pair: dict[str, list[_Row]]

    def found(self, folded: str, groups: Iterable[list[_Row]]) -> int:
        one, two = self.free
        for rows in groups:
            for literal, first, second in rows:
                if literal in folded:
                    one |= first
                    two |= second
        return one & two


def _by_pair(literals: list[_Row]) -> dict[str, list[_Row]]:
    """Each literal under the rarest pair of letters it holds, so that a text is asked for few of them."""
    found: dict[str, list[_Row]] = {}
    for each in literals:
        pairs = [each[0][at : at + 2] for at in range(len(each[0]) - 1)]
        found.setdefault(min(pairs, key=_pair_commonness), []).append(each)
    return found


_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
"""From the most common letter of English to the rarest."""


def _pair_commonness(pair: str) -> float:
    return math.prod(27 - _LETTERS.index(letter) if letter in _LETTERS else 2 for letter in pair)


def bits_of(mask: int) -> Iterable[int]:
    """The places of the set bits, in order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def needs(pattern: re.Pattern[str]) -> list[frozenset[str]]:
    """Sets of folded literals, rarest set first: every match holds one literal of each."""
    try:
        parser: Any = importlib.import_module("re._parser")
        tree = parser.parse(pattern.pattern, pattern.flags)
    except (ImportError, AttributeError):  # a private module of the standard library
        return []
    found = _sequence(tree)
    sets = {_least(each) for each in found.every()}
    return sorted(
        (each for each in sets if _commonness(each) < _RARE), key=lambda each: (_commonness(each), sorted(each))
    )


@dataclass(slots=True)
class _Need:
    """What a piece of a pattern needs: all its matches are in `exact` (None: not known), and hold one of each set of `sets`."""

    exact: frozenset[str] | None = None
    sets: list[frozenset[str]] = field(default_factory=list)

    def every(self) -> list[frozenset[str]]:
        return self.sets + ([self.exact] if self.exact and "" not in self.exact else [])


_NOTHING = frozenset([""])


def _sequence(tree: Any) -> _Need:
    exact, sets, whole = _NOTHING, list[frozenset[str]](), True

    def flush() -> None:
        nonlocal exact, whole
        if "" not in exact:
            sets.append(exact)
        exact, whole = _NOTHING, False

    for op, value in tree:
        part = _part(str(op), value)
        if part.exact is None:
            flush()
            sets += part.sets
        elif len(exact) * len(part.exact) <= MAX_STRINGS:
            exact = frozenset(a + b for a, b in product(exact, part.exact))
        else:
            flush()
            exact = part.exact
    if whole:
        return _Need(exact=exact)
    flush()
    return _Need(sets=sets)


def _part(op: str, value: Any) -> _Need:
    if op == "LITERAL":
        return _letter(value)
    if op in {"AT", "ASSERT", "ASSERT_NOT"}:
        return _Need(exact=_NOTHING)
    if op == "SUBPATTERN":
        return _sequence(value[3])
    if op == "ATOMIC_GROUP":
        return _sequence(value)
    if op == "BRANCH":
        return _either([_sequence(each) for each in value[1]])
    if op == "IN":
        return _class(value)
    if op in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
        least, most, inner = value
        part = _sequence(inner)
        if least == most == 1:
            return part
        if least == 0 and most == 1 and part.exact is not None:
            return _Need(exact=part.exact | _NOTHING)
        return _Need(sets=part.every() if least else [])
    return _Need()


def _letter(code: int) -> _Need:
    letter = chr(code)
    # A space may be one that another rule put there, and letters that are not ASCII have cases of their own.
    known = not letter.isspace() and (letter.isascii() or letter.lower() == letter.upper())
    return _Need(exact=frozenset([letter.lower()])) if known else _Need()


def _class(members: Any) -> _Need:
    """A class of few known letters is an alternative of them."""
    codes: list[int] = []
    for kind, value in members:
        if str(kind) == "LITERAL":
            codes.append(value)
        elif str(kind) == "RANGE" and value[1] - value[0] < 10:
            codes += range(value[0], value[1] + 1)
        else:
            return _Need()
    return _either([_letter(code) for code in codes])


def _either(parts: list[_Need]) -> _Need:
    exacts = [part.exact for part in parts if part.exact is not None]
    if len(exacts) == len(parts) and sum(map(len, exacts)) <= MAX_STRINGS:
        return _Need(exact=frozenset().union(*exacts))
    every = [part.every() for part in parts]
    if not all(every):
        return _Need()
    return _Need(sets=[frozenset().union(*(min(each, key=_commonness) for each in every))])


def _least(literals: frozenset[str]) -> frozenset[str]:
    """Without those that hold another one."""
    return frozenset(each for each in literals if not any(other != each and other in each for other in literals))


def _commonness(literals: frozenset[str]) -> float:
    """About how often a sentence holds one of them: a guess that only has to rank sets."""
    return sum(60.0 * math.prod(_share(letter) for letter in each) for each in literals)


def _share(letter: str) -> float:
    return 1 / 12 if letter.isalpha() else 1 / 30 if letter.isdigit() else 1 / 150
