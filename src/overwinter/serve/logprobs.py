"""Log-probabilities as the two APIs write them.

A token need not be whole characters. The chat form gives its bytes beside a readable text, and the older form, which has no place
for bytes, spells such a token `bytes:\\xe2\\x80`, so that two tokens are never the same key by accident.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from overwinter.engine.request import TokenLogprob
from overwinter.model.text import TextFormat

LEAST = -9999.0
"""Stands for minus infinity, which JSON cannot hold; the value vLLM uses."""


def finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else LEAST


def bytes_of(text: TextFormat, token: int) -> bytes:
    """What a token writes; nothing for the padding of a head that is wider than the vocabulary."""
    return text.token_bytes(token) if text.tokenizer.id_to_token(token) is not None else b""


def spelled(text: TextFormat, token: int) -> str:
    """A token as text, by its bytes where it is none, by its id where it writes nothing."""
    data = bytes_of(text, token)
    if not data:
        return f"token_id:{token}"
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def chat_logprobs(text: TextFormat, rows: Sequence[TokenLogprob], top: int) -> list[dict[str, Any]]:
    """Entries of `logprobs.content`."""
    return [
        {**_chat_entry(text, row.token_id, row.logprob or 0.0), "top_logprobs": _alternatives(text, row, top)}
        for row in rows
    ]


def _alternatives(text: TextFormat, row: TokenLogprob, top: int) -> list[dict[str, Any]]:
    return [_chat_entry(text, token, logprob) for token, logprob in row.top[:top]]


def _chat_entry(text: TextFormat, token: int, logprob: float) -> dict[str, Any]:
    data = bytes_of(text, token)
    return {"token": spelled(text, token), "logprob": finite(logprob), "bytes": list(data)}


class CompletionLogprobs:
    """The parallel lists of the older API, filled token by token.

    Args:
        offset: characters of the text before the first token.
    """

    def __init__(self, text: TextFormat, offset: int) -> None:
        self._text = text
        self._offset = offset

    def lists(self, rows: Sequence[TokenLogprob]) -> dict[str, list[Any]]:
        """The next tokens."""
        tokens, offsets = [], []
        for row in rows:
            tokens.append(spelled(self._text, row.token_id))
            offsets.append(self._offset)
            self._offset += len(bytes_of(self._text, row.token_id).decode(errors="replace"))
        return {
            "tokens": tokens,
            "token_logprobs": [None if row.logprob is None else finite(row.logprob) for row in rows],
            "top_logprobs": [self._top(row) for row in rows],
            "text_offset": offsets,
        }

    def _top(self, row: TokenLogprob) -> dict[str, float] | None:
        """The likeliest tokens and the chosen one, which makes it one more if it is not among them."""
        if row.logprob is None:
            return None
        pairs = (*row.top, (row.token_id, row.logprob))
        return {spelled(self._text, token): finite(logprob) for token, logprob in pairs}
