"""Which claims cannot both hold: one rule for each kind, by interval and by word.

Claims of one kind, subject and attribute are held against each other in text order. A claim that is at odds with an earlier one is
reported with the earliest such; the same value again is not reported again. Where the text tells of a change (dye, promotion), the
claims that follow are let pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from overwinter.think.consistency.claim import Claim
from overwinter.think.consistency.figures import Day

_ALIKE = [
    {"grey", "blue"},
    {"hazel", "brown"},
    {"hazel", "green"},
    {"red", "auburn"},
    {"auburn", "brown"},
    {"grey", "green"},
]
_AGEING = {"grey", "white"}
_SAME_KIN = [{"cousin", "wife"}, {"cousin", "husband"}]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Two claims that cannot both hold, in text order; of a claim at odds with itself, `second` is the same claim."""

    first: Claim
    second: Claim
    why: str


def conflicts(claims: Iterable[Claim]) -> Iterator[Conflict]:
    """All conflicts among claims, grouped by kind and subject."""
    groups: dict[tuple[str, str, str], list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.key, []).append(claim)
    for (kind, *_), group in groups.items():
        if group[0].against is not None:
            yield from (Conflict(first=claim, second=claim, why=_ALONE[kind](claim)) for claim in group)
        elif len(group) > 1:
            yield from _within(group, _TESTS[kind])


def _within(group: list[Claim], test: Callable[[Claim, Claim], str]) -> Iterator[Conflict]:
    group = sorted(group, key=lambda claim: claim.first)
    reported: set[object] = set()
    for index, claim in enumerate(group):
        if claim.role == "changed":
            if claim.kind == "title":
                return
            break
        for earlier in group[:index]:
            if earlier.first == claim.first:
                continue
            why = test(earlier, claim)
            if why:
                mark = (
                    claim.subject
                    if claim.kind in _ONCE
                    else frozenset({(earlier.value, earlier.role), (claim.value, claim.role)})
                )
                if mark not in reported:
                    reported.add(mark)
                    yield Conflict(first=earlier, second=claim, why=why)
                break


_ONCE = frozenset({"alive", "rule", "law"})


def _figure(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _apart(a: Claim, b: Claim) -> bool:
    one, two = float(a.value), float(b.value)  # type: ignore[arg-type]
    return abs(one - two) > (a.tolerance + b.tolerance) * max(abs(one), abs(two)) + 1e-9


def _numbers(what: str) -> Callable[[Claim, Claim], str]:
    def test(a: Claim, b: Claim) -> str:
        return f"{what.format(a=a)}: {a.words} here, {b.words} there" if _apart(a, b) else ""

    return test


def _words(what: str) -> Callable[[Claim, Claim], str]:
    def test(a: Claim, b: Claim) -> str:
        return f"{what.format(a=a)}: {a.words} here, {b.words} there" if a.value != b.value else ""

    return test


def _age(a: Claim, b: Claim) -> str:
    if abs(float(a.value) - float(b.value)) <= 1:  # type: ignore[arg-type]
        return ""
    then = f"in {a.year} and in {b.year}" if a.year != b.year else f"in {a.year}"
    return f"the ages given for {a.about} {then} do not fit: {a.words}, {b.words}"


def _age_birth(a: Claim, b: Claim) -> str:
    if a.role == b.role:
        return ""
    age, birth = (a, b) if a.role == "age" else (b, a)
    behind = float(birth.value) - float(age.value)  # type: ignore[arg-type]
    # Who was born in 1840 is 29 or 30 in 1870; a year more either way is a narrator's rounding.
    if -2 <= behind <= 1:
        return ""
    years = age.year - float(birth.value)  # type: ignore[arg-type]
    return f"{birth.words}, {a.about} would be {years:g} in {age.year}, not as said ({age.words})"


def _day(value: object) -> Day:
    assert isinstance(value, tuple)
    year, month, day = value
    return Day(year, month, day, 0, 0)


def _event_date(a: Claim, b: Claim) -> str:
    one, two = _day(a.value), _day(b.value)
    return f"two dates of {a.about}: {one} here, {two} there" if one.differs(two) else ""


def _place(a: Claim, b: Claim) -> str:
    one, two = set(str(a.value).split()), set(str(b.value).split())
    if one <= two or two <= one:
        return ""
    day = _day(tuple(map(int, a.attribute.split("-"))))
    return f"{a.about} is in {a.words} and in {b.words} on {day}"


def _death(a: Claim, b: Claim) -> str:
    if a.role == b.role == "death":
        return f"two years of death of {a.about}: {a.value:g} and {b.value:g}" if a.value != b.value else ""
    if a.role == b.role:
        return ""
    death, deed = (a, b) if a.role == "death" else (b, a)
    late = float(deed.value) > float(death.value)  # type: ignore[arg-type]
    return f"{a.about} {death.words}, yet {deed.words}" if late else ""


def _alive(a: Claim, b: Claim) -> str:
    dead = a.role == "death" and b.role == "deed"
    return f"{a.about} has died, and later {b.words}" if dead else ""


def _colour(what: str) -> Callable[[Claim, Claim], str]:
    def test(a: Claim, b: Claim) -> str:
        pair = {str(a.value), str(b.value)}
        if (
            len(pair) < 2
            or pair in _ALIKE
            or (what == "eyes" and pair == {"black", "brown"})
            or (what == "hair" and b.value in _AGEING)
        ):
            return ""
        return f"{a.about}'s {what}: {a.words} here, {b.words} there"

    return test


def _kinship(a: Claim, b: Claim) -> str:
    if a.value == b.value or {str(a.value), str(b.value)} in _SAME_KIN:
        return ""
    return f"{a.about} is {a.attribute}'s {a.value} here and {b.value} there"


def _never(a: Claim, b: Claim) -> str:
    if {a.role, b.role} != {"never", "deed"}:
        return ""
    rule, deed = (a, b) if a.role == "never" else (b, a)
    return f'{rule.about}: "{" ".join(rule.words.split())}" as a rule, and yet "{" ".join(deed.words.split())}"'


_TESTS: dict[str, Callable[[Claim, Claim], str]] = {
    "age": _age,
    "age_birth": _age_birth,
    "birth": _numbers("two years of birth of {a.about}"),
    "event_date": _event_date,
    "order": _words("two orders of events"),
    "duration": _numbers("two lengths of {a.about}"),
    "place": _place,
    "death": _death,
    "alive": _alive,
    "eyes": _colour("eyes"),
    "hair": _colour("hair"),
    "name": _words("two spellings of one name"),
    "title": _words("two ranks of {a.about}"),
    "kinship": _kinship,
    "quantity": _numbers("two numbers of {a.attribute} of {a.about}"),
    "measure": _numbers("two values for the {a.attribute} of {a.about}"),
    "price": _numbers("two prices of {a.about}"),
    "distance": _numbers("two distances from {a.about} to {a.attribute}"),
    "direction": _words("{a.about} and {a.attribute} lie two ways"),
    "rule": _never,
    "law": _never,
}
_ALONE: dict[str, Callable[[Claim], str]] = {
    "weekday": lambda claim: f"{claim.subject} was a {claim.value}, not a {claim.words}",
    "elapsed": lambda claim: f"{claim.subject} is {_figure(claim.value)} years, not {claim.words}",
    "list_count": lambda claim: f"{claim.words} are announced, {_figure(claim.value)} are listed",
}
