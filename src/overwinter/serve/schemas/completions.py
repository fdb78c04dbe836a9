"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from overwinter.serve.schemas.common import Sampling

HARMLESS: Mapping[str, tuple[Any, ...]] = {"suffix": ("",)}


class CompletionBody(Sampling):
    """The older API: a text, or token ids, to be continued."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=None, ge=0)
    n: int | None = Field(default=None, ge=1)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)

    @model_validator(mode="after")
    def _check_prompt(self) -> CompletionBody:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens 0 says nothing without echo")
        if not self.prompts:
            raise ValueError("prompt is an empty list")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        given: list[Any] = [self.prompt] if isinstance(self.prompt, str) else list(self.prompt)
        return [given] if given and isinstance(given[0], int) else given
