"""The score of a unit: a weighted sum of what each channel says of it (`weights.py` has the formula).

Rank fusion with k = 60 is not used: it throws away how far apart the scores are, and hurt on chats (specification §4.6).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from overwinter.memory.retrieve.pool import Entry
from overwinter.memory.retrieve.question import Reading
from overwinter.memory.retrieve.weights import Weights
from overwinter.memory.words import stem, words

_LEAST_DIVISOR = 1e-9
_JUST_OUTSIDE = 0.6
"""What a unit right beside the time that was asked for counts: people tell of things on the next day, or the next Monday."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """What is known of the pool's units beside their texts.

    Attributes:
        cosines: row → cosine with the question; empty where there are no vectors.
        floor: the cosine of unrelated units.
        recent: rows of the last units of the session that asks.
        claimed: rows on which claims rest that fit the question.
    """

    cosines: Mapping[int, float] = field(default_factory=dict)
    floor: float = 0.0
    recent: Collection[int] = ()
    claimed: Collection[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A unit with its score and what each channel gave to it."""

    entry: Entry
    score: float
    channels: dict[str, float]


def fuse(entries: Mapping[int, Entry], reading: Reading, signs: Signs, weights: Weights) -> dict[int, Scored]:
    """Score every unit of a pool."""
    share = weights.dense if signs.cosines else 0.0
    parts = {
        "lexical": _scaled(_lexical(entries, weights), 1 - share),
        "dense": _scaled(_dense(entries, signs, weights), share),
        "session": _scaled(_sessions(entries), weights.session),
        "entity": _actors(entries, reading, weights),
        "time": _times(entries, reading, weights),
        "recent": dict.fromkeys(signs.recent, weights.recent),
        "claim": dict.fromkeys(signs.claimed, weights.claim),
    }
    scored = {}
    for row, entry in entries.items():
        channels = {name: part[row] for name, part in parts.items() if part.get(row)}
        form = weights.length * math.log(1 + entry.words) - weights.asks * entry.asks + weights.when * entry.moment
        scored[row] = Scored(entry=entry, score=sum(channels.values()) + form, channels=channels)
    return scored


def ranked(scored: Mapping[int, Scored]) -> list[Scored]:
    """Best first, ties by row."""
    return sorted(scored.values(), key=lambda each: (-each.score, each.entry.row))


def _scaled(values: Mapping[int, float], weight: float) -> dict[int, float]:
    """Values over the largest of them, times a weight."""
    most = max(values.values(), default=0.0)
    return {row: weight * value / most for row, value in values.items()} if most > _LEAST_DIVISOR and weight else {}


def _lexical(entries: Mapping[int, Entry], weights: Weights) -> dict[int, float]:
    near = {-1: weights.before_1, -2: weights.before_2, 1: weights.after_1, 2: weights.after_2}
    own = {row: entry.lexical for row, entry in entries.items()}
    return {
        row: own[row] + sum(near[offset] * own[other] for offset, other in entry.beside.items())
        for row, entry in entries.items()
    }


def _dense(entries: Mapping[int, Entry], signs: Signs, weights: Weights) -> dict[int, float]:
    if not signs.cosines:
        return {}
    own = {row: max(signs.cosines.get(row, signs.floor) - signs.floor, 0.0) for row in entries}
    return {
        row: own[row] + weights.dense_beside * sum(own[entry.beside[i]] for i in (-1, 1) if i in entry.beside)
        for row, entry in entries.items()
    }


def _sessions(entries: Mapping[int, Entry]) -> dict[int, float]:
    """row → what its session says of the question: the best unit for each term, added up.

    A unit that is alone in its session (a paragraph, say) gets nothing: its own words are counted already.
    """
    best: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for entry in entries.values():
        if entry.terms:
            of_session = best[entry.unit.run, entry.unit.session]
            for term, score in entry.terms.items():
                of_session[term] = max(score, of_session.get(term, 0.0))
    totals = {session: sum(scores.values()) for session, scores in best.items()}
    return {
        row: 0.0 if entry.alone else totals.get((entry.unit.run, entry.unit.session), 0.0)
        for row, entry in entries.items()
    }


def _actors(entries: Mapping[int, Entry], reading: Reading, weights: Weights) -> dict[int, float]:
    """Units by the one actor that the question names, or by whom it calls I or you."""
    actors = {entry.unit.actor for entry in entries.values()}
    named = {actor for actor in actors if _names_of(actor) and _names_of(actor) <= set(reading.terms)}
    if not named and reading.who in actors:
        named = {reading.who}
    if len(named) != 1:
        return {}
    return {row: weights.actor for row, entry in entries.items() if entry.unit.actor in named}


def _names_of(actor: str) -> set[str]:
    """Stems of a person's name, of the user or the agent; none of a tool, a world or a document, which say nothing themselves."""
    kind, _, name = actor.rpartition(":")
    return {stem(word) for word in words(name)} if kind in ("", "person") else set()


def _times(entries: Mapping[int, Entry], reading: Reading, weights: Weights) -> dict[int, float]:
    if not reading.ranges:
        return {}
    near: dict[int, float] = {}
    for row, entry in entries.items():
        gap_us = min(_gap_us(entry.unit.happened_us, span.since_us, span.until_us) for span in reading.ranges)
        share = _JUST_OUTSIDE * math.exp(-gap_us / weights.time_decay_us) if gap_us else 1.0
        near[row] = weights.time * share
    return near


def _gap_us(moment_us: int, since_us: int | None, until_us: int | None) -> int:
    """How far a moment lies outside a half-open range."""
    if since_us is not None and moment_us < since_us:
        return since_us - moment_us
    if until_us is not None and moment_us >= until_us:
        return moment_us - until_us + 1
    return 0
