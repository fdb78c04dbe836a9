"""Entries: the words of the journal. Read this file first; everything else in overwinter writes or reads these.

A run is a chain of entries. Each holds the hash of the one before, so that nobody can change, drop or reorder one unnoticed.
An entry is canonical JSON; its hash is SHA-256 of exactly those bytes. What is large (long texts, token ids, world states)
lies beside the chain in content-addressed blobs, and the entry holds their hashes in `refs`: N steps cost O(N) bytes.

Every action is a pair. An *intent* is on disk before anything leaves the process, its *receipt* before the model sees the
result: `sample.intent` → `sample.completion`, `effect.intent` → `effect.receipt`. A run is resumed by reading these pairs: a
pair is finished work and is never done again, an intent alone is *in doubt*.

A fork's first entry continues the numbering and the chain of its parent: the child owns only what comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict, get_origin, get_type_hints

from overwinter.errors import StoreError, UsageError
from overwinter.journal.canonical import canonical, digest, parse_object

SCHEMA_VERSION = 1
"""Version of the entry format. A reader refuses entries of a newer one."""

GENESIS = "0" * 64
"""`prev` of the first entry of a run without a parent."""

Amounts = Mapping[str, int]
"""Budget amounts by resource: "tokens", "micro_usd", "wall_ms", "tool_calls"; whole numbers, never negative."""


class Settlement(TypedDict):
    """Closes a reservation: what was held and what was really spent."""

    reserved: dict[str, int]
    spent: dict[str, int]


class Payload(TypedDict):
    """A text in the journal: inline when short, else a reference into the blobs. See `journal.payload`."""

    text: NotRequired[str]
    ref: NotRequired[str]
    chars: NotRequired[int]


class RunStarted(TypedDict):
    goal: str
    acceptance: list[dict[str, Any]]
    setup: dict[str, Any]
    """Everything needed to build the same run again: model, tools, world, gates, limits, and their fingerprint."""
    budgets: list[str]
    caps: dict[str, int]
    version: str


class RunForked(TypedDict):
    parent: str
    seq: int
    reason: str
    budgets: list[str]
    caps: dict[str, int]
    setup: NotRequired[dict[str, Any]]


class RunResumed(TypedDict):
    fence: int
    owner: str
    state: str


class RunSuspended(TypedDict):
    reason: str
    """approval | sleep | budget | in_doubt | stalled | model | stopped; notebook: nothing works on it"""
    detail: str
    until_us: NotRequired[int]
    event: NotRequired[str]
    waits_for: NotRequired[int]


class RunEnded(TypedDict):
    status: str
    """verified | unverified | failed | cancelled"""
    detail: str
    verdict: NotRequired[int]


class SampleIntent(TypedDict):
    step: int
    view: dict[str, Any]
    """shown: closed ranges of entries; hidden: how many are not shown; left: budget; digest of the rendering; tokens."""
    limits: dict[str, Any]
    constraint: dict[str, Any]
    reserve: dict[str, int]
    purpose: NotRequired[str]
    """act (the default) or judge:CRITERION, a checker's question, which the actor never sees."""


class SampleCompletion(TypedDict):
    intent: int
    text: Payload
    calls: list[dict[str, Any]]
    """Tool calls as understood: id, tool, arguments (an object, or text that is none)."""
    reasoning: NotRequired[Payload]
    tokens: NotRequired[Payload]
    """JSON of token ids, prompt token ids and log-probabilities; absent for a text-only entry."""
    text_only: bool
    finish_reason: str
    usage: dict[str, Any]
    model: str
    confidence: NotRequired[float | None]
    success_chance: NotRequired[float]  # the stated probability that the goal will be met
    confidence_record: NotRequired[dict[str, Any]]  # versioned: think/confidence/record.py
    vote: NotRequired[dict[str, Any]]  # how it was chosen among several samples: loop/recall
    purpose: NotRequired[str]
    settle: Settlement


class SampleFailed(TypedDict):
    intent: int
    error: str
    settle: Settlement


class GateDecision(TypedDict):
    completion: int
    call: dict[str, Any]
    effect: str
    decision: str
    """allow | ask | deny"""
    rule: str
    confidence: NotRequired[float | None]
    consequential: NotRequired[bool]


class ApprovalAnswered(TypedDict):
    gate: int
    decision: str
    """approve | deny"""
    by: str
    reason: str


