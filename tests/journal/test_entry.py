"""Entries: sealed bytes, shapes, the chain, and texts packed into payloads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_kit import observed, started
from test_canonical import TEXT, VALUES

from overwinter.errors import StoreError, UsageError
from overwinter.journal import SCHEMA_VERSION, Draft, Packer, unpack, unpack_json
from overwinter.journal.canonical import canonical, digest
from overwinter.journal.entry import BODIES, GENESIS, seal, unseal

HASHES = st.binary(min_size=1, max_size=8).map(digest)


@given(data=VALUES, text=TEXT, refs=st.lists(HASHES, max_size=3), seq=st.integers(0, 2**53), prev=HASHES)
def test_seal_and_unseal(data: Any, text: str, refs: list[str], seq: int, prev: str) -> None:
    draft = Draft(kind="observed", body={"source": text, "text": {}, "data": {"x": data}}, refs=tuple(refs))
    entry, stored = seal(draft, run="r", seq=seq, time_us=7, prev=prev)
    read = unseal(stored, entry.hash)
    assert read == entry
    assert read.body == entry.body
    assert json.loads(json.dumps(entry.as_json()))["hash"] == digest(stored) == entry.hash


@given(st.lists(TEXT, min_size=2, max_size=5, unique=True), st.data())
def test_no_entry_can_change_without_breaking_the_chain(texts: list[str], data: st.DataObject) -> None:
    prev, chain = GENESIS, []
    for seq, text in enumerate(texts):
        entry, stored = seal(observed(text), run="r", seq=seq, time_us=seq, prev=prev)
        prev = entry.hash
        chain.append(stored)
    place = data.draw(st.integers(0, len(chain) - 2))
    offset = data.draw(st.integers(0, len(chain[place]) - 1))
    flipped = bytearray(chain[place])
    flipped[offset] ^= data.draw(st.integers(1, 255))
    assert digest(bytes(flipped)) != json.loads(chain[place + 1])["prev"]


@given(st.lists(TEXT | st.text("ab", min_size=1025, max_size=1100), max_size=6))
def test_packed_texts_come_back(texts: list[str]) -> None:
    packer = Packer()
    payloads = [packer.text(text) for text in texts]
    numbers = packer.json(texts)

    class Blobs:
        def get_blob(self, hash_: str) -> bytes:
            return packer.blobs[hash_]

    assert [unpack(Blobs(), payload) for payload in payloads] == texts
    assert unpack_json(Blobs(), numbers) == texts
    assert set(packer.take_refs()) == set(packer.blobs)


def test_shapes_are_checked_when_drafting() -> None:
    with pytest.raises(UsageError, match="unknown kind of entry 'observd'"):
        Draft(kind="observd", body={})
    with pytest.raises(UsageError, match=r"missing \['data'\], not known \['dta'\]"):
        Draft(kind="observed", body={"source": "", "text": {}, "dta": {}})
    optional = {"until_us", "event", "waits_for"}
    full = {"reason": "sleep", "detail": "", **dict.fromkeys(optional, 1)}
    for left_out in optional:
        Draft(kind="run.suspended", body={key: value for key, value in full.items() if key != left_out})


def test_every_kind_of_entry_has_a_shape() -> None:
    for kind, body in BODIES.items():
        with pytest.raises(UsageError, match=kind.replace(".", r"\.")):
            Draft(kind=kind, body={"nonsense": body.__name__})


def test_a_body_that_is_not_json_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        seal(observed(float("nan")), run="r", seq=0, time_us=0, prev=GENESIS)  # type: ignore[arg-type]


def test_an_entry_of_a_newer_schema_is_refused_with_the_reason() -> None:
    _, stored = seal(started(), run="r", seq=3, time_us=0, prev=GENESIS)
    newer = canonical(json.loads(stored) | {"v": SCHEMA_VERSION + 1})
    with pytest.raises(StoreError, match=f"entry 3 of run 'r' has schema version {SCHEMA_VERSION + 1}.*\n.*update"):
        unseal(newer, digest(newer))


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b'{"v":1}', b"\xff\xfe", b'{"v":1,"refs":null}'])
def test_bytes_that_are_no_entry(stored: bytes) -> None:
    with pytest.raises(StoreError, match="not an entry"):
        unseal(stored, digest(stored))
    with pytest.raises(StoreError, match="does not match its hash"):
        unseal(stored, GENESIS)
