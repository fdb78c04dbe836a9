"""What the tools of working memory do: entries in the journal and nothing else, so one append is both the deed and its receipt.

Content always comes from the journal. A call that does not fit changes nothing and says what would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from overwinter.errors import OverwinterError
from overwinter.journal import Draft, Packer
from overwinter.loop.memory.recall import hit_rows, hits_text, look_up
from overwinter.loop.memory.view import content_text, find_handle, index_lines
from overwinter.loop.session import Session
from overwinter.loop.state import AGENT
from overwinter.memory.unit import AsOf, Hit
from overwinter.memory.working.handles import NAME, Handle, Ranges, newest_version, parse_ref, ranges_text
from overwinter.memory.working.paging import pages
from overwinter.memory.working.selection import HOW, Piece, select
from overwinter.tools.fence import fence

PAGE_SHARE = 0.2
"""Share of the window that one page of a handle may take."""
SUMMARY_SHARE = 0.25
INDEX_SHARE = 0.1
"""Share of the window for the index behind an agent's summary."""
MIN_PAGE_TOKENS = 64
DESCRIPTION_CHARS = 200
HANDLES_PER_PAGE = 20
FOUND_MAX = 20
PINS_MAX = 8
DAY_US = 86_400_000_000


@dataclass(kw_only=True)
class Deed:
    """What a tool of memory brings about.

    Attributes:
        before, after: drafts in front of and behind the receipt, in one append with it.
        data: of the receipt.
    """

    text: str
    before: list[Draft] = field(default_factory=list)
    after: list[Draft] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


def _compress(session: Session, arguments: dict[str, Any], packer: Packer) -> Deed:
    state, window = session.state, session.view.window_tokens
    if len(state.calls) > 1:
        raise ValueError("make compress the last call of your answer: the results of the others would not be seen")
    earlier = [seq for seq in state.items if seq < (state.completion or 0)]
    if not earlier:
        raise ValueError("there is nothing in view that could be compressed; go on, and compress later")
    summary = arguments["summary"].strip()
    size, most = session.parts.model.count_tokens(summary), round(SUMMARY_SHARE * window)
    if not summary or size > most:
        raise ValueError(
            f"the summary has {size} tokens; write 1 to {most}: what holds, what is planned, what comes next"
        )
    handles = _kept(session, arguments["keep"])
    made = [_made_draft(handle, packer) for handle in handles]
    # The call itself and its receipt leave the view too: what they say is the summary.
    last = state.head_seq + len(made) + 1
    text = "\n".join([summary, *_index(session, handles, round(INDEX_SHARE * window))])
    body = {"first": earlier[0], "last": last, "summary": packer.text(text), "by": AGENT}
    hidden = Draft(kind="compacted", body=body, refs=packer.take_refs())
    kept = ", ".join(handle.ref for handle in handles) or "none"
    receipt = f"Compressed {len(earlier)} turns. Handles made: {kept}."
    return Deed(text=receipt, before=made, after=[hidden], data={"compressed": len(earlier)})


def _kept(session: Session, keep: list[dict[str, Any]]) -> list[Handle]:
    """The handles a compress makes, checked all before any is made."""
    state = session.state
    earlier = [seq for seq in state.items if seq < (state.completion or 0)]
    pieces = [Piece(seq=seq, text=session.view.shown_text(state, seq)) for seq in earlier]
    handles: list[Handle] = []
    for row in keep:
        where = f"keep[{len(handles)}]"
        if not {"handle", "description", "selection"} <= row.keys() <= {"handle", "description", "selection", "note"}:
            raise ValueError(f'{where}: give "handle", "description" and "selection", and "note" if you like; {HOW}')
        name, description, note = row["handle"], row["description"], row.get("note", "")
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise ValueError(f"{where}: name the handle with 1 to 64 letters, digits, '_' or '-', not {name!r:.80}")
        if not isinstance(description, str) or not description.strip() or not isinstance(note, str):
            raise ValueError(f"{where}: describe what {name} holds in one line; a note is a text")
        if any(handle.name == name for handle in handles):
            raise ValueError(f"{where}: {name} is named twice; give each its own name")
        try:
            ranges: Ranges = select(row["selection"], pieces, state.head_seq)
        except ValueError as reason:
            raise ValueError(f"{where}: {reason}") from None
        version = newest_version(state.handles.get(name, {})) + 1
        description = " ".join(description.split())[:DESCRIPTION_CHARS]
        seq = state.head_seq + 1 + len(handles)
        handles.append(
            Handle(name=name, version=version, seq=seq, description=description, ranges=ranges, note=note.strip())
        )
    return handles


