"""Constraints are compiled once while they are in use, and never mistaken for one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from overwinter.engine import compiling
from overwinter.engine.compiling import Constraints
from overwinter.errors import UsageError
from overwinter.model import TextFormat


@pytest.fixture
def constraints(tiny_model: Path) -> Constraints:
    text = TextFormat.load(tiny_model)
    return Constraints(text, vocab_size=text.vocab_size)


def test_what_is_in_use_is_kept(constraints: Constraints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MOST_KEPT", 2)
    first = constraints.choices(["wait", "heat off"])
    assert constraints.choices(["wait", "heat off"]) is first
    for other in ("open vents", "heat to 4", "heat to 12"):
        constraints.choices([other])
    again = constraints.choices(["wait", "heat off"])
    assert again is not first, "what has not been asked for lately is let go"


def test_the_order_of_properties_is_part_of_a_schema(constraints: Constraints) -> None:
    parts = {"a": {"type": "null"}, "b": {"type": "null"}}
    there = constraints.json_schema({"type": "object", "properties": parts, "required": ["a", "b"]})
    back = constraints.json_schema(
        {"type": "object", "properties": dict(reversed(parts.items())), "required": ["a", "b"]}
    )
    assert there is not back, "properties are written in the schema's own order"


def test_kinds_do_not_meet(constraints: Constraints) -> None:
    made = [constraints.choices(["wait"]), constraints.choices(["wait"], lead=" "), constraints.regex("wait")]
    made += [constraints.json_schema({"const": "wait"})]
    assert len({id(each) for each in made}) == 4


def test_what_is_no_json_is_refused(constraints: Constraints) -> None:
    with pytest.raises(UsageError, match="not plain JSON data"):
        constraints.json_schema({"enum": {1, 2}})
