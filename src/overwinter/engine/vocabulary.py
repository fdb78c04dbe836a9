"""What each token of a model writes, as bytes: the common ground between a tokenizer and a grammar over text.

A grammar knows bytes, a model knows token ids. The table between them is made once for each tokenizer and shared by all
constraints. It must agree with what the detokenizer shows, so decoders that make different texts of a token in different
places are refused. The one exception: the space that a SentencePiece decoder strips from the very beginning of a text is
there in any text that goes on from a prompt, and counts.

Special tokens write nothing and may never follow, end tokens apart. A head that is wider than the tokenizer is padded with
tokens that may never follow either.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from overwinter.errors import UsageError
from overwinter.model.text import TextFormat

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from tokenizers import Tokenizer

SPECIAL_MARK = b"\xff"
"""First byte of a special token's entry, behind which stands its name. No UTF-8 text contains it."""
SAMPLE = '{"tool": "wait", "arguments": {"n": [1, 2.5], "text": "Grüße, 雪 🌱"}}'

Encode = Callable[[str], Sequence[int]]


class Vocabulary:
    """Bytes of all tokens, the end tokens, and the tokenizer's own way to spell a text.

    Args:
        token_bytes: what each id writes; empty for ids that may never follow, `SPECIAL_MARK` and a name for special tokens.
        end_ids: tokens that end a sequence, one at least.
        encode: text to ids. Where a grammar leaves no choice but one text, the mask asks for the tokens of this spelling.

    Raises:
        UsageError: no end token, or one outside the vocabulary.
    """

    def __init__(self, token_bytes: Sequence[bytes], *, end_ids: Iterable[int], encode: Encode) -> None:
        self.end_ids = tuple(sorted(set(end_ids)))
        width = len(token_bytes)
        if not self.end_ids or not 0 <= self.end_ids[0] <= self.end_ids[-1] < width:
            raise UsageError(
                f"end tokens {list(self.end_ids)} do not suit a vocabulary of {width}",
                "give the ids by which the model ends an answer, one at least",
            )
        entries = list(token_bytes)
        for token in self.end_ids:  # never text, even where the tokenizer does not call them special
            entries[token] = SPECIAL_MARK + entries[token].removeprefix(SPECIAL_MARK)
        self._table = _Table(tuple(entries), self.end_ids, encode)
        self._for_library: LLTokenizer | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, end_ids: Iterable[int], vocab_size: int | None = None) -> Vocabulary:
        """The table of a tokenizer.

        Args:
            vocab_size: width of the model's head; by default the tokenizer's size. Tokens beyond it may never follow.

        Raises:
            UsageError: the decoder is of a kind whose tokens write different texts in different places.
        """
        written = _written(tokenizer)
        width = tokenizer.get_vocab_size() if vocab_size is None else vocab_size
        entries = [written.get(token, b"") for token in range(width)]
        vocabulary = cls(entries, end_ids=end_ids, encode=_encode_of(tokenizer))
        if not vocabulary.spells_itself(SAMPLE):  # a space in front, truncation, padding
            vocabulary = cls(entries, end_ids=end_ids, encode=_encode_of(_without_additions(tokenizer)))
        ids = [token for token in tokenizer.encode(SAMPLE, add_special_tokens=False).ids if token < width]
        shown, spelled = tokenizer.decode(ids), vocabulary.text_of(ids)
        if shown.strip() != spelled.strip():
            raise UsageError(
                f"the tokenizer shows {shown!r} where its tokens spell {spelled!r}",
                "constraints need a byte-level or SentencePiece tokenizer; check the decoder in tokenizer.json",
            )
        return vocabulary

    @property
    def vocab_size(self) -> int:
        return len(self._table.tokens)

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """What each id writes; special tokens begin with `SPECIAL_MARK`."""
        return self._table.tokens

    def is_special(self, token: int) -> bool:
        return self.token_bytes[token].startswith(SPECIAL_MARK)

    def text_of(self, ids: Iterable[int]) -> str:
        """What the tokens write, special ones left out; broken characters become U+FFFD."""
        parts = (self.token_bytes[token] for token in ids if not self.is_special(token))
        return b"".join(parts).decode("utf-8", "replace")

    def spell(self, text: str) -> list[int]:
        """Ids that write exactly this text: the tokenizer's own, else the longest token that fits, again and again.

        The tokenizer's own do not fit where it adds a space in front, changes characters, or reads a special token out of the
        text. What no token can write is left out.
        """
        return self._table(text)

    def spells_itself(self, text: str) -> bool:
        """Whether the tokenizer's own spelling writes exactly this text."""
        return self._table.own_spelling(text) is not None

    def for_library(self) -> LLTokenizer:
        """The table as the grammar library keeps it; made at the first call.

        Raises:
            UsageError: the library is not installed.
        """
        with self._lock:
            if self._for_library is None:
                table: Any = self._table
                self._for_library = library().LLTokenizer(table, eos_token=list(self.end_ids))
            return self._for_library


