"""What a caller asks of the engine, and what it is told: values that never change and hold no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from overwinter.engine.sampling import MAX_TOP_LOGPROBS, SamplingParams
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.engine.constraint import Constraint
    from overwinter.engine.watching import Reflect, StopBelow

Finish = Literal["stop", "length", "cancelled", "timeout", "fault", "doubt"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sequence to be continued.

    Args:
        prompt_ids: at least one token.
        max_tokens: most tokens of the output; 0 computes the prompt alone, for its log-probabilities.
        sampling: how tokens are chosen; its seed makes the output repeatable.
        stop: strings that end the output wherever token borders fall.
        include_stop: keep the stop string in the text.
        ignore_end: go on past the model's end tokens.
        constraint: what the output must be; None for anything.
        logprobs: None for none, else how many alternatives are listed beside each chosen token (0 to 20).
        prompt_logprobs: the same for the tokens of the prompt. The first one has no probability.
        prompt_logprobs_from: the first prompt token that is wanted; those before it may come from memory.
        salt: a tenant's secret. Prefixes are shared within one salt only.
        exit_threshold: for looped models, the exit probability at which a token needs no further loop; 1 runs all.
        timeout_s: ends the sequence that long after it was submitted.
        stop_below: end it, with finish "doubt", where its running confidence sinks below a bar (watching.py).
        reflect: force a word behind steps that lost confidence; not together with a constraint.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    ignore_end: bool = False
    constraint: Constraint | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    prompt_logprobs_from: int = 1
    salt: bytes = b""
    exit_threshold: float = 1.0
    timeout_s: float | None = None
    stop_below: StopBelow | None = None
    reflect: Reflect | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt_ids", tuple(self.prompt_ids))
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if not self.prompt_ids:
            raise UsageError("the prompt has no tokens", "give at least one; models with a start token begin with it")
        if self.max_tokens < 0 or (self.max_tokens == 0 and self.prompt_logprobs is None):
            raise UsageError(
                f"max_tokens is {self.max_tokens}", "ask for at least one token, or for prompt_logprobs with none"
            )
        for name in ("logprobs", "prompt_logprobs"):
            count = getattr(self, name)
            if count is not None and not 0 <= count <= MAX_TOP_LOGPROBS:
                raise UsageError(f"{name} is {count}", f"give 0 to {MAX_TOP_LOGPROBS} alternatives, or None")
        if not 0.0 < self.exit_threshold <= 1.0:
            raise UsageError(
                f"exit_threshold is {self.exit_threshold}", "give a probability above 0; 1 runs every loop"
            )
        if self.reflect is not None and self.constraint is not None:
            raise UsageError(
                "a constraint and a forced word contradict each other", "leave out reflect or the constraint"
            )
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise UsageError(f"timeout_s is {self.timeout_s}", "give a positive number of seconds, or None")


class TokenLogprob(NamedTuple):
    """A token's log-probability under the model alone, before constraint, bias, penalties and temperature."""

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens, best first, as (id, log-probability)."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What one step made visible of one sequence.

    Attributes:
        sequence: the number that `submit` gave.
        token_ids: new output tokens.
        text: newly visible text. Characters are held back while they are incomplete or may begin a stop string.
        logprobs: aligned with `token_ids`, where asked for.
        finish: why the sequence has ended, in its last event; "fault" where no token could be chosen, "doubt" where its confidence
            sank below the bar it was given.
        stop: the stop string that ended it.
        problem: what went wrong, for "fault".
        prompt_logprobs: in a sequence's first event, from `prompt_logprobs_from` on, where asked for.
        cached_tokens: in a sequence's first event, tokens of the prompt that came from memory.
    """

    sequence: int
    token_ids: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    stop: str | None = None
    problem: str = ""
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    cached_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """A whole sequence after its end."""

    sequence: int
    prompt_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprob, ...]
    prompt_logprobs: tuple[TokenLogprob, ...]
    """From `prompt_logprobs_from` on."""
    finish: Finish
    stop: str | None
    problem: str
    cached_tokens: int
    """Tokens of the prompt that came from memory."""
