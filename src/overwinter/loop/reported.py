"""What a run has written, held against itself and against its journal.

A run writes reports: the summary it claims to be done with, notes, what it keeps of a compacted past, and its answers in prose. All of
them are one text to the rules of `think.consistency`; what they say of a greenhouse is also held against what was observed up to there.
The world is played again from the journalled actions, and each observation compared with the journalled one, so the facts are the
journal's and not the actor's.

The goal is part of the text: a report that contradicts the task is found like one that contradicts itself. `drift` says how much of
the goal's vocabulary is still in use; it is a hint and no finding.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from overwinter.errors import StoreError, UsageError
from overwinter.journal import Entry, Store, unpack
from overwinter.loop.world import WorldSession, open_world_session
from overwinter.think.consistency import Finding, Quote, Report, Subtype, check_text
from overwinter.think.consistency.text import count_words, folded

WRITTEN = ("run.started", "sample.completion", "done.claimed", "compacted", "noted", "commitment.opened")
MIN_WORDS = 6
"""Shorter texts are calls and labels, no prose."""
GREENHOUSE = "greenhouse"
LOG_CONFIDENCE = 0.97
"""Of a difference between a report and the log: what remains is a sentence that was misread."""


@dataclass(frozen=True, slots=True)
class Written:
    """One text of a run and the entry it stands in."""

    seq: int
    what: str
    text: str

    @property
    def source(self) -> str:
        return f"#{self.seq} {self.what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunReport:
    """What a check of a run has found.

    Attributes:
        report: findings, with the entry of each quote as its source; offsets are those of that entry's text.
        texts: how many texts were read.
        drift: share of the goal's words still used, in each quarter of what was written; () for less than four texts.
    """

    report: Report
    texts: int
    drift: tuple[float, ...]


class SeasonLog:
    """The actions and observations of a greenhouse run, with the entry of each."""

    def __init__(self, store: Store, run: str, setup: dict[str, Any], stop: int | None = None) -> None:
        self.seqs: list[int] = []
        self.log: list[tuple[str | None, dict[str, Any]]] = []
        self._texts: list[str] = []
        session = open_world_session(setup)
        for entry in store.read(run, 0, stop, kinds=["observed", "effect.receipt"]):
            self._take(store, session, entry)

    def _take(self, store: Store, session: WorldSession, entry: Entry) -> None:
        if entry.kind == "observed" and not self.log:
            session.reset()
            action = None
        elif entry.kind == "effect.receipt" and entry.body["ok"] and entry.body["data"].get("world"):
            session.redo(store, entry)
            action = entry.body["data"]["action"]
        else:
            return
        self.seqs.append(entry.seq)
        self.log.append((action, session.observation.data))
        self._texts.append(session.observation.text)

    def until(self, seq: int) -> Sequence[tuple[str | None, dict[str, Any]]]:
        """What had been observed when entry `seq` was written."""
        return self.log[: bisect_right(self.seqs, seq)]

    def quote(self, place: int) -> Quote:
        """The observation at a place of the log, as evidence: its first line, and what news or answer it brought."""
        text = self._texts[place]
        lines = [line for line in text.split("\n") if line.startswith(("News:", "You:", "Storm: blowing"))] or [
            text.split("\n")[0]
        ]
        first = text.index(lines[0])
        return Quote(
            text=lines[0],
            first=first,
            last=first + len(lines[0]),
            line=text.count("\n", 0, first) + 1,
            source=f"#{self.seqs[place]} observation",
        )


def written(store: Store, run: str) -> list[Written]:
    """The texts of a run's own, oldest first; the goal is the first of them."""
    found = []
    for entry in store.read(run, 0, kinds=WRITTEN):
        what, text = _text_of(store, entry)
        if count_words(text) >= MIN_WORDS:
            found.append(Written(entry.seq, what, text))
    return found


def _text_of(store: Store, entry: Entry) -> tuple[str, str]:
    body = entry.body
    match entry.kind:
        case "run.started":
            return "goal", str(body["goal"])
        case "sample.completion":
            judged = body.get("purpose", "act") != "act"
            text = "" if judged else unpack(store, body["text"])
            return "answer", "" if text.lstrip()[:1] in {"{", "["} else text
        case "done.claimed":
            return "claim", str(body["summary"])
        case "compacted":
            return "summary", unpack(store, body["summary"])
        case "noted":
            return "note", unpack(store, body["text"])
    return "promise", str(body["text"])


