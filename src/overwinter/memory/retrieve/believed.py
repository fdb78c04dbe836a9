"""Claims on the way to an answer: units they rest on become candidates, and what holds comes before what held."""

from __future__ import annotations

from collections.abc import Sequence

from overwinter.memory.claim import Claim
from overwinter.memory.index import Index
from overwinter.memory.retrieve.question import AS_OF, CLAIMS, Reading
from overwinter.memory.unit import AsOf, Hit
from overwinter.memory.words import stems

_MOST_CLAIMS = 200
_LONGEST_SUBJECT = 3


def asked_for(index: Index, reading: Reading) -> list[str]:
    """Ids of the units behind claims that held at the question's moment, about whom or what it names and sharing a word with it.

    Only for questions of what holds: for others a claim is one more reading of a unit that is found anyway.
    """
    if reading.route not in (CLAIMS, AS_OF):
        return []
    units: dict[str, None] = {}
    for subject, named in _subjects(reading).items():
        rest = set(reading.terms) - named
        for claim in index.claims(subject=subject, at=reading.at, limit=_MOST_CLAIMS):
            if rest & set(stems(f"{claim.predicate} {claim.object}")):
                units.update(dict.fromkeys(evidence.unit for evidence in claim.evidence if evidence.supports))
    return list(units)


def _subjects(reading: Reading) -> dict[str, set[str]]:
    """What the question may be about → the terms that name it: its neighbouring words, up to three, as a claim would have them."""
    found: dict[str, set[str]] = {}
    for size in range(min(_LONGEST_SUBJECT, len(reading.terms) - 1), 0, -1):
        for start in range(len(reading.terms) - size + 1):
            stop = start + size
            if size > 1 or reading.terms[start] in reading.names:
                found[" ".join(reading.asked[start:stop])] = set(reading.terms[start:stop])
    if reading.who:
        found[reading.who] = {reading.who}
    return found


def behind(index: Index, hits: Sequence[Hit], at: AsOf) -> tuple[Claim, ...]:
    """What the hits' units claim: what holds at the moment first, then what held, each newest first."""
    found = index.claims_of([hit.unit.id for hit in hits]) if hits else []
    return tuple(sorted(found, key=lambda claim: (not holds_at(claim, at), -claim.valid_from_us, claim.id)))


def holds_at(claim: Claim, at: AsOf) -> bool:
    """Whether a claim holds, and is believed, at a point of view."""
    return _open_at(claim.valid_from_us, claim.valid_to_us, at.valid_us) and _open_at(
        claim.known_from_us, claim.known_to_us, at.known_us
    )


def _open_at(from_us: int, to_us: int | None, moment_us: int | None) -> bool:
    if moment_us is None:
        return to_us is None
    return from_us <= moment_us and (to_us is None or moment_us < to_us)


def current_first(hits: Sequence[Hit], claims: Sequence[Claim]) -> list[Hit]:
    """Of hits that claim different things under one key, the one whose claim comes first in `claims` takes the best place.

    The others keep their order behind it: older values are shown too, and have their dates.
    """
    order = list(hits)
    keys: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        keys.setdefault(claim.key, []).extend(evidence.unit for evidence in claim.evidence if evidence.supports)
    for units in keys.values():
        rank = {unit: i for i, unit in reversed(list(enumerate(units)))}
        places = [i for i, hit in enumerate(order) if hit.unit.id in rank]
        sorted_hits = sorted((order[i] for i in places), key=lambda hit: rank[hit.unit.id])
        for place, hit in zip(places, sorted_hits, strict=True):
            order[place] = hit
    return order
