"""Planted contradictions: long documents with known errors of each kind, and decoys that only look like errors.

A plant is two statements of one thing, in different words, that cannot both hold (for some kinds: one statement that contradicts
itself). A decoy is the same pair with equal values in other words or units, or with the second one said by a liar, dreamt, supposed
or of another person, or with the change explained. They are put at the ends of paragraphs of narration, far apart. Names and figures
are drawn, so that no document is known beforehand; the same seed gives the same document.

The generator takes its sentences from a set of phrasings. Rules are developed on one set and measured on another.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product

from overwinter.errors import UsageError

SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}

PLANT, DECOY = "plant", "decoy"
EXPLAINED: dict[str, str] = {
    "hair": "Later {p} dyed it, and from then on {p}'s hair was {v}.",
    "title": "A year later {p} was promoted: {t} {p} now had two rooms.",
    "rule": "After that winter {p} gave up the habit and {past} {o} every day.",
    "eyes": "In the glass {p} wore that night, the eyes seemed {v}.",
    "quantity": "Later more were added, and {x} had {v} {u}.",
}
"""A change that the text accounts for."""


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """Sentences for one kind. `second` empty: the second statement is another sentence of `first`."""

    first: tuple[str, ...]
    second: tuple[str, ...] = ()


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


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What was put in.

    Attributes:
        truth: "plant", a contradiction, or "decoy", none.
        variety: of a decoy: "same" (a paraphrase), "unreal" (a lie, dream, supposition), "other" (another person), "explained".
        spans: half-open character spans of the sentences, in text order; one where a sentence contradicts itself.
    """

    kind: str
    truth: str
    variety: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    text: str
    planted: tuple[Planted, ...]


@dataclass(kw_only=True)
class _Pair:
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


class Planter:
    """Draws names, figures and sentences; no name is used twice."""

    def __init__(self, phrasings: Mapping[str, Phrasing], words: Vocabulary, unreal: Sequence[str], seed: int) -> None:
        self.phrasings, self.words, self.unreal = phrasings, words, unreal
        self.rng = random.Random(seed)
        self._surnames = self._shuffled(words.surnames)
        self._towns = self._shuffled(words.towns)
        self._pairs = self._shuffled([f"{a} {b}" for a, b in product(words.first_names, words.surnames)])

    def _shuffled(self, names: Sequence[str]) -> list[str]:
        return self.rng.sample(list(names), len(names))

    def _person(self) -> str:
        """A full name; first and last names may return in other pairs."""
        return self._pairs.pop()

    def _town(self) -> str:
        if not self._towns:
            self._towns = [f"{side} {town}" for side in ("Upper", "Nether", "Little") for town in self.words.towns]
        return self._towns.pop(self.rng.randrange(len(self._towns)))

    def _thing(self, names: Sequence[str]) -> str:
        return self.rng.choice(names).format(self._town())

    def _number(self, value: int, mixed: bool = True) -> str:
        return str(value) if mixed and self.rng.random() < 0.4 else in_words(value)

    def _two(self, values: Sequence[str]) -> tuple[str, str]:
        first, second = self.rng.sample(list(values), 2)
        return first, second

    def _numbers(self, low: int, high: int, apart: float = 1.15) -> tuple[int, int]:
        """Two numbers at least 15 % and 2 apart."""
        first = self.rng.randint(low, high)
        second = first
        while abs(second - first) < 2 or max(first, second) < apart * min(first, second):
            second = self.rng.randint(low, high)
        return first, second

    def _date(self) -> date:
        return date(self.rng.randint(1790, 1899), self.rng.randint(1, 12), self.rng.randint(1, 28))

    def _dated(self, day: date, form: int | None = None) -> str:
        form = self.rng.randrange(3) if form is None else form
        month = MONTHS[day.month - 1]
        if form == 0:
            return f"{day.day} {month} {day.year}"
        if form == 1:
            return f"{month} {day.day}, {day.year}"
        return f"the {ordinal(day.day)} of {month} {day.year}"

    # Documents

    def sentences(self, kind: str, truth: str, variety: str = "") -> tuple[str, ...]:
        """The one or two sentences of a plant or decoy."""
        pair = _SLOTS[kind](self)
        phrasing = self.phrasings[kind]
        first = self.rng.choice(phrasing.first)
        if not phrasing.second and kind in SELF_CONTRADICTING:
            return (_fill(first, pair.unlike if truth == PLANT else pair.like),)
        rest = [form for form in phrasing.second or phrasing.first if form != first]
        second = self.rng.choice(rest)
        if variety == "explained":
            second = EXPLAINED[kind]
        slots = {"": pair.unlike, "same": pair.like, "other": pair.other}.get(variety, pair.unlike)
        said = _fill(second, slots)
        if variety == "unreal":
            said = self._unreal(said)
        return _fill(first, pair.first), said

    def _unreal(self, sentence: str) -> str:
        names = {*self.words.first_names, *self.words.towns, *MONTHS, *WEEKDAYS, *self.words.titles}
        head = sentence.split(maxsplit=1)[0].strip(",.'s")
        lower = sentence if head in names or sentence[0].isdigit() else sentence[0].lower() + sentence[1:]
        form = self.rng.choice(self.unreal)
        same = sentence if '{same}" T' in form or "might" in form else sentence[:-1] + ","
        return form.format(same=same, lower=lower)

    def varieties(self, kind: str) -> tuple[str, ...]:
        """The decoys there are of a kind."""
        if kind in SELF_CONTRADICTING:
            return ("same",)
        pair = _SLOTS[kind](self)
        made = ["unreal"] if kind != "name" else []
        made += ["same"] * bool(pair.like) + ["other"] * bool(pair.other) + ["explained"] * (kind in EXPLAINED)
        return tuple(made)

    def document(self, host: str, kinds: Sequence[str], *, each: int = 1) -> Document:
        """`host` with `each` plants and as many decoys of every kind.

        Raises:
            UsageError: the host has too few paragraphs of narration.
        """
        wanted: list[tuple[str, str, str, tuple[str, ...]]] = []
        for kind in kinds:
            for _ in range(each):
                wanted.append((kind, PLANT, "", self.sentences(kind, PLANT)))
                variety = self.rng.choice(self.varieties(kind))
                wanted.append((kind, DECOY, variety, self.sentences(kind, DECOY, variety)))
        places = places_of(host)
        need = sum(len(sentences) for *_, sentences in wanted)
        if len(places) < need:
            raise UsageError(
                f"{need} sentences do not fit into {len(places)} paragraphs of narration", "take a longer host"
            )
        chosen = sorted(self.rng.sample(places, need))
        slots = self._spread(wanted, need)
        return _insert(host, chosen, slots, wanted)

    def _spread(self, wanted: Sequence[tuple[str, str, str, tuple[str, ...]]], need: int) -> list[tuple[int, int]]:
        """For each place in order: which item and which of its sentences stands there; firsts before seconds."""
        order = [index for index, (*_, sentences) in enumerate(wanted) for _ in sentences]
        self.rng.shuffle(order)
        seen: dict[int, int] = {}
        slots = []
        for index in order[:need]:
            slots.append((index, seen.get(index, 0)))
            seen[index] = seen.get(index, 0) + 1
        return slots


