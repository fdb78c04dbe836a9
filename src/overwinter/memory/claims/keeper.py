"""The keeper: takes the claims of units into an index, and settles the keys they touch."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from overwinter.memory.claim import Claim
from overwinter.memory.claims.extract import Extractor, statements_of
from overwinter.memory.claims.statement import REPEAT_MARK, Statement, statement_of
from overwinter.memory.claims.timeline import KeyTimelines, base_of
from overwinter.memory.index import Index
from overwinter.memory.unit import Unit

Key = tuple[str, str]

KEPT_KEYS = 2048
"""Keys whose timelines stay in memory between two calls."""

_ALL = 1 << 40
_GENERATION = "claims/generation"
_CASCADES = "claims/cascades"
"""Notes of the index: how often claims were written; whether any claim follows from another."""

MAX_ROUNDS = 32
"""Of cascades: claims that follow from claims that follow from …; a circle ends here."""


class ClaimKeeper:
    """Keeps the claims of an index settled. What it writes is a function of the units it was given, not of their order or batches.

    Args:
        extractor: makes further statements from a unit (a model's, say); they pass the same evidence check as the rules'.
    """

    def __init__(self, index: Index, *, extractor: Extractor | None = None) -> None:
        self._index = index
        self._extractor = extractor
        self._kept: OrderedDict[Key, KeyTimelines] = OrderedDict()
        self._generation = b""
        self._orphans: list[str] = []

    def learn(self, units: Sequence[Unit], *, facts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> int:
        """Take in what units say; call it inside a transaction of the index. How many claims are new (repeats are none).

        Args:
            facts: `data.facts` of the entries, by the id of the (first) unit they came with: exact, no rule reads them.
        """
        said: dict[Key, list[Statement]] = defaultdict(list)
        for unit in units:
            for one in statements_of(unit, facts=(facts or {}).get(unit.id, ()), extractor=self._extractor):
                said[one.key].append(one)
        if not said:
            return 0
        self._begin()
        new = 0
        for key in sorted(said):
            timelines = self._timelines(key)
            before = timelines.statements().keys()
            fresh = {one.id: one for one in said[key] if one.id not in before}
            timelines.add(fresh.values())
            new += sum(1 for id_ in fresh if self._stands(timelines, id_))
        self._settle(sorted(said))
        return new

    def forget(self, units: Collection[str]) -> int:
        """Remove units from the index and settle what rested on them: a claim said elsewhere too goes on from there. How many units."""
        self._begin()
        gone = set(units)
        keys = sorted({_key(claim) for claim in self._index.claims_of(gone)})
        stale: list[str] = []
        lost: dict[Key, set[str]] = {}
        for key in keys:  # before the units go: their rows are known by the evidence
            there = self._rows(key)
            lost[key] = {id_ for id_, one in self._timelines(key).statements().items() if one.unit in gone}
            stale += [row.id for id_ in lost[key] for row in there.get(id_, [])]
        removed = self._index.remove_units(gone)
        self._index.remove_claims(stale)
        for key in keys:
            self._timelines(key).remove(lost[key])
        self._settle(keys)
        return removed

    # Timelines at hand

    def _begin(self) -> None:
        """Trust what is kept only if nobody else has written since, and nothing of ours was rolled back."""
        if (self._index.note(_GENERATION) or b"") != self._generation:
            self._kept.clear()
        self._generation = str(int(self._index.note(_GENERATION) or b"0") + 1).encode()
        self._index.set_note(_GENERATION, self._generation)
        while len(self._kept) > KEPT_KEYS:
            self._kept.popitem(last=False)

    def _timelines(self, key: Key) -> KeyTimelines:
        if key not in self._kept:
            timelines = KeyTimelines(key[1])
            by_statement = self._rows(key)
            read = [one for rows in by_statement.values() for row in rows if (one := statement_of(row)) is not None]
            known = {one.id for one in read}
            # Left behind when units were removed without `forget`: the span that said it is gone.
            self._orphans += [row.id for id_, rows in by_statement.items() if id_ not in known for row in rows]
            timelines.add(read)
            timelines.take_rows()
            self._kept[key] = timelines
        self._kept.move_to_end(key)
        return self._kept[key]

    def _rows(self, key: Key) -> dict[str, list[Claim]]:
        """What the index holds of a key, by the span that says it."""
        subject, predicate = key
        rows = self._index.claims(subject=subject, predicate=predicate, limit=_ALL)
        rows += self._index.claims(subject=subject, predicate=predicate + REPEAT_MARK, limit=_ALL)
        by_statement: dict[str, list[Claim]] = defaultdict(list)
        for row in rows:
            by_statement[base_of(row)].append(row)
        return by_statement

    @staticmethod
    def _stands(timelines: KeyTimelines, id_: str) -> bool:
        return any(id_ in line.runs for line in timelines.lines.values())

    # Settling

    def _settle(self, keys: Iterable[Key]) -> None:
        """Write the rows of the keys, then of all that follows from them."""
        pending = sorted(set(keys))
        if self._orphans:
            self._index.remove_claims(self._orphans)
            self._orphans = []
        for _ in range(MAX_ROUNDS):
            touched: set[str] = set()
            for key in pending:
                timelines = self._timelines(key)
                timelines.replay(self._steps(timelines))
                touched |= self._write(timelines)
            pending = sorted({_key(claim) for claim in self._index.dependants(touched)}) if touched else []
            if not pending:
                return

    def _steps(self, timelines: KeyTimelines) -> dict[str, tuple[tuple[int, int | None], ...]]:
        wanted = {id_ for one in timelines.statements().values() for id_ in one.depends}
        rows = self._index.claims_by_id(wanted) if wanted else []
        return {row.id: self._timelines(_key(row)).steps_of(row.id) for row in rows}

    def _write(self, timelines: KeyTimelines) -> set[str]:
        """Bring the index to what the timelines say; the statements whose run looks other than before, and all that went into it."""
        changed = timelines.take_rows()
        if not changed:
            return set()
        wanted = {row.id: row for rows in changed.values() for row in rows}
        there = {row.id: row for row in self._index.claims_by_id(wanted.keys() | self._later(changed))}
        self._index.remove_claims([id_ for id_ in there if id_ not in wanted])
        put = [row for id_, row in wanted.items() if there.get(id_) != row]
        self._index.put_claims(put)
        if any(row.depends for row in put):
            self._index.set_note(_CASCADES, b"1")
        return self._with_folded(timelines, {base_of(row) for row in put}) if self._index.note(_CASCADES) else set()

    def _later(self, changed: Mapping[str, list[Claim]]) -> set[str]:
        """Ids of the versions that the index may still hold of these statements."""
        units = {one.unit for rows in changed.values() for row in rows for one in row.evidence[:1]}
        return {row.id for row in self._index.claims_of(units) if base_of(row) in changed}

    @staticmethod
    def _with_folded(timelines: KeyTimelines, ids: set[str]) -> set[str]:
        folded = {id_ for line in timelines.lines.values() for id_, (head, _) in line.folded.items() if head in ids}
        return ids | folded


def _key(claim: Claim) -> Key:
    return claim.subject, claim.predicate.removesuffix(REPEAT_MARK)
