"""Schemas, regular expressions and grammars that `bench_grammar.py` asks of each library: what to accept, what to refuse.

A schema case is (name, schema, documents that are valid, documents that are not). Objects list their properties in the
schema's order, since generation may fix it. The invalid ones are the point: a keyword that is ignored accepts them.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class SchemaCase(NamedTuple):
    """What a library should make of one JSON schema."""

    name: str
    schema: Any
    valid: tuple[Any, ...]
    invalid: tuple[Any, ...]


def an_object(properties: dict[str, Any], *required: str, closed: bool = True, **more: Any) -> dict[str, Any]:
    rest = {"additionalProperties": False} if closed else {}
    return {"type": "object", "properties": properties, "required": list(required), **rest, **more}


TEXT, WHOLE, TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
PERSON = an_object({"name": TEXT, "age": WHOLE}, "name")
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": an_object({"value": WHOLE, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "value")
    },
}
DAY = {"type": "string", "format": "date"}
CALL = {
    "anyOf": [
        an_object({"tool": {"const": name}, "arguments": arguments}, "tool", "arguments")
        for name, arguments in (
            ("read", an_object({"path": TEXT, "first": {"type": "integer", "minimum": 0}}, "path")),
            ("order", an_object({"fuel": {"type": "number", "exclusiveMinimum": 0}, "day": DAY}, "fuel", "day")),
            ("finish", an_object({})),
        )
    ]
}

SCHEMAS = [
    SchemaCase("empty schema", {}, (None, 3, "x", [1, {"a": []}], {"b": 1.5}), ()),
    SchemaCase("any object", {"type": "object"}, ({}, {"a": 1, "b": [None]}), ([], "x", 1)),
    SchemaCase("string", TEXT, ("", "wait", 'a "quoted" \\ line\nand more'), (1, None, ["x"])),
    SchemaCase("string, Unicode", TEXT, ("Grüße aus dem Garten", "冬の庭", "🌱🌻"), (7,)),
    SchemaCase("integer", WHOLE, (0, -7, 1234567), (1.5, "1", True)),
    SchemaCase("number", {"type": "number"}, (0, -1.25, 6.02e23), ("1", None)),
    SchemaCase("boolean, null", {"type": ["boolean", "null"]}, (True, None), (0, "true")),
    SchemaCase("enum", {"enum": ["red", "blue", 3, None]}, ("red", 3, None), ("green", 4, "re")),
    SchemaCase("enum, Unicode", {"enum": ["grün", "雪", "❄️"]}, ("grün", "雪", "❄️"), ("gruen",)),
    SchemaCase("const string", {"const": "go"}, ("go",), ("gone", "g")),
    SchemaCase("const object", {"const": {"a": [1, "b"]}}, ({"a": [1, "b"]},), ({"a": [1]}, {})),
    SchemaCase("nested objects", an_object({"person": PERSON, "active": TRUTH}, "person", "active"),
               ({"person": {"name": "Ada", "age": 36}, "active": True}, {"person": {"name": "Ada"}, "active": False}),
               ({"person": {"age": 36}, "active": True}, {"person": {"name": "Ada"}})),
    SchemaCase("all optional", an_object({"a": WHOLE, "b": WHOLE, "c": WHOLE}),
               ({}, {"b": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}), ({"d": 1}, {"a": "x"})),
    SchemaCase("required behind optional", an_object({"a": WHOLE, "b": WHOLE, "c": WHOLE}, "c"),
               ({"c": 1}, {"a": 1, "c": 2}), ({"a": 1}, {})),
    SchemaCase("additional properties by schema", {"type": "object", "additionalProperties": WHOLE},
               ({}, {"x": 1, "y": 2}), ({"x": "1"},)),
    SchemaCase("additional beside named", an_object({"a": TEXT}, "a", closed=False, additionalProperties=WHOLE),
               ({"a": "x"}, {"a": "x", "b": 2}), ({"a": 1}, {"a": "x", "b": "y"})),
    SchemaCase("open object", an_object({"a": TEXT}, "a", closed=False), ({"a": "x"}, {"a": "x", "b": [1]}), ({"a": 1}, {})),
    SchemaCase("pattern properties", {"type": "object", "patternProperties": {"^n_": WHOLE}, "additionalProperties": False},
               ({}, {"n_a": 1}), ({"n_a": "x"}, {"m": 1})),
    SchemaCase("minProperties", {"type": "object", "additionalProperties": WHOLE, "minProperties": 2},
               ({"a": 1, "b": 2},), ({}, {"a": 1})),
    SchemaCase("array of integers", {"type": "array", "items": WHOLE}, ([], [1, 2, 3]), (["x"], {})),
    SchemaCase("minItems, maxItems", {"type": "array", "items": WHOLE, "minItems": 2, "maxItems": 3},
               ([1, 2], [1, 2, 3]), ([], [1], [1, 2, 3, 4])),
    SchemaCase("tuple", {"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2},
               (["a", 1],), (["a"], [1, "a"], ["a", 1, 2])),
    SchemaCase("uniqueItems", {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}, ([], [1, 2]), ([1, 1],)),
    SchemaCase("contains", {"type": "array", "items": WHOLE, "contains": {"const": 7}}, ([7], [1, 7]), ([], [1])),
    SchemaCase("anyOf", {"anyOf": [WHOLE, {"type": "array", "items": TEXT}]}, (4, ["a"]), ("a", [1])),
    SchemaCase("oneOf, disjoint", {"oneOf": [TEXT, WHOLE]}, ("a", 4), (None, 1.5)),
    SchemaCase("oneOf, by constant", {"oneOf": [an_object({"kind": {"const": "a"}, "x": WHOLE}, "kind", "x"),
                                                an_object({"kind": {"const": "b"}, "y": TEXT}, "kind", "y")]},
               ({"kind": "a", "x": 1}, {"kind": "b", "y": "q"}), ({"kind": "a", "y": "q"}, {"kind": "c", "x": 1})),
    SchemaCase("oneOf, overlapping", {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "integer", "maximum": 10}]},
               (-3, 20), (5,)),
    SchemaCase("allOf", {"allOf": [an_object({"a": WHOLE}, "a", closed=False), an_object({"b": WHOLE}, "b", closed=False)]},
               ({"a": 1, "b": 2},), ({"a": 1}, {"b": 2})),
    SchemaCase("not", {"type": "string", "not": {"const": "no"}}, ("yes",), ("no",)),
    SchemaCase("if, then, else", {**an_object({"k": {"enum": ["a", "b"]}, "v": {"type": ["integer", "string"]}}, "k", "v"),
                                  "if": {"properties": {"k": {"const": "a"}}},
                                  "then": {"properties": {"v": WHOLE}}, "else": {"properties": {"v": TEXT}}},
               ({"k": "a", "v": 1}, {"k": "b", "v": "x"}), ({"k": "a", "v": "x"},)),
    SchemaCase("$ref, $defs", {**an_object({"p": {"$ref": "#/$defs/person"}}, "p"), "$defs": {"person": PERSON}},
               ({"p": {"name": "Ada"}},), ({"p": {}}, {"p": 1})),
    SchemaCase("recursion", TREE, ({"value": 1}, {"value": 1, "children": [{"value": 2, "children": []}]}),
               ({"value": "x"}, {"value": 1, "children": [{}]})),
    SchemaCase("$ref beside keywords", {"$ref": "#/$defs/n", "maximum": 5, "$defs": {"n": {"type": "integer", "minimum": 2}}},
               (2, 5), (1, 6)),
    SchemaCase("pattern, anchored", {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}, ("AB-123",), ("ab-123", "AB-1234")),
    SchemaCase("pattern, unanchored", {"type": "string", "pattern": "[0-9]"}, ("a1b", "7"), ("abc", "")),
    SchemaCase("pattern, look-ahead", {"type": "string", "pattern": "^(?!no)[a-z]{2,4}$"}, ("yes",), ("no", "nope")),
    SchemaCase("minLength, maxLength", {"type": "string", "minLength": 2, "maxLength": 3}, ("ab", "雪雪雪"), ("a", "abcd", "雪")),
    SchemaCase("format date", DAY, ("2026-11-23",), ("tomorrow", "2026-13-01", "23.11.2026")),
    SchemaCase("format date-time", {"type": "string", "format": "date-time"}, ("2026-11-23T10:00:00Z",), ("2026-11-23", "now")),
    SchemaCase("format uuid", {"type": "string", "format": "uuid"}, ("123e4567-e89b-12d3-a456-426614174000",), ("123",)),
    SchemaCase("format email", {"type": "string", "format": "email"}, ("ada@example.org",), ("ada", "a b@c d")),
    SchemaCase("format ipv4", {"type": "string", "format": "ipv4"}, ("10.0.0.1",), ("10.0.0", "300.1.1.1")),
    SchemaCase("format, unknown", {"type": "string", "format": "greenhouse-plot"}, (), ()),
    SchemaCase("integer bounds", {"type": "integer", "minimum": -3, "maximum": 120}, (-3, 0, 99, 120), (-4, 121, 1000)),
    SchemaCase("number bounds", {"type": "number", "minimum": 0.5, "exclusiveMaximum": 2}, (0.5, 1.99), (0.49, 2, 2.0, -1)),
    SchemaCase("multipleOf", {"type": "integer", "multipleOf": 5, "minimum": 0}, (0, 15), (3, 16)),
    SchemaCase("propertyNames", {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": WHOLE},
               ({"a": 1},), ({"A": 1},)),
    SchemaCase("dependentRequired", {**an_object({"a": WHOLE, "b": WHOLE}), "dependentRequired": {"a": ["b"]}},
               ({"b": 1}, {"a": 1, "b": 1}), ({"a": 1},)),
    SchemaCase("tool call", CALL, ({"tool": "read", "arguments": {"path": "a.txt", "first": 3}},
                                   {"tool": "order", "arguments": {"fuel": 2.5, "day": "2026-12-01"}},
                                   {"tool": "finish", "arguments": {}}),
               ({"tool": "read", "arguments": {}}, {"tool": "none", "arguments": {}},
                {"tool": "order", "arguments": {"fuel": 0, "day": "2026-12-01"}}, {"tool": "finish", "arguments": {"x": 1}})),
]  # fmt: skip


class TextCase(NamedTuple):
    """What a library should make of a regular expression or a grammar."""

    name: str
    source: str
    valid: tuple[str, ...]
    invalid: tuple[str, ...]


REGEXES = [
    TextCase("classes and counts", "[a-z]{2,4}-[0-9]+", ("ab-1", "abcd-99"), ("a-1", "abcde-1", "ab-")),
    TextCase("alternatives", "(wait|heat (one|two)|stop)", ("wait", "heat two"), ("heat", "heat three")),
    TextCase("Unicode", "[äöü]+(雪|❄)?", ("ä", "öü雪", "ü❄"), ("a", "雪")),
    TextCase("\\d, \\w, \\s", "\\w+\\s\\d+", ("abc 12",), ("abc12", "12")),
    TextCase("anchors", "^ab?$", ("a", "ab"), ("b", "abb")),
    TextCase("look-ahead", "(?=a)[ab]{2}", ("ab", "aa"), ("ba", "bb")),
    TextCase("back-reference", "(a|b)-\\1", ("a-a", "b-b"), ("a-b",)),
]

LARK = TextCase(
    "arithmetic",
    """
start: sum
sum: product (("+" | "-") product)*
product: atom (("*" | "/") atom)*
atom: NUMBER | "(" sum ")"
NUMBER: /[0-9]+/
""",
    ("1", "1+2*3", "(1+2)*(3-4)", "((7))"),
    ("1+", "(1", "1 2", ""),
)
EBNF = LARK._replace(
    source="""
root ::= sum
sum ::= product (("+" | "-") product)*
product ::= atom (("*" | "/") atom)*
atom ::= [0-9]+ | "(" sum ")"
"""
)
