"""Effects: intent on disk, then the call, then the receipt on disk before the model sees the result.

What happens to an intent without a receipt (the process died in between) is decided by the effect class:

    pure, idempotent   done again
    keyed              done again under the same idempotency key, which the other side recognises
    irreversible       never done again: the tool's probe is asked whether it happened, else a person is

We never claim exactly-once for the outside world. Journal: exactly once. Keyed: exactly once if the other side honours the
key. Irreversible: at most once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from overwinter.errors import ToolError
from overwinter.journal import Draft, Entry, Packer
from overwinter.loop.confidence import consequential, gate_confidence, is_doubtful
from overwinter.loop.deeds import control_drafts
from overwinter.loop.gates import ALLOW, Question
from overwinter.loop.memory.repeats import answer_from_journal, repeated
from overwinter.loop.session import Session
from overwinter.loop.state import OpenCall
from overwinter.loop.world import ACT, SAVE_EVERY
from overwinter.tools import Effect, Tool, ToolContext, ToolResult, failure, idempotency_key

MIN_WALL_MS = 1
REPEAT = "repeat"
"""In place of a gate's rule: the call was let through before the process died."""
OUR_DATA = frozenset({"world", "waiting", "recalled", "repeated", "read", "compressed"})
"""Keys of a receipt's data that the loop goes by; a server that answers {"world": …} must not be taken for a simulator."""


def begin_call(session: Session, call: OpenCall) -> Iterator[Entry]:
    """A call of the last completion that has not been asked about: validate, gate, and carry out what may go ahead."""
    if call.tool in session.parts.controls:
        yield from _control(session, call)
        return
    try:
        tool = session.parts.toolbox.get(call.tool)
        arguments = tool.validate(call.arguments)
        effect = tool.effect_of(arguments)
    except ToolError as error:
        known = call.tool in session.parts.toolbox
        yield from refuse(session, call, failure("arguments" if known else "unknown", str(error)))
        return
    answered = None if call.decision == ALLOW else repeated(session, tool, arguments, effect)
    if answered is not None:
        yield from answer_from_journal(session, call, answered)
        return
    if call.decision == ALLOW:
        # A person approved it.
        yield from _perform(session, call, tool, arguments, rule=f"approved:{call.gate}")
        return
    weighty = consequential(session.parts, tool.name, arguments)
    sure = gate_confidence(session.state, is_consequential=weighty)
    answer = session.parts.gates.answer(
        Question(
            tool=tool.name,
            arguments=arguments,
            effect=effect.value,
            confidence=sure,
            consequential=weighty,
            doubtful=is_doubtful(session, is_consequential=weighty),
        )
    )
    if answer.decision == ALLOW:
        yield from _perform(session, call, tool, arguments, rule=answer.rule)
        return
    body: dict[str, Any] = {
        "completion": session.state.completion,
        "call": {"id": call.id, "tool": tool.name, "arguments": arguments},
        "effect": effect.value,
        "decision": answer.decision,
        "rule": answer.rule,
        "confidence": sure,
        **({"consequential": True} if weighty else {}),
    }
    yield from session.append([Draft(kind="gate.decision", body=body)])


def refuse(session: Session, call: OpenCall, result: ToolResult) -> Iterator[Entry]:
    """A receipt for a call that was never made."""
    packer = Packer()
    yield from session.append([_receipt(packer, call, result, intent=-1)], packer)


def deny(session: Session, call: OpenCall) -> Iterator[Entry]:
    """A receipt for a call that a gate or a person refused."""
    text = f"This call was not made: {call.reason}. Choose another way, or ask_person."
    yield from refuse(session, call, failure("denied", text))


