"""Histories of facts that change, with questions whose answers are known: the cases of bench_memory_updates.py.

A case is a list of tellings and one question. Each telling can be given as a sentence (from a list of templates) or as data (`facts`),
so the same cases measure the rules that settle claims and the rules that read sentences. Expected answers come from the plan of the
case, not from the code under test. Everything follows from the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from memory_phrases import ATTRIBUTES, EFFECTS, FILLERS, NAMES, POSSESSIONS, THINGS, VALUES, Templates
from overwinter.memory.unit import TRUSTED, UNTRUSTED, Unit, rough_tokens, text_digest

DAY = 86_400_000_000
START = datetime(2031, 1, 1, 9, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


@dataclass(frozen=True, kw_only=True)
class Telling:
    """One thing said: on day `told`, about what holds from day `since` (the same day, or earlier with a date in the sentence)."""

    text: str
    fact: dict[str, Any]
    told: int
    trust: str = TRUSTED
    actor: str = "user"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Attributes: kind: the class it counts for. ask: what is asked (see bench). expected: the right answer, None for nothing."""

    kind: str
    subject: str
    predicate: str
    ask: str
    tellings: tuple[Telling, ...]
    expected: Any
    valid_us: int | None = None
    known_us: int | None = None
    note: dict[str, Any] = field(default_factory=dict)


def day_us(day: int) -> int:
    return START_US + day * DAY


def date_words(day: int, rng: random.Random) -> str:
    moment = START + timedelta(days=day)
    return rng.choice(
        [f"{moment.day} {moment:%B %Y}", f"{moment:%B} {moment.day}, {moment.year}", f"{moment:%Y-%m-%d}"]
    )


def midnight(day: int) -> int:
    return day_us(day) - 9 * 3_600_000_000


def units_of(case: Case, name: str, *, as_facts: bool) -> tuple[list[Unit], dict[str, list[dict[str, Any]]]]:
    """The tellings as units; as data, the sentences are replaced by ones that say nothing but the object."""
    units: list[Unit] = []
    facts: dict[str, list[dict[str, Any]]] = {}
    for number, telling in enumerate(case.tellings):
        text = f"Recorded. {telling.fact['object']}" if as_facts else telling.text
        id_ = hashlib.sha256(f"{name}/{number}/{text}".encode()).hexdigest()[:32]
        moment = day_us(telling.told) + number
        units.append(
            Unit(
                id=id_,
                run=name,
                seq=number,
                first=0,
                last=len(text),
                session=f"{name}-{telling.told}",
                place=0,
                kind="message",
                actor=telling.actor,
                trust=telling.trust,
                happened_us=moment,
                happened_until_us=moment,
                told_us=moment,
                text=text,
                tokens=rough_tokens(text),
                digest=text_digest(text),
            )
        )
        if as_facts:
            facts[id_] = [telling.fact]
    return units, facts


