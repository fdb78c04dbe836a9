"""The page's HTML. Every text from the journal goes through `escape`: tool output is hostile until shown otherwise."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from typing import Any

import overwinter
from overwinter.amounts import amount_text, count_text, duration_text
from overwinter.cli.live import call_text, describe_safely, payload_text
from overwinter.cli.output import one_line, visible
from overwinter.cli.page.charts import Chart
from overwinter.cli.page.digest import Digest, Question
from overwinter.cli.page.memory import context_chart, memory_section
from overwinter.cli.pauses import status_words, wait_text
from overwinter.journal import Entry, Store

DETAIL_CHARS = 1600
ROW_CHARS = 300
CARDS = 9
NEAR_CAP = 0.2
SAFE_CSS_STATUS = frozenset({"verified", "running", "failed", "unverified", "cancelled"})

GROUPS: tuple[tuple[str, str, bool, frozenset[str]], ...] = (
    (
        "decided",
        "Decisions",
        True,
        frozenset({"sample.completion", "sample.failed", "branch.committed", "commitment.opened", "commitment.closed"}),
    ),
    ("results", "Results", True, frozenset({"effect.receipt", "observed"})),
    ("gates", "Gates", True, frozenset({"gate.decision", "approval.answered", "effect.in_doubt", "doubt.answered"})),
    (
        "pauses",
        "Pauses",
        True,
        frozenset(
            {
                "run.started",
                "run.forked",
                "run.suspended",
                "run.resumed",
                "sleep.started",
                "sleep.ended",
                "event.received",
                "stall.noticed",
                "budget.changed",
            }
        ),
    ),
    (
        "memory",
        "Memory",
        True,
        frozenset({"recalled", "handle.made", "handle.pinned", "core.changed", "noted", "compacted"}),
    ),
    ("verdict", "Verdict", True, frozenset({"done.claimed", "verdict", "run.ended"})),
    (
        "books",
        "Bookkeeping",
        False,
        frozenset(
            {
                "sample.intent",
                "effect.intent",
                "world.saved",
                "blobs.collected",
                "policy.set",
                "grant.changed",
                "entries.erased",
            }
        ),
    ),
)
"""Filters: (class, name, shown at first, kinds)."""
GROUP_OF = {kind: group for group, _, _, kinds in GROUPS for kind in kinds}


def render_page(store: Store, digest: Digest) -> str:
    """The whole page."""
    css = (files("overwinter.cli.page") / "page.css").read_text("utf-8")
    filters = "".join(
        f".page:has(#show-{group}:not(:checked)) .row.{group}:not(:target){{display:none}}" for group, *_ in GROUPS
    )
    title = visible(digest.info.title or digest.info.run)
    body = "".join(
        (
            _header(digest, title),
            _damage(digest),
            _tiles(digest),
            _goal(digest),
            _charts(digest),
            _questions(digest),
            memory_section(store, digest),
            _timeline(store, digest),
            _footer(digest),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)} · overwinter</title><style>{css}{filters}</style></head>"
        f'<body><main class="page">{body}</main></body></html>\n'
    )


def _header(digest: Digest, title: str) -> str:
    now = digest.standing
    look = now if now in SAFE_CSS_STATUS else "waiting"
    waits = f'<p class="waits">{_text(wait_text(digest.state))}</p>' if digest.state.waiting else ""
    parent = ""
    if digest.info.parent is not None:
        parent = f" · continues {_text(digest.info.parent)} after entry {digest.info.fork_seq}"
    return (
        f'<header><div class="brand">overwinter</div><h1>{escape(title)}</h1>'
        f'<p class="meta"><span class="badge {look}">{_text(status_words(now))}</span> run '
        f"<code>{_text(digest.info.run)}</code>{parent} · {_text(_model(digest))} · {_day(digest.first_us)}</p>{waits}</header>"
    )


def _damage(digest: Digest) -> str:
    if not digest.damage:
        return ""
    after = digest.state.head_seq
    return (
        f'<p class="damage"><b>The journal is damaged after entry {after}.</b> {_text(digest.damage)} '
        f"See <code>overwinter log {_text(digest.info.run)} --verify</code>.</p>"
    )


def _tiles(digest: Digest) -> str:
    tiles = [("steps", count_text(digest.state.step)), ("entries", count_text(digest.state.head_seq + 1))]
    tiles += [
        (_tile_name(resource), amount_text(resource, int(curve.last)).removesuffix(" calls").removesuffix(" tokens"))
        for resource, curve in digest.spent.items()
        if curve.last
    ]
    asked = sum(question.answer is not None for question in digest.questions)
    if asked:
        tiles.append(("answered by people", str(asked)))
    if digest.processes > 1:
        tiles.append(("times resumed", str(digest.processes - 1)))
    if digest.score.points:
        tiles.append(("world score", f"{digest.score.last:.1f}"))
    cells = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in tiles)
    return f'<section class="tiles">{cells}</section>'


def _tile_name(resource: str) -> str:
    return {"tool_calls": "tool calls", "wall_ms": "working time", "micro_usd": "spent"}.get(resource, resource)


def _goal(digest: Digest) -> str:
    findings = {row["id"]: row for row in (digest.verdict.body["findings"] if digest.verdict is not None else ())}
    shown = {entry.seq for entry in digest.rows}
    goal = digest.state.goal
    rows = "".join(_criterion(row, findings.get(row["id"]), shown, goal) for row in digest.state.acceptance)
    judged = ""
    if digest.verdict is not None:
        seq = digest.verdict.seq
        judged = f'<p class="note">Verdict at {_link(seq, shown)}, by {_text(digest.verdict.body["checker"])}: not by the actor.</p>'
    elif not digest.state.acceptance:
        judged = '<p class="note">No acceptance list was given, so nobody can verify the result.</p>'
    facts = ""
    if digest.outcome is not None and digest.outcome.body["outcome"]["facts"]:
        data = json.dumps(digest.outcome.body["outcome"]["facts"], indent=1, ensure_ascii=False)
        facts = f"<details><summary>What the world's own books say</summary><pre>{_text(data[:6000])}</pre></details>"
    return f'<section><h2>Goal</h2><p class="goal">{_text(goal)}</p><ul class="criteria">{rows}</ul>{judged}{facts}</section>'


def _criterion(row: dict[str, Any], finding: dict[str, Any] | None, shown: set[int], goal: str) -> str:
    met: bool | None = None if finding is None else finding["met"]
    looks: dict[bool | None, tuple[str, str]] = {True: ("met", "met"), False: ("unmet", "not met")}
    look, word = looks.get(met, ("open", "not checked"))
    if finding is None:
        word = "open"
    text = f"The goal itself, checked by: {row['check']['kind']}" if row["text"] == goal else row["text"]
    evidence = ""
    if finding is not None:
        links = ", ".join(_link(seq, shown) for seq in finding["entries"])
        evidence = f'<div class="evidence">{_text(finding["note"])}{" — evidence: " + links if links else ""}</div>'
    return f'<li><span class="badge {look}">{word}</span><div>{_text(text)}{evidence}</div></li>'


def _charts(digest: Digest) -> str:
    charts = [chart.html() for chart in _curves(digest)]
    if not charts:
        return ""
    resumed = '<p class="note">Dashed upright lines: a new process took over (after a kill, an approval, a pause).</p>'
    note = resumed if digest.resumed else ""
    return f'<section><h2>Curves</h2><div class="charts">{"".join(charts)}</div>{note}</section>'


def _curves(digest: Digest) -> Iterator[Chart]:
    last = max(1, digest.state.head_seq)
    for resource, curve in digest.spent.items():
        cap = digest.caps.get(resource)
        if not curve.last:
            continue
        # A cap far away would press the curve flat; the caption names it all the same.
        near = cap is not None and curve.last > NEAR_CAP * cap
        top = max(curve.last, cap or 0) if near else curve.last
        yield Chart(
            title=f"Budget: {_tile_name(resource)}",
            now=amount_text(resource, int(curve.last)) + ("" if cap is None else f" of {amount_text(resource, cap)}"),
            points=curve.points,
            last_seq=last,
            top=top,
            top_words=amount_text(resource, int(top)),
            limit=cap if near else None,
            marks=digest.resumed,
            step=True,
        )
    shares = (
        (digest.confidence, "Confidence of answers", "1", f"{digest.confidence.last:.2f} at the end (not calibrated)"),
        (digest.chance, "Chance of success, as the model states it", "100 %", f"{digest.chance.last:.0%} at the end"),
    )
    for curve, title, top_words, now in shares:
        if curve.points:
            yield Chart(
                title=title,
                now=now,
                points=curve.points,
                last_seq=last,
                top=1.0,
                top_words=top_words,
                marks=digest.resumed,
                style="b",
            )
    yield from context_chart(digest)
    if digest.score.points:
        low = min(0.0, digest.score.bottom)
        yield Chart(
            title="World score, if it ended here",
            now=f"{digest.score.last:.1f}",
            points=digest.score.points,
            last_seq=last,
            top=max(digest.score.top, low + 1),
            bottom=low,
            top_words=f"{max(digest.score.top, low + 1):.0f}",
            marks=digest.resumed,
            style="c",
        )


def _questions(digest: Digest) -> str:
    if not digest.questions:
        return ""
    shown = {entry.seq for entry in digest.rows}
    # The newest first: if one is open, it is that.
    cards = [_question(question, shown) for question in reversed(digest.questions)]
    rest = ""
    if len(cards) > CARDS:
        more = f'<ul class="gates">{"".join(cards[CARDS:])}</ul>'
        rest = f'<details class="more"><summary>{len(cards) - CARDS} earlier</summary>{more}</details>'
    unseen = digest.counts["gate.decision"] + digest.counts["effect.in_doubt"] - len(cards)
    if unseen:
        command = f"overwinter log {_text(digest.info.run)} --kind gate.decision"
        rest += f'<p class="note">{unseen:,} older ones are not on this page: <code>{command}</code></p>'
    return f'<section><h2>Gates and approvals</h2><ul class="gates">{"".join(cards[:CARDS])}</ul>{rest}</section>'


def _question(question: Question, shown: set[int]) -> str:
    body, answer = question.asked.body, question.answer
    if question.asked.kind == "gate.decision":
        what = f"<b>{_text(one_line(call_text(body['call']['tool'], body['call']['arguments']), 200))}</b> · {_text(body['effect'])}"
        why = f"rule {_text(body['rule'])}"
    else:
        what, why = f"<b>{_text(one_line(body['detail'], 200))}</b>", "in doubt after a crash"
    if answer is not None:
        yes = answer.body.get("decision") == "approve" or answer.body.get("happened") is True
        word = _text(answer.body.get("decision") or ("took place" if yes else "did not take place"))
        reason = f" “{_text(answer.body['reason'])}”" if answer.body["reason"] else ""
        look = "met" if yes else "unmet"
        who = f"by {_text(answer.body['by'])}{reason} ({_link(answer.seq, shown)})"
        said = f'<span class="badge {look}">{word}</span> {who}'
    elif body.get("decision") == "deny":
        said = '<span class="badge unmet">refused by the rule</span>'
    else:
        said = '<span class="badge open">open</span>'
    return f'<li><div>{what}</div><div class="evidence">{_link(question.asked.seq, shown)} · {why}</div><div>{said}</div></li>'


def _timeline(store: Store, digest: Digest) -> str:
    boxes = []
    for group, name, at_first, kinds in GROUPS:
        number = sum(digest.counts[kind] for kind in kinds)
        checked = " checked" if at_first else ""
        boxes.append(
            f'<label><input type="checkbox" id="show-{group}"{checked}><span>{name} <i>{count_text(number)}</i></span></label>'
        )
    rows: list[str] = []
    before = -1
    for entry in digest.rows:
        if entry.seq != before + 1:
            missing = entry.seq - before - 1
            rows.append(
                f'<li class="gap">{missing:,} entries not shown here: '
                f"<code>overwinter log {_text(digest.info.run)} --from {before + 1}</code></li>"
            )
        rows.append(_row(store, digest, entry))
        before = entry.seq
    return (
        f'<section><h2>Timeline</h2><div class="filters">{"".join(boxes)}</div>'
        f'<ol class="timeline">{"".join(rows)}</ol></section>'
    )


def _row(store: Store, digest: Digest, entry: Entry) -> str:
    group = GROUP_OF.get(entry.kind, "books")
    since = f"+{duration_text(max(0, entry.time_us - digest.first_us) / 1e6)}"
    text = _text(one_line(describe_safely(store, entry), ROW_CHARS))
    detail = _detail(store, entry)
    inner = (
        f"<details><summary>{text}</summary><pre>{_text(detail)}</pre></details>" if detail else f"<div>{text}</div>"
    )
    failed = " bad" if entry.body.get("ok") is False or entry.kind in {"stall.noticed", "sample.failed"} else ""
    return (
        f'<li id="e{entry.seq}" class="row {group}{failed}"><a href="#e{entry.seq}">{entry.seq}</a>'
        f'<span class="kind">{escape(entry.kind)}</span><time>{since}</time>{inner}</li>'
    )


def _detail(store: Store, entry: Entry) -> str:
    """What unfolds under a row: whole texts, up to a limit."""
    parts = []
    for name in ("reasoning", "text", "summary"):
        payload = entry.body.get(name)
        if isinstance(payload, dict):
            parts.append(payload_text(store, payload))
    if entry.kind in {"gate.decision", "verdict", "run.started"}:
        parts.append(json.dumps(entry.body, indent=1, ensure_ascii=False))
    text = "\n\n".join(part for part in parts if part)
    if len(text) > DETAIL_CHARS:
        text = f"{text[:DETAIL_CHARS]}\n… {len(text) - DETAIL_CHARS:,} more characters in the journal"
    # A short text is in the row already.
    return text if len(text) > 100 or "\n" in text else ""


def _footer(digest: Digest) -> str:
    run = _text(digest.info.run)
    return (
        f"<footer><p>Head hash <code>{_text(digest.state.head_hash)}</code></p>"
        f"<p>This page is a copy. The journal can be checked: <code>overwinter log {run} --verify</code>. "
        f"overwinter {_text(overwinter.__version__)}.</p></footer>"
    )


def _model(digest: Digest) -> str:
    model = digest.state.setup.get("model", {})
    kind = model.get("kind", "from code")
    if kind == "policy":
        return f"played by the scripted heuristic “{model.get('policy')}”"
    return f"model {model.get('model') or kind}"


def _link(seq: int, shown: set[int]) -> str:
    return f'<a href="#e{seq}">entry {seq}</a>' if seq in shown else f"entry {seq}"


def _text(text: Any) -> str:
    return escape(visible(str(text)))


def _day(time_us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_us / 1e6))