def places_of(host: str) -> list[int]:
    """Ends of paragraphs of narration: no speech in them, a full stop at the end, more than a line long."""
    found = []
    for match in re.finditer(r"[^\n]+(?:\n(?!\s*\n)[^\n]+)*", host):
        words = match[0].rstrip()
        if len(words) > 120 and words.endswith(".") and not re.search(r"[\"“”‘’*_]|'\s|\s'", words):
            found.append(match.start() + len(words))
    return found


def _insert(
    host: str,
    places: Sequence[int],
    slots: Sequence[tuple[int, int]],
    wanted: Sequence[tuple[str, str, str, tuple[str, ...]]],
) -> Document:
    parts: list[str] = []
    spans: dict[int, list[tuple[int, int]]] = {}
    at, length = 0, 0
    for place, (index, which) in zip(places, slots, strict=True):
        sentence = wanted[index][3][which]
        parts += [host[at:place], " ", sentence]
        length += place - at + 1
        spans.setdefault(index, []).append((length, length + len(sentence)))
        length += len(sentence)
        at = place
    parts.append(host[at:])
    planted = tuple(
        Planted(kind=kind, truth=truth, variety=variety, spans=tuple(spans[index]))
        for index, (kind, truth, variety, _) in enumerate(wanted)
    )
    return Document(text="".join(parts), planted=planted)


def _fill(form: str, slots: Mapping[str, str]) -> str:
    """A sentence; slots in capitals are those in small letters with a capital."""
    given = {
        **slots,
        **{key.upper(): value[:1].upper() + value[1:] for key, value in slots.items() if key.upper() not in slots},
    }
    given |= {key[0].upper() + key[1:]: value[:1].upper() + value[1:] for key, value in slots.items()}
    sentence = form.format(**given)
    return sentence[:1].upper() + sentence[1:]


# Slots of each kind


def _age(p: Planter) -> _Pair:
    person, year = p._person(), p.rng.randint(1790, 1899)
    a, b = p._numbers(18, 80)
    first = {"p": person, "y": str(year), "v": p._number(a), "vth": ordinal(a)}
    return _Pair(
        first=first,
        unlike={**first, "v": p._number(b), "vth": ordinal(b)},
        like={**first, "y": str(year + 3), "v": p._number(a + 3), "vth": ordinal(a + 3)},
        other={**first, "p": p._person(), "v": p._number(b), "vth": ordinal(b)},
    )


