"""Units made by hand, and small corpora of them, for the tests of retrieval."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from overwinter.memory.plain import PlainIndex
from overwinter.memory.unit import TRUSTED, Unit, rough_tokens, text_digest, unit_id

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
START_US = 2_000 * 7 * DAY_US  # a Thursday, 2 May 2008

TOPICS = ("stove", "harvest", "bicycle", "violin", "orchard", "ferry", "lantern", "beehive", "passport", "kiln")
PEOPLE = ("Ada", "Bruno", "Chiara", "Dmitri")
THINGS = ("repaired", "sold", "painted", "lost", "found", "borrowed", "cleaned", "measured")


def make_unit(number: int, text: str, **changes: Any) -> Unit:
    """Unit `number` of a run: an hour after the one before it, ten to a session."""
    session = changes.pop("session", f"s{number // 10}")
    happened_us = changes.pop("happened_us", START_US + number * HOUR_US)
    fields: dict[str, Any] = {
        "id": unit_id(f"entry {number}", 0, len(text)),
        "run": "r1",
        "seq": number,
        "first": 0,
        "last": len(text),
        "session": session,
        "place": number % 10,
        "kind": "message",
        "actor": "user",
        "trust": TRUSTED,
        "happened_us": happened_us,
        "happened_until_us": happened_us,
        "told_us": happened_us,
        "text": text,
        "tokens": rough_tokens(text),
        "digest": text_digest(text),
    }
    return Unit(**fields | changes)


def filled(units: Sequence[Unit]) -> PlainIndex:
    index = PlainIndex()
    with index.transaction():
        index.put_units(units)
    return index


def small_talk(count: int, seed: int = 0) -> list[Unit]:
    """A made-up history: who did what to which thing, with a few repetitions."""
    dice = random.Random(seed)
    units = []
    for number in range(count):
        person = dice.choice(PEOPLE)
        text = f"{person} {dice.choice(THINGS)} the {dice.choice(TOPICS)} number {dice.randrange(40)}."
        units.append(make_unit(number, text, actor=f"person:{person}"))
    return units
