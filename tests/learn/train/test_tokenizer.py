"""Tokenizers give the text back, and the engine's text side reads their folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.learn.train.tokenizer import TokenizerConfig, end_token, train_tokenizer, write_tokenizer
from overwinter.model import TextFormat

TEXT = "The vents are shut.\n\n  It is 12.5 °C; fuel: 40 l. The vents stay shut, the fuel stays.\tDone!\n" * 3
BPE = train_tokenizer([TEXT], TokenizerConfig(kind="bpe", vocab_size=300))
OTHERS = {
    kind: train_tokenizer([TEXT], TokenizerConfig(kind=kind, vocab_size=200, min_frequency=1))  # type: ignore[arg-type]
    for kind in ("word", "chars")
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 0xD7FF) | st.integers(0xE000, 0x10FFFF), max_size=60))
def test_bytes_give_any_text_back(codes: list[int]) -> None:
    text = "".join(map(chr, codes))
    BPE.encode_special_tokens = True
    assert BPE.decode(BPE.encode(text).ids) == text


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted({*TEXT})), max_size=60).map("".join))
def test_characters_give_known_ones_back(text: str) -> None:
    assert OTHERS["chars"].decode(OTHERS["chars"].encode(text).ids) == text


def test_words_give_known_texts_back() -> None:
    ids = OTHERS["word"].encode(TEXT).ids
    assert OTHERS["word"].decode(ids) == TEXT
    assert len(ids) < len(TEXT) / 2
    assert OTHERS["word"].encode(" vents").tokens == [" vents"]


@pytest.mark.parametrize("kind", ["word", "chars"])
def test_what_is_unknown_is_one_token(kind: str) -> None:
    tokens = OTHERS[kind].encode("ш").tokens
    assert tokens == ["<|unknown|>"]


@pytest.mark.parametrize("kind", ["bpe", "word", "chars"])
def test_the_folder_is_read_by_the_engines_text_side(tmp_path: Path, kind: str) -> None:
    config = TokenizerConfig(kind=kind, vocab_size=300, min_frequency=1, special=("<|turn|>",))  # type: ignore[arg-type]
    tokenizer = train_tokenizer([TEXT], config)
    write_tokenizer(tokenizer, tmp_path, config)
    text = TextFormat.load(tmp_path)
    assert text.decode(text.encode(TEXT)) == TEXT
    assert b"".join(text.token_bytes(token) for token in text.encode(TEXT)) == TEXT.encode()
    end = end_token(tmp_path, tokenizer)
    assert text.end_ids == {end} == {0}
    assert not text.adds_bos
    assert text.encode("<|turn|>The") == [tokenizer.token_to_id("<|turn|>"), *text.encode("The")]


def test_a_vocabulary_has_its_size() -> None:
    assert 280 < BPE.get_vocab_size() <= 300
    small = train_tokenizer([TEXT], TokenizerConfig(kind="word", vocab_size=5, min_frequency=1))
    assert small.get_vocab_size() == 5
    rare = train_tokenizer([TEXT + "once"], TokenizerConfig(kind="word", min_frequency=2))
    assert rare.token_to_id("once") is None


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unigram"):
        TokenizerConfig(kind="unigram")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="100 tokens"):
        TokenizerConfig(vocab_size=100)
    with pytest.raises(UsageError, match="repeated"):
        TokenizerConfig(special=("<|end|>",))
    with pytest.raises(UsageError, match="no text"):
        train_tokenizer(["", ""], TokenizerConfig())
    with pytest.raises(UsageError, match="eos_token"):
        end_token(tmp_path, BPE)
