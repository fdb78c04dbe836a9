"""The ranking stage for any model (2603.03379): pre-filter to a budget, ask, read strictly, fall back, assemble.

    sifted = Sifter(ask).sift("Where do I work now?", sessions)
    sifted.shown        # what the working model gets to see, in order of time
    sifted.problem      # "" or why the order is that of similarity

It never fails: a model that is away, slow or talks nonsense costs the ranking, not the answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from overwinter.errors import OverwinterError, UsageError
from overwinter.memory.sift.prompt import TOP, parse_ranking, ranking_prompt
from overwinter.memory.sift.session import CountTokens, Session, session_tokens
from overwinter.memory.unit import rough_tokens

Ask = Callable[[str], str]
"""From a prompt to the answer's whole text, thinking included. May raise any OverwinterError, OSError, TimeoutError or ValueError."""

FAILURES = (OverwinterError, OSError, TimeoutError, ValueError)


class Reranker(Protocol):
    """Puts candidates into an order: the ranker of our own, a model behind a prompt, or anything else."""

    def rank(self, question: str, candidates: Sequence[Session]) -> list[int]:
        """Positions in `candidates`, best first, each exactly once."""
        ...


def margin_is_small(scores: Sequence[float], margin: float = 0.15, first: int = 5, last: int = 15) -> bool:
    """Whether a second look is worth its time: the scores of rank 5 and rank 15 differ by little of the best.

    Args:
        scores: best first. With fewer than `first` + 1 there is nothing to sort out.
        margin: share of the best score.
    """
    if len(scores) <= first or scores[0] <= 0:
        return len(scores) > first
    return (scores[first - 1] - scores[min(last, len(scores)) - 1]) / scores[0] < margin


@dataclass(frozen=True, kw_only=True)
class Config:
    """Attributes:
    context_tokens: what the ranking model can read, question and rules included.
    shown_tokens: budget of the sessions that are shown to the working model.
    top: how many sessions the ranking names.
    wait_s: longest wait for the model.
    """

    context_tokens: int = 128_000
    shown_tokens: int = 8_192
    top: int = TOP
    wait_s: float = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Sifted:
    """What came of it.

    Attributes:
        shown: sessions for the working model, in order of time.
        order: all sessions, best first: the ranked ones, then the rest by similarity.
        ranked: how many at its beginning the model ranked; 0 after a fall-back.
        problem: why there was a fall-back, "" if there was none.
    """

    shown: tuple[Session, ...]
    order: tuple[Session, ...]
    ranked: int
    problem: str
    asked_s: float


class Sifter:
    """See the module docstring.

    Args:
        ask: the model; None goes by similarity alone.
        count_tokens: of the model's tokenizer, else about four characters a token.
        clock: seconds, for the time that is reported.
    """

    def __init__(
        self,
        ask: Ask | None,
        config: Config | None = None,
        *,
        count_tokens: CountTokens = rough_tokens,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ask, self.config = ask, config or Config()
        self._count, self._clock = count_tokens, clock
        if self.config.top < 1 or self.config.wait_s <= 0:
            raise UsageError(f"cannot sift with {self.config}", "give top ≥ 1 and wait_s > 0")

    def sift(self, question: str, sessions: Sequence[Session]) -> Sifted:
        """Rank sessions (whose `score` is the similarity) and assemble the best within the budget."""
        started = self._clock()
        listed = prefilter(question, sessions, self.config, self._count)
        order, problem = self._ranked(question, listed)
        asked_s = self._clock() - started
        first = [listed[position] for position in order]
        keys = {id(session) for session in first}
        whole = first + [session for session in by_similarity(sessions) if id(session) not in keys]
        shown = assemble(whole, self.config.shown_tokens, self._count)
        return Sifted(shown=tuple(shown), order=tuple(whole), ranked=len(first), problem=problem, asked_s=asked_s)

    def _ranked(self, question: str, listed: Sequence[Session]) -> tuple[tuple[int, ...], str]:
        if self.ask is None:
            return (), "no model to ask"
        if len(listed) < 2:
            return (), "nothing to rank" if not listed else ""
        answer, problem = call_within(self.ask, ranking_prompt(question, listed, self.config.top), self.config.wait_s)
        if problem:
            return (), problem
        ranking = parse_ranking(answer, len(listed), self.config.top)
        return ranking.order, ranking.problem


class ModelReranker:
    """A model behind the prompt, as a Reranker; what it does not name follows in the order of similarity.

    Attributes:
        problem: why the last call fell back, "" if it did not.
    """

    def __init__(self, ask: Ask, config: Config | None = None, *, count_tokens: CountTokens = rough_tokens) -> None:
        self._sifter = Sifter(ask, config, count_tokens=count_tokens)
        self.problem = ""

    def rank(self, question: str, candidates: Sequence[Session]) -> list[int]:
        sifted = self._sifter.sift(question, candidates)
        self.problem = sifted.problem
        place = {id(session): position for position, session in enumerate(candidates)}
        return [place[id(session)] for session in sifted.order]


def by_similarity(sessions: Sequence[Session]) -> list[Session]:
    """Best first; ties in order of time, newest first."""
    return sorted(sessions, key=lambda session: (-session.score, -(session.happened_us or 0)))


def in_time_order(sessions: Sequence[Session]) -> list[Session]:
    return sorted(sessions, key=lambda session: session.happened_us or 0)


def prefilter(question: str, sessions: Sequence[Session], config: Config, count_tokens: CountTokens) -> list[Session]:
    """The most similar sessions that the model can read at once, in order of time; their places are their numbers.

    It stops at the first that does not fit, as published, so that a long session never gives way to a worse short one.
    """
    left = config.context_tokens - count_tokens(ranking_prompt(question, [], config.top))
    return in_time_order(_fill(by_similarity(sessions), left, count_tokens))


def assemble(order: Sequence[Session], budget_tokens: int, count_tokens: CountTokens = rough_tokens) -> list[Session]:
    """The first sessions of an order that fit the budget, in order of time."""
    return in_time_order(_fill(order, budget_tokens, count_tokens))


def _fill(order: Sequence[Session], left: int, count_tokens: CountTokens) -> list[Session]:
    taken = []
    for session in order:
        left -= session_tokens(session, count_tokens)
        if left < 0:
            break
        taken.append(session)
    return taken


def call_within(ask: Ask, prompt: str, wait_s: float) -> tuple[str, str]:
    """(answer, "") or ("", what went wrong). A call that is late goes on in its own thread and is not listened to."""
    result: list[str] = []
    problem: list[str] = []

    def work() -> None:
        try:
            result.append(ask(prompt))
        except FAILURES as error:
            problem.append(f"{type(error).__name__}: {error}".partition("\n")[0])

    thread = threading.Thread(target=work, name="sift", daemon=True)
    thread.start()
    thread.join(wait_s)
    if thread.is_alive():
        return "", f"no answer within {wait_s:g} s"
    if problem:
        return "", problem[0]
    if not result:
        return "", "the model's call ended with an error of the program"
    return result[0], ""
