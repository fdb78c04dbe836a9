"""What plants and decoys are made of: names and figures drawn from a vocabulary, and for each kind what may stand where.

For each kind there are the slots of the first statement, and three ways to fill those of the second: unlike (it contradicts), like (the
same in other words or units), other (about another person or thing).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product

from overwinter.think.consistency.wordlist import listed

SMALL = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = listed("twenty thirty forty fifty sixty seventy eighty ninety")
MONTHS = listed("January February March April May June July August September October November December")
WEEKDAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What slots are filled with; `{}` in a thing's name takes a town."""

    first_names: Sequence[str]
    surnames: Sequence[str]
    towns: Sequence[str]
    events: Sequence[str]
    things: Sequence[str]
    counted: Sequence[str]
    measured: Sequence[str]
    priced: Sequence[str]
    colours: Sequence[str]
    hair: Sequence[str]
    titles: Sequence[str]
    kin: Sequence[str]
    habits: Sequence[tuple[str, str, str, str]]
    items: Sequence[str]


@dataclass(kw_only=True)
class Pair:
    """Slots of the two statements; `unlike` are the second's when it contradicts, `like` when it agrees."""

    first: dict[str, str]
    unlike: dict[str, str]
    like: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    """The second's slots when it is about another person or thing."""


def in_words(number: int) -> str:
    """0 to 999 in English words."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")
    rest = number % 100
    return f"{SMALL[number // 100]} hundred" + (f" and {in_words(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """ "1st", "22nd", "13th"."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


class Drawer:
    """Draws names, figures and dates; no full name is drawn twice."""

    def __init__(self, words: Vocabulary, seed: int) -> None:
        self.words = words
        self.rng = random.Random(seed)  # noqa: S311 — test documents, no secrets
        self._towns = self.shuffled(words.towns)
        self._pairs = self.shuffled([f"{a} {b}" for a, b in product(words.first_names, words.surnames)])

    def shuffled(self, names: Sequence[str]) -> list[str]:
        return self.rng.sample(list(names), len(names))

    def person(self) -> str:
        """A full name; first and last names may return in other pairs."""
        return self._pairs.pop()

    def town(self) -> str:
        if not self._towns:
            self._towns = [f"{side} {town}" for side in ("Upper", "Nether", "Little") for town in self.words.towns]
        return self._towns.pop(self.rng.randrange(len(self._towns)))

    def thing(self, names: Sequence[str]) -> str:
        return self.rng.choice(names).format(self.town())

    def number(self, value: int, mixed: bool = True) -> str:
        return str(value) if mixed and self.rng.random() < 0.4 else in_words(value)

    def two(self, values: Sequence[str]) -> tuple[str, str]:
        first, second = self.rng.sample(list(values), 2)
        return first, second

    def numbers(self, low: int, high: int, apart: float = 1.15) -> tuple[int, int]:
        """Two numbers at least 15 % and 2 apart."""
        first = self.rng.randint(low, high)
        second = first
        while abs(second - first) < 2 or max(first, second) < apart * min(first, second):
            second = self.rng.randint(low, high)
        return first, second

    def day(self) -> date:
        return date(self.rng.randint(1790, 1899), self.rng.randint(1, 12), self.rng.randint(1, 28))

    def dated(self, day: date, form: int | None = None) -> str:
        form = self.rng.randrange(3) if form is None else form
        month = MONTHS[day.month - 1]
        if form == 0:
            return f"{day.day} {month} {day.year}"
        if form == 1:
            return f"{month} {day.day}, {day.year}"
        return f"the {ordinal(day.day)} of {month} {day.year}"


# Slots of each kind


def _age(p: Drawer) -> Pair:
    person, year = p.person(), p.rng.randint(1790, 1899)
    a, b = p.numbers(18, 80)
    first = {"p": person, "y": str(year), "v": p.number(a), "vth": ordinal(a)}
    return Pair(
        first=first,
        unlike={**first, "v": p.number(b), "vth": ordinal(b)},
        like={**first, "y": str(year + 3), "v": p.number(a + 3), "vth": ordinal(a + 3)},
        other={**first, "p": p.person(), "v": p.number(b), "vth": ordinal(b)},
    )


def _age_birth(p: Drawer) -> Pair:
    person, born = p.person(), p.rng.randint(1760, 1850)
    a, b = p.numbers(18, 70)
    first = {"p": person, "by": str(born)}
    second = {"p": person, "y": str(born + a), "v": p.number(a)}
    return Pair(
        first=first,
        unlike={**second, "v": p.number(b)},
        like=second,
        other={**second, "p": p.person(), "v": p.number(b)},
    )


