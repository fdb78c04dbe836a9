"""What the loop's own tools do: entries in the journal and nothing else, so one append is both the deed and its receipt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from overwinter.journal import Draft, Packer
from overwinter.journal.canonical import canonical
from overwinter.loop.controls import CONTROLS
from overwinter.loop.memory.deeds import MEMORY_DEEDS, Deed
from overwinter.loop.model import Message
from overwinter.loop.session import Session
from overwinter.loop.state import is_visible
from overwinter.loop.view import both_ends, render

READ_ENTRIES_MAX = 20
READ_ENTRY_CHARS = 8000

Handler = Callable[[Session, dict[str, Any], str], tuple[list[Draft], str]]
"""(session, validated arguments, call id) → the drafts of the deed and the receipt's text. ValueError: refused, why."""


def control_drafts(session: Session, name: str, arguments: dict[str, Any], call_id: str) -> tuple[list[Draft], Packer]:
    """The deed and its receipt, for one append."""
    packer = Packer()
    try:
        if name in MEMORY_DEEDS:
            deed = MEMORY_DEEDS[name](session, arguments, packer)
        else:
            drafts, text = _HANDLERS[name](session, arguments, call_id)
            deed = Deed(text=text, before=drafts)
            if "wait" in CONTROLS[name].tags:
                deed.data["waiting"] = True
        ok, error = True, None
    except ValueError as reason:
        deed, ok, error = Deed(text=str(reason)), False, "arguments"
    body = {
        "intent": -1,
        "call_id": call_id,
        "ok": ok,
        "text": packer.text(deed.text),
        "data": deed.data,
        "error": error,
    }
    receipt = Draft(kind="effect.receipt", body=body, refs=packer.take_refs())
    return [*deed.before, receipt, *deed.after], packer


def _finish(session: Session, arguments: dict[str, Any], call_id: str) -> tuple[list[Draft], str]:
    body = {"completion": session.state.completion, "call_id": call_id, "summary": arguments["summary"]}
    return [Draft(kind="done.claimed", body=body)], "Your claim is being checked."


def _sleep(session: Session, arguments: dict[str, Any], _: str) -> tuple[list[Draft], str]:
    seconds, event = arguments["seconds"], arguments["event"]
    if not 0 <= seconds <= 3.2e9:
        raise ValueError("seconds must be between 0 and 3.2e9 (a hundred years)")
    if not seconds and not event:
        raise ValueError("give seconds, or an event, to wait for")
    body: dict[str, Any] = {"reason": arguments["reason"]}
    if seconds:
        body["until_us"] = session.now_us() + round(seconds * 1e6)
    if event:
        body["event"] = event
    return [Draft(kind="sleep.started", body=body)], "Sleeping."


def _ask_person(_: Session, arguments: dict[str, Any], __: str) -> tuple[list[Draft], str]:
    body = {"event": "answer", "reason": f"a person's answer to: {arguments['question']}"}
    return [Draft(kind="sleep.started", body=body)], "Asked."


def _commit_to(_: Session, arguments: dict[str, Any], __: str) -> tuple[list[Draft], str]:
    return [Draft(kind="commitment.opened", body={"text": arguments["text"], "due": arguments["due"]})], "Noted."


def _fulfil(session: Session, arguments: dict[str, Any], _: str) -> tuple[list[Draft], str]:
    number = arguments["commitment"]
    if str(number) not in session.state.commitments:
        raise ValueError(
            f"commitment {number} is not open; open are {sorted(map(int, session.state.commitments)) or 'none'}"
        )
    return [Draft(kind="commitment.closed", body={"opened": number, "outcome": arguments["outcome"]})], "Closed."


def _read_entries(session: Session, arguments: dict[str, Any], _: str) -> tuple[list[Draft], str]:
    first, last = arguments["first"], arguments["last"]
    if not 0 <= first <= last <= session.state.head_seq:
        raise ValueError(f"entries are numbered 0 to {session.state.head_seq}")
    until = min(last, first + READ_ENTRIES_MAX - 1)
    entries = session.store.read(session.run, first, until + 1)
    rows = [
        f"#{entry.seq} {_in_short(entry.seq, render(session.store, entry))}" for entry in entries if is_visible(entry)
    ]
    more = [f"[overwinter] Entries {until + 1} to {last} are left; ask for them next."] if until < last else []
    return [], "\n".join(rows + more) or "Nothing in this range is text."


def _in_short(seq: int, message: Message) -> str:
    """The words and calls of an entry, from both ends where they are many: what is read back must fit into a view."""
    calls = [f"{call.tool}({canonical(call.arguments).decode()})" for call in message.tool_calls]
    text = "\n".join(part for part in (message.text, *calls) if part)
    return text if len(text) <= READ_ENTRY_CHARS else both_ends(text, READ_ENTRY_CHARS, seq)


_HANDLERS: Mapping[str, Handler] = {
    "finish": _finish,
    "sleep": _sleep,
    "ask_person": _ask_person,
    "commit_to": _commit_to,
    "fulfil": _fulfil,
    "read_entries": _read_entries,
}
