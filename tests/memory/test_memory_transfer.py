"""Export and import: what was remembered comes back with equal hashes, twice is as once, and damage is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forget_kit import SECRET, append, begin, end, everything, say, sqlite, texts_of

from overwinter.errors import StoreError, UsageError
from overwinter.journal import Draft, Store, verify
from overwinter.memory.chats import PIECE_CHARS, pieces, read_chats
from overwinter.memory.choose import Selector
from overwinter.memory.erase import erase
from overwinter.memory.memory import Memory
from overwinter.memory.moving import export_journal, import_journal
from overwinter.memory.policy import Policy, policies, set_policy
from overwinter.memory.transfer import core_blocks, export_memory, import_chats, import_memory, is_export


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Memory]]:
    """Opens the memory of a namespace in the journal of a name; closes all of them at the end."""
    stores: dict[str, Store] = {}
    memories: list[Memory] = []

    def open_(journal: str = "a", namespace: str = "default") -> Memory:
        if journal not in stores:
            (tmp_path / journal).mkdir()
            stores[journal] = sqlite(tmp_path / journal)
        memories.append(Memory.open(stores[journal], namespace))
        return memories[-1]

    yield open_
    for memory in memories:
        memory.close()
    for store in stores.values():
        store.close()


def lived(memory: Memory) -> Memory:
    """Some of everything."""
    store = memory.store
    begin(store)
    say(store, "r", "I live in Graz.", "I live in Graz.", happened_us=5_000_000)
    say(store, "r", 'it is cold\nand "wet"', actor="tool:look", session="weather")
    say(store, "r", "a page of a manual. " * 200, actor="document:manual", session="manual", kind="document")
    facts = [{"subject": "user", "predicate": "lives in", "object": "Linz"}]
    say(store, "r", "I moved to Linz.", facts=facts, happened_us=9_000_000)
    core = {"name": "preferences", "text": {"text": "short answers"}, "by": "user", "approved_by": "user"}
    memory.notebook.append([Draft(kind="core.changed", body=core)])
    set_policy(memory, Policy(name="hold", hold=True), "Ada")
    memory.sync()
    return memory


def test_what_was_remembered_comes_back_equal(opened: Callable[..., Memory], tmp_path: Path) -> None:
    here, there = lived(opened("a")), opened("b")
    first = export_memory(here, tmp_path / "first.jsonl")
    assert first.counts["unit"] == here.index.count()
    assert (first.counts["core"], first.counts["policy"]) == (1, 1)
    done = import_memory(there, tmp_path / "first.jsonl", "Ada")
    assert (done.written, done.known, done.core, done.policies) == (first.counts["unit"], 0, 1, 1)
    there.sync()
    assert sorted(texts_of(there)) == sorted(texts_of(here))
    assert core_blocks(there) == core_blocks(here)
    assert policies(there.store, "default") == policies(here.store, "default")
    second = export_memory(there, tmp_path / "second.jsonl")
    for kind in ("unit", "core", "policy"):
        assert second.hashes[kind] == first.hashes[kind], kind


def test_a_unit_says_where_it_came_from(opened: Callable[..., Memory], tmp_path: Path) -> None:
    here, there = lived(opened("a")), opened("b")
    export_memory(here, tmp_path / "x.jsonl")
    import_memory(there, tmp_path / "x.jsonl", "Ada")
    (entry,) = [
        e
        for e in there.store.read("memory-default", kinds=["observed"])
        if e.body["text"].get("text") == "I moved to Linz."
    ]
    unit = next(unit for _, unit in here.index.scan(everything()) if unit.text == "I moved to Linz.")
    assert entry.body["data"]["provenance"]["cite"] == unit.cite
    assert entry.body["data"]["provenance"]["told_us"] == unit.told_us
    assert entry.body["data"]["facts"] == [{"subject": "user", "predicate": "lives in", "object": "Linz"}]
    assert entry.body["data"]["happened_us"] == 9_000_000


@pytest.mark.parametrize("journal", ["a", "b"])
def test_importing_again_changes_nothing(opened: Callable[..., Memory], tmp_path: Path, journal: str) -> None:
    here = lived(opened("a"))
    export_memory(here, tmp_path / "x.jsonl")
    there = opened(journal)
    import_memory(there, tmp_path / "x.jsonl", "Ada")
    heads = {info.run: info.head_hash for info in there.store.runs()}
    done = import_memory(there, tmp_path / "x.jsonl", "Ada")
    assert (done.written, done.core, done.policies) == (0, 0, 0)
    assert done.known == done.read
    assert {info.run: info.head_hash for info in there.store.runs()} == heads


@pytest.mark.parametrize("damage", ["cut", "changed", "newer", "other"])
def test_a_damaged_export_is_refused(opened: Callable[..., Memory], tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.jsonl"
    export_memory(lived(opened("a")), path)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    if damage == "cut":
        lines = lines[:-1]
    elif damage == "changed":
        lines[2] = lines[2].replace("Graz", "Wien")
    elif damage == "newer":
        lines[0] = lines[0].replace('"version": 1', '"version": 2')
    else:
        lines[0] = lines[0].replace("overwinter-memory", "overwinter-journal")
    path.write_text("".join(lines), "utf-8")
    there = opened("b")
    with pytest.raises(UsageError, match=r"cut off|was changed|has version 2|is of format"):
        import_memory(there, path, "Ada")
    assert there.store.runs() == []


def test_the_journal_itself_moves_hash_for_hash(opened: Callable[..., Memory], tmp_path: Path) -> None:
    here, there = opened("a"), opened("b")
    begin(here.store)
    (cite,) = say(here.store, "r", SECRET)
    say(here.store, "r", "long " * 1000, "it is cold")
    end(here.store, "r")
    begin(here.store, "other", "bob")
    here.write("a note")
    erase(here, Selector(cites=(cite,)), reason="asked for", by="Ada")
    first = export_journal(here, tmp_path / "j.jsonl")
    assert first.counts["run"] == 2
    moved = import_journal(there.store, tmp_path / "j.jsonl")
    assert (moved.runs, moved.written) == (2, first.counts["entry"])
    for run in ("r", "memory-default"):
        assert there.store.info(run).head_hash == here.store.info(run).head_hash
        assert verify(there.store, run).ok
    there.sync()
    ids = [sorted(unit.id for _, unit in each.index.scan(everything())) for each in (here, there)]
    assert ids[0] == ids[1]
    assert import_journal(there.store, tmp_path / "j.jsonl").written == 0
    second = export_journal(there, tmp_path / "k.jsonl")
    assert second.hashes == first.hashes
    append(here.store, "r", Draft(kind="observed", body={"source": "user", "text": {"text": "more"}, "data": {}}))
    export_journal(here, tmp_path / "j.jsonl")
    assert import_journal(there.store, tmp_path / "j.jsonl").written == 1


def test_forks_move_behind_their_parents(opened: Callable[..., Memory], tmp_path: Path) -> None:
    from overwinter.journal import NewRun

    here, there = opened("a"), opened("b")
    begin(here.store, "z")
    say(here.store, "z", "before the fork")
    here.store.create(NewRun(run="a", parent="z", fork_seq=1))
    body = {"parent": "z", "seq": 1, "reason": "", "budgets": [], "caps": {}}
    append(here.store, "a", Draft(kind="run.forked", body=body))
    export_journal(here, tmp_path / "j.jsonl")
    import_journal(there.store, tmp_path / "j.jsonl")
    assert [entry.hash for entry in there.store.read("a")] == [entry.hash for entry in here.store.read("a")]


def test_another_run_of_the_same_name_is_refused(opened: Callable[..., Memory], tmp_path: Path) -> None:
    here, there = opened("a"), opened("b")
    for memory, text in ((here, "one thing"), (there, "another")):
        begin(memory.store)
        say(memory.store, "r", text)
    export_journal(here, tmp_path / "j.jsonl")
    with pytest.raises(UsageError, match="another run 'r'"):
        import_journal(there.store, tmp_path / "j.jsonl")
    assert texts_of(there) == [] or "one thing" not in texts_of(there)


def test_a_forged_entry_is_refused(opened: Callable[..., Memory], tmp_path: Path) -> None:
    """Even with a fitting manifest: the entry's own hash tells."""
    import hashlib

    here, there = opened("a"), opened("b")
    begin(here.store)
    say(here.store, "r", "it is cold")
    path = tmp_path / "j.jsonl"
    export_journal(here, path)
    lines = [line.replace("it is cold", "it is warm") for line in path.read_text("utf-8").splitlines(keepends=True)]
    manifest = json.loads(lines[-1])
    manifest["sha256"] = hashlib.sha256("".join(lines[:-1]).encode()).hexdigest()
    path.write_text("".join(lines[:-1]) + json.dumps(manifest) + "\n", "utf-8")
    with pytest.raises(StoreError, match="does not match its hash"):
        import_journal(there.store, path)