def settle_doubt(session: Session, call: OpenCall) -> Iterator[Entry]:
    """An intent without a receipt: do it again, probe, or put the question to a person (by an effect.in_doubt entry)."""
    assert call.intent is not None
    of_parent = call.intent < session.state.forked_at
    if of_parent and session.state.setup.get("speculative") and call.effect != Effect.PURE:
        text = "This branch only looks ahead; what became of the call is its parent's to find out."
        yield from _close(session, call, failure("denied", text))
        return
    if call.happened is not None:
        yield from _settle_by_person(session, call)
        return
    try:
        tool = session.parts.toolbox.get(call.tool)
        arguments = tool.validate(call.arguments)
    except ToolError as error:
        # The tool is gone since; whether the call took place is then only for a person to say.
        yield from _ask_about(session, call, error.problem)
        return
    if Effect(call.effect).repeatable:
        yield from _repeat(session, call, tool, arguments)
        return
    try:
        found = _probe(session, call, tool, arguments)
    except ToolError as error:
        yield from _ask_about(session, call, error.problem)
        return
    if found is not None:
        yield from _close(session, call, found, resolved_by="probe")
    elif call.intent < session.state.forked_at:
        # The call was let through for the parent, which may still make it.
        text = "This call of the parent run did not take place. Make it again if it is still wanted."
        yield from _close(session, call, failure("crash", text), resolved_by="probe")
    else:
        # The probe is certain that it did not happen, so doing it now is the first time.
        yield from _perform(session, call, tool, arguments, rule="probe:not-done")


def _find_out(
    session: Session, call: OpenCall, tool: Tool, arguments: dict[str, Any], result: ToolResult
) -> Iterator[Entry]:
    """An irreversible call came back without knowing whether it took place: its probe may know, else a person."""
    try:
        found = _probe(session, call, tool, arguments)
    except ToolError as error:
        yield from _ask_about(session, call, f"{result.text}\n{error.problem}")
        return
    if found is not None:
        yield from _close(session, call, found, resolved_by="probe")
    elif result.error == "timeout":
        # Given up is not stopped: what the probe does not see now may still come.
        yield from _ask_about(session, call, f"{result.text}\nIts probe does not find it so far.")
    else:
        text = f"{result.text}\nIts probe is certain that it did not take place."
        yield from _close(session, call, failure("crash", text), resolved_by="probe")


def _probe(session: Session, call: OpenCall, tool: Tool, arguments: dict[str, Any]) -> ToolResult | None:
    assert call.intent is not None
    context = ToolContext(run=session.run, entry=call.intent, idempotency_key=call.key, deadline_s=tool.timeout_s)
    return tool.probe_result(arguments, context)


def _close(session: Session, call: OpenCall, result: ToolResult, resolved_by: str = "") -> Iterator[Entry]:
    """The receipt of an intent that was not answered by its own call."""
    assert call.intent is not None
    packer = Packer()
    draft = _receipt(packer, call, result, call.intent, resolved_by=resolved_by, settle=_settle(session))
    yield from session.append([draft], packer)


def _repeat(session: Session, call: OpenCall, tool: Tool, arguments: dict[str, Any]) -> Iterator[Entry]:
    limit = session.parts.pace.max_attempts
    if call.attempt >= limit:
        # A call that takes the process down each time must not do so for ever.
        text = f"The process ended {limit} times during this call; it was not tried again."
        yield from _close(session, call, failure("crash", text, in_doubt=call.effect != Effect.PURE))
        return
    yield from _perform(session, call, tool, arguments, rule=REPEAT)


def _ask_about(session: Session, call: OpenCall, why: str) -> Iterator[Entry]:
    detail = f"{call.tool}: {why}"
    yield from session.append([Draft(kind="effect.in_doubt", body={"intent": call.intent, "detail": detail})])


def _settle_by_person(session: Session, call: OpenCall) -> Iterator[Entry]:
    if call.happened:
        result = ToolResult(
            ok=True, text="A person confirmed that this call took place. Its answer is not known.", data={}
        )
    else:
        result = failure(
            "crash", "A person found that this call did not take place. Make it again if it is still wanted."
        )
    yield from _close(session, call, result, resolved_by="person")


def _control(session: Session, call: OpenCall) -> Iterator[Entry]:
    try:
        arguments = session.parts.controls[call.tool].validate(call.arguments)
    except ToolError as error:
        yield from refuse(session, call, failure("arguments", str(error)))
        return
    drafts, packer = control_drafts(session, call.tool, arguments, call.id)
    yield from session.append(drafts, packer)


