"""The confidence record: what a model's numbers said at each turn of a run, beside what came of it.

    for record in records(store, "greenhouse-7"):
        print(record.turn, record.signals, record.calibrated, record.outcome)

The loop writes `confidence_record` into every `sample.completion` (`make`): raw numbers and, apart from them, what a stored calibrator
made of them. Token log-probabilities are not written twice: they stand in the completion's `tokens`, and are read from there. What was
unknown then is joined when the journal is read: which tools were called and how that went, and how the run ended. A record is
never changed after its outcome is known. Runs that were written before there were records give what can be had of them.

The size is O(1) a turn: statistics of windows and steps, not the windows. No dependency.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal import ERASED, Entry, Store
from overwinter.journal.tokens import read_tokens
from overwinter.think.confidence.signals import TOP_K, WINDOW, token_confidence, trace_confidence

FORMAT_VERSION = 1
RUN, CALL, CONSEQUENTIAL = "run", "call", "consequential"
"""What a probability is of: that the run ends well; that a call is right; that a call which cannot be taken back is."""
OBJECTS = (RUN, CALL, CONSEQUENTIAL)
TEXT = "text"
ACTING = "act"
_ENDS = {"verified": 1.0, "failed": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A confidence that was put in words or bets.

    Attributes:
        value: 0..1.
        of: an object out of `OBJECTS`.
        when: "pre" (before the step it is about), "mid" or "post" (the outcome may be in view: leakage).
        raw: the words it was read from, "" for a bet.
    """

    value: float
    of: str = RUN
    when: str = "pre"
    raw: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deed:
    """A call of the turn and what came of it.

    Attributes:
        consequential: the tool or its world calls it one that cannot be taken back; None in runs that did not say.
        ok: None while there is no receipt.
        asked: a person was asked before.
    """

    id: str
    tool: str
    arguments: Any
    effect: str = ""
    consequential: bool | None = None
    ok: bool | None = None
    asked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One turn.

    Attributes:
        turn: 1 for the first completion of the actor.
        model: the name it answered under.
        modalities: kinds of what came in since the turn before, of all results and observations.
        signals: raw numbers by name; see docs/confidence.md.
        calibrated: probability by what it is of, where a calibrator of this scope was at hand; `by` names the calibrators.
        refused: why none was applied, where one was at hand.
        vote: share, margin, samples and rule, where several samples were taken.
        logprobs: of each token; () where the server gives none. top_logprobs: of each token, the alternatives by text.
        outcome: 1.0 if the run ended verified, 0.0 if it failed, None while open, and where nobody could check.
    """

    run: str
    seq: int
    turn: int
    time_us: int
    model: str
    modalities: tuple[str, ...] = (TEXT,)
    signals: Mapping[str, float] = field(default_factory=dict)
    stated: tuple[Statement, ...] = ()
    calibrated: Mapping[str, float] = field(default_factory=dict)
    by: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    vote: Mapping[str, Any] | None = None
    deeds: tuple[Deed, ...] = ()
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[Mapping[str, float], ...] = ()
    outcome: float | None = None

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(deed.tool for deed in self.deeds)

    def chance(self, of: str = RUN) -> float | None:
        """The probability that was shown: calibrated where it could be, else as stated; None where nobody said any."""
        if of in self.calibrated:
            return self.calibrated[of]
        return next((said.value for said in self.stated if said.of == of), None)


# Writing


def make(
    logprobs: Sequence[float] | None,
    top_logprobs: Sequence[Mapping[str, float]],
    *,
    signals: Mapping[str, float | None] | None = None,
    stated: Sequence[Statement] = (),
    vote: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the journal holds of one completion, as JSON; a number that is not finite is left out.

    Args:
        logprobs: natural log-probability of each token of the answer.
        top_logprobs: of each token, the alternatives.
        signals: what else is known, by name (the probability of a choice, say).
    """
    found: dict[str, Any] = {name: value for name, value in (signals or {}).items() if value is not None}
    shape: dict[str, Any] = {}
    if logprobs:
        mean = math.fsum(logprobs) / len(logprobs)
        found |= {"sequence": math.exp(min(mean, 0.0)), "least_token": math.exp(min(*logprobs, 0.0))}
        shape["tokens"] = len(logprobs)
    rows = [list(row.values()) for row in top_logprobs if row]
    if rows and len(rows) == len(logprobs or ()):
        k = min(*map(len, rows), TOP_K)
        trace = trace_confidence([token_confidence(row, k) for row in rows], texts_of(logprobs or (), top_logprobs))
        found |= {name: getattr(trace, name) for name in ("average", "lowest", "bottom", "tail", "last_step")}
        shape |= {"k": k, "window": WINDOW}
    kept = {name: round(value, 6) for name, value in found.items() if math.isfinite(value)}
    record: dict[str, Any] = {"v": FORMAT_VERSION, "signals": kept, **shape}
    if stated:
        record["stated"] = [
            {name: getattr(said, name) for name in ("value", "of", "when", "raw") if getattr(said, name) != ""}
            for said in stated
        ]
    if vote is not None:
        record["vote"] = dict(vote)
    return record


