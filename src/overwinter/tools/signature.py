"""From a Python function to the JSON schema a model reads, and from a model's JSON back to typed arguments.

    hints + defaults + docstring ──► JSON schema            (once, when the tool is declared)
    JSON arguments ──validate──► normal form ──bind──► keyword arguments

The normal form is plain JSON with the defaults filled in. It is what the journal keeps and what the idempotency key is
computed from, so validating it again changes nothing. Validation is strict: the schema says integer, so "5" is refused
and the model is told, instead of being guessed at.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from overwinter.errors import ToolError
from overwinter.tools.effect import ToolContext, canonical_json

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?):\s*$")
_ARGUMENT = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_SHOWN_CHARS = 200
_SHOWN_PROBLEMS = 5


class Signature(Protocol):
    """How a tool's arguments are described, checked and handed over."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of the arguments."""

    def normalise(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments as plain JSON with defaults filled in; ToolError says what does not fit."""

    def bind(self, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        """Keyword arguments for the function, from the normal form."""


@dataclass(frozen=True, kw_only=True)
class FunctionSignature:
    """The signature of a Python function, by way of a pydantic model made from its hints."""

    model: Any
    parameters: dict[str, Any]
    context_name: str | None

    def normalise(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Check strictly as JSON; fill in the defaults."""
        parsed = self._parse(arguments)
        return typing.cast("dict[str, Any]", parsed.model_dump(mode="json", by_alias=True))

    def bind(self, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        """Typed values under the function's own parameter names."""
        parsed = self._parse(arguments)
        bound = {info.alias: getattr(parsed, name) for name, info in self.model.model_fields.items()}
        if self.context_name is not None:
            bound[self.context_name] = context
        return bound

    def _parse(self, arguments: dict[str, Any]) -> Any:
        from pydantic import ValidationError

        try:
            # Through JSON text, because that is the form in which the schema speaks: there a list may fill a tuple and
            # a string a date, and strictness still refuses "5" for an integer.
            return self.model.model_validate_json(json.dumps(arguments, allow_nan=False), strict=True)
        except ValidationError as reason:
            raise ToolError(_explain(reason, self.parameters), "correct the arguments and call again") from reason
        except (TypeError, ValueError, RecursionError) as reason:
            raise ToolError(f"the arguments are not JSON: {reason}", "send one JSON object") from reason


@dataclass(frozen=True, kw_only=True)
class SchemaSignature:
    """A signature that came as a JSON schema, for tools that live elsewhere.

    The function gets the whole object as `arguments`, and `context`. `check` raises ToolError for what does not fit;
    without it only the names are looked at, and the far side checks the rest.
    """

    parameters: dict[str, Any]
    check: Callable[[dict[str, Any]], None] | None = None

    def normalise(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments themselves: defaults belong to the far side."""
        missing = sorted(set(self.parameters.get("required", ())) - set(arguments))
        known = self.parameters.get("properties", {})
        unknown = sorted(set(arguments) - set(known)) if self.parameters.get("additionalProperties") is False else []
        if missing or unknown:
            problem = f"missing arguments: {missing}, unknown arguments: {unknown}; expected {json.dumps(known)}"
            raise ToolError(problem[: 10 * _SHOWN_CHARS], "correct the arguments and call again")
        canonical_json(arguments)  # refuses what the journal could not hold
        if self.check is not None:
            self.check(arguments)
        return arguments

    def bind(self, arguments: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        """Two fixed names, so that no argument can collide with a parameter."""
        return {"arguments": arguments, "context": context}


def read_arguments(arguments: Any) -> dict[str, Any]:
    """Accept what models and APIs send: a JSON object, or its text. Empty text means no arguments."""
    if isinstance(arguments, bytes | bytearray):
        arguments = bytes(arguments).decode("utf-8", errors="replace")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}", object_pairs_hook=_unique_keys)
        except (ValueError, RecursionError) as reason:
            shown = arguments[:_SHOWN_CHARS]
            problem = f"the arguments are not valid JSON ({reason}): {shown!r}"
            raise ToolError(problem, "send one complete JSON object with double-quoted keys") from reason
    if not isinstance(arguments, dict):
        problem = f"the arguments must be a JSON object, not {type(arguments).__name__}: {arguments!r:.{_SHOWN_CHARS}}"
        raise ToolError(problem, 'send an object such as {"name": "value"}, or {} for no arguments')
    return arguments


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A person approves what they read; with two values for one key they may have read the other one.
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} appears twice")
        found[key] = value
    return found


def read_function(function: Callable[..., Any], name: str) -> tuple[str, FunctionSignature]:
    """The description and the signature of a function.

    Raises:
        ToolError: a parameter has no type, a type has no JSON schema, a default does not fit its type, or the docstring
            describes a parameter that does not exist.
    """
    from pydantic import ConfigDict, create_model

    description, texts = _read_docstring(inspect.getdoc(function) or "")
    parameters = inspect.signature(function).parameters
    hints = _hints(function, name)
    strangers = sorted(set(texts) - set(parameters))
    if strangers:
        raise ToolError(f"tool {name!r}: the docstring describes {strangers}, which are no parameters", "rename them")
    context_names = [each for each in parameters if hints.get(each) is ToolContext]
    if len(context_names) > 1:
        raise ToolError(f"tool {name!r} takes a ToolContext twice: {context_names}", "keep one")
    fields = {
        # pydantic reserves names such as `json`, `copy` or `_x`; behind an alias every Python name is allowed.
        f"argument_{each}": _field(parameter, hints, texts.get(each), name)
        for each, parameter in parameters.items()
        if each not in context_names
    }
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    model = _pydantic(name, lambda: create_model("Arguments", __config__=config, **fields))  # type: ignore[call-overload]
    schema = _pydantic(name, model.model_json_schema)
    # Titles repeat the names and cost the model tokens; pydantic leaves out `properties` where there are none.
    plain = {"properties": {}, **_without_titles(schema)}
    plain.pop("description", None)
    context_name = context_names[0] if context_names else None
    return description, FunctionSignature(model=model, parameters=plain, context_name=context_name)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as reason:
        raise ToolError(f"tool {name!r}: a type hint cannot be read: {reason}", "import it at module level") from reason


def _field(parameter: inspect.Parameter, hints: dict[str, Any], text: str | None, name: str) -> tuple[Any, Any]:
    from pydantic import Field, TypeAdapter, ValidationError

    where = f"tool {name!r}, parameter {parameter.name!r}"
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise ToolError(f"{where}: *args, **kwargs and positional-only parameters have no schema", "name each one")
    if parameter.name not in hints:
        raise ToolError(f"{where} has no type", "annotate it, for example `days: int`")
    hint = hints[parameter.name]
    # `alias` in an Annotated Field would rename the argument between schema and function.
    if parameter.default is parameter.empty:
        return hint, Field(alias=parameter.name, description=text)
    adapter = _pydantic(name, lambda: TypeAdapter(hint))
    try:
        adapter.validate_python(parameter.default)
    except ValidationError as reason:
        raise ToolError(f"{where}: the default {parameter.default!r} is no {hint}", "widen the type") from reason
    return hint, Field(default=parameter.default, alias=parameter.name, description=text)


def _pydantic(name: str, build: Callable[[], Any]) -> Any:
    from pydantic.errors import PydanticUserError

    try:
        return build()
    except (PydanticUserError, NameError, TypeError) as reason:
        first = str(reason).splitlines()[0]
        raise ToolError(
            f"tool {name!r}: a parameter's type has no JSON schema: {first}",
            "use str, int, float, bool, list, dict, Literal, Enum, dataclasses or pydantic models",
        ) from reason


def _without_titles(schema: Any) -> Any:
    """The schema without pydantic's generated titles; property names and example values are left alone."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "patternProperties"):
            kept[key] = {name: _without_titles(each) for name, each in value.items()}
        elif key in ("default", "const", "enum", "examples", "required"):
            kept[key] = value
        elif key != "title":
            kept[key] = _without_titles(value)
    return kept


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Split a Google-style docstring into the description and the text of each argument."""
    section, indent = "", 0
    description: list[str] = []
    arguments: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section, indent = heading.group(1), 0
        elif not section:
            description.append(line)
        elif section in ("Args", "Arguments", "Parameters") and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            entry = _ARGUMENT.match(line.strip()) if depth <= indent else None
            if entry:
                current = arguments[entry.group(1)] = [entry.group(2)]
            else:
                current.append(line.strip())
    return "\n".join(description).strip(), {name: " ".join(lines).strip() for name, lines in arguments.items()}


def _explain(reason: Any, schema: dict[str, Any]) -> str:
    """Every problem in one message: the field, what was given, what the schema expects."""
    lines = []
    for problem in reason.errors(include_url=False)[:_SHOWN_PROBLEMS]:
        place = ".".join(str(part) for part in problem["loc"]) or "arguments"
        field_name = str(problem["loc"][0]) if problem["loc"] else ""
        expected = _resolve(schema["properties"].get(field_name), schema)
        given = "nothing" if problem["type"] == "missing" else repr(problem["input"])[:_SHOWN_CHARS]
        if expected is None:
            known = ", ".join(schema["properties"]) or "none"
            lines.append(f"{place}: {problem['msg']}; given {given}; known arguments: {known}")
        else:
            lines.append(f"{place}: {problem['msg']}; given {given}; expected {json.dumps(expected)}")
    left_out = reason.error_count() - len(lines)
    return "\n".join([*lines, f"… and {left_out} more"] if left_out else lines)


def _resolve(part: Any, schema: dict[str, Any]) -> Any:
    """Follow one `$ref`, so that a message shows the shape and not a pointer to it."""
    if not isinstance(part, dict) or "$ref" not in part:
        return part
    return schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], part)
