"""Questions to the claims of an index: what holds, what held, what was believed, how often it changed, that nothing is known to hold.

All take words as they stand in a question ("Bob's", "phone number") and normalise them as the claims' own were.
"""

from __future__ import annotations

from dataclasses import dataclass

from overwinter.memory.claim import Claim
from overwinter.memory.claims.statement import DEPENDS, REPEAT_MARK, SURE, plain_reason
from overwinter.memory.claims.words import covers, is_single, predicate_of, subject_of, value_of
from overwinter.memory.dates import find_dates
from overwinter.memory.index import Index
from overwinter.memory.unit import AsOf, Unit

_ALL = 1 << 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What an index says of a key at one moment.

    Attributes:
        values: claims that hold, trusted ones first, then newest; empty where nothing holds.
        beside: claims of untrusted sources that contradict the first of `values`.
        last: where nothing holds, the value that held last, None if there never was one.
        reason: why it no longer holds ("denied", "depends on", "stated"), "" where something holds or nothing is known.
        denied: the denial in force, if any ("no longer has a car").
        in_doubt: the last value ended only because what it followed from ended.
    """

    values: tuple[Claim, ...] = ()
    beside: tuple[Claim, ...] = ()
    last: Claim | None = None
    reason: str = ""
    denied: Claim | None = None
    in_doubt: bool = False

    @property
    def value(self) -> Claim | None:
        return self.values[0] if self.values else None

    @property
    def absent(self) -> bool:
        """It is known that nothing holds: there was something, or a denial is in force."""
        return not self.values and (self.last is not None or self.denied is not None)


def _rows(index: Index, subject: str, predicate: str, at: AsOf | None = None) -> list[Claim]:
    rows = index.claims(subject=subject_of(subject), predicate=predicate_of(predicate), at=at, limit=_ALL)
    return [claim for claim in rows if not claim.predicate.endswith(REPEAT_MARK)]


def _best_first(claims: list[Claim]) -> list[Claim]:
    return sorted(
        claims, key=lambda claim: (claim.confidence <= SURE, -claim.valid_from_us, -claim.known_from_us, claim.id)
    )


def known(index: Index, subject: str, predicate: str, *, at: AsOf | None = None) -> Known:
    """What holds, or held (`at.valid_us`), as was believed (`at.known_us`); None on an axis is now."""
    at = at or AsOf()
    holding = _best_first(_rows(index, subject, predicate, at))
    values = [claim for claim in holding if claim.polarity]
    denied = next((claim for claim in holding if not claim.polarity), None)
    beside: list[Claim] = []
    if values and is_single(predicate_of(predicate)):
        values, beside = values[:1], [claim for claim in values[1:] if _value(claim) != _value(values[0])]
    if values:
        return Known(values=tuple(values), beside=tuple(beside), denied=denied)
    last = _last(index, subject, predicate, at)
    reason = plain_reason(last) if last is not None else ""
    return Known(last=last, reason=reason, denied=denied, in_doubt=reason == DEPENDS)


def _value(claim: Claim) -> str:
    return value_of(claim.predicate, claim.object)


def _last(index: Index, subject: str, predicate: str, at: AsOf) -> Claim | None:
    past = [claim for claim in _believed(index, subject, predicate, at.known_us) if claim.polarity]
    ended = [
        claim
        for claim in past
        if claim.valid_to_us is not None and (at.valid_us is None or claim.valid_from_us <= at.valid_us)
    ]
    return max(ended, key=lambda claim: (claim.valid_to_us or 0, claim.confidence, claim.id), default=None)


def _believed(index: Index, subject: str, predicate: str, known_us: int | None) -> list[Claim]:
    """Claims of a key as believed at a time, whenever they held."""

    def is_believed(claim: Claim) -> bool:
        if known_us is None:
            return claim.known_to_us is None
        return claim.known_from_us <= known_us and (claim.known_to_us is None or known_us < claim.known_to_us)

    return [claim for claim in _rows(index, subject, predicate) if is_believed(claim)]


def current(index: Index, subject: str, predicate: str) -> Claim | None:
    """The value that holds now; of a key with several, the newest."""
    return known(index, subject, predicate).value


def history(index: Index, subject: str, predicate: str, *, known_us: int | None = None) -> list[Claim]:
    """The values of a key in order of validity, as believed now or at a time; where trusted sources gave a single value, theirs alone."""
    rows = [claim for claim in _believed(index, subject, predicate, known_us) if claim.polarity]
    if is_single(predicate_of(predicate)) and any(claim.confidence > SURE for claim in rows):
        rows = [claim for claim in rows if claim.confidence > SURE]
    return sorted(rows, key=lambda claim: (claim.valid_from_us, claim.known_from_us, claim.id))


def previous(index: Index, subject: str, predicate: str, *, known_us: int | None = None) -> Claim | None:
    """The value before the one that holds; where nothing holds, the last one."""
    values = history(index, subject, predicate, known_us=known_us)
    if not values:
        return None
    if values[-1].valid_to_us is not None:
        return values[-1]
    return values[-2] if len(values) > 1 else None


def change_count(index: Index, subject: str, predicate: str, *, known_us: int | None = None) -> int:
    """How often a value gave way to another, as believed now or at a time."""
    return max(0, len(history(index, subject, predicate, known_us=known_us)) - 1)


def has(index: Index, subject: str, predicate: str, object_: str, *, at: AsOf | None = None) -> bool:
    """Whether one of the values that hold is this one: "has" "car" is met by "red car"."""
    wanted = value_of(predicate_of(predicate), object_)
    return any(covers(wanted, _value(claim), several=True) for claim in known(index, subject, predicate, at=at).values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """A promise that has not been reported kept; `due_us` is the end of the time it names, None if it names none."""

    claim: Claim
    due_us: int | None


def promises(index: Index, *, subject: str = "", at: AsOf | None = None) -> list[Promise]:
    """Open promises, soonest due first."""
    found = []
    for claim in index.claims(
        subject=subject_of(subject) if subject else "", predicate="promised", at=at or AsOf(), limit=_ALL
    ):
        if claim.polarity:
            ends = [
                one.until_us
                for one in find_dates("will " + claim.object, claim.valid_from_us)
                if one.until_us is not None
            ]
            found.append(Promise(claim=claim, due_us=max(ends, default=None)))
    return sorted(found, key=lambda one: (one.due_us is None, one.due_us or 0, one.claim.id))


def cited(index: Index, claim: Claim) -> list[tuple[Unit, str, bool]]:
    """The evidence of a claim as it was said: unit, words, and whether they support it."""
    found = []
    for evidence in claim.evidence:
        unit = index.unit(evidence.unit)
        if unit is not None:
            found.append((unit, unit.text[evidence.first : evidence.last], evidence.supports))
    return found
