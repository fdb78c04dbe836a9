"""What an entry says, as text: whose words they are, how far they can be trusted, and when it happened.

The text made here is what a unit's span counts in; it never changes for an entry, unlike the view's rendering, which is free to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from overwinter.journal import Entry, Store, unpack
from overwinter.journal.canonical import canonical
from overwinter.memory.unit import OWN, TRUST, TRUSTED, UNTRUSTED
from overwinter.memory.working import MEMORY_TOOLS

ACT = "act"
"""The tool by which a run plays its world."""

BRINGING_TOOLS = frozenset({"recall", "find", "read", "list_handles", "read_entries"})
"""Tools that bring back what the journal holds already."""
REMEMBERING_TOOLS = BRINGING_TOOLS | MEMORY_TOOLS
"""All by which a run works with its memory. What is said to them is a retelling, what they answer a repeat."""

_WRITERS = ("user", "import", "overwinter")
"""Who may say in a note or an import that somebody else said something, beside persons."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """The text of an entry and what is known of it; fields as in `Unit`.

    Attributes:
        injected: all of it comes from memory.
        may_repeat: parts of it may, since its author sees what memory brings up.
    """

    text: str
    kind: str
    actor: str
    trust: str
    session: str
    happened_us: int
    happened_until_us: int
    injected: bool = False
    may_repeat: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What of a run bears on all its entries.

    Attributes:
        world: the name of the world it plays, "" for none.
        notebook: it is a namespace's notebook.
        tool: finds the tool of a receipt, "" where it is not known.
    """

    run: str
    world: str
    notebook: bool
    tool: Callable[[Entry], str]


def trust_of(actor: str) -> str:
    """How far somebody's words can be trusted."""
    if actor == "user" or actor.startswith("person:"):
        return TRUSTED
    return OWN if actor in {"agent", "overwinter"} else UNTRUSTED


def said(store: Store, frame: Frame, entry: Entry) -> Said | None:
    """What an entry says; None for one that says nothing worth finding.

    Raises:
        StoreError: its text cannot be read.
    """
    teller = _TELLERS.get(entry.kind)
    return None if teller is None else teller(store, frame, entry)


def _plain(frame: Frame, entry: Entry, text: str, kind: str, actor: str) -> Said:
    return Said(
        text=text,
        kind=kind,
        actor=actor,
        trust=trust_of(actor),
        session=frame.run,
        happened_us=entry.time_us,
        happened_until_us=entry.time_us,
        may_repeat=trust_of(actor) != TRUSTED,
    )


def _placed(said_: Said, data: Mapping[str, Any]) -> Said:
    """With the session and the time that the entry's data give, where they give any."""
    session = data.get("session")
    if isinstance(session, str) and session:
        said_ = replace(said_, session=session)
    first, until = data.get("happened_us"), data.get("happened_until_us")
    if type(first) is int:
        return replace(said_, happened_us=first, happened_until_us=max(until, first) if type(until) is int else first)
    return said_


def _started(_: Store, frame: Frame, entry: Entry) -> Said | None:
    return None if frame.notebook else _plain(frame, entry, str(entry.body["goal"]), "message", "user")


def _observed(store: Store, frame: Frame, entry: Entry) -> Said:
    source, data = str(entry.body["source"]), entry.body["data"]
    actor = f"world:{source}" if source == frame.world else source
    # Only who writes for others may name another author; a source that does makes its words no more trusted.
    named = data.get("actor")
    if isinstance(named, str) and named:
        actor = named
    trust = _worse(_trust_of_writer(source, notebook=frame.notebook), trust_of(actor))
    document = data.get("kind") == "document"
    spoken = trust != UNTRUSTED or frame.notebook
    kind = "document" if document else "message" if spoken else "tool_result"
    made = _plain(frame, entry, unpack(store, entry.body["text"]), kind, actor)
    return _placed(replace(made, trust=UNTRUSTED if document else trust, may_repeat=trust != TRUSTED), data)


def _noted(store: Store, frame: Frame, entry: Entry) -> Said:
    by, data = str(entry.body["by"]), entry.body.get("data", {})
    named = data.get("actor")
    actor = named if isinstance(named, str) and named else by
    trust = _worse(_trust_of_writer(by, notebook=False), trust_of(actor))
    document = data.get("kind") == "document"
    kind = "document" if document else "note"
    made = _plain(frame, entry, unpack(store, entry.body["text"]), kind, actor)
    return _placed(replace(made, trust=UNTRUSTED if document else trust, may_repeat=trust != TRUSTED), data)


