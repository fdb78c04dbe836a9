"""What memory learnt between two times, on the axis of knowledge: what it was told, what it came to believe, what it ceased to."""

from __future__ import annotations

from dataclasses import dataclass

from overwinter.errors import UsageError
from overwinter.memory.claim import Claim
from overwinter.memory.index import Index
from overwinter.memory.unit import Filter, Unit

ALL_CLAIMS = 1 << 40
PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """Between `from_us` (excluded) and `to_us` (included).

    Attributes:
        added: claims believed at the end that were not known at the start, and replace none.
        changed: (before, after): a claim that was believed at the start and the one by which it was superseded.
        closed: claims believed at the start and no longer at the end, without a successor.
        units: how many units were told in between; `newest` are the last of them.
    """

    from_us: int
    to_us: int
    added: tuple[Claim, ...]
    changed: tuple[tuple[Claim, Claim], ...]
    closed: tuple[Claim, ...]
    units: int
    newest: tuple[Unit, ...]


def diff(index: Index, from_us: int, to_us: int, *, newest: int = 20) -> Diff:
    """Compare what was known at two times. UsageError if the first is not before the second."""
    if from_us >= to_us:
        raise UsageError("the first time is not before the second", "give --from an earlier time than --to")
    # A predicate that ends so is a repeat's row: it says nothing of its own.
    claims = [claim for claim in index.claims(limit=ALL_CLAIMS) if not claim.predicate.endswith("~")]
    every = {claim.id: claim for claim in claims}
    before = {claim.id: claim for claim in claims if believed(claim, from_us)}
    after = {claim.id: claim for claim in claims if believed(claim, to_us)}
    changed, closed = [], []
    for id_, claim in before.items():
        successor = _successor(claim, after, every)
        if successor is not None and successor.id not in before:
            changed.append((claim, successor))
        elif id_ not in after:
            closed.append(claim)
    follow = {successor.id for _, successor in changed}
    added = [claim for id_, claim in after.items() if id_ not in before and id_ not in follow]
    told = _told(index, from_us, to_us)
    return Diff(
        from_us=from_us,
        to_us=to_us,
        added=tuple(sorted(added, key=_order)),
        changed=tuple(sorted(changed, key=lambda pair: _order(pair[1]))),
        closed=tuple(sorted(closed, key=_order)),
        units=len(told),
        newest=tuple(told[-newest:] if newest else ()),
    )


def believed(claim: Claim, at_us: int) -> bool:
    """Whether it was known at `at_us` and held to be true then."""
    return claim.known_from_us <= at_us and (claim.known_to_us is None or claim.known_to_us > at_us)


def _successor(claim: Claim, after: dict[str, Claim], every: dict[str, Claim]) -> Claim | None:
    """The claim that stands at the end of the chain of those that closed one another."""
    seen: set[str] = set()
    while claim.superseded_by and claim.superseded_by not in seen:
        seen.add(claim.superseded_by)
        if claim.superseded_by in after:
            return after[claim.superseded_by]
        if claim.superseded_by not in every:
            return None
        claim = every[claim.superseded_by]
    return None


def _told(index: Index, from_us: int, to_us: int) -> list[Unit]:
    found: list[Unit] = []
    row = -1
    where = Filter(known_us=to_us, exclude_flags=frozenset())
    while page := index.scan(where, after_row=row, limit=PAGE):
        row = page[-1][0]
        found += [unit for _, unit in page if unit.told_us > from_us]
    return sorted(found, key=lambda unit: (unit.told_us, unit.run, unit.seq, unit.first))


def _order(claim: Claim) -> tuple[str, str, int, str]:
    return *claim.key, claim.valid_from_us, claim.id