class Writer:
    """Writes the cases of one list of templates."""

    def __init__(self, seed: int, templates: Templates) -> None:
        self.rng = random.Random(seed)
        self.templates = templates

    # Pieces

    def pick(self) -> tuple[str, str, list[str]]:
        """A subject, one of its attributes, and values for it, all different."""
        attribute = self.rng.choice(sorted(ATTRIBUTES))
        subject = self.rng.choice(NAMES if ATTRIBUTES[attribute] == "person" else THINGS)
        return subject, attribute, self.rng.sample(VALUES[attribute], 6)

    def say(self, kind: str, subject: str, attribute: str, **words: str) -> str:
        sentence = self.rng.choice(getattr(self.templates, kind)).format(S=subject, P=attribute, **words)
        sentence = sentence[0].upper() + sentence[1:]
        before, after = self.rng.random() < 0.3, self.rng.random() < 0.3
        return (
            (self.rng.choice(FILLERS) + " " if before else "")
            + sentence
            + (" " + self.rng.choice(FILLERS) if after else "")
        )

    def set(self, key: tuple[str, str], value: str, day: int, *, since: int | None = None, **options: Any) -> Telling:
        """Told on a day; with `since`, dated back by words."""
        subject, attribute = key
        fact: dict[str, Any] = {"subject": subject, "predicate": attribute, "object": value}
        if since is None:
            text = self.say("sets", subject, attribute, V=value)
        else:
            fact["valid_from_us"] = midnight(since)
            text = self.say("dated", subject, attribute, V=value, D=date_words(since, self.rng))
        return Telling(text=text, fact=fact, told=day, **options)

    def days(self, count: int, *, gap: int = 4) -> list[int]:
        """Ascending days, some apart."""
        return [number * 30 + self.rng.randrange(0, 30 - gap) for number in range(count)]

    def serial(self, low: int = 2, high: int = 5) -> tuple[tuple[str, str], list[str], list[int], list[Telling]]:
        subject, attribute, values = self.pick()
        count = self.rng.randint(low, high)
        days = self.days(count)
        tellings = [self.set((subject, attribute), value, day) for value, day in zip(values, days, strict=False)]
        return (subject, attribute), values[:count], days, tellings

    # Classes of cases

    def current(self) -> Case:
        key, values, _, tellings = self.serial()
        return self.case("current", key, "value", tellings, values[-1])

    def previous(self) -> Case:
        key, values, _, tellings = self.serial()
        return self.case("previous", key, "previous", tellings, values[-2])

    def changes(self) -> Case:
        """Repeats in other words count for nothing."""
        key, values, days, tellings = self.serial(2, 4)
        extra = [
            self.set(key, values[place], days[place] + 2) for place in range(len(values)) if self.rng.random() < 0.5
        ]
        tellings = sorted(tellings + extra, key=lambda one: one.told)
        return self.case("count of changes", key, "changes", tellings, len(values) - 1)

    def as_of_valid(self) -> Case:
        key, values, days, tellings = self.serial(3, 5)
        place = self.rng.randrange(len(values))
        return self.case("as of: valid", key, "value", tellings, values[place], valid_us=day_us(days[place] + 2))

    def as_of_known(self) -> Case:
        """A change told late: before the telling, the old value was believed of the days in between; since then, the new one."""
        subject, attribute, values = self.pick()
        key, (first, since, told) = (subject, attribute), (0, 30 + self.rng.randrange(10), 70 + self.rng.randrange(20))
        tellings = [self.set(key, values[0], first), self.set(key, values[1], told, since=since)]
        between = day_us(self.rng.randrange(since + 1, told - 1))
        before = self.rng.random() < 0.5
        known = day_us(told - 1) if before else day_us(told + 1)
        return self.case(
            "as of: known", key, "value", tellings, values[0] if before else values[1], valid_us=between, known_us=known
        )

    def out_of_order(self) -> Case:
        """The newest value is told first, the older ones later, with their dates."""
        subject, attribute, values = self.pick()
        count, key = self.rng.randint(2, 4), (subject, attribute)
        sinces = self.days(count)
        tellings = [
            self.set(key, values[place], 200 + number, since=sinces[place])
            for number, place in enumerate(self.shuffled(count))
        ]
        if self.rng.random() < 0.5:
            return self.case("told out of order", key, "value", tellings, values[count - 1])
        place = self.rng.randrange(count)
        return self.case("told out of order", key, "value", tellings, values[place], valid_us=day_us(sinces[place] + 2))

    def shuffled(self, count: int) -> list[int]:
        places = list(range(count))
        while places == sorted(places):
            self.rng.shuffle(places)
        return places

    def cascade(self) -> Case:
        """B holds because A does; when A changes, B is in doubt, unless it was said by itself since."""
        subject, ground, values = self.pick()
        effect = self.rng.choice(EFFECTS)
        made = f"{self.rng.choice('QXZ')}{self.rng.randrange(100, 999)}"
        first = self.rng.randrange(0, 20)
        a = {"subject": subject, "predicate": ground, "object": values[0]}
        b = {"subject": subject, "predicate": effect, "object": made, "depends": [a]}
        text = self.say("because", subject, ground, V=values[0], E=effect, W=made)
        tellings = [self.set((subject, ground), values[0], first), Telling(text=text, fact=b, told=first + 3)]
        changes, stands = self.rng.random() < 0.7, self.rng.random() < 0.3
        if stands:
            tellings.append(self.set((subject, effect), made, first + 50))
        if changes:
            tellings.append(self.set((subject, ground), values[1], first + 40))
            tellings.sort(key=lambda one: one.told)
        expected = made if stands or not changes else None
        note = {"in_doubt": expected is None, "last": made}
        return self.case("cascade", (subject, effect), "value", tellings, expected, note=note)

    def absence(self) -> Case:
        """Given up: nothing holds, and the last value is known. Or never told: nothing is known."""
        key, values, days, tellings = self.serial(1, 3)
        if self.rng.random() < 0.15:
            return self.case("absence", ("Nobody", key[1]), "value", tellings, None, note={"last": None})
        fact = {"subject": key[0], "predicate": key[1], "object": values[-1], "polarity": False}
        tellings.append(Telling(text=self.say("ends", *key, V=values[-1]), fact=fact, told=days[-1] + 30))
        return self.case("absence", key, "value", tellings, None, note={"last": values[-1]})

    def possession(self) -> Case:
        """Several things may be had at once; one is given up."""
        subject, things = self.rng.choice(NAMES), self.rng.sample(POSSESSIONS, 3)
        tellings = []
        for number, thing in enumerate(things[:2]):
            fact = {"subject": subject, "predicate": "has", "object": thing}
            tellings.append(Telling(text=self.say("gets", subject, "", V=thing), fact=fact, told=10 * number))
        gone = self.rng.randrange(2)
        fact = {"subject": subject, "predicate": "has", "object": things[gone], "polarity": False}
        tellings.append(Telling(text=self.say("gives_up", subject, "", V=things[gone]), fact=fact, told=40))
        asked = self.rng.randrange(3)
        return self.case(
            "absence", (subject, "has"), "has", tellings, asked == 1 - gone, note={"object": things[asked]}
        )

    def untrusted(self) -> Case:
        """What a tool or the web says against a trusted source ends nothing; it is told as standing beside."""
        key, values, days, tellings = self.serial(1, 3)
        other = self.rng.choice([value for value in VALUES[key[1]] if value not in values])
        tellings.append(self.set(key, other, days[-1] + 20, trust=UNTRUSTED, actor="tool:fetch"))
        return self.case("untrusted contradiction", key, "value", tellings, values[-1], note={"beside": other})

    def corrected(self) -> Case:
        """It never was so: nothing of it is believed any more, about any time; before the correction it was."""
        subject, attribute, values = self.pick()
        key, first, told = (subject, attribute), self.rng.randrange(0, 10), 40 + self.rng.randrange(20)
        text = self.say("corrects", subject, attribute, V=values[1], A=values[0])
        fact = {"subject": subject, "predicate": attribute, "object": values[1], "valid_from_us": day_us(first)}
        tellings = [self.set(key, values[0], first), Telling(text=text, fact=fact, told=told)]
        before = self.rng.random() < 0.4
        return self.case(
            "correction",
            key,
            "value",
            tellings,
            values[0] if before else values[1],
            valid_us=day_us(first + 3),
            known_us=day_us(told - 1) if before else None,
        )

    def home(self) -> Case:
        """The same, said with verbs that name no attribute."""
        person, places = self.rng.choice(NAMES), self.rng.sample(VALUES["home"], 4)
        count = self.rng.randint(2, 4)
        days = self.days(count)
        tellings = []
        for place, day in zip(places, days, strict=False):
            fact = {"subject": person, "predicate": "home", "object": place}
            tellings.append(Telling(text=self.say("homes", person, "home", V=place), fact=fact, told=day))
        ask = self.rng.choice(["value", "previous"])
        kind = "current" if ask == "value" else "previous"
        return self.case(kind, (person, "home"), ask, tellings, places[count - 1 if ask == "value" else count - 2])

    def case(
        self, kind: str, key: tuple[str, str], ask: str, tellings: Sequence[Telling], expected: Any, **more: Any
    ) -> Case:
        return Case(
            kind=kind, subject=key[0], predicate=key[1], ask=ask, tellings=tuple(tellings), expected=expected, **more
        )


def cases(seed: int, templates: Templates, each: int) -> Iterator[Case]:
    """`each` cases of every class, in a fixed order."""
    writer = Writer(seed, templates)
    makers = (
        writer.current,
        writer.previous,
        writer.changes,
        writer.as_of_valid,
        writer.as_of_known,
        writer.out_of_order,
        writer.cascade,
        writer.absence,
        writer.untrusted,
        writer.corrected,
    )
    seconds = {writer.current: writer.home, writer.previous: writer.home, writer.absence: writer.possession}
    for maker in makers:
        for number in range(each):
            yield seconds[maker]() if maker in seconds and number % 3 == 2 else maker()
