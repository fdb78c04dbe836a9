"""Dates in a text, resolved against the moment it was said. Rules only: the same text and moment give the same ranges.

Every range is half-open, in microseconds since 1970, UTC. "12 March 2031" is that day, "March 2031" that month, "three weeks ago" the
calendar week that lay three weeks back, "last Friday" the last one before today. `since_us` None: open to the past ("until March",
"by Friday"), `until_us` None: open to the future ("since 2031"). "until B" and "by B" include B.

What is ambiguous is left out, not guessed: 03/04/2031 (which is the month?), "may" as a verb, a number that could be a year and stands
alone. Two conventions are needed all the same: a date without a year or a bare weekday lies in the past, unless the words before it in
its sentence point ahead ("will", "due", "by"); seasons are the northern meteorological ones, and "winter 2031" begins in December 2031.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from overwinter.memory.calendar import (
    DAY,
    DAYS,
    NUMBERS,
    ORDINALS,
    PARTS,
    SEASONS,
    WEEK,
    Range,
    around,
    date_of,
    day_of,
    from_us,
    month_number,
    month_of,
    nearest,
    number_of,
    shifted,
    third_of,
    to_us,
    week_of,
    year_of,
)
from overwinter.memory.literals import Gate, bits_of, fold


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeRange:
    """A stretch of time that a text names.

    Attributes:
        since_us, until_us: half-open; None where it is open ("since March": until None).
        first, last: half-open span of the words in the text.
        words: the words, with the "since", "until", "by" that belong to the meaning, without "in" and "on".
    """

    since_us: int | None
    until_us: int | None
    first: int
    last: int
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Atom:
    """One date, before the words around it are looked at.

    Attributes:
        of_year: the same date in another year, where the text names none.
        weak: a date only together with another ("to 2031").
    """

    since: datetime
    until: datetime
    first: int
    last: int
    of_year: Callable[[int], Range] | None = None
    weak: bool = False


_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_WEEKDAY = r"(?P<weekday>monday|tuesday|wednesday|thursday|friday|saturday|sunday)"
_YEAR = r"(?P<year>(?:19|20|21)\d\d)(?![\d%])"
_DAY = r"(?P<day>3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_SEASON = r"(?P<season>spring|summer|autumn|fall|winter)"
_UNIT = r"(?P<unit>minute|hour|day|night|week|month|quarter|year|decade)s?"
_NUMBER = rf"(?P<number>\d{{1,4}}|{'|'.join(sorted(NUMBERS, key=len, reverse=True))}|few|several)(?:\s+of)?"
_PART = r"(?P<part>morning|afternoon|evening|night)"
_OPTIONAL_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+(?:the\s+)?)?"
_COUNTED = (
    r"(?!\s*(?:%|[€$£]|(?:items?|units?|cases?|euros?|dollars?|times|people|tokens?|steps?|days|hours|kg|km|words"
    r"|rows|entries)\b))"
)

_AHEAD = re.compile(
    r"\b(?:will|shall|won't|going to|due|by|deadline|tomorrow|plan(?:s|ning|ned)? (?:to|on|for)|expires?|promised?"
    r"|scheduled|intends? to"
    r"|renews?|ends)\b|'ll\b",
    re.IGNORECASE,
)
_BEHIND = re.compile(r"\b(?:was|were|had|did|used to|\w{3,}ed|lived|went|ran|kept|held|stood)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]\s|\n")


class _Reader:
    """What one text says, against one moment."""

    def __init__(self, text: str, now: datetime, may_match: int) -> None:
        self.text, self.now, self.may_match = text, now, may_match

    def ahead(self, first: int) -> bool:
        """Do the words in front point to the future?"""
        ends = [match.end() for match in _SENTENCE_END.finditer(self.text, 0, first)]
        before = self.text[ends[-1] if ends else 0 : first]
        if _AHEAD.search(before):
            return True
        return bool(re.search(r"\b(?:until|till)\s+$", before, re.IGNORECASE)) and not _BEHIND.search(before)

    def yearless(self, of_year: Callable[[int], Range], match: re.Match[str]) -> Range:
        return nearest(of_year, self.now, self.ahead(match.start("core" if "core" in match.groupdict() else 0)))

    # One reader per pattern: the range of a match, None when it is not a date after all.

    def moment(self, match: re.Match[str]) -> Range:
        zone = (match["zone"] or "Z").upper().replace("Z", "+00:00")
        start = datetime.fromisoformat(f"{match['date']}T{match['clock']}{zone}").astimezone(UTC)
        return start, start + (timedelta(seconds=1) if match["clock"].count(":") == 2 else timedelta(minutes=1))

    def numeric(self, match: re.Match[str]) -> Range | None:
        if match.groupdict().get("a") is None:
            return date_of(int(match["year"]), int(match["m"]), int(match["d"]))
        a, b, year = int(match["a"]), int(match["b"]), int(match["year"])
        if match["dot"] == ".":
            return date_of(year, b, a)
        if a > 12:
            return date_of(year, b, a)
        return date_of(year, a, b) if b > 12 or a == b else None

    def iso_week(self, match: re.Match[str]) -> Range:
        return week_of(datetime.fromisocalendar(int(match["year"]), int(match["number"]), 1).replace(tzinfo=UTC))

    def quarter(self, match: re.Match[str]) -> Range:
        number = ORDINALS.get((match["number"]).casefold()) or int(match["number"])
        if number not in range(1, 5):
            raise ValueError("no such quarter")
        if match["year"]:
            return month_of(int(match["year"]), 3 * number - 2, 3)
        return self.yearless(lambda year: month_of(year, 3 * number - 2, 3), match)

    def half(self, match: re.Match[str]) -> Range:
        return month_of(int(match["year"]), 6 * int(match["number"]) - 5, 6)

    def days(self, match: re.Match[str]) -> Range:
        month, year = month_number(match["month"]), int(match["year"])
        since, until = date_of(year, month, int(match["day"]))[0], date_of(year, month, int(match["to"]))[1]
        if until <= since:
            raise ValueError("the days run backwards")
        return since, until

    def day(self, match: re.Match[str]) -> Range:
        month, day = month_number(match["month"]), int(match["day"])
        if match.groupdict().get("year"):
            return date_of(int(match["year"]), month, day)
        return self.yearless(lambda year: date_of(year, month, day), match)

    def month(self, match: re.Match[str]) -> Range:
        number = month_number(match["month"])
        which = (match.groupdict().get("which") or "").casefold()
        if match.groupdict().get("year"):
            return month_of(int(match["year"]), number)
        if which == "this":
            return month_of(self.now.year, number)
        if which == "next":
            return month_of(self.now.year + (number <= self.now.month), number)
        if which == "last":
            return month_of(self.now.year - (number >= self.now.month), number)
        return self.yearless(lambda year: month_of(year, number), match)

    def season(self, match: re.Match[str]) -> Range:
        number, which = SEASONS[match["season"].casefold()], (match["which"] or "").casefold()
        if match["year"]:
            return month_of(int(match["year"]), number, 3)
        if which == "next":
            return nearest(lambda year: month_of(year, number, 3), month_of(self.now.year, self.now.month + 3)[0], True)
        if which == "last":
            return nearest(
                lambda year: month_of(year - (number == 12), number, 3),
                month_of(self.now.year, self.now.month - 3)[0],
                False,
            )
        if which == "this":
            return month_of(self.now.year - (number == 12 and self.now.month < 3), number, 3)
        return self.yearless(lambda year: month_of(year, number, 3), match)

    def year(self, match: re.Match[str]) -> Range:
        return year_of(int(match["year"]))

    def decade(self, match: re.Match[str]) -> Range:
        return month_of(int(match["year"]), 1, 120)

    def ago(self, match: re.Match[str]) -> Range:
        return self.away(match, -1)

    def later(self, match: re.Match[str]) -> Range:
        return self.away(match, 1)

    def away(self, match: re.Match[str], sign: int) -> Range:
        number, unit = match["number"].casefold(), match["unit"].casefold()
        if number in {"few", "several"}:
            near, far = sorted((around(self.now, unit, 2 * sign), around(self.now, unit, 5 * sign)))
            return near[0], far[1]
        return around(self.now, unit, sign * number_of(number))

    def stretch(self, match: re.Match[str]) -> Range:
        """The last (next, coming) n units, up to now (from now)."""
        number, unit = (match["number"] or "one").casefold(), match["unit"].casefold()
        count = 5 if number in {"few", "several"} else number_of(number)
        back = match["which"].casefold() in {"last", "past", "previous", "preceding"}
        other = shifted(self.now, unit, -count if back else count)
        return (other, self.now) if back else (self.now, other)

    def unit(self, match: re.Match[str]) -> Range:
        which = {"last": -1, "previous": -1, "this": 0, "current": 0, "next": 1, "coming": 1}[match["which"].casefold()]
        unit = match["unit"].casefold()
        if unit == "weekend":
            monday = week_of(self.now)[0] + which * WEEK
            return monday + 5 * DAY, monday + WEEK
        return around(self.now, unit, which)

    def named_day(self, match: re.Match[str]) -> Range:
        words = " ".join(match["name"].casefold().split())
        if words in {"last night", "tonight"}:
            return around(self.now, "night", 0 if words == "tonight" else -1)
        shift = {
            "the day before yesterday": -2,
            "yesterday": -1,
            "today": 0,
            "this": 0,
            "tomorrow": 1,
            "the day after tomorrow": 2,
        }[words]
        start = day_of(self.now) + shift * DAY
        if not match["part"]:
            if words == "this":
                raise ValueError("no part of a day")
            return start, start + DAY
        since, until = PARTS[match["part"].casefold()]
        return start + timedelta(hours=since), start + timedelta(hours=until)

    def weekday(self, match: re.Match[str]) -> Range:
        number, which = DAYS.index(match["weekday"].casefold()), (match["which"] or "").casefold()
        today = day_of(self.now)
        if which == "this":
            start = week_of(self.now)[0] + number * DAY
        elif which in {"next", "coming"} or (not which and self.ahead(match.start())):
            start = today + ((number - today.weekday() - (which != "")) % 7 + (which != "")) * DAY
        else:
            start = today - ((today.weekday() - number - (which != "")) % 7 + (which != "")) * DAY
        part = match["part"]
        since, until = PARTS[part.casefold()] if part else (0, 24)
        return start + timedelta(hours=since), start + timedelta(hours=until)

    def atoms(self) -> list[_Atom]:
        """The dates of the text, leftmost and longest first, without overlap."""
        found = [
            atom
            for pattern, read in map(_PATTERNS.__getitem__, bits_of(self.may_match))
            for match in pattern.finditer(self.text)
            for atom in self._atom(match, read)
        ]
        found.sort(key=lambda atom: (atom.first, -atom.last))
        kept: list[_Atom] = []
        for atom in found:
            if not kept or atom.first >= kept[-1].last:
                kept.append(atom)
        return kept

    def _atom(self, match: re.Match[str], read: Callable[[_Reader, re.Match[str]], Range | None]) -> Iterator[_Atom]:
        groups = match.groupdict()
        name = match["month"] if groups.get("month") else ""
        # In small letters "may" and "march" are verbs, unless a day, a year or a preposition says otherwise.
        if (
            name in {"may", "march", "mar", "dec", "sep"}
            and not (groups.get("year") or groups.get("before"))
            and (not groups.get("day") or match.start("day") > match.start("month"))
        ):
            return
        try:
            range_ = read(self, match)
        except (ValueError, OverflowError):
            return
        if range_ is None:
            return
        since, until = third_of(range_, (groups.get("edge") or "").casefold().partition(" ")[0])
        of_year = None
        if name and not groups.get("year") and not groups.get("which"):
            number, day = month_number(name), groups.get("day")
            of_year = (lambda year: date_of(year, number, int(day))) if day else (lambda year: month_of(year, number))
        first, last = match.span("core") if "core" in groups else match.span()
        weak = (groups.get("before") or "").casefold().strip() in {"and", "to", "-", "–", "/"} and read is _Reader.year
        yield _Atom(since=since, until=until, first=first, last=last, of_year=of_year, weak=weak)


_EDGE = r"(?:(?:the\s+)?(?P<edge>early|mid|late|beginning|start|middle|end)(?:[\s-]+(?:of\s+|in\s+)?))?"
_BEFORE_MONTH = (
    r"(?P<before>\b(?:in|since|until|till|by|during|of|before|after|from|to|between|and|through|last|next|this"
    r"|as of|every)\s+)"
)
_NO_NAME = r"(?!(?:(?<=\b(?:of|by|to) \w\w\w)|(?<=\b(?:and|for) \w\w\w)|(?<=\bfrom \w\w\w))(?-i:\s+[A-Z][a-z]))"
"""Jun Sato is a person: "the shift of Jun Sato"."""

_BEFORE_YEAR = (
    r"(?P<before>\b(?:in|since|until|till|by|during|before|after|from|between|through|year|as of|and"
    r"|to)\s+(?:the\s+year\s+)?|\s[-–]\s)"
)


def _patterns() -> list[tuple[re.Pattern[str], Callable[[_Reader, re.Match[str]], Range | None]]]:
    iso = r"(?:19|20|21)\d\d-\d\d-\d\d"
    rows: list[tuple[str, Callable[[_Reader, re.Match[str]], Range | None]]] = [
        (
            rf"(?<![\w-])(?P<date>{iso})[T ](?P<clock>\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)?\b",
            _Reader.moment,
        ),
        (rf"(?<![\w.-]){_YEAR}(?P<sep>[-/])(?P<m>\d\d)(?P=sep)(?P<d>\d\d)(?![\w-])", _Reader.numeric),
        (rf"(?<![\w./-])(?P<a>\d\d?)(?P<dot>[./])(?P<b>\d\d?)(?P=dot){_YEAR}(?![\w/-])", _Reader.numeric),
        (rf"\b{_YEAR}-W(?P<number>\d\d)\b", _Reader.iso_week),
        (rf"\bweek\s+(?P<number>\d\d?)\s+(?:of|in)\s+{_YEAR}\b", _Reader.iso_week),
        (rf"\bQ(?P<number>[1-4])(?:[\s/,]+(?:of\s+)?{_YEAR})?(?!\w)", _Reader.quarter),
        (rf"\b{_YEAR}[\s-]?Q(?P<number>[1-4])\b", _Reader.quarter),
        (
            rf"\b(?:the\s+)?(?P<number>first|second|third|fourth|1st|2nd|3rd|4th)\s+quarter(?:\s+of\s+{_YEAR})?\b",
            _Reader.quarter,
        ),
        (rf"\bH(?P<number>[12])\s+{_YEAR}\b", _Reader.half),
        (rf"\b{_DAY}\s*[-–]\s*(?P<to>\d\d?)(?:st|nd|rd|th)?\s+{_MONTH},?\s+{_YEAR}", _Reader.days),
        (rf"\b{_MONTH}\s+{_DAY}\s*[-–]\s*(?P<to>\d\d?)(?:st|nd|rd|th)?,?\s+{_YEAR}", _Reader.days),
        (rf"\b{_OPTIONAL_WEEKDAY}(?:the\s+)?(?<![\d.:]){_DAY}(?:\s+of)?\s+{_MONTH}(?:,?\s+{_YEAR})?", _Reader.day),
        (rf"\b{_OPTIONAL_WEEKDAY}{_MONTH}\s+(?:the\s+)?{_DAY}(?![\d:.]\d|\d)(?:,?\s+{_YEAR})?", _Reader.day),
        (rf"(?<!\d )(?<!\d(?:st|nd|rd|th) )\b{_EDGE}{_MONTH},?\s+(?:of\s+)?{_YEAR}", _Reader.month),
        (rf"{_BEFORE_MONTH}(?:the\s+)?(?P<core>{_EDGE}{_MONTH})(?!\s+\d){_NO_NAME}", _Reader.month),
        (rf"\b(?P<which>last|next|this)\s+{_MONTH}(?!\s+\d)", _Reader.month),
        (
            r"(?-i:\b(?P<month>January|February|April|June|July|August|September|October|November|December)\b)(?!\s+\d)",
            _Reader.month,
        ),
        (rf"\b(?P<which>last|next|this)\s+{_SEASON}(?:(?:\s+of)?\s+{_YEAR})?\b", _Reader.season),
        (
            rf"\b(?:in|during|since|until|by|over)\s+(?:the\s+)?(?P<core>(?P<which>){_SEASON}(?:(?:\s+of)?\s+{_YEAR})?)\b",
            _Reader.season,
        ),
        (rf"\b(?P<which>)(?:the\s+)?{_SEASON}(?:\s+of)?\s+{_YEAR}", _Reader.season),
        (rf"{_BEFORE_YEAR}(?P<core>{_YEAR})(?!\s*[-/]\d)(?![\w]|\.\d|,\d){_COUNTED}", _Reader.year),
        (rf"\b(?P<core>{_YEAR})(?=\s*(?:[-–]|to|and|through|until)\s*(?:19|20|21)\d\d\b)(?!-\d\d\b)", _Reader.year),
        (rf"\b(?:the\s+)?(?P<edge>early|mid|late|beginning of|start of|middle of|end of)[\s-]+{_YEAR}\b", _Reader.year),
        (r"\b(?:the\s+)?(?P<year>(?:19|20|21)\d0)s\b", _Reader.decade),
        (rf"\b(?:a\s+)?{_NUMBER}\s+{_UNIT}\s+(?:ago|earlier|back)\b", _Reader.ago),
        (rf"\b(?:a\s+)?{_NUMBER}\s+{_UNIT}\s+(?:from now|from today|ahead|hence)\b", _Reader.later),
        (rf"\bin\s+(?:a\s+|another\s+)?{_NUMBER}\s+{_UNIT}(?:'s?\s+time)?\b(?!\s+(?:of|or|ago|a)\b)", _Reader.later),
        (rf"\b(?P<which>within)\s+(?:the\s+next\s+)?(?:a\s+)?{_NUMBER}\s+{_UNIT}\b", _Reader.stretch),
        (rf"\b(?:the\s+)?(?P<which>last|past|previous|preceding|next|coming)\s+{_NUMBER}\s+{_UNIT}\b", _Reader.stretch),
        (rf"\b(?:the\s+)?(?P<which>past)\s+(?P<number>){_UNIT}\b", _Reader.stretch),
        (
            r"\b(?:the\s+)?(?P<which>last|previous|this|current|next|coming)\s+(?P<unit>weekend|week|month|quarter|year"
            r"|decade|hour)\b"
            r"(?!\s+(?:of|before|after)\b)",
            _Reader.unit,
        ),
        (
            rf"\b(?P<name>the day before yesterday|the day after tomorrow|yesterday|today|tomorrow|this)(?:\s+{_PART})?\b",
            _Reader.named_day,
        ),
        (r"\b(?P<name>last\s+night|tonight)(?P<part>)\b", _Reader.named_day),
        (rf"\b(?:(?P<which>last|next|this|coming)\s+)?{_WEEKDAY}(?:\s+{_PART})?\b(?!s)", _Reader.weekday),
    ]
    return [(re.compile(pattern, re.IGNORECASE), read) for pattern, read in rows]


_PATTERNS = _patterns()
_GATE = Gate([pattern for pattern, _ in _PATTERNS])

_JOIN = re.compile(r"\s*(?:[-–]|\b(?:to|through|until|till|and)\b)\s*(?:the\s+)?", re.IGNORECASE)
_PREFIX = re.compile(
    r"\b(?P<word>between|from|since|as of|starting(?:\s+(?:on|in|from))?|effective|until|till|up to|through|by|before|after"
    r"|(?:the\s+)?week(?:end)? of|(?:the\s+)?(?P<unit>week|weekend|day|month|year|"
    + "|".join(DAYS)
    + r")\s+(?P<side>before|after)"
    rf"|{_NUMBER}\s+(?P<units>day|week|month|year)s?\s+(?P<way>before|after))\s+(?:the\s+)?(?:end\s+of\s+)?$",
    re.IGNORECASE,
)


def find_dates(text: str, reference_us: int) -> list[TimeRange]:
    """All dates of a text in order, seen from `reference_us`. See the module docstring for what is left out."""
    may_match = _GATE.may_match(fold(text))
    if not may_match:
        return []
    try:
        reader = _Reader(text, from_us(reference_us), may_match)
    except OverflowError:
        return []
    found: list[TimeRange] = []
    atoms, place = reader.atoms(), 0
    while place < len(atoms):
        atom = atoms[place]
        prefix = _PREFIX.search(text, 0, atom.first)
        follows = atoms[place + 1] if place + 1 < len(atoms) else None
        if follows and (join := _JOIN.fullmatch(text, atom.last, follows.first)) and _joins(prefix, join.group()):
            since, until = _both(atom, follows)
            if since < until:
                first = prefix.start() if prefix and prefix["word"].casefold() in {"between", "from"} else atom.first
                found.append(_range(text, since, until, first, follows.last))
                place += 2
                continue
        if not atom.weak:
            range_ = _alone(text, atom, prefix)
            if found and range_.first < found[-1].last:  # the Sunday of "the Sunday before 25 May"
                found.pop()
            found.append(range_)
        place += 1
    return found


def _joins(prefix: re.Match[str] | None, join: str) -> bool:
    """ "A and B" is a range after "between" only."""
    word = prefix["word"].casefold() if prefix else ""
    return word == "between" if "and" in join.casefold() else word in {"", "from", "between"}


def _both(a: _Atom, b: _Atom) -> Range:
    """From A to B; the one that names no year takes the other's."""
    try:
        if a.of_year and a.since.year != b.since.year and not b.of_year:
            since, until = a.of_year(b.since.year)
            a = replace(a, since=since, until=until)
        if a.of_year and a.since > b.since:
            a = replace(a, since=a.of_year(b.since.year - (a.of_year(b.since.year)[0] > b.since))[0])
        if b.of_year and not a.of_year:
            year = a.since.year + (b.of_year(a.since.year)[0] < a.since)
            b = replace(b, until=b.of_year(year)[1])
    except ValueError:  # 29 February of a year that has none
        pass
    return a.since, b.until


