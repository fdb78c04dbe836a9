"""Times on the command line: read from dates, ages and words, printed as date and age, in the time zone of the system."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from overwinter.errors import UsageError

_MONTH = re.compile(r"(\d{4})-(\d{2})")
_YEAR = re.compile(r"\d{4}")
_HOW = "write for example 2031-04-07, 2031-04, 2031-04-07T12:30, 30d (ago), or 'last week'"


def parse_time(text: str, now_us: int, *, end: bool = False) -> int:
    """Microseconds since 1970 of a time in words.

    Args:
        end: of a day, month or year that is named, the moment behind it instead of its first.

    Raises:
        UsageError: it is none.
    """
    stripped = text.strip()
    first, last = _named(stripped) or _ago(stripped, now_us) or _in_words(stripped, now_us) or (None, None)
    if first is None or last is None:
        raise UsageError(f"{text!r} is no time", _HOW)
    return last if end else first


def _named(text: str) -> tuple[int, int] | None:
    try:
        if _YEAR.fullmatch(text):
            return _us(datetime(int(text), 1, 1)), _us(datetime(int(text) + 1, 1, 1))
        if month := _MONTH.fullmatch(text):
            year, number = int(month[1]), int(month[2])
            return _us(datetime(year, number, 1)), _us(datetime(year + number // 12, number % 12 + 1, 1))
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    whole_day = re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", text) is not None
    return _us(moment), _us(moment + timedelta(days=1)) if whole_day else _us(moment)


def _ago(text: str, now_us: int) -> tuple[int, int] | None:
    from overwinter.amounts import parse_duration_s

    try:
        at = now_us - round(parse_duration_s(text.removesuffix("ago").strip()) * 1e6)
    except UsageError:
        return None
    return at, at


def _in_words(text: str, now_us: int) -> tuple[int, int] | None:
    from overwinter.memory.dates import find_dates

    if text.casefold() == "now":
        return now_us, now_us
    for found in find_dates(text, now_us):
        if found.since_us is not None and found.until_us is not None:
            return found.since_us, found.until_us
    return None


def _us(moment: datetime) -> int:
    # A time without zone is one of this system's.
    return round(moment.astimezone(UTC).timestamp()) * 1_000_000 + moment.microsecond


def date_text(time_us: int) -> str:
    """Date and time to the minute; the number itself where no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(time_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return "always" if time_us < 0 else f"{time_us} µs"


def time_text(time_us: int, now_us: int) -> str:
    """Date and age in words: "2031-04-07 12:30, 3 years ago"."""
    return f"{date_text(time_us)}, {age_text(now_us - time_us)}"


def age_text(age_us: int) -> str:
    """An age in its largest unit: "3 years ago", "in 5 days", "just now"."""
    seconds = abs(age_us) // 1_000_000
    for size, name in (
        (31_556_952, "year"),
        (2_629_746, "month"),
        (604_800, "week"),
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
    ):
        count = seconds // size
        if count:
            words = f"{count} {name}{'s' if count > 1 else ''}"
            return f"{words} ago" if age_us > 0 else f"in {words}"
    return "just now"


def range_text(first_us: int, last_us: int | None) -> str:
    """A half-open range of time, open where it has no end."""
    return f"{date_text(first_us)} – {'now' if last_us is None else date_text(last_us)}"