def _birth(p: Drawer) -> Pair:
    person, year = p.person(), p.rng.randint(1760, 1890)
    first = {"p": person, "v": str(year)}
    return Pair(
        first=first,
        unlike={**first, "v": str(year + p.rng.choice([-9, -4, 3, 7, 11]))},
        like=first,
        other={"p": p.person(), "v": str(year + 5)},
    )


def _event_date(p: Drawer) -> Pair:
    event, one, two = p.thing(p.words.events), p.day(), p.day()
    first = {"e": event, "v": p.dated(one)}
    return Pair(
        first=first,
        unlike={"e": event, "v": p.dated(two)},
        like={"e": event, "v": p.dated(one)},
        other={"e": p.thing(p.words.events), "v": p.dated(two)},
    )


def _weekday(p: Drawer) -> Pair:
    day = p.day()
    right = WEEKDAYS[day.weekday()]
    wrong = p.rng.choice([name for name in WEEKDAYS if name != right])
    slots = {"d": p.dated(day, 0), "dth": f"{ordinal(day.day)} of {MONTHS[day.month - 1]} {day.year}"}
    return Pair(first={}, unlike={**slots, "w": wrong}, like={**slots, "w": right})


def _order(p: Drawer) -> Pair:
    one, two = p.thing(p.words.events), p.thing(p.words.events)
    first = {"e1": one, "e2": two}
    return Pair(first=first, unlike={"e1": two, "e2": one}, like=first)


def _duration(p: Drawer) -> Pair:
    event = p.thing(p.words.events)
    unit = p.rng.choice(["days", "weeks", "months", "hours"])
    a, b = p.numbers(2, 30, 1.4)
    same = f"{p.number(a * 7, False)} days" if unit == "weeks" and a < 8 else f"{p.number(a)} {unit}"
    first = {"e": event, "v": f"{in_words(a)} {unit}"}
    return Pair(
        first=first,
        unlike={"e": event, "v": f"{in_words(b)} {unit}"},
        like={"e": event, "v": same},
        other={"e": p.thing(p.words.events), "v": f"{in_words(b)} {unit}"},
    )


def _elapsed(p: Drawer) -> Pair:
    start = p.rng.randint(1780, 1850)
    a, b = p.numbers(4, 40)
    slots = {"y1": str(start), "y2": str(start + a)}
    return Pair(first={}, unlike={**slots, "v": p.number(b)}, like={**slots, "v": p.number(a)})


def _place(p: Drawer) -> Pair:
    person, day, one, two = p.person(), p.day(), p.town(), p.town()
    first = {"p": person, "d": p.dated(day), "v": one}
    return Pair(
        first=first,
        unlike={"p": person, "d": p.dated(day), "v": two},
        like={"p": person, "d": p.dated(day), "v": one},
        other={"p": p.person(), "d": p.dated(day), "v": two},
    )


def _death(p: Drawer) -> Pair:
    person, year = p.person(), p.rng.randint(1790, 1880)
    later, before = str(year + p.rng.randint(2, 15)), str(year - p.rng.randint(2, 15))
    return Pair(
        first={"p": person, "y": str(year)},
        unlike={"p": person, "y2": later},
        like={"p": person, "y2": before},
        other={"p": p.person(), "y2": later},
    )


def _alive(p: Drawer) -> Pair:
    person = p.person()
    return Pair(first={"p": person}, unlike={"p": person}, other={"p": p.person()})


def _coloured(colours: Callable[[Vocabulary], Sequence[str]]) -> Callable[[Drawer], Pair]:
    def make(p: Drawer) -> Pair:
        person = p.person()
        one, two = p.two(colours(p.words))
        first = {"p": person, "v": one}
        return Pair(first=first, unlike={"p": person, "v": two}, like=first, other={"p": p.person(), "v": two})

    return make


_SPELLINGS = (
    ("k", "ck"),
    ("ll", "l"),
    ("tt", "t"),
    ("ey", "y"),
    ("e", "ea"),
    ("ss", "s"),
    ("th", "t"),
    ("w", "wh"),
    ("d", "dd"),
    ("r", "rr"),
    ("n", "nn"),
    ("m", "mm"),
    ("l", "ll"),
    ("s", "ss"),
    ("t", "tt"),
)


def _name(p: Drawer) -> Pair:
    person = p.person()
    first, last = person.split(" ")
    old, new = next((o, n) for o, n in _SPELLINGS if o in last[1:])
    variant = f"{first} {last[0]}{last[1:].replace(old, new, 1)}"
    return Pair(first={"p": person}, unlike={"p": variant}, like={"p": person}, other={"p": p.person()})


def _title(p: Drawer) -> Pair:
    person = p.person()
    one, two = p.two(p.words.titles)
    first = {"p": person, "t": one}
    return Pair(first=first, unlike={"p": person, "t": two}, like=first, other={"p": p.person(), "t": two})


