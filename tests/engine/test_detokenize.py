"""Detokenisation: pieces add up to the text, and no piece holds half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from overwinter.engine.detokenize import MAX_HELD_TOKENS, REPLACEMENT, Detokenizer

LINES = [
    "The garden sleeps under snow; the gardener counts the days.",
    "园丁在冬天等待。雪下面是种子。",
    "🌱 grows, 🌻 blooms, 👩‍🌾 waters 🪴",
    "  two spaces, a tab\tand a newline\n",
]


def byte_level() -> Tokenizer:
    """A byte-level BPE so small that emoji and most Chinese characters are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """Words with a marked leading space and bytes for all else, decoded as Llama 2 does."""
    words = ["<unk>", "<s>", "</s>", "▁", "▁▁", "▁the", "▁garden", "er", "s", "▁snow", ".", "雪", "a"]
    words += [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, [], byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


BYTE_LEVEL, SENTENCE_PIECE = byte_level(), sentence_piece()


def pieces_of(decode: Callable[[Sequence[int]], str], ids: Sequence[int], prompt: Sequence[int] = ()) -> list[str]:
    detokenizer = Detokenizer(decode, prompt)
    return [*(detokenizer.push([token]) for token in ids), detokenizer.finish()]


@given(st.text(max_size=60))
def test_byte_level_pieces_of_any_text_are_whole_characters(text: str) -> None:
    ids = BYTE_LEVEL.encode(text).ids
    pieces = pieces_of(BYTE_LEVEL.decode, ids)
    assert "".join(pieces) == BYTE_LEVEL.decode(ids)
    assert REPLACEMENT in text or REPLACEMENT not in "".join(pieces)


@given(st.lists(st.integers(0, 319), max_size=80))
def test_byte_level_pieces_of_any_ids_add_up(ids: list[int]) -> None:
    ids = [token % BYTE_LEVEL.get_vocab_size() for token in ids]
    assert "".join(pieces_of(BYTE_LEVEL.decode, ids)) == BYTE_LEVEL.decode(ids)


def bytes_of(text: str) -> list[int]:
    return [SENTENCE_PIECE.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]


WORD = st.integers(0, 12).map(lambda token: [token])
CHARACTER = st.characters(exclude_characters=REPLACEMENT, codec="utf-8").map(bytes_of)
SENTENCES = st.lists(WORD | CHARACTER, max_size=25).map(lambda parts: [token for part in parts for token in part])


@given(SENTENCES)
def test_sentence_piece_pieces_add_up_with_their_spaces(ids: list[int]) -> None:
    pieces = pieces_of(SENTENCE_PIECE.decode, ids)
    assert "".join(pieces) == SENTENCE_PIECE.decode(ids)
    assert not any(REPLACEMENT in piece for piece in pieces)


@given(SENTENCES, SENTENCES)
def test_a_prompt_is_context_and_is_not_shown(prompt: list[int], ids: list[int]) -> None:
    whole, shown = SENTENCE_PIECE.decode(prompt + ids), SENTENCE_PIECE.decode(prompt)
    assert shown + "".join(pieces_of(SENTENCE_PIECE.decode, ids, prompt)) == whole


@given(st.lists(st.integers(0, 268), max_size=80))
def test_broken_bytes_neither_crash_nor_lose_ids(ids: list[int]) -> None:
    text, whole = "".join(pieces_of(SENTENCE_PIECE.decode, ids)), SENTENCE_PIECE.decode(ids)
    assert text == whole or REPLACEMENT in whole


@pytest.mark.parametrize("line", LINES)
def test_every_piece_of_a_line_is_shown_as_soon_as_it_is_whole(line: str) -> None:
    ids = BYTE_LEVEL.encode(line).ids
    detokenizer, shown = Detokenizer(BYTE_LEVEL.decode), ""
    for count, token in enumerate(ids, 1):
        shown += detokenizer.push([token])
        text = BYTE_LEVEL.decode(ids[:count])
        assert line.startswith(shown)
        assert shown == text or text.endswith(REPLACEMENT)
    assert shown + detokenizer.finish() == line


def test_an_emoji_comes_out_whole() -> None:
    ids = [BYTE_LEVEL.token_to_id(token) for token in pre_tokenizers.ByteLevel(False).pre_tokenize_str("🦔")[0][0]]
    assert pieces_of(BYTE_LEVEL.decode, ids) == ["", "", "", "🦔", ""]
    assert pieces_of(BYTE_LEVEL.decode, ids[:3]) == ["", "", "", REPLACEMENT]
    assert pieces_of(BYTE_LEVEL.decode, ids[2:], prompt=ids[:2]) == ["", "🦔", ""]


def test_the_first_word_after_a_prompt_keeps_its_space() -> None:
    the, garden = (SENTENCE_PIECE.token_to_id(word) for word in ("▁the", "▁garden"))
    start = SENTENCE_PIECE.token_to_id("<s>")
    assert pieces_of(SENTENCE_PIECE.decode, [garden], prompt=[the]) == [" garden", ""]
    assert pieces_of(SENTENCE_PIECE.decode, [garden], prompt=[the, *[start] * 20]) == [" garden", ""]
    assert pieces_of(SENTENCE_PIECE.decode, [start, the, start, garden]) == ["", "the", "", " garden", ""]


def test_what_was_shown_stands_when_the_decoder_takes_it_back() -> None:
    ids = [*bytes_of("雪"), *bytes_of("é")[:1], SENTENCE_PIECE.token_to_id("a")]
    assert SENTENCE_PIECE.decode(ids) == REPLACEMENT * 4 + "a"
    assert "".join(pieces_of(SENTENCE_PIECE.decode, ids)) == "雪" + REPLACEMENT + "a"


def test_endless_broken_bytes_are_not_held_for_ever() -> None:
    broken = BYTE_LEVEL.token_to_id("ÿ")  # byte 0xFF in the byte-level alphabet
    longest, detokenizer = 0, Detokenizer(lambda ids: BYTE_LEVEL.decode(list(ids)))
    pieces = [detokenizer.push([broken]) for _ in range(4 * MAX_HELD_TOKENS)]
    longest = max(len(piece) for piece in pieces)
    assert longest == MAX_HELD_TOKENS
    assert "".join(pieces) + detokenizer.finish() == REPLACEMENT * 4 * MAX_HELD_TOKENS
