"""Anyone can check a journal: recompute every hash, follow the chain, and name what was changed.

SHA-256 says that an entry is not what was written, not where it differs. But a flipped bit or a single edited byte can be
found by trying: restore each byte in turn until the hash fits again. So damage of one byte is named with its offset and the
value it had, and nothing has to be taken on trust.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from overwinter.errors import StoreError
from overwinter.journal.canonical import parse_object
from overwinter.journal.entry import GENESIS, SCHEMA_VERSION, Entry
from overwinter.journal.store import RawEntry, RunInfo, Store
from overwinter.journal.tombstone import ERASED, is_tombstone, named_by, reopen, witness_of

_KEYS = frozenset({"run", "seq", "kind", "time_us", "body", "refs", "prev"})

SEARCH_BYTES = 1 << 17
"""Upper bound on hashed bytes × tries is about SEARCH_BYTES × 256; larger texts are searched for single bit flips only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One finding: the entry it belongs to (None for the database as a whole) and what is wrong, in words."""

    seq: int | None
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        head: hash of the last good entry. Keep it elsewhere, and nobody can cut the end of the journal unnoticed either.
        collected: blobs whose content a retention policy or an erasure removed; their hashes still hold the chain together.
        erased: entries whose content was erased, each named with its hash by an `entries.erased` entry.
    """

    run: str
    entries: int
    blobs: int
    collected: int
    head: str
    problems: tuple[Problem, ...] = field(default=())
    erased: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(store: Store, run: str, *, expect_head: str | None = None) -> Report:
    """Recompute the chain of `run`, its parents' part included.

    Args:
        expect_head: a head hash noted earlier; it must appear in the chain.
    """
    problems = [Problem(seq=None, what=f"the database reports: {line}") for line in store.check_integrity()]
    info = store.info(run)
    prev, last, at_head, entries, seen_head = GENESIS, -1, GENESIS, 0, expect_head is None
    refs: dict[str, int] = {}
    tombstones: list[Entry] = []
    for raw in store.raw(run):
        entries += 1
        if raw.kind == ERASED and raw.data is not None and is_tombstone(raw.data):
            found = list(_check_tombstone(raw, prev, tombstones))
        else:
            found = list(_check_entry(raw, prev))
        problems += [Problem(seq=raw.seq, what=what) for what in found]
        if not found and raw.kind != ERASED and raw.data is not None:
            for ref in parse_object(raw.data)["refs"]:
                refs.setdefault(ref, raw.seq)
        # The chain is followed by the stored hash, so that one damaged entry is one finding and not all that follow.
        prev, last = raw.hash, raw.seq
        at_head = raw.hash if raw.seq == info.head_seq else at_head
        seen_head = seen_head or raw.hash == expect_head
    # Asked again: a run that goes on while it is checked has grown, and its head with it.
    problems += _check_head(info, at_head, behind=last > store.info(run).head_seq)
    if not seen_head:
        problems.append(
            Problem(seq=None, what=f"the expected head {expect_head} is not in the chain: its end was cut or rewritten")
        )
    problems += _check_witnesses(store, tombstones)
    collected = 0
    for ref, seq in refs.items():
        what = _check_blob(store, ref)
        collected += what == "collected"
        if what not in {"", "collected"}:
            problems.append(Problem(seq=seq, what=what))
    return Report(
        run=run,
        entries=entries,
        blobs=len(refs),
        collected=collected,
        head=prev,
        problems=tuple(problems),
        erased=len(tombstones),
    )


def _check_entry(raw: RawEntry, prev: str) -> Iterator[str]:
    if raw.data is None:
        yield raw.error
        return
    if hashlib.sha256(raw.data).hexdigest() != raw.hash:
        yield _name_the_byte(raw.data, raw.hash)
        return
    try:
        entry = parse_object(raw.data)
    except (ValueError, UnicodeDecodeError) as error:
        yield f"is not JSON: {error}"
        return
    if entry.get("v") != SCHEMA_VERSION:
        yield f"has schema version {entry.get('v')}; this program reads {SCHEMA_VERSION}"
        return
    missing = _KEYS - entry.keys()
    if missing:
        yield f"lacks {', '.join(sorted(missing))}, although its hash fits: it was not written by overwinter"
        return
    place = (raw.run, raw.seq, raw.kind)
    if (entry["run"], entry["seq"], entry["kind"]) != place:
        said = f"{entry['run']}/{entry['seq']}/{entry['kind']}"
        yield f"stands at {'/'.join(map(str, place))} but was written as {said}"
    if prev and entry["prev"] != prev:
        yield f"does not follow the entry before it: prev is {str(entry['prev'])[:12]}…, that entry's hash is {prev[:12]}…"