CHAT = [
    {"role": "user", "content": "I am Reinhold.", "time": "2031-04-07T10:00:00Z"},
    {"role": "assistant", "content": "Hello!", "time": 1_933_322_405},
    {"role": "user", "name": "Eva", "content": [{"type": "text", "text": "And I am Eva."}], "time": 1_933_322_406_000},
    {"role": "tool", "name": "look", "content": "snow"},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "I am Reinhold.", "time": "2031-04-07T10:00:00Z"},
]


def test_chats_of_others_are_read(opened: Callable[..., Memory], tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(map(json.dumps, CHAT)), "utf-8")
    memory = opened()
    done = import_chats(memory, read_chats(path))
    assert (done.read, done.written, done.known) == (5, 5, 0)
    memory.sync()
    units = [unit for _, unit in memory.index.scan(everything())]
    assert [(unit.actor, unit.text) for unit in units] == [
        ("user", "I am Reinhold."),
        ("agent", "Hello!"),
        ("person:Eva", "And I am Eva."),
        ("tool:look", "snow"),
        ("user", "I am Reinhold."),
    ]
    assert [unit.happened_us for unit in units[:3]] == [
        1_933_322_400_000_000,
        1_933_322_405_000_000,
        1_933_322_406_000_000,
    ]
    assert {unit.session for unit in units} == {"chat"}
    assert import_chats(memory, read_chats(path)).written == 0
    path.write_text("\n".join(map(json.dumps, [*CHAT, {"role": "user", "content": "one more"}])), "utf-8")
    assert import_chats(memory, read_chats(path)).written == 1


