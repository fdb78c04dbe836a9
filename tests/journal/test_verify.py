"""Anyone can check: what was changed is named, down to the byte where that is possible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_kit import append_blob, append_texts, begin, branch

from overwinter.errors import StoreError
from overwinter.journal import Report, verify
from overwinter.journal.canonical import canonical, digest
from overwinter.journal.sqlite import SqliteStore
from overwinter.journal.store import RawEntry


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "journal.db")
    lease = begin(store)
    append_texts(store, lease, "one", "two", "three", "four")
    yield store
    store.close()


def data_of(store: SqliteStore, seq: int) -> bytes:
    return bytes(store._execute("SELECT data FROM entries WHERE run = 'r' AND seq = ?", (seq,))[0][0])


def rewrite(store: SqliteStore, seq: int, data: bytes) -> None:
    store._execute("UPDATE entries SET data = ? WHERE run = 'r' AND seq = ?", (data, seq))


def findings(report: Report) -> list[tuple[int | None, str]]:
    return [(problem.seq, problem.what) for problem in report.problems]


def only(report: Report) -> tuple[int | None, str]:
    (finding,) = findings(report)
    return finding


def test_a_flipped_bit_is_named_with_its_old_value(store: SqliteStore) -> None:
    data = bytearray(data_of(store, 2))
    offset = data.index(b"two")
    data[offset] ^= 0x01
    rewrite(store, 2, bytes(data))
    seq, what = only(verify(store, "r"))
    assert seq == 2
    assert f"byte {offset} was changed: it is 0x75 and was 0x74" in what
    assert "uwo" in what
    with pytest.raises(StoreError, match="does not match its hash"):
        list(store.read("r"))
    assert len(list(store.read("r", 3))) == 2


def test_an_edited_byte_is_named_too(store: SqliteStore) -> None:
    rewrite(store, 3, data_of(store, 3).replace(b"three", b"throe"))
    seq, what = only(verify(store, "r"))
    assert seq == 3
    assert "it is 0x6f and was 0x65" in what


def test_a_larger_edit_is_found_if_not_placed(store: SqliteStore) -> None:
    rewrite(store, 3, data_of(store, 3).replace(b"three", b"seven"))
    assert only(verify(store, "r")) == (
        3,
        "its content does not match its hash, and no single changed byte explains it",
    )


def test_a_changed_hash_is_named_at_its_character(store: SqliteStore) -> None:
    (row,) = store._execute("SELECT hash FROM entries WHERE seq = 2")
    changed = row[0][:9] + ("0" if row[0][9] != "0" else "1") + row[0][10:]
    store._execute("UPDATE entries SET hash = ? WHERE seq = 2", (changed,))
    found = findings(verify(store, "r"))
    assert found[0] == (2, f"its stored hash was changed at character 9: {changed[9]!r} was {row[0][9]!r}")
    assert found[1][0] == 3
    assert "does not follow" in found[1][1]


def test_a_rewritten_entry_with_a_fitting_hash_breaks_the_chain(store: SqliteStore) -> None:
    data = data_of(store, 2).replace(b"two", b"2222")
    store._execute("UPDATE entries SET data = ?, hash = ? WHERE seq = 2", (data, digest(data)))
    seq, what = only(verify(store, "r"))
    assert seq == 3
    assert "does not follow the entry before it" in what


def test_a_missing_entry(store: SqliteStore) -> None:
    store._execute("DELETE FROM entries WHERE seq = 2")
    assert only(verify(store, "r")) == (2, "the entry is missing")
    with pytest.raises(StoreError, match="entry 2 of run 'r' is missing"):
        list(store.read("r"))


def test_swapped_entries(store: SqliteStore) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        store._execute("UPDATE entries SET seq = ? WHERE seq = ?", (new, old))
    found = findings(verify(store, "r"))
    assert (2, "stands at r/2/observed but was written as r/3/observed") in found
    assert (3, "stands at r/3/observed but was written as r/2/observed") in found
    with pytest.raises(StoreError, match="entry 2 of run 'r' is missing or out of place"):
        list(store.read("r"))


def test_an_entry_moved_from_another_run(store: SqliteStore) -> None:
    begin(store, "other")
    store._execute("UPDATE entries SET run = 'r', seq = 5 WHERE run = 'other'")
    store._execute("UPDATE runs SET head_seq = 5, head_hash = (SELECT hash FROM entries WHERE seq = 5) WHERE run = 'r'")
    assert (5, "stands at r/5/run.started but was written as other/0/run.started") in findings(verify(store, "r"))


def test_a_changed_kind_column(store: SqliteStore) -> None:
    store._execute("UPDATE entries SET kind = 'verdict' WHERE seq = 4")
    assert only(verify(store, "r")) == (4, "stands at r/4/verdict but was written as r/4/observed")


def test_a_cut_end_is_seen_against_the_row_of_the_run(store: SqliteStore) -> None:
    store._execute("DELETE FROM entries WHERE seq = 4")
    assert (4, "the entry is missing") in findings(verify(store, "r"))
    with pytest.raises(StoreError, match="entry 4"):
        list(store.read("r"))


def test_a_cut_end_with_the_row_adjusted_needs_an_anchor(store: SqliteStore) -> None:
    anchor = verify(store, "r").head
    store._execute("DELETE FROM entries WHERE seq = 4")
    store._execute("UPDATE runs SET head_seq = 3, head_hash = (SELECT hash FROM entries WHERE seq = 3)")
    assert verify(store, "r").ok
    _, what = only(verify(store, "r", expect_head=anchor))
    assert "its end was cut or rewritten" in what


def test_entries_behind_the_head_are_shown(store: SqliteStore) -> None:
    store._execute("UPDATE runs SET head_seq = 3, head_hash = (SELECT hash FROM entries WHERE seq = 3)")
    assert only(verify(store, "r")) == (4, "lies behind the run's head, which is entry 3")


def test_a_head_that_is_not_the_last_entrys_hash(store: SqliteStore) -> None:
    store._execute("UPDATE runs SET head_hash = ?", ("f" * 64,))
    seq, what = only(verify(store, "r"))
    assert seq == 4
    assert "the run's head is ffffffffffff…" in what


def test_a_run_may_go_on_while_it_is_checked(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = store.acquire("r", "test", 60)
    raw = store.raw

    def raw_beside_a_writer(run: str) -> Iterator[RawEntry]:
        append_texts(store, lease, "before it looked")
        for number, entry in enumerate(raw(run)):
            if number == 2:
                append_texts(store, lease, "while it looked")
            yield entry

    monkeypatch.setattr(store, "raw", raw_beside_a_writer)
    assert findings(verify(store, "r")) == []


def test_a_damaged_blob(store: SqliteStore) -> None:
    lease = store.acquire("r", "test", 60)
    long = append_blob(store, lease, "snow " * 1000)
    short = append_blob(store, lease, "".join(chr(33 + i % 90) for i in range(1100)))
    store._execute("UPDATE blobs SET data = zeroblob(length(data)) WHERE hash = ?", (long,))
    store._execute("DELETE FROM blobs WHERE hash = ?", (short,))
    assert findings(verify(store, "r")) == [
        (5, f"blob {long[:12]}… does not match its hash"),
        (6, f"its blob {short[:12]}… is missing"),
    ]
    with pytest.raises(StoreError, match="does not match"):
        store.get_blob(long)


def test_a_blob_under_another_blobs_name(store: SqliteStore) -> None:
    lease = store.acquire("r", "test", 60)
    first, second = (append_blob(store, lease, f"{name} " * 1000) for name in ("snow", "rain"))
    store._execute("UPDATE blobs SET data = (SELECT data FROM blobs WHERE hash = ?) WHERE hash = ?", (first, second))
    assert only(verify(store, "r")) == (6, f"blob {second[:12]}… does not match its hash")
    with pytest.raises(StoreError, match="does not match"):
        store.get_blob(second)


def test_damage_in_a_parent_shows_in_its_forks(store: SqliteStore) -> None:
    append_texts(store, branch(store, "early", "r", 1), "a")
    append_texts(store, branch(store, "late", "r", 3), "b")
    rewrite(store, 2, data_of(store, 2).replace(b"two", b"tvo"))
    assert [verify(store, run).ok for run in ("r", "late", "early")] == [False, False, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"v": 99}, "has schema version 99"), ({"body": ...}, "lacks body"), ({"refs": ...}, "lacks refs")],
)
def test_forged_entries_with_fitting_hashes(store: SqliteStore, change: dict[str, object], said: str) -> None:
    forged = {key: value for key, value in (json.loads(data_of(store, 4)) | change).items() if value is not ...}
    data = canonical(forged)
    store._execute("UPDATE entries SET data = ?, hash = ? WHERE seq = 4", (data, digest(data)))
    store._execute("UPDATE runs SET head_hash = ?", (digest(data),))
    seq, what = only(verify(store, "r"))
    assert seq == 4
    assert said in what
    with pytest.raises(StoreError):
        list(store.read("r"))


def test_bytes_that_are_not_json_with_a_fitting_hash(store: SqliteStore) -> None:
    store._execute("UPDATE entries SET data = ?, hash = ? WHERE seq = 4", (b"\xff", digest(b"\xff")))
    store._execute("UPDATE runs SET head_hash = ?", (digest(b"\xff"),))
    assert "is not JSON" in only(verify(store, "r"))[1]


def test_long_entries_are_searched_for_bit_flips(store: SqliteStore) -> None:
    lease = store.acquire("r", "test", 60)
    append_texts(store, lease, "x" * 9000)
    data = bytearray(data_of(store, 5))
    data[700] ^= 0x40
    rewrite(store, 5, bytes(data))
    assert "byte 700 was changed: it is 0x38 and was 0x78" in only(verify(store, "r"))[1]
