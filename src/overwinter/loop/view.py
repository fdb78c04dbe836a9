"""The view: what the model sees of the run. It is rendered from the journal for every step and never stored.

Always in: goal, acceptance list with the last verdict, open commitments, what is left of the budget, how much is not shown.
The rest are the latest entries that fit. When they outgrow the window, a `compacted` entry moves the boundary and stands in
for what is behind it; nothing is deleted, and the tool `read_entries` brings any of it back.

What changes with every step (possible actions, budget) stands at the end, so that a prefix cache keeps the rest.

The journal keeps the range shown and a digest of the rendering: constant size per step, and replay can tell whether it
renders the same.

What is too large to be shown at all, one result longer than the window, is shown from both ends with a note in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from overwinter.journal import ERASED, Draft, Entry, Packer, Store, unpack
from overwinter.journal.canonical import canonical, digest
from overwinter.loop.model import CountsViews, Message, Model, ToolCall, View
from overwinter.loop.state import AGENT, GONE, RunState
from overwinter.memory.working import COMPRESS_AT
from overwinter.tools.fence import FENCE_RULE, fence

if TYPE_CHECKING:
    from overwinter.loop.memory.view import MemoryView

COMPACT_AT = 0.85
"""Share of the window at which the view is compacted …"""
COMPACT_TO = 0.45
"""… and the share that stays in full. The gap decides how often a prefix cache is lost."""
SUMMARY_SHARE = 0.15
"""Share of the window a summary may take."""
LINE_CHARS = 160
SINCE = "Since then:"
"""Between the agent's own summary and the lines that the runtime adds to it."""
MIN_SHOWN_TOKENS = 24
"""No turn is cut shorter than this."""
TURN_TOKENS = 4
"""What a chat template adds to a turn, about, where the model does not say."""
FIT_ATTEMPTS = 4
"""How often turns are cut again where the whole prompt turns out longer than its parts."""
SETTLE_ATTEMPTS = 6
"""How often the status line is written anew until the size it states is the size of the view that holds it."""
STATUS_SLACK = 2
"""Tokens kept free where the view states its own size: another number may take more of them."""

INSTRUCTIONS = """\
You work on a goal until it is verified by a checker that is not you. Everything you do is journalled.
Each turn, call exactly one of the tools. To call one in text, write a line of JSON:
{"tool": "NAME", "arguments": {…}}
Call `finish` only when every line of the acceptance list holds; it is checked. Call `sleep` to wait: waiting is free.
"""
ACTING_INSTRUCTIONS = """\
You work on a goal until it is verified by a checker that is not you. Everything you do is journalled.
Each turn, answer with exactly one of the possible actions, and nothing else.
"""
"""Where nothing can be called: a world is played, and its actions are all there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """One entry as the model sees it."""

    message: Message
    tokens: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A view, its size in tokens (tool schemas included) and its digest.

    Attributes:
        needs_call: the last answer asked for nothing that could be carried out, so this one has to be a call.
    """

    view: View
    tokens: int
    digest: str
    needs_call: bool = False