def _range(text: str, since: datetime | None, until: datetime | None, first: int, last: int) -> TimeRange:
    return TimeRange(
        since_us=None if since is None else to_us(since),
        until_us=None if until is None else to_us(until),
        first=first,
        last=last,
        words=text[first:last],
    )


def _alone(text: str, atom: _Atom, prefix: re.Match[str] | None) -> TimeRange:
    first = prefix.start() if prefix else atom.first
    word = prefix["word"].casefold() if prefix else ""
    if prefix and (prefix["side"] or prefix["way"]):
        since, until = _beside(atom, prefix)
        return _range(text, since, until, first, atom.last)
    if "week" in word:
        since, until = week_of(atom.since)
        return _range(text, since + 5 * DAY if "end" in word else since, until, first, atom.last)
    if word.startswith(("since", "from", "as of", "starting", "effective")):
        return _range(text, atom.since, None, first, atom.last)
    if word in {"until", "till", "up to", "through", "by"}:
        return _range(text, None, atom.until, first, atom.last)
    if word == "before":
        return _range(text, None, atom.since, first, atom.last)
    if word == "after":
        return _range(text, atom.until, None, first, atom.last)
    return _range(text, atom.since, atom.until, atom.first, atom.last)


def _beside(atom: _Atom, prefix: re.Match[str]) -> Range:
    """ "The Sunday before", "the week after", "two days before" a date."""
    if prefix["way"]:
        number = 3 if prefix["number"].casefold() in {"few", "several"} else number_of(prefix["number"])
        return around(
            atom.since, prefix["units"].casefold(), number if prefix["way"].casefold() == "after" else -number
        )
    sign, unit = (1 if prefix["side"].casefold() == "after" else -1), prefix["unit"].casefold()
    if unit in DAYS:
        number, today = DAYS.index(unit), day_of(atom.since)
        back = (today.weekday() - number - 1) % 7 + 1 if sign < 0 else -((number - today.weekday() - 1) % 7 + 1)
        return today - back * DAY, today - back * DAY + DAY
    if unit == "weekend":
        monday = week_of(atom.since)[0] + (0 if sign > 0 and atom.since.weekday() < 5 else sign) * WEEK
        return monday + 5 * DAY, monday + WEEK
    return around(atom.since, unit, sign)
