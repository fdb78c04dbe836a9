"""The pure parts of working memory: pages, words, selections, and Memex's reward."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.journal import Draft, Entry
from overwinter.journal.entry import GENESIS, seal
from overwinter.memory.working.handles import joined, lookup, parse_ref, ranges_text
from overwinter.memory.working.paging import pages
from overwinter.memory.working.reward import Config, penalties_of, reward
from overwinter.memory.working.selection import Piece, select
from overwinter.memory.working.text_index import TextIndex


def words(text: str) -> int:
    return len(text.split())


@given(st.text(alphabet="ab \n", max_size=400), st.integers(1, 20))
def test_pages_joined_are_the_text_again(text: str, limit: int) -> None:
    found = pages(text, limit, words)
    assert "".join(found) == text
    assert all(words(page) <= limit for page in found)


def test_pages_are_filled() -> None:
    assert len(pages("w " * 1000, 100, words)) <= 12


@given(st.sets(st.integers(0, 60)))
def test_entries_as_ranges(seqs: set[int]) -> None:
    ranges = joined(seqs)
    assert {seq for first, last in ranges for seq in range(first, last + 1)} == seqs
    assert all(ahead[0] > behind[1] + 1 for behind, ahead in pairwise(ranges))


def test_handles_by_name_and_version() -> None:
    book = {"codes": {"1": 5, "2": 9, "10": 40}}
    assert lookup(book, "codes") == 40
    assert lookup(book, "codes@2") == 9
    assert parse_ref("a_b-C") == ("a_b-C", None)
    assert ranges_text([(1, 4), (6, 6)]) == "1-4, 6"
    for bad in ("codes@3", "code", "a b", "codes@x", "@1", "x" * 65):
        with pytest.raises(ValueError, match=r"\w"):
            lookup(book, bad)


def test_anchors_may_meet_in_one_entry_and_must_be_in_order() -> None:
    pieces = [Piece(seq=3, text="one two three four"), Piece(seq=7, text="five")]
    assert select({"start": "one", "mid": "two", "end": "four"}, pieces, 9) == ((3, 3),)
    assert select({"start": "two", "mid": "four", "end": "five"}, pieces, 9) == ((3, 3), (7, 7))
    with pytest.raises(ValueError, match="this order"):
        select({"start": "two", "mid": "one", "end": "five"}, pieces, 9)
    with pytest.raises(ValueError, match="does not stand"):
        select({"start": "", "mid": "one", "end": "five"}, pieces, 9)


def test_words_are_found_by_their_stems_and_rare_ones_count_more() -> None:
    index = TextIndex()
    for doc, text in enumerate(["the storms of winter", "winter", "a storm in spring", "nothing"]):
        index.add(doc, text)
    assert [doc for doc, _ in index.search("storm winter", 5)] == [0, 2, 1] or index.search("storm winter", 5)[0][
        0
    ] == 0
    assert index.search("the of a", 5) == []
    assert index.search("zeppelin", 5) == []
    assert len(index) == 4


# The reward


class Chain:
    """Entries of a run, one behind the other, with no more than the reward reads."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, kind: str, body: dict[str, Any]) -> int:
        seq = len(self.entries)
        prev = self.entries[-1].hash if self.entries else GENESIS
        self.entries.append(seal(Draft(kind=kind, body=body), run="r", seq=seq, time_us=seq, prev=prev)[0])
        return seq

    def step(
        self, tokens: int, tool: str, arguments: Any, *, effect: str = "pure", error: str = "", by: str = ""
    ) -> None:
        """One question, its answer with one call, and what became of it."""
        view = {"tokens": tokens, "window": 1000, "shown": [], "hidden": 0, "left": {}, "digest": ""}
        asked = self.add("sample.intent", {"step": 1, "view": view, "limits": {}, "constraint": {}, "reserve": {}})
        call = {"id": f"s{asked}", "tool": tool, "arguments": arguments}
        usage: dict[str, Any] = {"intent": asked, "text": {"text": ""}, "calls": [call], "text_only": True}
        settle = {"reserved": {}, "spent": {}}
        self.add("sample.completion", {**usage, "finish_reason": "stop", "usage": {}, "model": "m", "settle": settle})
        intent = -1
        if not error and not by and tool != "read":
            body = {
                "completion": asked + 1,
                "call": call,
                "effect": effect,
                "key": "",
                "attempt": 1,
                "rule": "",
                "reserve": {},
            }
            intent = self.add("effect.intent", body)
        receipt = {"intent": intent, "call_id": call["id"], "ok": not error, "text": {"text": ""}, "data": {}}
        last = self.add("effect.receipt", {**receipt, "error": error or None})
        if by:
            self.add("compacted", {"first": 0, "last": last, "summary": {"text": ""}, "by": by})


def test_context_over_the_threshold_costs_in_steps_that_do_not_compress() -> None:
    run = Chain()
    run.step(600, "look", {"at": 1})
    run.step(1000, "look", {"at": 2})  # (1000 - 800) / 800
    run.step(990, "compress", {}, by="agent")
    run.step(500, "look", {"at": 3})
    found = penalties_of(run.entries)
    assert found.context == pytest.approx(0.25 / 3)
    assert (found.steps, found.compressed, found.peak_tokens) == (3, 1, 1000)
    assert penalties_of(run.entries, Config(tau_tokens=100)).context == 1.0
    assert penalties_of(run.entries, Config(tau_tokens=5000)).context == 0.0


def test_a_call_is_redundant_until_something_changed() -> None:
    run = Chain()
    run.step(1, "look", {"at": 1})
    run.step(1, "look", {"at": 1})  # redundant
    run.step(1, "read", {"handle": "x"})
    run.step(1, "read", {"handle": "x"})  # of memory
    run.step(1, "put", {"at": 1}, effect="keyed")
    run.step(1, "look", {"at": 1})
    run.step(1, "put", {"at": 1}, effect="keyed")
    run.add("sleep.started", {"reason": "snow"})
    run.step(1, "look", {"at": 1})
    found = penalties_of(run.entries)
    assert found.calls == 6
    assert found.redundant == pytest.approx(1 / 6)


def test_malformed_calls_cost_by_step() -> None:
    run = Chain()
    run.step(1, "look", "{not json", error="arguments")
    run.step(1, "loook", {}, error="unknown")
    run.step(1, "look", {}, error="denied")
    run.step(1, "look", {})
    assert penalties_of(run.entries).malformed == pytest.approx(0.5)


def test_the_reward_is_the_formula() -> None:
    run = Chain()
    run.step(1200, "look", "x", error="arguments")
    run.step(400, "look", {})
    found = penalties_of(run.entries)
    assert (found.context, found.redundant, found.malformed) == (pytest.approx(0.25), 0.0, 0.5)
    assert reward(1.0, found) == pytest.approx(1 - 0.5 * 0.25 - 0.2 * 0.5)
    assert reward(0.0, found, Config(context=1, redundant=0.05, malformed=1)) == pytest.approx(-0.75)
    assert penalties_of([]).context == 0.0
    assert reward(1.0, penalties_of([])) == 1.0
