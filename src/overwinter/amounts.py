"""Amounts in words and back: budgets ("tokens=200k,usd=2.50,wall=2h,calls=500"), durations, sizes, ages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from overwinter.errors import UsageError

RESOURCE_OF = {"tokens": "tokens", "usd": "micro_usd", "wall": "wall_ms", "calls": "tool_calls"}
"""The words of the command line and the journal's resources, which are whole numbers."""
WORD_OF = {resource: word for word, resource in RESOURCE_OF.items()}

_EXAMPLE = "write for example tokens=200k,usd=2.50,wall=2h,calls=500"
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([a-z]*)", re.ASCII)
_COUNT_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_SECONDS = {
    unit: Decimal(seconds)
    for unit, seconds in {
        "ms": "0.001",
        "s": "1",
        "m": "60",
        "min": "60",
        "h": "3600",
        "d": "86400",
        "w": "604800",
    }.items()
}
_MAX = 1 << 53


def parse_budget(text: str) -> dict[str, int]:
    """Amounts by resource of the journal. Raises UsageError that names the part at fault."""
    amounts: dict[str, int] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        word, equals, amount = (each.strip().lower() for each in part.partition("="))
        if not equals or word not in RESOURCE_OF:
            raise UsageError(f"budget {part!r}: the resource is one of {', '.join(RESOURCE_OF)}", _EXAMPLE)
        if RESOURCE_OF[word] in amounts:
            raise UsageError(f"budget {text!r} names {word} twice", _EXAMPLE)
        amounts[RESOURCE_OF[word]] = _amount(word, amount, part)
    return amounts


def parse_duration_s(text: str) -> float:
    """Seconds of "90s", "15m", "2h", "1d", "1w"; a bare number is seconds."""
    found = _NUMBER.fullmatch(text.strip().lower())
    unit = None if found is None else _SECONDS.get(found[2] or "s")
    if found is None or unit is None:
        raise UsageError(f"{text!r} is not a duration", "write for example 90s, 15m, 2h or 30d")
    return float(Decimal(found[1]) * unit)


def _amount(word: str, text: str, part: str) -> int:
    if word == "wall":
        try:
            value = Decimal(str(parse_duration_s(text))) * 1000
        except UsageError as error:
            raise UsageError(f"budget {part!r}: {error.problem}", error.next_step) from error
    else:
        found = _NUMBER.fullmatch(text.removeprefix("$") if word == "usd" else text)
        unit = None if found is None else _COUNT_UNITS.get(found[2])
        if found is None or unit is None or (word == "usd" and found[2]):
            raise UsageError(f"budget {part!r}: {text!r} is not an amount of {word}", _EXAMPLE)
        value = Decimal(found[1]) * unit * (1_000_000 if word == "usd" else 1)
    if value != int(value) or not 0 < value < _MAX:
        raise UsageError(f"budget {part!r} is not a whole positive amount of {word}", _EXAMPLE)
    return int(value)


def amount_text(resource: str, amount: int) -> str:
    """An amount of one resource as people say it: 12.3k tokens, $0.52, 1 h 20 min, 31 calls."""
    match resource:
        case "micro_usd":
            return f"${amount / 1e6:.2f}" if amount >= 10_000 or not amount else f"${amount / 1e6:.6f}".rstrip("0")
        case "wall_ms":
            return duration_text(amount / 1000)
        case "tool_calls":
            return f"{count_text(amount)} calls"
        case _:
            return f"{count_text(amount)} {resource}"


def budget_flag(amounts: Mapping[str, int]) -> str:
    """The amounts as `--budget` takes them."""
    units = {"micro_usd": 1_000_000, "wall_ms": 1_000}
    return ",".join(
        f"{WORD_OF[resource]}={Decimal(amount) / units.get(resource, 1):f}" for resource, amount in amounts.items()
    )


def count_text(number: int) -> str:
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if number >= size:
            return f"{number / (1000 if unit == 'k' else size):.1f}{unit}"
    return f"{number}"


def duration_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def bytes_text(number: int) -> str:
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"
