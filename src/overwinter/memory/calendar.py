"""The calendar of `dates`: moments as microseconds since 1970 UTC, and the half-open ranges of days, weeks, months and years."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def to_us(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def from_us(us: int) -> datetime:
    """Raises OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=us)


Range = tuple[datetime, datetime]


NAMES = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_ONE_TO_FIFTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
NUMBERS = {word: number for number, word in enumerate(_ONE_TO_FIFTEEN.split(" "), 1)} | {
    "a": 1,
    "an": 1,
    "couple": 2,
    "sixteen": 16,
    "eighteen": 18,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "ninety": 90,
    "hundred": 100,
}
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4}
PARTS = {"morning": (5, 12), "afternoon": (12, 18), "evening": (18, 24), "night": (18, 30)}


def day_of(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(year: int, month: int, months: int = 1) -> Range:
    """Whole months from the first of `month`, which may lie outside 1..12."""

    def first(number: int) -> datetime:
        return datetime(year + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=UTC)

    return first(month), first(month + months)


def year_of(year: int) -> Range:
    return month_of(year, 1, 12)


def week_of(moment: datetime) -> Range:
    monday = day_of(moment) - moment.weekday() * DAY
    return monday, monday + WEEK


def date_of(year: int, month: int, day: int) -> Range:
    moment = datetime(year, month, day, tzinfo=UTC)
    return moment, moment + DAY


def month_number(name: str) -> int:
    return next(number for number, full in enumerate(NAMES, 1) if full.startswith(name.casefold().rstrip(".")[:3]))


def number_of(word: str) -> int:
    return int(word) if word.isdigit() else NUMBERS[word.casefold()]


def around(now: datetime, unit: str, ahead: int) -> Range:
    """The calendar unit that lies `ahead` units from now (negative: back)."""
    if unit in {"minute", "hour"}:
        step = timedelta(minutes=1) if unit == "minute" else timedelta(hours=1)
        start = now.replace(second=0, microsecond=0, minute=0 if unit == "hour" else now.minute) + ahead * step
        return start, start + step
    if unit in {"day", "night"}:
        start = day_of(now) + ahead * DAY
        return (start, start + DAY) if unit == "day" else (start + timedelta(hours=18), start + timedelta(hours=30))
    if unit == "week":
        return week_of(now + ahead * WEEK)
    if unit == "month":
        return month_of(now.year, now.month + ahead)
    if unit == "quarter":
        return month_of(now.year, (now.month - 1) // 3 * 3 + 1 + 3 * ahead, 3)
    if unit == "decade":
        return month_of(now.year // 10 * 10 + 10 * ahead, 1, 120)
    return year_of(now.year + ahead)


def shifted(now: datetime, unit: str, ahead: int) -> datetime:
    """The moment `ahead` units from now; months and years keep the day where they can."""
    if unit in {"minute", "hour", "day", "night", "week"}:
        return now + ahead * timedelta(**{"days" if unit == "night" else unit + "s": 1})
    months = ahead * {"month": 1, "quarter": 3, "year": 12, "decade": 120}[unit]
    first, after = month_of(now.year, now.month + months)
    return min(first + (now.day - 1) * DAY, after - DAY) + (now - day_of(now))


def nearest(of_year: Callable[[int], Range], now: datetime, ahead: bool) -> Range:
    """The occurrence that has begun, or the one that has not ended, for a date that names no year."""
    for year in (now.year + 1, now.year, now.year - 1, now.year - 4, now.year - 8)[:: 1 if not ahead else -1]:
        try:
            found = of_year(year)
        except ValueError:  # 29 February
            continue
        if (found[1] > now) if ahead else (found[0] <= now):
            return found
    raise ValueError("no such date")


def third_of(range_: Range, edge: str) -> Range:
    """Early, mid and late are thirds."""
    since, until = range_
    third = (until - since) / 3
    if edge in {"early", "beginning", "start"}:
        return since, since + third
    if edge in {"late", "end"}:
        return until - third, until
    return (since + third, until - third) if edge in {"mid", "middle"} else range_
