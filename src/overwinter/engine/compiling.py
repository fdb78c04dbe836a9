"""From what a caller wants (one of these texts, JSON of this schema, a call of a tool) to constraints over one model's tokens.

Compiling takes milliseconds to seconds and the result serves any number of sequences, so what was asked for lately is kept: an agent
asks with the same schema again and again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from overwinter.engine.constraint import Constraint, choices_constraint
from overwinter.engine.grammar import GrammarConstraint
from overwinter.engine.tool_calls import PLAIN, TAGGED, tool_call_constraint
from overwinter.engine.vocabulary import Vocabulary
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from overwinter.model import TextFormat

MOST_KEPT = 128


class Constraints:
    """The constraints of one model, safe on any thread. All methods raise UsageError for what cannot be enforced, and where there is no
    end token.

    Args:
        text: tokenizer and end tokens.
        vocab_size: width of the model's head.
    """

    def __init__(self, text: TextFormat, *, vocab_size: int) -> None:
        self._text, self._vocab_size = text, vocab_size
        self._compiled: OrderedDict[str, Constraint] = OrderedDict()
        self._lock = Lock()

    def choices(self, choices: Sequence[str], *, lead: str = "") -> Constraint:
        """One of some texts, each behind `lead`."""

        def build() -> Constraint:
            texts, end_id = [lead + choice for choice in choices], self._end_ids[0]
            return choices_constraint(texts, self._text.tokenizer, end_id, vocab_size=self._vocab_size)

        return self._kept(["choices", lead, *choices], build)

    def json_schema(self, schema: Any) -> Constraint:
        return self._kept(["schema", schema], lambda: GrammarConstraint.from_json_schema(schema, self._vocabulary))

    def regex(self, pattern: str) -> Constraint:
        return self._kept(["regex", pattern], lambda: GrammarConstraint.from_regex(pattern, self._vocabulary))

    def grammar(self, grammar: str) -> Constraint:
        return self._kept(["grammar", grammar], lambda: GrammarConstraint.from_grammar(grammar, self._vocabulary))

    def call(self, tools: Sequence[dict[str, Any]], *, tagged: bool) -> Constraint:
        """A call of one of the tools. A schema that no grammar can follow whole lets any object through, for the tool to check."""

        def build() -> Constraint:
            form = TAGGED if tagged else PLAIN
            try:
                return tool_call_constraint(tools, self._vocabulary, form=form)
            except UsageError:
                return tool_call_constraint([self._enforceable(tool) for tool in tools], self._vocabulary, form=form)

        return self._kept(["call", tagged, *tools], build)

    def _enforceable(self, tool: dict[str, Any]) -> dict[str, Any]:
        try:
            tool_call_constraint([tool], self._vocabulary)
        except UsageError:
            return {**tool, "function": {**tool["function"], "strict": False}}
        return tool

    def _kept(self, parts: list[Any], build: Callable[[], Constraint]) -> Constraint:
        try:
            key = json.dumps(parts)  # in the given order: properties are written in the schema's own
        except (TypeError, ValueError) as error:
            raise UsageError(f"a constraint is not plain JSON data: {error}", "give strings, numbers, lists") from error
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
        made = build()  # outside the lock: compiling may take long, and two of a kind do no harm
        with self._lock:
            self._compiled[key] = made
            if len(self._compiled) > MOST_KEPT:
                self._compiled.popitem(last=False)
        return made

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self._text.tokenizer, end_ids=self._end_ids, vocab_size=self._vocab_size)

    @property
    def _end_ids(self) -> list[int]:
        if not self._text.end_ids:
            raise UsageError(
                f"{self._text.name} names no end token, and a constraint needs one",
                "set eos_token_id in its generation_config.json",
            )
        return sorted(self._text.end_ids)