def _made_draft(handle: Handle, packer: Packer) -> Draft:
    body = {
        "name": handle.name,
        "version": handle.version,
        "description": handle.description,
        "entries": [list(each) for each in handle.ranges],
        "note": packer.text(handle.note),
    }
    return Draft(kind="handle.made", body=body, refs=packer.take_refs())


def _index(session: Session, made: list[Handle], room: int) -> list[str]:
    """The new handles and the newest of the older ones, as many as fit."""
    state = session.state
    named = {handle.name for handle in made}
    older = [ref for ref in reversed(state.recent_handles) if ref.partition("@")[0] not in named]
    lines = index_lines(made) + index_lines([find_handle(session.store, state, ref) for ref in older])
    kept: list[str] = []
    for line in lines:
        room -= session.parts.model.count_tokens(line) + 1
        if room < 0 and len(kept) >= len(made):
            break
        kept.append(line)
    missing = len({*state.handles, *named}) - len(kept)
    more = [f"- {missing} more: list_handles"] if missing > 0 else []
    return ["Handles:", *kept, *more] if kept else []


def _read(session: Session, arguments: dict[str, Any], _: Packer) -> Deed:
    handle = find_handle(session.store, session.state, arguments["handle"])
    limit = max(MIN_PAGE_TOKENS, round(PAGE_SHARE * session.view.window_tokens))
    found = pages(content_text(session.store, session.run, handle), limit, session.parts.model.count_tokens)
    page = arguments["page"]
    if not 1 <= page <= len(found):
        raise ValueError(f"{handle.ref} has pages 1 to {len(found)}")
    head = f"{handle.ref}: {handle.description} (entries {ranges_text(handle.ranges)}), page {page} of {len(found)}."
    note = [f"Your note: {handle.note}"] if handle.note and page == 1 else []
    more = [f"More on page {page + 1}."] if page < len(found) else []
    text = "\n".join([head, *note, fence(found[page - 1].rstrip("\n"), f"handle {handle.ref}"), *more])
    return Deed(text=text, data={"read": handle.ref, "page": page})


def _find(session: Session, arguments: dict[str, Any], _: Packer) -> Deed:
    query, k = arguments["query"], _count(arguments["k"], FOUND_MAX)
    if not query.strip():
        raise ValueError("give words to look for")
    state, finder = session.state, session.finder
    rows = [f"handle {line[2:]}" for line in index_lines(finder.handles(state, query, k))]
    for found in finder.entries(state, query, k):
        where = f" (in {found.handle})" if found.handle else ""
        rows.append(f"entry {found.seq}{where}: {found.excerpt}")
    text = fence("\n".join(rows), f"find {query}") if rows else "Nothing in this run has these words."
    hits, problem = _elsewhere(session, query, k)
    if hits:
        text += f"\nFrom memory:\n{hits_text(hits, session.recaller.namespace)}"  # type: ignore[union-attr]
    return Deed(text=text + problem, data={"recalled": hit_rows(hits)} if hits else {})


def _elsewhere(session: Session, query: str, k: int) -> tuple[list[Hit], str]:
    """What the namespace knows beside this run."""
    if session.recaller is None:
        return [], ""
    try:
        hits = look_up(session, query, k=k, budget_tokens=_budget(session))
    except OverwinterError as error:
        return [], f"\nMemory beyond this run could not be asked: {error}"
    return [hit for hit in hits if hit.unit.run != session.owner_of(hit.unit.seq)], ""


