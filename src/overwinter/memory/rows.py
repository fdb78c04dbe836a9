"""Rows and the things they stand for: units, claims and digests as tuples of plain values, each with a checksum."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal.canonical import canonical, parse
from overwinter.memory.claim import Claim, Evidence
from overwinter.memory.index import Span
from overwinter.memory.unit import FLAGS, AsOf, Filter, Unit

Row = Sequence[Any]
Condition = tuple[str, list[Any]]
"""A condition in SQL and its arguments."""

CHECKSUM = "checksum"
UNIT_COLUMNS = (
    "t.id, s.run, u.seq, u.first, u.last, s.name, u.place, u.kind, u.actor, t.trust, u.happened_us, u.happened_until_us, "
    "u.told_us, t.text, u.tokens, t.digest, u.flags, t.sum, u.num"
)
UNIT_TABLES = "units u JOIN texts t ON t.num = u.num JOIN sessions s ON s.id = u.session"
CLAIM_COLUMNS = (
    "id, subject, predicate, object, polarity, confidence, valid_from_us, valid_to_us, known_from_us, known_to_us, "
    "superseded_by, reason"
)
SPAN_COLUMNS = "level, period, id, since_us, until_us, text, covers, root, version"


def damaged(what: str) -> StoreError:
    """Raised where a row is not what was written; `index_is_damaged` knows it again."""
    error = StoreError(f"{what} of the memory index is damaged", "`overwinter memory rebuild` makes it anew")
    error.__cause__ = ValueError(CHECKSUM)
    return error


def whole(value: Any, what: str) -> int:
    """A count as it was stored; damage may have made something else of it."""
    if type(value) is not int or value < 0:
        raise damaged(what)
    return value


def checksum(values: Iterable[Any]) -> int:
    return zlib.crc32("\x1f".join(map(repr, values)).encode("utf-8", "surrogatepass"))


def flag_bits(flags: Iterable[str]) -> int:
    return sum(1 << FLAGS.index(flag) for flag in flags)


_FLAG_SETS = tuple(frozenset(flag for i, flag in enumerate(FLAGS) if bits >> i & 1) for bits in range(1 << len(FLAGS)))


def unit_sum(unit: Unit, bits: int) -> int:
    # Without its place, which moves up when a unit before it is erased.
    return checksum(
        (
            unit.id,
            unit.run,
            unit.seq,
            unit.first,
            unit.last,
            unit.session,
            unit.kind,
            unit.actor,
            unit.trust,
            unit.happened_us,
            unit.happened_until_us,
            unit.told_us,
            unit.text,
            unit.tokens,
            unit.digest,
            bits,
        )
    )


def unit_of(row: Row) -> Unit:
    """The unit of a row of `UNIT_COLUMNS`."""
    bits = row[16]
    try:
        unit = Unit(
            id=row[0],
            run=row[1],
            seq=row[2],
            first=row[3],
            last=row[4],
            session=row[5],
            place=row[6],
            kind=row[7],
            actor=row[8],
            trust=row[9],
            happened_us=row[10],
            happened_until_us=row[11],
            told_us=row[12],
            text=row[13],
            tokens=row[14],
            digest=row[15],
            flags=_FLAG_SETS[bits],
        )
    except (IndexError, TypeError) as error:
        raise damaged(f"unit {row[18]}") from error
    if unit_sum(unit, bits) != row[17]:
        raise damaged(f"unit {row[18]}")
    return unit


def claim_values(claim: Claim) -> list[Any]:
    """Values of `CLAIM_COLUMNS`."""
    return [
        claim.id,
        claim.subject,
        claim.predicate,
        claim.object,
        int(claim.polarity),
        float(claim.confidence),
        claim.valid_from_us,
        claim.valid_to_us,
        claim.known_from_us,
        claim.known_to_us,
        claim.superseded_by,
        claim.reason,
    ]


def claim_sum(values: Sequence[Any], evidence: Sequence[Evidence], depends: Sequence[str]) -> int:
    spans = [(each.unit, each.first, each.last, each.supports) for each in evidence]
    return checksum((*values, spans, list(depends)))


def claim_of(row: Row, evidence: Sequence[Evidence], depends: Sequence[str]) -> Claim:
    """The claim of a row of `CLAIM_COLUMNS` and its checksum."""
    if claim_sum(row[:12], evidence, depends) != row[12]:
        raise damaged(f"claim {row[0]!r}")
    return Claim(
        id=row[0],
        subject=row[1],
        predicate=row[2],
        object=row[3],
        polarity=bool(row[4]),
        confidence=row[5],
        valid_from_us=row[6],
        valid_to_us=row[7],
        known_from_us=row[8],
        known_to_us=row[9],
        superseded_by=row[10],
        reason=row[11],
        evidence=tuple(evidence),
        depends=tuple(depends),
    )


def span_values(span: Span) -> list[Any]:
    """Values of `SPAN_COLUMNS` and the checksum."""
    values = [
        span.level,
        span.period,
        span.id,
        span.since_us,
        span.until_us,
        span.text,
        canonical(list(span.covers)).decode(),
        span.root,
        span.version,
    ]
    return [*values, checksum(values)]


def span_of(row: Row) -> Span:
    if checksum(row[:9]) != row[9]:
        raise damaged(f"digest {row[0]} {row[1]!r}")
    return Span(
        level=row[0],
        period=row[1],
        id=row[2],
        since_us=row[3],
        until_us=row[4],
        text=row[5],
        covers=tuple(parse(row[6])),
        root=row[7],
        version=row[8],
    )


def holds(at: AsOf | None) -> Condition:
    """The claims that held and were believed at a time; on an axis without one, those whose interval is open."""
    if at is None:
        return "1 = 1", []
    terms: list[str] = []
    args: list[Any] = []
    for axis, moment in (("valid", at.valid_us), ("known", at.known_us)):
        if moment is None:
            terms.append(f"{axis}_to_us IS NULL")
        else:
            terms.append(f"{axis}_from_us <= ? AND ({axis}_to_us IS NULL OR {axis}_to_us > ?)")
            args += [moment, moment]
    return " AND ".join(terms), args


def limits(where: Filter) -> Condition:
    """The part of a filter that compares single values; sets are the dialect's."""
    terms: list[str] = []
    args: list[Any] = []
    comparisons: Mapping[str, int | None] = {
        "u.happened_us >= ?": where.since_us,
        "u.happened_us < ?": where.until_us,
        "u.told_us <= ?": where.known_us,
        "u.flags & ? = 0": flag_bits(where.exclude_flags) or None,
    }
    for term, value in comparisons.items():
        if value is not None:
            terms.append(term)
            args.append(value)
    return " AND ".join(terms), args


__all__ = [
    "CHECKSUM",
    "CLAIM_COLUMNS",
    "SPAN_COLUMNS",
    "UNIT_COLUMNS",
    "UNIT_TABLES",
    "Condition",
    "Row",
    "checksum",
    "claim_of",
    "claim_sum",
    "claim_values",
    "damaged",
    "flag_bits",
    "holds",
    "limits",
    "span_of",
    "span_values",
    "unit_of",
    "unit_sum",
    "whole",
]
