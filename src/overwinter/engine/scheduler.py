"""Who computes what in the next step: continuous batching with chunked prefill.

Each step takes the next token of every decoding sequence, then pieces of prompts until `step_tokens` are together. So a long
prompt slows the others down by a bounded amount, and never stops them. Among prompts the oldest gets up to half of what is
left, so that it ends, and the shortest ones the rest, so that a short question does not wait for a long document.

Sequences are admitted in the order in which they came, except that one whose next block is being computed by another waits
for that block: sessions that begin with the same long text and come at once compute it once. When memory runs out, the
youngest gives its blocks back and waits at the front of the queue; published blocks stay where they are until their room is
needed, so it often finds most of them again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from overwinter.engine.blocks import BlockPool
from overwinter.engine.sequence import LiveSequence
from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Limits of a step.

    Args:
        max_running: sequences that hold memory at the same time.
        step_tokens: tokens of one step; what a running answer waits at most for the prompts of others.
        align: prompts are cut at multiples of this, so that recurrent layers see the same chunks however prompts are cut.
        border: a piece of a prompt does not go past a multiple of this; None for no such places.
    """

    max_running: int = 16
    step_tokens: int = 512
    align: int = 1
    border: int | None = None

    def __post_init__(self) -> None:
        if self.max_running < 1 or self.align < 1:
            raise UsageError(f"{self.max_running} running sequences", "give at least one")
        if self.step_tokens < self.max_running + self.align:
            raise UsageError(
                f"a step of {self.step_tokens} tokens does not hold {self.max_running} sequences and {self.align} of a prompt",
                "raise step_tokens or lower max_running",
            )


class Piece(NamedTuple):
    """The next `length` tokens of a sequence."""

    sequence: LiveSequence
    length: int


class Scheduler:
    """Keeps the order of sequences; memory is given and taken by the engine, which asks for a plan."""

    def __init__(self, config: Config, pool: BlockPool) -> None:
        self.config = config
        self.pool = pool
        self.waiting: deque[LiveSequence] = deque()
        self.running: list[LiveSequence] = []
        self.preemptions = 0

    @property
    def has_slot(self) -> bool:
        return len(self.running) < self.config.max_running

    def has_room(self, blocks_needed: int) -> bool:
        """Whether a waiting sequence may begin if it takes `blocks_needed` blocks."""
        # A sequence alone may take everything: nobody is there to be kept room for.
        return self.pool.can_admit(blocks_needed) or (not self.running and self.pool.can_allocate(blocks_needed))

    def admit(self, sequence: LiveSequence) -> None:
        self.waiting.remove(sequence)
        self.running.append(sequence)

    def plan(self) -> list[Piece]:
        """The pieces of the next step, decoding sequences first."""
        pieces = [Piece(each, 1) for each in self.running if each.waiting == 1]
        prefilling = [each for each in self.running if each.waiting > 1]
        left = self.config.step_tokens - len(pieces)
        if not prefilling:
            return pieces
        oldest = prefilling[0]
        shares: dict[int, int] = {oldest.number: self._cut(oldest, max(left // 2, self.config.align))}
        left -= shares[oldest.number]
        for each in sorted(prefilling[1:], key=lambda one: one.waiting):
            shares[each.number] = self._cut(each, left)
            left -= shares[each.number]
        # What the short ones left over goes to the oldest after all.
        shares[oldest.number] = self._cut(oldest, shares[oldest.number] + left)
        return pieces + [Piece(each, shares[each.number]) for each in prefilling if shares[each.number]]

    def _cut(self, sequence: LiveSequence, room: int) -> int:
        """How much of a sequence fits: all of it, or up to a multiple of `align`."""
        start, known, config = sequence.computed, len(sequence.ids), self.config
        if sequence.by_step:
            known = max(sequence.prompt_length, start + 1)
        if config.border is not None:
            known = min(known, (start // config.border + 1) * config.border)
        if known - start <= room:
            return known - start
        return max(0, (start + room) // config.align * config.align - start)

    def victim(self) -> LiveSequence:
        """The youngest running sequence, to give its memory back."""
        return self.running[-1]

    def preempt(self, sequence: LiveSequence) -> None:
        self.running.remove(sequence)
        self.waiting.appendleft(sequence)
        self.preemptions += 1

    def remove(self, sequence: LiveSequence) -> None:
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
