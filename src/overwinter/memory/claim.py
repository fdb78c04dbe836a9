"""Claims: what units say of the world, with two axes of time and the words that say it.

A claim is never changed or deleted by inference. What a later unit contradicts has its interval closed: `valid_to_us` says
until when it held, `known_to_us` until when it was believed. So the index can answer what held then, and what was believed
then, which are different questions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

CLAIM_RULES = 2
"""Version of the rules that extract and settle claims."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The words behind a claim: half-open span of characters in the text of a unit."""

    unit: str
    first: int
    last: int
    supports: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One fact somebody stated.

    Attributes:
        id: `claim_id(...)`.
        subject, predicate: normalised; the key under which a newer claim can close an older one.
        object: the value, as said.
        polarity: False for a denial ("no longer has a dog").
        confidence: 0..1, of the extraction.
        valid_from_us, valid_to_us: when it held, half-open; `valid_to_us` None while it holds.
        known_from_us, known_to_us: when it was believed; `known_to_us` None while it is.
        superseded_by: the claim that closed it, "" if none; `reason` says by which rule.
        depends: claims this one follows from: it is in doubt when one of them no longer holds.
    """

    id: str
    subject: str
    predicate: str
    object: str
    polarity: bool
    confidence: float
    valid_from_us: int
    valid_to_us: int | None
    known_from_us: int
    known_to_us: int | None
    superseded_by: str = ""
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    depends: tuple[str, ...] = field(default=())

    @property
    def key(self) -> tuple[str, str]:
        return self.subject, self.predicate


def claim_id(unit: str, first: int, last: int, triple: tuple[str, str, str], rules: int = CLAIM_RULES) -> str:
    """The id of a claim made by a span of a unit: the same wherever it is extracted."""
    return hashlib.sha256(f"claim/{rules}/{unit}/{first}/{last}/{'|'.join(triple)}".encode()).hexdigest()[:32]
