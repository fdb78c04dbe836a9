"""Units for tests of claims, and what an index says of them in a form that can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from overwinter.memory.claim import Claim
from overwinter.memory.claims import ClaimKeeper
from overwinter.memory.claims.statement import REPEAT_MARK
from overwinter.memory.plain import PlainIndex
from overwinter.memory.unit import TRUSTED, Unit, rough_tokens, text_digest

DAY = 86_400_000_000
START = 1_924_992_000_000_000
"""2031-01-01."""


def unit(text: str, day: float = 0, *, told: float | None = None, seq: int | None = None, **options: Any) -> Unit:
    """A message of the user on a day of 2031; `told` is the day the journal learned of it."""
    happened = START + int(day * DAY)
    told_us = happened if told is None else START + int(told * DAY)
    name = f"{text}/{happened}/{told_us}/{options.get('actor')}/{seq}"
    values: dict[str, Any] = {
        "id": hashlib.sha256(name.encode()).hexdigest()[:32],
        "run": "r1",
        "seq": int(told_us // DAY) if seq is None else seq,
        "first": 0,
        "last": len(text),
        "session": f"day-{int(day)}",
        "place": 0,
        "kind": "message",
        "actor": "user",
        "trust": TRUSTED,
        "happened_us": happened,
        "happened_until_us": happened,
        "told_us": told_us,
        "text": text,
        "tokens": rough_tokens(text),
        "digest": text_digest(text),
    }
    return Unit(**(values | options))


def learned(units: Sequence[Unit], *, batch: int = 0, facts: Any = None, index: PlainIndex | None = None) -> PlainIndex:
    """An index that learned units, all at once or in batches, by one keeper."""
    index = index or PlainIndex()
    keeper = ClaimKeeper(index)
    size = batch or max(1, len(units))
    for first in range(0, len(units), size):
        with index.transaction():
            index.put_units(units[first : first + size])
            keeper.learn(units[first : first + size], facts=facts)
    return index


def rows(index: PlainIndex) -> dict[str, Claim]:
    return {claim.id: claim for claim in index.claims(limit=1 << 40)}


def standing(index: PlainIndex) -> list[Claim]:
    """Rows that are claims and no repeats."""
    return [claim for claim in index.claims(limit=1 << 40) if not claim.predicate.endswith(REPEAT_MARK)]
