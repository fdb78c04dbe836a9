"""Units: the searchable pieces of a journal. Read this file first; everything else in `memory` makes, stores or finds these.

A unit is a span of one entry's text: a turn, a tool's result, a note, a chunk of a document. It is derived: deleting the index
and deriving it again gives the same units with the same ids. What a unit says is shown as what somebody said at some time,
never as an instruction.

Three times are kept apart: when it *happened* (the axis of validity), when it was *told* (the entry's time, the axis of
knowledge), and, in the index only, when it was stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

DERIVER = 1
"""Version of the derivation from entries to units. Another version gives other ids, so that two never mix unnoticed."""

DEFAULT_NAMESPACE = "default"

KINDS = ("message", "tool_call", "tool_result", "document", "note", "decision")
"""message: what a person or the agent said. decision: what a gate, a person or a checker decided."""

TRUSTED, OWN, UNTRUSTED = "trusted", "own", "untrusted"
TRUST = (TRUSTED, OWN, UNTRUSTED)
"""trusted: users and persons, through the run. own: the agent's words. untrusted: tools, the web, documents, other programs."""

INJECTED, SECRET, INSTRUCTION, BOILERPLATE = "injected", "secret", "instruction", "boilerplate"
FLAGS = (INJECTED, SECRET, INSTRUCTION, BOILERPLATE)
"""injected: it repeats what memory showed, and is never learnt from. secret: something was redacted. instruction: untrusted
text that reads like an order; it is quoted, and cannot enter the core. boilerplate: says nothing (empty results, "ok")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One searchable piece of one entry.

    Attributes:
        id: `unit_id(...)`, 32 hexadecimal digits.
        run, seq: the entry it comes from (the run that owns the entry, not a fork of it).
        first, last: half-open span of characters in the entry's rendered text.
        session: what its neighbours are looked for in: a run, or a session, chat or document named by the entry.
        place: number inside the session, from 0 without gaps in order of (seq, first).
        actor: "user", "agent", "person:NAME", "tool:NAME", "world:NAME", "document:NAME", "overwinter".
        happened_us, happened_until_us: when it happened, half-open; equal where only a moment is known.
        told_us: when the journal learned of it.
        tokens: rough size for budgets (`rough_tokens`), not a model's count.
        digest: of the normalised text; equal digests are duplicates.
    """

    id: str
    run: str
    seq: int
    first: int
    last: int
    session: str
    place: int
    kind: str
    actor: str
    trust: str
    happened_us: int
    happened_until_us: int
    told_us: int
    text: str
    tokens: int
    digest: str
    flags: frozenset[str] = field(default=frozenset())

    @property
    def cite(self) -> str:
        """How the unit is cited: RUN#SEQ, the entry that says it."""
        return f"{self.run}#{self.seq}"


def unit_id(entry_hash: str, first: int, last: int, deriver: int = DERIVER) -> str:
    """The id of a span of an entry: the same wherever and whenever it is derived."""
    return hashlib.sha256(f"unit/{deriver}/{entry_hash}/{first}/{last}".encode()).hexdigest()[:32]


def text_digest(text: str) -> str:
    """Of the text without differences of case and space."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()[:32]


def rough_tokens(text: str) -> int:
    """About what a subword tokenizer makes of it: four characters a token, never none."""
    return len(text) // 4 + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class AsOf:
    """A view of the past on both axes of time; None is now.

    Attributes:
        valid_us: what held then (`happened`).
        known_us: what had been told by then.
    """

    valid_us: int | None = None
    known_us: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which units a look-up may return. Empty or None: no restriction.

    Attributes:
        since_us, until_us: half-open range on `happened_us`.
        known_us: only what had been told by then.
        exclude_flags: units that carry any of these are left out.
    """

    since_us: int | None = None
    until_us: int | None = None
    known_us: int | None = None
    sessions: frozenset[str] = field(default=frozenset())
    runs: frozenset[str] = field(default=frozenset())
    kinds: frozenset[str] = field(default=frozenset())
    actors: frozenset[str] = field(default=frozenset())
    exclude_flags: frozenset[str] = field(default=frozenset({INJECTED}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A unit that was found, with what it was found by.

    Attributes:
        score: fused; comparable within one answer only.
        relevance: calibrated probability that it is relevant to the question, None without a calibration.
        channels: score by channel ("lexical", "dense", "session", "time", "entity", "recent"), for `why`.
        duplicates: cites of other units that say the same.
    """

    unit: Unit
    score: float
    relevance: float | None = None
    channels: dict[str, float] = field(default_factory=dict)
    duplicates: tuple[str, ...] = ()


def in_time_order(hits: Sequence[Hit]) -> list[Hit]:
    """The order in which hits are shown to a model: as things happened."""
    return sorted(hits, key=lambda hit: (hit.unit.happened_us, hit.unit.run, hit.unit.seq, hit.unit.first))
