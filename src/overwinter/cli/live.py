"""A run as lines: one per step while it works, one per entry in a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from overwinter.amounts import amount_text
from overwinter.cli.output import one_line

if TYPE_CHECKING:
    from overwinter.journal import Entry, Store
    from overwinter.loop.run import Run

Parts = list[tuple[str, str]]
"""A line in pieces: (text, style)."""

RUN, CALL, CONSEQUENTIAL = "run", "call", "consequential"
"""What a calibrated probability is of (think/confidence/record.py): that the run ends well, that a call is sound."""
QUIET = frozenset(
    {
        "run.started",
        "observed",
        "sample.intent",
        "sample.completion",
        "effect.intent",
        "effect.receipt",
        "world.saved",
        "search.began",
        "branch.committed",
        "done.claimed",
        "run.suspended",
        "run.ended",
    }
)
"""Kinds that get no line of their own while a run works: they are part of a step's line, or of what is said at the end."""
STYLES = {
    "verdict": "bold",
    "run.ended": "bold",
    "gate.decision": "yellow",
    "approval.answered": "yellow",
    "effect.in_doubt": "red",
    "doubt.answered": "yellow",
    "stall.noticed": "red",
    "sample.failed": "red",
    "run.suspended": "yellow",
    "run.resumed": "cyan",
    "event.received": "cyan",
}


