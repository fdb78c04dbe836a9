"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from overwinter.memory.claim import Claim
from overwinter.memory.index import Span
from overwinter.memory.unit import Hit


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        hits: best first; in order of time where the question asks for an order (`route` "timeline").
        route: how the question was read, see `question.py`.
        abstained: units matched, and none seemed to answer the question, so that `hits` is empty.
        relevance: calibrated probability that the memory holds an answer; None without a calibration.
        claims: what the hits' units claim, as of the question's view, newest valid first.
        spans: digests of the times the question names, in order of time.
        rounds: how many rounds of search were made: each follows what the one before it found.
        took_ms: wall time.
    """

    hits: tuple[Hit, ...]
    route: str
    abstained: bool = False
    relevance: float | None = None
    claims: tuple[Claim, ...] = ()
    spans: tuple[Span, ...] = ()
    rounds: int = 1
    took_ms: float = field(default=0.0, compare=False)
