"""Why did it do that? Every entry names the entries it follows from; `why` walks them back to what the model was shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from overwinter.errors import UsageError
from overwinter.journal import ERASED, Entry, Store, unpack
from overwinter.journal.tombstone import kind_of
from overwinter.loop.memory.recall import day_text
from overwinter.loop.session import load_state
from overwinter.loop.state import is_visible
from overwinter.loop.view import render
from overwinter.memory.working.handles import ranges_text

_CAUSES: dict[str, tuple[tuple[str, str], ...]] = {
    "sample.completion": (("intent", "was asked for by"),),
    "sample.failed": (("intent", "was asked for by"),),
    "gate.decision": (("completion", "is about a call of"),),
    "approval.answered": (("gate", "answers"),),
    "effect.intent": (("completion", "carries out a call of"),),
    "effect.receipt": (("intent", "is the result of"),),
    "effect.in_doubt": (("intent", "cannot tell the outcome of"),),
    "doubt.answered": (("doubt", "answers"),),
    "commitment.closed": (("opened", "closes"),),
    "sleep.ended": (("started", "ends"),),
    "done.claimed": (("completion", "was claimed by"),),
    "verdict": (("claim", "judges"),),
    "run.ended": (("verdict", "follows from"),),
    "run.suspended": (("waits_for", "waits for"),),
    "search.ended": (("began", "ends"),),
}
SHOWN_MAX = 8
_FENCE = re.compile(r'</?data .*fence="\w+">$')


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One step back: `entry` because of it, in the relation `how` to the entry explained before it."""

    entry: Entry
    how: str
    text: str
    depth: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why an entry is there.

    Attributes:
        entry: the entry explained.
        reasons: its causes, nearest first, down to the model's question.
        shown: the latest entries that the model saw when it decided, newest first.
        shown_ranges, hidden: all that was shown, as closed ranges, and how many entries were not.
        searches: the search.ended entries among `entry` and its reasons: votes and branches of a decision that was searched for.
        recalled: what memory had brought into that view, newest first: core blocks and items from other runs and times.
    """

    entry: Entry
    reasons: tuple[Reason, ...]
    shown: tuple[Reason, ...]
    shown_ranges: tuple[tuple[int, int], ...]
    hidden: int
    recalled: tuple[Reason, ...] = ()
    searches: tuple[Entry, ...] = ()


def why(store: Store, run: str, seq: int | None = None) -> Explanation:
    """Explain entry `seq`; without it, the run's end, what it waits for, or its last decision.

    Raises:
        UsageError: the run has no such entry.
    """
    start = _read(store, run, _default(store, run) if seq is None else seq)
    reasons: list[Reason] = []
    seen = {start.seq}
    asked: Entry | None = start if start.kind == "sample.intent" else None
    frontier = [(start, 1)]
    while frontier:
        entry, depth = frontier.pop(0)
        for cause, how in _causes(store, run, entry):
            if cause.seq in seen:
                continue
            seen.add(cause.seq)
            reasons.append(Reason(entry=cause, how=how, text=describe(store, cause), depth=depth))
            if cause.kind == "sample.intent":
                asked = asked or cause
            else:
                frontier.append((cause, depth + 1))
    searches = tuple(each for each in (start, *(reason.entry for reason in reasons)) if each.kind == "search.ended")
    if asked is None and searches:
        asked = _asked_in_branch(store, searches[0])
    ranges = tuple((first, last) for first, last in asked.body["view"]["shown"]) if asked else ()
    return Explanation(
        entry=start,
        reasons=tuple(reasons),
        shown=_shown(store, run, ranges),
        shown_ranges=ranges,
        hidden=asked.body["view"]["hidden"] if asked else 0,
        recalled=_recalled(store, run, ranges, asked.body["view"].get("core") if asked else None),
        searches=searches,
    )


def _asked_in_branch(store: Store, search: Entry) -> Entry | None:
    """The question that the model was asked in the branch that was committed: what it was shown there is what the run had shown."""
    branch = search.body["branch"]
    try:
        found = store.read(branch, search.body["began"], kinds=["sample.intent"]) if branch else iter(())
        return next((entry for entry in found if "purpose" not in entry.body), None)
    except UsageError:
        return None  # the branches were taken out of the store


def hits_of(entry: Entry) -> list[dict[str, Any]]:
    """What memory brought by this entry: unit, cite, score and the rest; [] where it brought nothing."""
    found = entry.body.get("hits") if entry.kind == "recalled" else entry.body.get("data", {}).get("recalled")
    return list(found or ())


def hit_words(hit: dict[str, Any]) -> str:
    """One item that memory brought, in words: where it was said, when, by whom, and how sure the index was."""
    parts = [str(hit["cite"])]
    if "told_us" in hit:
        parts.append(f"told {day_text(hit['told_us'])} by {hit['actor']} ({hit['trust']})")
        parts.append(f"score {hit['score']:.2f}")
    if hit.get("relevance") is not None:
        parts.append(f"relevance {hit['relevance']:.2f}")
    return ", ".join(parts)


def describe(store: Store, entry: Entry) -> str:
    """One entry in one line of words."""
    body = entry.body
    if entry.kind == ERASED:
        return f"{body['kind']}, erased by {body['by']}"
    if entry.kind == "effect.receipt":
        # Not as the model sees it: a fence says nothing to a person.
        text = "\n".join(line for line in unpack(store, body["text"]).splitlines() if not _FENCE.match(line))
        return ("" if body["ok"] else f"{body['error']}: ") + _one_line(text)
    if entry.kind == "recalled":
        said = "; ".join(map(hit_words, body["hits"])) or "nothing"
        return f"{body['by']}: {said}" + (f" — for: {_one_line(body['query'], 80)}" if body["query"] else "")
    if entry.kind.startswith(("search.", "branch.", "handle.")):
        return _search_words(entry) if not entry.kind.startswith("handle.") else _handle_words(entry)
    if is_visible(entry) or entry.kind == "compacted":
        message = render(store, entry)
        calls = " ".join(f"{call.tool}({call.arguments})" for call in message.tool_calls)
        return _one_line(calls or message.text)
    match entry.kind:
        case "effect.intent":
            return f"{_call(body['call'])} — {body['effect']}, let through by {body['rule']}"
        case "gate.decision":
            return f"{_call(body['call'])} — {body['decision']} by rule {body['rule']}"
        case "approval.answered":
            return f"{body['decision']} by {body['by']}{': ' + body['reason'] if body['reason'] else ''}"
        case "sample.intent":
            return f"step {body['step']}: asked the model, {body['view']['tokens']} tokens in view, {body['view']['hidden']} entries hidden"
        case "done.claimed":
            return f"claimed to be done: {_one_line(body['summary'])}"
        case "run.started":
            return f"goal: {_one_line(body['goal'])}"
        case "run.suspended" | "run.ended":
            return f"{body.get('reason', body.get('status'))}: {_one_line(body['detail'])}"
        case _:
            return _one_line(
                ", ".join(f"{key} {value}" for key, value in body.items() if isinstance(value, str | int | bool))
            )


def _handle_words(entry: Entry) -> str:
    body = entry.body
    if entry.kind == "handle.pinned":
        return f"{body['name']} {'stays in view' if body['pinned'] else 'no longer stays in view'}"
    made = f"{body['name']}@{body['version']}, entries {ranges_text(body['entries'])}"
    return f"{made}: {_one_line(body['description'])}"


def _search_words(entry: Entry) -> str:
    body = entry.body
    match entry.kind:
        case "search.began":
            luck = ", in imagined worlds" if body["luck"] else ""
            strategy = body["settings"]["strategy"]
            return f"step {body['step']}: {strategy} search, at most {body['tokens']} tokens, critic {body['critic']}{luck}"
        case "search.ended":
            tried = len({row["label"] for row in body["nodes"] if row["of"] == 0})
            nodes = max(0, len(body["nodes"]) - 1)
            return f"{tried} first steps, {nodes} nodes, {body['tokens']} tokens: {_one_line(body['why'])}"
        case "branch.scored":
            return f"node {body['node']}: {body['value']:.3f} ({body['delta']:+.3f}) {_one_line(body['why'])}"
        case _:
            return f"the first step of {body['branch']} becomes the run's"


def _causes(store: Store, run: str, entry: Entry) -> list[tuple[Entry, str]]:
    fields = _CAUSES.get(kind_of(entry), ())
    found = [
        (entry.body[field], how)
        for field, how in fields
        if isinstance(entry.body.get(field), int) and entry.body[field] >= 0
    ]
    if entry.kind == "effect.intent" and entry.body["rule"].startswith("approved:"):
        gate = int(entry.body["rule"].partition(":")[2])
        found += [(gate, "was let through after")]
        found += [
            (e.seq, "was approved by")
            for e in store.read(run, gate, entry.seq, ["approval.answered"])
            if e.body["gate"] == gate
        ]
    if entry.kind == "sample.completion" and entry.body["intent"] < 0 and entry.seq >= 2:
        # It was taken over from a branch: the search stands before it, in one append.
        before = list(store.read(run, entry.seq - 2, entry.seq, ["search.ended", "branch.committed"]))
        words = {"search.ended": "was chosen by", "branch.committed": "was taken over by"}
        found += [(e.seq, words[e.kind]) for e in before]
    if entry.kind == "verdict":
        found += [(seq, "rests on the evidence of") for row in entry.body["findings"] for seq in row["entries"]]
    if entry.kind == "effect.receipt" and entry.body["intent"] < 0:
        # Refused before an intent: its call stands in the completion before it.
        before = [e for e in store.read(run, max(0, entry.seq - 50), entry.seq, ["sample.completion"]) if is_visible(e)]
        found += [(e.seq, "answers a call of") for e in before[-1:]]
    return [(_read(store, run, seq), how) for seq, how in found]


def _shown(store: Store, run: str, ranges: tuple[tuple[int, int], ...]) -> tuple[Reason, ...]:
    rows: list[Reason] = []
    for first, last in reversed(ranges):
        entries = [
            e
            for e in store.read(run, max(first, last - 8 * SHOWN_MAX), last + 1)
            if is_visible(e) or e.kind == "compacted"
        ]
        rows += [Reason(entry=e, how="was in view", text=describe(store, e), depth=1) for e in reversed(entries)]
    return tuple(rows[:SHOWN_MAX])


def _recalled(store: Store, run: str, ranges: tuple[tuple[int, int], ...], core: int | None) -> tuple[Reason, ...]:
    rows: list[Reason] = []
    for first, last in reversed(ranges):
        entries = list(store.read(run, first, last + 1, ["recalled", "effect.receipt"]))
        rows += [
            Reason(entry=e, how="was recalled", text=describe(store, e), depth=1)
            for e in reversed(entries)
            if hits_of(e)
        ]
    rows = [row for row in rows if row.entry.seq != core][:SHOWN_MAX]
    if core is not None:
        entry = _read(store, run, core)
        rows.append(Reason(entry=entry, how="is core", text=describe(store, entry), depth=1))
    return tuple(rows)


def _default(store: Store, run: str) -> int:
    state = load_state(store, run)
    if state.waiting is not None:
        return state.waiting_seq
    last = [
        e.seq
        for e in store.read(
            run, max(0, state.head_seq - 50), kinds=["run.ended", "effect.receipt", "sample.completion"]
        )
    ]
    return last[-1] if last else state.head_seq


def _read(store: Store, run: str, seq: int) -> Entry:
    found = next(store.read(run, seq, seq + 1), None) if seq >= 0 else None
    if found is None:
        raise UsageError(f"run {run!r} has no entry {seq}", f"choose one with `overwinter log {run}`")
    return found


def _call(call: dict[str, Any]) -> str:
    return f"{call['tool']}({', '.join(f'{key}={value!r}' for key, value in call['arguments'].items())})"


def _one_line(text: str, chars: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= chars else text[: chars - 1] + "…"
