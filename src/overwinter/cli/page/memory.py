"""Memory on the page: what was recalled at each step and from where, the handles that were made, and what is pinned."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from overwinter.amounts import count_text
from overwinter.cli.live import payload_text
from overwinter.cli.output import one_line, visible
from overwinter.cli.page.charts import Chart
from overwinter.cli.page.digest import Digest
from overwinter.journal import Entry, Store

CARDS = 6
HANDLES = 12
BY = {"step": "before a step", "core": "core, always in view"}


def memory_section(store: Store, digest: Digest) -> str:
    """The section, "" for a run without memory."""
    if not digest.recalls and not digest.handles and not digest.window:
        return ""
    return (
        f'<section><h2>Memory</h2><p class="meta">{_summary(digest)}</p>'
        f"{_recalls(store, digest)}{_handles(store, digest)}</section>"
    )


def context_chart(digest: Digest) -> Iterator[Chart]:
    """How much of the window was in use, where the run had working memory."""
    if digest.context.points:
        yield Chart(
            title="Working context",
            now=f"{count_text(int(digest.context.last))} of {count_text(digest.window)} tokens",
            points=digest.context.points,
            last_seq=max(1, digest.state.head_seq),
            top=max(digest.window, digest.context.top),
            top_words=count_text(digest.window),
            limit=digest.window,
            marks=digest.resumed,
            style="c",
        )


def _summary(digest: Digest) -> str:
    memory = digest.state.setup.get("memory", {})
    parts = [f"Namespace <code>{_text(memory.get('namespace', 'default'))}</code>"]
    if digest.window:
        parts.append(f"{count_text(int(digest.context.top))} of {count_text(digest.window)} tokens in view at most")
    hidden = digest.counts["compacted"]
    if hidden:
        parts.append(f"compressed {hidden:,} times, {digest.compressed_by_agent:,} of them by the agent")
    if digest.repeated:
        parts.append(f"{digest.repeated:,} repeated calls answered from the journal")
    return " · ".join(parts)


def _recalls(store: Store, digest: Digest) -> str:
    if not digest.recalls:
        return '<p class="note">Nothing was recalled from beyond the run.</p>' if not digest.handles else ""
    shown = {entry.seq for entry in digest.rows}
    cards = [_recall(store, entry, shown) for entry in reversed(digest.recalls)]
    rest = ""
    if len(cards) > CARDS:
        more = f'<ul class="gates">{"".join(cards[CARDS:])}</ul>'
        rest = f'<details class="more"><summary>{len(cards) - CARDS:,} earlier</summary>{more}</details>'
    unseen = digest.recalled - len(cards)
    if unseen:
        rest += f'<p class="note">{unseen:,} older ones: <code>overwinter log {_text(digest.info.run)} --kind recalled</code></p>'
    return f'<h3>Recalled</h3><ul class="gates">{"".join(cards[:CARDS])}</ul>{rest}'


def _recall(store: Store, entry: Entry, shown: set[int]) -> str:
    body = entry.body
    hits: Sequence[dict[str, Any]] = body["hits"] if entry.kind == "recalled" else body["data"]["recalled"]
    how = BY.get(body.get("by", ""), "asked for by the agent")
    query = one_line(body.get("query", ""), 160)
    about = f'<div class="evidence">for “{_text(query)}”</div>' if query else ""
    rows = "".join(f"<li>{_hit(hit)}</li>" for hit in hits)
    text = payload_text(store, body["text"])
    return (
        f"<li><div>{_link(entry.seq, shown)} · {how}</div>{about}"
        f'<ul class="hits">{rows}</ul><details><summary>as it was shown</summary><pre>{_text(text[:4000])}</pre></details></li>'
    )


def _hit(hit: dict[str, Any]) -> str:
    """Where it is from, who said it and when, and by what it was found."""
    told = f", told {_day(hit['told_us'])}" if "told_us" in hit else ""
    who = f"{_text(hit['actor'])} ({_text(hit['trust'])})" if "actor" in hit else ""
    sure = f"relevance {hit['relevance']:.2f}" if hit.get("relevance") is not None else ""
    by = ", ".join(f"{_text(name)} {value:.2f}" for name, value in sorted(hit.get("channels", {}).items()))
    score = f"score {hit['score']:.2f}" + (f" ({by})" if by else "") if "told_us" in hit else ""
    said = " · ".join(part for part in (who, sure, score) if part)
    return f'<code>{_text(hit["cite"])}</code>{told}<div class="evidence">{said}</div>'


def _handles(store: Store, digest: Digest) -> str:
    if not digest.handles:
        return ""
    shown = {entry.seq for entry in digest.rows}
    rows = [_handle(store, entry, digest, shown) for entry in reversed(digest.handles)]
    rest = ""
    if len(rows) > HANDLES:
        more = f'<ul class="handles">{"".join(rows[HANDLES:])}</ul>'
        rest = f'<details class="more"><summary>{len(rows) - HANDLES:,} earlier</summary>{more}</details>'
    unseen = digest.counts["handle.made"] - len(rows)
    if unseen:
        command = f"overwinter log {_text(digest.info.run)} --kind handle.made"
        rest += f'<p class="note">{unseen:,} older ones: <code>{command}</code></p>'
    return f'<h3>Handles</h3><ul class="handles">{"".join(rows[:HANDLES])}</ul>{rest}'


def _handle(store: Store, entry: Entry, digest: Digest, shown: set[int]) -> str:
    body = entry.body
    ref = f"{body['name']}@{body['version']}"
    pinned = ' <span class="badge met">pinned</span>' if ref in digest.state.pinned else ""
    ranges = ", ".join(f"{first}–{last}" if first != last else f"{first}" for first, last in body["entries"])
    words = payload_text(store, body["note"])
    note = f" Note: {_text(one_line(words, 200))}" if words else ""
    return (
        f"<li><div><code>{_text(ref)}</code>{pinned} {_text(body['description'])}</div>"
        f'<div class="evidence">entries {ranges}, made at {_link(entry.seq, shown)}.{note}</div></li>'
    )


def _link(seq: int, shown: set[int]) -> str:
    return f'<a href="#e{seq}">entry {seq}</a>' if seq in shown else f"entry {seq}"


def _text(text: Any) -> str:
    return escape(visible(str(text)))


def _day(time_us: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time_us / 1e6))
