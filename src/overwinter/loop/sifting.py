"""Makes a loop `Model` the callable that `memory.sift` asks for a ranking."""

from __future__ import annotations

from collections.abc import Callable

from overwinter.errors import ModelError
from overwinter.loop.model import Constraint, Limits, Message, Model, Usage, View

MAX_ANSWER_TOKENS = 4096


def asking(
    model: Model, *, wait_s: float = 1.5, temperature: float = 0.6, spend: Callable[[Usage], None] | None = None
) -> Callable[[str], str]:
    """From a prompt to the answer with its thinking, in the tags that the ranking's reader expects.

    Args:
        wait_s: wall time of the call; give the sifter's configuration the same.
        temperature: 0.6, as MemSifter's authors sample.
        spend: told what each answer cost, for the caller's budget. Nothing is journalled here.

    Raises:
        ModelError: from the returned callable, when the model cannot answer, or was cut off.
    """
    limits = Limits(max_tokens=MAX_ANSWER_TOKENS, temperature=temperature, timeout_s=wait_s)

    def ask(prompt: str) -> str:
        (completion,) = model.sample(View(messages=(Message(role="user", text=prompt),)), 1, Constraint(), limits)
        if spend is not None:
            spend(completion.usage)
        if completion.finish_reason == "length":
            raise ModelError(
                "the ranking was cut off", f"let the model think less, or give more than {MAX_ANSWER_TOKENS} tokens"
            )
        thought = completion.reasoning
        return f"<think>{thought}</think>{completion.text}" if thought else completion.text

    return ask