@pytest.mark.parametrize("form", ["lines", "list"])
def test_whole_conversations_are_sessions(tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "first", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"conversations": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]},
    ]
    path = tmp_path / ("chat.json" if form == "list" else "chat.jsonl")
    path.write_text(json.dumps(rows) if form == "list" else "\n".join(map(json.dumps, rows)), "utf-8")
    said = [(each.session, each.place, each.actor, each.text) for each in read_chats(path)]
    expected = [
        ("first", 0, "user", "a"),
        ("first", 1, "agent", "b"),
        ("chat-1", 0, "user", "c"),
        ("chat-1", 1, "agent", "d"),
    ]
    assert said == expected
    assert {each.session for each in read_chats(path, session="mine")} == {"mine"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1 is not JSON"),
        ('{"text": "a"}', "line 1 is no message"),
        ("7", "line 1 is no message"),
        ('{"role": "user", "content": "a", "time": "noon"}', "is no time"),
    ],
)
def test_what_is_no_chat_is_refused_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(line, "utf-8")
    with pytest.raises(UsageError, match=said):
        list(read_chats(path))


def test_texts_are_documents_in_pieces(opened: Callable[..., Memory], tmp_path: Path) -> None:
    text = "".join(f"# Part {number}\n\n{'words of it. ' * 200}\n\n" for number in range(20))
    assert "".join(pieces(text)).strip() == text.strip()
    assert all(len(piece) <= PIECE_CHARS for piece in pieces(text))
    assert all(piece.startswith(("# Part", "words")) for piece in pieces(text))
    assert [len(piece) for piece in pieces("x" * 40_000)] == [16_000, 16_000, 8_000]
    path = tmp_path / "manual.md"
    path.write_text(text, "utf-8")
    memory = opened()
    done = import_chats(memory, read_chats(path))
    assert done.written == len(list(pieces(text)))
    memory.sync()
    kinds = {(unit.kind, unit.actor, unit.trust, unit.session) for _, unit in memory.index.scan(everything())}
    assert kinds == {("document", "document:manual.md", "untrusted", "manual")}


def test_many_are_written_in_batches(opened: Callable[..., Memory], tmp_path: Path) -> None:
    """No figure, only that 3,000 messages are not 3,000 commits."""
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(json.dumps({"role": "user", "content": f"message {n}"}) for n in range(3000)), "utf-8")
    memory = opened()
    seen: list[tuple[int, int]] = []
    assert import_chats(memory, read_chats(path), lambda done, total: seen.append((done, total))).written == 3000
    assert [done for done, _ in seen] == [500, 1000, 1500, 2000, 2500, 3000]


def test_the_form_of_a_file_is_seen(opened: Callable[..., Memory], tmp_path: Path) -> None:
    memory = lived(opened())
    export_memory(memory, tmp_path / "x.jsonl")
    export_journal(memory, tmp_path / "j.jsonl")
    (tmp_path / "chat.jsonl").write_text(json.dumps(CHAT[0]), "utf-8")
    forms = [is_export(tmp_path / name) for name in ("x.jsonl", "j.jsonl", "chat.jsonl", "none")]
    assert forms == ["overwinter-memory", "overwinter-journal", "", ""]


def test_an_export_is_there_whole_or_not_at_all(opened: Callable[..., Memory], tmp_path: Path) -> None:
    memory = lived(opened())
    with pytest.raises(UsageError, match="cannot be written"):
        export_memory(memory, tmp_path / "no" / "x.jsonl")
    memory.store.drop_blobs([ref for entry in memory.store.read("r") for ref in entry.refs])
    ref = next(ref for entry in memory.store.read("r") for ref in entry.refs)
    memory.store._execute("DELETE FROM blobs WHERE hash = ?", (ref,))  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="is missing"):
        export_journal(memory, tmp_path / "j.jsonl")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_the_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    names["memory"].close()
    names["store"].close()
