"""Token ids in the journal. A run shows its model nearly the same prompt again and again, so a prompt is stored as what it
adds to the prompt before: N steps cost O(N) tokens, not O(N²).

A `tokens` payload holds `ids`, `logprobs`, `top_logprobs` of the completion, and `prompt`:

    {"after": seq of an earlier completion or null, "keep": tokens shared with that one's prompt + completion, "ids": the rest}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal import Entry, Store, unpack_json
from overwinter.loop.model import Completion

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


def read_tokens(store: Store, entry: Entry) -> dict[str, Any]:
    """The record of a sample.completion; {} for a text-only one."""
    payload = entry.body.get("tokens")
    return dict(unpack_json(store, payload)) if payload is not None else {}


class PromptReader:
    """Puts prompts together again while a journal is read from its start: `prompt_ids` without walking back each time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq: int | None = None
        self._ids: list[int] = []

    def read(self, entry: Entry, record: Mapping[str, Any]) -> list[int] | None:
        """The whole prompt of a completion with this record; None where it holds none."""
        if "prompt" not in record:
            return None
        prompt = record["prompt"]
        if prompt["after"] is None or prompt["after"] == self._seq:
            ids = [*self._ids[: prompt["keep"]], *prompt["ids"]]
        else:  # it goes on from another question, such as a judge's
            ids = prompt_ids(self._store, entry.run, entry) or []
        self._seq, self._ids = entry.seq, [*ids, *record.get("ids", ())]
        return ids


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


def prompt_ids(store: Store, run: str, entry: Entry) -> list[int] | None:
    """The whole prompt of a completion, put together along the chain; None where the server gave no ids."""
    pieces: list[tuple[int, list[int]]] = []
    record = read_tokens(store, entry)
    if "prompt" not in record:
        return None
    prompt = record["prompt"]
    while prompt["after"] is not None:
        pieces.append((prompt["keep"], prompt["ids"]))
        seq = prompt["after"]
        before = next(store.read(run, seq, seq + 1), None)
        if before is None:
            raise StoreError(
                f"entry {entry.seq} refers to prompt tokens of entry {seq}, which is missing", "verify the run"
            )
        record = read_tokens(store, before)
        pieces.append((-1, record["ids"]))
        prompt = record["prompt"]
    ids = list(prompt["ids"])
    for keep, rest in reversed(pieces):
        ids = ids + rest if keep < 0 else ids[:keep] + rest
    return ids
