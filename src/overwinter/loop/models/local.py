"""Our own engine as a model of the loop: ids and log-probabilities of every answer, and constraints that hold.

    model = LocalModel(Config(path="path/to/model"))

What makes a run repeatable to the last bit: a prompt is made of the view alone; the seed of a question comes from `Limits.seed`, or
else from its idempotency key, which is a hash of run and entry; the engine gives the same numbers alone, in any batch and from
remembered prefixes (`Engine.is_exact` says whether this machine does); and `Completion.model` bears a hash of the weights, so that a
replay with others can say so.

This file alone of the loop knows engine and decoder (tests/test_structure.py), and loads them when a model is made.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from overwinter.errors import ModelError, UsageError
from overwinter.journal.canonical import canonical
from overwinter.loop.model import Completion, Constraint, Limits, Message, ToolCall, Usage, View
from overwinter.loop.models.chat import ChatForm

if TYPE_CHECKING:
    from overwinter.engine import Config as EngineConfig
    from overwinter.engine import Engine, Request, Result
    from overwinter.engine.compiling import Constraints
    from overwinter.engine.constraint import Constraint as Compiled
    from overwinter.engine.request import TokenLogprob
    from overwinter.model import TextFormat

DTYPES = ("float32", "bfloat16", "float16")
THINK, THOUGHT = "<think>", "</think>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Which model, and what its engine may use. All of it is in the setup of a run, so a resume makes the same model again.

    Attributes:
        path: a folder with config.json, safetensors and a tokenizer; or a name on the hub, "org/name" or "org/name@revision".
        dtype: of weights and computing; "" for what the files hold. Bits are promised in float32 alone.
        threads: of the whole process; None leaves torch's choice.
        context: longest prompt and answer together; None for what the model was trained for.
        kv_bytes: memory for keys and values; None for the engine's default.
        step_tokens: tokens computed at once.
        top_k, min_p: cut the unlikely; the loop itself sets temperature and top_p.
        exit_threshold: for looped models, how sure the exit gate has to be to spare a token further loops; 1 runs all.
        template_variables: further names the chat template reads, such as `enable_thinking`.
    """

    path: str
    dtype: Literal["", "float32", "bfloat16", "float16"] = ""
    threads: int | None = None
    context: int | None = None
    kv_bytes: int | None = None
    step_tokens: int = 512
    top_k: int = 0
    min_p: float = 0.0
    exit_threshold: float = 1.0
    template_variables: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype not in ("", *DTYPES):
            raise UsageError(f"dtype {self.dtype!r} is not known", f"use one of {', '.join(DTYPES)}, or leave it out")
        for name in ("threads", "context", "kv_bytes", "step_tokens"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"{name} is {value!r}", "give a whole number of at least 1")
        if not isinstance(self.template_variables, Mapping):
            raise UsageError("template_variables is no table", "write names and values, as {enable_thinking = false}")


def load(config: Config, engine: EngineConfig | None = None) -> tuple[Engine, TextFormat]:
    """Engine and text side of a model folder.

    Args:
        engine: other limits of the engine than the config's.

    Raises:
        UsageError: the folder is no model, a file of it is damaged, or the install has no torch.
    """
    from overwinter.model import TextFormat
    from overwinter.model.hub import find_folder

    folder = find_folder(config.path)
    text = TextFormat.load(folder)
    import torch

    from overwinter.engine import Config as EngineConfig
    from overwinter.engine import Engine
    from overwinter.model import load as load_decoder

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    decoder = load_decoder(folder, dtype=getattr(torch, config.dtype) if config.dtype else None)
    return Engine(decoder, text, engine or EngineConfig(**limits_of(config)), name=text.name), text


def limits_of(config: Config) -> dict[str, Any]:
    """The engine's part of a model's settings."""
    return {"context": config.context, "kv_bytes": config.kv_bytes, "step_tokens": config.step_tokens}


