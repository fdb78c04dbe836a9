"""What the tests of memory's index share: short ways to make units, claims, digests, and journals to derive them from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overwinter.journal import Draft, Entry, Lease, NewRun, Packer, Store
from overwinter.memory.claim import Claim, Evidence
from overwinter.memory.index import Index, Span
from overwinter.memory.unit import Filter, Unit, rough_tokens, text_digest, unit_id

SRC = Path(__file__).parents[2] / "src"
ALL = Filter(exclude_flags=frozenset())


def unit(text: str, seq: int = 0, **changes: Any) -> Unit:
    """A unit of run "r" whose id follows from run and number."""
    run = changes.get("run", "r")
    fields: dict[str, Any] = {
        "id": unit_id(f"{run}/{seq}", 0, len(text)),
        "run": run,
        "seq": seq,
        "first": 0,
        "last": len(text),
        "session": run,
        "place": seq,
        "kind": "message",
        "actor": "user",
        "trust": "trusted",
        "happened_us": 1000 * seq,
        "happened_until_us": 1000 * seq,
        "told_us": 1000 * seq,
        "text": text,
        "tokens": rough_tokens(text),
        "digest": text_digest(text),
    }
    return Unit(**(fields | changes))


def put(index: Index, *units: Unit) -> list[int]:
    with index.transaction():
        return index.put_units(units)


def claim(number: int, **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": f"{number:032x}",
        "subject": "ann",
        "predicate": "lives in",
        "object": f"town {number}",
        "polarity": True,
        "confidence": 0.75,
        "valid_from_us": 100 * number,
        "valid_to_us": None,
        "known_from_us": 100 * number,
        "known_to_us": None,
        "evidence": (),
    }
    return Claim(**(fields | changes))


def says(unit_: Unit, first: int = 0, last: int = 3, *, supports: bool = True) -> Evidence:
    return Evidence(unit=unit_.id, first=first, last=last, supports=supports)


def span(level: str, period: str, since_us: int, until_us: int, text: str = "quiet") -> Span:
    return Span(
        id=text_digest(f"{level}/{period}/{text}"),
        level=level,
        period=period,
        since_us=since_us,
        until_us=until_us,
        text=text,
        covers=("a", "b"),
        root="r" * 8,
        version=1,
    )


def everything(index: Index) -> dict[str, Any]:
    """All that an index says, without row numbers: equal for two that were derived from the same journal."""
    units = {unit.id: unit for _, unit in index.scan(ALL, limit=1_000_000)}
    rows = index.rows(list(units))
    name = dict(zip(rows, units, strict=True))
    beside = index.neighbours(rows)
    terms = sorted({word for unit in units.values() for word in unit.text.lower().split() if word.isalnum()})[:300]
    sessions = index.session_scores(terms[:20], 1000)
    return {
        "units": units,
        "marks": dict(index.watermarks()),
        "claims": {claim.id: claim for claim in index.claims(limit=1_000_000)},
        "spans": index.spans(),
        "beside": {name[row]: tuple(name.get(other, "") for other in pair) for row, pair in beside.items()},
        "frequency": index.document_frequency(terms),
        "found": {
            term: {name[hit.row]: round(hit.score, 6) for hit in index.lexical([term], ALL, len(units) + 1)}
            for term in terms[:40]
        },
        "sessions": {session: round(score, 6) for session, score in sessions.items()},
    }


# Journals


def started(setup: Mapping[str, Any] | None = None, goal: str = "keep the greenhouse warm") -> Draft:
    body: dict[str, Any] = {"goal": goal, "acceptance": [], "setup": dict(setup or {}), "budgets": [], "caps": {}}
    return Draft(kind="run.started", body=body | {"version": "0"})


def begin(store: Store, run: str = "r", setup: Mapping[str, Any] | None = None) -> Lease:
    store.create(NewRun(run=run))
    lease = store.acquire(run, "test", 3600)
    store.append(run, [started(setup)], fence=lease.fence)
    return lease


def in_namespace(name: str) -> dict[str, Any]:
    return {"memory": {"namespace": name}}


def append(store: Store, lease: Lease, *drafts: Draft, packer: Packer | None = None) -> list[Entry]:
    return store.append(lease.run, list(drafts), fence=lease.fence, blobs=packer.blobs if packer is not None else None)


def observed(text: str, source: str = "sensor", **data: Any) -> Draft:
    return Draft(kind="observed", body={"source": source, "text": {"text": text}, "data": data})


def completion(text: str, calls: list[dict[str, Any]] | None = None, purpose: str = "act") -> Draft:
    body = {
        "intent": 0,
        "text": {"text": text},
        "calls": calls or [],
        "text_only": True,
        "finish_reason": "stop",
        "usage": {},
        "model": "test",
        "purpose": purpose,
        "settle": {"reserved": {}, "spent": {}},
    }
    return Draft(kind="sample.completion", body=body)


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"id": f"c-{tool}", "tool": tool, "arguments": arguments}


def intent(call_: dict[str, Any], attempt: int = 1) -> Draft:
    body = {"completion": 0, "call": call_, "effect": "pure", "key": "k", "attempt": attempt, "rule": "", "reserve": {}}
    return Draft(kind="effect.intent", body=body)


def receipt(intent_seq: int, text: str, call_: dict[str, Any]) -> Draft:
    body = {"intent": intent_seq, "call_id": call_["id"], "ok": True, "text": {"text": text}, "data": {}, "error": None}
    return Draft(kind="effect.receipt", body=body)


def recalled(text: str) -> Draft:
    return Draft(kind="recalled", body={"query": "q", "hits": [], "text": {"text": text}, "by": "loop"})
