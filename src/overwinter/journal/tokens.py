"""Token ids in the journal. A run shows its model nearly the same prompt again and again, so a prompt is stored as what it
adds to the prompt before: N steps cost O(N) tokens, not O(N²).

A `tokens` payload holds `ids`, `logprobs`, `top_logprobs` of the completion, and `prompt`:

    {"after": seq of an earlier completion or null, "keep": tokens shared with that one's prompt + completion, "ids": the rest}

Log-probabilities are what the server gave; of our own engine, the model's own before constraint and temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal.entry import Entry
from overwinter.journal.payload import unpack_json
from overwinter.journal.store import Store


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
