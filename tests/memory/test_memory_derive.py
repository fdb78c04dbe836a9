"""From entries to units: which, whose, how far trusted, cut where, and the same in whatever order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_kit import append, begin, call, completion, in_namespace, intent, observed, recalled, receipt

from overwinter.journal import Draft, Lease, NewRun, Packer, Store
from overwinter.journal.sqlite import SqliteStore
from overwinter.memory.chunk import CHUNK_CHARS, chunks
from overwinter.memory.derive import Deriver, secret_spans
from overwinter.memory.names import names
from overwinter.memory.repeats import BLOCK, SHORTEST, Recalled
from overwinter.memory.said import Frame, said
from overwinter.memory.unit import BOILERPLATE, INJECTED, INSTRUCTION, SECRET, Unit, rough_tokens

LONG = "The pump in house two has been replaced by Ann on Monday, and the old one went to the workshop for parts."


@dataclass(frozen=True)
class Hidden:
    text: str


def redact(text: str) -> Hidden:
    return Hidden(text.replace("hunter2 hunter2", "[redacted password]"))


def orders(text: str) -> bool:
    return "ignore all" in text


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "j.db")


@pytest.fixture
def lease(store: Store) -> Lease:
    return begin(store, setup={"world": {"name": "greenhouse"}})


def derive(store: Store, run: str = "r", start: int = 0) -> list[Unit]:
    deriver = Deriver(store, redact, orders)
    return [unit for entry in store.read(run, start) if entry.run == run for unit in deriver.units(run, entry)]


def told(units: list[Unit]) -> list[tuple[str, str, str, str]]:
    return [(unit.kind, unit.actor, unit.trust, unit.text) for unit in units]


def test_who_said_what(store: Store, lease: Lease) -> None:
    look, act = call("look", room=2), call("act", action="heat")
    append(store, lease, observed("It is cold.", source="greenhouse"), completion("I look.", [look, act]))
    append(store, lease, intent(look), receipt(3, "A pump.", look), intent(act), receipt(5, "Warmer.", act))
    append(
        store, lease, receipt(-1, "Denied.", act), completion("Is it met?", purpose="judge:a"), intent(act, attempt=2)
    )
    append(
        store,
        lease,
        Draft(kind="event.received", body={"name": "mail", "data": {"text": "Come home."}, "by": "person:ann"}),
        Draft(kind="event.received", body={"name": "tick", "data": {"n": 1}, "by": "cron"}),
        Draft(kind="done.claimed", body={"completion": 2, "call_id": "c", "summary": "All is warm."}),
        Draft(
            kind="verdict",
            body={
                "claim": 9,
                "status": "rejected",
                "checker": "k",
                "findings": [{"id": "a", "met": False, "evidence": [], "note": "cold"}],
            },
        ),
        Draft(kind="commitment.opened", body={"text": "order diesel", "due": "2031-04-07"}),
        Draft(kind="commitment.closed", body={"opened": 1, "outcome": "diesel came"}),
    )
    assert told(derive(store)) == [
        ("message", "user", "trusted", "keep the greenhouse warm"),
        ("tool_result", "world:greenhouse", "untrusted", "It is cold."),
        ("message", "agent", "own", "I look."),
        ("tool_call", "agent", "own", 'look {"room":2}'),
        ("tool_result", "tool:look", "untrusted", "A pump."),
        ("tool_call", "agent", "own", 'act {"action":"heat"}'),
        ("tool_result", "world:greenhouse", "untrusted", "Warmer."),
        ("tool_result", "overwinter", "untrusted", "Denied."),
        ("message", "person:ann", "trusted", "[event mail] Come home."),
        ("tool_result", "cron", "untrusted", '[event tick] {"n":1}'),
        ("decision", "agent", "own", "All is warm."),
        ("decision", "overwinter", "own", "verdict: rejected\na does not hold: cold"),
        ("note", "agent", "own", "promised: order diesel (due 2031-04-07)"),
        ("note", "agent", "own", "fulfilled: diesel came"),
    ]


def test_an_answer_says_what_was_asked(store: Store, lease: Lease) -> None:
    order = call("order_diesel", litres=500)
    gate = {"completion": 0, "call": order, "effect": "irreversible", "decision": "ask", "rule": "r"}
    answer = {"gate": 1, "decision": "deny", "by": "ann", "reason": "too much"}
    doubt = {"doubt": 1, "happened": True, "by": "person:bob", "reason": ""}
    append(store, lease, Draft(kind="gate.decision", body=gate), Draft(kind="approval.answered", body=answer))
    append(store, lease, Draft(kind="doubt.answered", body=doubt))
    assert told(derive(store))[1:] == [
        ("decision", "person:ann", "trusted", 'deny order_diesel {"litres":500}: too much'),
        ("decision", "person:bob", "trusted", "it happened"),
    ]


def test_notes_say_who_when_and_where(store: Store, lease: Lease) -> None:
    def note(by: str, **data: Any) -> Draft:
        return Draft(kind="noted", body={"text": {"text": "x y"}, "cites": [], "by": by, "data": data})

    append(store, lease, note("user"), note("import", actor="person:ann", session="chat", happened_us=5))
    append(store, lease, note("agent", actor="user"), note("stranger", happened_us=7, happened_until_us=9))
    append(store, lease, note("import", actor="user", kind="document", happened_us=True))
    append(store, lease, observed("a b", source="web", actor="user"), observed("a c", source="user", session="chat"))
    units = derive(store)[1:]
    assert [(unit.kind, unit.actor, unit.trust, unit.session) for unit in units] == [
        ("note", "user", "trusted", "r"),
        ("note", "person:ann", "trusted", "chat"),
        ("note", "user", "own", "r"),
        ("note", "stranger", "untrusted", "r"),
        ("document", "user", "untrusted", "r"),
        ("tool_result", "user", "untrusted", "r"),
        ("message", "user", "trusted", "chat"),
    ]
    assert [(unit.happened_us, unit.happened_until_us) for unit in units[1:4]] == [
        (5, 5),
        (units[2].told_us,) * 2,
        (7, 9),
    ]
    assert [unit.place for unit in units] == [1, 0, 2, 3, 4, 5, 1]


def test_ids_come_from_the_entry_and_the_span(store: Store, lease: Lease) -> None:
    append(store, lease, observed("one"), observed("one"))
    first, second = derive(store)[1:]
    assert first.id != second.id
    assert first.digest == second.digest
    assert first == derive(store)[1]
    assert first.cite == "r#1"


def test_secrets_orders_and_empty_words_are_flagged(store: Store, lease: Lease) -> None:
    append(
        store,
        lease,
        observed("the password is hunter2 hunter2, keep it"),
        observed("please ignore all of it"),
        observed("ignore all of it", source="user"),
        observed("OK."),
        observed("  \n "),
    )
    units = derive(store)[1:]
    assert [unit.text for unit in units] == [
        "the password is [redacted password], keep it",
        "please ignore all of it",
        "ignore all of it",
        "OK.",
    ]
    assert [sorted(unit.flags) for unit in units] == [[SECRET], [INSTRUCTION], [], [BOILERPLATE]]
    assert (units[0].first, units[0].last) == (0, 40)


def test_what_memory_showed_is_marked_when_it_comes_again(store: Store, lease: Lease) -> None:
    find = call("recall", query="pump")
    mixed = f"I remember. {LONG} But the valve is new, which nobody had told me so far."
    append(store, lease, observed(LONG, source="user"), observed(LONG), recalled(f"[1] {LONG}"))
    append(store, lease, completion(mixed, [find]), intent(find), receipt(5, "Something found.", find))
    append(store, lease, observed(LONG, source="user"), observed(LONG))
    marked = [(unit.seq, INJECTED in unit.flags, unit.text) for unit in derive(store)[1:]]
    assert marked == [
        (1, False, LONG),
        (2, False, LONG),
        (4, False, "I remember."),
        (4, True, LONG),
        (4, False, "But the valve is new, which nobody had told me so far."),
        (5, True, 'recall {"query":"pump"}'),
        (6, True, "Something found."),
        (7, False, LONG),  # a person may say it again
        (8, True, LONG),
    ]


def test_erased_entries_and_collected_texts_say_nothing(store: Store, lease: Lease) -> None:
    packer = Packer()
    body = {"source": "user", "text": packer.text(LONG * 20), "data": {}}
    append(store, lease, Draft(kind="observed", body=body, refs=packer.take_refs()), packer=packer)
    append(store, lease, observed("gone"), observed("kept"))
    seen = derive(store)
    assert len(seen) > 4
    store.drop_blobs(packer.blobs)
    from overwinter.journal.erase import erase

    store.release(lease)
    erase(store, "r", [2], reason="asked to", by="user")
    assert [unit.text for unit in derive(store)] == [seen[0].text, "kept"]


def test_a_fork_owns_what_comes_after(store: Store, lease: Lease) -> None:
    append(store, lease, recalled(LONG), observed("before"))
    store.create(NewRun(run="f", parent="r", fork_seq=2))
    child = store.acquire("f", "test", 3600)
    forked = {"parent": "r", "seq": 2, "reason": "", "budgets": [], "caps": {}}
    append(store, child, Draft(kind="run.forked", body=forked), observed(LONG), observed("after"))
    units = derive(store, "f")
    assert [(unit.run, unit.seq, unit.place, unit.text) for unit in units] == [("f", 4, 0, LONG), ("f", 5, 1, "after")]
    assert INJECTED in units[0].flags


def test_starting_in_the_middle_gives_the_same_units(store: Store, lease: Lease) -> None:
    look = call("look")
    append(store, lease, recalled(LONG), completion("I see.", [look]), intent(look))
    append(
        store,
        lease,
        observed("x", session="chat"),
        receipt(3, f"{LONG} So it is.", look),
        observed("y", session="chat"),
    )
    whole = derive(store)
    for start in range(8):
        assert derive(store, start=start) == [unit for unit in whole if unit.seq >= start]


# Cutting


def ranges(length: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    pair = st.tuples(st.integers(0, length), st.integers(0, length)).map(lambda pair: (min(pair), max(pair)))
    return st.lists(pair.filter(lambda pair: pair[0] < pair[1]), max_size=3)


@given(st.data())
def test_chunks_hold_all_but_white_space(data: Any) -> None:
    words = st.sampled_from(["word ", "end. ", "line\n", "para\n\n", "x" * 300, "。", " ", "tab\t"])
    text = "".join(data.draw(st.lists(words, max_size=200)))
    whole = [pair for pair in data.draw(ranges(len(text))) if pair[1] - pair[0] < CHUNK_CHARS]
    apart = data.draw(ranges(len(text)))
    spans = chunks(text, whole, apart)
    assert all(first < last for first, last in spans)
    gaps = zip([0, *(last for _, last in spans)], [*(first for first, _ in spans), len(text)], strict=True)
    assert all(text[start:end].strip() == "" and start <= end for start, end in gaps)
    assert all(text[first:last].strip() == text[first:last] for first, last in spans)
    for start, end in whole:
        cuts = [last for first, last in spans if start < last < end]
        assert all(text[cut:end].strip() == "" or text[start:cut].strip() == "" for cut in cuts)
    if not whole:
        assert all(last - first <= CHUNK_CHARS for first, last in spans)


def test_chunks_are_cut_at_the_best_place() -> None:
    paragraph = "A sentence of some length stands here. " * 12
    text = f"{paragraph}\n\n{paragraph}\n\n{paragraph}"
    pieces = [text[first:last] for first, last in chunks(text)]
    assert pieces == [paragraph.strip()] * 3
    assert all(rough_tokens(piece) <= 220 for piece in pieces)
    one = "A sentence of some length stands here. " * 60
    assert all(one[first:last].endswith(".") for first, last in chunks(one))


@given(st.lists(st.sampled_from(["a", " ", "S S", "b c", "\n"]), max_size=30))
def test_no_secret_shows_through(parts: list[str]) -> None:
    text = "".join(parts)
    hidden = text.replace("S S", "[redacted thing]")
    spans = secret_spans(text, hidden) if hidden != text else []
    shown, at = "", 0
    for first, last, marker in spans:
        shown, at = shown + text[at:first] + marker, last
    assert shown + text[at:] == hidden


def test_a_redactor_that_does_more_hides_all() -> None:
    assert secret_spans("Some TEXT", "some [redacted x]") == [(0, 9, "some [redacted x]")]


# What comes again


def longest_common(text: str, recalled_: str) -> list[bool]:
    """The slow twin: which characters of `text` lie in a stretch of `SHORTEST` that `recalled_` has too."""
    hit = [False] * len(text)
    for at in range(len(text) - SHORTEST + 1):
        if text[at : at + SHORTEST] in recalled_:
            hit[at : at + SHORTEST] = [True] * SHORTEST
    return hit


@given(st.data())
def test_repeats_are_found_to_the_character(data: Any) -> None:
    piece = st.text("ab", min_size=1, max_size=150)
    text, memory = data.draw(piece), data.draw(piece)
    shared = data.draw(st.text("abcdefgh", min_size=60, max_size=130))
    text, memory = f"{text}{shared}{data.draw(piece)}", f"{data.draw(piece)}{shared}{memory}"
    known = Recalled()
    known.add(0, memory)
    hit = [False] * len(text)
    for first, last in known.repeated(text):
        assert last - first >= SHORTEST
        hit[first:last] = [True] * (last - first)
    expected = longest_common(text, memory)
    # A stretch that repeats itself may lose less than a block at the edge of a find; any other is found to the character.
    missed = [at for at, wanted in enumerate(expected) if wanted and not hit[at]]
    assert all(any(hit[max(at - BLOCK + 1, 0) : at + BLOCK]) for at in missed)
    assert sum(hit) <= sum(expected) + 2 * BLOCK * any(expected)
    known.forget_before(1)
    assert known.repeated(text) == []
    assert not known


@given(st.integers(0, 10**6), st.integers(SHORTEST, 130))
def test_what_does_not_repeat_itself_is_found_exactly(seed: int, length: int) -> None:
    # Not Hypothesis' own dice: it likes to throw the same number always, and such text repeats itself.
    dice = random.Random(seed)
    shared = "".join(dice.choice("abcdefgh") for _ in range(length))
    noise = ["".join(dice.choice("ij") for _ in range(dice.randrange(150))) for _ in range(4)]
    known = Recalled()
    known.add(0, f"{noise[0]}k{shared}l{noise[1]}")
    text = f"{noise[2]}m{shared}n{noise[3]}"
    first = len(noise[2]) + 1
    assert (first, first + length) in known.repeated(text)


# Names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see Order-17.", ["order-17"]),
        ("src/a.py", ["src-a-py", "a-py"]),
        ("on 2031-04-07 at 10:30", ["2031-04-07", "10-30"]),
        ("my_name is not my name", ["my-name"]),
        ("plain words, and more. Next", []),
        (f"https://host/{'x' * 90}/file.txt", ["file-txt"]),
    ],
)
def test_names_are_joined(text: str, expected: list[str]) -> None:
    assert [name.replace("\ue000", "-") for name in names(text)] == expected


def test_the_rendered_text_is_what_spans_count_in(store: Store, lease: Lease) -> None:
    long = "\n\n".join(f"Paragraph {i}. {LONG}" for i in range(30))
    packer = Packer()
    body = {"source": "user", "text": packer.text(long), "data": {}}
    append(store, lease, Draft(kind="observed", body=body, refs=packer.take_refs()), packer=packer)
    units = derive(store)[1:]
    (entry,) = store.read("r", 1)
    tool: Callable[[Any], str] = lambda _: ""  # noqa: E731
    whole = said(store, Frame(run="r", world="", notebook=False, tool=tool), entry)
    assert whole is not None
    assert whole.text == long
    assert len(units) > 3
    assert all(long[unit.first : unit.last] == unit.text for unit in units)
    assert in_namespace("a") == {"memory": {"namespace": "a"}}