class EffectIntent(TypedDict):
    completion: int
    call: dict[str, Any]
    effect: str
    key: str
    attempt: int
    """1 for the first; a repeat after a crash carries the same key and goes on under the first reservation."""
    rule: str
    """The gate that let it through."""
    reserve: dict[str, int]
    consequential: NotRequired[bool]


class EffectReceipt(TypedDict):
    intent: int
    """The effect.intent; -1 for a call that was refused before one was written (unknown tool, denied)."""
    call_id: str
    ok: bool
    text: Payload
    data: dict[str, Any]
    error: str | None
    resolved_by: NotRequired[str]
    """probe | person | redo: how an in-doubt effect was settled."""
    settle: NotRequired[Settlement]


class EffectInDoubt(TypedDict):
    intent: int
    detail: str


class DoubtAnswered(TypedDict):
    doubt: int
    happened: bool
    by: str
    reason: str


class Observed(TypedDict):
    source: str
    text: Payload
    data: dict[str, Any]


class Compacted(TypedDict):
    first: int
    last: int
    """Visible entries first … last are no longer shown."""
    summary: Payload
    by: str


class CommitmentOpened(TypedDict):
    text: str
    due: str


class CommitmentClosed(TypedDict):
    opened: int
    outcome: str


class SleepStarted(TypedDict):
    until_us: NotRequired[int]
    event: NotRequired[str]
    reason: str


class SleepEnded(TypedDict):
    started: int
    cause: str


class EventReceived(TypedDict):
    name: str
    data: dict[str, Any]
    by: str


class StallNoticed(TypedDict):
    pattern: str
    detail: str
    count: int


class DoneClaimed(TypedDict):
    completion: int
    call_id: str
    summary: str


class Verdict(TypedDict):
    claim: int
    status: str
    """verified | unverified | rejected"""
    checker: str
    findings: list[dict[str, Any]]
    """Per criterion: id, met (true, false or null), evidence entries, note."""


class BudgetChanged(TypedDict):
    budget: str
    add: dict[str, int]
    by: str


class WorldSaved(TypedDict):
    world: str
    state: Payload
    outcome: dict[str, Any]


class BranchCommitted(TypedDict):
    branch: str
    seq: int
    """The branch's first completion, whose calls this run now makes for real."""


class BlobsCollected(TypedDict):
    hashes: list[str]
    policy: str


class Noted(TypedDict):
    text: Payload
    cites: list[str]
    """Entries it rests on, as RUN#SEQ."""
    by: str
    data: NotRequired[dict[str, Any]]
    """Of memory: session, actor, happened_us, happened_until_us, kind, facts."""


class Recalled(TypedDict):
    query: str
    hits: list[dict[str, Any]]
    """Per hit: unit, cite, score, relevance, channels. None is a legal answer."""
    text: Payload
    """As it was shown."""
    by: str


class HandleMade(TypedDict):
    name: str
    version: int
    description: str
    entries: list[list[int]]
    """Closed ranges of entries of this run's line: the content is always theirs."""
    note: Payload
    """What the agent says of them; shown beside the content, never instead of it."""


class HandlePinned(TypedDict):
    name: str
    pinned: bool


class CoreChanged(TypedDict):
    name: str
    text: Payload
    """Empty to take the block out."""
    by: str
    approved_by: str


class PolicySet(TypedDict):
    name: str
    policy: dict[str, Any]
    by: str


class GrantChanged(TypedDict):
    reader: str
    """The namespace that may read this run's namespace, or no longer may."""
    allowed: bool
    by: str


class EntriesErased(TypedDict):
    run: str
    seqs: list[int]
    hashes: list[str]
    """Of the erased entries, in the order of `seqs`: they go on holding the chain together."""
    blobs: list[str]
    reason: str
    by: str


BODIES: Mapping[str, type] = {
    "run.started": RunStarted,
    "run.forked": RunForked,
    "run.resumed": RunResumed,
    "run.suspended": RunSuspended,
    "run.ended": RunEnded,
    "sample.intent": SampleIntent,
    "sample.completion": SampleCompletion,
    "sample.failed": SampleFailed,
    "gate.decision": GateDecision,
    "approval.answered": ApprovalAnswered,
    "effect.intent": EffectIntent,
    "effect.receipt": EffectReceipt,
    "effect.in_doubt": EffectInDoubt,
    "doubt.answered": DoubtAnswered,
    "observed": Observed,
    "compacted": Compacted,
    "commitment.opened": CommitmentOpened,
    "commitment.closed": CommitmentClosed,
    "sleep.started": SleepStarted,
    "sleep.ended": SleepEnded,
    "event.received": EventReceived,
    "stall.noticed": StallNoticed,
    "done.claimed": DoneClaimed,
    "verdict": Verdict,
    "budget.changed": BudgetChanged,
    "world.saved": WorldSaved,
    "branch.committed": BranchCommitted,
    "blobs.collected": BlobsCollected,
    "noted": Noted,
    "recalled": Recalled,
    "handle.made": HandleMade,
    "handle.pinned": HandlePinned,
    "core.changed": CoreChanged,
    "policy.set": PolicySet,
    "grant.changed": GrantChanged,
    "entries.erased": EntriesErased,
}
"""Every kind of entry and the shape of its body. A kind not listed here is refused."""


