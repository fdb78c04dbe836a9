"""Holding a report against the log: what a text says of a winter, and what the observations say.

`told` reads a text, `known` a log of (action, data of the observation that followed). Both speak of the same topics, so a difference is a
contradiction. What a text says in other words is not read, and so not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .config import BEDS
from .report import SeasonLog, WinterLog

_SMALL = ("no", *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"))
_N = rf"(?P<n>-?\d[\d,]*(?:\.\d+)?|{'|'.join(_SMALL)})"
_N2, _N3 = _N.replace("<n>", "<n2>"), _N.replace("<n>", "<n3>")
_EUR = r"\s*(?:€|euros?\b|EUR\b)"
_L = r"\s*(?:L\b|l\b|lit(?:re|er)s?\b)"
_TIMES = r"\s+times?\b"


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One statement of a report.

    Attributes:
        topic: a field of `WinterLog`, "aphids BED", "mould BED", or "storm on day", "order on day" (then `value` is the day).
        winter: which one it speaks of; 0 where it does not say.
        first, last: half-open span of its sentence.
    """

    topic: str
    value: float
    winter: int
    first: int
    last: int


@dataclass(kw_only=True, slots=True)
class Known:
    """What the log of one winter says.

    Attributes:
        values: topic → value; places: topic → index of the observation that settled it.
        days: "storm on day", "order on day" → the days on which it was so, and where each stands.
        until: the last day the log reaches.
    """

    values: dict[str, float] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    days: dict[str, dict[int, int]] = field(default_factory=lambda: {"storm on day": {}, "order on day": {}})
    until: int = 0


_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (topic, re.compile(pattern, re.I))
    for topic, pattern in (
        ("storm_nights", rf"\b{_N}\s+nights?\s+of\s+storm|\b{_N2}\s+storm(?:y)?\s+nights?"),
        ("storm on day", r"\bstorm\b[^.;\n]{0,40}?\bon\s+(?:the\s+night\s+of\s+)?day\s+(?P<n>\d+)"),
        ("order on day", r"\border(?:ed)?\b[^.;\n]{0,40}?\bon\s+day\s+(?P<n>\d+)"),
        ("coldest_reading_c", rf"\b(?:coldest\s+reading|lowest\s+reading|coldest\s+it\s+got)[^.;\n\d-]{{0,24}}{_N}\s*°?\s*C\b"),
        ("orders", rf"\bordered\s+fuel\s+{_N}{_TIMES}|\b(?:placed|made)\s+{_N2}\s+(?:fuel\s+)?orders?\b"),
        ("fuel_ordered_l", rf"\b{_N}{_L}\s+in\s+all|\b{_N2}{_L}\s+of\s+fuel\s+(?:in\s+all"
                           rf"|altogether|in\s+total)|\ba\s+total\s+of\s+{_N3}{_L}"),
        ("spent_eur", rf"\bspent\s+{_N}{_EUR}"),
        ("earned_eur", rf"\bearned\s+{_N}{_EUR}"),
        ("lorry_days_lost", rf"\blorry\s+(?:lost|was\s+held\s+up)\s+{_N}\s+days?\b"),
        ("inspections", rf"\binspected\s+{_N}{_TIMES}|\b{_N2}\s+inspections\b"),
        ("sensors_replaced", rf"\bSensors\s+replaced:\s*{_N}|\breplaced\s+{_N2}\s+sensors?\b"),
        ("loan_repaid_day", rf"\b(?:paid|repaid)\s+the\s+neighbour\s+(?:back\s+)?on\s+day\s+{_N}"),
        ("late_fee_eur", rf"\boverdue\s+and\s+cost\s+{_N}{_EUR}"),
        ("crop_eur", rf"\b(?:beds|harvest|crop)\s+(?:brought|was\s+worth|fetched"
                     rf"|came\s+to|was|of)\s+(?:in\s+)?{_N}{_EUR}|\bharvested\s+{_N2}{_EUR}"),
        ("score", rf"\bscored\s+{_N}|\bscore\s+(?:was|of|is)\s+{_N2}"),
    )
)  # fmt: skip
_TREATED = re.compile(r"\btreated\s+for\s+(?P<pest>aphids|mould):\s*(?P<list>[^.\n]+)\.", re.I)
_NOT_TREATED = re.compile(r"\bNothing\s+was\s+treated\s+for\s+(?P<pest>aphids|mould)\b", re.I)
_WINTER = re.compile(r"\bwinter\s+(?P<n>\d+)\b", re.I)
_SENTENCE = re.compile(r"[^.\n;]*(?:\.(?=\d)[^.\n;]*)*[.\n;]?")


