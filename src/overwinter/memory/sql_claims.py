"""The part of `SqlIndex` that keeps claims and digests."""

from __future__ import annotations

import abc
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from overwinter.memory.claim import Claim, Evidence
from overwinter.memory.index import Span
from overwinter.memory.rows import (
    CLAIM_COLUMNS,
    SPAN_COLUMNS,
    Condition,
    Row,
    claim_of,
    claim_sum,
    claim_values,
    holds,
    span_of,
    span_values,
)
from overwinter.memory.unit import AsOf

_ORDER = "ORDER BY valid_from_us DESC, known_from_us DESC, id"


class ClaimTables(abc.ABC):
    """Claims with their evidence and what they follow from, and digests of periods."""

    @abc.abstractmethod
    def _execute(self, sql: str, args: Sequence[Any] = ()) -> list[Row]: ...

    @abc.abstractmethod
    def _execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None: ...

    @abc.abstractmethod
    def _among(self, column: str, values: Collection[Any]) -> Condition: ...

    @abc.abstractmethod
    def _must_write(self) -> None: ...

    def put_claims(self, claims: Sequence[Claim]) -> None:
        self._must_write()
        newest = {claim.id: claim for claim in claims}
        if not newest:
            return
        self._drop_claims(newest)
        rows, evidence, depends = [], [], []
        for claim in newest.values():
            values = claim_values(claim)
            rows.append([*values, claim_sum(values, claim.evidence, claim.depends)])
            evidence += [
                (claim.id, place, each.unit, each.first, each.last, int(each.supports))
                for place, each in enumerate(claim.evidence)
            ]
            depends += [(claim.id, place, basis) for place, basis in enumerate(claim.depends)]
        marks = ", ".join("?" * 13)
        self._execute_many(f"INSERT INTO claims ({CLAIM_COLUMNS}, sum) VALUES ({marks})", rows)
        if evidence:
            self._execute_many(
                "INSERT INTO evidence (claim, place, unit, first, last, supports) VALUES (?, ?, ?, ?, ?, ?)", evidence
            )
        if depends:
            self._execute_many("INSERT INTO depends (claim, place, basis) VALUES (?, ?, ?)", depends)

    def remove_claims(self, ids: Collection[str]) -> None:
        self._must_write()
        if ids:
            self._drop_claims(ids)

    def _drop_claims(self, ids: Collection[str]) -> None:
        for table, column in (("claims", "id"), ("evidence", "claim"), ("depends", "claim")):
            condition, args = self._among(column, set(ids))
            self._execute(f"DELETE FROM {table} WHERE {condition}", args)

    def _drop_evidence(self, units: Collection[str]) -> None:
        """Take evidence out, and claims that nothing supports any more."""
        changed = self.claims_of(units)
        kept: list[Claim] = []
        for claim in changed:
            evidence = tuple(each for each in claim.evidence if each.unit not in units)
            if any(each.supports for each in evidence):
                values = {name: getattr(claim, name) for name in Claim.__slots__}
                kept.append(Claim(**{**values, "evidence": evidence}))
        self._drop_claims([claim.id for claim in changed])
        self.put_claims(kept)

    def claims(
        self, *, subject: str = "", predicate: str = "", at: AsOf | None = None, limit: int = 1000
    ) -> list[Claim]:
        condition, args = holds(at)
        for column, value in (("subject", subject), ("predicate", predicate)):
            if value:
                condition, args = f"{condition} AND {column} = ?", [*args, value]
        return self._claims_that((condition, [*args, limit]), "LIMIT ?")

    def claims_of(self, units: Collection[str]) -> list[Claim]:
        condition, args = self._among("unit", set(units))
        return self._claims_that((f"id IN (SELECT claim FROM evidence WHERE {condition})", args)) if units else []

    def claims_by_id(self, ids: Collection[str]) -> list[Claim]:
        return self._claims_that(self._among("id", set(ids))) if ids else []

    def dependants(self, ids: Collection[str]) -> list[Claim]:
        condition, args = self._among("basis", set(ids))
        return self._claims_that((f"id IN (SELECT claim FROM depends WHERE {condition})", args)) if ids else []

    def _claims_that(self, condition: Condition, rest: str = "") -> list[Claim]:
        rows = self._execute(
            f"SELECT {CLAIM_COLUMNS}, sum FROM claims WHERE {condition[0]} {_ORDER} {rest}", condition[1]
        )
        if not rows:
            return []
        chosen, args = self._among("claim", {row[0] for row in rows})
        evidence: dict[str, list[Evidence]] = defaultdict(list)
        depends: dict[str, list[str]] = defaultdict(list)
        for claim, unit, first, last, supports in self._execute(
            f"SELECT claim, unit, first, last, supports FROM evidence WHERE {chosen} ORDER BY claim, place", args
        ):
            evidence[claim].append(Evidence(unit=unit, first=first, last=last, supports=bool(supports)))
        for claim, basis in self._execute(
            f"SELECT claim, basis FROM depends WHERE {chosen} ORDER BY claim, place", args
        ):
            depends[claim].append(basis)
        return [claim_of(row, evidence[row[0]], depends[row[0]]) for row in rows]

    # Digests

    def put_spans(self, spans: Sequence[Span]) -> None:
        self._must_write()
        newest = {(span.level, span.period): span for span in spans}
        for level, period in newest:
            self._execute("DELETE FROM spans WHERE level = ? AND period = ?", (level, period))
        marks = ", ".join("?" * 10)
        if newest:
            self._execute_many(
                f"INSERT INTO spans ({SPAN_COLUMNS}, sum) VALUES ({marks})",
                [span_values(span) for span in newest.values()],
            )

    def remove_spans(self, ids: Collection[str]) -> None:
        self._must_write()
        if ids:
            condition, args = self._among("id", set(ids))
            self._execute(f"DELETE FROM spans WHERE {condition}", args)

    def spans(self, level: str = "", *, since_us: int | None = None, until_us: int | None = None) -> list[Span]:
        terms, args = ["1 = 1"], []
        for term, value in (("level = ?", level or None), ("since_us < ?", until_us), ("until_us > ?", since_us)):
            if value is not None:
                terms.append(term)
                args.append(value)
        sql = f"SELECT {SPAN_COLUMNS}, sum FROM spans WHERE {' AND '.join(terms)} ORDER BY since_us, until_us, level, period"
        return [span_of(row) for row in self._execute(sql, args)]

    def _check_claims(self) -> None:
        """Read all claims and digests; the first damaged one raises."""
        after = ""
        while page := self._claims_page(after):
            after = page[-1]
        self.spans()

    def _claims_page(self, after: str) -> list[str]:
        ids = [row[0] for row in self._execute("SELECT id FROM claims WHERE id > ? ORDER BY id LIMIT 1000", (after,))]
        self.claims_by_id(ids)
        return ids
