"""Digests: what a session, a day, a week, a month, a year was about, in a few lines, so that a question on a long span starts at the right
level and goes down from there.

Built from the bottom: sessions and days from units, weeks and months from days, years from months. No model takes part: a digest is made
of lines that are there already, the facts that were stated, promises opened and kept, and the sentences that say most that no line above
has said. It is a function of what it covers and of nothing else, so deriving it again gives the same text and id.

The Merkle root over what is covered tells when a digest is stale: only those are built anew. A summariser (a model, say) may write the text
instead; a text with a number or a name that what it covers does not have is thrown away.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from overwinter.memory.calendar import Range, day_of, from_us, month_of, to_us, week_of, year_of
from overwinter.memory.claims.clauses import sentences
from overwinter.memory.claims.statement import Statement, statement_of
from overwinter.memory.index import Index, Span
from overwinter.memory.unit import BOILERPLATE, INSTRUCTION, UNTRUSTED, Filter, Unit, rough_tokens
from overwinter.memory.words import stems

DIGESTS = 1
"""Version of the rules. Another one makes every digest stale."""

BUDGET_TOKENS = {"session": 120, "day": 160, "week": 240, "month": 320, "year": 480}
LOWER = {"week": "day", "month": "day", "year": "month"}
"""What a level is made from; sessions and days are made from units."""

MAX_SESSION = 2000
"""Units. A longer session (a run of years) has no digest of its own: its days have."""

DAY_US = 86_400_000_000
FACT, PROMISE, KEPT, SAID = "fact: ", "promised: ", "kept: ", "said: "
_ALL = 1 << 40

Summariser = Callable[[str, str, Sequence[str], int], str]
"""(level, period, texts covered, budget in tokens) → text. It must have an attribute or function name that tells it from others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Period:
    """A digest to be: its place in time, and its members."""

    level: str
    period: str
    since_us: int
    until_us: int
    members: tuple[tuple[str, str], ...]
    """(id, digest) of each, in order."""

    def root(self) -> str:
        return merkle_root([f"{id_}/{digest}" for id_, digest in self.members])

    def id(self, writer: str) -> str:
        return hashlib.sha256(
            f"digest/{DIGESTS}/{self.level}/{self.period}/{self.root()}/{writer}".encode()
        ).hexdigest()[:32]