class ViewBuilder:
    """Renders views of one run, keeping rendered entries between steps.

    Args:
        window_tokens: what the view may hold, the completion not included.
        memory: what working memory adds; None in a run without it.
    """

    def __init__(
        self,
        store: Store,
        model: Model,
        window_tokens: int,
        tools: Sequence[dict[str, Any]] = (),
        memory: MemoryView | None = None,
    ) -> None:
        self._store = store
        self.memory = memory
        self._model = model
        self.window_tokens = window_tokens
        self._tools = tuple(tools)
        self._rendered: dict[int, Rendered] = {}
        self._turn_tokens = turn_tokens(model)
        self._schema_tokens = model.count_tokens(canonical(list(tools)).decode()) if tools else 0

    def add(self, entry: Entry) -> None:
        """Render an entry once, when it is written or read."""
        self._rendered[entry.seq] = self._measure(render(self._store, entry))

    def inherit(self, other: ViewBuilder) -> None:
        """Take over what another builder has rendered of the line that this one goes on with."""
        self._rendered.update(other._rendered)

    def shown_text(self, state: RunState, seq: int) -> str:
        """Words and calls of a turn in view, as the model sees them."""
        self._load(state)
        message = self._rendered[seq].message
        calls = [f"{call.tool}({canonical(call.arguments).decode()})" for call in message.tool_calls]
        return "\n".join(part for part in (message.text, *calls) if part)

    def forget(self, last: int) -> None:
        """Let go of renderings up to entry `last`, which a compaction has hidden."""
        for seq in [seq for seq in self._rendered if seq <= last]:
            del self._rendered[seq]

    def build(
        self, state: RunState, left: Mapping[str, int], observation: Any, legal_actions: tuple[str, ...]
    ) -> Measured:
        """The view of the next step. `left` is what remains of the limited resources of the budget."""
        self._load(state)
        turns = _results_first([self._rendered[seq] for seq in state.items])
        silent = bool(turns) and turns[-1].message.role == "assistant" and not turns[-1].message.tool_calls
        fixed = self._fixed(state)
        standing = self._standing(state)

        def status(size: int) -> list[Rendered]:
            text = _status(left, legal_actions, silent=silent, line=self._line(state, size))
            return [self._measure(Message(role="user", text=text))] if text else []

        closing = standing + status(self.window_tokens)
        room = self.window_tokens - self._schema_tokens - sum(row.tokens for row in fixed + closing)
        room -= STATUS_SLACK if self.memory is not None else 0
        shown = _shown(state, standing)
        hidden = state.head_seq + 1 - sum(last - first + 1 for first, last in shown)

        def view_of(rows: Sequence[Rendered]) -> View:
            return View(
                messages=tuple(row.message for row in rows),
                tools=self._tools,
                observation=observation,
                legal_actions=legal_actions,
                shown=shown,
                hidden=hidden,
            )

        for _ in range(FIT_ATTEMPTS):
            rows = fixed + self._fitted(turns, room) + standing
            rows, view, tokens = self._settled(rows, status, view_of)
            if not isinstance(self._model, CountsViews) or tokens <= self.window_tokens:
                break
            room -= tokens - self.window_tokens
        digest = _digest_of([row.digest for row in rows], view)
        return Measured(view=view, tokens=tokens, digest=digest, needs_call=silent and bool(self._tools))

    def _settled(
        self,
        rows: list[Rendered],
        status: Callable[[int], list[Rendered]],
        view_of: Callable[[Sequence[Rendered]], View],
    ) -> tuple[list[Rendered], View, int]:
        """The view with its status line, and its size. Where the line states the size, it states this one, to the token: what is shown
        is what limits, warnings and rewards go by."""
        size = self.window_tokens
        for attempt in range(SETTLE_ATTEMPTS):
            closed = rows + status(size)
            view = view_of(closed)
            tokens = self._size(closed, view)
            if self.memory is None or tokens == size:
                break
            if attempt > 1 and tokens < size:
                # Two numbers that each make the other true: the larger one, which is never too small.
                tokens = size
                break
            size = tokens
        return closed, view, tokens

    def _size(self, rows: Sequence[Rendered], view: View) -> int:
        if isinstance(self._model, CountsViews):
            return self._model.count_view(view)
        return self._schema_tokens + sum(row.tokens for row in rows)

    def _fixed(self, state: RunState) -> list[Rendered]:
        """The head of a view: goal and rules, what memory always shows, and the summary of what is hidden."""
        rows = [self._measure(self._head(state))]
        if self.memory is not None:
            rows += [self._measure(message) for message in self.memory.fixed(state, self.window_tokens)]
        if state.compacted is not None:
            rows.append(self._rendered[state.compacted])
        return rows

    def _standing(self, state: RunState) -> list[Rendered]:
        found = self.memory.standing(state, self.window_tokens) if self.memory is not None else []
        return [self._measure(message) for message in found]

    def _line(self, state: RunState, size: int) -> str:
        return self.memory.line(state, size, self.window_tokens) if self.memory is not None else ""

    def compaction(
        self, state: RunState, packer: Packer, left: Mapping[str, int], legal_actions: Sequence[str]
    ) -> Draft | None:
        """A `compacted` draft when the view has outgrown the window, else None. Each hides at least one entry."""
        self._load(state)
        text = _status(left, legal_actions, silent=True, line=self._line(state, self.window_tokens))
        fixed = self._fixed(state)
        kept_summary = fixed.pop().tokens if state.compacted is not None else 0
        fixed = [*fixed, *self._standing(state), self._measure(Message(role="user", text=text))]
        window = self.window_tokens - self._schema_tokens - sum(row.tokens for row in fixed)
        sizes = [self._rendered[seq].tokens for seq in state.items]
        cuts = _cuts([self._rendered[seq].message for seq in state.items])
        # With working memory the share is of the whole window, by the number that the status line shows.
        full = COMPACT_AT * window if self.memory is None else window - (1 - COMPRESS_AT) * self.window_tokens
        if kept_summary + sum(sizes) <= full or not cuts:
            return None
        keep, room = len(state.items), COMPACT_TO * window
        while keep > 0 and room >= sizes[keep - 1]:
            keep, room = keep - 1, room - sizes[keep - 1]
        cut = next((cut for cut in cuts if cut >= keep), cuts[-1])
        hidden = state.items[:cut]
        summary = packer.text(self._summary(state, hidden, window))
        body = {"first": hidden[0], "last": hidden[-1], "summary": summary, "by": "extract"}
        return Draft(kind="compacted", body=body, refs=packer.take_refs())

    def _load(self, state: RunState) -> None:
        """Read what a resumed run shows and this process has not rendered yet."""
        wanted = state.items if state.compacted is None else [state.compacted, *state.items]
        missing = [seq for seq in wanted if seq not in self._rendered]
        if not missing:
            return
        wanted_set = set(missing)
        # The compaction stands behind the first entries that it left in view.
        for entry in self._store.read(state.run, min(missing), max(missing) + 1):
            if entry.seq in wanted_set:
                self.add(entry)

    def _fitted(self, turns: list[Rendered], room: int) -> list[Rendered]:
        """The turns as they are where they fit, else the largest cut to one size that does."""
        sizes = sorted(row.tokens for row in turns)
        if sum(sizes) <= room:
            return turns
        cap = MIN_SHOWN_TOKENS
        for number, size in enumerate(sizes):
            # All smaller ones stay whole, the rest share what they leave.
            share = max(room, 0) // (len(sizes) - number)
            if size > share:
                cap = max(cap, share)
                break
            room -= size
        return [row if row.tokens <= cap else self._shortened(row, cap) for row in turns]

    def _shortened(self, row: Rendered, cap: int) -> Rendered:
        text, chars = row.message.text, len(row.message.text) * cap // row.tokens
        while True:
            short = self._measure(replace(row.message, text=both_ends(text, chars, row.message.entry)))
            if short.tokens <= cap or chars < 16:
                return short
            chars = chars * 4 // 5

    def _summary(self, state: RunState, hidden: Sequence[int], window: int) -> str:
        """One line per hidden entry behind the previous summary; the oldest lines give way first."""
        previous = self._rendered[state.compacted].message.text.splitlines()[1:] if state.compacted is not None else []
        kept_first: list[str] = []
        room = SUMMARY_SHARE * window
        if state.agent_summary is not None:
            # What the agent wrote for itself stays whole until it writes another.
            kept_first, previous = _split(previous, is_agents=state.agent_summary == state.compacted)
            room = max(0, room - sum(self._model.count_tokens(line) + 1 for line in kept_first))
        brought = {int(seq) for seq in state.recalled}
        lines = previous + [_line(seq, self._rendered[seq].message) for seq in hidden if seq not in brought]
        kept: list[str] = []
        for line in reversed(lines):
            room -= self._model.count_tokens(line) + 1
            if room < 0:
                break
            kept.append(line)
        since = [SINCE] if kept_first and kept else []
        return "\n".join([*kept_first, *since, *reversed(kept)])

    def _head(self, state: RunState) -> Message:
        instructions = INSTRUCTIONS if self._tools else ACTING_INSTRUCTIONS
        if self.memory is not None and self._tools:
            instructions += self.memory.rules
        lines = [instructions + FENCE_RULE, "", f"GOAL: {state.goal}"]
        if state.acceptance:
            lines += ["ACCEPTANCE LIST:", *(f"- [{row['id']}] {row['text']}" for row in state.acceptance)]
        if state.commitments:
            lines.append("OPEN COMMITMENTS:")
            lines += [f"- [{seq}] {row['text']} (due {row['due']})" for seq, row in state.commitments.items()]
        return Message(role="system", text="\n".join(lines))

    def _measure(self, message: Message) -> Rendered:
        # Where nothing can be called, an action's words are all that is shown of it.
        asked = message.tool_calls if self._tools or not message.text else ()
        calls = [[call.tool, call.arguments] for call in asked]
        tokens = (
            self._model.count_tokens(message.text + (canonical(calls).decode() if calls else "")) + self._turn_tokens
        )
        return Rendered(message=message, tokens=tokens, digest=message_digest(message))


