"""Ten years of a country house as somebody told them, event by event: mostly small talk, sometimes a fact that will matter years later.

Everything follows from the seed and the day, so a process that was killed goes on with the same events. A day has 200 events:

- a fact about one of 480 things (a code, a supplier, a phone, …), told once and changed about every two years;
- one promise with a date, days to years ahead;
- two things left somewhere, asked for later;
- small talk and readings, about the same people, things and places, that answer nothing.
"""

from __future__ import annotations

import datetime as dt
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

FIRST_DAY = dt.date(2031, 1, 1)
DAY_US = 86_400_000_000
YEARS, EVENTS = 10, 200

PEOPLE = [
    "Ada",
    "Bruno",
    "Clara",
    "Dmitri",
    "Edith",
    "Fabian",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Klara",
    "Leon",
    "Mira",
    "Nils",
    "Olga",
    "Pavel",
    "Quentin",
    "Rosa",
    "Stefan",
    "Tilda",
    "Ulrich",
    "Vera",
    "Willem",
    "Xenia",
    "Yannis",
    "Zora",
]
THINGS = [
    "ladder",
    "pruning saw",
    "seed tray",
    "thermometer",
    "lantern",
    "watering can",
    "ledger",
    "spare fuse",
    "trowel",
    "hose",
    "toolbox",
    "blanket",
    "extension lead",
    "pump key",
    "wheelbarrow",
    "camera",
    "compass",
    "drill",
    "kettle",
    "notebook",
]
COLOURS = ["red", "blue", "green", "grey", "yellow", "black", "white", "brown", "copper", "silver"]
PLACES = [
    "boiler room",
    "north shed",
    "cellar",
    "orchard hut",
    "attic",
    "stable",
    "potting shed",
    "gatehouse",
    "pantry",
    "workshop",
    "ice house",
    "loft",
    "coal store",
    "mill",
    "chapel",
    "laundry",
    "dairy",
    "west porch",
    "barn",
    "scullery",
]
SUBJECTS = [f"{colour} {place}" for colour in COLOURS[:6] for place in PLACES[:10]]
PREDICATES = [
    "door code",
    "supplier",
    "service phone",
    "key holder",
    "inspection month",
    "paint",
    "insurer",
    "meter number",
]
TASKS = [
    "renew the lease of the {}",
    "have the {} inspected",
    "return the drawings of the {}",
    "pay the deposit for the {}",
    "call the notary about the {}",
    "replace the lock of the {}",
    "drain the pipes of the {}",
    "order slates for the {}",
]
TALK = [
    "{p} said the {t} looks fine today.",
    "{p} and {q} had tea in the {r}.",
    "Rain over the {r} again; {p} stayed in.",
    "{p} asked {q} about the {t}, nothing urgent.",
    "Reading {n}: {x:.1f} degrees in the {r}.",
    "{p} swept the {r}.",
    "{q} thinks {p} works too much.",
    "The {t} was cleaned by {p}.",
    "{p} walked past the {r} at noon.",
    "Meter {n} shows {x:.1f} at the {r}.",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing told: minute of the day, who said it, and the words."""

    minute: int
    actor: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """Asked on a day, after its events: an answer is right if what is recalled holds `needle`.

    Attributes:
        kind: "promise", "current", "as_of" or "left".
        told: days since what answers it was told.
        at: the day it is asked about, of kind "as_of".
    """

    kind: str
    text: str
    needle: str
    told: int
    at: dt.date | None = None


@dataclass
class Plan:
    """What is told and asked on which day: day number → rows."""

    told: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    asked: dict[int, list[Question]] = field(default_factory=lambda: defaultdict(list))


def date_of(day: int) -> dt.date:
    return FIRST_DAY + dt.timedelta(days=day)


def spelt(day: int, rng: random.Random) -> str:
    date = date_of(day)
    return date.isoformat() if rng.random() < 0.5 else f"{date.day} {date:%B %Y}"


def time_us(day: int, minute: int = 0) -> int:
    start = dt.datetime.combine(date_of(day), dt.time(), tzinfo=dt.UTC)
    return round(start.timestamp()) * 1_000_000 + minute * 60_000_000


def make_plan(seed: int, years: int = YEARS) -> Plan:
    """Facts, promises and things left, and when each is asked for."""
    rng, plan, days = random.Random(f"decade/{seed}"), Plan(), years * 365
    _facts(rng, plan, days)
    _promises(rng, plan, days)
    _left(rng, plan, days)
    return plan


def _facts(rng: random.Random, plan: Plan, days: int) -> None:
    for subject in SUBJECTS:
        for predicate in PREDICATES:
            day, history = rng.randrange(min(300, days)), list[tuple[int, str]]()
            while day < days:
                value = _value(predicate, rng)
                change = f"The {predicate} of the {subject} is now {value}."
                plan.told[day].append(change if history else f"The {predicate} of the {subject} is {value}.")
                history.append((day, value))
                day += max(round(rng.expovariate(1 / 730)), 30)
            _ask_facts(rng, plan, days, f"{predicate} of the {subject}", history)


def _ask_facts(rng: random.Random, plan: Plan, days: int, what: str, history: list[tuple[int, str]]) -> None:
    for place, (told, value) in enumerate(history):
        until = history[place + 1][0] if place + 1 < len(history) else days
        if until - told > 2:
            day = rng.randrange(told + 1, until)
            plan.asked[day].append(
                Question(kind="current", text=f"What is the {what} now?", needle=value, told=day - told)
            )
        if until < days and until - told > 2:
            about, day = rng.randrange(told + 1, until), rng.randrange(until, days)
            text = f"What was the {what} on {date_of(about).isoformat()}?"
            plan.asked[day].append(Question(kind="as_of", text=text, needle=value, told=day - told, at=date_of(about)))


def _value(predicate: str, rng: random.Random) -> str:
    number = rng.randrange(10**6)
    return {
        "door code": f"{number:06d}",
        "supplier": f"{rng.choice(['Hall', 'Moss', 'Reed', 'Birch', 'Stone'])} & {rng.choice(['Sons', 'Daughters'])} {number % 997}",
        "service phone": f"0{rng.randrange(100, 999)}-{number:06d}",
        "key holder": f"{rng.choice(PEOPLE)} {rng.choice(['Abel', 'Bohr', 'Curie', 'Dirac', 'Euler', 'Fermi'])}-{number % 991}",
        "inspection month": f"{rng.choice(['January', 'March', 'May', 'July', 'October'])} of cycle {number % 983}",
        "paint": f"{rng.choice(COLOURS)} no. {number % 9973}",
        "insurer": f"Policy {number:06d} at {rng.choice(['Union', 'Mutual', 'Harbour', 'Alpine'])}",
        "meter number": f"M-{number:06d}",
    }[predicate]


def _promises(rng: random.Random, plan: Plan, days: int) -> None:
    for day in range(days):
        due = day + round(math.exp(rng.uniform(0, math.log(5 * 365))))
        task, person = rng.choice(TASKS).format(rng.choice(SUBJECTS)), rng.choice(PEOPLE)
        plan.told[day].append(f"I promised {person} to {task} on {spelt(due, rng)}.")
        if due < days:
            text = f"What did I promise to do on {spelt(due, rng)}?"
            plan.asked[due].append(Question(kind="promise", text=text, needle=task, told=due - day))


def _left(rng: random.Random, plan: Plan, days: int) -> None:
    for day in range(days):
        for part in range(2):
            person, thing = rng.choice(PEOPLE), f"{rng.choice(COLOURS)} {rng.choice(THINGS)} no. {2 * day + part}"
            place = rng.choice(PLACES)
            plan.told[day].append(f"{person} left the {thing} in the {place}.")
            later = day + round(math.exp(rng.uniform(0, math.log(9 * 365))))
            if later < days and rng.random() < 0.3:
                question = f"Where did {person} leave the {thing}?"
                plan.asked[later].append(
                    Question(kind="left", text=question, needle=f"in the {place}", told=later - day)
                )


def events(seed: int, plan: Plan, day: int, count: int = EVENTS) -> Iterator[Event]:
    """The events of a day, in order of time."""
    rng = random.Random(f"decade/{seed}/{day}")
    told = plan.told.get(day, [])
    rows = [("user", text) for text in told]
    while len(rows) < count:
        p, q = rng.sample(PEOPLE, 2)
        text = rng.choice(TALK).format(
            p=p, q=q, t=rng.choice(THINGS), r=rng.choice(PLACES), n=rng.randrange(100), x=rng.uniform(-5, 30)
        )
        rows.append((f"person:{p}", text))
    rng.shuffle(rows)
    minutes = sorted(rng.randrange(1440) for _ in rows)
    for minute, (actor, text) in zip(minutes, rows, strict=True):
        yield Event(minute=minute, actor=actor, text=text)


def questions(seed: int, plan: Plan, day: int, most: int) -> list[Question]:
    """Questions of a day, at most so many, of all kinds alike."""
    rng = random.Random(f"decade/asked/{seed}/{day}")
    rows = list(plan.asked.get(day, []))
    rng.shuffle(rows)
    by_kind: dict[str, list[Question]] = defaultdict(list)
    for row in rows:
        by_kind[row.kind].append(row)
    chosen: list[Question] = []
    while len(chosen) < most and any(by_kind.values()):
        chosen += [by_kind[kind].pop() for kind in sorted(by_kind) if by_kind[kind]]
    return chosen[:most]
