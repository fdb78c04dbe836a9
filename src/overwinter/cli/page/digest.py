"""One pass over a run's entries that keeps what a page can show, in bounded memory."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from overwinter.cli.workplace import standing
from overwinter.journal import Entry, RunInfo, Store
from overwinter.loop.state import RunState

FIRST_ROWS, LAST_ROWS, MARKED_ROWS = 300, 1500, 1000
"""Entries the timeline holds: the first, the last, and between them those that a person decided or should know of."""
CURVE_POINTS = 400
MARKS_MAX = 60
RECALLS, HANDLES = 200, 200
"""Newest look-ups and handles that the page can show."""

MARKED = frozenset(
    {
        "gate.decision",
        "approval.answered",
        "effect.in_doubt",
        "doubt.answered",
        "run.suspended",
        "run.resumed",
        "run.forked",
        "sleep.started",
        "sleep.ended",
        "event.received",
        "stall.noticed",
        "budget.changed",
        "done.claimed",
        "verdict",
        "run.ended",
        "branch.committed",
        "sample.failed",
    }
)


class Curve:
    """Points (entry, value), thinned evenly when there are too many; the last one is always kept.

    Args:
        mean: a point stands for the mean of the values thinned out before it, as fits what goes up and down.
    """

    def __init__(self, *, mean: bool = False) -> None:
        self._points: list[tuple[int, float]] = []
        self._last: tuple[int, float] | None = None
        self._mean = mean
        self._every, self._pending, self._sum = 1, 0, 0.0
        self.top, self.bottom = float("-inf"), float("inf")

    def add(self, seq: int, value: float) -> None:
        self._last = (seq, value)
        self.top, self.bottom = max(self.top, value), min(self.bottom, value)
        self._pending, self._sum = self._pending + 1, self._sum + value
        if self._pending < self._every:
            return
        self._points.append((seq, self._sum / self._pending if self._mean else value))
        self._pending, self._sum = 0, 0.0
        if len(self._points) > 2 * CURVE_POINTS:
            self._points, self._every = self._halved(), self._every * 2

    def _halved(self) -> list[tuple[int, float]]:
        pairs = zip(self._points[::2], self._points[1::2], strict=False)
        return [(seq, (first + value) / 2 if self._mean else value) for (_, first), (seq, value) in pairs]

    @property
    def points(self) -> list[tuple[int, float]]:
        if self._last is None or (self._points and self._points[-1][0] == self._last[0]):
            return list(self._points)
        return [*self._points, self._last]

    @property
    def last(self) -> float:
        return 0.0 if self._last is None else self._last[1]


@dataclass(kw_only=True)
class Question:
    """Something a person was asked, or a rule refused: the gate or doubt, and the answer if there is one."""

    asked: Entry
    answer: Entry | None = None


@dataclass(kw_only=True)
class Digest:
    """What a page shows of a run."""

    info: RunInfo
    state: RunState
    started: Entry | None = None
    first_us: int = 0
    last_us: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    spent: dict[str, Curve] = field(default_factory=dict)
    caps: dict[str, int] = field(default_factory=dict)
    confidence: Curve = field(default_factory=lambda: Curve(mean=True))
    chance: Curve = field(default_factory=lambda: Curve(mean=True))
    score: Curve = field(default_factory=Curve)
    questions: deque[Question] = field(default_factory=lambda: deque(maxlen=MARKED_ROWS))
    resumed: list[int] = field(default_factory=list)
    outcome: Entry | None = None
    verdict: Entry | None = None
    rows: list[Entry] = field(default_factory=list)
    processes: int = 1
    recalls: deque[Entry] = field(default_factory=lambda: deque(maxlen=RECALLS))
    """What memory brought: `recalled` entries, and receipts of the tools that look beyond the run; `recalled` counts all."""
    handles: deque[Entry] = field(default_factory=lambda: deque(maxlen=HANDLES))
    context: Curve = field(default_factory=lambda: Curve(mean=True))
    window: int = 0
    recalled: int = 0
    repeated: int = 0
    compressed_by_agent: int = 0
    damage: str = ""
    """Why reading ended early, "" if it did not."""
    standing: str = ""
    """The run's status, or "interrupted" if no living process works on it though one should."""


