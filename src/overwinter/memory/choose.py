"""Choosing what is to be forgotten: entries by citation, unit, session, actor, words, pattern or time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overwinter.errors import UsageError
from overwinter.journal import ERASED, Entry, Store
from overwinter.journal.texts import texts
from overwinter.memory.namespace import Runs, namespace_of
from overwinter.memory.unit import Filter, Unit

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory

Place = tuple[str, int]
"""An entry: the run that owns it, and its number."""
Progress = Callable[[int, int], None]
PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Selector:
    """What to take. Entries named by `cites` and `units` are taken as they are; all other conditions must hold together.

    Attributes:
        cites: entries as RUN#SEQ.
        units: ids of units, of which the whole entries are taken.
        sessions, actors: as units name them.
        words: entries that contain these words as they stand here, in any case of letters.
        pattern: entries in which this regular expression (of Python) is found, in any case of letters.
        since_us, until_us: when it happened, half-open.
    """

    cites: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    sessions: frozenset[str] = field(default=frozenset())
    actors: frozenset[str] = field(default=frozenset())
    words: str = ""
    pattern: str = ""
    since_us: int | None = None
    until_us: int | None = None

    @property
    def searches(self) -> bool:
        """Whether there are conditions, beside named entries."""
        conditions = (self.sessions, self.actors, self.words, self.pattern)
        return any(conditions) or self.since_us is not None or self.until_us is not None

    def describe(self) -> str:
        """By what was chosen, in words that repeat nothing of it."""
        named = [
            f"{len(chosen)} {what}" for chosen, what in ((self.cites, "citations"), (self.units, "units")) if chosen
        ]
        by = {"session": self.sessions, "actor": self.actors, "words": self.words, "pattern": self.pattern}
        times = {"since": self.since_us, "until": self.until_us}
        named += [name for name, value in by.items() if value]
        return ", ".join(named + [name for name, value in times.items() if value is not None])


def choose(memory: Memory, selector: Selector, progress: Progress | None = None) -> set[Place]:
    """The entries that fit, of this namespace alone. The index must be in step with the journal (`Memory.sync`).

    Raises:
        UsageError: nothing to select by, a citation that is none or another namespace's, a pattern that is none.
    """
    if not (selector.cites or selector.units or selector.searches):
        raise UsageError(
            "nothing says what to erase", "name citations, units, a session, an actor, words, a pattern or times"
        )
    chosen = {_cited(memory.store, memory.namespace, cite) for cite in selector.cites}
    chosen |= {_unit(memory, id_) for id_ in selector.units}
    finds = _finder(selector)
    if selector.sessions or selector.actors or (selector.searches and finds is None):
        chosen |= _by_units(memory, selector, finds)
    elif finds is not None:
        chosen |= _by_words(memory, selector, finds, progress)
    return chosen


def parse_cite(cite: str) -> Place:
    """RUN#SEQ as (run, seq). Raises UsageError."""
    run, mark, number = cite.rpartition("#")
    if not (mark and run and number.isdigit()):
        raise UsageError(f"{cite!r} is no citation", "write RUN#SEQ, as `overwinter memory search` shows it")
    return run, int(number)


def happened_us(entry: Entry) -> int:
    """When what the entry says happened: as it says itself, else when it was written."""
    data = entry.body.get("data")
    said = data.get("happened_us") if isinstance(data, dict) else None
    return said if type(said) is int else entry.time_us


def _cited(store: Store, namespace: str, cite: str) -> Place:
    run, seq = parse_cite(cite)
    if namespace_of(store, run) != namespace:
        raise UsageError(f"{cite} belongs to another namespace than {namespace!r}", "name the namespace it belongs to")
    entry = next(store.read(run, seq, seq + 1), None)
    if entry is None:
        raise UsageError(f"there is no entry {cite}", f"choose one with `overwinter log {run}`")
    return entry.run, entry.seq


def _unit(memory: Memory, id_: str) -> Place:
    unit = memory.index.unit(id_)
    if unit is None:
        raise UsageError(
            f"there is no unit {id_!r} in namespace {memory.namespace!r}", "see `overwinter memory search --json`"
        )
    return unit.run, unit.seq


def _finder(selector: Selector) -> Callable[[str], bool] | None:
    """Whether a text holds the words and the pattern; None where neither is asked for."""
    try:
        wanted = [re.compile(form, re.IGNORECASE) for form in (re.escape(selector.words), selector.pattern) if form]
    except re.error as error:
        raise UsageError(
            f"{selector.pattern!r} is no regular expression: {error}", "correct it, or use --words"
        ) from error
    return (lambda text: all(form.search(text) for form in wanted)) if wanted else None


def _by_units(memory: Memory, selector: Selector, finds: Callable[[str], bool] | None) -> set[Place]:
    where = Filter(
        since_us=selector.since_us,
        until_us=selector.until_us,
        sessions=selector.sessions,
        actors=selector.actors,
        exclude_flags=frozenset(),
    )
    found = all_units(memory, where)
    return {(unit.run, unit.seq) for unit in found if finds is None or finds(unit.text)}


def units_cited(memory: Memory, cite: str) -> list[Unit]:
    """The units of an entry (RUN#ENTRY), or the one with that id.

    Raises:
        UsageError: this memory holds none.
    """
    if "#" in cite:
        run, seq = parse_cite(cite)
        where = Filter(runs=frozenset({run}), exclude_flags=frozenset())
        found = [unit for unit in all_units(memory, where) if unit.seq == seq]
    else:
        found = [unit for unit in [memory.index.unit(cite)] if unit is not None]
    if not found:
        raise UsageError(
            f"memory of {memory.namespace!r} holds nothing of {cite}",
            "see `overwinter memory search`, or `overwinter log RUN`",
        )
    return found


def all_units(memory: Memory, where: Filter) -> Iterator[Unit]:
    """Every unit that passes, in the order of storing."""
    after = -1
    while page := memory.index.scan(where, after_row=after, limit=PAGE):
        after = page[-1][0]
        yield from (unit for _, unit in page)


def _by_words(
    memory: Memory, selector: Selector, finds: Callable[[str], bool], progress: Progress | None
) -> set[Place]:
    """Straight from the journal: what gives no unit (arguments of calls, reasoning, summaries) holds words too."""
    found: set[Place] = set()
    infos = Runs(memory.store, memory.namespace).of(memory.store.runs())
    total, done = sum(info.head_seq - info.fork_seq for info in infos), 0
    for info in infos:
        for entry in memory.store.read(info.run, info.fork_seq + 1):
            done += 1
            if progress is not None and done % PAGE == 0:
                progress(done, total)
            if entry.kind in {ERASED, "entries.erased", "blobs.collected"} or not _in_time(selector, entry):
                continue
            if any(finds(text) for text in texts(memory.store, entry)):
                found.add((entry.run, entry.seq))
    return found


def _in_time(selector: Selector, entry: Entry) -> bool:
    at = happened_us(entry)
    after = selector.since_us is None or at >= selector.since_us
    return after and (selector.until_us is None or at < selector.until_us)
