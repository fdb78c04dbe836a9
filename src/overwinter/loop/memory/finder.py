"""Finding in what a run has lived through: an index of its entries and handles in this process, brought up to date as needed."""

from __future__ import annotations

from dataclasses import dataclass

from overwinter.journal import Entry, Store
from overwinter.loop.memory.view import entry_text, find_handle
from overwinter.loop.state import RunState, is_visible
from overwinter.memory.working import MEMORY_TOOLS
from overwinter.memory.working.handles import Handle, lookup, read_handle
from overwinter.memory.working.text_index import TextIndex, words_of

EXCERPT_CHARS = 240


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundEntry:
    """An entry that is not in view, the words in it that fit, and the newest handle that keeps it ("" if none)."""

    seq: int
    excerpt: str
    handle: str


class Finder:
    """Words of one run. Memory's own talk (summaries, what was read back) is left out: it is a copy."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = -1
        self._entries, self._handles = TextIndex(), TextIndex()
        self._memory_calls: set[str] = set()
        self._made: list[Handle] = []

    def handles(self, state: RunState, query: str, k: int) -> list[Handle]:
        """Handles whose name, description or note has words of the query."""
        self._catch_up(state)
        newest = {lookup(state.handles, name) for name in state.handles}
        found = [seq for seq, _ in self._handles.search(query, 4 * k) if seq in newest]
        return [find_handle(self._store, state, self._ref(seq)) for seq in found[:k]]

    def entries(self, state: RunState, query: str, k: int) -> list[FoundEntry]:
        """Entries that are not in view."""
        self._catch_up(state)
        shown = {*state.items, state.observed_at}
        found = [seq for seq, _ in self._entries.search(query, k + len(shown)) if seq not in shown]
        return [self._found(state, seq, query) for seq in found[:k]]

    def handle_of(self, state: RunState, seq: int) -> str:
        """The newest handle that keeps an entry; "" if none does."""
        self._catch_up(state)
        return next((handle.ref for handle in reversed(self._made) if handle.covers(seq)), "")

    def _ref(self, seq: int) -> str:
        return next(handle.ref for handle in self._made if handle.seq == seq)

    def _found(self, state: RunState, seq: int, query: str) -> FoundEntry:
        entry = next(self._store.read(state.run, seq, seq + 1))
        return FoundEntry(
            seq=seq, excerpt=excerpt(entry_text(self._store, entry), query), handle=self.handle_of(state, seq)
        )

    def _catch_up(self, state: RunState) -> None:
        if self._seen < state.head_seq:
            for entry in self._store.read(state.run, self._seen + 1, state.head_seq + 1):
                self._take(entry)
            self._seen = state.head_seq

    def _take(self, entry: Entry) -> None:
        body = entry.body
        if entry.kind == "handle.made":
            handle = read_handle(self._store, entry)
            self._made.append(handle)
            self._handles.add(entry.seq, f"{handle.name.replace('_', ' ')} {handle.description} {handle.note}")
        elif entry.kind == "sample.completion":
            calls = {call["id"] for call in body["calls"] if call["tool"] in MEMORY_TOOLS}
            self._memory_calls = calls
            if calls:
                return
        elif entry.kind == "effect.receipt" and body["call_id"] in self._memory_calls:
            return
        if is_visible(entry) and entry.kind != "recalled":
            self._entries.add(entry.seq, entry_text(self._store, entry))


def excerpt(text: str, query: str, chars: int = EXCERPT_CHARS) -> str:
    """The stretch of a text that has most of the query's words, in one line."""
    flat = " ".join(text.split())
    if len(flat) <= chars:
        return flat
    wanted = set(words_of(query))
    step = chars // 4
    starts = range(0, len(flat) - chars + step, step)
    best = max(starts, key=lambda start: (len(wanted & set(words_of(flat[start : start + chars]))), -start))
    return ("…" if best else "") + flat[best : best + chars] + ("…" if best + chars < len(flat) else "")
