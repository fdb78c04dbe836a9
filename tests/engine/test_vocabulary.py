"""What tokens write: the table against the tokenizer's own decoder, and its spelling against its own encoder."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the engine needs overwinter[local]")

from grammar_kit import byte_level, sentence_piece  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: E402

from overwinter.engine.vocabulary import SAMPLE, SPECIAL_MARK, Vocabulary  # noqa: E402
from overwinter.errors import UsageError  # noqa: E402

TOKENIZERS = {"byte-level": (byte_level(), 0), "sentence-piece": (sentence_piece(), 2)}
VOCABULARIES = {name: Vocabulary.of(tokenizer, end_ids=[end]) for name, (tokenizer, end) in TOKENIZERS.items()}
BOTH = pytest.mark.parametrize("name", TOKENIZERS)


@BOTH
def test_every_token_writes_what_the_decoder_shows_behind_other_text(name: str) -> None:
    tokenizer, vocabulary = TOKENIZERS[name][0], VOCABULARIES[name]
    before = tokenizer.encode("a", add_special_tokens=False).ids
    compared = 0
    for token in range(vocabulary.vocab_size):
        entry = vocabulary.token_bytes[token]
        if not entry:  # the byte 0xFF, which stands in no text
            assert tokenizer.decode([*before, token]) == "a\ufffd"
            continue
        try:
            entry.decode()
        except UnicodeDecodeError:
            continue  # part of a character; texts of whole ones are compared below
        compared += 1
        assert tokenizer.decode([*before, token]) == "a" + entry.decode()
    assert compared > 130


@BOTH
@given(text=st.text(max_size=30))
def test_a_text_is_written_back_by_its_spelling(name: str, text: str) -> None:
    vocabulary = VOCABULARIES[name]
    ids = vocabulary.spell(text)
    assert vocabulary.text_of(ids) == text
    assert not any(vocabulary.is_special(token) for token in ids)


def test_the_tokenizers_own_spelling_is_taken_where_it_writes_the_text() -> None:
    tokenizer = TOKENIZERS["byte-level"][0]
    assert VOCABULARIES["byte-level"].spell(SAMPLE) == tokenizer.encode(SAMPLE).ids
    # The same merges, without the space that this tokenizer puts in front of every text.
    pieces = VOCABULARIES["sentence-piece"]
    assert pieces.spells_itself('{"n": "aan"}')
    spelled = [pieces.token_bytes[token] for token in pieces.spell('{"n": "aan"}')]
    assert spelled == [b'{"', b"n", b'":', b" ", b'"', b"a", b"an", b'"', b"}"]


def test_an_end_token_writes_nothing_even_where_the_tokenizer_takes_it_for_text() -> None:
    vocabulary = Vocabulary([b"stop", *(bytes([letter]) for letter in b"stop")], end_ids=[0], encode=lambda _text: [0])
    assert vocabulary.spell("stop") == [1, 2, 3, 4]
    assert vocabulary.text_of([1, 0]) == "s"


def test_names_of_special_tokens_are_spelled_as_text() -> None:
    tokenizer, vocabulary = TOKENIZERS["byte-level"][0], VOCABULARIES["byte-level"]
    assert tokenizer.encode("<|other|>").ids == [1]
    assert vocabulary.text_of(vocabulary.spell("<|other|>")) == "<|other|>"
    assert vocabulary.is_special(1)
    assert vocabulary.text_of([1, *vocabulary.spell("a"), 0]) == "a"


def test_truncation_and_padding_of_a_tokenizer_do_not_reach_the_spelling() -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=60, pad_id=1, pad_token="<|other|>")
    vocabulary = Vocabulary.of(tokenizer, end_ids=[0])
    assert vocabulary.spells_itself(SAMPLE)
    assert vocabulary.spell(SAMPLE) == byte_level().encode(SAMPLE).ids


def test_an_added_word_is_text_and_an_added_special_token_is_not() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    tokenizer.add_special_tokens(["<|tool|>"])
    vocabulary = Vocabulary.of(tokenizer, end_ids=[0])
    word, special = tokenizer.token_to_id("<tool_call>"), tokenizer.token_to_id("<|tool|>")
    assert vocabulary.token_bytes[word] == b"<tool_call>"
    assert vocabulary.spell("<tool_call>") == [word]
    assert vocabulary.token_bytes[special] == SPECIAL_MARK + b"<|tool|>"


def test_heads_wider_and_narrower_than_the_tokenizer() -> None:
    tokenizer = TOKENIZERS["byte-level"][0]
    wide = Vocabulary.of(tokenizer, end_ids=[0, 1], vocab_size=400)
    assert wide.vocab_size == 400
    assert wide.token_bytes[tokenizer.get_vocab_size() :] == (b"",) * (400 - tokenizer.get_vocab_size())
    narrow = Vocabulary.of(tokenizer, end_ids=[0], vocab_size=300)
    assert narrow.vocab_size == 300
    assert narrow.text_of(narrow.spell("arguments")) == "arguments"


@pytest.mark.parametrize("end_ids", [[], [-1], [340], [0, 999]])
def test_end_tokens_must_be_there(end_ids: list[int]) -> None:
    with pytest.raises(UsageError, match="do not suit a vocabulary of 340"):
        Vocabulary.of(TOKENIZERS["byte-level"][0], end_ids=end_ids)


@pytest.mark.parametrize("decoder", [None, decoders.WordPiece(), decoders.BPEDecoder(), decoders.CTC()])
def test_decoders_that_look_at_the_neighbours_are_refused(decoder: object) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if decoder is not None:
        tokenizer.decoder = decoder
    with pytest.raises(UsageError, match="what a token writes depends on others"):
        Vocabulary.of(tokenizer, end_ids=[0])


def test_metaspace_is_understood() -> None:
    words = ["<unk>", "</s>", "▁wait", "▁", "heat", "w"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    vocabulary = Vocabulary.of(tokenizer, end_ids=[1])
    assert vocabulary.token_bytes[2:] == (b" wait", b" ", b"heat", b"w")


def test_the_library_is_imported_when_it_is_needed_and_its_lack_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, overwinter.engine.tool_calls, overwinter.engine.grammar; print('llguidance' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UsageError, match=r"need the package llguidance\n.*pip install 'overwinter\[local\]'"):
        Vocabulary.of(byte_level(), end_ids=[0]).for_library()


def test_a_vocabulary_is_freed_when_it_is_let_go() -> None:
    vocabulary = Vocabulary.of(byte_level(), end_ids=[0])
    assert vocabulary.for_library() is vocabulary.for_library()
    watched = weakref.ref(vocabulary)
    del vocabulary
    gc.collect()
    assert watched() is None
