"""The words in an entry, and the places where words are: what has to be known to erase something and to see that it is gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overwinter.errors import StoreError
from overwinter.journal.entry import Entry
from overwinter.journal.payload import BlobReader, unpack
from overwinter.journal.store import Store

_LABELS = frozenset(
    {
        "actor",
        "branch",
        "budget",
        "by",
        "call_id",
        "checker",
        "cite",
        "cites",
        "decision",
        "digest",
        "effect",
        "event",
        "id",
    }
    | {
        "finish_reason",
        "key",
        "kind",
        "model",
        "name",
        "owner",
        "parent",
        "policy",
        "purpose",
        "rule",
        "session",
        "source",
    }
    | {"state", "status", "tool", "unit", "version", "world"}
)
"""Fields that name things. They go with an erased entry, but occurring elsewhere they do not repeat what it said."""
_FRAME = frozenset({"budgets", "caps", "constraint", "limits", "reserve", "settle", "setup", "tokens", "usage", "view"})
"""Fields that hold no words of anybody, or only in the form of token ids."""

CHUNK_BYTES = 1 << 24


def texts(store: BlobReader, entry: Entry) -> Iterator[str]:
    """The texts that an entry says, long ones fetched from their blobs; what was collected or erased is left out."""
    yield from _texts(store, entry.body)


def _texts(store: BlobReader, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        if "ref" in value and "chars" in value:
            try:
                yield unpack(store, dict(value))
            except StoreError:
                return
        for name, inner in value.items():
            if name not in _FRAME and name not in _LABELS and name != "ref":
                yield from _texts(store, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(store, inner)


def spellings(text: str) -> tuple[bytes, ...]:
    """The bytes under which a text lies in the store: as it is, inside JSON, and inside JSON inside JSON."""
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    twice = json.dumps(once, ensure_ascii=False)[1:-1]
    return tuple(dict.fromkeys(form.encode("utf-8", "replace") for form in (text, once, twice)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Remains:
    """A text that is still there: `place` in words, and which of the texts looked for."""

    place: str
    text: int


def search(store: Store, wanted: Sequence[str], files: Iterable[Any] = ()) -> list[Remains]:
    """Where any of `wanted` still is: in the store's rows, in the bytes of its files, in the bytes of `files`.

    It trusts nothing but the bytes: every row is looked through decompressed, every file from its first byte to its last. Linear
    in the size of the journal times the number of texts.
    """
    if not wanted:
        return []
    forms = [spellings(text) for text in wanted]
    found: dict[tuple[str, int], Remains] = {}

    def note(place: str, which: int) -> None:
        found.setdefault((place, which), Remains(place=place, text=which))

    for stored in store.contents():
        for which in _within(stored.data, forms):
            note(f"{stored.place} {stored.name}" + (f"#{stored.seq}" if stored.seq >= 0 else ""), which)
    longest = max(len(form) for each in forms for form in each)
    for path in [*store.files(), *files]:
        tail = b""
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                for which in _within(tail + chunk, forms):
                    note(f"file {path.name}", which)
                tail = (tail + chunk)[-longest:]
    return list(found.values())


def _within(data: bytes, forms: Sequence[tuple[bytes, ...]]) -> Iterator[int]:
    for which, spelt in enumerate(forms):
        if any(form in data for form in spelt):
            yield which