def render(store: Store, entry: Entry) -> Message:
    """One entry as a turn of the conversation."""
    body = entry.body
    if entry.kind == ERASED:
        return _render_erased(entry)
    if entry.kind == "sample.completion":
        calls = tuple(ToolCall(id=call["id"], tool=call["tool"], arguments=call["arguments"]) for call in body["calls"])
        return Message(role="assistant", text=unpack(store, body["text"]), entry=entry.seq, tool_calls=calls)
    if entry.kind == "effect.receipt":
        text = unpack(store, body["text"])
        shown = fence(text, f"entry {entry.seq}") if body["intent"] >= 0 else text
        return Message(role="tool", text=shown, entry=entry.seq, tool_call_id=body["call_id"])
    return Message(role="user", text=_render_note(store, entry), entry=entry.seq)


def _render_erased(entry: Entry) -> Message:
    """Its place is kept: chat formats want a result for each call, and a call for each result."""
    body = entry.body
    match body["kind"]:
        case "sample.completion":
            calls = tuple(ToolCall(id=call["id"], tool="erased", arguments={}) for call in body["calls"])
            return Message(role="assistant", text=GONE, entry=entry.seq, tool_calls=calls)
        case "effect.receipt":
            return Message(role="tool", text=GONE, entry=entry.seq, tool_call_id=body["call_id"])
        case "compacted":
            said = f"[overwinter] Entries up to {body['last']} are not shown; what was said of them was erased.\n{GONE}"
            return Message(role="user", text=said, entry=entry.seq)
        case _:
            return Message(role="user", text=GONE, entry=entry.seq)


