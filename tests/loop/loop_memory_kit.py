"""What the tests of working memory share: parts with memory, and a recaller that answers from a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from loop_kit import parts

from overwinter.loop.memory.recaller import CoreBlock
from overwinter.loop.memory.settings import MemorySettings, RecallSettings
from overwinter.loop.memory.tools import controls_with
from overwinter.loop.session import Parts
from overwinter.memory.unit import AsOf, Hit, Unit, text_digest
from overwinter.memory.working.text_index import words_of
from overwinter.tools import Effect, Tool, tool

QUIET = MemorySettings(recall=RecallSettings(auto=False), core=False)
"""Working memory alone: nothing beyond the run is asked."""


class FakeRecaller:
    """Units that share a word with the query, best first; a dial to turn for each test."""

    def __init__(self, units: Iterable[Unit] = (), core: Sequence[CoreBlock] = (), namespace: str = "default") -> None:
        self.namespace = namespace
        self.units, self.blocks = list(units), list(core)
        self.asked: list[tuple[str, AsOf | None, str]] = []
        self.closed = 0
        self.error: Exception | None = None

    def search(
        self, query: str, *, k: int, at: AsOf | None = None, session: str = "", budget_tokens: int = 0
    ) -> Sequence[Hit]:
        self.asked.append((query, at, session))
        if self.error is not None:
            raise self.error
        wanted = set(words_of(query))
        scored = [(len(wanted & set(words_of(unit.text))), unit) for unit in self.units if _was_known(unit, at)]
        ranked = sorted((row for row in scored if row[0]), key=lambda row: -row[0])
        return [Hit(unit=unit, score=float(n), relevance=0.9, channels={"lexical": float(n)}) for n, unit in ranked[:k]]

    def core(self) -> Sequence[CoreBlock]:
        return list(self.blocks)

    def close(self) -> None:
        self.closed += 1


def _was_known(unit: Unit, at: AsOf | None) -> bool:
    return at is None or at.known_us is None or unit.told_us < at.known_us


def unit(text: str, *, run: str = "old", seq: int = 1, told_us: int = 1_600_000_000_000_000) -> Unit:
    return Unit(
        id=text_digest(f"{run}{seq}{text}"),
        run=run,
        seq=seq,
        first=0,
        last=len(text),
        session=run,
        place=seq,
        kind="message",
        actor="user",
        trust="trusted",
        happened_us=told_us,
        happened_until_us=told_us,
        told_us=told_us,
        text=text,
        tokens=len(text) // 4 + 1,
        digest=text_digest(text),
    )


def memory_parts(
    script: Any,
    tools: Iterable[Tool] = (),
    *,
    settings: MemorySettings = QUIET,
    recaller: FakeRecaller | None = None,
    **more: Any,
) -> Parts:
    """Parts with memory; without a recaller of its own, one that knows nothing."""
    made = parts(script, tools, controls=controls_with(settings), **more)
    made.memory = settings
    made.recaller = recaller or FakeRecaller()
    return made


@tool(effect=Effect.PURE, name="say")
def say(words: str) -> str:
    """Say words."""
    return words


@tool(effect=Effect.PURE, name="snow")
def snow(words: int) -> str:
    """Say many words, without naming them in the call."""
    return " ".join(f"w{i}" for i in range(words))
