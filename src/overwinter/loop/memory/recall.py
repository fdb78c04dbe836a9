"""Recall before a step: what the namespace's memory knows of the goal and the last observation, and its core blocks.

What is brought into the view is first written down, so that the view is the journal's and not the index's. A look-up that finds
nothing, or nothing that is not in view already, writes nothing: no memory is better than a wrong one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from overwinter.errors import OverwinterError
from overwinter.journal import Draft, Entry, Packer, unpack
from overwinter.loop.memory.recaller import CoreBlock
from overwinter.loop.memory.view import entry_text
from overwinter.loop.session import Session
from overwinter.loop.state import CORE
from overwinter.memory.unit import OWN, AsOf, Hit, rough_tokens
from overwinter.tools.fence import fence

GOAL_CHARS, OBSERVATION_CHARS = 200, 600
HIT_CHARS = 1200
WINDOW_SHARE = 0.1
"""Share of the window that one look-up before a step may take."""
BEFORE_STEP = "step"
"""Who a `recalled` entry is by that the loop made before a step."""


def before_step(session: Session) -> Iterator[Entry]:
    """Core blocks that changed, and a look-up where something new was seen. Writes `recalled` entries."""
    memory = session.parts.memory
    if memory is None or not (memory.core or memory.recall.auto):
        return
    try:
        known = session.recaller is not None
        drafts, packer = _core(session) if memory.core and known else ([], Packer())
        if memory.recall.auto and known and session.state.recall_due is not None:
            drafts += _look_up(session, packer, session.state.recall_due)
    except OverwinterError as error:
        # A run of weeks must not end because an index is being rebuilt; the tool `recall` says what is wrong.
        if session.memory_problem != str(error):
            logging.getLogger("overwinter").warning("memory was not asked before this step: %s", error)
        session.memory_problem = str(error)
        return
    if drafts:
        yield from session.append(drafts, packer)


def look_up(
    session: Session, query: str, *, k: int, at: AsOf | None = None, budget_tokens: int = 0, in_view: bool = False
) -> list[Hit]:
    """What memory answers, without what the view shows already (unless `in_view`), as much as fits the budget."""
    assert session.recaller is not None
    # More than is wanted: some of it may be in view.
    hits = session.recaller.search(query, k=k if in_view else 3 * k, at=at, session=session.run)
    return fitting([hit for hit in hits if in_view or not is_shown(session, hit)][:k], budget_tokens)


def fitting(hits: Sequence[Hit], budget_tokens: int) -> list[Hit]:
    """The best hits that fit; at least one, however long."""
    kept: list[Hit] = []
    for hit in hits:
        budget_tokens -= rough_tokens(hit.unit.text[:HIT_CHARS])
        if kept and budget_tokens < 0:
            break
        kept.append(hit)
    return kept


def is_shown(session: Session, hit: Hit) -> bool:
    """Whether the view holds a unit: brought by memory before, or as an entry of this run."""
    state = session.state
    if any(hit.unit.id in units for units in state.recalled.values()):
        return True
    # The goal (entry 0) is in every view.
    shown = hit.unit.seq in state.items or hit.unit.seq in (0, state.observed_at)
    return shown and hit.unit.run == session.owner_of(hit.unit.seq)


def hit_rows(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Hits as the journal keeps them: what was found, where it was said, by whom and when, and by what it was found."""
    return [
        {
            "unit": hit.unit.id,
            "cite": hit.unit.cite,
            "score": round(hit.score, 6),
            "relevance": None if hit.relevance is None else round(hit.relevance, 6),
            "channels": {name: round(value, 6) for name, value in hit.channels.items()},
            "actor": hit.unit.actor,
            "trust": hit.unit.trust,
            "told_us": hit.unit.told_us,
            "happened_us": hit.unit.happened_us,
        }
        for hit in hits
    ]


def hits_text(hits: Sequence[Hit], namespace: str) -> str:
    """Hits as the model is shown them: in order of time, each with its provenance, fenced as data."""
    ordered = sorted(hits, key=lambda hit: (hit.unit.told_us, hit.unit.run, hit.unit.seq, hit.unit.first))
    return fence("\n".join(map(_line, ordered)), f"memory {namespace}")


def _line(hit: Hit) -> str:
    unit = hit.unit
    happened, told = day_text(unit.happened_us), day_text(unit.told_us)
    when = f"told {told}" if happened == told else f"of {happened}, told {told}"
    sure = "" if hit.relevance is None else f", relevance {hit.relevance:.2f}"
    text = " ".join(unit.text.split())
    return f"- [{unit.cite}] {when}, {unit.actor} ({unit.trust}){sure}: {text[:HIT_CHARS]}{'…' if len(text) > HIT_CHARS else ''}"


def day_text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d")


def _look_up(session: Session, packer: Packer, about: int) -> list[Draft]:
    memory = session.parts.memory
    assert memory is not None
    settings = memory.recall
    query = _query(session, about)
    # Where the window is small, memory's part of it is small too.
    budget = min(settings.budget_tokens, round(WINDOW_SHARE * session.view.window_tokens))
    hits = look_up(session, query, k=settings.k, budget_tokens=budget)
    hits = [hit for hit in hits if hit.relevance is None or hit.relevance >= settings.min_relevance]
    # What the agent called, and what it said to itself in this run, says little of the world; what came back says it.
    hits = [hit for hit in hits if hit.unit.kind != "tool_call" and not _is_own(session, hit)]
    if not hits:
        return []
    assert session.recaller is not None
    text = hits_text(hits, session.recaller.namespace)
    body = {"query": query, "hits": hit_rows(hits), "text": packer.text(text), "by": BEFORE_STEP}
    return [Draft(kind="recalled", body=body, refs=packer.take_refs())]


def _is_own(session: Session, hit: Hit) -> bool:
    return hit.unit.trust == OWN and hit.unit.run == session.owner_of(hit.unit.seq)


def _query(session: Session, about: int) -> str:
    """The last observation; the goal where there is none yet, or where the settings want it with every question."""
    memory = session.parts.memory
    assert memory is not None
    entry = next(session.store.read(session.run, about, about + 1))
    if entry.kind in {"observed", "effect.receipt"}:
        seen = unpack(session.store, entry.body["text"])
    else:
        seen = "" if entry.kind == "run.started" else entry_text(session.store, entry).partition(": ")[2]
    parts = [" ".join(seen.split())[:OBSERVATION_CHARS]]
    if memory.recall.with_goal or not parts[0]:
        # The same words in every question would find the same items every time, so a long run leaves them out.
        parts.insert(0, session.state.goal[:GOAL_CHARS])
    return "\n".join(part for part in parts if part)


def _core(session: Session) -> tuple[list[Draft], Packer]:
    """A `recalled` entry where the core blocks are no longer those in view."""
    assert session.recaller is not None
    packer = Packer()
    blocks = session.recaller.core()
    rows = [{"unit": f"core:{block.name}", "cite": block.cite, "score": 1.0} for block in blocks]
    before: list[dict[str, Any]] = []
    if session.state.core is not None:
        before = next(session.store.read(session.run, session.state.core, session.state.core + 1)).body["hits"]
    if [(row["unit"], row["cite"]) for row in rows] == [(row["unit"], row["cite"]) for row in before]:
        return [], packer
    body = {"query": "", "hits": rows, "text": packer.text(_core_text(blocks)), "by": CORE}
    return [Draft(kind="recalled", body=body, refs=packer.take_refs())], packer


def _core_text(blocks: Sequence[CoreBlock]) -> str:
    return "\n".join(f"{block.name} [{block.cite}]: {block.text}" for block in blocks)
