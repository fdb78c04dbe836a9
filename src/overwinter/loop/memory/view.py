"""What a view shows of memory: core blocks and pinned handles at its head, the world as it stands, and the status line at its end.

All of it is rendered from the journal, with one count of tokens: `Measured.tokens`, the whole prompt as the view reckons it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from overwinter.journal import ERASED, Draft, Entry, Store, unpack
from overwinter.journal.canonical import canonical
from overwinter.loop.memory.settings import MemorySettings
from overwinter.loop.memory.tools import RULES
from overwinter.loop.model import Message
from overwinter.loop.state import RunState, is_visible
from overwinter.loop.view import both_ends, render
from overwinter.memory.working import COMPRESS_AT, HINT_AT, WARN_AT
from overwinter.memory.working.handles import Handle, lookup, newest_version, ranges_text, read_handle
from overwinter.tools.fence import fence

PIN_SHARE = 0.2
"""Share of the window that pinned handles may take, all together."""
CORE_SHARE = 0.1
STANDING_SHARE = 0.35
"""Share of the window for the world's last observation."""
NAMES_SHARE = 0.05
"""Share of the window that the status line may spend on names of handles."""
BEGIN_CHARS = 60
"""Of the first result that the runtime hides, in the description of its handle."""
MIN_PIN_TOKENS = 32


class MemoryView:
    """Memory's part of the views of one run.

    Args:
        count: tokens of a text, as the model counts them.
    """

    def __init__(self, store: Store, settings: MemorySettings, count: Callable[[str], int]) -> None:
        self._store = store
        self.settings = settings
        self._count = count
        self._key: tuple[object, ...] = ()
        self._fixed: list[Message] = []
        self._observed: Message | None = None

    @property
    def rules(self) -> str:
        """What the system turn says of the tools, where there are any."""
        return RULES if self.settings.tools else ""

    def fixed(self, state: RunState, window: int) -> list[Message]:
        """Core blocks and the content of pinned handles, each cut to its share of the window."""
        key = (state.core, tuple(state.pinned), window)
        if key != self._key:
            self._fixed = [*self._core(state, window), *self._pins(state, window)]
            self._key = key
        return self._fixed

    def standing(self, state: RunState, window: int) -> list[Message]:
        """The world's last observation, where compression has hidden it: nobody can act on a summary of what is before them."""
        if state.observed_at is None or state.observed_at in state.items:
            return []
        if self._observed is None or self._observed.entry != state.observed_at:
            entry = next(self._store.read(state.run, state.observed_at, state.observed_at + 1))
            words = self._cut(render(self._store, entry).text, round(STANDING_SHARE * window), entry.seq)
            text = f"[overwinter] As things stand (entry {entry.seq}):\n{words}"
            self._observed = Message(role="user", text=text, entry=entry.seq)
        return [self._observed]

    def line(self, state: RunState, tokens: int, window: int) -> str:
        """The status line."""
        share = tokens / window if window > 0 else 1.0
        parts = [f"Working memory: {tokens:,} of {window:,} tokens in view ({share:.0%})."]
        if state.handles:
            parts.append(f"{len(state.handles):,} handles; newest: {self._names(state, window)}.")
        if share > WARN_AT and "compress" in self.settings.tools:
            parts.append(f"Compress NOW: at {COMPRESS_AT:.0%} it is done for you, and not by your judgement.")
        elif share > HINT_AT and "compress" in self.settings.tools:
            parts.append("Compress soon, and keep what you will need under handles.")
        return " ".join(parts)

    def _names(self, state: RunState, window: int) -> str:
        names: list[str] = []
        for name in reversed(state.recent_handles):
            if names and self._count(", ".join([*names, name])) > NAMES_SHARE * window:
                return ", ".join(names) + ", …"
            names.append(name)
        return ", ".join(names)

    def _core(self, state: RunState, window: int) -> Iterator[Message]:
        if state.core is None:
            return
        entry = next(self._store.read(state.run, state.core, state.core + 1))
        if entry.kind == ERASED:
            return
        text = self._cut(unpack(self._store, entry.body["text"]), round(CORE_SHARE * window), entry.seq)
        yield Message(role="user", text=f"[memory] Core, always in view:\n{text}", entry=entry.seq)

    def _pins(self, state: RunState, window: int) -> Iterator[Message]:
        room = round(PIN_SHARE * window)
        for ref in reversed(state.pinned):
            try:
                handle = find_handle(self._store, state, ref)
            except ValueError:
                continue  # it was erased since
            if room < MIN_PIN_TOKENS:
                yield Message(role="user", text=f"[memory] {ref} is pinned too; there is no room to show it: read it.")
                continue
            text = self._cut(content_text(self._store, state.run, handle), room, handle.seq)
            room -= self._count(text)
            shown = fence(text, f"handle {ref}")
            yield Message(role="user", text=f"[memory] Pinned {ref}, {handle.description}:\n{shown}", entry=handle.seq)

    def _cut(self, text: str, tokens: int, entry: int) -> str:
        size = self._count(text)
        if size <= tokens:
            return text
        chars = len(text) * tokens // size
        while True:
            short = both_ends(text, chars, entry)
            if self._count(short) <= tokens or chars < 16:
                return short
            chars = chars * 4 // 5