class _Table:
    """What the grammar library reads and keeps; apart from the vocabulary, so that neither keeps the other alive."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: tuple[bytes, ...], end_ids: tuple[int, ...], encode: Encode) -> None:
        self.tokens = tokens
        self.eos_token_id = end_ids[0]
        self.special_token_ids = [token for token, entry in enumerate(tokens) if entry.startswith(SPECIAL_MARK)]
        self._encode = encode
        self._longest = max(map(len, tokens))
        self._id_of = {
            entry: token for token, entry in enumerate(tokens) if entry and not entry.startswith(SPECIAL_MARK)
        }

    def __call__(self, text: str) -> list[int]:
        own = self.own_spelling(text)
        return self._greedy_spelling(text.encode()) if own is None else own

    def own_spelling(self, text: str) -> list[int] | None:
        ids = list(self._encode(text))
        written = (self.tokens[token] if token < len(self.tokens) else SPECIAL_MARK for token in ids)
        return ids if b"".join(written) == text.encode() else None

    def _greedy_spelling(self, text: bytes) -> list[int]:
        ids, at = [], 0
        while at < len(text):
            pieces = (text[at : at + length] for length in range(self._longest, 0, -1))
            piece = next((piece for piece in pieces if piece in self._id_of), b"")
            ids += [self._id_of[piece]] if piece else []
            at += max(1, len(piece))
        return ids


def library() -> Any:
    """The grammar library, imported when it is first needed.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import llguidance
    except ImportError as missing:
        raise UsageError(
            "schemas, regular expressions and grammars need the package llguidance",
            "install it: pip install 'overwinter[local]'",
        ) from missing
    return llguidance


def _encode_of(tokenizer: Tokenizer) -> Encode:
    def encode(text: str) -> Sequence[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _without_additions(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that puts no space in front of a text, and neither cuts nor pads it."""

    state = json.loads(tokenizer.to_str())
    parts = {key: _bare(state[key]) for key in ("normalizer", "pre_tokenizer")}
    copy: Tokenizer = type(tokenizer).from_str(json.dumps({**state, **parts, "truncation": None, "padding": None}))
    return copy


def _bare(part: Any) -> Any:
    """A normalizer or pre-tokenizer without what it puts in front."""
    if not isinstance(part, dict) or part["type"] == "Prepend":
        return None
    for key in ("normalizers", "pretokenizers"):
        if key in part:
            part = {**part, key: [bare for each in part[key] if (bare := _bare(each)) is not None]}
    unchanged = {"add_prefix_space": False, "prepend_scheme": "never"}
    return {key: unchanged.get(key, value) for key, value in part.items()}


def _written(tokenizer: Tokenizer) -> Mapping[int, bytes]:
    """What each id writes behind other text."""
    _demand_own_texts(tokenizer)
    text = TextFormat(tokenizer)
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    found = {}
    for name, token in tokenizer.get_vocab(with_added_tokens=True).items():
        entry = SPECIAL_MARK + name.encode() if token in special else text.token_bytes(token)
        # A token whose text begins with that very byte is no text.
        found[token] = b"" if token not in special and entry.startswith(SPECIAL_MARK) else entry
    return found


def _demand_own_texts(tokenizer: Tokenizer) -> None:
    """Only decoders that make the same text of a token wherever it stands."""
    decoder: Any = tokenizer.decoder
    state: dict[str, Any] = json.loads(decoder.__getstate__()) if decoder is not None else {"type": "none"}
    steps: list[Mapping[str, Any]] = state["decoders"] if state["type"] == "Sequence" else [state]
    for step in steps:
        plain_replace = step["type"] == "Replace" and "String" in step["pattern"]
        if not plain_replace and step["type"] not in {"ByteLevel", "ByteFallback", "Fuse", "Metaspace", "Strip"}:
            raise UsageError(
                f"a grammar cannot follow a tokenizer whose decoder is {step['type']!r}: what a token writes depends on others",
                "use a byte-level or SentencePiece tokenizer, or generate without a schema, regular expression or grammar",
            )
