"""Calls in a model's text: three ways of writing them, any cut, nothing lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.serve.tool_text import Argued, CallBegun, CallReader, Piece, Said

NAMES = ("heat", "wait", "order.fuel")


def put_together(pieces: list[Piece]) -> list[Any]:
    """Runs of text, and calls as [name, arguments]."""
    whole: list[Any] = []
    calls: list[list[str]] = []
    for piece in pieces:
        match piece:
            case Said(text):
                if whole and isinstance(whole[-1], str):
                    whole[-1] += text
                else:
                    whole.append(text)
            case CallBegun(index, name):
                assert index == len(calls)
                calls.append([name, ""])
                whole.append(calls[-1])
            case Argued(index, text):
                assert index == len(calls) - 1
                calls[-1][1] += text
    return whole


def read(*texts: str, names: tuple[str, ...] = NAMES) -> list[Any]:
    reader = CallReader(names)
    return put_together([piece for text in texts for piece in reader.push(text)] + reader.finish())


HEAT = '{"name": "heat", "arguments": {"hours": 3, "why": "<tool_call> \\" }"}}'
HEATED = ["heat", '{"hours": 3, "why": "<tool_call> \\" }"}']
CASES: dict[str, tuple[str, list[Any]]] = {
    "text": ("It is cold.", ["It is cold."]),
    "tagged": (f"<tool_call>\n{HEAT}\n</tool_call>", [HEATED]),
    "text around": (f"Cold. \n<tool_call>{HEAT}</tool_call> Done", ["Cold. \n", HEATED, " Done"]),
    "two tags": (
        f'Hm\n<tool_call>{HEAT}</tool_call>\n\n<tool_call>{{"name":"wait","arguments":{{}}}}</tool_call>\n',
        ["Hm\n", HEATED, ["wait", "{}"]],
    ),
    "no closing tag": (f"<tool_call>{HEAT}", [HEATED]),
    "half a closing tag": (f"<tool_call>{HEAT}\n</tool", [HEATED]),
    "no closing tag, text": (f"<tool_call>{HEAT} so", [HEATED, " so"]),
    "bare": (HEAT, [HEATED]),
    "bare, parameters": (' {"name": "heat", "parameters": {"hours": 3}}\n', [["heat", '{"hours": 3}']]),
    "bare, tool": ('{"tool": "wait"}', [["wait", "{}"]]),
    "arguments first": ('{"arguments": {"hours": 1}, "name": "heat"}', [["heat", '{"hours": 1}']]),
    "other members": ('{"id": [1, {"name": "x"}], "name": "heat", "n": -1e5, "arguments": {}}', [["heat", "{}"]]),
    "several bare": (f'{HEAT}; {{"name": "wait", "parameters": {{}}}}', [HEATED, ["wait", "{}"]]),
    "a list": (f'[{HEAT}, {{"name": "wait", "arguments": {{ }}}}]', [HEATED, ["wait", "{ }"]]),
    "quoted twice": ('{"name": "heat", "arguments": "{\\"hours\\": 3}"}', [["heat", '{"hours": 3}']]),
    "arguments no object": ('{"name": "heat", "arguments": "soon"}', [["heat", '"soon"']]),
    "arguments null": ('{"name": "heat", "arguments": null}', [["heat", "{}"]]),
    "bare behind text": (f"Then {HEAT}", [f"Then {HEAT}"]),
    "text behind bare": (f"{HEAT} and so on", [HEATED, " and so on"]),
    "unknown name": ('{"name": "cool", "arguments": {}}', ['{"name": "cool", "arguments": {}}']),
    "unknown name, tagged": (
        f'<tool_call>{{"name": "cool"}}</tool_call><tool_call>{HEAT}</tool_call>',
        ['<tool_call>{"name": "cool"}</tool_call>', HEATED],
    ),
    "an object of data": ('{"answer": {"name": "heat"}}', ['{"answer": {"name": "heat"}}']),
    "no JSON": ("{cold} [now]", ["{cold} [now]"]),
    "tag around text": ("<tool_call>heat()</tool_call>", ["<tool_call>heat()</tool_call>"]),
    "list of data": ("[1, 2]", ["[1, 2]"]),
    "cut in the arguments": ('{"name": "heat", "arguments": {"hours": 3, "wh', [["heat", '{"hours": 3, "wh']]),
    "cut in quoted arguments": ('{"name": "heat", "arguments": "{\\"ho', [["heat", '"{\\"ho']]),
    "cut before the name": ('<tool_call>{"name": "he', ['<tool_call>{"name": "he']),
    "cut in a tag": ("Well <tool_c", ["Well <tool_c"]),
    "space alone": (" \n", [" \n"]),
    "nothing": ("", []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_a_call(case: str) -> None:
    text, expected = CASES[case]
    assert read(text) == expected
    assert read(*text) == expected, "character by character"


@given(case=st.sampled_from(sorted(CASES)), data=st.data())
def test_cuts_make_no_difference(case: str, data: st.DataObject) -> None:
    text, expected = CASES[case]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == expected


PARTS = [
    "<tool_call>",
    "</tool_call>",
    HEAT,
    '{"name": "wait"}',
    "{",
    "}",
    "[",
    '"',
    "\\",
    " ",
    "\n",
    "a",
    ",",
    ":",
    ";",
    "]",
]


@given(parts=st.lists(st.sampled_from(PARTS), max_size=12), data=st.data())
def test_any_text_is_read_alike_in_any_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == read(text)
    assert "".join(read(text, names=())) == text


@given(
    name=st.sampled_from(NAMES),
    arguments=st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=4)),
    ascii_only=st.booleans(),
)
def test_arguments_come_out_as_they_were_written(name: str, arguments: dict[str, Any], ascii_only: bool) -> None:
    written = json.dumps(arguments, ensure_ascii=ascii_only)
    assert read(f'{{"name": "{name}", "arguments": {written}}}') == [[name, written]]


def test_arguments_come_as_soon_as_the_name_is_known() -> None:
    reader = CallReader(NAMES)
    assert reader.push('<tool_call>{"name": "he') == []
    assert reader.push('at", "arguments": {"a"') == [CallBegun(0, "heat"), Argued(0, '{"a"')]
    assert reader.push(": 1}") == [Argued(0, ": 1}")]
    assert (reader.begun, reader.ended) == (1, 0)
    reader.push("}</tool_call>")
    assert reader.ended == 1