def texts_of(logprobs: Sequence[float], top_logprobs: Sequence[Mapping[str, float]]) -> list[str]:
    """The tokens as text, as far as the alternatives tell: the one with the chosen log-probability; "" where it is not among them."""
    return [
        next((text for text, value in row.items() if value == logprob), "")
        for logprob, row in zip(logprobs, top_logprobs, strict=True)
    ]


# Reading


def records(store: Store, run: str, *, tokens: bool = True) -> Iterator[Record]:
    """The records of a run's actor, in order, each joined with what became of its calls and of the run.

    Args:
        tokens: read token log-probabilities too, which stand in blobs where they are long.

    Raises:
        StoreError: a record of a later format.
    """
    outcome = _outcome(store, run)
    kinds = ("sample.completion", "effect.intent", "effect.receipt", "gate.decision", "observed")
    open_: Record | None = None
    turn = 0
    arrived: list[str] = []
    for entry in store.read(run, 0, kinds=kinds):
        if entry.kind == ERASED:
            continue
        if entry.kind == "sample.completion":
            if entry.body.get("purpose", ACTING) != ACTING:
                continue
            if open_ is not None:
                yield open_
            turn += 1
            open_ = replace(read_record(store, entry, turn, tokens=tokens), outcome=outcome, modalities=_kinds(arrived))
            arrived = []
            continue
        if entry.kind in ("observed", "effect.receipt"):
            arrived.append(str(entry.body["data"].get("modality", TEXT)))
        if open_ is not None and entry.kind != "observed":
            open_ = replace(open_, deeds=tuple(_followed(deed, entry) for deed in open_.deeds))
    if open_ is not None:
        yield open_


def _kinds(arrived: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(arrived)) or (TEXT,)


def _outcome(store: Store, run: str) -> float | None:
    ends = [entry for entry in store.read(run, 0, kinds=("run.ended", "run.forked")) if entry.kind != ERASED]
    # A fork of an ended run is open again.
    return _ENDS.get(str(ends[-1].body.get("status"))) if ends and ends[-1].kind == "run.ended" else None


def read_record(store: Store, entry: Entry, turn: int = 0, *, tokens: bool = True) -> Record:
    """The record of one sample.completion by itself: without what came of it."""
    body = entry.body
    raw = body.get("confidence_record") or _older(body)
    if raw["v"] > FORMAT_VERSION:
        raise StoreError(
            f"entry {entry.seq}: a confidence record of format {raw['v']}; this program reads {FORMAT_VERSION}",
            "install a newer overwinter",
        )
    calibrated = raw.get("calibrated", {})
    found = read_tokens(store, entry) if tokens else {}
    return Record(
        run=entry.run,
        seq=entry.seq,
        turn=turn,
        time_us=entry.time_us,
        model=body["model"],
        signals=raw["signals"],
        stated=tuple(Statement(**each) for each in raw.get("stated", ())),
        calibrated={of: each["value"] for of, each in calibrated.items()},
        by={of: each["by"] for of, each in calibrated.items()},
        refused=raw.get("refused", ""),
        vote=raw.get("vote"),
        deeds=tuple(Deed(id=call["id"], tool=call["tool"], arguments=call["arguments"]) for call in body["calls"]),
        logprobs=tuple(found.get("logprobs") or ()),
        top_logprobs=tuple(found.get("top_logprobs") or ()),
    )


def _older(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a completion without a record says of its confidence."""
    said, chance = body.get("confidence"), body.get("success_chance")
    stated = [] if chance is None else [{"value": chance}]
    return {"v": FORMAT_VERSION, "signals": {} if said is None else {"answer": said}, "stated": stated}


def _followed(deed: Deed, entry: Entry) -> Deed:
    body = entry.body
    if entry.kind == "effect.receipt":
        return replace(deed, ok=body["ok"]) if body["call_id"] == deed.id else deed
    if body["call"]["id"] != deed.id:
        return deed
    followed = replace(deed, effect=body["effect"], consequential=body.get("consequential", deed.consequential))
    return replace(followed, asked=True) if entry.kind == "gate.decision" and body["decision"] == "ask" else followed