def _render_note(store: Store, entry: Entry) -> str:
    body = entry.body
    match entry.kind:
        case "observed":
            return f"[{body['source']}] {unpack(store, body['text'])}"
        case "event.received":
            return f"[event {body['name']}] {canonical(body['data']).decode()}"
        case "stall.noticed":
            return (
                f"[overwinter] You are not getting on: {body['detail']}. Do something different, or sleep, or finish."
            )
        case "sleep.ended":
            return f"[overwinter] You slept; woken by {body['cause']}."
        case "budget.changed":
            added = ", ".join(f"{name} +{amount}" for name, amount in body["add"].items())
            return f"[overwinter] The budget was raised: {added}."
        case "recalled":
            return f"[memory] This may help; judge for yourself.\n{unpack(store, body['text'])}"
        case "verdict":
            return "[checker] " + _verdict_text(body)
        case "compacted":
            text = unpack(store, body["summary"])
            if body["by"] == AGENT:
                return f"[overwinter] You compressed all entries up to {body['last']}; nothing is lost. Your summary and the index:\n{text}"
            return (
                f"[overwinter] Entries up to {body['last']} are not shown; `read_entries` shows them. In short:\n{text}"
            )
        case _:
            raise AssertionError(f"{entry.kind} has no rendering")


def _verdict_text(body: dict[str, Any]) -> str:
    if body["status"] != "rejected":
        return f"{body['status']}."
    rows = [f"- [{row['id']}] {'holds' if row['met'] else 'does not hold'}: {row['note']}" for row in body["findings"]]
    return "Not done yet:\n" + "\n".join(rows)