def _list_handles(session: Session, arguments: dict[str, Any], _: Packer) -> Deed:
    state, prefix, page = session.state, arguments["prefix"], arguments["page"]
    names = sorted(
        (name for name in state.handles if name.startswith(prefix)), key=lambda name: -max(state.handles[name].values())
    )
    last = max(1, -(-len(names) // HANDLES_PER_PAGE))
    if not 1 <= page <= last:
        raise ValueError(f"the list has pages 1 to {last}")
    shown = names[(page - 1) * HANDLES_PER_PAGE : page * HANDLES_PER_PAGE]
    lines = index_lines([find_handle(session.store, state, name) for name in shown])
    head = f"{len(names)} handles, page {page} of {last}, newest first."
    return Deed(text="\n".join([head, fence("\n".join(lines), "handles")]) if lines else "There are no such handles.")


def _pin(session: Session, arguments: dict[str, Any], _: Packer) -> Deed:
    state = session.state
    handle = find_handle(session.store, state, arguments["handle"])
    if handle.ref in state.pinned:
        raise ValueError(f"{handle.ref} is pinned already")
    if len(state.pinned) >= PINS_MAX:
        raise ValueError(f"{PINS_MAX} handles are pinned ({', '.join(state.pinned)}); unpin one first")
    return Deed(text=f"{handle.ref} stays in view.", before=[_pinned_draft(handle.ref, pinned=True)])


def _unpin(session: Session, arguments: dict[str, Any], _: Packer) -> Deed:
    name, version = parse_ref(arguments["handle"])
    pinned = session.state.pinned
    found = [ref for ref in pinned if ref == f"{name}@{version}" or (version is None and ref.partition("@")[0] == name)]
    if not found:
        raise ValueError(f"{arguments['handle']} is not pinned; pinned are: {', '.join(pinned) or 'none'}")
    drafts = [_pinned_draft(ref, pinned=False) for ref in found]
    return Deed(text=f"{', '.join(found)} no longer stays in view; it can still be read.", before=drafts)


def _pinned_draft(ref: str, *, pinned: bool) -> Draft:
    return Draft(kind="handle.pinned", body={"name": ref, "pinned": pinned})


def _recall(session: Session, arguments: dict[str, Any], _: Packer) -> Deed:
    if session.recaller is None:
        raise ValueError("this run has no long-term memory; use find")
    query, k = arguments["query"], _count(arguments["k"], FOUND_MAX)
    if not query.strip():
        raise ValueError("say what you want to know")
    at = as_of(arguments["as_of"]) if arguments["as_of"] else None
    try:
        hits = look_up(session, query, k=k, at=at, budget_tokens=_budget(session), in_view=True)
    except OverwinterError as error:
        raise ValueError(f"memory could not be asked: {error}") from None
    if not hits:
        return Deed(text="Memory knows nothing of it.", data={"recalled": []})
    return Deed(text=hits_text(hits, session.recaller.namespace), data={"recalled": hit_rows(hits)})


def as_of(day: str) -> AsOf:
    """The end of a day, UTC, on both axes: what held then, by what had been told by then. Raises ValueError."""
    try:
        start = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{day!r} is no date; write YYYY-MM-DD") from None
    end_us = round(start.timestamp()) * 1_000_000 + DAY_US
    return AsOf(valid_us=end_us, known_us=end_us)


def _count(k: int, most: int) -> int:
    if not 1 <= k <= most:
        raise ValueError(f"k is 1 to {most}")
    return k


def _budget(session: Session) -> int:
    return max(MIN_PAGE_TOKENS, round(PAGE_SHARE * session.view.window_tokens))


MEMORY_DEEDS: Mapping[str, Callable[[Session, dict[str, Any], Packer], Deed]] = {
    "compress": _compress,
    "read": _read,
    "find": _find,
    "list_handles": _list_handles,
    "pin": _pin,
    "unpin": _unpin,
    "recall": _recall,
}