def _perform(session: Session, call: OpenCall, tool: Tool, arguments: dict[str, Any], rule: str) -> Iterator[Entry]:
    """Reserve, write the intent, call, write the receipt. A repeat keeps the key of the first attempt."""
    entry = session.state.head_seq + 1
    effect = Effect(call.effect) if call.effect else tool.effect_of(arguments)
    key = call.key or idempotency_key(session.run, entry, tool.name, arguments)
    body: dict[str, Any] = {
        "completion": session.state.completion,
        "call": {"id": call.id, "tool": tool.name, "arguments": arguments},
        "effect": effect.value,
        "key": key,
        "attempt": call.attempt + 1,
        "rule": rule,
        "reserve": _reservation(session, call, tool),
    }
    if consequential(session.parts, tool.name, arguments):
        body["consequential"] = True
    # BudgetExhausted here means that nothing was written and nothing has happened.
    yield from session.append([Draft(kind="effect.intent", body=body)])
    deadline_s = session.state.intent_reserve.get("wall_ms", round(tool.timeout_s * 1000)) / 1000
    began = time.monotonic()
    result = tool.call(arguments, ToolContext(run=session.run, entry=entry, idempotency_key=key, deadline_s=deadline_s))
    wall_ms = round((time.monotonic() - began) * 1000)
    if result.data.get("in_doubt") and not effect.repeatable:
        yield from _find_out(session, call, tool, arguments, result)
        return
    packer, world = Packer(), session.parts.world
    if tool.name != ACT or world is None:
        result = dataclasses.replace(result, data=_outside_data(tool, result.data))
    redone = "redo" if rule == REPEAT else ""
    drafts = [_receipt(packer, call, result, entry, resolved_by=redone, settle=_settle(session, wall_ms))]
    if tool.name == ACT and world is not None and (world.unsaved >= SAVE_EVERY or world.done):
        drafts.append(world.save(packer))
    yield from session.append(drafts, packer)


def _outside_data(tool: Tool, data: dict[str, Any]) -> dict[str, Any]:
    """What a tool from outside says, without the words by which the journal marks receipts of its own."""
    renamed = {f"{key}_" if key in OUR_DATA else key: value for key, value in data.items()}
    return renamed | {"waiting": True} if "wait" in tool.tags else renamed


def _reservation(session: Session, call: OpenCall, tool: Tool) -> dict[str, int]:
    """What the call may cost. A repeat goes on under the reservation of the first attempt, where this run made that."""
    if call.intent is not None and session.state.intent_reserve:
        return {}
    wall_ms = min(round(tool.timeout_s * 1000), session.left().get("wall_ms", 1 << 62))
    return {"tool_calls": 1, "wall_ms": max(MIN_WALL_MS, wall_ms)}


def _receipt(
    packer: Packer,
    call: OpenCall,
    result: ToolResult,
    intent: int,
    *,
    resolved_by: str = "",
    settle: dict[str, Any] | None = None,
) -> Draft:
    data = dict(result.data)
    if result.truncated_bytes:
        data["truncated_bytes"] = result.truncated_bytes
    body: dict[str, Any] = {
        "intent": intent,
        "call_id": call.id,
        "ok": result.ok,
        "text": packer.text(result.text),
        "data": data,
        "error": result.error,
    }
    if resolved_by:
        body["resolved_by"] = resolved_by
    if settle is not None:
        body["settle"] = settle
    return Draft(kind="effect.receipt", body=body, refs=packer.take_refs())


def _settle(session: Session, wall_ms: int | None = None) -> dict[str, Any]:
    """Close the call's reservation. After a crash the time spent is unknown: charge what has passed, at most what was held."""
    reserved = session.state.intent_reserve
    if wall_ms is None:
        wall_ms = min(reserved.get("wall_ms", 0), (session.now_us() - session.state.intent_time_us) // 1000)
    return {"reserved": dict(reserved), "spent": {"tool_calls": reserved.get("tool_calls", 0), "wall_ms": wall_ms}}
