"""One question to a model outside any run: a system turn, a question, an answer in a given form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from overwinter.errors import ModelError
from overwinter.loop.model import Constraint, Limits, Message, Model, View

ANSWER_TOKENS = 2048
CHARS_PER_TOKEN = 2.5
"""Low, so that a piece fits also where words are cut into many tokens."""


def asker(model: Model, *, max_tokens: int = ANSWER_TOKENS) -> Callable[[str, str, Mapping[str, Any]], str]:
    """A function (system, question, schema) → text, sampled at temperature 0.

    Raises (the function):
        ModelError: no answer, or one that was cut off: half an answer is none.
    """

    def ask(system: str, question: str, schema: Mapping[str, Any]) -> str:
        view = View(messages=(Message(role="system", text=system), Message(role="user", text=question)))
        (answer,) = model.sample(view, 1, Constraint(json_schema=schema), Limits(max_tokens=max_tokens))
        if answer.finish_reason == "length":
            raise ModelError("the answer was cut off at its token limit", "use a model with a larger context")
        return answer.text

    return ask


def piece_chars(model: Model, most: int = 12_000) -> int:
    """Characters of text that fit into one question beside prompt and answer.

    Raises:
        ModelError: the context is too small for any.
    """
    room = int((model.context_tokens - ANSWER_TOKENS - 600) * CHARS_PER_TOKEN)
    if room < 1000:
        raise ModelError(
            f"{model.name} sees {model.context_tokens} tokens, too few to check a text", "use 4096 or more"
        )
    return min(room, most)