def _age_birth(p: Planter) -> _Pair:
    person, born = p._person(), p.rng.randint(1760, 1850)
    a, b = p._numbers(18, 70)
    first = {"p": person, "by": str(born)}
    second = {"p": person, "y": str(born + a), "v": p._number(a)}
    return _Pair(
        first=first,
        unlike={**second, "v": p._number(b)},
        like=second,
        other={**second, "p": p._person(), "v": p._number(b)},
    )


def _birth(p: Planter) -> _Pair:
    person, year = p._person(), p.rng.randint(1760, 1890)
    first = {"p": person, "v": str(year)}
    return _Pair(
        first=first,
        unlike={**first, "v": str(year + p.rng.choice([-9, -4, 3, 7, 11]))},
        like=first,
        other={"p": p._person(), "v": str(year + 5)},
    )


def _event_date(p: Planter) -> _Pair:
    event, one, two = p._thing(p.words.events), p._date(), p._date()
    first = {"e": event, "v": p._dated(one)}
    return _Pair(
        first=first,
        unlike={"e": event, "v": p._dated(two)},
        like={"e": event, "v": p._dated(one)},
        other={"e": p._thing(p.words.events), "v": p._dated(two)},
    )


def _weekday(p: Planter) -> _Pair:
    day = p._date()
    right = WEEKDAYS[day.weekday()]
    wrong = p.rng.choice([name for name in WEEKDAYS if name != right])
    slots = {"d": p._dated(day, 0), "dth": f"{ordinal(day.day)} of {MONTHS[day.month - 1]} {day.year}"}
    return _Pair(first={}, unlike={**slots, "w": wrong}, like={**slots, "w": right})


def _order(p: Planter) -> _Pair:
    one, two = p._thing(p.words.events), p._thing(p.words.events)
    first = {"e1": one, "e2": two}
    return _Pair(first=first, unlike={"e1": two, "e2": one}, like=first)


def _duration(p: Planter) -> _Pair:
    event = p._thing(p.words.events)
    unit = p.rng.choice(["days", "weeks", "months", "hours"])
    a, b = p._numbers(2, 30, 1.4)
    same = f"{p._number(a * 7, False)} days" if unit == "weeks" and a < 8 else f"{p._number(a)} {unit}"
    first = {"e": event, "v": f"{in_words(a)} {unit}"}
    return _Pair(
        first=first,
        unlike={"e": event, "v": f"{in_words(b)} {unit}"},
        like={"e": event, "v": same},
        other={"e": p._thing(p.words.events), "v": f"{in_words(b)} {unit}"},
    )


def _elapsed(p: Planter) -> _Pair:
    start = p.rng.randint(1780, 1850)
    a, b = p._numbers(4, 40)
    slots = {"y1": str(start), "y2": str(start + a)}
    return _Pair(first={}, unlike={**slots, "v": p._number(b)}, like={**slots, "v": p._number(a)})


def _place(p: Planter) -> _Pair:
    person, day, one, two = p._person(), p._date(), p._town(), p._town()
    first = {"p": person, "d": p._dated(day), "v": one}
    return _Pair(
        first=first,
        unlike={"p": person, "d": p._dated(day), "v": two},
        like={"p": person, "d": p._dated(day), "v": one},
        other={"p": p._person(), "d": p._dated(day), "v": two},
    )


def _death(p: Planter) -> _Pair:
    person, year = p._person(), p.rng.randint(1790, 1880)
    later, before = str(year + p.rng.randint(2, 15)), str(year - p.rng.randint(2, 15))
    return _Pair(
        first={"p": person, "y": str(year)},
        unlike={"p": person, "y2": later},
        like={"p": person, "y2": before},
        other={"p": p._person(), "y2": later},
    )


def _alive(p: Planter) -> _Pair:
    person = p._person()
    return _Pair(first={"p": person}, unlike={"p": person}, other={"p": p._person()})


def _coloured(colours: Callable[[Vocabulary], Sequence[str]]) -> Callable[[Planter], _Pair]:
    def make(p: Planter) -> _Pair:
        person = p._person()
        one, two = p._two(colours(p.words))
        first = {"p": person, "v": one}
        return _Pair(first=first, unlike={"p": person, "v": two}, like=first, other={"p": p._person(), "v": two})

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


def _name(p: Planter) -> _Pair:
    person = p._person()
    first, last = person.split(" ")
    old, new = next((o, n) for o, n in _SPELLINGS if o in last[1:])
    variant = f"{first} {last[0]}{last[1:].replace(old, new, 1)}"
    return _Pair(first={"p": person}, unlike={"p": variant}, like={"p": person}, other={"p": p._person()})


