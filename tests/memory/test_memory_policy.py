"""Policies: what has had its time goes, what is held stays, and what a policy says is read from the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forget_kit import DAY_US, SECRET, Clock, answer, begin, end, say, sqlite, texts_of

from overwinter.errors import UsageError
from overwinter.journal import Store
from overwinter.memory.memory import Memory
from overwinter.memory.policy import Policy, apply_policies, lift_policy, policies, policy_from, set_policy


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = sqlite(tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture
def memory(store: Store) -> Iterator[Memory]:
    opened = Memory.open(store)
    yield opened
    opened.close()


def test_the_newest_of_a_name_is_in_force(store: Store, memory: Memory) -> None:
    assert policies(store, "default") == {}
    old = Policy(name="a", ttl_s=60.0)
    new = Policy(name="a", kinds=frozenset({"message"}), max_units=5)
    for policy in (old, Policy(name="b", hold=True), new):
        set_policy(memory, policy, "Ada")
    assert policies(store, "default") == {"b": Policy(name="b", hold=True), "a": new}
    assert policies(store, "other") == {}
    lift_policy(memory, "a", "Ada")
    assert list(policies(store, "default")) == ["b"]
    with pytest.raises(UsageError, match="no policy 'a'"):
        lift_policy(memory, "a", "Ada")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "does nothing"),
        ({"hold": True, "ttl_s": 1.0}, "make two"),
        ({"kinds": frozenset({"thing"}), "ttl_s": 1.0}, "no kind of unit 'thing'"),
        ({"ttl_s": -1.0}, "not negative"),
        ({"max_units": -1}, "not negative"),
    ],
)
def test_policies_that_make_no_sense_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Policy(name="a", **fields)


def test_unknown_fields_of_an_entry_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown fields"):
        policy_from("a", {"until": 7})
    policy = Policy(name="a", actors=frozenset({"user"}), ttl_s=2.5)
    assert policy_from("a", policy.as_json()) == policy


def test_what_is_older_than_its_time_goes(store: Store, memory: Memory, clock: Clock) -> None:
    begin(store)
    say(store, "r", "an old word of a tool", actor="tool:look")
    say(store, "r", "an old word of a person")
    clock.now_us += 100 * DAY_US
    (young,) = say(store, "r", "a new word of a tool", actor="tool:look")
    memory.sync()
    set_policy(memory, Policy(name="tools", actors=frozenset({"tool:look"}), ttl_s=90 * 86_400.0), "Ada")
    (planned,) = apply_policies(memory, clock.now_us, dry_run=True)
    assert (planned.policy, planned.entries, planned.receipt) == ("tools", 1, None)
    assert "an old word of a tool" in texts_of(memory)
    (done,) = apply_policies(memory, clock.now_us)
    assert done.receipt is not None
    assert done.receipt.clean
    assert done.receipt.reason == "policy tools"
    assert "an old word of a tool" not in texts_of(memory)
    assert {"a new word of a tool", "an old word of a person"} <= set(texts_of(memory))
    assert young not in done.receipt.entries
    assert [each.entries for each in apply_policies(memory, clock.now_us)] == [0]


def test_only_the_newest_are_kept(store: Store, memory: Memory, clock: Clock) -> None:
    begin(store)
    say(store, "r", *(f"the {number}th word that was said" for number in range(10)), session="s")
    memory.sync()
    set_policy(memory, Policy(name="few", sessions=frozenset({"s"}), max_units=3), "Ada")
    (done,) = apply_policies(memory, clock.now_us)
    assert done.entries == 7
    left = [text for text in texts_of(memory) if text.startswith("the ")]
    assert left == [f"the {number}th word that was said" for number in (7, 8, 9)]


def test_a_hold_is_stronger_than_an_age(store: Store, memory: Memory, clock: Clock) -> None:
    begin(store)
    say(store, "r", "held for the court", session="court")
    say(store, "r", "nobody needs this any more")
    memory.sync()
    set_policy(memory, Policy(name="old", kinds=frozenset({"message"}), ttl_s=0.0), "Ada")
    set_policy(memory, Policy(name="court", sessions=frozenset({"court"}), hold=True), "Ada")
    (done,) = apply_policies(memory, clock.now_us)
    assert done.held == 1
    assert "held for the court" in texts_of(memory)
    assert "nobody needs this any more" not in texts_of(memory)


def test_echoes_have_a_time_of_their_own(store: Store, memory: Memory, clock: Clock) -> None:
    begin(store)
    (old,) = say(store, "r", SECRET)
    clock.now_us += 10 * DAY_US
    (quote,) = say(store, "r", f"quoting: {SECRET}")
    memory.sync()
    set_policy(memory, Policy(name="week", kinds=frozenset({"message"}), ttl_s=7 * 86_400.0), "Ada")
    (done,) = apply_policies(memory, clock.now_us)
    assert done.receipt is not None
    assert old in done.receipt.entries
    assert done.receipt.kept == {quote: "asked to keep it"}


def test_what_an_open_run_needs_waits(store: Store, memory: Memory, clock: Clock) -> None:
    begin(store)
    answer(store, "r", "about to do something", (0, 0))
    memory.sync()
    set_policy(memory, Policy(name="all", kinds=frozenset({"message"}), ttl_s=0.0), "Ada")
    (done,) = apply_policies(memory, clock.now_us)
    assert "about to do something" in texts_of(memory)
    end(store, "r")
    (done,) = apply_policies(memory, clock.now_us)
    assert done.receipt is not None
    assert "about to do something" not in texts_of(memory)
