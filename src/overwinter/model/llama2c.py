"""The tokenizer files of llama2.c: `tokNNN.bin`, a SentencePiece byte-pair vocabulary of NNN pieces as one flat file.

The file is int32 `longest`, then for each piece: float32 score, int32 length, its bytes in UTF-8. Id 0 is the unknown piece,
1 begins a text, 2 ends it, 3 to 258 are the bytes `<0x00>` to `<0xFF>`; then come the learnt pieces, a space being a space.

Encoding, as llama2.c does it: a space is put before a text that is not empty; each character is its piece, or its bytes if
there is none; then, as long as any two neighbours are together a piece, the pair of the highest score is joined, the
leftmost of equals. `tokenizers.Tokenizer` does the same from a list of pairs in the order of their scores, provided that no two
joined pieces share a score, so that is demanded. What stays open is one piece that two overlapping pairs give ([aa, a, aa] as
aaa): a vocabulary that was learnt by joining pairs does not lead there. tests/model/test_llama2c.py holds the slow clear twin.

Source of the format: github.com/karpathy/llama2.c (tokenizer.py, run.c).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from overwinter.errors import UsageError

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL = (UNKNOWN, BEGIN, END)
FIRST_BYTE, FIRST_LEARNT = 3, 259
_HEADER, _PIECE = struct.Struct("<i"), struct.Struct("<fi")
_FETCH_AGAIN = "export the tokenizer again, or copy a whole file"


class Piece(NamedTuple):
    """One entry of the vocabulary; its id is its place in the list."""

    text: str
    score: float


def read_pieces(path: Path, vocab_size: int) -> list[Piece]:
    """The vocabulary of a file, special pieces by their usual names.

    Raises:
        UsageError: the file is cut short, holds another number of pieces, or lacks the bytes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}", _FETCH_AGAIN) from error
    pieces: list[Piece] = []
    at = _HEADER.size
    while at + _PIECE.size <= len(data):
        score, length = _PIECE.unpack_from(data, at)
        at += _PIECE.size
        if not 0 <= length <= len(data) - at:
            raise UsageError(f"{path} ends within piece {len(pieces)}", _FETCH_AGAIN)
        try:
            pieces.append(Piece(data[at : at + length].decode(), score))
        except UnicodeDecodeError as error:
            raise UsageError(f"piece {len(pieces)} of {path} is not UTF-8: {error}", _FETCH_AGAIN) from error
        at += length
    if at != len(data) or len(pieces) != vocab_size:
        raise UsageError(f"{path} holds {len(pieces)} whole pieces, config.json says {vocab_size}", _FETCH_AGAIN)
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    found = [piece.text.strip("\n") for piece in pieces[:FIRST_LEARNT]]
    if found != names:
        raise UsageError(
            f"{path} does not begin with {', '.join(SPECIAL)} and the 256 bytes", "only SentencePiece exports are read"
        )
    return [Piece(name, piece.score) for name, piece in zip(names, pieces, strict=False)] + pieces[FIRST_LEARNT:]


def tokenizer_of(pieces: list[Piece]) -> Tokenizer:
    """The pieces as a tokenizer that encodes and decodes as llama2.c does; with special tokens it puts `<s>` first."""
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    if len(ids) != len(pieces):
        raise UsageError("the vocabulary holds a piece twice", _FETCH_AGAIN)
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=_pairs(pieces, ids), unk_token=UNKNOWN, byte_fallback=True))
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[(BEGIN, ids[BEGIN])]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in SPECIAL])
    return tokenizer


def _pairs(pieces: list[Piece], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a learnt one, highest score first."""
    pairs: list[tuple[str, str]] = []
    joined: dict[float, str] = {}
    # Stable sort: ways to the same piece stay together, the shorter left half first.
    for text, score in sorted(pieces[FIRST_LEARNT:], key=lambda piece: -piece.score):
        halves = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [pair for pair in halves if pair[0] in ids and pair[1] in ids]
        if known and score in joined:
            raise UsageError(f"the pieces {joined[score]!r} and {text!r} share the score {score}", _FETCH_AGAIN)
        if known:
            joined[score] = text
        pairs += known
    return pairs
