"""`overwinter memory …`: what runs have ever seen, found again, explained, kept or erased.

Whose memory it is comes from the configuration ([memory] namespace). `--namespace` reads another one, if that one has granted it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Common
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.memory.memory import Memory
    from overwinter.memory.unit import AsOf, Filter

Cite = Annotated[str, typer.Argument(metavar="CITATION", help="RUN#ENTRY, or the id of a unit.")]


@dataclass(frozen=True, kw_only=True)
class Whose:
    """Whose memory is read."""

    namespace: Annotated[
        str | None,
        typer.Option("--namespace", metavar="NAME", help="Read this one, which must have granted it to yours."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class View:
    """From where in time one looks."""

    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="What held and was known then; a day means its end.")
    ] = None
    known: Annotated[
        str | None, typer.Option("--known", metavar="TIME", help="Only what had been told by then; over --as-of.")
    ] = None
    valid: Annotated[
        str | None, typer.Option("--valid", metavar="TIME", help="What held then, as known today; over --as-of.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Within:
    """Which units are looked at."""

    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="Happened at or after this time.")] = None
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Happened before this time; a day is included.")
    ] = None
    session: Annotated[
        list[str] | None, typer.Option("--session", metavar="NAME", help="Only of this session or run.")
    ] = None
    actor: Annotated[
        list[str] | None,
        typer.Option("--actor", metavar="WHO", help="Only said by: user, agent, person:NAME, tool:NAME."),
    ] = None


@contextmanager
def remembering(common: Common, whose: Whose | None = None, *, sync: bool = True) -> Iterator[tuple[Workplace, Memory]]:
    """The memory of the configured namespace, or of a granted one, in step with the journal."""
    from overwinter.cli.output import Progress, note
    from overwinter.memory.grants import open_for
    from overwinter.memory.memory import Memory

    with workplace(common) as at:
        own = at.namespace
        other = whose.namespace if whose is not None else None
        models = embedders_of(at)
        foreign = other is not None and other != own
        memory = open_for(at.store, own, other or own, **models) if foreign else Memory.open(at.store, own, **models)
        progress = Progress("entries remembered")
        try:
            if sync:
                done = memory.sync(progress)
                progress.done()
                for message in done.messages:
                    note(f"note: {message}")
            yield at, memory
        finally:
            progress.done()
            memory.close()


def embedders_of(at: Workplace) -> dict[str, Any]:
    """The embedder of the configuration and the one before it; None for words only."""
    from overwinter.loop.models.embedding import open_embedder

    settings = at.settings.memory
    return {
        "embedder": open_embedder(settings.embedder),
        "previous": open_embedder(settings.previous_embedder),
    }


def search(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In words; dates and names in it count.")],
    *,
    k: Annotated[int, typer.Option("-k", "--hits", metavar="NUMBER", min=1, help="Most hits.")] = 10,
    view: View,
    within: Within,
    whose: Whose,
    common: Common,
) -> None:
    """Find what was said, seen or done, with times, citations and scores. Nothing is a legal answer."""
    from overwinter.cli.remembered import claim_record, hit_record, print_claims, print_hit

    with remembering(common, whose) as (at, memory):
        now = at.store.now_us()
        answer = memory.search(question, k=k, at=_as_of(view, now), where=_where(within, now))
        for hit in answer.hits:
            at.out.record(hit_record(hit))
        rest = {
            "route": answer.route,
            "abstained": answer.abstained,
            "rounds": answer.rounds,
            "took_ms": answer.took_ms,
        }
        at.out.record({"answer": len(answer.hits), **rest, "claims": [claim_record(claim) for claim in answer.claims]})
        for number, hit in enumerate(answer.hits, 1):
            print_hit(at.out, number, hit, now)
        print_claims(at.out, answer.claims)
        if not answer.hits:
            what = "nothing that answers it" if answer.abstained else "nothing"
            at.out.line(f"memory holds {what} ({memory.index.count()} units; route {answer.route})")
        at.out.line(f"{answer.route}, {answer.took_ms:.1f} ms", "dim")


def show(
    cite: Cite,
    *,
    around: Annotated[int, typer.Option("--around", metavar="NUMBER", min=0, help="So many before and after it.")] = 0,
    whose: Whose,
    common: Common,
) -> None:
    """Print a unit whole, as it was said."""
    from overwinter.cli.remembered import print_unit, unit_record
    from overwinter.memory.choose import units_cited

    with remembering(common, whose) as (at, memory):
        for unit in _with_neighbours(memory, units_cited(memory, cite), around):
            at.out.record(unit_record(unit))
            print_unit(at.out, unit, at.store.now_us(), full=True)


def why(cite: Cite, *, whose: Whose, common: Common) -> None:
    """Say where a unit comes from: entry, hash, source, trust, what it is evidence for, and where it was recalled."""
    from overwinter.cli.remembered import claim_text, print_unit
    from overwinter.cli.when import time_text
    from overwinter.memory.choose import units_cited
    from overwinter.memory.provenance import provenance

    with remembering(common, whose) as (at, memory):
        now = at.store.now_us()
        for unit in units_cited(memory, cite):
            found = provenance(memory, unit)
            at.out.record(
                dataclasses.asdict(found) | {"unit": {**dataclasses.asdict(unit), "flags": sorted(unit.flags)}}
            )
            print_unit(at.out, unit, now)
            at.out.line(
                f"    said by entry {unit.cite} ({found.kind}), characters {unit.first}–{unit.last}, hash {found.entry_hash[:16]}…"
            )
            at.out.line(f"    happened {time_text(unit.happened_us, now)}; told {time_text(unit.told_us, now)}")
            at.out.line(f"    unit {unit.id}, by version {found.deriver} of the deriver; trust {unit.trust}")
            for claim in found.claims:
                at.out.line(f"    evidence for: {claim_text(claim)}")
            for span in found.digests:
                at.out.line(f"    part of the digest of {span}")
            for recall in found.recalled:
                at.out.line(f"    recalled by {recall}")


def timeline(
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="NUMBER", min=1, help="Most units.")] = 50,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    digests: Annotated[
        str | None,
        typer.Option("--digests", metavar="LEVEL", help="Digests instead: day, week, month, year or session."),
    ] = None,
    known: Annotated[
        str | None, typer.Option("--known", metavar="TIME", help="Only what had been told by then.")
    ] = None,
    within: Within,
    whose: Whose,
    common: Common,
) -> None:
    """List what happened, in order of time."""
    from overwinter.cli.remembered import print_unit, unit_record
    from overwinter.cli.when import parse_time

    with remembering(common, whose) as (at, memory):
        now = at.store.now_us()
        where = _where(within, now)
        if digests is not None:
            for span in memory.index.spans(_level(digests), since_us=where.since_us, until_us=where.until_us)[:limit]:
                at.out.record(dataclasses.asdict(span))
                at.out.parts(
                    [
                        (f"{span.period}  ", "bold"),
                        (f"{len(span.covers)} {'units' if digests == 'day' else 'parts'}", "dim"),
                    ]
                )
                at.out.line(f"    {span.text}")
            return
        if known is not None:
            where = dataclasses.replace(where, known_us=parse_time(known, now, end=True))
        for unit in memory.index.timeline(where, limit=limit, newest_first=newest):
            at.out.record(unit_record(unit))
            print_unit(at.out, unit, now)


def stats(*, whose: Whose, common: Common) -> None:
    """Say what memory holds: units, claims, vectors, digests, policies, size."""
    from overwinter.memory.diff import ALL_CLAIMS
    from overwinter.memory.grants import readers
    from overwinter.memory.policy import policies

    with remembering(common, whose) as (at, memory):
        found = memory.stats()
        claims = memory.index.claims(limit=ALL_CLAIMS)
        found |= {"claims": len(claims), "held": sum(c.valid_to_us is None and c.known_to_us is None for c in claims)}
        found |= {"digests": len(memory.index.spans()), "policies": sorted(policies(at.store, memory.namespace))}
        found |= {"readers": sorted(readers(at.store, memory.namespace))}
        at.out.record(found)
        for name, value in found.items():
            at.out.parts([(f"{name:14}", "dim"), (_value_text(name, value), "")])


def check(*, common: Common) -> None:
    """Read the whole index and compare it with itself; what is damaged is derived again from the journal."""
    with remembering(common) as (at, memory):
        found = memory.check()
        at.out.record(
            {"namespace": memory.namespace, "units": memory.index.count(), "found": found, "rebuilt": bool(found)}
        )
        for line in found:
            at.out.line(line, "yellow")
        whole = f"{memory.index.count()} units, all as they were written"
        at.out.line("the index was derived again from the journal" if found else whole)


def rebuild(*, common: Common) -> None:
    """Empty the index and derive all of it again from the journal; units get the ids they had."""
    from overwinter.cli.output import Progress

    with remembering(common, sync=False) as (at, memory):
        progress = Progress("entries remembered")
        done = memory.rebuild(progress)
        progress.done()
        at.out.record({"namespace": memory.namespace, **dataclasses.asdict(done)})
        at.out.line(f"derived {done.units} units and {done.claims} claims from {done.entries} entries")
        if done.unreadable:
            at.out.line(
                f"{done.unreadable} entries cannot be read; see `{at.command('log', 'RUN', '--verify')}`", "yellow"
            )


def diff(
    *,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="What was known then …")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="… and what was known then.")] = "now",
    units: Annotated[
        int, typer.Option("--units", metavar="NUMBER", min=0, help="Show so many of the newest units too.")
    ] = 0,
    whose: Whose,
    common: Common,
) -> None:
    """Compare what was known at two times: claims added, changed and closed; units told."""
    from overwinter.cli.remembered import print_diff
    from overwinter.cli.when import parse_time
    from overwinter.memory.diff import diff as compare

    with remembering(common, whose) as (at, memory):
        now = at.store.now_us()
        found = compare(memory.index, parse_time(start, now), parse_time(end, now, end=True), newest=units)
        at.out.record(dataclasses.asdict(found))
        print_diff(at.out, found, now)


# What commands share


def _as_of(view: View, now_us: int) -> AsOf:
    from overwinter.cli.when import parse_time
    from overwinter.memory.unit import AsOf

    # A day, month or year means its last moment: what was believed when it was over.
    valid, known = (
        None if text is None else parse_time(text, now_us, end=True) - 1
        for text in (view.valid or view.as_of, view.known or view.as_of)
    )
    return AsOf(valid_us=valid, known_us=known)


def _where(within: Within, now_us: int) -> Filter:
    from overwinter.cli.when import parse_time
    from overwinter.memory.unit import Filter

    return Filter(
        since_us=None if within.since is None else parse_time(within.since, now_us),
        until_us=None if within.until is None else parse_time(within.until, now_us, end=True),
        sessions=frozenset(within.session or ()),
        actors=frozenset(within.actor or ()),
    )


def _level(name: str) -> str:
    levels = ("session", "day", "week", "month", "year")
    if name not in levels:
        raise UsageError(f"there are no digests of level {name!r}", f"use one of: {', '.join(levels)}")
    return name


def _with_neighbours(memory: Memory, units: list[Any], around: int) -> list[Any]:
    if not around:
        return units
    from overwinter.memory.choose import all_units
    from overwinter.memory.unit import Filter

    first, last = units[0], units[-1]
    where = Filter(sessions=frozenset({first.session}), exclude_flags=frozenset())
    session = sorted(all_units(memory, where), key=lambda unit: (unit.happened_us, unit.run, unit.seq, unit.first))
    places = [unit.id for unit in session]
    return session[max(0, places.index(first.id) - around) : places.index(last.id) + around + 1]


def _value_text(name: str, value: Any) -> str:
    from overwinter.amounts import bytes_text

    if name == "bytes":
        return bytes_text(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
