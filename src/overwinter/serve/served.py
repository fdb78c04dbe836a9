"""What is served: a model with its text side, its worker, and the constraints that clients ask for."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from overwinter.engine import compiling
from overwinter.engine.constraint import Constraint
from overwinter.engine.grammar import GrammarConstraint
from overwinter.engine.tool_calls import CallForm, rebased, tool_call_schema, tool_choice_constraint
from overwinter.errors import UsageError
from overwinter.model.text import TextFormat
from overwinter.serve.intake import Worker
from overwinter.serve.schemas.common import Sampling

if TYPE_CHECKING:
    from overwinter.engine.worker import EngineWorker


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model behind the server.

    Attributes:
        name: by which clients ask for it.
        context_tokens: longest prompt and output together.
        room_tokens: the same, as far as the engine's memory goes.
        vocab_size: width of the logits.
        slots: sequences that are computed at the same time.
        created: seconds since 1970.
    """

    worker: Worker
    text: TextFormat
    name: str
    context_tokens: int
    room_tokens: int
    vocab_size: int
    slots: int
    created: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, worker: EngineWorker, name: str | None = None) -> Served:
        """What an engine serves.

        Raises:
            UsageError: the engine works on ids alone.
        """
        engine = worker.engine
        if engine.text is None:
            raise UsageError(
                "the engine has no tokenizer, so it cannot serve text", "put the tokenizer into the folder"
            )
        return cls(
            worker=worker,
            text=engine.text,
            name=name or engine.name,
            context_tokens=engine.context_tokens,
            room_tokens=engine.pool.config.blocks * engine.config.block_size,
            vocab_size=engine.vocab_size,
            slots=engine.config.max_running,
        )

    @property
    def most_tokens(self) -> int:
        return min(self.context_tokens, self.room_tokens)

    @cached_property
    def constraints(self) -> Constraints:
        return Constraints(self.text, vocab_size=self.vocab_size)

    @cached_property
    def fingerprint(self) -> str:
        """OpenAI's `system_fingerprint`: the same as long as a seed gives the same tokens."""
        import overwinter

        said = json.dumps([overwinter.__version__, self.name, self.vocab_size, self.text.vocabulary_hash])
        return f"fp_{hashlib.sha256(said.encode()).hexdigest()[:12]}"

    @cached_property
    def call_form(self) -> CallForm:
        """How this model writes a tool call, as far as its chat template tells."""
        sources = "".join(self.text.template.sources.values())
        if "<tool_call>" in sources:
            return CallForm(name_key="name", begin="<tool_call>\n", end="\n</tool_call>")
        if '"parameters"' in sources and '"arguments"' not in sources:
            return CallForm(name_key="name", arguments_key="parameters")
        return CallForm(name_key="name")


class Constraints(compiling.Constraints):
    """What the engine compiles, in the words of the APIs."""

    def tool_call(self, tools: Sequence[Mapping[str, Any]], choice: Any, form: CallForm) -> Constraint:
        def make() -> Constraint:
            made = tool_choice_constraint(tools, choice, self._vocabulary, form=form)
            assert made is not None, "asked only for choices that demand a call"
            return made

        return self._kept(["tools", list(tools), choice, form.begin, form.name_key, form.arguments_key], make)

    def answer_or_call(self, schema: Any, tools: Sequence[Mapping[str, Any]], form: CallForm) -> Constraint:
        """JSON of a schema, or a call of a tool, written bare so that both begin alike."""

        def make() -> Constraint:
            bare = CallForm(name_key=form.name_key, arguments_key=form.arguments_key)
            either = tool_call_schema(tools, form=bare)
            either["anyOf"].insert(0, {"$ref": "#/$defs/answer"})
            either["$defs"]["answer"] = rebased(schema, "#/$defs/answer")
            return GrammarConstraint.from_json_schema(either, self._vocabulary)

        return self._kept(["either", schema, list(tools), form.name_key, form.arguments_key], make)

    def asked(self, body: Sampling, response_schema: Any = None) -> Constraint | None:
        """The constraint of a request's own fields; None if it has none.

        Args:
            response_schema: what the API's own response format demands.

        Raises:
            UsageError: two constraints at once, or one that cannot be enforced.
        """
        other = body.structured_outputs
        asked: dict[str, tuple[Any, Callable[[Any], Constraint]]] = {
            "the response format": (response_schema, self.json_schema),
            "regex": (body.regex, self.regex),
            "grammar": (body.grammar, self.grammar),
            "choices": (body.choices, self.choices),
        }
        if other is not None:
            asked |= {
                "structured_outputs.json": (other.json_, self.json_schema),
                "structured_outputs.regex": (other.regex, self.regex),
                "structured_outputs.grammar": (other.grammar, self.grammar),
                "structured_outputs.choice": (other.choice, self.choices),
            }
        given = {name: each for name, each in asked.items() if each[0] is not None}
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} both constrain the output", "give one of them")
        return next((make(value) for value, make in given.values()), None)
