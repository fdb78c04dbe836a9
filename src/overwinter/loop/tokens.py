"""Writing token ids into the journal, and comparing them. The format, and how it is read, stand in `overwinter.journal.tokens`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from overwinter.journal.tokens import PromptReader, prompt_ids, read_tokens
from overwinter.loop.model import Completion

__all__ = ["IMPOSSIBLE", "PromptChain", "PromptReader", "first_difference", "prompt_ids", "read_tokens", "token_record"]

IMPOSSIBLE = -9999.0
"""Log-probability of a token the model could not have said."""


class PromptChain:
    """Remembers the last prompt of a session, to store the next one against it. A new process begins with a whole prompt."""

    def __init__(self) -> None:
        self._seq: int | None = None
        self._ids: tuple[int, ...] = ()

    def encode(self, ids: Sequence[int]) -> dict[str, Any]:
        """What has to be stored of a prompt."""
        keep = 0
        for old, new in zip(self._ids, ids, strict=False):
            if old != new:
                break
            keep += 1
        return {"after": self._seq if keep else None, "keep": keep, "ids": list(ids[keep:])}

    def advance(self, seq: int, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> None:
        """The completion is on disk as entry `seq`."""
        self._seq, self._ids = seq, (*prompt_ids, *completion_ids)


def token_record(completion: Completion, chain: PromptChain) -> dict[str, Any]:
    """What replay and training need of a completion, where the server gave it; {} if it gave nothing."""
    logprobs = completion.logprobs
    rows: dict[str, Any] = {
        "ids": completion.token_ids,
        "logprobs": None if logprobs is None else [_finite(value) for value in logprobs],
        "top_logprobs": [{t: _finite(p) for t, p in row.items()} for row in completion.top_logprobs] or None,
    }
    record: dict[str, Any] = {name: list(row) for name, row in rows.items() if row is not None}
    if completion.prompt_token_ids is not None:
        record["prompt"] = chain.encode(completion.prompt_token_ids)
    return record


def _finite(logprob: float) -> float:
    """JSON has no infinities: an impossible token is written as servers do that have the same trouble."""
    return logprob if math.isfinite(logprob) else IMPOSSIBLE


def first_difference(record: Mapping[str, Any], prompt: Sequence[int] | None, now: Completion) -> str:
    """Where an answer is not to the bit what the record holds, with both values; "" where it is, or one of them has no ids."""
    if "ids" not in record or now.token_ids is None:
        return ""
    if prompt is not None and now.prompt_token_ids is not None:
        found = _difference("token {} of the prompt", prompt, now.prompt_token_ids)
        if found:
            return found
    found = _difference("token {} of the answer", record["ids"], now.token_ids)
    if found or "logprobs" not in record or now.logprobs is None:
        return found
    found = _difference(
        "the log-probability of token {}", record["logprobs"], [_finite(value) for value in now.logprobs]
    )
    if found or "top_logprobs" not in record:
        return found
    rows = [{token: _finite(value) for token, value in row.items()} for row in now.top_logprobs]
    return _difference("the alternatives of token {}", record["top_logprobs"], rows)


def _difference(what: str, then: Sequence[Any], now: Sequence[Any]) -> str:
    for place, (old, new) in enumerate(zip(then, now, strict=False)):
        if old != new:
            # Both are written out in full: the shortest form of a float that reads back as the same one.
            return f"{what.format(place)} differs: then {old!r}, now {new!r}"
    if len(then) != len(now):
        return f"{what.format(min(len(then), len(now)))} differs: then there were {len(then)}, now {len(now)}"
    return ""
