"""Fields that several APIs share, and the reading of a body.

Three kinds of field are not part of a schema. *Labels* (`user`, `metadata` …) are accepted with any value and used for nothing.
Fields that would change the answer but cannot here are accepted as long as they say what happens anyway, and refused
otherwise (`harmless`). All others are unknown and refused, as the official API does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request as HttpRequest

from overwinter.serve.errors import Refusal

LABELS = ("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "default"),
    "best_of": (1,),
    "length_penalty": (1, 1.0),
    "min_tokens": (0,),
    "use_beam_search": (False,),
    "early_stopping": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "moderation": (),
    "prompt_cache_options": (),
}
"""Values beside null that say what is done anyway."""

MOST_STOPS = 16


class Body(BaseModel):
    """JSON of a client: types as they are, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False
    """Padding against guessing from packet sizes; accepted, and there is none."""


class StructuredOutputs(Body):
    """vLLM's spelling of a constraint."""

    json_: dict[str, Any] | bool | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


class JsonSchema(Body):
    name: str = "answer"
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


Bias = Annotated[float, Field(ge=-100, le=100)]


class Sampling(Body):
    """How tokens are chosen; None is the API's default."""

    model: str
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[str, Bias] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0)
    ignore_eos: bool | None = None
    include_stop_str_in_output: bool | None = None
    exit_threshold: float | None = Field(default=None, gt=0, le=1)
    regex: str | None = None
    grammar: str | None = None
    choices: list[str] | None = Field(default=None, min_length=1)
    structured_outputs: StructuredOutputs | None = None
    return_token_ids: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> Sampling:
        if len(self.stops) > MOST_STOPS or "" in self.stops:
            raise ValueError(f"stop takes up to {MOST_STOPS} strings that are not empty")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream")
        unfit = [token for token in self.logit_bias or {} if not token.isdecimal()]
        if unfit:
            raise ValueError(f"logit_bias holds {unfit[0]!r}; write token ids as decimal strings")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


B = TypeVar("B", bound=Body)


async def read_body(request: HttpRequest, most_bytes: int) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        Refusal: 413 for more than `most_bytes`, 400 for what is no JSON object.
    """
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or int(said) > most_bytes:
        raise _too_large(most_bytes)
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > most_bytes:
            raise _too_large(most_bytes)
    try:
        body = json.loads(data.decode(), parse_constant=_no_number)
        if b"\\u" in data:  # only an escape can smuggle in half a character, which no tokenizer takes
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object", code="invalid_json")
    return body


def parse(schema: type[B], body: dict[str, Any], harmless: Mapping[str, tuple[Any, ...]]) -> B:
    """Check a body against a schema, fields without effect apart.

    Args:
        harmless: of this API, over `HARMLESS`.

    Raises:
        Refusal: a field would change the answer elsewhere and cannot here.
        ValidationError: the schema's own.
    """
    kept = {name: value for name, value in body.items() if name not in LABELS or name in schema.model_fields}
    for name, values in {**HARMLESS, **harmless}.items():
        if name not in kept or name in schema.model_fields:
            continue
        value = kept.pop(name)
        if value is not None and not any(value == each and type(value) is type(each) for each in values):
            allowed = " or ".join(json.dumps(each) for each in (None, *values))
            raise Refusal(400, f"{name} is not supported here: leave it out, or send {allowed}", param=name)
    return schema.model_validate(kept)


def _too_large(most_bytes: int) -> Refusal:
    # The connection is closed since the rest of the body is not read.
    return Refusal(
        413, f"the body is larger than {most_bytes} bytes", code="request_too_large", headers={"Connection": "close"}
    )


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
