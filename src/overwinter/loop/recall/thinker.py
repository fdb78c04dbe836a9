"""A loop model as a `Thinker`: asked to write down what it knows before it answers, or to answer after what is given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from overwinter.loop.model import Completion, Constraint, Limits, Message, Model, View
from overwinter.loop.recall.statements import view_tokens
from overwinter.think.recall import Agreement, Fact, Thought
from overwinter.think.recall.facts import plain
from overwinter.think.vote import normalise

THINKING = (
    "Before you answer, write down what you know of the people, places and things in the question, one fact in a sentence."
    " End with one line that begins with `Answer:`."
)
AT_ONCE = "Write one line that begins with `Answer:` and nothing else."
_ANSWER = re.compile(r"^[\s*_>#]*answer[\s*_]*:[\s*_]*(?P<answer>.*?)[\s*_]*$", re.IGNORECASE | re.MULTILINE)


class ModelThinker:
    """Thinks with a model of the loop. Nothing is journalled here: for use outside of runs.

    Args:
        temperature: of every sample; at 0 all would be the same.
        thinking, at_once: what is asked for behind the question.
        seed: of the first sample; further calls go on from it.
    """

    def __init__(
        self,
        model: Model,
        *,
        temperature: float = 0.8,
        thinking: str = THINKING,
        at_once: str = AT_ONCE,
        timeout_s: float = 120.0,
        seed: int = 0,
    ) -> None:
        self._model, self._temperature, self._timeout_s = model, temperature, timeout_s
        self._thinking, self._at_once, self._seed = thinking, at_once, seed

    def prompt_tokens(self, question: str, context: str = "") -> int:
        longest = max((self._thinking, self._at_once), key=len)
        return view_tokens(self._model, self._view(question, context, longest))

    def think(self, question: str, n: int, *, max_tokens: int) -> list[Thought]:
        return [thought_of(each) for each in self._ask(question, "", self._thinking, n, max_tokens)]

    def answer(self, question: str, n: int, *, context: str = "", max_tokens: int) -> list[Thought]:
        return [thought_of(each, thinks=False) for each in self._ask(question, context, self._at_once, n, max_tokens)]

    def _view(self, question: str, context: str, wanted: str) -> View:
        return View(messages=(Message(role="user", text="\n\n".join(filter(None, (question, context, wanted)))),))

    def _ask(self, question: str, context: str, wanted: str, n: int, max_tokens: int) -> Sequence[Completion]:
        limits = Limits(
            max_tokens=max_tokens, temperature=self._temperature, timeout_s=self._timeout_s, seed=self._seed
        )
        self._seed += n
        return self._model.sample(self._view(question, context, wanted), n, Constraint(), limits)


def thought_of(completion: Completion, *, thinks: bool = True) -> Thought:
    """A completion read as thinking and an answer: the last line that begins with `Answer:`; None without one, or when it was cut off.

    Without thinking, a text of one line is the answer too.
    """
    found = list(_ANSWER.finditer(completion.text))
    text, said = completion.text, None
    if found:
        text, said = completion.text[: found[-1].start()], found[-1]["answer"]
    elif not thinks and "\n" not in completion.text.strip():
        text, said = "", completion.text
    answer = None if said is None or completion.finish_reason == "length" else normalise(said)
    usage = completion.usage
    return Thought(
        trace="\n".join(filter(None, (completion.reasoning.strip(), text.strip()))) if thinks else "",
        answer=answer,
        tokens=usage.completion_tokens + usage.lost_tokens,
        prompt_tokens=usage.prompt_tokens,
    )


def asking(model: Model, *, max_tokens: int = 512, **settings: Any) -> Agreement:
    """The model as a verifier of its own facts: asked afresh and at once for what each fact states.

    Args:
        max_tokens: of one question with all its answers.
        settings: of `Agreement`: samples, supported, contradicted.
    """
    thinker = ModelThinker(model)

    def ask(fact: Fact, n: int) -> tuple[list[str], int]:
        question = f"What is the {fact.relation} of {fact.subject}?"
        room = (max_tokens - n * thinker.prompt_tokens(question)) // n
        if room < 1:
            return [], 0
        made = thinker.answer(question, n, max_tokens=room)
        said = [plain(thought.answer) for thought in made if thought.answer is not None]
        return said, sum(thought.tokens + thought.prompt_tokens for thought in made)

    return Agreement(ask=ask, max_tokens=max_tokens, **settings)
