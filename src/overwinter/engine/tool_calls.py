"""Tool calls as a constraint: an object that names one of the tools and gives it arguments of its schema.

What a model writes under it is what `loop/parse.py` reads, whichever of the forms is chosen. The choice may be a client's, in
the words of the OpenAI API: none, auto, required, or one tool by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from overwinter.engine.grammar import GrammarConstraint
from overwinter.engine.json_schema import at, checked, shortened, walk
from overwinter.engine.vocabulary import Vocabulary
from overwinter.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class CallForm:
    """How a tool call is written. The default is what the loop's instructions ask for, and all of it is what the loop reads.

    Attributes:
        name_key, arguments_key: the two members of the object, in this order.
        begin, end: text around the object.
    """

    name_key: Literal["tool", "name"] = "tool"
    arguments_key: Literal["arguments", "parameters"] = "arguments"
    begin: str = ""
    end: str = ""


PLAIN = CallForm()
TAGGED = CallForm(name_key="name", begin="<tool_call>\n", end="\n</tool_call>")
"""The form that the chat templates of several open-weight families teach."""


def tool_call_schema(tools: Sequence[Mapping[str, Any]], *, form: CallForm = PLAIN) -> dict[str, Any]:
    """The schema of an object that calls one of the tools, with arguments that satisfy that tool's own schema.

    Args:
        tools: in the OpenAI form, as `View.tools` holds them; with or without the wrapping "function". A tool with
            `"strict": false` is called with any JSON object.

    Raises:
        UsageError: no tool, two of one name, a tool without a name, or a reference that does not point into its own schema.
    """
    branches: dict[str, Any] = {}
    definitions = {}
    for number, tool in enumerate(tools):
        name, arguments = named_parameters(tool)
        if name in branches:
            raise UsageError(f"two tools are called {name!r}", "give each tool a name of its own")
        try:
            definitions[f"arguments{number}"] = rebased(arguments, f"#/$defs/arguments{number}")
        except UsageError as wrong:
            raise _of_tool(name, wrong) from wrong
        given = {"type": "object", "$ref": f"#/$defs/arguments{number}"}
        members = {form.name_key: {"const": name}, form.arguments_key: given}
        branches[name] = {
            "type": "object",
            "properties": members,
            "required": list(members),
            "additionalProperties": False,
        }
    if not branches:
        raise UsageError("there is no tool to call", "give at least one tool, or do not ask for a call")
    return {"anyOf": list(branches.values()), "$defs": definitions}


def named_parameters(tool: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and argument schema of a tool in the OpenAI form; without parameters it takes an empty object."""
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"a tool has no name: {shortened(tool)}", 'write {"type": "function", "function": {"name": …}}'
        )
    if function.get("strict") is False:
        return name, {"type": "object"}
    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    parameters = function.get("parameters")
    return name, empty if parameters is None else parameters


def rebased(schema: Any, root: str) -> Any:
    """A copy whose references start from `root`, where the schema will stand as a part of another.

    Raises:
        UsageError: a reference by name or to another document, which would change its meaning there.
    """
    copy = checked(schema)
    if isinstance(copy, dict):  # as a part of another it has no name and no dialect of its own
        copy = {key: value for key, value in copy.items() if key not in {"$schema", "$id", "id"}}
    for place, part in walk(copy):
        reference = part.get("$ref", "#") if isinstance(part, dict) else "#"
        inner_name = isinstance(part, dict) and isinstance(part.get("$id", part.get("id")), str)
        if inner_name or (isinstance(reference, str) and reference != "#" and not reference.startswith("#/")):
            problem = "a part has an $id" if inner_name else f"the reference {reference!r} leads out of the schema"
            raise UsageError(f"{at(place)} {problem}", "refer to parts by their place in this schema: #/$defs/NAME")
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            part["$ref"] = root + reference[1:]
    return copy


def tool_call_constraint(
    tools: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, *, form: CallForm = PLAIN
) -> GrammarConstraint:
    """A call of one of the tools.

    Raises:
        UsageError: what `tool_call_schema` refuses, or a schema that cannot be enforced; with the tool's name and the place.
    """
    schema = tool_call_schema(tools, form=form)
    try:
        return GrammarConstraint.from_json_schema(schema, vocabulary, around=(form.begin, form.end))
    except UsageError:
        for tool in tools:  # whose schema is it?
            name, arguments = named_parameters(tool)
            try:
                GrammarConstraint.from_json_schema(arguments, vocabulary)
            except UsageError as wrong:
                raise _of_tool(name, wrong) from wrong
        raise


def tool_choice_constraint(
    tools: Sequence[Mapping[str, Any]], tool_choice: Any, vocabulary: Vocabulary, *, form: CallForm = PLAIN
) -> GrammarConstraint | None:
    """What a client's `tool_choice` demands; None where it leaves the model free ("auto", "none", nothing given).

    Args:
        tool_choice: "auto", "none", "required", None, or {"type": "function", "function": {"name": NAME}}; the name may also
            stand beside the type.

    Raises:
        UsageError: another choice, a tool that is not there, or what `tool_call_constraint` refuses.
    """
    if tool_choice in (None, "auto", "none"):
        return None
    if tool_choice != "required":
        tools = [_named(tools, tool_choice)]
    return tool_call_constraint(tools, vocabulary, form=form)


def _named(tools: Sequence[Mapping[str, Any]], tool_choice: Any) -> Mapping[str, Any]:
    function = tool_choice.get("function", tool_choice) if isinstance(tool_choice, Mapping) else None
    wanted = function.get("name") if isinstance(function, Mapping) and tool_choice.get("type") == "function" else None
    if wanted is None:
        raise UsageError(
            f"tool_choice is {shortened(tool_choice)}",
            'give "auto", "none", "required", or {"type": "function", "function": {"name": NAME}}',
        )
    names = [named_parameters(tool)[0] for tool in tools]
    if wanted not in names:
        raise UsageError(f"tool_choice names {wanted!r}, which is not among the tools", f"choose one of {names}")
    return tools[names.index(wanted)]


def _of_tool(name: str, wrong: UsageError) -> UsageError:
    return UsageError(f"tool {name!r}: {wrong.problem}", f'{wrong.next_step}; or set "strict": false for this tool')