def _check_tombstone(raw: RawEntry, prev: str, good: list[Entry]) -> Iterator[str]:
    """Like `_check_entry`; one that is in order so far joins `good`, and its witness is asked later."""
    try:
        entry = reopen(raw.data or b"", raw.hash)
    except StoreError as error:
        yield error.problem
        return
    if (entry.run, entry.seq) != (raw.run, raw.seq):
        yield f"stands at {raw.run}/{raw.seq} but is the tombstone of {entry.run}/{entry.seq}"
    elif prev and entry.prev != prev:
        yield f"is a tombstone that does not follow the entry before it: prev is {entry.prev[:12]}…, not {prev[:12]}…"
    else:
        good.append(entry)


def _check_witnesses(store: Store, tombstones: Sequence[Entry]) -> Iterator[Problem]:
    """What is wrong with erasures: nothing, if an intact entry of the run that owned each of them lists its hash."""
    known: dict[tuple[str, int], frozenset[tuple[int, str]] | str] = {}
    for entry in tombstones:
        said = f"was replaced by a tombstone, and no entry of run {entry.run!r} says that it was erased"
        witness = witness_of(entry)
        if witness is None or witness[0] != entry.run:
            yield Problem(seq=entry.seq, what=f"{said}: the tombstone names {entry.body['by']!r}")
            continue
        if witness not in known:
            known[witness] = _named_by(store, witness)
        named = known[witness]
        if isinstance(named, str):
            yield Problem(seq=entry.seq, what=f"{said}: entry {witness[1]}: {named}")
        elif (entry.seq, entry.hash) not in named:
            yield Problem(seq=entry.seq, what=f"{said}: entry {witness[1]} does not list its hash")


def _named_by(store: Store, witness: tuple[str, int]) -> frozenset[tuple[int, str]] | str:
    """What a witness lists, or why it cannot be read."""
    run, seq = witness
    try:
        found = next(store.read(run, seq, seq + 1), None)
    except StoreError as error:
        return error.problem
    return "it is missing" if found is None else named_by(found, run)


def _check_head(info: RunInfo, found: str, *, behind: bool) -> Iterator[Problem]:
    """`found` is the hash of the entry that the row of the run calls its head; "" if that entry is missing anyway."""
    if found and found != info.head_hash:
        said = f"the run's head is {info.head_hash[:12]}…, the hash of entry {info.head_seq} is {found[:12]}…"
        yield Problem(seq=info.head_seq, what=f"{said}: the end was cut, or the row changed")
    if behind:
        yield Problem(seq=info.head_seq + 1, what=f"lies behind the run's head, which is entry {info.head_seq}")


def _check_blob(store: Store, ref: str) -> str:
    state = store.blob_state(ref)
    if state == "collected":
        return "collected"
    if state == "missing":
        return f"its blob {ref[:12]}… is missing"
    try:
        store.get_blob(ref)
    except StoreError as error:
        return error.problem
    return ""


def _name_the_byte(data: bytes, hash_: str) -> str:
    """Find the one byte whose change explains the hash, in the data or in the hash itself."""
    actual = hashlib.sha256(data).hexdigest()
    differing = [i for i, (a, b) in enumerate(zip(actual, hash_, strict=False)) if a != b]
    if len(hash_) == len(actual) and len(differing) == 1:
        return f"its stored hash was changed at character {differing[0]}: {hash_[differing[0]]!r} was {actual[differing[0]]!r}"
    for offset, value in single_byte_repairs(data):
        if hashlib.sha256(data[:offset] + bytes([value]) + data[offset + 1 :]).hexdigest() == hash_:
            context = json.dumps(data[max(0, offset - 20) : offset + 20].decode("utf-8", "replace"), ensure_ascii=False)
            return f"byte {offset} was changed: it is 0x{data[offset]:02x} and was 0x{value:02x}, near {context}"
    return "its content does not match its hash, and no single changed byte explains it"


def single_byte_repairs(data: bytes) -> Iterator[tuple[int, int]]:
    """Candidates (offset, value) that differ from `data` in one byte; bit flips first, being the commonest damage."""
    for offset, byte in enumerate(data):
        for bit in range(8):
            yield offset, byte ^ (1 << bit)
    if len(data) * len(data) > SEARCH_BYTES * 256:
        return
    for offset, byte in enumerate(data):
        for value in range(256):
            if (byte ^ value).bit_count() > 1:
                yield offset, value
