"""Tombstones: what stands where an entry was erased. It keeps the entry's place and hash, so that the chain and the numbers go
on, and of the body only what others count on: numbers, references to other entries, amounts of budgets, fixed words.

A tombstone's bytes do not have the hash that stands beside them, so they prove nothing by themselves. What makes one legitimate
is its *witness*: an `entries.erased` entry of the run that owns it, which names exactly this hash. `verify` asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal.canonical import canonical, parse_object
from overwinter.journal.entry import SCHEMA_VERSION, Entry, unseal

ERASED = "erased"
"""The kind under which `read` yields an erased entry. Nobody can append one."""

# Canonical JSON sorts its keys: an entry begins with "body", a tombstone with "erased".
_MARK = b'{"erased":'

_KEPT = frozenset(
    {
        "add",
        "branch",
        "budget",
        "budgets",
        "call_id",
        "caps",
        "decision",
        "effect",
        "parent",
        "purpose",
        "reserve",
        "settle",
    }
    | {"state", "status"}
)
"""Fields of bodies that are kept whatever they hold: fixed words, names of runs and budgets, amounts, ids of calls."""
_KEPT_OF = {"run.suspended": frozenset({"reason"}), "sample.intent": frozenset({"view"})}
"""Further ones of single kinds: why a run waits is one of seven words; `view` holds numbers of entries and a digest."""


def kind_of(entry: Entry) -> str:
    """The kind an entry was written as, erased or not."""
    return str(entry.body["kind"]) if entry.kind == ERASED else entry.kind


def skeleton(entry: Entry) -> dict[str, Any]:
    """What a tombstone keeps of a body: enough to fold a run's state, add up its budgets and pair calls with results."""
    kept = _KEPT | _KEPT_OF.get(entry.kind, frozenset())
    body = {name: value for name, value in entry.body.items() if name in kept or type(value) in {int, bool}}
    if isinstance(entry.body.get("calls"), list):
        body["calls"] = [{"id": call["id"]} for call in entry.body["calls"]]
    if isinstance(entry.body.get("call"), Mapping):
        body["call"] = {"id": entry.body["call"]["id"]}
    if entry.kind == "run.started":
        # Whose memory the run belongs to; without it a rebuilt index would take it for another's.
        setup = entry.body["setup"]
        body["setup"] = {
            name: setup[name] if name == "memory" else {} for name in ("memory", "response") if name in setup
        }
    return body


def bury(entry: Entry, by: str) -> bytes:
    """The bytes that are stored instead of `entry`. `by` names the witness as RUN#SEQ."""
    return canonical(
        {
            "erased": {**skeleton(entry), "kind": entry.kind, "by": by},
            "prev": entry.prev,
            "run": entry.run,
            "seq": entry.seq,
            "time_us": entry.time_us,
            "v": SCHEMA_VERSION,
        }
    )


def is_tombstone(data: bytes) -> bool:
    return data.startswith(_MARK)


def reopen(data: bytes, hash_: str) -> Entry:
    """The entry of stored bytes: as it was sealed, or of kind "erased" where a tombstone lies.

    Raises:
        StoreError: see `unseal`.
    """
    if not is_tombstone(data):
        return unseal(data, hash_)
    try:
        raw = parse_object(data)
        body = dict(raw["erased"])
        if raw["v"] != SCHEMA_VERSION or not isinstance(body["kind"], str) or not isinstance(body["by"], str):
            raise ValueError("fields of another form")
        return Entry(
            run=raw["run"],
            seq=raw["seq"],
            kind=ERASED,
            time_us=raw["time_us"],
            body=body,
            refs=(),
            prev=raw["prev"],
            hash=hash_,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the tombstone of an erased entry is damaged: {error}", "find the place with `overwinter log RUN --verify`"
        ) from error


def witness_of(entry: Entry) -> tuple[str, int] | None:
    """(run, seq) of the entry that a tombstone names as its witness; None where it names none."""
    run, mark, seq = str(entry.body.get("by", "")).rpartition("#")
    return (run, int(seq)) if mark and seq.isdigit() else None


def named_by(witness: Entry, run: str) -> frozenset[tuple[int, str]]:
    """(seq, hash) of the entries of `run` that `witness` lists as erased; none if it is no `entries.erased` entry of theirs."""
    if witness.kind != "entries.erased" or (witness.run, witness.body["run"]) != (run, run):
        return frozenset()
    return frozenset(zip(witness.body["seqs"], witness.body["hashes"], strict=False))