def _kinship(p: Drawer) -> Pair:
    a, b = p.person(), p.person()
    one, two = p.two(p.words.kin)
    first = {"p": a, "q": b, "v": one}
    return Pair(first=first, unlike={**first, "v": two}, like=first, other={**first, "p": p.person(), "v": two})


def _list_count(p: Drawer) -> Pair:
    items = p.rng.sample(list(p.words.items), p.rng.randint(2, 5))
    listed = f"{', '.join(items[:-1])} and {items[-1]}"
    wrong = len(items) + p.rng.choice([-1, 1, 2]) if len(items) > 2 else len(items) + p.rng.choice([1, 2])
    return Pair(
        first={}, unlike={"n": in_words(wrong), "items": listed}, like={"n": in_words(len(items)), "items": listed}
    )


def _quantity(p: Drawer) -> Pair:
    thing, unit = p.thing(p.words.things), p.rng.choice(p.words.counted)
    a, b = p.numbers(3, 60)
    first = {"x": thing, "u": unit, "v": p.number(a)}
    return Pair(
        first=first,
        unlike={**first, "v": p.number(b)},
        like={**first, "v": p.number(a)},
        other={**first, "x": p.thing(p.words.things), "v": p.number(b)},
    )


def _measure(p: Drawer) -> Pair:
    thing = p.thing(p.words.measured)
    a, b = p.numbers(12, 90, 1.3)
    dimension = p.rng.choice(["high", "wide", "long"])
    first = {"x": thing, "m": f"feet {dimension}", "v": p.number(a)}
    return Pair(
        first=first,
        unlike={**first, "v": p.number(b)},
        like={**first, "v": p.number(a)},
        other={**first, "m": "feet " + {"high": "wide", "wide": "long", "long": "high"}[dimension], "v": p.number(b)},
    )


def _price(p: Drawer) -> Pair:
    thing = p.thing(p.words.priced)
    a, b = p.numbers(12, 900)
    unit = p.rng.choice(["pounds", "dollars", "guineas"])
    first = {"x": thing, "v": f"{p.number(a)} {unit}"}
    return Pair(
        first=first,
        unlike={"x": thing, "v": f"{p.number(b)} {unit}"},
        like={"x": thing, "v": f"{p.number(a)} {unit}"},
        other={"x": p.thing(p.words.priced), "v": f"{p.number(b)} {unit}"},
    )


def _distance(p: Drawer) -> Pair:
    a, b = p.town(), p.town()
    one, two = p.numbers(4, 90, 1.3)
    first = {"a": a, "b": b, "v": f"{p.number(one)} miles"}
    return Pair(
        first=first,
        unlike={**first, "v": f"{p.number(two)} miles"},
        like={"a": b, "b": a, "v": f"{p.number(one)} miles"},
        other={**first, "b": p.town(), "v": f"{p.number(two)} miles"},
    )


def _direction(p: Drawer) -> Pair:
    a, b = p.town(), p.town()
    side = p.rng.choice(list(OPPOSITE))
    first = {"a": a, "b": b, "v": side}
    return Pair(
        first=first,
        unlike={**first, "v": OPPOSITE[side]},
        like={"a": b, "b": a, "v": OPPOSITE[side]},
        other={**first, "b": p.town(), "v": OPPOSITE[side]},
    )


def _rule(p: Drawer) -> Pair:
    (base, past, part, thing), another = p.rng.sample(list(p.words.habits), 2)
    slots = {"p": p.person(), "base": base, "past": past, "part": part, "o": thing}
    return Pair(
        first=slots,
        unlike=slots,
        like={**slots, "past": another[1], "o": another[3]},
        other={**slots, "p": p.person()},
    )


def _law(p: Drawer) -> Pair:
    pair = _rule(p)
    place = p.town()
    return Pair(
        first={**pair.first, "x": place},
        unlike={**pair.unlike, "x": place},
        like={**pair.like, "x": place},
        other={**pair.unlike, "x": p.town()},
    )


SLOTS: dict[str, Callable[[Drawer], Pair]] = {
    "age": _age,
    "age_birth": _age_birth,
    "birth": _birth,
    "event_date": _event_date,
    "weekday": _weekday,
    "order": _order,
    "duration": _duration,
    "elapsed": _elapsed,
    "place": _place,
    "death": _death,
    "alive": _alive,
    "eyes": _coloured(lambda words: words.colours),
    "hair": _coloured(lambda words: words.hair),
    "name": _name,
    "title": _title,
    "kinship": _kinship,
    "list_count": _list_count,
    "quantity": _quantity,
    "measure": _measure,
    "price": _price,
    "distance": _distance,
    "direction": _direction,
    "rule": _rule,
    "law": _law,
}
PLANTABLE = tuple(SLOTS)
SELF_CONTRADICTING = ("weekday", "elapsed", "list_count")
"""Kinds whose error stands in one sentence."""