def _title(p: Planter) -> _Pair:
    person = p._person()
    one, two = p._two(p.words.titles)
    first = {"p": person, "t": one}
    return _Pair(first=first, unlike={"p": person, "t": two}, like=first, other={"p": p._person(), "t": two})


def _kinship(p: Planter) -> _Pair:
    a, b = p._person(), p._person()
    one, two = p._two(p.words.kin)
    first = {"p": a, "q": b, "v": one}
    return _Pair(first=first, unlike={**first, "v": two}, like=first, other={**first, "p": p._person(), "v": two})


def _list_count(p: Planter) -> _Pair:
    items = p.rng.sample(list(p.words.items), p.rng.randint(2, 5))
    listed = f"{', '.join(items[:-1])} and {items[-1]}"
    wrong = len(items) + p.rng.choice([-1, 1, 2]) if len(items) > 2 else len(items) + p.rng.choice([1, 2])
    return _Pair(
        first={}, unlike={"n": in_words(wrong), "items": listed}, like={"n": in_words(len(items)), "items": listed}
    )


def _quantity(p: Planter) -> _Pair:
    thing, unit = p._thing(p.words.things), p.rng.choice(p.words.counted)
    a, b = p._numbers(3, 60)
    first = {"x": thing, "u": unit, "v": p._number(a)}
    return _Pair(
        first=first,
        unlike={**first, "v": p._number(b)},
        like={**first, "v": p._number(a)},
        other={**first, "x": p._thing(p.words.things), "v": p._number(b)},
    )


def _measure(p: Planter) -> _Pair:
    thing = p._thing(p.words.measured)
    a, b = p._numbers(12, 90, 1.3)
    dimension = p.rng.choice(["high", "wide", "long"])
    first = {"x": thing, "m": f"feet {dimension}", "v": p._number(a)}
    return _Pair(
        first=first,
        unlike={**first, "v": p._number(b)},
        like={**first, "v": p._number(a)},
        other={**first, "m": "feet " + {"high": "wide", "wide": "long", "long": "high"}[dimension], "v": p._number(b)},
    )


def _price(p: Planter) -> _Pair:
    thing = p._thing(p.words.priced)
    a, b = p._numbers(12, 900)
    unit = p.rng.choice(["pounds", "dollars", "guineas"])
    first = {"x": thing, "v": f"{p._number(a)} {unit}"}
    return _Pair(
        first=first,
        unlike={"x": thing, "v": f"{p._number(b)} {unit}"},
        like={"x": thing, "v": f"{p._number(a)} {unit}"},
        other={"x": p._thing(p.words.priced), "v": f"{p._number(b)} {unit}"},
    )


def _distance(p: Planter) -> _Pair:
    a, b = p._town(), p._town()
    one, two = p._numbers(4, 90, 1.3)
    first = {"a": a, "b": b, "v": f"{p._number(one)} miles"}
    return _Pair(
        first=first,
        unlike={**first, "v": f"{p._number(two)} miles"},
        like={"a": b, "b": a, "v": f"{p._number(one)} miles"},
        other={**first, "b": p._town(), "v": f"{p._number(two)} miles"},
    )


def _direction(p: Planter) -> _Pair:
    a, b = p._town(), p._town()
    side = p.rng.choice(list(OPPOSITE))
    first = {"a": a, "b": b, "v": side}
    return _Pair(
        first=first,
        unlike={**first, "v": OPPOSITE[side]},
        like={"a": b, "b": a, "v": OPPOSITE[side]},
        other={**first, "b": p._town(), "v": OPPOSITE[side]},
    )


def _rule(p: Planter) -> _Pair:
    (base, past, part, thing), another = p.rng.sample(list(p.words.habits), 2)
    slots = {"p": p._person(), "base": base, "past": past, "part": part, "o": thing}
    return _Pair(
        first=slots,
        unlike=slots,
        like={**slots, "past": another[1], "o": another[3]},
        other={**slots, "p": p._person()},
    )


def _law(p: Planter) -> _Pair:
    pair = _rule(p)
    place = p._town()
    return _Pair(
        first={**pair.first, "x": place},
        unlike={**pair.unlike, "x": place},
        like={**pair.like, "x": place},
        other={**pair.unlike, "x": p._town()},
    )


_SLOTS: dict[str, Callable[[Planter], _Pair]] = {
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
PLANTABLE = tuple(_SLOTS)
SELF_CONTRADICTING = ("weekday", "elapsed", "list_count")
"""Kinds whose error stands in one sentence."""


def paired(kinds: Sequence[str]) -> Iterator[str]:
    """Kinds whose errors need two places."""
    return (kind for kind in kinds if kind not in SELF_CONTRADICTING)
