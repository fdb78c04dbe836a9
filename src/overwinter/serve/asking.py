"""From a checked body to the engine's requests: limits, sampling, seeds."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from overwinter.engine.constraint import Constraint
from overwinter.engine.request import Request
from overwinter.engine.sampling import SamplingParams
from overwinter.serve.config import Config
from overwinter.serve.errors import Refusal
from overwinter.serve.keys import Tenant
from overwinter.serve.schemas.common import Sampling
from overwinter.serve.served import Served


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a request asks beside its sampling fields.

    Attributes:
        max_tokens: None for as many as fit.
        n: outputs for each prompt.
        logprobs: alternatives beside each token; None for no log-probabilities.
        prompt_logprobs: the same for the prompt.
        stops: that the server adds, such as the ends of turns.
    """

    max_tokens: int | None
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    constraint: Constraint | None = None
    stops: tuple[str, ...] = ()


def demand_model(served: Served, name: str) -> None:
    """Raises Refusal with 404 where a client asks for another model."""
    if name != served.name:
        raise Refusal(
            404, f"there is no model {name!r} here, only {served.name!r}", param="model", code="model_not_found"
        )


def room_for(served: Served, config: Config, prompt_tokens: int, asked: int | None) -> int:
    """How many tokens the output may have.

    Raises:
        Refusal: prompt and output do not fit; nothing is ever cut.
    """
    most = served.most_tokens
    if asked is not None and config.max_output_tokens is not None and asked > config.max_output_tokens:
        raise Refusal(
            400,
            f"{asked} tokens of output are asked for, this server gives at most {config.max_output_tokens}",
            code="output_limit_exceeded",
        )
    least = 1 if asked is None else asked
    if prompt_tokens + least > most:
        raise Refusal(
            400,
            f"the prompt has {prompt_tokens} tokens and {least} of output are asked for, together"
            f" {prompt_tokens + least}; {served.name} holds {most}; shorten the prompt or ask for less",
            code="context_length_exceeded",
        )
    if asked is not None:
        return asked
    return min(most - prompt_tokens, config.max_output_tokens or most)


def requests_of(
    served: Served, config: Config, tenant: Tenant, body: Sampling, prompts: Sequence[Sequence[int]], wish: Wish
) -> list[Request]:
    """The engine's requests, all outputs of the first prompt first.

    Raises:
        Refusal: too many, or too long.
        UsageError: the engine refuses a value.
    """
    if len(prompts) * wish.n > config.max_sequences:
        raise Refusal(
            400, f"{len(prompts)} prompts with n={wish.n} are more than {config.max_sequences} sequences", param="n"
        )
    samplings = [sampling_of(body, choice) for choice in range(wish.n)]
    requests = []
    for prompt in prompts:
        if not prompt:
            raise Refusal(400, "a prompt has no tokens; give at least one", param="prompt")
        room = room_for(served, config, len(prompt), wish.max_tokens)
        for sampling in samplings:
            request = Request(
                prompt_ids=tuple(prompt),
                max_tokens=room,
                sampling=sampling,
                stop=(*body.stops, *wish.stops),
                include_stop=bool(body.include_stop_str_in_output),
                ignore_end=bool(body.ignore_eos),
                constraint=wish.constraint,
                logprobs=wish.logprobs,
                prompt_logprobs=wish.prompt_logprobs,
                prompt_logprobs_from=0,
                salt=tenant.salt,
                exit_threshold=1.0 if body.exit_threshold is None else body.exit_threshold,
                timeout_s=config.sequence_timeout_s,
            )
            requests.append(request)
    return requests


def sampling_of(body: Sampling, choice: int) -> SamplingParams:
    """How one of `n` outputs chooses: the first by the seed as given, the others by seeds that follow it."""
    greedy = body.top_p == 0  # the API allows it and means the best token
    seed = secrets.randbits(62) if body.seed is None else body.seed
    given = {
        "temperature": 0.0 if greedy else body.temperature,
        "top_p": 1.0 if greedy else body.top_p,
        "top_k": max(0, body.top_k or 0),
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
    }
    return SamplingParams(
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        logit_bias=tuple((int(token), amount) for token, amount in (body.logit_bias or {}).items()),
        seed=(seed + choice + 2**63) % 2**64 - 2**63,
    )