def find_handle(store: Store, state: RunState, ref: str) -> Handle:
    """A handle of the run. Raises ValueError, which says what there is."""
    seq = lookup(state.handles, ref)
    entry = next(store.read(state.run, seq, seq + 1))
    if entry.kind == ERASED:
        raise ValueError(f"the handle {ref} was erased by {entry.body['by']}")
    return read_handle(store, entry)


def content_text(store: Store, run: str, handle: Handle) -> str:
    """What is kept under a handle: the entries themselves, one behind the other, each with its number."""
    return "\n".join(text for _, text in content_rows(store, run, handle))


def content_rows(store: Store, run: str, handle: Handle) -> Iterator[tuple[int, str]]:
    """Entries of a handle as (number, text). What memory had brought into the view is left out: it is a copy."""
    for first, last in handle.ranges:
        for entry in store.read(run, first, last + 1):
            if entry.kind != "recalled" and is_visible(entry):
                yield entry.seq, f"#{entry.seq} {entry_text(store, entry)}"


def entry_text(store: Store, entry: Entry) -> str:
    """Words and calls of an entry, without the fence that a view puts round a tool's words."""
    if entry.kind == "effect.receipt":
        return f"tool: {unpack(store, entry.body['text'])}"
    message = render(store, entry)
    calls = [f"{call.tool}({canonical(call.arguments).decode()})" for call in message.tool_calls]
    return f"{message.role}: " + "\n".join(part for part in (message.text, *calls) if part)


def runtime_handle(store: Store, state: RunState, compacted: Draft) -> Draft:
    """The handle of what the runtime hides by itself, so that it is found by name as well."""
    first, last = compacted.body["first"], compacted.body["last"]
    hidden = [seq for seq in state.items if first <= seq <= last]
    seen = [entry for entry in store.read(state.run, first, last + 1) if entry.kind in {"observed", "effect.receipt"}]
    said = next((entry for entry in seen if entry.kind == "observed" or entry.body["intent"] >= 0), None)
    words = "" if said is None else " ".join(unpack(store, said.body["text"]).split())
    words = words if len(words) <= BEGIN_CHARS else words[:BEGIN_CHARS] + "…"
    name = f"auto-{first}-{last}"
    body = {
        "name": name,
        "version": newest_version(state.handles.get(name, {})) + 1,
        "description": f"{len(hidden)} turns hidden by the runtime" + (f"; begins: {words}" if words else ""),
        "entries": [[first, last]],
        "note": {"text": ""},
    }
    return Draft(kind="handle.made", body=body)


def index_lines(handles: Sequence[Handle]) -> list[str]:
    """Handles as the lines of an index: the part of Memex's summary that is kept by the runtime and not by the agent."""
    return [f"- {each.ref} (entries {ranges_text(each.ranges)}): {each.description}" for each in handles]
