"""`Memory` as a whole: written, synced, embedded, searched, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from memory_kit import append, begin, everything, observed

from overwinter.journal.sqlite import SqliteStore
from overwinter.memory import memory as memory_module
from overwinter.memory.memory import Memory
from overwinter.memory.plain import PlainIndex
from overwinter.memory.unit import AsOf, Filter

np = pytest.importorskip("numpy", reason="vectors need overwinter[memory]")


class Letters:
    """An embedder by counts of letters: texts with the same letters lie together."""

    name, dim, max_tokens = "letters", 32, 10_000

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, texts: Sequence[str]) -> Any:
        self.asked += len(texts)
        counted = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(counted, texts, strict=True):
            for word in text.lower().split():
                row[hashlib.sha256(word.encode()).digest()[0] % self.dim] += 1
        return counted / np.maximum(np.linalg.norm(counted, axis=1, keepdims=True), 1e-6)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(tmp_path / "j.db")
    lease = begin(store)
    append(
        store, lease, *(observed(f"day {i}: the pump of house {i % 7} was checked", source="user") for i in range(40))
    )
    append(store, lease, observed("Ann repaired the boiler, see order-17", source="user"))
    return store


def test_search_finds_what_was_written(store: SqliteStore) -> None:
    memory = Memory.open(store)
    memory.sync()
    answer = memory.search("Who repaired the boiler?", k=3)
    assert answer.hits[0].unit.cite == "r#41"
    assert memory.search("order-17").hits[0].unit.cite == "r#41"
    memory.write("My name is Carl and I live in Oslo now.")
    assert "Oslo" in {claim.object for claim in memory.search("Where do I live now?").claims}
    before = AsOf(known_us=memory.index.timeline(Filter(), limit=1)[0].told_us - 1)
    assert memory.search("boiler", at=before).hits == ()


def test_units_are_embedded_once_and_found_by_meaning(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "EMBED_BATCH", 16)
    embedder = Letters()
    memory = Memory.open(store, embedder=embedder)
    assert memory.sync().vectors == embedder.asked == 42
    assert memory.sync().vectors == 0
    memory.write("another note")
    assert memory.stats()["vectors"] == {"letters": 42}
    assert memory.embed_pending(limit=5) == 1
    assert memory.search("Who repaired the boiler?").hits[0].unit.cite == "r#41"
    memory.sync()
    before = everything(memory.index)
    assert memory.rebuild().vectors == 43
    assert everything(memory.index) == before
    assert memory.check() == []


def test_digests_follow_and_survive_a_kill_in_between(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory.open(store)
    with monkeypatch.context() as patch:
        patch.setattr(memory_module, "update_spans", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            memory.sync()
    assert (memory.index.count(), memory.index.spans()) == (42, [])
    assert memory.sync().entries == 0
    assert {span.level for span in memory.index.spans()} >= {"session", "day", "week", "month", "year"}
    assert memory.sync().spans == 0


def test_check_mends(store: SqliteStore) -> None:
    memory = Memory.open(store)
    memory.sync()
    before, index = everything(memory.index), memory.index
    with index.transaction():
        index._remove_words([(1, ["pump"])])  # type: ignore[attr-defined]
    assert memory.check() == ["the text index does not fit the texts"]
    assert everything(memory.index) == before
    assert memory.check() == []
    assert memory.sync().messages != []


def test_any_index_will_do(store: SqliteStore) -> None:
    memory, usual = Memory.open(store, index=PlainIndex()), Memory.open(store)
    memory.sync()
    usual.sync()
    mine, theirs = everything(memory.index), everything(usual.index)
    assert mine["sessions"] == pytest.approx(theirs["sessions"], abs=1e-5)
    for part in mine.keys() - {"sessions"}:
        assert mine[part] == theirs[part], part
    assert memory.stats()["bytes"] == 0
