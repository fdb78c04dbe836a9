"""Facts of a chain of thought: what it states on its way, without what it merely repeats, answers or supposes.

A statement of the answer is no evidence for the answer, and a repetition of the question none for anything; a supposition
claims nothing. All three are left out before anything is verified (arXiv 2603.09906).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

HEDGES = re.compile(
    r"\b(?:if|unless|whether|maybe|perhaps|possibly|probably|might|may|could|would|should|suppose|assume|assuming|likely|unsure|not\s+sure|i\s+think"
    r"|i\s+believe|i\s+guess|seems?|appears?)\b|\?",
    re.IGNORECASE,
)
_ROW = re.compile(
    r"^\s*(?:[-*•]|\d+[.)])?\s*(?P<subject>[^|]+)\|(?P<relation>[^|]+)\|(?P<object>[^|]+)(?:\|(?P<quote>.*))?$"
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One atomic statement.

    Attributes:
        subject, relation, object: as stated.
        first, last: half-open span of characters of the chain that states it; (0, 0) where it is not known.
    """

    subject: str
    relation: str
    object: str
    first: int = 0
    last: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """Without case, space and signs at the edges: the same statement has the same key."""
        return plain(self.subject), plain(self.relation), plain(self.object)

    def __str__(self) -> str:
        return f"{self.subject} – {self.relation} – {self.object}"


class Extractor(Protocol):
    """Takes the facts out of a chain of thought: by rule (`ByRule`), or by asking a model for a list (`read_facts`)."""

    max_tokens: int
    """Most tokens that one call may cost; 0 for free."""

    def extract(self, trace: str) -> tuple[list[Fact], int]:
        """The facts as the trace states them, with spans so that hedges are seen, and the tokens that it cost."""
        ...


class ByRule:
    """An extractor that costs nothing."""

    max_tokens = 0

    def __init__(self, read: Callable[[str], Iterable[Fact]]) -> None:
        self._read = read

    def extract(self, trace: str) -> tuple[list[Fact], int]:
        return list(self._read(trace)), 0


def plain(words: str) -> str:
    return " ".join(words.casefold().split()).strip(" .,;:!?\"'“”‘’()[]")


def read_facts(listed: str, trace: str) -> Iterator[Fact]:
    """Facts from a model's list, a line each: `subject | relation | object | words of the trace that say it`.

    A line whose quoted words do not stand in the trace is dropped: the list is a reading of the trace, not a second opinion.
    Without quotes the line needs subject and object in the trace.
    """
    flat = trace.casefold()
    for line in listed.splitlines():
        row = _ROW.match(line)
        if row is None:
            continue
        quote = (row["quote"] or "").strip().strip("\"'“”")
        subject, relation, object_ = (row[name].strip() for name in ("subject", "relation", "object"))
        if quote:
            first = flat.find(quote.casefold())
            span = (first, first + len(quote))
        else:
            first = min(flat.find(subject.casefold()), flat.find(object_.casefold()))
            span = (0, 0)
        if first >= 0:
            yield Fact(subject=subject, relation=relation, object=object_, first=span[0], last=span[1])


def admissible(
    facts: Iterable[Fact],
    *,
    question: str,
    answers: Sequence[str] = (),
    trace: str = "",
    hedges: re.Pattern[str] = HEDGES,
) -> list[Fact]:
    """The facts that may count for or against a chain, each once.

    Args:
        question: a fact all of whose words stand in it restates it.
        answers: the chain's answer and its aliases; a fact that holds one of them states the answer.
        trace: the chain, in which a fact's sentence must not be hedged, conditional or a question.
    """
    asked = set(_words(question))
    taken = [_words(answer) for answer in answers if _words(answer)]
    kept: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        words = _words(f"{fact.subject} {fact.relation} {fact.object}")
        restates = set(words) <= asked
        answering = any(_holds(words, answer) for answer in taken)
        if not (restates or answering or _hedged(fact, trace, hedges)):
            kept.setdefault(fact.key, fact)
    return list(kept.values())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _holds(words: list[str], wanted: list[str]) -> bool:
    """Whether these words stand there in this order: "Paris" is not in "Parisian"."""
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1))


def _hedged(fact: Fact, trace: str, hedges: re.Pattern[str]) -> bool:
    if not fact.last:
        return False
    start = max(trace.rfind(mark, 0, fact.first) for mark in ".!?\n;") + 1
    ends = [at for mark in ".!?\n;" if (at := trace.find(mark, max(fact.last - 1, fact.first))) >= 0]
    sentence = trace[start : min(ends, default=len(trace)) + 1]
    return hedges.search(sentence) is not None
