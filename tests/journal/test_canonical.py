"""Canonical JSON is part of the contract: hashes, keys and the chain rest on it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.errors import UsageError
from overwinter.journal.canonical import canonical, digest, parse, parse_object

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


@given(VALUES)
def test_round_trip(value: Any) -> None:
    data = canonical(value)
    assert parse(data) == value
    assert canonical(parse(data)) == data


@given(st.dictionaries(TEXT, VALUES, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], rng: Any) -> None:
    items = list(value.items())
    rng.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@given(VALUES, VALUES)
def test_different_values_have_different_bytes(first: Any, second: Any) -> None:
    same = canonical(first) == canonical(second)
    assert same == (repr(_plain(first)) == repr(_plain(second)))


def _plain(value: Any) -> Any:
    """The value with its dictionaries in one order; `repr` then tells 1 from 1.0 and from True, as JSON does."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def test_the_bytes_are_these() -> None:
    value = {"b": [1, -0.0, 1e16, 0.1], "a": 'é\n\u2028"', "": None, "\U00010000": True, "\uffff": (1,)}
    text = '{"":null,"a":"é\\n\u2028\\"","b":[1,-0.0,1e+16,0.1],"\uffff":[1],"\U00010000":true}'
    assert canonical(value) == text.encode()
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.inf],
        {"a": -math.inf},
        {1: "a"},
        [{"a": {None: 1}}],
        {True: 1},
        {1, 2},
        b"bytes",
        "\ud800",
        {"\udfff": 1},
        object(),
        10**5000,
        NESTED,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(UsageError):
        canonical(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"{} {}", b'{"a":1}x', "[1,]"])
def test_what_cannot_be_parsed_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's and UTF-8's own subclasses, all of them
        parse(data)


@pytest.mark.parametrize("value", [[], 1, "x", None])
def test_an_object_is_asked_for(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a JSON object"):
        parse_object(json.dumps(value))
