"""Rows and arguments: what a row of the database means, and what may be written into one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from overwinter.errors import StoreError, UsageError
from overwinter.journal.canonical import parse
from overwinter.journal.store import RESOURCES, RunInfo

Row = Sequence[Any]

_RUN_FIELDS = tuple(RunInfo.__dataclass_fields__)
RUN_COLUMNS = ", ".join(_RUN_FIELDS)
_INTEGERS = tuple(i for i, name in enumerate(_RUN_FIELDS) if name.endswith(("_seq", "_us", "fence")))
_BUDGETS = _RUN_FIELDS.index("budgets")

MAX_AMOUNT = 10**15
"""Largest amount of a resource in one movement: thousands of them still add up exactly in 64 bits."""

COMPRESS_FROM_BYTES = 256


def run_info(row: Row) -> RunInfo:
    """The row of a run. Raises StoreError when the database gives back something that was never written there."""
    values = list(row)
    try:
        values[_BUDGETS] = tuple(parse(values[_BUDGETS]))
    except (ValueError, TypeError) as error:
        raise _damaged(row) from error
    if not all(type(values[i]) is int for i in _INTEGERS) or type(values[0]) is not str:
        raise _damaged(row)
    return RunInfo(**dict(zip(_RUN_FIELDS, values, strict=True)))


def _damaged(row: Row) -> StoreError:
    return StoreError(f"the row of run {row[0]!r} is damaged", "restore the database from a backup")


def check_name(run: str) -> None:
    if not run or len(run) > 100 or any(not (c.isalnum() or c in "-_.") for c in run):
        raise UsageError(f"run name {run!r} is not allowed", "use 1 to 100 letters, digits, '-', '_' or '.'")


def check_amount(resource: str, amount: int) -> None:
    if resource not in RESOURCES:
        raise UsageError(f"unknown resource {resource!r}", f"use one of: {', '.join(RESOURCES)}")
    if type(amount) is not int or not 0 <= amount <= MAX_AMOUNT:
        raise UsageError(f"{resource}={amount!r} is not a whole number from 0 to {MAX_AMOUNT}", "give a whole number")


def as_bytes(value: Any) -> bytes:
    """The bytes of a stored value; empty if damage has made something else of them, which no hash will fit."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


def compress(data: bytes) -> tuple[str, bytes]:
    """(codec, stored bytes): compressed where that makes it smaller."""
    packed = zlib.compress(data, 6) if len(data) >= COMPRESS_FROM_BYTES else data
    return ("zlib", packed) if len(packed) < len(data) else ("raw", data)


def decompress(codec: str, stored: bytes) -> bytes | None:
    """None when the bytes cannot be what `compress` returned."""
    if codec == "raw":
        return stored
    try:
        return zlib.decompress(stored)
    except zlib.error:
        return None


def readable(owner: str) -> str:
    parts = owner.split("/")
    return f"process {parts[2]} on {parts[0]}" if len(parts) == 4 else owner
