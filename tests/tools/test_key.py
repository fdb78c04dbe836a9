"""Idempotency keys: one spelling per value, the same in every process, forever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import overwinter.tools
from overwinter.errors import ToolError
from overwinter.tools import idempotency_key
from overwinter.tools.effect import canonical_json

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
objects = st.dictionaries(st.text(), values, max_size=5)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(each) for key, each in reversed(value.items())}
    return [reordered(each) for each in value] if isinstance(value, list) else value


@settings(max_examples=50)
@given(objects)
def test_the_order_of_keys_and_a_trip_through_json_do_not_matter(arguments: dict[str, Any]) -> None:
    key = idempotency_key("r", 1, "t", arguments)
    assert idempotency_key("r", 1, "t", reordered(arguments)) == key
    assert idempotency_key("r", 1, "t", json.loads(json.dumps(arguments))) == key


@settings(max_examples=50)
@given(objects, objects)
def test_different_arguments_have_different_canonical_json(one: dict[str, Any], other: dict[str, Any]) -> None:
    # repr tells 1 from 1.0 and True, as JSON does and == does not.
    same = repr(json.loads(json.dumps(one, sort_keys=True))) == repr(json.loads(json.dumps(other, sort_keys=True)))
    assert (canonical_json(one) == canonical_json(other)) is same


def test_each_of_the_four_parts_counts() -> None:
    keys = {
        idempotency_key("r", 1, "t", {"a": 1}),
        idempotency_key("s", 1, "t", {"a": 1}),
        idempotency_key("r", 2, "t", {"a": 1}),
        idempotency_key("r", 1, "u", {"a": 1}),
        idempotency_key("r", 1, "t", {"a": 2}),
        idempotency_key("r", 1, "t", {"a": 1.0}),
    }
    assert len(keys) == 6


def test_the_recipe_is_frozen() -> None:
    """If this fails, runs begun with an older version would repeat their effects when resumed."""
    key = idempotency_key("winter-7", 42, "order_fuel", {"litres": 80, "note": "naïve ✓", "rate": 0.1})
    assert key == "3f578a28de8842612d752b678eb69e88962d0fc9c990cb89913a2f8b911075b3"


def test_another_process_with_another_hash_seed_finds_the_same_key() -> None:
    program = (
        "from overwinter.tools import idempotency_key as k; print(k('r', 1, 't', {'b': [1, {'x': 'é'}], 'a': 1e-7}))"
    )
    source = str(Path(overwinter.tools.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": "12345"}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == idempotency_key("r", 1, "t", {"a": 1e-7, "b": [1, {"x": "é"}]})


@pytest.mark.parametrize(
    "value", [{1: 2}, {"a": (1, 2)}, {"a": {1}}, {"a": float("nan")}, {"a": b"x"}, {"a": object()}]
)
def test_what_is_not_plain_json_has_no_key(value: Any) -> None:
    with pytest.raises(ToolError):
        idempotency_key("r", 1, "t", value)
