"""The state of a run: a fold over its journal, and nothing else.

`RunState.apply(entry)` is the only way it changes, so a resumed run in a new process has by construction the state the
killed one had. It is bounded: what has been compacted, answered or finished leaves it. It can be written as JSON and kept as
a cache (`to_json`), which is how a run of 100,000 entries resumes without reading them all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal import ERASED, Entry
from overwinter.journal.canonical import canonical, digest
from overwinter.journal.tombstone import kind_of
from overwinter.loop.stall import HISTORY, Turn

STATE_VERSION = 4
ACTING, JUDGING = "act", "judge"
"""What a sample is for: the actor's next step, or a checker's finding (then the criterion's id follows, after a colon)."""
CHECK_SOURCE = "check "
"""How the source of an observation begins that a check made as evidence; the criterion's id follows."""
VISIBLE = frozenset(
    {
        "observed",
        "sample.completion",
        "effect.receipt",
        "event.received",
        "stall.noticed",
        "verdict",
        "sleep.ended",
        "budget.changed",
        "recalled",
    }
)
"""Kinds that a view renders. The others steer the run; the model sees their consequences."""
GONE = "[erased]"
"""What stands for a text that was erased, wherever one is shown."""
AGENT = "agent"
"""Who a compaction is by that the actor asked for."""
CORE = "core"
"""Who a `recalled` entry of core blocks is by: it is not a turn, it stands at the head of every view."""
RECENT_HANDLES = 20
ANSWERED_MAX = 512
"""Answers of pure calls that are remembered since something last changed, in runs with memory."""


def is_visible(entry: Entry) -> bool:
    """Whether a view renders this entry as a turn. What a judge was asked and answered is not the actor's to see, and neither is a
    look-up that found nothing."""
    kind = kind_of(entry)
    if kind == "recalled":
        return entry.kind != ERASED and entry.body["by"] != CORE and bool(entry.body["hits"])
    return kind in VISIBLE and entry.body.get("purpose", ACTING) == ACTING


def call_signature(tool: str, arguments: Any) -> str:
    """Equal for the same call with the same canonical arguments."""
    return digest(canonical([tool, arguments]))[:24]


def judged(purpose: str) -> str:
    """The criterion a judge was asked about."""
    return purpose.partition(":")[2]


@dataclass(kw_only=True, slots=True)
class OpenCall:
    """A tool call of the last completion that has no receipt yet, and how far it got."""

    id: str
    tool: str
    arguments: dict[str, Any] | str
    gate: int | None = None
    decision: str = ""
    """"" (not asked yet), "ask" (a person has to answer), "allow", "deny"."""
    reason: str = ""
    intent: int | None = None
    effect: str = ""
    key: str = ""
    doubt: int | None = None
    happened: bool | None = None
    """What a person said of a call in doubt; None while open."""
    attempt: int = 0
    signature: str = ""
    """`call_signature` of the arguments as they were carried out."""

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "tool": self.tool, "arguments": self.arguments}


