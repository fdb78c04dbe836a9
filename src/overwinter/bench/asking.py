"""What the bench asks of a model, in its own few words: the command line fills it with any model of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One question to a model.

    Attributes:
        said: (role, text), oldest first, roles "user" and "assistant" in turn.
        choices: the answer must be one of these; () for any text.
        key: the same for each attempt of one journalled question.
    """

    said: Sequence[tuple[str, str]]
    max_tokens: int
    temperature: float
    seed: int | None
    choices: tuple[str, ...] = ()
    timeout_s: float = 600.0
    key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What it said.

    Attributes:
        usage: prompt_tokens, completion_tokens, cached_tokens, lost_tokens, micro_usd, attempts.
        confidence: of a choice its probability, else the geometric mean of the tokens' probabilities; None where unknown.
        tokens: token ids, prompt ids and log-probabilities as the journal keeps them; {} where the model gives none.
    """

    text: str
    finish_reason: str = "stop"
    reasoning: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    model: str = ""
    confidence: float | None = None
    tokens: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spent_tokens(self) -> int:
        return sum(self.usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens", "lost_tokens"))


class Asker(Protocol):
    """Answers questions. Called from several threads where `parallel` is above one."""

    name: str
    local: bool
    """Lost with this process: what was not answered was billed by nobody."""
    context_tokens: int

    def count(self, said: Sequence[tuple[str, str]]) -> int:
        """Tokens of the prompt, never too few."""
        ...

    def ask(self, asked: Asked) -> Reply:
        """Raises ModelError when there is no answer to be had."""
        ...

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """One episode of a world.

    Attributes:
        run: the run of the loop in which it was played, and its last entry.
        success: None where the episode is not over.
        score: of the world's judge, on the world's own scale.
    """

    run: str
    entry: int
    success: bool | None
    score: float
    steps: int
    tokens_in: int
    tokens_out: int
    tool_calls: int
    seconds: float
    stated: float | None = None


class Player(Protocol):
    """Plays worlds, each episode as a run of its own."""

    name: str

    def play(self, world: str, seed: int, run: str) -> Played:
        """Play to the end, or go on with the run of this name if there is one."""
        ...
