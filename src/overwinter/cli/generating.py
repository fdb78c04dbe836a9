"""`generate`: text from a model folder, streamed to the terminal, by the engine of this process."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from overwinter.cli.flags import Plain
from overwinter.cli.output import Output, note, one_line
from overwinter.errors import ModelError, UsageError

if TYPE_CHECKING:
    from overwinter.engine import Engine, Request
    from overwinter.engine.constraint import Constraint
    from overwinter.engine.request import Event, TokenLogprob
    from overwinter.loop.models.local import Config
    from overwinter.model import TextFormat

MAX_TOKENS = 256
"""Longest answer where nobody says, if the context leaves that much."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Which model."""

    model: Annotated[
        str | None,
        typer.Option("--model", metavar="PATH", help="A folder, or a name on the hub; default: the configuration's."),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="NAME", help="float32, bfloat16 or float16; default: as in the files."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """How tokens are chosen, and when to stop."""

    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="NUMBER", min=1, help=f"Longest answer; default: {MAX_TOKENS}."),
    ] = None
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="NUMBER", help="0, the default, takes the likeliest token.")
    ] = 0.0
    top_p: Annotated[
        float, typer.Option("--top-p", metavar="SHARE", help="The likeliest tokens that hold this share; 1 is off.")
    ] = 1.0
    top_k: Annotated[int, typer.Option("--top-k", metavar="NUMBER", help="The so many likeliest; 0 is off.")] = 0
    min_p: Annotated[
        float, typer.Option("--min-p", metavar="SHARE", help="Tokens with this share of the best one's; 0 is off.")
    ] = 0.0
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="NUMBER", help="The same seed, the same text; default: a new one.")
    ] = None
    exit_threshold: Annotated[
        float,
        typer.Option("--exit-threshold", metavar="SHARE", help="Of looped models: spare loops from here on; 1 is off."),
    ] = 1.0
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="Ends the answer; several times for several.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """What goes in and what must come out."""

    chat: Annotated[bool, typer.Option("--chat", help="Put PROMPT into the model's chat template, as the user.")] = (
        False
    )
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="With --chat: the system turn.")] = None
    logprobs: Annotated[
        int | None,
        typer.Option("--logprobs", metavar="NUMBER", min=0, max=20, help="List tokens with so many alternatives."),
    ] = None
    schema: Annotated[
        Path | None, typer.Option("--schema", metavar="FILE", help="The answer is JSON of this JSON schema.")
    ] = None
    choices: Annotated[
        list[str] | None, typer.Option("--choices", metavar="TEXT", help="The answer is one of these; repeat it.")
    ] = None
    regex: Annotated[
        str | None, typer.Option("--regex", metavar="PATTERN", help="The answer matches this regular expression.")
    ] = None


def generate(
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="The text to go on from; without it, standard input.")
    ] = None,
    *,
    weights: Weights,
    choosing: Choosing,
    form: Form,
    common: Plain,
) -> None:
    """Generate text with a model folder."""
    from overwinter.loop.models.local import load

    if form.system is not None and not form.chat:
        raise UsageError("--system is a turn of a chat", "add --chat, or put it into PROMPT")
    asked = _prompt(prompt)
    engine, text = load(local_config(weights, common))
    request = _request(engine, text, asked, choosing, form)
    out = Output(as_json=common.json)
    told = _Told(prompt_tokens=len(request.prompt_ids))
    try:
        for event in told.watch(engine.stream(request)):
            out.piece(event.text)
    except KeyboardInterrupt:
        told.finish = "cancelled"
    out.piece("\n")
    if form.logprobs is not None:
        _list_logprobs(out, text, told.logprobs)
    out.record(_record(engine, text, request, told))
    if not common.json:
        note(told.rate())
    if told.finish == "cancelled":
        raise typer.Exit(130)
    if told.finish == "fault":
        raise ModelError(f"the model could not go on: {told.problem}", "look at it with `overwinter model info`")


def local_config(weights: Weights, common: Plain) -> Config:
    """The model folder that flags or the configuration name.

    Raises:
        UsageError: they name none, or one that runs elsewhere.
    """
    from overwinter.cli.setup import model_spec
    from overwinter.cli.workplace import load_settings
    from overwinter.loop.models.local import Config

    settings = load_settings(common, {"model": weights.model}).settings
    if not settings.model:
        raise UsageError("no model is named", "give --model PATH, a folder with config.json and safetensors")
    spec = model_spec(settings.model, settings)
    if spec.pop("kind") != "local":
        raise UsageError(f"{settings.model!r} does not run in this process", "give --model PATH, a model folder")
    return Config(**{**spec, **({} if weights.dtype is None else {"dtype": weights.dtype})})


class _Told:
    """What an answer has said so far, and how fast."""

    def __init__(self, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.ids: list[int] = []
        self.text = self.problem = ""
        self.logprobs: list[TokenLogprob] = []
        self.finish: str | None = None
        self.stop: str | None = None
        self._began = self._first = self._last = time.perf_counter()

    def watch(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            self._last = time.perf_counter()
            if not self.ids:
                self._first = self._last
            self.ids += event.token_ids
            self.text += event.text
            self.logprobs += event.logprobs
            if event.finish is not None:
                self.finish, self.stop, self.problem = event.finish, event.stop, event.problem
            yield event

    @property
    def prefill_s(self) -> float:
        return self._first - self._began

    @property
    def decode_s(self) -> float:
        return self._last - self._first

    @property
    def tokens_s(self) -> float | None:
        """Of the tokens behind the first; None for a single one."""
        return (len(self.ids) - 1) / self.decode_s if len(self.ids) > 1 and self.decode_s > 0 else None

    def rate(self) -> str:
        speed = "" if self.tokens_s is None else f", {self.tokens_s:.1f} a second"
        prompt = f"after {self.prompt_tokens} of prompt in {self.prefill_s:.2f} s"
        return f"{len(self.ids)} tokens{speed}, {prompt}; ended by {_end_words(self.finish, self.stop)}"


def _end_words(finish: str | None, stop: str | None) -> str:
    if stop is not None:
        return f"the stop string {stop!r}"
    return {"stop": "the model", "length": "--max-tokens", "cancelled": "Ctrl-C"}.get(str(finish), str(finish))


def _prompt(given: str | None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        raise UsageError("there is no prompt", "give PROMPT, or pipe a text into the command")
    return sys.stdin.read()


def _request(engine: Engine, text: TextFormat, prompt: str, choosing: Choosing, form: Form) -> Request:
    from overwinter.engine import Request, SamplingParams

    ids, stops = _prompt_ids(text, prompt, form), list(choosing.stop or ())
    if form.chat:
        stops += text.turn_stops
    room = max(1, engine.context_tokens - len(ids))
    seed = choosing.seed
    if seed is None and choosing.temperature > 0:
        seed = secrets.randbits(63)  # known, so that --json can say it
    return Request(
        prompt_ids=tuple(ids),
        max_tokens=min(MAX_TOKENS, room) if choosing.max_tokens is None else choosing.max_tokens,
        sampling=SamplingParams(
            temperature=choosing.temperature,
            top_p=choosing.top_p,
            top_k=choosing.top_k,
            min_p=choosing.min_p,
            seed=seed,
        ),
        stop=tuple(stops),
        constraint=_constraint(engine, text, form),
        logprobs=form.logprobs,
        exit_threshold=choosing.exit_threshold,
    )


def _prompt_ids(text: TextFormat, prompt: str, form: Form) -> list[int]:
    if not form.chat:
        return text.encode(prompt)
    turns = [{"role": "user", "content": prompt}]
    if form.system is not None:
        turns.insert(0, {"role": "system", "content": form.system})
    return text.encode_chat(turns)


def _constraint(engine: Engine, text: TextFormat, form: Form) -> Constraint | None:
    given = [each for each in (form.schema, form.choices, form.regex) if each]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError("--schema, --choices and --regex each say what the answer is", "give one of them")
    from overwinter.engine.compiling import Constraints

    constraints = Constraints(text, vocab_size=engine.vocab_size)
    if form.choices:
        return constraints.choices(form.choices)
    if form.regex:
        return constraints.regex(form.regex)
    assert form.schema is not None
    try:
        schema = json.loads(form.schema.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{form.schema} cannot be read: {error}", "name a file with a JSON schema") from error
    return constraints.json_schema(schema)


def _record(engine: Engine, text: TextFormat, request: Request, told: _Told) -> dict[str, Any]:
    record: dict[str, Any] = {
        "model": engine.name,
        "text": told.text,
        "finish": told.finish,
        "stop": told.stop,
        "prompt_tokens": told.prompt_tokens,
        "token_ids": told.ids,
        "seed": request.sampling.seed,
        "prefill_s": told.prefill_s,
        "decode_s": told.decode_s,
        "tokens_s": told.tokens_s,
    }
    if request.logprobs is not None:
        record["logprobs"] = [
            {"id": each.token_id, "token": text.token_text(each.token_id), "logprob": each.logprob}
            | {"top": [{"id": id_, "token": text.token_text(id_), "logprob": value} for id_, value in each.top]}
            for each in told.logprobs
        ]
    return record


def _list_logprobs(out: Output, text: TextFormat, rows: Sequence[TokenLogprob]) -> None:
    def cells(each: TokenLogprob) -> list[str]:
        others = ", ".join(f"{one_line(repr(text.token_text(id_)), 24)} {value:.3f}" for id_, value in each.top)
        return [str(each.token_id), f"{each.logprob:.4f}", one_line(repr(text.token_text(each.token_id)), 24), others]

    out.table(["ID", "LOG-PROB", "TOKEN", "LIKELIEST"], map(cells, rows), right=["ID", "LOG-PROB"])
