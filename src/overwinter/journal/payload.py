"""Texts in the journal: short ones inline, long ones as content-addressed blobs, so that a repeated text is stored once."""

from __future__ import annotations

from typing import Any, Protocol

from overwinter.journal.canonical import canonical, digest, parse

INLINE_CHARS = 1024
"""Longest text kept inside an entry. Longer ones would make reading the chain slow and store repeats again."""


class BlobReader(Protocol):
    def get_blob(self, hash_: str) -> bytes: ...


class Packer:
    """Collects the blobs of the drafts of one append.

    packer = Packer()
    draft = Draft(kind="observed", body={..., "text": packer.text(long_text)}, refs=packer.take_refs())
    store.append(run, [draft], blobs=packer.blobs, fence=fence)
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self._refs: list[str] = []

    def text(self, text: str) -> dict[str, Any]:
        """A `Payload` for `text`. Lone surrogates (undecodable bytes) are replaced, since the journal is UTF-8."""
        if len(text) <= INLINE_CHARS:
            return {"text": text.encode("utf-8", "replace").decode("utf-8")}
        data = text.encode("utf-8", "replace")
        hash_ = digest(data)
        self.blobs[hash_] = data
        self._refs.append(hash_)
        return {"ref": hash_, "chars": len(text)}

    def json(self, value: Any) -> dict[str, Any]:
        """A `Payload` that holds canonical JSON."""
        return self.text(canonical(value).decode("utf-8"))

    def take_refs(self) -> tuple[str, ...]:
        """The references made since the last call, for the `refs` of the draft that uses them."""
        refs, self._refs = tuple(dict.fromkeys(self._refs)), []
        return refs


def unpack(store: BlobReader, payload: dict[str, Any]) -> str:
    """The text of a `Payload`. Raises StoreError when its blob was collected or damaged."""
    if "ref" in payload:
        return store.get_blob(payload["ref"]).decode("utf-8")
    return str(payload["text"])


def unpack_json(store: BlobReader, payload: dict[str, Any]) -> Any:
    """The value of a `Payload` made by `Packer.json`."""
    return parse(unpack(store, payload))
