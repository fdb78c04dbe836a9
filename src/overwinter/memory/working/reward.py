"""Memex's reward (arXiv 2603.04257): success, less what the use of the window cost.

    R = R_task − λ_ctx·P_ctx − λ_red·P_red − λ_fmt·P_fmt,   each P in [0, 1]

    P_ctx = min(1, Σ_t max(0, C_t − τ) / (τ·T))   over the T steps in which nothing was compressed
    P_red = redundant calls / calls that are not of memory
    P_fmt = steps with a malformed call / steps with a call

C_t is `view.tokens` of the step's question: the number the status line showed, the window is limited by and the runtime compresses by.
(The published code punishes a length that includes the system turn and shows one that does not.) τ is where the status line begins to
warn. A call is redundant if the same one was made since the last call that changed something outside; a call that was answered from
the journal is one of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from overwinter.journal import Entry
from overwinter.journal.canonical import canonical
from overwinter.memory.working import HINT_AT, MEMORY_TOOLS

ACTING = "act"
MALFORMED = frozenset({"arguments", "unknown"})
"""Errors of a call that was refused before it was made."""
_MOVES_ON = frozenset({"sleep.started", "sleep.ended", "event.received"})
"""After these the same call may find something new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Weights; the defaults are those of the published code (its launch script sets 1, 0.05 and 1).

    Attributes:
        tau_tokens: working tokens that cost nothing; None: the share `HINT_AT` of the window that the run was given.
    """

    context: float = 0.5
    redundant: float = 0.3
    malformed: float = 0.2
    tau_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Penalties:
    """What was counted.

    Attributes:
        context, redundant, malformed: the three P, 0 to 1.
        steps: T; `calls`: those that are not of memory; `attempts`: steps with a call; `compressed`: steps that compressed.
        peak_tokens: the largest working context.
    """

    context: float
    redundant: float
    malformed: float
    steps: int
    calls: int
    attempts: int
    compressed: int
    peak_tokens: int


def reward(success: float, penalties: Penalties, config: Config | None = None) -> float:
    """R of an episode; `success` is R_task, 0 to 1."""
    return success - weighed(penalties, config)


def weighed(penalties: Penalties, config: Config | None = None) -> float:
    """λ_ctx·P_ctx + λ_red·P_red + λ_fmt·P_fmt."""
    config = config or Config()
    lost = config.context * penalties.context + config.redundant * penalties.redundant
    return lost + config.malformed * penalties.malformed


def cost_of(entries: Iterable[Entry], config: Config | None = None) -> float:
    """What a run's use of its window costs: the `penalty` that `learn` can take off an episode's reward."""
    config = config or Config()
    return weighed(penalties_of(entries, config), config)


def penalties_of(entries: Iterable[Entry], config: Config | None = None) -> Penalties:
    """Of a run's entries, in order. Pure: the journal has all that is needed."""
    counting = _Counting((config or Config()).tau_tokens)
    for entry in entries:
        counting.take(entry)
    return counting.result()


class _Counting:
    def __init__(self, tau: int | None) -> None:
        self._tau = tau
        self._steps: dict[int, tuple[int, int]] = {}
        """Question → (working tokens, tau)."""
        self._compressed: set[int] = set()
        self._asked = -1
        self._attempts: set[int] = set()
        self._malformed: set[int] = set()
        self._calls = self._redundant = 0
        self._seen: set[bytes] = set()
        self._open: dict[str, tuple[int, str]] = {}

    def take(self, entry: Entry) -> None:
        body = entry.body
        if body.get("purpose", ACTING) != ACTING:
            return
        if entry.kind == "sample.intent":
            view = body["view"]
            tau = self._tau if self._tau is not None else round(HINT_AT * view.get("window", 0))
            self._asked, self._steps[entry.seq] = entry.seq, (view["tokens"], tau)
        elif entry.kind == "sample.completion":
            self._completion(body)
        elif entry.kind == "effect.intent" and body["effect"] != "pure":
            self._seen.clear()
        elif entry.kind == "effect.receipt":
            self._receipt(body)
        elif entry.kind == "compacted":
            # By the agent: the step that asked for it. By the runtime: the step it was done for, whose question follows.
            self._compressed.add(self._asked if body["by"] == "agent" else entry.seq)
        elif entry.kind in _MOVES_ON:
            self._seen.clear()

    def _completion(self, body: Mapping[str, Any]) -> None:
        self._open = {call["id"]: (self._asked, call["tool"]) for call in body["calls"]}
        if body["calls"]:
            self._attempts.add(self._asked)
        for call in body["calls"]:
            if not isinstance(call["arguments"], dict):
                self._malformed.add(self._asked)
            if call["tool"] in MEMORY_TOOLS:
                continue
            key = canonical([call["tool"], call["arguments"]])
            self._calls += 1
            self._redundant += key in self._seen
            self._seen.add(key)

    def _receipt(self, body: Mapping[str, Any]) -> None:
        step, _ = self._open.get(body["call_id"], (-1, ""))
        if step >= 0 and body["intent"] < 0 and body["error"] in MALFORMED:
            self._malformed.add(step)

    def result(self) -> Penalties:
        counted = [row for seq, row in self._steps.items() if seq not in self._compressed]
        over = sum(max(0, tokens - tau) / tau for tokens, tau in counted if tau > 0)
        return Penalties(
            context=min(1.0, over / max(1, len(counted))),
            redundant=self._redundant / max(1, self._calls),
            malformed=len(self._malformed) / max(1, len(self._attempts)),
            steps=len(counted),
            calls=self._calls,
            attempts=len(self._attempts),
            compressed=len(self._compressed),
            peak_tokens=max((tokens for tokens, _ in self._steps.values()), default=0),
        )
