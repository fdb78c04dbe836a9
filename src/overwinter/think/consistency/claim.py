"""Claims: what a text says of what, with the place where it says it; and findings, two places that cannot both hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from overwinter.think.consistency.taxonomy import CATEGORY_OF, Category, Subtype

Value = float | str | tuple[float, ...] | tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One statement of the narrator's.

    Attributes:
        kind: the kind of contradiction it can take part in.
        subject, attribute: what is spoken of, as keys; claims of one kind, subject and attribute are held against each other.
        value: what is said of it: a number, a word, or a date as (year, month, day) with 0 for what is not said.
        words: the value as it stands there.
        year: the year it is said of; 0 for none.
        tolerance: how far apart numbers may be, as a share; above 0 where the text says "about".
        first, last: half-open span of the sentence in the text.
        role: for kinds with two sides (a death and a deed), which side this is.
    """

    kind: str
    subject: str
    attribute: str
    value: Value
    words: str
    first: int
    last: int
    year: int = 0
    tolerance: float = 0.0
    role: str = ""
    named: str = ""
    """The subject as the text names it."""
    against: tuple[int, int] | None = None
    """Of a sentence that contradicts itself: the span of the part that does."""

    @property
    def about(self) -> str:
        """The subject for people to read."""
        return self.named or self.subject

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.subject, self.attribute


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """A place in a text: `text` is exactly its characters `first` to `last` (half-open), on `line` (from 1)."""

    text: str
    first: int
    last: int
    line: int
    source: str = ""
    """Of a run: the entry it stands in."""

    def as_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"text": self.text, "first": self.first, "last": self.last, "line": self.line}
        return record | ({"source": self.source} if self.source else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Two places that cannot both hold, the earlier one first. Where a sentence contradicts itself, it and the part at odds with it.

    Attributes:
        by: "rules", or the model that found it.
    """

    kind: str
    subtype: Subtype
    first: Quote
    second: Quote
    explanation: str
    confidence: float
    by: str = "rules"

    @property
    def category(self) -> Category:
        return CATEGORY_OF[self.subtype]

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "category": self.category.value,
            "subtype": self.subtype.value,
            "first": self.first.as_json(),
            "second": self.second.as_json(),
            "explanation": self.explanation,
            "confidence": self.confidence,
            "by": self.by,
        }
