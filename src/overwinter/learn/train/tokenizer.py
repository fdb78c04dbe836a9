"""Tokenizers from a text: byte-level BPE, words, characters; saved so that `TextFormat.load` and the engine read them.

    tokenizer = train_tokenizer(texts, TokenizerConfig(kind="bpe", vocab_size=4096))
    write_tokenizer(tokenizer, folder, config)

`bpe` merges bytes (arXiv 1508.07909 over the byte alphabet of GPT-2): every text comes back exactly. `word` has one token for each
word with its leading blank, each number, run of signs or run of white space, which suits small languages such as a world's
observations; `chars` one for each character. With these two, what training has not seen becomes the unknown token and does not
come back. Special tokens have the first ids, `end` the very first; there is no token before a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from overwinter.errors import UsageError
from overwinter.model.weights import TOKENIZER, write_json

TOKENIZER_CONFIG = "tokenizer_config.json"
WORD = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s"
"""A word or a sign with the blank before it; digits one by one, so that numbers have few tokens; white space one by one."""


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """How text is cut."""

    kind: Literal["bpe", "word", "chars"] = "bpe"
    vocab_size: int = 4096
    """At most so many tokens, special ones included. `chars` takes all characters unless there are more."""
    min_frequency: int = 2
    """Words and pairs that are rarer get no token. `chars` ignores it."""
    end: str = "<|end|>"
    """Ends a document and an answer."""
    unknown: str = "<|unknown|>"
    """Of `word` and `chars`."""
    special: tuple[str, ...] = ()
    """More tokens that no merge touches, such as those of a chat template."""

    def __post_init__(self) -> None:
        if self.kind not in ("bpe", "word", "chars"):
            raise UsageError(f"there is no tokenizer {self.kind!r}", "use bpe, word or chars")
        if len(set(self.specials)) != len(self.specials) or not all(self.specials):
            raise UsageError(f"special tokens are empty or repeated: {self.specials}", "give each a name of its own")
        least = len(self.specials) + (256 if self.kind == "bpe" else 1)
        if self.vocab_size < least or self.min_frequency < 1:
            raise UsageError(
                f"a {self.kind} tokenizer of {self.vocab_size} tokens that come {self.min_frequency} times",
                f"give at least {least} tokens and a frequency of at least 1",
            )

    @property
    def specials(self) -> tuple[str, ...]:
        return (self.end, *(() if self.kind == "bpe" else (self.unknown,)), *self.special)


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """A tokenizer for texts such as these.

    Raises:
        UsageError: the texts are empty.
    """
    tokenizer = {"bpe": _bpe, "word": _words, "chars": _chars}[config.kind](_checked(texts), config)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in config.specials])
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path, config: TokenizerConfig) -> None:
    """tokenizer.json and tokenizer_config.json into a folder that exists."""
    tokenizer.save(str(folder / TOKENIZER))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": config.end, "pad_token": config.end}
    if config.kind != "bpe":
        names["unk_token"] = config.unknown
    write_json(folder / TOKENIZER_CONFIG, names)


def _bpe(texts: Iterator[str], config: TokenizerConfig) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(config.specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _words(texts: Iterator[str], config: TokenizerConfig) -> Tokenizer:
    splitter = pre_tokenizers.Split(Regex(WORD), "isolated")
    counts: dict[str, int] = {}
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(text):
            counts[word] = counts.get(word, 0) + 1
    kept = [word for word, count in counts.items() if count >= config.min_frequency]
    vocab = _vocab(kept, counts, config)
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=config.unknown))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _chars(texts: Iterator[str], config: TokenizerConfig) -> Tokenizer:
    counts: dict[str, int] = {}
    for text in texts:
        for sign in set(text):
            counts[sign] = counts.get(sign, 0) + text.count(sign)
    # BPE without merges: three times as fast as words of one character.
    tokenizer = Tokenizer(models.BPE(_vocab(list(counts), counts, config), [], unk_token=config.unknown))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _vocab(words: list[str], counts: dict[str, int], config: TokenizerConfig) -> dict[str, int]:
    """Special tokens, then the most frequent words in the order of their spelling."""
    words = [word for word in words if word not in config.specials]
    kept = sorted(words, key=lambda word: (-counts[word], word))[: config.vocab_size - len(config.specials)]
    return {token: place for place, token in enumerate((*config.specials, *sorted(kept)))}


def _checked(texts: Iterable[str]) -> Iterator[str]:
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        raise UsageError("there is no text to train a tokenizer on", "name files that are not empty")


def end_token(folder: Path, tokenizer: Tokenizer) -> int:
    """The id of the end token that a tokenizer's folder names.

    Raises:
        UsageError: it names none, or one that the vocabulary does not have.
    """
    path = folder / TOKENIZER_CONFIG
    values = json.loads(path.read_text("utf-8")) if path.exists() else {}
    token = values.get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    found = None if not isinstance(token, str) else tokenizer.token_to_id(token)
    if found is None:
        raise UsageError(
            f"{path} names no eos_token of this vocabulary", "write eos_token there: documents end with it"
        )
    return int(found)
