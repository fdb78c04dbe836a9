"""Answers that need no ranking: an entry that the question cites, and what happened in a time it names."""

from __future__ import annotations

from overwinter.memory.index import Index, Span
from overwinter.memory.retrieve.answer import Answer
from overwinter.memory.retrieve.choose import collapsed
from overwinter.memory.retrieve.question import LOOKUP, TIMELINE, Reading, within
from overwinter.memory.unit import Filter, Hit, Unit, in_time_order

_PAGE = 1000


def look_up(index: Index, reading: Reading, k: int) -> Answer:
    """The units of the cited entries and of the spelled ids, in the order they are spelled in."""
    found: list[Unit] = []
    for id_ in reading.ids:
        unit = index.unit(id_)
        found += [unit] if unit else []
    for run, seq in reading.cites:
        found += units_of_entry(index, run, seq)
    hits = tuple(Hit(unit=unit, score=1.0, relevance=1.0, channels={LOOKUP: 1.0}) for unit in found[:k])
    return Answer(hits=hits, route=LOOKUP, relevance=1.0 if hits else 0.0)


def units_of_entry(index: Index, run: str, seq: int) -> list[Unit]:
    """Units of one entry. A run's rows ascend with its entries, so that halving finds them among millions."""
    of_run = Filter(runs=frozenset({run}), exclude_flags=frozenset())

    def next_seq(after_row: int) -> int | None:
        page = index.scan(of_run, after_row=after_row, limit=1)
        return page[0][1].seq if page else None

    low, high = -1, 1
    while (found := next_seq(high)) is not None and found < seq:
        low, high = high, 2 * high
    # The first unit of the entry lies behind `low`, and not behind `high` or beyond it.
    while high - low > 1:
        middle = (low + high) // 2
        found = next_seq(middle)
        if found is not None and found < seq:
            low = middle
        else:
            high = middle
    units = []
    after = low
    while page := index.scan(of_run, after_row=after, limit=_PAGE):
        units += [unit for _, unit in page if unit.seq == seq]
        if page[-1][1].seq > seq:
            break
        after = page[-1][0]
    return units


def enumerate_times(index: Index, reading: Reading, k: int) -> Answer:
    """What happened in the times a question names, in order of time, with the digests of those times.

    Of more than `k` units those are taken that say most; where the first or the last are asked for, those.
    """
    units: dict[str, Unit] = {}
    spans: dict[str, Span] = {}
    for span in reading.ranges:
        newest_first = reading.order == "last"
        inside = index.timeline(within(reading.where, span), limit=_PAGE, newest_first=newest_first)
        units.update((unit.id, unit) for unit in inside)
        spans.update((each.id, each) for each in index.spans(since_us=span.since_us, until_us=span.until_us))
    hits = collapsed([Hit(unit=unit, score=1.0, channels={"time": 1.0}) for unit in units.values()])
    if reading.order not in ("first", "last"):
        hits.sort(key=lambda hit: -hit.unit.tokens)
    return Answer(
        hits=tuple(in_time_order(hits[:k])),
        route=TIMELINE,
        spans=tuple(sorted(spans.values(), key=lambda span: (span.since_us, span.until_us, span.id))),
    )
