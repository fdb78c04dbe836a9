"""Facts of a chain of thought: by the rules that memory reads its claims with, or by asking a model for a list."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from overwinter.errors import ModelError
from overwinter.loop.model import Constraint, Limits, Message, Model, View
from overwinter.memory.claims import Statement, statements_of
from overwinter.memory.unit import OWN, Unit, rough_tokens, text_digest
from overwinter.think.recall import Fact, read_facts

MIN_LIST_TOKENS = 32
_LIST = (
    "List every fact that this text states as true, a line each, in the form\n"
    "subject | relation | object | the words of the text that say it\n"
    "Leave out guesses, questions and conditions. Write nothing else.\n\n"
)


def stated(text: str, *, actor: str = "agent", kind: str = "message", trust: str = OWN) -> list[Statement]:
    """What a text states, read as memory reads it."""
    unit = Unit(
        id=hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32],
        run="",
        seq=0,
        first=0,
        last=len(text),
        session="",
        place=0,
        kind=kind,
        actor=actor,
        trust=trust,
        happened_us=0,
        happened_until_us=0,
        told_us=0,
        text=text,
        tokens=rough_tokens(text),
        digest=text_digest(text),
    )
    return statements_of(unit)


class Statements:
    """An extractor by rule: English sentences of the kinds that memory makes claims of. It costs nothing and misses what it
    does not know."""

    max_tokens = 0

    def extract(self, trace: str) -> tuple[list[Fact], int]:
        return list(self._facts(trace)), 0

    def _facts(self, trace: str) -> Iterator[Fact]:
        for each in stated(trace):
            if each.polarity and each.object:
                yield Fact(
                    subject=each.subject, relation=each.predicate, object=each.object, first=each.first, last=each.last
                )


class AskedStatements:
    """An extractor that asks a model. Every line must quote the trace, so a list cannot add what was not said.

    Args:
        max_tokens: of one question and its answer; a trace that leaves no room for an answer is not read.
    """

    def __init__(self, model: Model, *, max_tokens: int = 2048, timeout_s: float = 120.0) -> None:
        self.max_tokens = max_tokens
        self._model, self._timeout_s = model, timeout_s

    def extract(self, trace: str) -> tuple[list[Fact], int]:
        """The facts; none where the model cannot answer."""
        view = View(messages=(Message(role="user", text=_LIST + trace),))
        room = self.max_tokens - view_tokens(self._model, view)
        if not trace.strip() or room < MIN_LIST_TOKENS:
            return [], 0
        try:
            (completion,) = self._model.sample(
                view, 1, Constraint(), Limits(max_tokens=room, timeout_s=self._timeout_s)
            )
        except ModelError as error:
            return [], error.lost_tokens
        return list(read_facts(completion.text, trace)), completion.usage.tokens


def view_tokens(model: Model, view: View) -> int:
    """Tokens of a view as a prompt: counted by the model where it can, else of its texts and a few for each turn."""
    count = getattr(model, "count_view", None)
    if count is not None:
        return int(count(view))
    return sum(model.count_tokens(message.text) + 8 for message in view.messages)
