"""From token ids to text, piece by piece, without ever showing half a character.

A token need not be text: a byte-level token can end inside a UTF-8 character, and a SentencePiece token shows its leading
space only if something stands before it. So a token is never decoded alone. Idea: keep a short window of ids, decode it
with and without the new ones, and the difference is the new text. While the window ends with the replacement character
U+FFFD, the last character is incomplete and the difference is held back.

The concatenated pieces are `decode` of all ids, with two exceptions at invalid UTF-8, where the text keeps what was already shown:

- A byte-fallback decoder (`<0x41>` tokens) takes valid characters back when a later byte of the same run is invalid.
- After MAX_HELD_TOKENS tokens without a complete character the window is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

REPLACEMENT = "\ufffd"
MAX_HELD_TOKENS = 64
"""Far more than any character needs; bounds memory and work when a model utters nothing but broken bytes."""
PROMPT_WINDOW = 16


class Detokenizer:
    """The text of one growing sequence.

    Args:
        decode: ids to text; for `tokenizers.Tokenizer` its `decode`, which skips special tokens by default.
        prompt_ids: ids before the first one pushed. They are context and are not shown; a character that begins in the
            prompt is shown whole once it is complete.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], prompt_ids: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(prompt_ids[-PROMPT_WINDOW:])
        self._shown = self._shown_of(self._ids)
        if not self._shown:  # special tokens only: they give no context for a leading space
            self._ids = list(prompt_ids)
            self._shown = self._shown_of(self._ids)
        self._num_settled = len(self._ids)
        """Ids of the window whose text is shown; the rest is held back."""

    def _shown_of(self, ids: Sequence[int]) -> str:
        return self._decode(ids).rstrip(REPLACEMENT) if ids else ""

    def push(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; empty while a character is incomplete."""
        return "".join(self._push_one(token) for token in ids)

    def _push_one(self, token: int) -> str:
        self._ids.append(token)
        text = self._decode(self._ids)
        if text.endswith(REPLACEMENT) and len(self._ids) - self._num_settled < MAX_HELD_TOKENS:
            return ""
        return self._settle(text)

    def finish(self) -> str:
        """The sequence has ended: what was held back, replacement characters included."""
        return self._settle(self._decode(self._ids)) if self._num_settled < len(self._ids) else ""

    def _settle(self, text: str) -> str:
        """Show what is new in the window's text and move the window on."""
        tail = self._ids[self._num_settled :]
        tail_text = self._decode(tail)
        # Where the decoder has taken back what was shown, the new ids are all there is to show.
        piece = text[len(self._shown) :] if text.startswith(self._shown) else tail_text
        if tail_text:
            self._ids, self._shown = tail, tail_text
        else:  # alone these ids are nothing, or a space that a decoder strips: keep what stands before them
            self._shown = text
        self._num_settled = len(self._ids)
        return piece
