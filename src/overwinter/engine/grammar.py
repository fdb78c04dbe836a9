"""A JSON schema, a regular expression or a grammar as a constraint: what no list of sequences can say.

The automaton over bytes is llguidance's (docs/constraints.md says why that one); ours is what surrounds it: the table of
what tokens write (engine/vocabulary.py), schemas checked so that nothing in them is passed over (engine/json_schema.py), the
mask of a batch, and errors that say where.

    constraint = GrammarConstraint.from_json_schema({"type": "integer"}, Vocabulary.of(tokenizer, end_ids=[2]))

A state holds a matcher, which `advance` changes. Where the grammar leaves one text only, the mask allows the one token by
which the tokenizer itself would go on writing it; everywhere else any token that fits, however odd the cut.

Legend: R rows, V vocabulary, W words of 32 bits, W4 their bytes.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from overwinter.engine.constraint import refused
from overwinter.engine.json_schema import checked, place_of
from overwinter.engine.trie import BYTE_TO_BOOLS
from overwinter.engine.vocabulary import Vocabulary, library
from overwinter.errors import UsageError

if TYPE_CHECKING:
    from llguidance import LLMatcher

__all__ = ["GrammarConstraint", "GrammarState"]

SPACE = r" |\r?\n[ \t]{0,40}"
"""Space between the parts of a JSON text: one blank, or a new line and its indentation. A model cannot lose itself in it."""
MAX_ITEMS = 2000
"""Parser items at one place of a text. 300 optional properties need more than 1,000."""
MAX_ITEMS_OF_GRAMMAR = 500
"""The same for grammars that a user writes: an ambiguous one grows with each token, and a step costs the square of it."""
TEMPERED_RULE = re.compile(r"^\s*[?!]?[\w-]+\[[^\]\n]*\btemperature\s*=", re.MULTILINE)


class GrammarState:
    """Where one sequence stands. Changed by `advance`; `GrammarConstraint.fork` makes an independent copy."""

    __slots__ = ("ended", "matcher")

    def __init__(self, matcher: LLMatcher, *, ended: bool = False) -> None:
        self.matcher = matcher
        self.ended = ended


class GrammarConstraint:
    """A compiled grammar over one vocabulary. Rows of different grammars may stand in one call if they share the vocabulary.

    Make one by `from_json_schema`, `from_regex`, `from_grammar` or `json_object`.
    """

    def __init__(
        self, grammar: str, vocabulary: Vocabulary, refuse: Callable[[str], UsageError], max_items: int = MAX_ITEMS
    ) -> None:
        """
        Args:
            grammar: as the library's `LLMatcher.grammar_from_…` gives it.
            refuse: makes the error from what the library says against it.
        """
        self.vocabulary = vocabulary
        self._fresh = _matcher(grammar, vocabulary, max_items)
        problem = _problem(self._fresh)
        if not problem:
            probe = self._fresh.deep_copy()
            probe.compute_bitmask()
            problem = _problem(probe)
        if problem:
            raise refuse(problem)

    @classmethod
    def from_json_schema(
        cls, schema: Any, vocabulary: Vocabulary, *, compact: bool = False, around: tuple[str, str] = ("", "")
    ) -> GrammarConstraint:
        """JSON text that is valid under the schema; properties stand in the schema's order.

        Args:
            schema: a mapping or a boolean. `docs/constraints.md` lists the keywords.
            compact: no space between the parts; otherwise one blank, or a new line with indentation.
            around: text that has to stand before and behind it.

        Raises:
            UsageError: the schema is wrong, cannot be satisfied, or has a keyword that would not be enforced; with its place.
        """
        schema = checked(schema)

        def problem_of(part: Any) -> str:
            return _problem(_matcher(_schema_grammar(part, compact), vocabulary))

        def refuse(problem: str) -> UsageError:
            place = place_of(schema, problem, problem_of)
            return UsageError(f"the schema cannot be enforced {place}: {_said(problem)}", _instead(problem))

        alone = cls(_schema_grammar(schema, compact), vocabulary, refuse)
        if not any(around):
            return alone
        before, behind = (f" {json.dumps(text, ensure_ascii=False)} " if text else "" for text in around)
        whole = json.dumps({**_as_mapping(schema), "x-guidance": _options(compact)}, ensure_ascii=False)
        lark = f"start:{before}json{behind}\njson: %json {whole}\n"
        return cls(library().LLMatcher.grammar_from_lark(lark), vocabulary, refuse)

    @classmethod
    def json_object(cls, vocabulary: Vocabulary, *, compact: bool = False) -> GrammarConstraint:
        """Any JSON object."""
        return cls.from_json_schema({"type": "object"}, vocabulary, compact=compact)

    @classmethod
    def from_regex(cls, pattern: str, vocabulary: Vocabulary) -> GrammarConstraint:
        """Text that the whole pattern matches, in the syntax of Rust's `regex`: no look-around, no back-references.

        Raises:
            UsageError: the pattern is wrong or asks for what automata cannot do; with the place.
        """

        def refuse(problem: str) -> UsageError:
            return UsageError(
                f"the regular expression {pattern!r} cannot be used: {_regex_said(problem)}", "correct that part"
            )

        return cls(library().LLMatcher.grammar_from_regex(pattern), vocabulary, refuse)

    @classmethod
    def from_grammar(cls, grammar: str, vocabulary: Vocabulary) -> GrammarConstraint:
        """Text of a context-free grammar in llguidance's variant of Lark: rules in small letters, terminals in capitals, the
        whole from the rule `start`; `%json {…}` puts a schema in, `<|name|>` a special token.

        Raises:
            UsageError: the grammar is wrong, with line and column, or sets a temperature, which nobody here would obey.
        """
        if (tempered := TEMPERED_RULE.search(grammar)) is not None:
            line = grammar.count("\n", 0, tempered.end()) + 1
            raise UsageError(f"line {line} of the grammar sets a temperature", "set it for the whole request")

        def refuse(problem: str) -> UsageError:
            return UsageError(
                f"the grammar cannot be used: {_said(problem)}", "correct it there; docs/constraints.md has an example"
            )

        return cls(library().LLMatcher.grammar_from_lark(grammar), vocabulary, refuse, MAX_ITEMS_OF_GRAMMAR)

    @property
    def vocab_size(self) -> int:
        return self.vocabulary.vocab_size

    def start(self) -> GrammarState:
        return GrammarState(self._fresh.deep_copy())

    def fork(self, state: GrammarState) -> GrammarState:
        """An independent copy, for beams and drafts."""
        return GrammarState(state.matcher.deep_copy(), ended=state.ended)

    def constrain_(self, logits_RV: Tensor, states: Sequence[GrammarState]) -> None:
        """See the protocol. A row whose grammar has outgrown the library's limits gets no token at all: its sequence fails,
        and no other.

        Raises:
            UsageError: the logits do not fit the states or the vocabulary.
        """
        if logits_RV.dim() != 2 or len(logits_RV) != len(states) or logits_RV.shape[1] < self.vocab_size:
            raise UsageError(
                f"logits {tuple(logits_RV.shape)} do not fit {len(states)} states and {self.vocab_size} tokens",
                "give one row of logits for each state, as wide as the vocabulary",
            )
        if not states:
            return
        bits_RW = torch.empty((len(states), (self.vocab_size + 31) // 32), dtype=torch.int32)
        row_bytes = bits_RW.shape[1] * 4
        for row, state in enumerate(states):
            state.matcher.unsafe_compute_mask_ptr(bits_RW.data_ptr() + row * row_bytes, row_bytes)
            if state.matcher.is_error():  # the library would have it end here, as if all were well
                bits_RW[row] = 0
        _forbid_(logits_RV[:, : self.vocab_size], bits_RW)
        logits_RV[:, self.vocab_size :] = float("-inf")

    def allowed(self, state: GrammarState) -> list[int]:
        """The tokens that may follow, ascending."""
        bits = state.matcher.compute_bitmask()
        if state.matcher.is_error():
            return []
        return [token for token in range(self.vocab_size) if bits[token >> 3] >> (token & 7) & 1]

    def advance(self, state: GrammarState, token: int) -> GrammarState:
        """See the protocol; the state is changed and returned. A grammar that outgrows the library's limits here shows it at
        the next mask.

        Raises:
            ModelError: the token may not follow.
        """
        matcher, is_end = state.matcher, token in self.vocabulary.end_ids
        if not state.ended and 0 <= token < self.vocab_size and not matcher.is_error():
            if matcher.try_consume_tokens([token]) == 1:
                state.ended = is_end and matcher.is_stopped()
                return state
            if matcher.is_error():
                return state
        if not is_end or not (state.ended or matcher.is_accepting()):
            raise refused(token, self.allowed(state))
        state.ended = True
        return state

    def problem(self, state: GrammarState) -> str:
        """Why nothing can follow any more; "" while all is well."""
        return _said(_problem(state.matcher))

    def is_complete(self, state: GrammarState) -> bool:
        return state.ended or (bool(state.matcher.is_stopped()) and not state.matcher.is_error())


def _forbid_(logits_RV: Tensor, bits_RW: Tensor) -> None:
    """Set logits without their bit to -inf, in place. On a CPU by numpy, which uses one thread and waits for nobody."""
    if logits_RV.device.type == "cpu" and logits_RV.dtype != torch.bfloat16:
        bits_RW4 = bits_RW.bitwise_not_().numpy().view(np.uint8)
        forbidden = np.unpackbits(bits_RW4, axis=1, count=logits_RV.shape[1], bitorder="little").view(np.bool_)
        np.copyto(logits_RV.numpy(), -np.inf, where=forbidden)
        return
    forbidden_RW4 = bits_RW.bitwise_not_().to(logits_RV.device).view(torch.uint8)
    forbidden_RV = _byte_to_bools(logits_RV.device)[forbidden_RW4.long()].view(torch.bool)[:, : logits_RV.shape[1]]
    logits_RV.masked_fill_(forbidden_RV, float("-inf"))


@functools.cache
def _byte_to_bools(device: torch.device) -> Tensor:
    return BYTE_TO_BOOLS.to(device)


def _matcher(grammar: str, vocabulary: Vocabulary, max_items: int = MAX_ITEMS) -> LLMatcher:
    limits = library().LLParserLimits(verbose_errors=False, max_items_in_row=max_items)
    matcher: LLMatcher = library().LLMatcher(vocabulary.for_library(), grammar, log_level=0, limits=limits)
    return matcher


def _problem(matcher: LLMatcher) -> str:
    """What the library says is wrong, "" if nothing is."""
    return matcher.get_error() if matcher.is_error() else ""


def _said(problem: str) -> str:
    """In one line: what comes first, and what a regular expression's parser says below the place that it draws."""
    if problem.startswith("NoExtensionBias"):
        return "nothing that the tokens can write satisfies it"
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    more = [line.removeprefix("error: ") for line in lines[1:] if line.startswith("error: ")]
    return " ".join([*lines[:1], *more]).partition(". Enable '")[0]  # options of the library's that are not passed on


def _instead(problem: str) -> str:
    if problem.startswith("oneOf"):
        return "make the branches exclude each other, by a constant property of each, or write anyOf"
    return "correct or simplify that part"


def _regex_said(problem: str) -> str:
    """The library sees the pattern inside a grammar of one line; where in that line is nobody's business."""
    caret = re.search(r"^ {4}( *)\^+$", problem, re.MULTILINE)
    where = f"at character {len(caret[1]) + 1}: " if caret is not None else ""
    return where + (_said(problem).rpartition("regex parse error: ")[2])


def _schema_grammar(schema: Any, compact: bool) -> str:
    text = json.dumps({**_as_mapping(schema), "x-guidance": _options(compact)})
    grammar: str = library().LLMatcher.grammar_from_json_schema(text)
    return grammar


def _as_mapping(schema: Any) -> Mapping[str, Any]:
    """A boolean schema in words; what is no schema as something that the library refuses."""
    if schema is False:
        return {"anyOf": []}
    return schema if isinstance(schema, Mapping) else {}


def _options(compact: bool) -> dict[str, Any]:
    return {"whitespace_flexible": False} if compact else {"whitespace_pattern": SPACE}
