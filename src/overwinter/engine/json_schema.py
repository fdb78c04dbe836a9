"""JSON schemas before they become grammars: what is honoured, and where something is wrong.

The rule: a keyword that would not be enforced is refused by name and place. The grammar library refuses what it knows and
lacks (`not`, `uniqueItems`, …), but passes over what it has never heard of; a misspelt `minimun` would then allow anything.
So schemas are walked here first, place by place: keywords hold schemas, maps of schemas, lists of schemas, or plain values,
and only the first three are walked. A property that happens to be called "not" is no keyword.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from overwinter.errors import UsageError

SCHEMA_KEYWORDS = {"items", "additionalItems", "additionalProperties"}
MAP_KEYWORDS = {"properties", "patternProperties", "$defs", "definitions"}
LIST_KEYWORDS = {"anyOf", "oneOf", "allOf", "prefixItems", "items"}
VALUE_KEYWORDS = {
    *("$ref", "type", "enum", "const", "required", "minItems", "maxItems", "minProperties", "maxProperties"),
    *(
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
    ),
}
ANNOTATIONS = {
    *(
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$comment",
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
    ),
    *("readOnly", "writeOnly", "contentMediaType", "contentEncoding", "discriminator"),
}
"""They say nothing about which documents are valid (`contentEncoding` neither, by its specification)."""
HONOURED = SCHEMA_KEYWORDS | MAP_KEYWORDS | LIST_KEYWORDS | VALUE_KEYWORDS | ANNOTATIONS

INSTEAD = {
    "nullable": 'write "type": ["string", "null"]',
    "not": "list what is allowed, by enum, anyOf or pattern",
    "uniqueItems": "bound the list by maxItems and check it after the answer",
    "if": "write the cases out with anyOf",
    "dependencies": "write the cases out with anyOf",
    "dependentRequired": "write the cases out with anyOf",
    "dependentSchemas": "write the cases out with anyOf",
    "propertyNames": "use patternProperties and additionalProperties: false",
    "unevaluatedProperties": "use additionalProperties in each branch",
    "contains": "fix the first items by prefixItems",
}


def checked(schema: Any) -> Any:
    """A copy of the schema in plain JSON values, after every keyword in it was found to be honoured.

    Raises:
        UsageError: not JSON, not a schema, or a keyword that would not be enforced; with its place.
    """
    try:
        copy = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as reason:
        raise UsageError(f"the schema is no JSON: {reason}", "give a JSON schema made of plain values") from reason
    parts = dict(walk(copy))
    for place, part in parts.items():
        if not isinstance(part, bool):
            _check_keywords(place, part)
            _check_reference(place, part, parts)
    return copy


def walk(schema: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every schema inside a schema with its JSON pointer, the whole one first; what is no schema is an error.

    Raises:
        UsageError: a number, a list or the like where a schema has to stand.
    """
    todo = [(place, schema)]
    while todo:
        place, part = todo.pop()
        if not isinstance(part, Mapping | bool):
            raise UsageError(
                f"{at(place)} stands {shortened(part)}", "a schema is an object, true or false; put one there"
            )
        yield place, part
        todo += reversed(list(children(place, part)))


def children(place: str, part: Any) -> Iterator[tuple[str, Any]]:
    """The schemas directly inside one, with their pointers."""
    for key, value in part.items() if isinstance(part, Mapping) else ():
        inside = f"{place}/{_escaped(key)}"
        if key in MAP_KEYWORDS and isinstance(value, Mapping):
            yield from ((f"{inside}/{_escaped(name)}", each) for name, each in value.items())
        elif key in LIST_KEYWORDS and isinstance(value, list | tuple):
            yield from ((f"{inside}/{number}", each) for number, each in enumerate(value))
        elif key in SCHEMA_KEYWORDS:
            yield inside, value
        elif key in MAP_KEYWORDS | LIST_KEYWORDS:
            kind = "an object of schemas" if key in MAP_KEYWORDS else "a list of schemas"
            raise UsageError(f"{at(inside)} stands {shortened(value)}", f"{key} takes {kind}; correct it")


def _check_keywords(place: str, part: Mapping[str, Any]) -> None:
    for key in part:
        known = key in HONOURED or (key.startswith("x-") and key != "x-guidance")
        if not known:
            raise UsageError(
                f"{at(place)} stands the keyword {key!r}, which would not be enforced",
                INSTEAD.get(key, "take it out, or check its spelling; docs/constraints.md lists what is honoured"),
            )
    if "additionalItems" in part and not isinstance(part.get("items"), list | tuple):
        raise UsageError(
            f"{at(place)} stands 'additionalItems' without a list of items, which would not be enforced",
            "beside prefixItems, say what follows them by `items`",
        )
    required, least = part.get("required"), part.get("minProperties")
    if isinstance(least, int) and least - len(required if isinstance(required, list) else ()) > 1:
        raise UsageError(
            f"{at(place)} minProperties is {least}, which would not be enforced: a name could come twice",
            "name the properties that have to be there under `required`, all but one",
        )


def _check_reference(place: str, part: Any, parts: Mapping[str, Any]) -> None:
    """What only refers to itself, in however many steps, says nothing; a text that has come there could not go on."""
    seen = set()
    while isinstance(part, Mapping) and isinstance(reference := part.get("$ref"), str):
        if reference in seen:
            raise UsageError(
                f"{at(place)} the reference {reference!r} leads back to itself", "refer to a schema that says more"
            )
        seen.add(reference)
        part = parts.get(unquote(reference.removeprefix("#")))


def place_of(schema: Any, problem: str, problem_of: Callable[[Any], str]) -> str:
    """The innermost place that has the problem by itself, in words.

    The library says what is wrong and not where. So the parts are asked one by one, with the definitions they may refer to;
    the way leads into the first part with the same problem, until none has it.
    """
    definitions = {
        key: schema[key] for key in ("$defs", "definitions") if isinstance(schema, Mapping) and key in schema
    }
    place, part, problem = "", schema, _without_route(problem)
    while True:
        # Definitions first: what only refers to a wrong one has the same problem.
        inner_parts = sorted(
            children(place, part), key=lambda child: not child[0].startswith(("/$defs/", "/definitions/"))
        )
        for inside, inner in inner_parts:
            whole = {**definitions, **inner} if isinstance(inner, Mapping) else inner
            if _without_route(problem_of(whole)) == problem:
                place, part = inside, inner
                break
        else:
            return at(place)


def _without_route(problem: str) -> str:
    """The same problem, whichever reference the library followed to it."""
    return problem.partition("\n  while processing")[0]


def at(place: str) -> str:
    return f"at {place} of the schema" if place else "at the top of the schema"


def _escaped(key: str) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
