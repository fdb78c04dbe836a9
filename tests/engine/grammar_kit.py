"""Small tokenizers for tests of grammars, and a walk under the mask."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from overwinter.engine.vocabulary import Vocabulary

LINES = [
    '{"tool": "read", "arguments": {"path": "notes.txt", "first": 3}}',
    '{"name":"wait","arguments":{}}\n<tool_call>\n{"items": [1, 2.5, -3, true, false, null]}\n</tool_call>',
    '"Grüße, 雪 🌱" [[], {}] {"value": 12, "children": []}',
]
END = 0


def byte_level(tokens: int = 340) -> Tokenizer:
    """A byte-level BPE that has JSON's marks and some words as tokens; `<|end|>` is id 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>", "<|other|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 3, trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """As Llama 2 has it: `▁` for a space, one in front of every text, bytes for what is no word; `</s>` is id 2."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        "▁",
        "a",
        "b",
        "n",
        '"',
        "{",
        "}",
        ":",
        ",",
        '{"',
        '":',
        "▁{",
        '▁{"',
        "▁a",
        "an",
        "雪",
    ]
    words += ['n"', "aa"]  # no merge leads to these two
    words += [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [("{", '"'), ('"', ":"), ("▁", "{"), ("▁", '{"'), ("▁", "a"), ("a", "n")]
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def plain_vocabulary(texts: list[str], width: int | None = None) -> Vocabulary:
    """A vocabulary of exactly these texts behind the end token, spelled by the longest that fits."""
    entries = [b"<end>", *(text.encode() for text in texts)]
    entries += [b""] * ((width or 0) - len(entries))
    return Vocabulary(entries, end_ids=[END], encode=lambda _text: [])


def allowed_in(logits_V: torch.Tensor) -> list[int]:
    return (logits_V > float("-inf")).nonzero().flatten().tolist()


def allowed_by(constraint: Any, state: Any, width: int | None = None) -> list[int]:
    """What the mask leaves, through `constrain_` as the engine calls it."""
    logits_RV = torch.zeros(1, width or constraint.vocab_size)
    constraint.constrain_(logits_RV, [state])
    return allowed_in(logits_RV[0])


def walk(
    constraint: Any, rng: random.Random, most: int = 300, look: Callable[[Any, list[int]], object] = lambda *_: None
) -> list[int] | None:
    """Tokens of a random walk under the mask, the end left out; None where it did not end or stuck. It likes to close things."""
    vocabulary = constraint.vocabulary
    closing = {*vocabulary.end_ids, *(vocabulary.spell(mark)[0] for mark in '"}]')}
    state, ids = constraint.start(), []
    for _ in range(most):
        allowed = allowed_by(constraint, state)
        look(state, ids)
        if not allowed:
            return None
        closers = [token for token in allowed if token in closing]
        token = rng.choice(closers if closers and rng.random() < 0.5 else allowed)
        state = constraint.advance(state, token)
        if token in vocabulary.end_ids:
            assert constraint.is_complete(state)
            return ids
        ids.append(token)
    return None