@dataclass(kw_only=True, slots=True)
class RunState:
    """What the loop needs to know to go on.

    Attributes:
        head_seq, head_hash, time_us: of the last entry applied.
        sample: an unanswered sample.intent, or None.
        calibrated: what a calibrator made of the last completion's signals: probability by what it is of.
        completion: the last completion; `calls` are those of its tool calls that have no receipt yet.
        items: entries a view can still show, ascending: those after the last compaction.
        compacted: the last compaction entry, or None.
        world_saved: the last world.saved entry, or None.
        waiting: body of the run.suspended entry, if the run is suspended.
        claim: a done.claimed entry without a verdict.
        rejected: the last verdict that sent the actor back to work.
        commitments: open ones, entry → text and due.
        stalls: how often a stall was noticed since the last progress.
        events: names received since the actor was last asked; what came after the question may wake a sleep that answers it.
        checked: what a check of the open claim has brought already, criterion → entry.
        forked_at: the last run.forked entry, -1 in a run of its own.
        observed_at: the last entry that says how the world stands.
        handles: name → version → the entry that made it; `recent_handles` the newest, as name@version; `pinned` those in view.
        agent_summary: the last compaction that the actor asked for, or None.
        core: the `recalled` entry of the core blocks in view, or None.
        recall_due: the newest entry that a look-up before the next step is about, or None.
        recalled: what memory brought into the view, entry → units.
        answered: `call_signature` → receipt, of the pure calls made since something last changed.
    """

    run: str
    head_seq: int = -1
    head_hash: str = ""
    time_us: int = 0
    goal: str = ""
    acceptance: list[dict[str, Any]] = field(default_factory=list)
    setup: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    sample: int | None = None
    sample_reserve: dict[str, int] = field(default_factory=dict)
    sample_time_us: int = 0
    sample_purpose: str = ACTING
    completion: int | None = None
    confidence: float | None = None
    success_chance: float | None = None
    calibrated: dict[str, float] = field(default_factory=dict)
    calls: list[OpenCall] = field(default_factory=list)
    intent_reserve: dict[str, int] = field(default_factory=dict)
    intent_time_us: int = 0
    items: list[int] = field(default_factory=list)
    compacted: int | None = None
    world_saved: int | None = None
    waiting: dict[str, Any] | None = None
    waiting_seq: int = -1
    claim: int | None = None
    claim_call: str = ""
    rejected: int | None = None
    rejections: int = 0
    commitments: dict[str, dict[str, str]] = field(default_factory=dict)
    sleeping: dict[str, Any] | None = None
    sleeping_seq: int = -1
    events: list[str] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    stalls: int = 0
    stall_at: int = -1
    ended: str = ""
    committed_branch: str = ""
    checked: dict[str, int] = field(default_factory=dict)
    forked_at: int = -1
    observed_at: int | None = None
    handles: dict[str, dict[str, int]] = field(default_factory=dict)
    recent_handles: list[str] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    agent_summary: int | None = None
    core: int | None = None
    recall_due: int | None = None
    recalled: dict[str, list[str]] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)

    def apply(self, entry: Entry) -> None:
        """Take in the next entry. Raises StoreError if it is not the next one."""
        if entry.seq != self.head_seq + 1:
            raise StoreError(
                f"run {self.run!r}: entry {entry.seq} follows {self.head_seq}",
                f"look at it with `overwinter log {self.run} --verify`",
            )
        handler = _HANDLERS.get(entry.kind)
        if handler is not None:
            handler(self, entry)
        if is_visible(entry):
            self.items.append(entry.seq)
        self.head_seq, self.head_hash, self.time_us = entry.seq, entry.hash, entry.time_us

    def recent_turns(self) -> list[Turn]:
        return [Turn(call=turn["call"], result=turn["result"], ok=turn["ok"]) for turn in self.turns]

    def call(self, call_id: str) -> OpenCall | None:
        return next((call for call in self.calls if call.id == call_id), None)

    def to_json(self) -> dict[str, Any]:
        return {"state_version": STATE_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> RunState | None:
        """The state of a cache, or None when it was written by another version: then the journal is folded from its start."""
        if raw.pop("state_version", None) != STATE_VERSION:
            return None
        calls = [OpenCall(**call) for call in raw.pop("calls")]
        return cls(calls=calls, **raw)


# One small function per kind that changes the state.


def _started(state: RunState, entry: Entry) -> None:
    state.goal, state.acceptance, state.setup = entry.body["goal"], entry.body["acceptance"], entry.body["setup"]
    state.recall_due = entry.seq


def _forked(state: RunState, entry: Entry) -> None:
    state.setup = {**state.setup, **entry.body.get("setup", {})}
    state.waiting, state.ended, state.committed_branch = None, "", ""
    # What the parent reserved for an intent that is still open is the parent's to give back.
    state.sample_reserve, state.intent_reserve = {}, {}
    state.forked_at = entry.seq
    for call in state.calls:
        if call.intent is None:
            # A person approved (or denied) a call of the parent. The fork asks its own gates.
            call.gate, call.decision, call.reason = None, "", ""


def _resumed(state: RunState, entry: Entry) -> None:
    state.waiting = None
    if entry.body["state"] == "stalled":
        # A person looked and says: go on.
        state.stalls = state.rejections = 0


def _suspended(state: RunState, entry: Entry) -> None:
    state.waiting, state.waiting_seq = entry.body, entry.seq


def _ended(state: RunState, entry: Entry) -> None:
    state.ended, state.waiting = entry.body["status"], None


def _sample_intent(state: RunState, entry: Entry) -> None:
    state.step = max(state.step, entry.body["step"])
    state.sample, state.sample_reserve, state.sample_time_us = entry.seq, entry.body["reserve"], entry.time_us
    state.sample_purpose = entry.body.get("purpose", ACTING)
    if state.sample_purpose == ACTING:
        state.events, state.recall_due = [], None


def _search_began(state: RunState, entry: Entry) -> None:
    """The step's question is put to branches; as with one that is put to the model, what came before has been taken notice of."""
    state.step = max(state.step, entry.body["step"])
    state.events, state.recall_due = [], None


def _sample_completion(state: RunState, entry: Entry) -> None:
    state.sample = None
    if not is_visible(entry):
        if state.claim is not None:
            state.checked[judged(entry.body["purpose"])] = entry.seq
        return
    state.completion, state.confidence = entry.seq, entry.body.get("confidence")
    state.success_chance = entry.body.get("success_chance")
    found = entry.body.get("confidence_record", {}).get("calibrated", {})
    state.calibrated = {of: each["value"] for of, each in found.items()}
    state.calls = [
        OpenCall(id=call["id"], tool=call["tool"], arguments=call["arguments"]) for call in entry.body["calls"]
    ]
    if not state.calls:
        _turn(state, "", digest(canonical(entry.body["text"]))[:12], ok=False)


def _sample_failed(state: RunState, _: Entry) -> None:
    state.sample = None


def _gate_decision(state: RunState, entry: Entry) -> None:
    call = state.call(entry.body["call"]["id"])
    if call is not None:
        call.gate, call.decision = entry.seq, entry.body["decision"]
        call.reason = f"refused by rule {entry.body['rule']!r}"


def _approval_answered(state: RunState, entry: Entry) -> None:
    for call in state.calls:
        if call.gate == entry.body["gate"] and call.decision == "ask":
            call.decision = "allow" if entry.body["decision"] == "approve" else "deny"
            call.reason = f"denied by {entry.body['by']}: {entry.body['reason']}".rstrip(": ")


def _effect_intent(state: RunState, entry: Entry) -> None:
    call = state.call(entry.body["call"]["id"])
    if call is not None:
        call.intent, call.attempt = entry.seq, entry.body["attempt"]
        call.effect, call.key = entry.body["effect"], entry.body["key"]
        call.doubt = call.happened = None
        call.signature = call_signature(call.tool, entry.body["call"]["arguments"])
    if entry.body["effect"] != "pure":
        state.answered = {}
    if entry.body["reserve"]:
        # A later attempt goes on under the reservation of the first.
        state.intent_reserve, state.intent_time_us = entry.body["reserve"], entry.time_us


def _effect_in_doubt(state: RunState, entry: Entry) -> None:
    for call in state.calls:
        if call.intent == entry.body["intent"]:
            call.doubt = entry.seq


def _doubt_answered(state: RunState, entry: Entry) -> None:
    for call in state.calls:
        if call.doubt == entry.body["doubt"] and call.happened is None:
            call.happened = entry.body["happened"]


def _effect_receipt(state: RunState, entry: Entry) -> None:
    body = entry.body
    call = state.call(body["call_id"])
    if call is None:
        return
    state.calls.remove(call)
    _remember(state, entry, call)
    if not body["data"].get("waiting"):
        signature = digest(canonical([call.tool, call.arguments]))[:12]
        _turn(state, signature, digest(canonical([body["ok"], body["text"]]))[:12], ok=body["ok"])


def _remember(state: RunState, entry: Entry, call: OpenCall) -> None:
    """What working memory keeps of a receipt."""
    body = entry.body
    data = body["data"]
    if body["intent"] >= 0:
        state.recall_due = entry.seq
    if data.get("recalled"):
        state.recalled[str(entry.seq)] = [hit["unit"] for hit in data["recalled"]]
    if data.get("world"):
        if body["ok"]:
            state.observed_at = entry.seq
    elif "memory" in state.setup and body["ok"] and call.effect == "pure" and not data.get("waiting"):
        state.answered[call.signature] = entry.seq
        if len(state.answered) > ANSWERED_MAX:
            # By number, not by order of storing: a state read back from its cache has the same dictionary in another order.
            del state.answered[min(state.answered, key=state.answered.__getitem__)]


def _compacted(state: RunState, entry: Entry) -> None:
    last = entry.body["last"]
    state.compacted = entry.seq
    state.items = [seq for seq in state.items if seq > last]
    state.recalled = {seq: units for seq, units in state.recalled.items() if int(seq) > last}
    if entry.body["by"] == AGENT:
        state.agent_summary = entry.seq


def _recalled(state: RunState, entry: Entry) -> None:
    units = [hit["unit"] for hit in entry.body["hits"]]
    if entry.body["by"] == CORE:
        state.core = entry.seq if units else None
        return
    state.recall_due = None
    if units:
        state.recalled[str(entry.seq)] = units


def _handle_made(state: RunState, entry: Entry) -> None:
    name, version = entry.body["name"], entry.body["version"]
    state.handles.setdefault(name, {})[str(version)] = entry.seq
    state.recent_handles = [*state.recent_handles, f"{name}@{version}"][-RECENT_HANDLES:]


def _handle_pinned(state: RunState, entry: Entry) -> None:
    name = entry.body["name"]
    state.pinned = [each for each in state.pinned if each != name] + ([name] if entry.body["pinned"] else [])


def _commitment_opened(state: RunState, entry: Entry) -> None:
    state.commitments[str(entry.seq)] = {"text": entry.body["text"], "due": entry.body["due"]}


def _commitment_closed(state: RunState, entry: Entry) -> None:
    state.commitments.pop(str(entry.body["opened"]), None)


def _sleep_started(state: RunState, entry: Entry) -> None:
    state.sleeping, state.sleeping_seq = entry.body, entry.seq
    state.turns, state.stalls, state.answered = [], 0, {}


def _sleep_ended(state: RunState, _: Entry) -> None:
    state.sleeping, state.events = None, []


def _event_received(state: RunState, entry: Entry) -> None:
    if entry.body["name"] not in state.events:
        state.events.append(entry.body["name"])
    state.recall_due, state.answered = entry.seq, {}


def _stall_noticed(state: RunState, entry: Entry) -> None:
    state.stalls, state.stall_at, state.turns = state.stalls + 1, entry.seq, []


def _done_claimed(state: RunState, entry: Entry) -> None:
    state.claim, state.claim_call, state.checked = entry.seq, entry.body["call_id"], {}


def _observed(state: RunState, entry: Entry) -> None:
    if state.claim is None:
        state.observed_at = state.recall_due = entry.seq
    if state.claim is not None and entry.body["source"].startswith(CHECK_SOURCE):
        state.checked[entry.body["source"].removeprefix(CHECK_SOURCE)] = entry.seq


def _verdict(state: RunState, entry: Entry) -> None:
    state.claim, state.checked = None, {}
    if entry.body["status"] == "rejected":
        state.rejected, state.rejections = entry.seq, state.rejections + 1


def _world_saved(state: RunState, entry: Entry) -> None:
    state.world_saved = entry.seq


def _branch_committed(state: RunState, entry: Entry) -> None:
    state.committed_branch = entry.body["branch"]


def _erased(state: RunState, entry: Entry) -> None:
    """What an erased entry still does: a tombstone keeps numbers, amounts and fixed words, no texts."""
    body, kind = entry.body, entry.body["kind"]
    match kind:
        case "run.started":
            state.goal, state.setup = GONE, body.get("setup", {})
        case "sample.completion":
            state.sample = None
            if is_visible(entry):
                state.completion, state.calls = (
                    entry.seq,
                    [OpenCall(id=c["id"], tool="erased", arguments={}) for c in body["calls"]],
                )
        case "gate.decision" | "effect.intent":
            call = state.call(body["call"]["id"])
            if call is not None and kind == "gate.decision":
                call.gate, call.decision = entry.seq, body["decision"]
            elif call is not None:
                call.intent, call.attempt, call.effect = entry.seq, body["attempt"], body["effect"]
        case "effect.receipt":
            state.calls = [call for call in state.calls if call.id != body["call_id"]]
        case "commitment.opened":
            state.commitments[str(entry.seq)] = {"text": GONE, "due": ""}
        case "approval.answered" | "event.received" | "observed" | "recalled" | "handle.made" | "handle.pinned":
            pass  # their words are gone; an open run's step is never erased
        case _ if kind in _HANDLERS:
            _HANDLERS[kind](state, entry)


def _turn(state: RunState, call: str, result: str, *, ok: bool) -> None:
    turn = {"call": call, "result": result, "ok": ok}
    state.turns = [*state.turns, turn][-HISTORY:]
    # The record starts anew with each stall; a full one without another stall means that the run got out of it.
    if len(state.turns) == HISTORY:
        state.stalls = 0


_HANDLERS: dict[str, Callable[[RunState, Entry], None]] = {
    "run.started": _started,
    "run.forked": _forked,
    "run.resumed": _resumed,
    "run.suspended": _suspended,
    "run.ended": _ended,
    "sample.intent": _sample_intent,
    "sample.completion": _sample_completion,
    "sample.failed": _sample_failed,
    "gate.decision": _gate_decision,
    "approval.answered": _approval_answered,
    "effect.intent": _effect_intent,
    "effect.in_doubt": _effect_in_doubt,
    "doubt.answered": _doubt_answered,
    "effect.receipt": _effect_receipt,
    "compacted": _compacted,
    "commitment.opened": _commitment_opened,
    "commitment.closed": _commitment_closed,
    "sleep.started": _sleep_started,
    "sleep.ended": _sleep_ended,
    "event.received": _event_received,
    "stall.noticed": _stall_noticed,
    "done.claimed": _done_claimed,
    "observed": _observed,
    "verdict": _verdict,
    "world.saved": _world_saved,
    "search.began": _search_began,
    "branch.committed": _branch_committed,
    "recalled": _recalled,
    "handle.made": _handle_made,
    "handle.pinned": _handle_pinned,
    ERASED: _erased,
}
