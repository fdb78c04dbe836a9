"""The libraries that `bench_grammar.py` compares, behind one small interface."""

from __future__ import annotations

import importlib.metadata
import json
import os
from typing import Any

import torch
from tokenizers import Tokenizer

from overwinter.errors import OverwinterError

END = 0
"""The id of the end token in all tokenizers here."""


class Library:
    """What is asked of one: compile, begin a sequence, mask, accept, copy, go back."""

    name: str

    def compile(self, kind: str, source: Any) -> Any:
        """A compiled constraint; an exception where the library refuses."""
        raise LookupError(kind)

    def begin(self, compiled: Any) -> Any: ...

    def mask_(self, matcher: Any, bits_1W: torch.Tensor) -> None: ...

    def accept(self, matcher: Any, token: int) -> bool: ...

    def copy(self, matcher: Any) -> Any: ...

    def go_back(self, matcher: Any, tokens: int) -> None: ...


class LLGuidance(Library):
    name = "llguidance"

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        from llguidance import LLMatcher, LLParserLimits, LLTokenizer

        self._matcher, self._limits = LLMatcher, LLParserLimits
        self._tokens = LLTokenizer(tokenizer.to_str(), n_vocab=vocab_size, eos_token=END)

    def compile(self, kind: str, source: Any) -> Any:
        if kind == "schema":
            grammar = self._matcher.grammar_from_json_schema(json.dumps(source))
        else:
            makers = {"regex": self._matcher.grammar_from_regex, "lark": self._matcher.grammar_from_lark}
            grammar = makers[kind](source)
        matcher = self._matcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def limited(self, lark: str, max_items: int) -> Any:
        """A sequence under a grammar with another limit of parser items."""
        limits = self._limits(max_items_in_row=max_items)
        return self._matcher(self._tokens, self._matcher.grammar_from_lark(lark), log_level=0, limits=limits)

    def begin(self, compiled: Any) -> Any:
        return compiled.deep_copy()

    def mask_(self, matcher: Any, bits_1W: torch.Tensor) -> None:
        matcher.unsafe_compute_mask_ptr(bits_1W.data_ptr(), bits_1W.numel() * 4)

    def accept(self, matcher: Any, token: int) -> bool:
        # Where nothing but the end may follow it has stopped by itself and consumes no more.
        return bool(matcher.try_consume_tokens([token])) or (token == END and matcher.is_accepting())

    def copy(self, matcher: Any) -> Any:
        return matcher.deep_copy()

    def go_back(self, matcher: Any, tokens: int) -> None:
        matcher.rollback(tokens)


class XGrammar(Library):
    name = "xgrammar"

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        import xgrammar

        self._module = xgrammar
        spelled = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
        byte_level = xgrammar.VocabType.BYTE_LEVEL
        info = xgrammar.TokenizerInfo(spelled, byte_level, vocab_size=vocab_size, stop_token_ids=[END])
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=os.cpu_count() or 1, cache_enabled=False)

    def compile(self, kind: str, source: Any) -> Any:
        compiler = self._compiler
        if kind == "schema":
            # Its strict mode closes objects that the schema leaves open; here it shall do what the schema says.
            return compiler.compile_json_schema(json.dumps(source), strict_mode=False)
        makers = {"regex": compiler.compile_regex, "lark": compiler.compile_lark, "ebnf": compiler.compile_grammar}
        return makers[kind](source)

    def begin(self, compiled: Any) -> Any:
        return self._module.GrammarMatcher(compiled)

    def mask_(self, matcher: Any, bits_1W: torch.Tensor) -> None:
        matcher.fill_next_token_bitmask(bits_1W)

    def accept(self, matcher: Any, token: int) -> bool:
        return bool(matcher.accept_token(token))

    def copy(self, matcher: Any) -> Any:
        return matcher.fork()

    def go_back(self, matcher: Any, tokens: int) -> None:
        matcher.rollback(tokens)


class Overwinter(Library):
    """What this project makes of its library: the same automaton, behind its own checks."""

    name = "overwinter"

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        from overwinter.engine.grammar import GrammarConstraint
        from overwinter.engine.vocabulary import Vocabulary

        self._vocabulary = Vocabulary.of(tokenizer, end_ids=[END], vocab_size=vocab_size)
        self._makers = {
            "schema": GrammarConstraint.from_json_schema,
            "regex": GrammarConstraint.from_regex,
            "lark": GrammarConstraint.from_grammar,
        }

    def compile(self, kind: str, source: Any) -> Any:
        make: Any = self._makers[kind]
        return make(source, self._vocabulary)

    def begin(self, compiled: Any) -> Any:
        return [compiled, compiled.start()]

    def mask_(self, matcher: Any, bits_1W: torch.Tensor) -> None:
        constraint, state = matcher
        bits_1W.zero_()
        for token in constraint.allowed(state):
            bits_1W[0, token // 32] |= 1 << token % 32 if token % 32 < 31 else -(1 << 31)

    def accept(self, matcher: Any, token: int) -> bool:
        constraint, state = matcher
        try:
            matcher[1] = constraint.advance(state, token)
        except OverwinterError:
            return False
        return True


LIBRARIES: tuple[type[Library], ...] = (LLGuidance, XGrammar)


def installed() -> list[type[Library]]:
    return [library for library in LIBRARIES if distribution(library.name) is not None]


def distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
