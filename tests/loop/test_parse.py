"""From words to calls: every form that is understood, and whatever else a model may say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_kit import FINISH, begin, parts, receipts

from overwinter.journal.canonical import canonical
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.model import Completion, ToolCall
from overwinter.loop.parse import read_calls

LEGAL = ("heat up", "wait")


def read(text: str, legal: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    rows = read_calls(Completion(text=text), legal, "act", "s1")
    assert [row["id"] for row in rows] == [f"s1.{i}" for i in range(len(rows))]
    return [(row["tool"], row["arguments"]) for row in rows]


CALL = '{"tool": "put", "arguments": {"x": 1}}'
PUT = ("put", {"x": 1})
PAGE = f"say ```{{}}``` or <tool_call>{{}}</tool_call>\n```json\n{CALL}\n```"
QUOTING = json.dumps({"tool": "write", "arguments": {"text": PAGE}})
WRITE = ("write", {"text": PAGE})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CALL, [PUT]),
        (f"I think so.\n{CALL}\nThat is it.", [PUT]),
        (f"```json\n{CALL}\n```", [PUT]),
        (f"```\n{CALL}\n```", [PUT]),
        (f"```json\n{CALL}\n```\nand\n```json\n{CALL}\n```", [PUT, PUT]),
        (f"<tool_call>\n{CALL}\n</tool_call>", [PUT]),
        (f"<tool_call>{CALL}</tool_call> <tool_call>{CALL}</tool_call>", [PUT, PUT]),
        ('<tool_call>{"name": "put", "arguments": {"x": 1}}</tool_call>', [PUT]),
        ('{"name": "put", "parameters": {"x": 1}}', [PUT]),
        ('{"tool": "put"}', [("put", {})]),
        ('{"tool": "put", "arguments": "{\\"x\\": 1}"}', [("put", '{"x": 1}')]),
        ('{"tool": "put", "arguments": [1]}', [("put", "[1]")]),
        ('{"tool": "put", "arguments": null}', [("put", "null")]),
        (f'Given {{x}} and {{"plan": 1}}: {CALL}', [PUT]),
        (f"{CALL}\n{CALL}", [PUT]),
        (QUOTING, [WRITE]),
        (f"\n{QUOTING}\n", [WRITE]),
        (f"<tool_call>{QUOTING}</tool_call> then <tool_call>{CALL}</tool_call>", [WRITE, PUT]),
        (f"<tool_call>{{broken</tool_call> <tool_call>{CALL}</tool_call>", [PUT]),
        (f"<tool_call>{CALL} and more</tool_call>", [PUT]),
        (f"<tool_call>{'{' * 3000}</tool_call>", []),
        ('{"name": "Ann", "age": 3}', []),
        ('{"tool": 7}', []),
        ('{"tool": "put", "arguments": {"x": 1}', []),
        ("no call at all", []),
        ("", []),
        ("{" * 3000, []),
        ("[" * 100_000, []),
        ('{"a":' * 100_000, []),
    ],
)
def test_forms_of_calls_in_text(text: str, expected: list[Any]) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "text",
    ["heat up", "Heat Up", "`heat up`", "It is cold.\nheat up", "Action: heat up", "heat up.", "heat up\nbecause"],
)
def test_legal_actions_are_understood_as_words(text: str) -> None:
    assert read(text, LEGAL) == [("act", {"action": "heat up"})]


def test_a_legal_action_must_stand_alone_on_its_line() -> None:
    assert read("I will heat up", LEGAL) == []
    assert read("heat up") == []
    assert read(f"wait\n{CALL}\nheat up", LEGAL) == [("act", {"action": "heat up"})]


def test_native_calls_come_first_and_their_ids_are_ours() -> None:
    calls = (ToolCall(id="x", tool="a", arguments={"b": 1}), ToolCall(id="x", tool="a", arguments='{"b": 1}'))
    bad = ToolCall(id="y", tool="a", arguments="{b: 1")
    odd = ToolCall(id="z", tool="a", arguments="[1]")
    rows = read_calls(Completion(text=CALL, tool_calls=(*calls, bad, odd)), (), "act", "s9")
    assert [row["id"] for row in rows] == ["s9.0", "s9.1", "s9.2", "s9.3"]
    assert [row["arguments"] for row in rows] == [{"b": 1}, {"b": 1}, "{b: 1", "[1]"]
    empty = read_calls(Completion(text="", tool_calls=(ToolCall(id="", tool="a", arguments=" "),)), (), "act", "s")
    assert empty[0]["arguments"] == {}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", '"\\ud800"', "[" * 400 + "]" * 400])
def test_arguments_that_json_cannot_say_are_refused_and_do_not_end_the_run(store: SqliteStore, value: str) -> None:
    text = f'{{"tool": "put", "arguments": {{"text": {value}}}}}'
    with begin(store, parts([text, FINISH], max_tokens=5000)) as run:
        assert run.finish() == "unverified"
    assert receipts(store)[0][0] is False


@given(st.text() | st.text('{}[]"tol:, \\u\n`<>/_cagrmens1eN', max_size=60), st.sampled_from([(), LEGAL]))
def test_no_text_raises_and_all_that_comes_out_can_be_written(text: str, legal: tuple[str, ...]) -> None:
    canonical(read_calls(Completion(text=text), legal, "act", "s1"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["tool", "name", "arguments", "parameters", "x"]), json_values))
def test_no_object_raises(value: dict[str, Any]) -> None:
    for text in (json.dumps(value), f"<tool_call>{json.dumps(value)}</tool_call>"):
        canonical(read_calls(Completion(text=text), (), "act", "s1"))


@given(st.text(), json_values)
def test_no_native_call_raises(name: str, arguments: Any) -> None:
    for each in (arguments, json.dumps(arguments)):
        calls = (ToolCall(id="", tool=name, arguments=each),)
        canonical(read_calls(Completion(text="", tool_calls=calls), (), "act", "s1"))