def told(report: str) -> list[Told]:
    """What a text says of winters, in text order."""
    found = [one for topic, pattern in _PATTERNS for one in _told(report, topic, pattern)]
    for match in _TREATED.finditer(report):
        beds = re.finditer(rf"\b(?P<bed>{'|'.join(BEDS)})\s+(?P<n>\d+)", match["list"])
        pest = match["pest"].lower()
        found += [_row(report, f"{pest} {bed['bed']}", float(bed["n"]), match.start()) for bed in beds]
    for match in _NOT_TREATED.finditer(report):
        found += [_row(report, f"{match['pest'].lower()} {bed}", 0.0, match.start()) for bed in BEDS]
    return sorted(found, key=lambda one: one.first)


def _told(report: str, topic: str, pattern: re.Pattern[str]) -> Iterator[Told]:
    for match in pattern.finditer(report):
        said = next(value for value in match.groupdict().values() if value is not None)
        value = float(_SMALL.index(said.lower())) if said.lower() in _SMALL else float(said.replace(",", ""))
        yield _row(report, topic, value, match.start())


def _row(report: str, topic: str, value: float, place: int) -> Told:
    first, last = next(
        (match.start(), match.end()) for match in _SENTENCE.finditer(report) if match.end() > place or not match[0]
    )
    while first < last and report[first].isspace():
        first += 1
    while last > first and report[last - 1].isspace():
        last -= 1
    winters = [int(match["n"]) for match in _WINTER.finditer(report, 0, last)]
    return Told(topic=topic, value=value, winter=winters[-1] if winters else 0, first=first, last=last)


def known(log: Iterable[tuple[str | None, dict[str, Any]]]) -> dict[int, Known]:
    """What a log says, by winter. Only what has been settled: crop and score are known from spring on."""
    season, made = SeasonLog(), dict[int, Known]()
    morning = (0, 0)
    for index, (action, data) in enumerate(log):
        before = season.winters[-1].winter if season.winters else data["winter"]
        day_before = morning[1]
        season.add(action, data)
        for winter in season.winters[-2:]:
            _take(made.setdefault(winter.winter, Known()), winter, index)
        now = made[before]
        answer = data["answer"] or {}
        if action is not None and answer.get("kind") == "ordered":
            now.days["order on day"].setdefault(day_before, index)
        if (data["winter"], data["day"]) != morning:
            if day_before and data["storm_night"]:
                now.days["storm on day"].setdefault(day_before, index)
            morning = (data["winter"], data["day"])
        made[data["winter"]].until = max(made[data["winter"]].until, data["day"])
        now.until = max(now.until, day_before)
    return made


def _take(known_: Known, winter: WinterLog, index: int) -> None:
    values: dict[str, float | None] = {
        name: getattr(winter, name)
        for name in WinterLog.__slots__
        if name not in {"winter", "aphid_treatments", "mould_treatments"}
    }
    values |= {f"aphids {bed}": count for bed, count in winter.aphid_treatments.items()}
    values |= {f"mould {bed}": count for bed, count in winter.mould_treatments.items()}
    for name, value in values.items():
        if value is not None and known_.values.get(name) != value:
            known_.values[name], known_.places[name] = float(value), index


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A statement that the log does not bear out. `place`: the observation it is at odds with."""

    told: Told
    true: str
    place: int


def differences(report: str, log: Sequence[tuple[str | None, dict[str, Any]]]) -> list[Difference]:
    """Where a text contradicts the log. A winter it does not name is the only one, or the last that has begun."""
    facts = known(log)
    found = []
    for one in told(report):
        winter = facts.get(one.winter or max(facts, default=0))
        if winter is None:
            continue
        if one.topic in winter.days:
            days = winter.days[one.topic]
            # A night belongs to the day before it and to the morning after: both are ways to say it.
            near = {one.value, one.value - 1} if one.topic.startswith("storm") else {one.value}
            if one.value <= winter.until and not near & set(days):
                last = max(days.values(), default=0)
                found.append(Difference(told=one, true=_listed(one.topic, days), place=last))
        elif one.topic in winter.values and abs(winter.values[one.topic] - one.value) > 1e-6:
            # What never changed is shown by the last observation, not by the first.
            place = winter.places.get(one.topic, 0) or len(log) - 1
            found.append(Difference(told=one, true=f"{_words(one.topic)} {winter.values[one.topic]:g}", place=place))
    return found


def in_words(one: Told) -> str:
    """What was told, in the words of `Difference.true`."""
    return f"{_words(one.topic)} {one.value:g}"


def _words(topic: str) -> str:
    for ending, unit in (("_eur", " in €"), ("_l", " in L"), ("_c", " in °C")):
        if topic.endswith(ending):
            return topic.removesuffix(ending).replace("_", " ") + unit
    return topic.replace("_", " ")


def _listed(topic: str, days: dict[int, int]) -> str:
    what = topic.partition(" ")[0]
    return f"{what} on day {', '.join(map(str, sorted(days)))}" if days else f"no {what}"
