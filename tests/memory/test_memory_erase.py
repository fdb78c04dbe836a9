"""Erasing from memory: what was chosen and what repeats it goes from journal, index and files; the receipt tells, and is right."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forget_kit import SECRET, answer, append, begin, end, everything, say, sqlite, texts_of

from overwinter.errors import LeaseLost, StoreError, UsageError
from overwinter.journal import ERASED, Draft, Packer, Store, verify
from overwinter.journal.texts import search
from overwinter.memory.choose import Selector, choose
from overwinter.memory.echoes import Original
from overwinter.memory.erase import erase, plan, receipts
from overwinter.memory.memory import Memory
from overwinter.memory.policy import Policy, lift_policy, set_policy

REQUEST: dict[str, Any] = {"reason": "he asked us to", "by": "Ada"}


both_stores = pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if getattr(request, "param", "sqlite") == "sqlite":
        opened: Store = sqlite(tmp_path)
        yield opened
        opened.close()
        return
    import psycopg

    from overwinter.journal.postgres import PostgresStore

    url, schema = request.getfixturevalue("postgres_url"), f"t_{uuid.uuid4().hex}"
    opened = PostgresStore(url, schema=schema)
    yield opened
    opened.close()
    with psycopg.connect(url, autocommit=True) as db:
        for name in (schema, f"{schema}_memory"):
            db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())


@pytest.fixture
def memory(store: Store) -> Iterator[Memory]:
    opened = Memory.open(store)
    yield opened
    opened.close()


def kinds(store: Store, run: str = "r") -> list[str]:
    return [entry.kind for entry in store.read(run)]


@both_stores
def test_what_was_chosen_goes_everywhere(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    say(store, "r", "the boiler was cleaned on Monday")
    memory.sync()
    assert SECRET in texts_of(memory)
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert receipt.clean
    assert receipt.entries == (cite,)
    assert receipt.counts["units"] >= 1
    assert (receipt.checked, receipt.texts) == (1, 1)
    assert SECRET not in texts_of(memory)
    assert "the boiler was cleaned on Monday" in texts_of(memory)
    assert search(store, [SECRET]) == []
    assert kinds(store) == ["run.started", ERASED, "observed", "entries.erased"]
    assert verify(store, "r").ok
    assert receipts(store, "default") == [receipt]
    assert receipt.hashes == (list(store.read("r"))[1].hash,)
    assert bool(receipt.elsewhere) == store.url.startswith("postgres")


def test_no_byte_is_left_in_any_file(tmp_path: Path) -> None:
    """Not through our own search: the raw bytes of every file under the folder."""
    store = sqlite(tmp_path)
    begin(store)
    say(store, "r", *(f"day {day}: nothing but snow" for day in range(300)))
    say(store, "r", SECRET, f"{SECRET}. " * 200)
    store.post("r", Draft(kind="event.received", body={"name": "note", "data": {"text": SECRET}, "by": "Bob"}))
    store.save_cache("r", "state", 3, SECRET.encode())
    memory = Memory.open(store)
    memory.sync()
    assert any(SECRET.encode() in path.read_bytes() for path in files(tmp_path))
    receipt = erase(memory, Selector(words="spare key"), **REQUEST)
    assert receipt.clean
    for path in files(tmp_path):
        data = path.read_bytes()
        assert b"flower pot" not in data, path
        assert b"spare key" not in data, path
    assert store.letters("r") == []
    memory.close()
    store.close()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@both_stores
def test_echoes_go_too(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", f"Remember: {SECRET}. It is locked.")
    (quote,) = say(store, "r", f"As you said, {SECRET.removeprefix('Reinhold ')}!", actor="agent")
    (far,) = say(store, "r", "Reinhold likes flower pots")
    packer = Packer()
    summary = {"first": 1, "last": 2, "summary": packer.text(f"#1 user: {SECRET} " + "more " * 400), "by": "extract"}
    (compacted,) = append(
        store, "r", Draft(kind="compacted", body=summary, refs=packer.take_refs()), blobs=packer.blobs
    )
    recalled = {"query": "the key", "hits": [], "text": {"text": f"> {SECRET}"}, "by": "memory"}
    (shown,) = append(store, "r", Draft(kind="recalled", body=recalled))
    handle = {"name": "keys", "version": 1, "description": f"where {SECRET}", "entries": [[1, 1]], "note": {"text": ""}}
    (made,) = append(store, "r", Draft(kind="handle.made", body=handle))
    core = {"name": "house", "text": {"text": f"{SECRET}."}, "by": "Ada", "approved_by": "Ada"}
    block = memory.notebook.append([Draft(kind="core.changed", body=core)])[0]
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert set(receipt.entries) == {cite, quote, compacted, shown, made, f"memory-default#{block.seq}"}
    assert receipt.echoes == 5
    assert receipt.clean
    assert far not in receipt.entries
    assert search(store, ["third flower pot"]) == []


def test_echoes_can_be_kept_and_are_named(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    (quote,) = say(store, "r", f"As you said, {SECRET}!", actor="agent")
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST, echoes="keep")
    assert receipt.entries == (cite,)
    assert receipt.kept == {quote: "asked to keep it"}
    assert not receipt.clean
    assert f"entry {quote}" in receipt.left
    with pytest.raises(UsageError, match="treated as"):
        plan(memory, Selector(cites=(cite,)), echoes="maybe")


def test_what_an_open_run_needs_is_named_or_refused(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    (said,) = answer(store, "r", f"Noted: {SECRET}", (0, 1))
    made = plan(memory, Selector(cites=(cite,)))
    assert "the step the run is in" in made.kept["r", int(said.rpartition("#")[2])]
    with pytest.raises(UsageError, match="the step the run is in"):
        erase(memory, Selector(words=SECRET), **REQUEST)
    end(store, "r")
    assert erase(memory, Selector(words=SECRET), **REQUEST).clean


@both_stores
def test_token_records_that_hold_it_go_and_their_answers_stay(store: Store, memory: Memory) -> None:
    begin(store)
    (before,) = say(store, "r", "good morning")
    answer(store, "r", "good morning to you", (0, 1), tokens="[1,2,3]" * 300)
    (cite,) = say(store, "r", SECRET)
    (said,) = answer(store, "r", "I see.", (0, 4), tokens="[4,5,6]" * 300)
    (short,) = answer(store, "r", "Yes.", (0, 4), tokens="[7]")
    end(store, "r")
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert set(receipt.entries) == {cite, short}, "a short record stands in its entry"
    assert receipt.counts["records"] == 1
    states = [store.blob_state(entry.body["tokens"]["ref"]) for entry in store.read("r", kinds=["sample.completion"])]
    assert states == ["present", "collected"]
    assert said not in receipt.entries
    assert before not in receipt.entries
    assert verify(store, "r").ok


def test_it_is_chosen_by_session_actor_time_and_pattern(store: Store, memory: Memory) -> None:
    begin(store)
    cites = [
        *say(store, "r", "the first of the letters", session="letters", happened_us=1000),
        *say(store, "r", "the second of the letters", session="letters", happened_us=2000, actor="person:Bob"),
        *say(store, "r", "something else entirely", happened_us=3000, actor="person:Bob"),
    ]
    memory.sync()

    def chosen(**by: Any) -> list[str]:
        return [f"{run}#{seq}" for run, seq in sorted(choose(memory, Selector(**by)))]

    assert chosen(sessions=frozenset({"letters"})) == cites[:2]
    assert chosen(actors=frozenset({"person:Bob"})) == cites[1:]
    assert chosen(sessions=frozenset({"letters"}), actors=frozenset({"person:Bob"})) == cites[1:2]
    assert chosen(since_us=2000, until_us=3000) == cites[1:2]
    assert chosen(words="OF THE letters") == cites[:2]
    assert chosen(words="of the letters", since_us=2000) == cites[1:2]
    assert chosen(pattern=r"\b(first|else)\b") == [cites[0], cites[2]]
    assert chosen(pattern="else", actors=frozenset({"person:Bob"})) == cites[2:]
    unit = next(unit for _, unit in memory.index.scan(everything()) if unit.text.startswith("something"))
    assert chosen(units=(unit.id,)) == cites[2:]


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ({}, "nothing says what"),
        ({"cites": ("r",)}, "is no citation"),
        ({"cites": ("r#99",)}, "there is no entry"),
        ({"cites": ("other#0",)}, "belongs to another namespace"),
        ({"units": ("0" * 32,)}, "there is no unit"),
        ({"pattern": "("}, "no regular expression"),
    ],
)
def test_selectors_that_choose_nothing_are_refused(store: Store, memory: Memory, by: dict[str, Any], said: str) -> None:
    begin(store)
    begin(store, "other", "bob")
    with pytest.raises(UsageError, match=said):
        erase(memory, Selector(**by), **REQUEST)


def test_words_are_found_where_no_unit_is(store: Store, memory: Memory) -> None:
    begin(store)
    body = {"first": 0, "last": 0, "summary": {"text": "Reinhold came by"}, "by": "extract"}
    (cite,) = append(store, "r", Draft(kind="compacted", body=body))
    assert erase(memory, Selector(words="reinhold"), **REQUEST).entries == (cite,)


@both_stores
def test_another_namespace_is_not_touched(store: Store, memory: Memory) -> None:
    begin(store)
    begin(store, "b", "bob")
    (cite,) = say(store, "r", SECRET)
    say(store, "b", SECRET)
    head = store.info("b").head_hash
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert store.info("b").head_hash == head
    assert list(store.read("b"))[1].body["text"] == {"text": SECRET}
    assert "entry of another namespace" in receipt.left
    assert not any("b#" in place for place in receipt.left)


def test_a_hold_refuses_and_spares_echoes(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    (quote,) = say(store, "r", f"he said: {SECRET}", session="court")
    set_policy(memory, Policy(name="court", sessions=frozenset({"court"}), hold=True), "Ada")
    with pytest.raises(UsageError, match="policy 'court' holds 1 of the entries"):
        erase(memory, Selector(cites=(quote,)), **REQUEST)
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert receipt.kept == {quote: "policy 'court' holds it"}
    set_policy(memory, Policy(name="all", hold=True), "Ada")
    (other,) = say(store, "r", "anything at all")
    with pytest.raises(UsageError, match="policy 'all' holds"):
        erase(memory, Selector(cites=(other,)), **REQUEST)
    lift_policy(memory, "all", "Ada")
    assert erase(memory, Selector(cites=(other,)), **REQUEST).clean


def test_a_reason_must_not_tell(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    with pytest.raises(UsageError, match="reason repeats"):
        erase(memory, Selector(words="spare key"), reason="about the spare KEY", by="Ada")
    with pytest.raises(UsageError, match="reason repeats"):
        erase(memory, Selector(cites=(cite,)), reason=SECRET, by="Ada")
    assert SECRET in [entry.body["text"]["text"] for entry in store.read("r", kinds=["observed"])]


def test_a_run_at_work_is_refused_before_anything_goes(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    store.acquire("r", "elsewhere/boot/1/1", 3600)
    with pytest.raises(LeaseLost, match="holds in memory"):
        erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert ERASED not in kinds(store)


@both_stores
def test_killed_in_between_the_same_call_completes_it(
    store: Store, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store)
    say(store, "r", SECRET)
    memory.sync()

    def killed(*_: object) -> None:
        raise StoreError("the power went", "try again")

    monkeypatch.setattr(memory.index, "remove_units", killed)
    with pytest.raises(StoreError, match="the power went"):
        erase(memory, Selector(words="spare key"), **REQUEST)
    monkeypatch.undo()
    assert SECRET in texts_of(memory)
    receipt = erase(memory, Selector(words="spare key"), **REQUEST)
    assert SECRET not in texts_of(memory)
    assert receipt.clean
    assert search(store, ["spare key"]) == []


def test_a_rebuilt_index_holds_nothing_of_it(store: Store, memory: Memory) -> None:
    begin(store)
    (cite,) = say(store, "r", SECRET)
    say(store, "r", "the boiler was cleaned on Monday")
    erase(memory, Selector(cites=(cite,)), **REQUEST)
    before = {unit.id for _, unit in memory.index.scan(everything())}
    memory.rebuild()
    assert {unit.id for _, unit in memory.index.scan(everything())} == before


def test_claims_go_with_their_evidence(store: Store, memory: Memory) -> None:
    begin(store)
    say(store, "r", "I live in Graz.")
    (cite,) = say(store, "r", "I live in Linz now.")
    memory.sync()
    assert {claim.object for claim in memory.index.claims()} == {"Graz", "Linz"}
    receipt = erase(memory, Selector(cites=(cite,)), **REQUEST)
    assert receipt.counts["claims"] >= 1
    assert receipt.clean
    after = memory.index.claims()
    assert {claim.object for claim in after} == {"Graz"}
    assert [claim for claim in after if claim.valid_to_us is None and claim.known_to_us is None], "Graz holds again"
    memory.rebuild()
    assert sorted(memory.index.claims(), key=lambda each: each.id) == sorted(after, key=lambda each: each.id)


def test_echoes_are_told_from_chance() -> None:
    text = "0123456789" * 3 + "abcdefghijklmnopqrstuvwxyz" * 3
    original = Original([text, "a short secret"])
    for at in range(len(text) - 40 + 1):
        assert original.is_in(f"<<{text[at : at + 40]}>>"), at
        assert original.may_be_in(f'{{"x":"{text[at : at + 40]}"}}'.encode()), at
    unlike = Original(["".join(chr(0x4E00 + number) for number in range(200))])
    for at in range(160):
        assert not unlike.is_in("".join(chr(0x4E00 + number) for number in range(at, at + 39)) + "!")
    assert original.is_in("it is a short secret, you know")
    assert not original.is_in("a short secre")
    assert not Original(["-" * 80]).is_in("-" * 80)
    assert not Original(["yes"]).is_in("yes, yes")


def test_many_texts_are_found_like_few(store: Store, memory: Memory) -> None:
    """Over some number of blocks entries are read instead of bytes searched; both must find the same."""
    begin(store)
    many = [" ".join(str(number * factor) for factor in range(1, 40)) for number in range(1000, 1100)]
    cites = say(store, "r", *many)
    (quote,) = say(store, "r", f"quote: {many[77][20:70]} ...")
    say(store, "r", f"chance: {many[77][20:40]} ...")
    assert Original(many).is_large
    assert not Original(many[77:78]).is_large
    at = ("r", int(quote.rpartition("#")[2]))
    assert plan(memory, Selector(cites=tuple(cites))).echoes.entries == {at}
    assert plan(memory, Selector(cites=cites[77:78])).echoes.entries == {at}
