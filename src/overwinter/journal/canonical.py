"""Canonical JSON: one value, one byte string. Hashes, idempotency keys and the chain rest on it, so it is part of the contract.

Keys are strings in code-point order, no white space, UTF-8 without escapes for printable text, numbers as Python's `repr`
writes them (shortest form that round-trips), no NaN and no infinities. It differs from RFC 8785 in the spelling of floats (1.0
stays 1.0) and in the order of keys with characters beyond U+FFFF.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

from overwinter.errors import UsageError

_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> bytes:
    """The canonical bytes of a JSON value (dict with string keys, list, tuple, str, int, float, bool, None).

    Raises:
        UsageError: the value is not JSON (NaN, a set, a non-string key, a lone surrogate).
    """
    try:
        _refuse_coerced_keys(value)
        return _ENCODER.encode(value).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"value cannot be written as JSON: {error}", "pass only JSON values, with finite numbers"
        ) from error


def parse(data: bytes | str) -> Any:
    """The value of canonical JSON. ValueError when the bytes are not JSON; callers know which entry they were reading."""
    # Straight to the decoder: json.loads would guess among five encodings first, then look for white space at both ends.
    text = data if isinstance(data, str) else data.decode("utf-8")
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError(f"extra data at character {end}")
    return value


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Like `parse`, for text that must hold an object."""
    value = parse(data)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return cast(dict[str, Any], value)


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hex, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def _refuse_coerced_keys(value: Any) -> None:
    # json turns {1: …} into {"1": …} without a word; reading back would then differ from what was written.
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise UsageError(f"JSON key {key!r} is not a string", "use string keys")
            if isinstance(item, dict | list | tuple):
                _refuse_coerced_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, dict | list | tuple):
                _refuse_coerced_keys(item)