def merkle_root(leaves: Sequence[str]) -> str:
    """SHA-256 tree over leaves in order; an odd one goes up as it is. Leaves and nodes are hashed under different prefixes."""
    level = [hashlib.sha256(b"\0" + leaf.encode()).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [hashlib.sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0].hex() if level else hashlib.sha256(b"").hexdigest()


def update_spans(index: Index, since_us: int | None = None, *, summariser: Summariser | None = None) -> int:
    """Build the digests that are missing or stale; call it inside a transaction. How many were written or removed.

    Args:
        since_us: only periods that reach beyond this moment are looked at; None: all.
    """
    writer = _Writer(index, summariser)
    sessions: dict[str, None] = {}
    since = None if since_us is None else to_us(day_of(from_us(since_us)))
    days: list[_Period] = []
    for day in _days(index, since):
        units = index.timeline(Filter(since_us=day, until_us=day + DAY_US), limit=_ALL)
        sessions.update(dict.fromkeys(unit.session for unit in units))
        days.append(_of_units("day", f"{from_us(day):%Y-%m-%d}", units, (day, day + DAY_US)))
    for period in days:
        writer.write(period)
    writer.drop_others("day", {period.period for period in days}, since)
    kept = set()
    for session in sessions:
        units = index.timeline(Filter(sessions=frozenset({session})), limit=MAX_SESSION + 1)
        if len(units) <= MAX_SESSION:
            kept.add(session)
            writer.write(_of_units("session", session, units, (units[0].happened_us, units[-1].happened_us + 1)))
    writer.drop_sessions(kept, since)
    for level in ("week", "month", "year"):
        periods = _of_spans(index, level, since)
        for period in periods:
            writer.write(period)
        writer.drop_others(level, {period.period for period in periods}, since)
    return writer.count


def _days(index: Index, since: int | None) -> Iterator[int]:
    """Beginnings of the days that have units."""
    while True:
        first = index.timeline(Filter(since_us=since), limit=1)
        if not first:
            return
        day = to_us(day_of(from_us(first[0].happened_us)))
        yield day
        since = day + DAY_US


def _of_units(level: str, period: str, units: Sequence[Unit], range_: tuple[int, int]) -> _Period:
    members = tuple((unit.id, unit.digest) for unit in units)
    return _Period(level=level, period=period, since_us=range_[0], until_us=range_[1], members=members)


def _of_spans(index: Index, level: str, since: int | None) -> list[_Period]:
    """The periods of a level, from all digests below that lie in them, whether those are new or not."""
    if since is not None:
        since = to_us(_range_at(level, since)[0])
    below: dict[str, list[Span]] = {}
    for span in index.spans(LOWER[level], since_us=since):
        below.setdefault(_name(level, span.since_us), []).append(span)
    periods = []
    for name, spans in below.items():
        first, last = _range_at(level, spans[0].since_us)
        members = tuple((span.id, span.root) for span in spans)
        periods.append(_Period(level=level, period=name, since_us=to_us(first), until_us=to_us(last), members=members))
    return periods


def _range_at(level: str, moment_us: int) -> Range:
    moment = from_us(moment_us)
    if level == "week":
        return week_of(moment)
    return month_of(moment.year, moment.month) if level == "month" else year_of(moment.year)


def _name(level: str, moment_us: int) -> str:
    moment = from_us(moment_us)
    if level == "week":
        year, week, _ = moment.isocalendar()
        return f"{year}-W{week:02d}"
    return f"{moment:%Y-%m}" if level == "month" else f"{moment:%Y}"


class _Writer:
    """Writes what is stale."""

    def __init__(self, index: Index, summariser: Summariser | None) -> None:
        self.index, self.summariser = index, summariser
        self.name = getattr(summariser, "name", getattr(summariser, "__qualname__", "")) if summariser else ""
        self.count = 0

    def write(self, period: _Period) -> None:
        id_ = period.id(self.name)
        if any(span.id == id_ for span in self._there(period.level, period.since_us, period.until_us)):
            return
        text = self._text(period)
        covers = tuple(member for member, _ in period.members)
        span = Span(
            id=id_,
            level=period.level,
            period=period.period,
            since_us=period.since_us,
            until_us=period.until_us,
            text=text,
            covers=covers,
            root=period.root(),
            version=DIGESTS,
        )
        self.index.put_spans([span])
        self.count += 1

    def _there(self, level: str, since_us: int, until_us: int) -> list[Span]:
        return self.index.spans(level, since_us=since_us, until_us=until_us)

    def drop_others(self, level: str, periods: set[str], since: int | None) -> None:
        """Remove the digests of periods that have nothing left to cover."""
        first = None if since is None else since if level == "day" else to_us(_range_at(level, since)[0])
        self._drop(span for span in self.index.spans(level, since_us=first) if span.period not in periods)

    def drop_sessions(self, kept: set[str], since: int | None) -> None:
        gone = [span for span in self.index.spans("session", since_us=since) if span.period not in kept]
        self._drop(span for span in gone if not 0 < len(self._units(span.period)) <= MAX_SESSION)

    def _units(self, session: str) -> list[Unit]:
        return self.index.timeline(Filter(sessions=frozenset({session})), limit=MAX_SESSION + 1)

    def _drop(self, spans: Iterable[Span]) -> None:
        ids = [span.id for span in spans]
        if ids:
            self.index.remove_spans(ids)
            self.count += len(ids)

    # Texts

    def _text(self, period: _Period) -> str:
        budget = BUDGET_TOKENS[period.level]
        ids = [id_ for id_, _ in period.members]
        if period.level in LOWER:
            spans = {span.id: span for span in self._there(LOWER[period.level], period.since_us, period.until_us)}
            texts = [spans[id_].text for id_ in ids if id_ in spans]
            lines = [line for text in texts for line in text.splitlines()]
        else:
            units = self.index.units(self.index.rows(ids))
            texts = [unit.text for unit in units]
            lines = [*_statement_lines(self.index, units), *_sentence_lines(units)]
        if self.summariser is not None:
            written = self.summariser(period.level, period.period, texts, budget)
            if rough_tokens(written) <= budget and is_covered(written, texts):
                return written
        return choose(lines, budget)


def _statement_lines(index: Index, units: Sequence[Unit]) -> list[str]:
    """What the units state, whatever became of it later: a digest of a day does not change when a year later a fact does."""
    place = {unit.id: number for number, unit in enumerate(units)}
    stated = [
        one for row in index.claims_of(place.keys()) if (one := statement_of(row)) is not None and one.unit in place
    ]
    stated.sort(key=lambda one: (place[one.unit], one.first, one.id))
    lines = []
    for one in stated:
        if one.predicate == "promised":
            lines.append(f"{PROMISE if one.polarity else KEPT}{one.subject} · {one.object}")
        else:
            lines.append(f"{FACT}{one.subject} · {one.predicate}: {_value(one)}")
    return lines


def _value(one: Statement) -> str:
    return one.object if one.polarity else f"not {one.object}".rstrip()


def _sentence_lines(units: Sequence[Unit]) -> list[str]:
    """Sentences with who said them. Orders in untrusted texts are left out: a digest is shown without their quotes."""
    lines = []
    for unit in units:
        if unit.flags & {BOILERPLATE} or (unit.trust == UNTRUSTED and INSTRUCTION in unit.flags):
            continue
        for first, last in sentences(unit.text):
            words = " ".join(unit.text[first:last].split())
            if 12 <= len(words) <= 320:
                lines.append(f"{SAID}{unit.actor}: {words}")
    return lines


def choose(lines: Sequence[str], budget_tokens: int) -> str:
    """The lines that say most, in their order: facts folded by key first (at most two thirds of the budget), promises, then sentences."""
    facts, rest = _folded(lines)
    scored = _by_novelty(list(dict.fromkeys(rest)))
    chosen: set[str] = set()
    spent = 0

    def take(line: str, limit: float) -> None:
        nonlocal spent
        cost = rough_tokens(line)
        if spent + cost <= limit:
            spent += cost
            chosen.add(line)

    for line in (line for line in scored if not line.startswith(SAID)):
        take(line, budget_tokens / 3)
    for line in facts:
        take(line, budget_tokens * 2 / 3)
    for line in (line for line in scored if line.startswith(SAID)):
        take(line, budget_tokens)
    ordered = [line for line in dict.fromkeys([*facts, *rest]) if line in chosen]
    return "\n".join(ordered)


def _folded(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Facts with all their values in one line, those that changed most first; and the other lines."""
    values: dict[str, list[str]] = {}
    rest = []
    for line in lines:
        if not line.startswith(FACT):
            rest.append(line)
            continue
        key, _, said = line[len(FACT) :].partition(": ")
        for value in said.split(" → "):
            known = values.setdefault(key, [])
            if value != "…" and (not known or known[-1] != value):
                known.append(value)
    ranked = sorted(values.items(), key=lambda item: -len(item[1]))
    return [f"{FACT}{key}: {_chain(chain)}" for key, chain in ranked], rest


def _chain(values: Sequence[str]) -> str:
    """First and last ones of a long history."""
    return " → ".join(values if len(values) <= 5 else [*values[:2], "…", *values[-2:]])


def _by_novelty(lines: list[str]) -> list[str]:
    """Lines by what they say that better ones have not: sum of the inverse document frequency (within these lines) of their new stems."""
    bags = {line: Counter(stems(line)) for line in lines}
    frequency = Counter(word for bag in bags.values() for word in bag)
    weight = {
        word: math.log((1 + len(lines)) / count) + (0.5 if any(letter.isdigit() for letter in word) else 0)
        for word, count in frequency.items()
    }
    said: set[str] = set()
    left = list(lines)
    order: list[str] = []
    while left and len(order) < 200:
        best = max(
            left,
            key=lambda line: (
                sum(weight[word] for word in bags[line] if word not in said) / math.sqrt(8 + len(bags[line]))
            ),
        )
        left.remove(best)
        order.append(best)
        said |= bags[best].keys()
    return order


_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w'-]+", re.MULTILINE)


def is_covered(text: str, texts: Sequence[str]) -> bool:
    """Whether all numbers and names of a text occur in the covered ones."""
    there = "\n".join(texts)
    folded = there.casefold()
    numbers = set(_NUMBER.findall(there))
    return all(number in numbers for number in _NUMBER.findall(text)) and all(
        name.casefold() in folded for name in _NAME.findall(text)
    )


# Going down


def members(index: Index, span: Span) -> list[Span]:
    """The digests a digest was made from, in order; none for sessions and days."""
    if span.level not in LOWER:
        return []
    below = {one.id: one for one in index.spans(LOWER[span.level], since_us=span.since_us, until_us=span.until_us)}
    return [below[id_] for id_ in span.covers if id_ in below]


def drill_down(index: Index, span: Span) -> Iterator[Unit]:
    """All units under a digest, in order of time."""
    if span.level not in LOWER:
        yield from index.units(index.rows(span.covers))
        return
    for below in members(index, span):
        yield from drill_down(index, below)


def level_for(since_us: int, until_us: int) -> str:
    """The level whose digests cover a stretch of time in a handful of pieces."""
    length = timedelta(microseconds=until_us - since_us)
    for level, most in (("day", 8), ("week", 50), ("month", 500)):
        if length <= timedelta(days=most):
            return level
    return "year"