def check_run(store: Store, run: str, *, kinds: Iterable[str] | None = None) -> RunReport:
    """Everything a run has written, against itself and against its observations.

    Raises:
        UsageError: the run has written no prose.
    """
    texts = written(store, run)
    if not texts:
        raise UsageError(
            f"run {run!r} has written no prose that could be checked", "check a file, or a run with a report"
        )
    own = _by_rules(texts, kinds)
    problems = list(own.problems)
    found: list[Finding] = list(own.findings)
    try:
        log = season_log(store, run)
        found += [one for text in texts if log is not None for one in against_log(text, log)]
    except (UsageError, StoreError) as error:
        problems.append(f"the world could not be played again: {error.problem}")
    status = own.status if len(problems) == len(own.problems) else "partly checked"
    report = replace(own, findings=tuple(found), problems=tuple(problems), status=status)
    return RunReport(report=report, texts=len(texts), drift=drift(texts))


def season_log(store: Store, run: str, stop: int | None = None) -> SeasonLog | None:
    """The log of a greenhouse run; None for runs of another world or of none."""
    started = next(store.read(run, 0, 1), None)
    world = (
        started.body.get("setup", {}).get("world") if started is not None and started.kind == "run.started" else None
    )
    if not world or str(world.get("name", "")).partition(":")[0] != GREENHOUSE:
        return None
    return SeasonLog(store, run, dict(world), stop)


def against_log(text: Written, log: SeasonLog) -> Iterator[Finding]:
    """Where one text contradicts what had been observed when it was written."""
    from overwinter.worlds.greenhouse.audit import differences, in_words

    for one in differences(text.text, log.until(text.seq)):
        told = one.told
        quoted = Quote(
            text=text.text[told.first : told.last],
            first=told.first,
            last=told.last,
            line=text.text.count("\n", 0, told.first) + 1,
            source=text.source,
        )
        subtype = Subtype.ABSOLUTE_TIME if "day" in told.topic else Subtype.QUANTITY
        yield Finding(
            kind="log",
            subtype=subtype,
            first=log.quote(one.place),
            second=quoted,
            explanation=f"the report says {in_words(told)}; the log says {one.true}",
            confidence=LOG_CONFIDENCE,
        )


def _by_rules(texts: Sequence[Written], kinds: Iterable[str] | None) -> Report:
    """The rules over all texts as one, with quotes given back to the texts they stand in."""
    starts, parts, at = [], [], 0
    for text in texts:
        starts.append(at)
        parts.append(text.text + "\n\n")
        at += len(parts[-1])
    whole = check_text("".join(parts), kinds=kinds)
    findings = (
        replace(f, first=_own(f.first, starts, texts), second=_own(f.second, starts, texts)) for f in whole.findings
    )
    return replace(whole, findings=tuple(findings))


def _own(quote: Quote, starts: Sequence[int], texts: Sequence[Written]) -> Quote:
    index = bisect_right(starts, quote.first) - 1
    text, first = texts[index], quote.first - starts[index]
    last = first + quote.last - quote.first
    return Quote(text=quote.text, first=first, last=last, line=text.text.count("\n", 0, first) + 1, source=text.source)


def drift(texts: Sequence[Written]) -> tuple[float, ...]:
    """Share of the goal's longer words that each quarter of what was written uses."""
    goal = _content(texts[0].text) if texts and texts[0].what == "goal" else frozenset[str]()
    rest = texts[1:]
    if not goal or len(rest) < 4:
        return ()
    quarters = [rest[len(rest) * k // 4 : len(rest) * (k + 1) // 4] for k in range(4)]
    return tuple(round(len(goal & _content(" ".join(t.text for t in part))) / len(goal), 3) for part in quarters)


def _content(text: str) -> frozenset[str]:
    return frozenset(word[:6] for word in re.findall(r"[^\W\d_]{5,}", folded(text)))


def report_of(store: Store, run: str, claim: Entry) -> list[Finding]:
    """What is wrong with the report that a claim of being done is made with; [] for a good one, and where there is none."""
    text = Written(claim.seq, "claim", str(claim.body["summary"]))
    if count_words(text.text) < MIN_WORDS:
        return []
    found = list(check_text(text.text).findings)
    from overwinter.worlds.greenhouse.audit import told

    try:
        log = season_log(store, run, claim.seq) if told(text.text) else None
    except (UsageError, StoreError):
        log = None  # a world that cannot be played again is no evidence against a report
    return found + ([] if log is None else list(against_log(text, log)))
