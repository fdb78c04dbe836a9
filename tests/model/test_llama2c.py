"""llama2.c's tokenizer files against a plain Python twin of its greedy joining, on random text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_kit import shared_weights
from tokenizers import Tokenizer

from overwinter.errors import UsageError
from overwinter.model.llama2c import FIRST_BYTE, SPECIAL, Piece, read_pieces, tokenizer_of

LEARNT = [" t", "he", " a", "in", " the", "er", " in", "the", " a b", "äö", "öä", " b", "a b", "in the", "ß", " ", "\n"]
LETTERS = "abehintrw.äö"


def small_file(path: Path, learnt: Sequence[str] = (*LEARNT, *LETTERS), scores: Sequence[float] | None = None) -> Path:
    names = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt]
    given_scores = [0.0] * 259 + list(scores or (-float(index) for index in range(len(learnt))))
    data = b"".join(
        struct.pack("<fi", score, len(name.encode())) + name.encode()
        for name, score in zip(names, given_scores, strict=True)
    )
    target = path / f"tok{len(names)}.bin"
    target.write_bytes(struct.pack("<i", max(map(len, names))) + data)
    return target


def encode_slowly(pieces: Sequence[Piece], text: str) -> list[int]:
    """What llama2.c does, one pair at a time."""
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    tokens = []
    for character in " " + text if text else "":
        known = ids.get(character)
        tokens += [known] if known is not None else [FIRST_BYTE + byte for byte in character.encode()]
    while True:
        best_score, best_at, best_id = -1e10, -1, -1
        for at in range(len(tokens) - 1):
            found = ids.get(pieces[tokens[at]].text + pieces[tokens[at + 1]].text)
            if found is not None and pieces[found].score > best_score:
                best_score, best_at, best_id = pieces[found].score, at, found
        if best_at < 0:
            return tokens
        tokens[best_at : best_at + 2] = [best_id]


def decode_slowly(pieces: Sequence[Piece], tokens: Sequence[int]) -> str:
    data = b"".join(
        bytes([token - FIRST_BYTE]) if FIRST_BYTE <= token < FIRST_BYTE + 256 else pieces[token].text.encode()
        for token in tokens
    )
    return data.decode(errors="replace").removeprefix(" ")


ANY_TEXT = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=LETTERS + " ", max_size=40),
    st.lists(st.sampled_from([*LEARNT, "once upon a time", "🐻", "e\u0301", "\u2581", "\x00"]), max_size=8).map(
        "".join
    ),
).filter(lambda text: not any(name in text for name in SPECIAL))


def agree(tokenizer: Tokenizer, pieces: Sequence[Piece], text: str) -> None:
    fast = tokenizer.encode(text, add_special_tokens=False).ids
    assert fast == encode_slowly(pieces, text)
    assert tokenizer.decode(fast) == text == decode_slowly(pieces, fast)
    assert tokenizer.encode(text).ids == [1, *fast]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, list[Piece]]:
    path = small_file(tmp_path_factory.mktemp("small"))
    pieces = read_pieces(path, int(path.stem[3:]))
    return tokenizer_of(pieces), pieces


@pytest.fixture(scope="module")
def stories() -> tuple[Tokenizer, list[Piece]]:
    folder = shared_weights("stories260K")
    if folder is None:
        pytest.skip("the shared weights are not here")
    pieces = read_pieces(folder / "tok512.bin", 512)
    return tokenizer_of(pieces), pieces


@given(text=ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_a_small_file_encodes_as_its_twin(small: tuple[Tokenizer, list[Piece]], text: str) -> None:
    agree(*small, text)


@given(text=ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_the_stories_tokenizer_encodes_as_its_twin(stories: tuple[Tokenizer, list[Piece]], text: str) -> None:
    agree(*stories, text)


def test_a_long_story_encodes_as_its_twin(stories: tuple[Tokenizer, list[Piece]]) -> None:
    agree(*stories, "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 3)


def test_what_was_saved_encodes_the_same(small: tuple[Tokenizer, list[Piece]]) -> None:
    again = Tokenizer.from_str(small[0].to_str())
    agree(again, small[1], "in the water, äöß 🐻")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = small_file(tmp_path)
    data, count = whole.read_bytes(), int(whole.stem[3:])
    cut = tmp_path / "cut.bin"
    for length in (0, 3, 9, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(UsageError, match=r"cut\.bin"):
            read_pieces(cut, count)
    with pytest.raises(UsageError, match=f"{count} whole pieces"):
        read_pieces(whole, count + 1)
    cut.write_bytes(data.replace(b"<0x41>", b"<0x4G>"))
    with pytest.raises(UsageError, match="256 bytes"):
        read_pieces(cut, count)
    cut.write_bytes(data.replace("äö".encode(), b"\xff\xff\xff\xff"))
    with pytest.raises(UsageError, match="not UTF-8"):
        read_pieces(cut, count)


def test_a_vocabulary_that_leaves_the_order_open_is_refused(tmp_path: Path) -> None:
    ties = small_file(tmp_path, ["a", "b", "ab", "ba"], [-1.0, -2.0, -3.0, -3.0])
    with pytest.raises(UsageError, match="share the score"):
        tokenizer_of(read_pieces(ties, 263))
    twice = small_file(tmp_path, ["a", "a"])
    with pytest.raises(UsageError, match="twice"):
        tokenizer_of(read_pieces(twice, 261))