def _results_first(turns: Sequence[Rendered]) -> list[Rendered]:
    """What arrived between a call and its result stands behind the result: chat formats know no other order."""
    rows: list[Rendered] = []
    held: list[Rendered] = []
    open_calls: set[str | None] = set()
    for turn in turns:
        message = turn.message
        if message.role == "user" and open_calls:
            held.append(turn)
            continue
        if message.role == "tool":
            open_calls.discard(message.tool_call_id)
        else:
            rows, held = rows + held, []
            open_calls = {call.id for call in message.tool_calls}
        rows.append(turn)
        if not open_calls:
            rows, held = rows + held, []
    return rows + held


def _cuts(messages: Sequence[Message]) -> list[int]:
    """Places where the turns may be cut in two: nowhere between a call and its result."""
    asked: dict[str, int] = {}
    within: set[int] = set()
    for place, message in enumerate(messages):
        asked |= {call.id: place for call in message.tool_calls}
        if message.role == "tool" and message.tool_call_id in asked:
            within.update(range(asked[message.tool_call_id] + 1, place + 1))
    return [place for place in range(1, len(messages)) if place not in within]


def both_ends(text: str, chars: int, entry: int | None) -> str:
    """Three quarters from the start, one from the end: a fence keeps both its lines, and errors stand at the end."""
    head, tail = chars * 3 // 4, chars // 4
    missing = len(text) - head - tail
    return f"{text[:head]}\n[… {missing} characters of entry {entry} are left out …]\n{text[len(text) - tail :]}"


def _line(seq: int, message: Message) -> str:
    calls = " ".join(f"{call.tool}({canonical(call.arguments).decode()})" for call in message.tool_calls)
    text = " ".join((calls or message.text).split())
    return f"#{seq} {message.role}: {text[:LINE_CHARS]}{'…' if len(text) > LINE_CHARS else ''}"


def _split(lines: list[str], *, is_agents: bool) -> tuple[list[str], list[str]]:
    """A summary as the agent's own part and the lines the runtime put behind it."""
    if is_agents:
        return lines, []
    place = lines.index(SINCE) if SINCE in lines else len(lines)
    return lines[:place], lines[place + 1 :]


def _shown(state: RunState, standing: Sequence[Rendered] = ()) -> tuple[tuple[int, int], ...]:
    """Closed ranges whose visible entries are in the view: all from the boundary on, the last compaction, and the world as it stands."""
    first = state.items[0] if state.items else state.head_seq + 1
    alone = {row.message.entry for row in standing} | {state.compacted}
    outside = sorted(seq for seq in alone if seq is not None and seq < first)
    return (*((seq, seq) for seq in outside), *(((first, state.head_seq),) if state.items else ()))


def _status(left: Mapping[str, int], legal_actions: Sequence[str], *, silent: bool, line: str = "") -> str:
    rows = []
    if silent:
        rows.append(
            "Your last answer asked for nothing that can be carried out. Answer with one tool call, or one possible action."
        )
    if line:
        rows.append(line)
    if left:
        rows.append("Budget left: " + ", ".join(f"{name} {amount}" for name, amount in sorted(left.items())))
    if legal_actions:
        rows.append("Possible actions: " + "; ".join(legal_actions))
    return "\n".join(rows)


def turn_tokens(model: Model) -> int:
    """What the model's template adds to a turn, as far as it says."""
    return model.turn_tokens if isinstance(model, CountsViews) else TURN_TOKENS


def message_digest(message: Message) -> str:
    """SHA-256 of one turn as the model sees it."""
    calls = [[call.id, call.tool, call.arguments] for call in message.tool_calls]
    return digest(canonical([message.role, message.text, message.tool_call_id, calls]))


def view_digest(view: View) -> str:
    """SHA-256 of what the model is shown: turns, tools and legal actions. The slow twin of what `ViewBuilder` puts together."""
    return _digest_of([message_digest(message) for message in view.messages], view)


def _digest_of(turns: Sequence[str], view: View) -> str:
    return digest(canonical([turns, view.tools, view.legal_actions]))