def digest_run(store: Store, info: RunInfo, *, progress: Callable[[int, int], None] | None = None) -> Digest:
    """Read the whole run once. Damage ends the reading; the page then says so and shows what lies before it."""
    from overwinter.errors import StoreError

    digest = Digest(info=info, state=RunState(run=info.run), standing=standing(store, info))
    head: list[Entry] = []
    marked: deque[Entry] = deque(maxlen=MARKED_ROWS)
    tail: deque[Entry] = deque(maxlen=LAST_ROWS)
    try:
        for entry in store.read(info.run):
            digest.state.apply(entry)
            _take(digest, entry)
            if len(head) < FIRST_ROWS:
                head.append(entry)
            else:
                tail.append(entry)
                if entry.kind in MARKED:
                    marked.append(entry)
            if progress is not None:
                progress(entry.seq + 1, info.head_seq + 1)
    except StoreError as error:
        digest.damage = error.problem
    rows = {entry.seq: entry for entry in (*head, *marked, *tail)}
    digest.rows = [rows[seq] for seq in sorted(rows)]
    if not digest.damage:
        _read_caps(store, digest)
    return digest


def _take(digest: Digest, entry: Entry) -> None:
    body = entry.body
    digest.counts[entry.kind] += 1
    digest.first_us = digest.first_us or entry.time_us
    digest.last_us = entry.time_us
    for resource, amount in body.get("settle", {}).get("spent", {}).items():
        curve = digest.spent.setdefault(resource, Curve())
        curve.add(entry.seq, curve.last + amount)
    _take_memory(digest, entry)
    match entry.kind:
        case "run.started":
            digest.started = entry
        case "run.resumed":
            digest.processes += 1
            if len(digest.resumed) < MARKS_MAX:
                digest.resumed.append(entry.seq)
        case "sample.completion" if body.get("purpose", "act") == "act":
            for curve, value in ((digest.confidence, "confidence"), (digest.chance, "success_chance")):
                if body.get(value) is not None:
                    curve.add(entry.seq, body[value])
        case "world.saved":
            digest.score.add(entry.seq, body["outcome"]["score"])
            digest.outcome = entry
        case "verdict":
            digest.verdict = entry
        case "gate.decision" | "effect.in_doubt":
            digest.questions.append(Question(asked=entry))
        case "approval.answered" | "doubt.answered":
            about = body.get("gate", body.get("doubt"))
            for question in reversed(digest.questions):
                if question.asked.seq == about:
                    question.answer = entry
                    break


def _take_memory(digest: Digest, entry: Entry) -> None:
    body = entry.body
    match entry.kind:
        case "sample.intent" if "window" in body["view"]:
            digest.window = body["view"]["window"]
            digest.context.add(entry.seq, body["view"]["tokens"])
        case "recalled" if body["hits"]:
            digest.recalls.append(entry)
            digest.recalled += 1
        case "effect.receipt" if body["data"].get("recalled"):
            digest.recalls.append(entry)
            digest.recalled += 1
        case "effect.receipt" if "repeated" in body["data"]:
            digest.repeated += 1
        case "handle.made":
            digest.handles.append(entry)
        case "compacted":
            digest.compressed_by_agent += body["by"] == "agent"


def _read_caps(store: Store, digest: Digest) -> None:
    """The tightest cap of each resource over the budgets the run draws on."""
    for budget in digest.info.budgets:
        for resource, line in store.budget(budget).items():
            if line.cap is not None:
                digest.caps[resource] = min(line.cap, digest.caps.get(resource, line.cap))