class LocalModel:
    """A `Model` over an engine of this process. Keeps no state between calls but the engine's memory of prefixes."""

    local = True
    stateless = True
    """An answer depends on the question alone, so a replay need not repeat those that failed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        engine, self._text = load(config)
        self._loaded: Engine | None = engine
        self.name = engine.name
        self.identity = f"{engine.name}@{engine.fingerprint.model[:12]}"
        room = engine.pool.config.blocks * engine.config.block_size
        self.context_tokens = min(engine.context_tokens, room)
        self._form = ChatForm.of(self._text, config.template_variables)
        self._last: tuple[View, list[int]] | None = None
        self._constraints = constraints_of(engine, self._text)

    def __repr__(self) -> str:
        return f"LocalModel({self.identity!r}, path={self.config.path!r})"

    @property
    def is_exact(self) -> bool:
        """Whether this machine keeps log-probabilities to the last bit; measured when first asked."""
        return self._engine.is_exact

    @property
    def _engine(self) -> Engine:
        if self._loaded is None:
            raise UsageError(f"the model {self.name} was closed", "make a new one")
        return self._loaded

    # --- prompts --------------------------------------------------------------------------------------------------

    def count_tokens(self, text: str) -> int:
        """Exactly as many as the text has by itself."""
        return len(self._text.encode(text, add_special=False))

    def count_view(self, view: View) -> int:
        return len(self.prompt_ids(view))

    @cached_property
    def turn_tokens(self) -> int:
        """What the template puts around a turn, at most: measured on a call and its result, and on two plain turns."""
        question, answer = Message(role="user", text="one"), Message(role="assistant", text="two")
        call = ToolCall(id="c1", tool="act", arguments={"n": 1})
        asked = Message(role="assistant", text="", tool_calls=(call,))
        result = Message(role="tool", text="three", tool_call_id="c1")
        tool = {"type": "function", "function": {"name": "act", "parameters": {"type": "object"}}}
        spoken = self.count_tokens(canonical([[call.tool, call.arguments]]).decode()) + self.count_tokens(result.text)

        def added(tools: tuple[dict[str, Any], ...], *turns: Message) -> int:
            alone, all_ = View(messages=(question,), tools=tools), View(messages=(question, *turns), tools=tools)
            return self.count_view(all_) - self.count_view(alone)

        plain = added((), answer, question) - self.count_tokens("two") - self.count_tokens("one")
        called = added((tool,), asked, result) - spoken
        return max(1, math.ceil(max(plain, called) / 2))

    def prompt_ids(self, view: View) -> list[int]:
        """The view as the model's template writes it, ready for an answer."""
        if self._last is None or self._last[0] is not view:
            turns, tools = self._form.turns(view)
            self._last = view, self._text.encode_chat(turns, tools, variables=self.config.template_variables)
        return self._last[1]

    # --- asking ---------------------------------------------------------------------------------------------------

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        """`n` answers, each from a seed of its own.

        Raises:
            ModelError: the prompt and the answer do not fit, the constraint cannot be enforced, or the time was up.
        """
        try:
            prompt, compiled = self.prompt_ids(view), self._constraint(view, constraint)
            requests = [self._request(prompt, compiled, limits, number) for number in range(n)]
            results = self._engine.run(requests)
        except UsageError as error:
            raise ModelError(error.problem, error.next_step) from error
        for result in results:
            self._refuse_unfinished(result, limits)
        is_free = constraint == Constraint()
        return [self._completion(result, number, constraint, is_free=is_free) for number, result in enumerate(results)]

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        """Log-probabilities of the tokens of each continuation, as an answer to the view.

        Raises:
            ModelError: view and continuation do not fit the context.
        """
        try:
            prompt = self.prompt_ids(view)
            return [self._engine.score(prompt, self._answer_ids(text)) for text in continuations]
        except UsageError as error:
            raise ModelError(error.problem, error.next_step) from error

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:  # noqa: ARG002
        """Nobody sends a bill."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Everything that shapes an answer."""
        return {"kind": "local", "model": self.identity, "context_tokens": self.context_tokens, "form": self._form}

    def close(self) -> None:
        """Let go of weights and memory."""
        self._loaded = None

    def _request(self, prompt: Sequence[int], compiled: Compiled | None, limits: Limits, number: int) -> Request:
        from overwinter.engine import Request, SamplingParams
        from overwinter.engine.sampling import MAX_TOP_LOGPROBS
        from overwinter.engine.watching import Reflect, StopBelow

        return Request(
            prompt_ids=tuple(prompt),
            max_tokens=limits.max_tokens,
            sampling=SamplingParams(
                temperature=limits.temperature,
                top_p=limits.top_p,
                top_k=self.config.top_k,
                min_p=self.config.min_p,
                seed=seed_of(limits, number),
            ),
            # A list of choices or a schema says itself where the answer ends.
            stop=limits.stop if compiled is not None else (*limits.stop, *self._text.turn_stops),
            constraint=compiled,
            logprobs=limits.top_logprobs,
            exit_threshold=self.config.exit_threshold,
            stop_below=None
            if limits.stop_below is None
            else StopBelow(at=limits.stop_below, window=limits.stop_window, k=limits.top_logprobs or MAX_TOP_LOGPROBS),
            # A constraint says itself what comes next.
            reflect=Reflect(ids=tuple(self._answer_ids(limits.reflect)))
            if limits.reflect and compiled is None
            else None,
            timeout_s=limits.timeout_s if math.isfinite(limits.timeout_s) else None,
        )

    def _refuse_unfinished(self, result: Result, limits: Limits) -> None:
        if result.finish == "timeout":
            raise ModelError(
                f"no whole answer of {self.name} within {limits.timeout_s:g} s:"
                f" {len(result.output_ids)} of up to {limits.max_tokens} tokens",
                "give questions more time (pace.sample_timeout_s), or ask for fewer tokens (pace.max_tokens)",
            )
        if result.finish not in ("stop", "length", "doubt"):
            raise ModelError(
                f"{self.name} could not go on after {len(result.output_ids)} tokens: {result.problem or result.finish}",
                "check the weights with `overwinter model info`, and the constraint",
            )

    def _completion(self, result: Result, number: int, constraint: Constraint, *, is_free: bool) -> Completion:
        text, reasoning = split_reasoning(result.text) if is_free else (result.text, "")
        if constraint.choices:
            # What was chosen, without the space that some tokenizers put before a text.
            text = next((choice for choice in constraint.choices if choice.strip() == text.strip()), text)
        return Completion(
            text=text,
            reasoning=reasoning,
            token_ids=result.output_ids,
            prompt_token_ids=result.prompt_ids,
            logprobs=tuple(_number(each) for each in result.logprobs),
            top_logprobs=tuple(self._alternatives(each) for each in result.logprobs if each.top),
            finish_reason=result.finish if result.finish in ("stop", "doubt") else "length",
            usage=Usage(
                prompt_tokens=len(result.prompt_ids)
                if number == 0
                else 0,  # one prompt serves all, and is counted once
                completion_tokens=len(result.output_ids),
                cached_tokens=result.cached_tokens if number == 0 else 0,
                attempts=1 if number == 0 else 0,
            ),
            model=self.identity,
        )

    def _alternatives(self, row: TokenLogprob) -> dict[str, float]:
        """By the token's text, and by its name in the vocabulary where several write the same (parts of characters, say)."""
        texts = [self._text.token_text(token) for token, _ in row.top]
        names = [
            text if texts.count(text) == 1 else str(self._text.tokenizer.id_to_token(token))
            for text, (token, _) in zip(texts, row.top, strict=True)
        ]
        return {name: value for name, (_, value) in zip(names, row.top, strict=True)}

    def _constraint(self, view: View, constraint: Constraint) -> Compiled | None:
        if constraint.choices:
            return self._constraints.choices(constraint.choices, lead=self._lead)
        if constraint.json_schema is not None:
            return self._constraints.json_schema(constraint.json_schema)
        if constraint.call and view.tools:
            return self._constraints.call(view.tools, tagged=self._form.calls and self._form.tagged)
        return None

    def _answer_ids(self, text: str) -> list[int]:
        return self._text.encode(self._lead + text, add_special=False)

    @cached_property
    def _lead(self) -> str:
        """The space between `assistant:` and an answer, where no template ends the prompt and no tokenizer puts one there."""
        if not self._text.template.is_plain:
            return ""
        first = self._text.encode("x", add_special=False)[:1]
        return "" if first and self._text.token_bytes(first[0]).startswith(b" ") else " "


def constraints_of(engine: Engine, text: TextFormat) -> Constraints:
    from overwinter.engine.compiling import Constraints

    return Constraints(text, vocab_size=engine.vocab_size)


def seed_of(limits: Limits, number: int) -> int | None:
    """The seed of the `number`-th answer to a question: the given one for the first; where none is given, a hash of the
    idempotency key, the same whenever the question is asked again. None without either."""
    if limits.seed is not None and number == 0:
        return limits.seed
    base = limits.idempotency_key if limits.seed is None else str(limits.seed)
    if not base:
        return None
    return int.from_bytes(hashlib.sha256(f"{base}/{number}".encode()).digest()[:8], "big") >> 1


def split_reasoning(text: str) -> tuple[str, str]:
    """(what is said, what was thought before): models that think put it in front, some templates open the tag for them."""
    if THOUGHT in text:
        thought, _, said = text.partition(THOUGHT)
        return said.lstrip("\n"), thought.removeprefix(THINK).strip()
    if text.startswith(THINK):
        return "", text.removeprefix(THINK).strip()
    return text, ""


def _number(each: TokenLogprob) -> float:
    assert each.logprob is not None, "asked for"
    return each.logprob
