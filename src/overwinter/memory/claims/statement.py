"""Statements: what one span of one unit says. Claims are what all statements of a key come to (`timeline`).

Every statement has its own row in the index, so that a key can be settled again from its rows when something older is told later, or
when evidence is erased. A row says how the statement stands; what cannot be read off that (when it was told, an end that was stated, a
correction) is kept in brackets at the end of `Claim.reason`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from overwinter.memory.claim import Claim, Evidence, claim_id
from overwinter.memory.claims.words import value_of

SURE = 0.5
"""Confidence above which a claim was stated by a trusted source. What an untrusted one or the agent says stays at or below."""

EARLIEST_US = -62135596800000000
"""The beginning of the year 1: "since always"."""

OWN_CONFIDENCE, UNTRUSTED_CONFIDENCE = 0.45, 0.4
"""Of what the agent says, and of tools, the web and documents."""

AFFIRMED, DENYING = "", "not "

REPEAT_MARK = "~"
"""Behind the predicate of a row that says nothing of its own: a repeat, or a statement that was at once found wrong."""

NEWER, DENIED, DEPENDS, CORRECTED, STATED, REPEATS, WEAKER = (
    "newer",
    "denied",
    "depends on",
    "corrected",
    "stated",
    "repeats",
    "trusted source",
)
"""Why a claim no longer holds, or is no longer believed."""

_MARKS = re.compile(r" ?\[([a-z]+(?:=-?\d+)?(?: [a-z]+(?:=-?\d+)?)*)\]$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One span's saying.

    Attributes:
        unit, first, last: the evidence.
        polarity: False for a denial; a denial with an empty object denies every value.
        valid_from_us: since when it holds. `EARLIEST_US`: before all that is known.
        ends_us: a stated end, None if none was; `ends_softly`: it counts only while nothing later is known ("in 2029 it was X").
        told_us: when the journal learned of it.
        never: a denial of what was said before, not of what holds from now on ("it was never X").
        corrects: it is said instead of what was believed; it takes over that one's beginning.
        reaches_back: it is known to have held just before an end ("until March it was X"): it goes back as far as nothing else is known.
        depends: ids of the statements it was said to follow from.
    """

    unit: str
    first: int
    last: int
    subject: str
    predicate: str
    object: str
    polarity: bool = True
    confidence: float = 0.9
    valid_from_us: int
    told_us: int
    ends_us: int | None = None
    ends_softly: bool = False
    never: bool = False
    corrects: bool = False
    reaches_back: bool = False
    depends: tuple[str, ...] = ()
    id: str = field(default="")
    value: str = field(default="")

    def __post_init__(self) -> None:
        triple = (self.subject, self.predicate, (AFFIRMED if self.polarity else DENYING) + self.object)
        object.__setattr__(self, "id", claim_id(self.unit, self.first, self.last, triple))
        object.__setattr__(self, "value", value_of(self.predicate, self.object))

    @property
    def key(self) -> tuple[str, str]:
        return self.subject, self.predicate

    @property
    def sure(self) -> bool:
        return self.confidence > SURE

    @property
    def own(self) -> bool:
        """Said by the agent."""
        return UNTRUSTED_CONFIDENCE < self.confidence <= SURE

    @property
    def place(self) -> tuple[int, int, str]:
        """Order on the axis of validity; what was told later comes later."""
        return self.valid_from_us, self.told_us, self.id

    @property
    def evidence(self) -> Evidence:
        return Evidence(unit=self.unit, first=self.first, last=self.last)

    def marks(self, claim_from_us: int, known_from_us: int) -> str:
        """What a row with these beginnings does not say of the statement."""
        marks = []
        if claim_from_us != self.valid_from_us:
            marks.append(f"from={self.valid_from_us}")
        if known_from_us != self.told_us:
            marks.append(f"told={self.told_us}")
        if self.ends_us is not None:
            marks.append(f"{'about' if self.ends_softly else 'until'}={self.ends_us}")
        if self.never:
            marks.append("never")
        marks += [name for name, is_so in (("corrects", self.corrects), ("back", self.reaches_back)) if is_so]
        return f" [{' '.join(marks)}]" if marks else ""


def said_triple(claim: Claim) -> tuple[str, str, str]:
    """What the id of a claim's statement is made of."""
    predicate = claim.predicate.removesuffix(REPEAT_MARK)
    return claim.subject, predicate, (AFFIRMED if claim.polarity else DENYING) + claim.object


def statement_of(claim: Claim) -> Statement | None:
    """The statement that a row was made for; None for a later version of one, or one whose evidence is gone."""
    triple = said_triple(claim)
    own = next((one for one in claim.evidence if claim_id(one.unit, one.first, one.last, triple) == claim.id), None)
    if own is None:
        return None
    marks = dict(mark.partition("=")[::2] for mark in _marks_of(claim.reason))
    soft, hard = marks.get("about"), marks.get("until")
    ends = soft or hard
    return Statement(
        unit=own.unit,
        first=own.first,
        last=own.last,
        subject=claim.subject,
        predicate=triple[1],
        object=claim.object,
        polarity=claim.polarity,
        confidence=claim.confidence,
        valid_from_us=int(marks.get("from", claim.valid_from_us)),
        told_us=int(marks.get("told", claim.known_from_us)),
        ends_us=None if ends is None else int(ends),
        ends_softly=soft is not None,
        never="never" in marks,
        corrects="corrects" in marks,
        reaches_back="back" in marks,
        depends=claim.depends,
    )


def _marks_of(reason: str) -> list[str]:
    found = _MARKS.search(reason)
    return found[1].split(" ") if found else []


def plain_reason(claim: Claim) -> str:
    """The rule that ended a claim, without the marks."""
    return _MARKS.sub("", claim.reason)
