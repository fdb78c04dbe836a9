"""Who thinks: the two questions that the procedure asks of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Thought:
    """One sampled answer with the thinking before it.

    Attributes:
        trace: the thinking, "" for none.
        answer: as it counts in a vote (`think.vote.normalise` makes one spelling of many); None where none could be read.
        tokens: of trace and answer.
        prompt_tokens: of the question, where this sample paid for it.
    """

    trace: str
    answer: str | None
    tokens: int
    prompt_tokens: int = 0


class Thinker(Protocol):
    """A model as the procedure needs it."""

    def prompt_tokens(self, question: str, context: str = "") -> int:
        """Tokens of the question as it is put, for the budget."""
        ...

    def think(self, question: str, n: int, *, max_tokens: int) -> Sequence[Thought]:
        """`n` samples, each a trace and an answer of together at most `max_tokens`."""
        ...

    def answer(self, question: str, n: int, *, context: str = "", max_tokens: int) -> Sequence[Thought]:
        """`n` answers without thinking, after `context` (facts, or filler) in the place where the thinking would stand."""
        ...
