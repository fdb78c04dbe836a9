"""Why memory says something: the entry behind a unit, what it is evidence for, and where it was brought up again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from overwinter.errors import StoreError
from overwinter.memory.claim import Claim
from overwinter.memory.namespace import namespace_of
from overwinter.memory.unit import DERIVER, Unit, unit_id

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory

MOST_RECALLS = 20


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a unit comes from and what rests on it.

    Attributes:
        kind, entry_hash: of the entry; the chain of its run vouches for it.
        deriver: version of the derivation.
        claims: those it is evidence for.
        digests: "LEVEL PERIOD" of the digests that cover it.
        recalled: RUN#SEQ of the entries in which memory showed it, the newest last.
    """

    unit: Unit
    kind: str
    entry_hash: str
    deriver: int
    claims: tuple[Claim, ...]
    digests: tuple[str, ...]
    recalled: tuple[str, ...]


def provenance(memory: Memory, unit: Unit) -> Provenance:
    """Trace a unit back. StoreError if the journal no longer says what the index holds of it."""
    entry = next(memory.store.read(unit.run, unit.seq, unit.seq + 1), None)
    if entry is None or unit_id(entry.hash, unit.first, unit.last) != unit.id:
        raise StoreError(
            f"unit {unit.id} is not derived from entry {unit.cite} as it is", "run `overwinter memory rebuild`"
        )
    spans = memory.index.spans(since_us=unit.happened_us, until_us=unit.happened_us + 1)
    covering = [span for span in spans if unit.id in span.covers or span.level not in ("session", "day")]
    recalled = []
    for run, seq in memory.store.mentions(unit.id.encode()):
        # Other namespaces may bring up the same text; that is not told here.
        if namespace_of(memory.store, run) != memory.namespace:
            continue
        seen = next(memory.store.read(run, seq, seq + 1), None)
        if (
            seen is not None
            and seen.kind == "recalled"
            and any(hit.get("unit") == unit.id for hit in seen.body["hits"])
        ):
            recalled.append(f"{run}#{seq}")
    return Provenance(
        unit=unit,
        kind=entry.kind,
        entry_hash=entry.hash,
        deriver=DERIVER,
        claims=tuple(memory.index.claims_of([unit.id])),
        digests=tuple(f"{span.level} {span.period}" for span in covering),
        recalled=tuple(recalled[-MOST_RECALLS:]),
    )
