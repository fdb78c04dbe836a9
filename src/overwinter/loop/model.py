"""The Model protocol: from a view to completions, and what a completion must carry so that it can be replayed and trained on.

A model is asked twice at most: `sample` for new text, `score` for the log-probabilities of text that is given. It keeps no
state between calls; what it needs is in the view. Everything it returns is written to the journal before anyone acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled", "doubt"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A call the model asks for. `arguments` is the parsed object, or the raw string where it is not valid JSON."""

    id: str
    tool: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of the conversation a model is shown.

    Attributes:
        entry: the journal entry this turn renders; None for text the view itself adds (status line, legal actions).
        tool_call_id: for role "tool", the call this answers.
    """

    role: Role
    text: str
    entry: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a model sees for one step: a rendering of part of the journal.

    Attributes:
        messages: oldest first; the first is the system turn with goal, acceptance list and open commitments.
        tools: tool schemas in the OpenAI "tools" form.
        observation: the world's last observation as JSON values, for policies in Python; empty without a world.
        legal_actions: what the world allows now, empty without a world.
        shown: closed ranges (first, last) of entries, ascending; of these, the kinds in `loop.state.VISIBLE` are rendered.
        hidden: how many entries of the run are not shown.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    observation: Mapping[str, Any] = field(default_factory=dict)
    legal_actions: tuple[str, ...] = ()
    shown: tuple[tuple[int, int], ...] = ()
    hidden: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """What the text of a completion must satisfy. At most one of the three is set; an endpoint that cannot enforce it says so.

    Attributes:
        choices: the text is one of these strings.
        json_schema: the text is JSON of this schema.
        call: the text is a call of one of the view's tools. The view asks for it in words too, so a model that enforces
            nothing ignores this.
    """

    choices: tuple[str, ...] = ()
    json_schema: Mapping[str, Any] | None = None
    call: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds and sampling settings of one call.

    Attributes:
        max_tokens: most tokens of one completion.
        timeout_s: wall time of the whole call, retries included.
        top_logprobs: how many alternatives per token to ask for (0 asks for none, the chosen token's included).
        seed: passed on where the model takes one.
        idempotency_key: the same for every attempt of one journalled call, so that a server that knows it bills once. Our own
            engine makes a seed of it where none is given.
        stop_below: end an answer, with finish reason "doubt", where the mean confidence of its last `stop_window` tokens sinks below this
            (DeepConf online). Our own engine does so token by token; who cannot leaves it out and gives whole answers.
        reflect: a word to force behind steps that lost confidence (SelfStepConf), "" for none; likewise.
    """

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int = 0
    timeout_s: float = 120.0
    idempotency_key: str = ""
    stop_below: float | None = None
    stop_window: int = 2048
    reflect: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What one completion cost.

    Attributes:
        prompt_tokens, completion_tokens: as the server counts them.
        cached_tokens: the part of `prompt_tokens` that came from a prefix cache.
        lost_tokens: tokens of attempts that may have been billed without an answer reaching us (cut streams, timeouts);
            an upper bound, charged to the budget so that it is never overdrawn.
        micro_usd: money in millionths of a US dollar, from the prices in the configuration; 0 where none are set.
        attempts: requests sent, the successful one included.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    lost_tokens: int = 0
    micro_usd: int = 0
    attempts: int = 1

    @property
    def tokens(self) -> int:
        """Everything the budget is charged for."""
        return self.prompt_tokens + self.completion_tokens + self.lost_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One sampled answer.

    Attributes:
        text: the visible text; for a native tool call usually empty.
        tool_calls: calls in the server's native form, or () where the text has to be parsed.
        reasoning: thinking text the server returns apart from `text`, "" if none.
        token_ids: ids of the completion, None where the server gives none: such an entry is text-only, and `learn` refuses it.
        prompt_token_ids: ids of the prompt, None where the server gives none.
        logprobs: natural log-probability of each chosen token, aligned with `token_ids` or with the server's token strings.
        top_logprobs: per token, {token string: log-probability} of the alternatives; () if not asked for.
        model: the name the server answers under.
        choice_probability: of the answer among all that could be said, where that was a list of choices; at temperature 1. `logprobs` are
            the model's own, over its whole vocabulary.
        success_chance: the stated probability that the goal will be met, calibrated; None where the model states none.
        signals: other numbers of the model's about its answer, by name, for the confidence record.
        vote: where several samples were taken and this one was chosen, how; plain JSON for the journal.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[Mapping[str, float], ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    choice_probability: float | None = None
    success_chance: float | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    vote: Mapping[str, Any] | None = None

    @property
    def text_only(self) -> bool:
        """True where the server gave no token ids: replay compares text, and `learn` refuses the entry."""
        return self.token_ids is None


@runtime_checkable
class Model(Protocol):
    """Anything that answers a view: the local engine, a remote endpoint, a script, a policy."""

    name: str
    context_tokens: int
    """Largest prompt plus completion; the view is cut to fit."""
    local: bool
    """Runs in this process: an answer that is lost with the process was billed by nobody."""

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, exact where a tokenizer is at hand, else an estimate that is never too small for English text."""
        ...

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        """`n` completions of `view`. Raises ModelError when the model cannot answer for good."""
        ...

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        """Log-probabilities of the tokens of each continuation. Raises ModelError where the model cannot score."""
        ...

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Price of a call in millionths of a US dollar; the budget reserves by it. 0 for local models."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class CountsViews(Protocol):
    """A model that has its tokenizer and template at hand, and so knows how long a view becomes as a prompt."""

    turn_tokens: int
    """What the template adds to a turn, about."""

    def count_view(self, view: View) -> int:
        """Tokens of the whole prompt, exactly."""
        ...
