"""Ballots and the two plain counts. A sample whose answer could not be read is no vote, never a vote for nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from overwinter.errors import UsageError

_NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?%?")
_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)
_WRAPS = (("$", "$"), ("\\(", "\\)"), ("\\text{", "}"), ("**", "**"), ("`", "`"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ballot:
    """One sample's say.

    Attributes:
        answer: in normal form (`normalise`); None where none could be read.
        confidence: of this sample, higher is surer, any scale; None where it has none.
        tokens: what the sample cost.
    """

    answer: str | None
    confidence: float | None = None
    tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a vote decided, and by how much.

    Attributes:
        answer: None where nobody voted.
        share: the winner's part of the weight. margin: that less the runner-up's part.
        scores: weight by answer.
        used, cast, unread: ballots that counted, that had an answer, and that had none.
        rule: which rule decided; a fall-back says so after a colon.
    """

    answer: str | None
    share: float
    margin: float
    scores: dict[str, float] = field(default_factory=dict)
    used: int = 0
    cast: int = 0
    unread: int = 0
    rule: str = ""


def normalise(answer: str) -> str | None:
    """An answer as it is counted: boxes, dollar signs, bold and case taken off, numbers in one spelling; None if nothing is left."""
    text = answer.strip()
    boxed = _BOXED.search(text)
    text = boxed.group(1).strip() if boxed else text
    for _ in range(4):
        for left, right in _WRAPS:
            if text.startswith(left) and text.endswith(right) and len(text) >= len(left) + len(right):
                text = text[len(left) : len(text) - len(right)].strip()
    text = " ".join(text.casefold().split()).rstrip(".").strip()
    bare = text.lstrip("$€£").strip()
    if _NUMBER.fullmatch(bare):
        return _number(bare)
    return text or None


def _number(text: str) -> str:
    percent = text.endswith("%")
    value = float(text.rstrip("%").replace(",", ""))
    spelt = str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return spelt + ("%" if percent else "")


def count(scores: dict[str, float], ballots: Sequence[Ballot], *, used: int, rule: str) -> Outcome:
    """The outcome of weights by answer; ties go to the answer that came first."""
    cast = sum(ballot.answer is not None for ballot in ballots)
    total = math.fsum(scores.values())
    ranked = sorted(scores, key=lambda answer: -scores[answer])
    unread = len(ballots) - cast
    if not ranked:
        return Outcome(answer=None, share=0.0, margin=0.0, used=0, cast=cast, unread=unread, rule=rule)
    part = [scores[answer] / total if total > 0 else 1 / len(ranked) for answer in ranked[:2]]
    return Outcome(
        answer=ranked[0],
        share=part[0],
        margin=part[0] - (part[1] if len(part) > 1 else 0.0),
        scores=scores,
        used=used,
        cast=cast,
        unread=unread,
        rule=rule,
    )


def majority(ballots: Sequence[Ballot]) -> Outcome:
    """The commonest answer (self-consistency, arXiv 2203.11171)."""
    scores: dict[str, float] = {}
    for ballot in ballots:
        if ballot.answer is not None:
            scores[ballot.answer] = scores.get(ballot.answer, 0.0) + 1
    return count(scores, ballots, used=round(sum(scores.values())), rule="majority")


def weighted(ballots: Sequence[Ballot], *, rule: str = "weighted", of: Sequence[Ballot] | None = None) -> Outcome:
    """The answer with the largest sum of confidences, which must not be negative. `of`: all ballots, where some were filtered."""
    scores: dict[str, float] = {}
    voters = rated(ballots)
    for answer, confidence in voters:
        if confidence < 0:
            raise UsageError(
                f"a confidence of {confidence} cannot be a weight", "shift the scores above 0, or use another rule"
            )
        scores[answer] = scores.get(answer, 0.0) + confidence
    return count(scores, of if of is not None else ballots, used=len(voters), rule=rule)


def rated(ballots: Sequence[Ballot]) -> list[tuple[str, float]]:
    """(answer, confidence) of the ballots that have both."""
    return [
        (ballot.answer, ballot.confidence)
        for ballot in ballots
        if ballot.answer is not None and ballot.confidence is not None
    ]
