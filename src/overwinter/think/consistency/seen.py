"""One sentence as the extractors see it: who and what is named in it, found when first asked for."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from overwinter.think.consistency.claim import Claim, Value
from overwinter.think.consistency.figures import Day, days_in, years_in
from overwinter.think.consistency.names import Name, Names
from overwinter.think.consistency.text import Sentence, folded

_ARTICLE = re.compile(r"^(?:the|an?|this|that|our|their|his|her|its|old|great)\s+", re.I)


class Seen:
    """A sentence and its names, dates and years."""

    def __init__(self, sentence: Sentence, names: Names) -> None:
        self.sentence = sentence
        self.words = sentence.words
        self._names = names

    @cached_property
    def names(self) -> list[Name]:
        return self._names.within(self.words)

    @cached_property
    def persons(self) -> list[Name]:
        return [name for name in self.names if name.sort == "person" and name.key]

    @cached_property
    def places(self) -> list[Name]:
        return [name for name in self.names if name.sort == "place"]

    @cached_property
    def person(self) -> Name | None:
        """The one person named; None where there is none or more than one, or one that is not clear."""
        named = {name.key for name in self.names if name.sort == "person"}
        return self.persons[0] if len(named) == 1 and self.persons else None

    @cached_property
    def days(self) -> list[Day]:
        return days_in(self.words)

    @cached_property
    def years(self) -> list[tuple[int, int]]:
        return years_in(self.words)

    @cached_property
    def year(self) -> int:
        """The one year named, else 0."""
        distinct = {year for year, _ in self.years}
        return distinct.pop() if len(distinct) == 1 else 0

    def claim_of(self, kind: str, person: Name, value: Value, words: str, **more: Any) -> Claim:
        """A claim about somebody, under the name the text gives."""
        return self.claim(kind, person.key, value, words, named=person.words, **more)

    def claim(self, kind: str, subject: str, value: Value, words: str, **more: Any) -> Claim:
        more.setdefault("attribute", kind)
        return Claim(
            kind=kind,
            subject=subject,
            value=value,
            words=words,
            first=self.sentence.first,
            last=self.sentence.last,
            **more,
        )


def thing_key(words: str) -> str:
    """A thing as a key: folded, without articles."""
    key = folded(words)
    while (bare := _ARTICLE.sub("", key)) != key:
        key = bare
    return key.removesuffix("'s").strip(" ,.;:")
