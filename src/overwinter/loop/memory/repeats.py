"""The same call again, with nothing changed since, is answered from the journal: it costs no call, and the actor is told where the
answer stands.

Only calls of pure tools, and only in runs with memory (`"repeats": false` turns it off). What counts as a change: any effect that is not
pure, sleep, an event from outside. A pure tool that reads what changes by itself (a clock, a sensor) must be tagged "wait", or the run
has to do without this. Acts in a world are never answered for it, since even a look may take its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from overwinter.journal import Draft, Entry, Packer, unpack
from overwinter.loop.memory.finder import excerpt
from overwinter.loop.session import Session
from overwinter.loop.state import OpenCall, call_signature
from overwinter.loop.world import ACT
from overwinter.tools import Effect, Tool
from overwinter.tools.fence import fence

EXCERPT_CHARS = 400


def repeated(session: Session, tool: Tool, arguments: dict[str, Any], effect: Effect) -> int | None:
    """The receipt that answers this call already, or None."""
    memory = session.parts.memory
    if memory is None or not memory.repeats or effect is not Effect.PURE or tool.name == ACT or "wait" in tool.tags:
        return None
    return session.state.answered.get(call_signature(tool.name, arguments))


def answer_from_journal(session: Session, call: OpenCall, known: int) -> Iterator[Entry]:
    """A receipt that points to the one there is."""
    receipt = next(session.store.read(session.run, known, known + 1))
    text = f"You made this call before, and nothing has changed since: its result is entry {known}"
    if known in session.state.items:
        text += ", which is in view."
    else:
        handle = session.finder.handle_of(session.state, known)
        how = f"`read` handle {handle}" if handle else f"`read_entries` {known} to {known}"
        begins = excerpt(unpack(session.store, receipt.body["text"]), "", EXCERPT_CHARS)
        text += f" ({how} shows it all). It begins:\n{fence(begins, f'entry {known}')}"
    packer = Packer()
    body = {
        "intent": -1,
        "call_id": call.id,
        "ok": True,
        "text": packer.text(text),
        "data": {"repeated": known},
        "error": None,
    }
    yield from session.append([Draft(kind="effect.receipt", body=body, refs=packer.take_refs())], packer)