class StepLines:
    """Turns the entries of a working run into lines: `for parts in lines.of(entry)`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._calls: dict[str, tuple[str, Any]] = {call.id: (call.tool, call.arguments) for call in run.state.calls}
        self._effect = ""

    def of(self, entry: Entry) -> Iterator[Parts]:
        body = entry.body
        if entry.kind == "sample.completion" and body.get("purpose", "act") == "act":
            self._calls = {call["id"]: (call["tool"], call["arguments"]) for call in body["calls"]}
            if not self._calls:
                yield self._said(entry)
        elif entry.kind == "effect.intent":
            self._effect = body["effect"]
        elif entry.kind == "effect.receipt":
            yield self._did(entry)
            self._effect = ""
        elif entry.kind not in QUIET:
            yield entry_line(self._run.session.store, entry)

    def _did(self, entry: Entry) -> Parts:
        tool, arguments = self._calls.get(entry.body["call_id"], ("?", {}))
        mark = ("ok", "green") if entry.body["ok"] else (entry.body["error"] or "failed", "red")
        parts = [*self._head(), (f"{one_line(call_text(tool, arguments), 34):34} ", "bold")]
        parts += [(f"{self._effect or '-':12} ", "dim"), (f"{mark[0]:4} ", mark[1])]
        return [*parts, *self._measures(), (outcome_text(self._text(entry)), "")]

    def _said(self, entry: Entry) -> Parts:
        return [*self._head(), ("says ", "dim"), *self._measures(), (one_line(self._text(entry)), "")]

    def _head(self) -> Parts:
        world = self._run.session.parts.world
        where = world_header(world.observation.data) if world is not None else ""
        return [(f"{self._run.state.step:5}  ", "dim"), (f"{where:13} " if where else "", "cyan")]

    def _measures(self) -> Parts:
        state, left = self._run.state, self._run.session.left()
        parts = [] if state.confidence is None else [(f"conf {state.confidence:.2f}  ", "magenta")]
        sure = state.calibrated.get(CONSEQUENTIAL, state.calibrated.get(CALL))
        if sure is not None:
            parts.append((f"sound {sure:4.0%}  ", "magenta"))
        chance = state.calibrated.get(RUN, state.success_chance)
        if chance is not None:
            parts.append((f"success {chance:4.0%}  ", "magenta"))
        if left:
            parts.append((f"left {', '.join(amount_text(*each) for each in left.items())}  ", "dim"))
        return parts

    def _text(self, entry: Entry) -> str:
        return payload_text(self._run.session.store, entry.body["text"])


def entry_line(store: Store, entry: Entry, *, clock: str = "") -> Parts:
    """An entry of a log in one line."""
    style = STYLES.get(entry.kind, "")
    head = f"{entry.seq:6}  {clock}  " if clock else f"{'':5}  "
    return [(head, "dim"), (f"{entry.kind:18} ", style or "cyan"), (describe_safely(store, entry), style)]


def describe_safely(store: Store, entry: Entry) -> str:
    """One entry in words, also where its text was collected or damaged."""
    from overwinter.errors import StoreError
    from overwinter.loop.why import describe

    body = entry.body
    try:
        match entry.kind:
            case "effect.receipt":
                # What the model sees is fenced; a person does not need the fence.
                text = outcome_text(unpack_text(store, body["text"]))
                return text if body["ok"] else f"{body['error']}: {text}"
            case "observed":
                return f"{body['source']}: {outcome_text(unpack_text(store, body['text']))}"
            case "run.resumed":
                return f"a process took over; the run was {body['state']}"
            case "world.saved":
                outcome = body["outcome"]
                return f"{body['world']}: score {outcome['score']:.1f} so far"
            case "verdict":
                marks = {True: "met", False: "not met", None: "not checked"}
                rows = [f"{row['id']} {marks[row['met']]} ({row['note']})" for row in body["findings"]]
                found = f"checked by {body['checker']}: {'; '.join(rows)}" if rows else "nothing to check it against"
                return one_line(f"{body['status']}, {found}", 300)
        if entry.kind == "sample.completion" and body.get("purpose", "act") != "act":
            return f"the {body['purpose']} says: {one_line(unpack_text(store, body['text']), 300)}"
        if entry.kind == "sample.completion" and body["calls"]:
            calls = "; ".join(call_text(call["tool"], call["arguments"]) for call in body["calls"])
            return one_line(f"{calls}{confidence_text(body)}", 300)
        if entry.kind in {"effect.intent", "gate.decision"}:
            how = f"{body['effect']}, by {body['rule']}"
            what = "" if entry.kind == "effect.intent" else f"{body['decision']}: "
            return one_line(f"{what}{call_text(body['call']['tool'], body['call']['arguments'])} ({how})", 300)
        return one_line(describe(store, entry), 300)
    except StoreError as error:
        return f"(its text cannot be shown: {one_line(error.problem)})"


def confidence_text(body: Mapping[str, Any]) -> str:
    """What a completion said of its confidence, in brackets; "" where it said nothing."""
    record = body.get("confidence_record", {})
    made = {of: each["value"] for of, each in record.get("calibrated", {}).items()}
    sure, chance = made.get(CONSEQUENTIAL, made.get(CALL)), made.get(RUN, body.get("success_chance"))
    raw = body.get("confidence")
    parts = [] if raw is None else [f"conf {raw:.2f}"]
    parts += [] if sure is None else [f"sound {sure:.0%}"]
    parts += [] if chance is None else [f"success {chance:.0%}"]
    return f"  [{', '.join(parts)}]" if parts else ""


def unpack_text(store: Store, payload: Mapping[str, Any]) -> str:
    """The text of a payload. Raises StoreError."""
    from overwinter.journal import unpack

    return unpack(store, dict(payload))


def payload_text(store: Store, payload: Mapping[str, Any]) -> str:
    """The text of a payload, or why it cannot be shown."""
    from overwinter.errors import StoreError

    try:
        return unpack_text(store, payload)
    except StoreError as error:
        return f"(cannot be shown: {error.problem})"


def world_header(data: Mapping[str, Any]) -> str:
    """Where a world stands, for worlds that count days."""
    if "day" not in data:
        return ""
    winter = f"w{data['winter']} " if data.get("winters", 1) > 1 else ""
    return f"{winter}day {data['day']}" + (f"/{data['days']}" if "days" in data else "")


def call_text(tool: str, arguments: Any) -> str:
    """A call in words: a world's action stands for itself."""
    if not isinstance(arguments, Mapping):
        return f"{tool}({arguments})"
    if tool == "act" and set(arguments) == {"action"}:
        return str(arguments["action"])
    return f"{tool}({', '.join(f'{key}={value}' for key, value in arguments.items())})"


def outcome_text(text: str) -> str:
    """The line of a result that says most: what a world answers to the action, else its first line."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[-1].startswith("You: "):
        return one_line(lines[-1].removeprefix("You: "))
    return one_line(lines[0] if lines else "")