def _shape(body: type) -> tuple[frozenset[str], frozenset[str]]:
    # Not __required_keys__: it does not see NotRequired behind postponed annotations.
    hints = get_type_hints(body, include_extras=True)
    return frozenset(name for name, hint in hints.items() if get_origin(hint) is not NotRequired), frozenset(hints)


_SHAPES = {kind: _shape(body) for kind, body in BODIES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An entry before the store gives it a place in the chain.

    Attributes:
        kind: a key of `BODIES`; the body must have its shape.
        refs: hashes of the blobs the body refers to; they must be in the store, or come with the same append.
    """

    kind: str
    body: Mapping[str, Any]
    refs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = _SHAPES.get(self.kind)
        if shape is None:
            raise UsageError(f"unknown kind of entry {self.kind!r}", f"use one of: {', '.join(BODIES)}")
        required, known = shape
        missing, extra = required - self.body.keys(), self.body.keys() - known
        if missing or extra:
            problem = f"body of {self.kind}: missing {sorted(missing)}, not known {sorted(extra)}"
            raise UsageError(problem, "give the fields that overwinter.journal.entry lists for this kind")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry of the journal.

    Attributes:
        run: the run that owns it (after a fork, the first part of a run's chain belongs to its parent).
        seq: place in the chain, from 0, without gaps.
        time_us: wall clock when it was appended, microseconds since 1970 UTC; never before the entry in front of it.
        prev: hash of the entry before, `GENESIS` for the first.
        hash: SHA-256 of `encode(...)`.
    """

    run: str
    seq: int
    kind: str
    time_us: int
    body: dict[str, Any] = field(compare=False)
    refs: tuple[str, ...]
    prev: str
    hash: str

    def as_json(self) -> dict[str, Any]:
        """The entry as one JSON object, hash included; the form `log --json` prints."""
        return {
            "run": self.run,
            "seq": self.seq,
            "kind": self.kind,
            "time_us": self.time_us,
            "body": self.body,
            "refs": list(self.refs),
            "prev": self.prev,
            "hash": self.hash,
        }


def seal(draft: Draft, *, run: str, seq: int, time_us: int, prev: str) -> tuple[Entry, bytes]:
    """Give a draft its place: the entry and the bytes that are stored and hashed."""
    data = canonical(
        {
            "v": SCHEMA_VERSION,
            "run": run,
            "seq": seq,
            "kind": draft.kind,
            "time_us": time_us,
            "body": draft.body,
            "refs": draft.refs,
            "prev": prev,
        }
    )
    entry = Entry(
        run=run,
        seq=seq,
        kind=draft.kind,
        time_us=time_us,
        body=dict(draft.body),
        refs=draft.refs,
        prev=prev,
        hash=digest(data),
    )
    return entry, data


def unseal(data: bytes, hash_: str) -> Entry:
    """The entry of stored bytes, if they are those that were sealed.

    Raises:
        StoreError: the bytes do not match the hash, are not an entry, or are one of a newer schema.
    """
    if digest(data) != hash_:
        raise StoreError(
            "an entry does not match its hash: it was changed after it was written",
            "find the entry and the byte with `overwinter log RUN --verify`",
        )
    try:
        raw = parse_object(data)
        version = raw["v"]
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"entry {raw.get('seq')} of run {raw.get('run')!r} has schema version {version}, this program reads {SCHEMA_VERSION}",
                "update overwinter",
            )
        return Entry(
            run=raw["run"],
            seq=raw["seq"],
            kind=raw["kind"],
            time_us=raw["time_us"],
            body=raw["body"],
            refs=tuple(raw["refs"]),
            prev=raw["prev"],
            hash=hash_,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"stored bytes are not an entry: {error}", "find the place with `overwinter log RUN --verify`"
        ) from error
