"""Tool calls under a schema: what is written is what the loop reads, and the arguments satisfy the tool's own schema."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the engine needs overwinter[local]")
pytest.importorskip("llguidance", reason="grammars need overwinter[local]")
jsonschema = pytest.importorskip("jsonschema")

from grammar_kit import END, byte_level, walk  # noqa: E402

from overwinter.engine.constraint import TrieConstraint, choices_constraint, rebuild  # noqa: E402
from overwinter.engine.grammar import GrammarConstraint  # noqa: E402
from overwinter.engine.tool_calls import (  # noqa: E402
    PLAIN,
    TAGGED,
    CallForm,
    tool_call_constraint,
    tool_call_schema,
    tool_choice_constraint,
)
from overwinter.engine.vocabulary import Vocabulary  # noqa: E402
from overwinter.errors import ModelError, UsageError  # noqa: E402
from overwinter.loop.controls import CONTROLS  # noqa: E402
from overwinter.loop.model import Completion  # noqa: E402
from overwinter.loop.parse import read_calls  # noqa: E402
from overwinter.loop.verdict import JUDGE_SCHEMA  # noqa: E402
from overwinter.loop.view import INSTRUCTIONS  # noqa: E402
from overwinter.tools.filesystem import files  # noqa: E402
from overwinter.tools.tool import Toolbox, tool  # noqa: E402
from overwinter.tools.web import http_get  # noqa: E402

TOKENIZER = byte_level()
BYTES = Vocabulary.of(TOKENIZER, end_ids=[END])


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


SCHEMAS: dict[str, Any] = {
    "read": closed({"path": {"type": "string", "maxLength": 12}, "first": {"type": "integer", "minimum": 0}}, "path"),
    "order": closed({"fuel": {"enum": [5, 10]}, "day": {"type": "string", "format": "date"}}, "fuel", "day"),
    # Two tools whose references have the same names, one of them to its own top.
    "plant": {**closed({"bed": {"$ref": "#/$defs/bed"}}, "bed"), "$defs": {"bed": {"enum": ["a", "b"]}}},
    "tree": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.org/tree",
        **closed(
            {"bed": {"$ref": "#/definitions/bed"}, "kids": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}}
        ),
        "definitions": {"bed": {"const": {"$ref": "#/definitions/bed"}}},
    },
    "finish": None,
}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()]
FORMS = {
    "plain": PLAIN,
    "tagged": TAGGED,
    "name": CallForm(name_key="name", arguments_key="parameters"),
    "fenced": CallForm(begin="```json\n", end="\n```"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_is_written_is_what_the_loop_reads(form: CallForm) -> None:
    constraint, rng, seen = tool_call_constraint(TOOLS, BYTES, form=form), random.Random(5), set()
    for _ in range(40):
        ids = walk(constraint, rng)
        if ids is None:
            continue
        text = BYTES.text_of(ids)
        assert text.startswith(form.begin)
        assert text.endswith(form.end)
        written = json.loads(text.removeprefix(form.begin).removesuffix(form.end))
        assert list(written) == [form.name_key, form.arguments_key]
        (call,) = read_calls(Completion(text=text), ("wait",), "act", "s")
        assert (call["tool"], call["arguments"]) == (written[form.name_key], written[form.arguments_key])
        jsonschema.validate(call["arguments"], SCHEMAS[call["tool"]] or {"maxProperties": 0})
        seen.add(call["tool"])
    assert seen == set(SCHEMAS)


def test_the_form_is_the_one_of_the_instructions() -> None:
    shown = next(line for line in INSTRUCTIONS.splitlines() if line.startswith("{"))
    assert shown == '{"tool": "NAME", "arguments": {…}}'
    anything = [{"name": "NAME", "strict": False}]
    state = rebuild(tool_call_constraint(anything, BYTES), BYTES.spell(shown.replace("…", '"any": [1]')))
    assert tool_call_constraint(anything, BYTES).is_complete(state)


def test_the_schema_of_a_real_tool_is_enforced() -> None:
    @tool(effect="pure")
    def look(bed: str, days: int = 3, deep: bool | None = None) -> str:
        """Look at a bed.

        Args:
            bed: its name.
            days: how far back.
            deep: dig as well.
        """
        return f"{bed} {days} {deep}"

    constraint = tool_call_constraint(Toolbox([look]).schemas(), BYTES)
    for text, fits in [
        ('{"tool": "look", "arguments": {"bed": "north", "days": 2, "deep": null}}', True),
        ('{"tool": "look", "arguments": {"bed": "north"}}', True),
        ('{"tool": "look", "arguments": {"days": 2}}', False),
        ('{"tool": "look", "arguments": {"bed": "north", "days": "2"}}', False),
        ('{"tool": "lock", "arguments": {"bed": "north"}}', False),
    ]:
        assert _fits(constraint, text) == fits, text


def test_all_tools_of_the_loop_and_the_judges_form_can_be_enforced(tmp_path: Path) -> None:
    bundled = Toolbox([*files(tmp_path, write=True), *http_get(allow=["example.org"]), *CONTROLS.values()]).schemas()
    for form in (PLAIN, TAGGED):
        state = tool_call_constraint(bundled, BYTES, form=form).start()
        assert not tool_call_constraint(bundled, BYTES, form=form).is_complete(state)
    judge = GrammarConstraint.from_json_schema(JUDGE_SCHEMA, BYTES)
    assert _fits(judge, '{"met": false, "entries": [3, 14], "note": "no line of entry 14 says so"}')


def _fits(constraint: Any, text: str) -> bool:
    try:
        return bool(constraint.is_complete(rebuild(constraint, BYTES.spell(text))))
    except ModelError:
        return False


def test_a_client_chooses() -> None:
    for free in (None, "auto", "none"):
        assert tool_choice_constraint(TOOLS, free, BYTES) is None
    any_of_them = tool_choice_constraint(TOOLS, "required", BYTES)
    for named in ({"type": "function", "function": {"name": "finish"}}, {"type": "function", "name": "finish"}):
        one = tool_choice_constraint(TOOLS, named, BYTES)
        assert _fits(one, '{"tool": "finish", "arguments": {}}')
        assert not _fits(one, '{"tool": "order", "arguments": {"fuel": 5, "day": "2026-11-23"}}')
    assert _fits(any_of_them, '{"tool": "order", "arguments": {"fuel": 5, "day": "2026-11-23"}}')


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("any", 'tool_choice is "any"'),
        ({"type": "function"}, 'give "auto"'),
        ({"type": "allowed_tools", "name": "finish"}, "tool_choice is"),
        ({"type": "function", "function": {"name": "dig"}}, "'dig', which is not among the tools"),
        (7, "tool_choice is 7"),
    ],
)
def test_choices_that_cannot_be_made_are_refused(choice: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tool_choice_constraint(TOOLS, choice, BYTES)


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([], "no tool to call"),
        ([TOOLS[0], TOOLS[0]], "two tools are called 'read'"),
        ([{"type": "function", "function": {}}], "a tool has no name"),
        ([{"name": "q", "parameters": {"properties": {"a": {"uniqueItems": True}}}}], "tool 'q': at /properties/a"),
        ([TOOLS[0], {"name": "q", "parameters": {"properties": {"a": {"type": "int"}}}}], "tool 'q': .*/properties/a"),
        ([{"name": "q", "parameters": {"$ref": "https://example.org/x"}}], "tool 'q': .* leads out of the schema"),
        (
            [{"name": "q", "parameters": {"items": {"$id": "x"}}}],
            r"tool 'q': at /items of the schema a part has an \$id",
        ),
        ([{"name": "q", "parameters": {"type": "string"}}], "tool 'q'|at /"),
    ],
)
def test_tools_that_cannot_be_enforced_are_refused_by_name(tools: list[Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tool_call_constraint(tools, BYTES)


def test_a_tool_that_is_not_strict_takes_any_object() -> None:
    loose = {"type": "function", "function": {"name": "q", "parameters": {"not": {}}, "strict": False}}
    constraint = tool_call_constraint([TOOLS[0], loose], BYTES)
    assert _fits(constraint, '{"tool": "q", "arguments": {"x": [1]}}')
    assert not _fits(constraint, '{"tool": "q", "arguments": [1]}')


def test_the_tools_own_schemas_are_left_as_they_were() -> None:
    before = json.dumps(TOOLS)
    schema = tool_call_schema(TOOLS)
    assert json.dumps(TOOLS) == before
    assert schema["$defs"]["arguments2"]["properties"]["bed"] == {"$ref": "#/$defs/arguments2/$defs/bed"}
    # What stands in a constant is data, and no reference.
    assert schema["$defs"]["arguments3"]["definitions"]["bed"] == {"const": {"$ref": "#/definitions/bed"}}


# --- choices ----------------------------------------------------------------------------------------------------------


def test_each_choice_can_be_written_in_its_own_tokens_only() -> None:
    choices = ("heat up", "heat", "wait", "heat up")
    constraint = choices_constraint(choices, TOKENIZER, END, vocab_size=400)
    assert isinstance(constraint, TrieConstraint)
    assert constraint.vocab_size == 400
    for choice in choices:
        ids = TOKENIZER.encode(choice).ids
        assert constraint.advance(rebuild(constraint, ids), END)
        assert constraint.is_complete(rebuild(constraint, ids)) == (choice != "heat")
    letters = [TOKENIZER.encode(letter).ids[0] for letter in "wait"]
    assert letters != TOKENIZER.encode("wait").ids
    with pytest.raises(ModelError):
        rebuild(constraint, letters)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ([], "nothing to choose from"),
        (["wait", ""], "the choice '' cannot be written"),
        (["say <|other|>"], "the tokenizer makes 'say' of it|makes 'say ' of it"),
    ],
)
def test_choices_that_cannot_be_written_are_refused(choices: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choices_constraint(choices, TOKENIZER, END)
