"""From ranked units to the hits that are shown: in the order that was asked for, each text once, within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from overwinter.memory.retrieve.fusion import Scored
from overwinter.memory.retrieve.question import Reading
from overwinter.memory.unit import Hit, in_time_order
from overwinter.memory.words import stems

_POOL = 3
"""Times k: units that duplicates and likeness may take hits away from."""


def as_asked(ranked: Sequence[Scored], reading: Reading, k: int) -> list[tuple[int, Scored]]:
    """The units hits are made of, with their place in the ranking; more than `k`, since some will fall away.

    Where the first or the last of many is asked for, and more than `k` units say all that the best one says, those that happened
    first or last come before the others.
    """
    places = list(enumerate(ranked[: max(_POOL * k, k)]))
    if reading.order not in ("first", "last") or not ranked:
        return places
    most = max(len(each.entry.terms) for each in ranked)
    full = [(place, each) for place, each in enumerate(ranked) if len(each.entry.terms) == most]
    if len(full) <= k:
        return places
    full.sort(key=lambda pair: pair[1].entry.unit.happened_us, reverse=reading.order == "last")
    return full[: max(_POOL * k, k)]


def collapsed(hits: Sequence[Hit]) -> list[Hit]:
    """Each text once, where it ranks best, with the citations of the others that say it."""
    kept: dict[str, Hit] = {}
    for hit in hits:
        first = kept.get(hit.unit.digest)
        if first is None:
            kept[hit.unit.digest] = hit
        elif hit.unit.cite not in (first.unit.cite, *first.duplicates):
            kept[hit.unit.digest] = replace(first, duplicates=(*first.duplicates, hit.unit.cite))
    return list(kept.values())


def diverse(hits: Sequence[Hit], k: int, diversity: float) -> list[Hit]:
    """The best `k` by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), likeness being the share of common words.

    `diversity` is the λ of that paper: 1 leaves the order alone.
    """
    if diversity >= 1 or len(hits) <= 1:
        return list(hits[:k])
    bags = [frozenset(stems(hit.unit.text)) for hit in hits]
    top = hits[0].score or 1.0
    chosen, left = [0], list(range(1, len(hits)))
    while left and len(chosen) < k:

        def worth(i: int) -> float:
            likest = max(_likeness(bags[i], bags[j]) for j in chosen)
            return diversity * hits[i].score / top - (1 - diversity) * likest

        best = max(left, key=lambda i: (worth(i), -i))
        chosen.append(best)
        left.remove(best)
    return [hits[i] for i in chosen]


def _likeness(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0


def within_budget(hits: Sequence[Hit], budget_tokens: int) -> list[Hit]:
    """The best hits that fit together, best first; all of them without a budget (0)."""
    if not budget_tokens:
        return list(hits)
    kept, spent = [], 0
    for hit in hits:
        if spent + hit.unit.tokens <= budget_tokens:
            kept.append(hit)
            spent += hit.unit.tokens
    return kept


def shown_in_order(hits: Sequence[Hit], reading: Reading) -> list[Hit]:
    """In order of time where an order was asked for, the latest first where the last was; else as they are."""
    if not reading.order:
        return list(hits)
    ordered = in_time_order(hits)
    return ordered[::-1] if reading.order == "last" else ordered