def _trust_of_writer(writer: str, *, notebook: bool) -> str:
    # Nothing but persons and their programs writes observations into a notebook.
    return TRUSTED if notebook or writer in _WRITERS else trust_of(writer)


def _worse(one: str, other: str) -> str:
    return max(one, other, key=TRUST.index)


def _completion(store: Store, frame: Frame, entry: Entry) -> Said | None:
    if entry.body.get("purpose", "act") != "act":
        return None
    return _plain(frame, entry, unpack(store, entry.body["text"]), "message", "agent")


def _intent(_: Store, frame: Frame, entry: Entry) -> Said | None:
    if entry.body["attempt"] > 1:
        return None
    call = entry.body["call"]
    arguments = call["arguments"]
    shown = arguments if isinstance(arguments, str) else canonical(arguments).decode()
    made = _plain(frame, entry, f"{call['tool']} {shown}", "tool_call", "agent")
    return replace(made, injected=call["tool"] in REMEMBERING_TOOLS)


def _receipt(store: Store, frame: Frame, entry: Entry) -> Said:
    tool = frame.tool(entry)
    actor = f"world:{frame.world}" if tool == ACT and frame.world else f"tool:{tool}"
    if entry.body["intent"] < 0:
        actor = "overwinter"  # it was refused, and the tool said nothing
    made = _plain(frame, entry, unpack(store, entry.body["text"]), "tool_result", actor)
    return replace(
        made, trust=UNTRUSTED, may_repeat=True, injected=tool in REMEMBERING_TOOLS or "repeated" in entry.body["data"]
    )


def _event(_: Store, frame: Frame, entry: Entry) -> Said:
    data = entry.body["data"]
    shown = data["text"] if set(data) == {"text"} and isinstance(data["text"], str) else canonical(data).decode()
    by = str(entry.body["by"])
    made = _plain(frame, entry, f"[event {entry.body['name']}] {shown}", "message", by)
    return _placed(replace(made, kind="message" if made.trust == TRUSTED else "tool_result"), data)


def _claimed(_: Store, frame: Frame, entry: Entry) -> Said:
    return _plain(frame, entry, str(entry.body["summary"]), "decision", "agent")


def _verdict(_: Store, frame: Frame, entry: Entry) -> Said:
    words = {True: "holds", False: "does not hold", None: "is not settled"}
    rows = [f"{row['id']} {words[row['met']]}: {row['note']}" for row in entry.body["findings"]]
    return _plain(frame, entry, "\n".join([f"verdict: {entry.body['status']}", *rows]), "decision", "overwinter")


def _answered(store: Store, frame: Frame, entry: Entry) -> Said:
    gate = next(store.read(frame.run, entry.body["gate"], entry.body["gate"] + 1), None)
    call = gate.body.get("call", {}) if gate is not None else {}
    asked = f" {call['tool']} {canonical(call['arguments']).decode()}" if call else ""
    reason = f": {entry.body['reason']}" if entry.body["reason"] else ""
    text = f"{entry.body['decision']}{asked}{reason}"
    return _plain(frame, entry, text, "decision", _person(str(entry.body["by"])))


def _doubt(_: Store, frame: Frame, entry: Entry) -> Said:
    happened = "it happened" if entry.body["happened"] else "it did not happen"
    reason = f": {entry.body['reason']}" if entry.body["reason"] else ""
    return _plain(frame, entry, f"{happened}{reason}", "decision", _person(str(entry.body["by"])))


def _person(by: str) -> str:
    return by if by == "user" or by.startswith("person:") else f"person:{by}"


def _promised(_: Store, frame: Frame, entry: Entry) -> Said:
    due = f" (due {entry.body['due']})" if entry.body["due"] else ""
    return _plain(frame, entry, f"promised: {entry.body['text']}{due}", "note", "agent")


def _kept(_: Store, frame: Frame, entry: Entry) -> Said:
    return _plain(frame, entry, f"fulfilled: {entry.body['outcome']}", "note", "agent")


_TELLERS: Mapping[str, Callable[[Store, Frame, Entry], Said | None]] = {
    "run.started": _started,
    "observed": _observed,
    "noted": _noted,
    "sample.completion": _completion,
    "effect.intent": _intent,
    "effect.receipt": _receipt,
    "event.received": _event,
    "done.claimed": _claimed,
    "verdict": _verdict,
    "approval.answered": _answered,
    "doubt.answered": _doubt,
    "commitment.opened": _promised,
    "commitment.closed": _kept,
}
"""How the entries of each kind are told. Kinds not listed say nothing: plumbing, summaries, and what memory showed."""
