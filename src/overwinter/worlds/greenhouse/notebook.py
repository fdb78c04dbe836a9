"""The greenhouse's notebook: 25 short lines that say what a careful player knows, from observations and public rules.

    left 89 · heat 8 both vents shut shutters open · tonight -7 storm 2 · tomorrow -4 storm 70 · …
    east off 1.5 ~0.4 · tank 480 · coming 200 in 3 · north aphids 2 mould 0.5 · north unseen 3 · …

Numbers are rounded to steps that matter for a decision, and clipped, so the set of all lines is finite (`all_lines`) and a tokenizer can
make each line one token: a page costs a small model 25 tokens. What is judged together stands on one line. The arithmetic behind
"off" and "aphids" is `Belief`, the same that the scripted expert keeps; deciding is left to who reads the page.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, TypeVar

from overwinter.worlds.world import Observation

from .belief import SETTING_AFTER, Belief
from .config import BEDS, HEAT_LEVELS_C, SENSOR_MODES, SENSORS, Config

_CHANCES = (0, 2, 5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90)
_APHIDS = (0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 35.0, 60.0, 100.0, 150.0)
_MOULD = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 35.0, 60.0)
_UNSURE = (0.0, 0.4, 0.8, 1.5, 3.0)
_AHEAD = (*range(21), 30, 40, 50, 60, 70, 80)
_NO_NOTE = "none"
Number = TypeVar("Number", int, float)


class GreenhouseNotebook:
    """See the module docstring."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.reset()

    def reset(self) -> None:
        self.belief = Belief()
        self._seen: dict[str, Any] = {}
        self._dusted = False

    def take_in(self, action: str | None, observation: Observation) -> None:
        if action in SETTING_AFTER:
            self.belief.assume(*SETTING_AFTER[action])
        seen = observation.data
        if self._seen and seen["winter"] != self._seen["winter"]:
            self._dusted = False
        self.belief.take_in(seen, self.config)
        self._seen = seen
        answer, note = seen["answer"], self.belief.notes.get("note_seed")
        if note and answer and answer["kind"] == "treated" and answer["against"] == "mould":
            in_time = note["dust_from"] < seen["day"] <= note["day"]
            self._dusted = self._dusted or (in_time and answer["bed"] == note["bed"])

    def lines(self) -> list[str]:
        seen = self._seen
        return [
            *_time(seen),
            *_night(seen),
            *self._air(seen),
            *_fuel(seen),
            *self._dues(seen),
            *self._beds(),
            _did(seen),
        ]

    def _air(self, seen: dict[str, Any]) -> Iterator[str]:
        sensors = self.belief.sensors
        for i, name in enumerate(SENSORS):
            off_c, unsure_c = sensors.mean_c[i], max(0.0, sensors.var[i]) ** 0.5
            yield f"{name} stuck" if sensors.stuck(i) else f"{name} off {_half(off_c)} ~{_step(unsure_c, _UNSURE)}"
        yield f"inside {_clip(round(self.belief.inside_c), -15, 20)}"
        yield f"damp {_clip(2 * round(seen['readings']['humidity_pct'] / 2), 44, 100)}"

    def _dues(self, seen: dict[str, Any]) -> Iterator[str]:
        day, notes = seen["day"], self.belief.notes
        holiday = notes.get("note_holiday")
        closed = (holiday["first_day"], holiday["last_day"]) if holiday else (None, None)
        yield f"supplier {seen['supplier']} holiday {_window(day, *closed)}"
        yield f"money {_clip(25 * (seen['money_eur'] // 25), 0, 2000)}"
        loan = notes.get("note_loan")
        due = _window(day, loan["due_day"], loan["due_day"]) if loan and seen["owed_eur"] else _NO_NOTE
        yield f"owed {_clip(100 * (seen['owed_eur'] // 100), 0, 500)} due {due}"
        seed = notes.get("note_seed")
        done = seed is None or self._dusted
        dusting = _NO_NOTE if seed is None or done else _window(day, seed["dust_from"] + 1, seed["day"])
        yield f"mouldy seed {seed['bed'] if seed else _NO_NOTE} dusting {dusting}"

    def _beds(self) -> Iterator[str]:
        for name, bed in zip(BEDS, self.belief.beds, strict=True):
            pests = f"aphids {_step(bed.aphids, _APHIDS)} mould {_step(bed.mould_pct, _MOULD)}" if bed.alive else "dead"
            yield f"{name} {pests}"
            yield f"{name} unseen {min(bed.unseen_days, 12)}"
        yield f"looked {min(self.belief.days_since_look, 6)}"


def all_lines() -> list[str]:
    """Every line that a page can hold, for making a vocabulary."""
    lines = [f"left {left}" for left in range(121)]
    settings = product(HEAT_LEVELS_C, SENSOR_MODES, ("open", "shut"), ("open", "closed"))
    lines += [f"heat {level} {mode} vents {v} shutters {s}" for level, mode, v, s in settings]
    for when in ("tonight", "tomorrow", "later"):
        lines += [f"{when} {low} storm {pct}" for low, pct in product(range(-25, 13), _CHANCES)]
    halves = [f"{_half(half / 2)}" for half in range(-12, 13)]
    for name in SENSORS:
        lines += [f"{name} stuck", *(f"{name} off {off} ~{unsure:g}" for off, unsure in product(halves, _UNSURE))]
    lines += [f"inside {c}" for c in range(-15, 21)] + [f"damp {pct}" for pct in range(44, 101, 2)]
    lines += [f"tank {litres}" for litres in range(0, 601, 10)] + [f"stock {litres}" for litres in range(0, 1401, 20)]
    arrivals = product(range(0, 801, 100), (_NO_NOTE, *range(11)))
    lines += [f"coming {litres} in {days}" for litres, days in arrivals] + [
        f"price {cents}" for cents in range(60, 181, 4)
    ]
    windows = [_NO_NOTE, "over", *(f"in {n}" for n in _AHEAD), *(f"until {n}" for n in range(11))]
    lines += [f"supplier {now} holiday {window}" for now, window in product(("open", "closed"), windows)]
    lines += [f"money {eur}" for eur in range(0, 2001, 25)]
    lines += [f"owed {eur} due {window}" for eur, window in product(range(0, 501, 100), windows)]
    lines += [f"mouldy seed {bed} dusting {window}" for bed, window in product((*BEDS, _NO_NOTE), windows)]
    for bed in BEDS:
        lines += [f"{bed} aphids {a:g} mould {m:g}" for a, m in product(_APHIDS, _MOULD)]
        lines += [f"{bed} dead", *(f"{bed} unseen {days}" for days in range(13))]
    lines += [f"looked {days}" for days in range(7)]
    return lines + [f"slots {slots} did {deed}" for slots, deed in product(range(3), _deeds())]


def _time(seen: dict[str, Any]) -> Iterable[str]:
    yield f"left {_clip(seen['days'] - seen['day'] + 1, 0, 120)}"
    yield f"heat {seen['heat_c']} {seen['sensor_mode']} vents {seen['vents']} shutters {seen['shutters']}"


def _night(seen: dict[str, Any]) -> Iterable[str]:
    forecast = seen["forecast"]
    lasts = seen["storm_lasts_pct"] / 100.0
    tonight_pct = 100.0 * (1.0 - (1.0 - forecast[0]["storm_pct"] / 100.0) * (1.0 - lasts))
    rows = (
        ("tonight", forecast[0]["low_c"], tonight_pct),
        ("tomorrow", forecast[1]["low_c"], forecast[1]["storm_pct"]),
        ("later", min(f["low_c"] for f in forecast[2:]), max(f["storm_pct"] for f in forecast[2:])),
    )
    for when, low_c, storm_pct in rows:
        yield f"{when} {_clip(low_c, -25, 12)} storm {_step(storm_pct + 1e-9, _CHANCES)}"


def _fuel(seen: dict[str, Any]) -> Iterable[str]:
    coming_l = sum(order["litres"] for order in seen["orders"])
    soonest = min((order["days_left"] for order in seen["orders"]), default=None)
    days = _NO_NOTE if soonest is None else _clip(soonest, 0, 10)
    yield f"tank {_clip(10 * round(seen['fuel_l'] / 10), 0, 600)}"
    yield f"coming {_clip(100 * round(coming_l / 100), 0, 800)} in {days}"
    yield f"stock {_clip(20 * round((seen['fuel_l'] + coming_l) / 20), 0, 1400)}"
    yield f"price {_clip(4 * round(25 * seen['price_eur']), 60, 180)}"


def _did(seen: dict[str, Any]) -> str:
    answer, slots = seen["answer"], min(seen["slots"], 2)
    if answer is None or (answer["kind"] == "checked" and answer["day"] != seen["day"]):
        return f"slots {slots} did nothing"
    kind = answer["kind"]
    if kind == "treated":
        return f"slots {slots} did treated {answer['bed']} {answer['against']}"
    return f"slots {slots} did " + (f"inspected {answer['bed']}" if kind == "inspected" else kind)


def _deeds() -> list[str]:
    plain = ["nothing", "wait", "set", "ordered", "replaced", "checked", "repaid", "beds", "orders", "rules"]
    treated = [f"treated {bed} {pest}" for bed, pest in product(BEDS, ("aphids", "mould"))]
    return [*plain, *(f"inspected {bed}" for bed in BEDS), *treated]


def _window(day: int, first: int | None, last: int | None) -> str:
    """Where `day` stands to a span of days: before it, in it, past it."""
    if first is None or last is None:
        return _NO_NOTE
    if day > last:
        return "over"
    return f"until {_clip(last - day, 0, 10)}" if day >= first else f"in {_step(first - day, _AHEAD)}"


def _step(value: float, steps: tuple[float, ...]) -> str:
    """The largest step that is not above `value`."""
    return f"{steps[max(0, bisect_right(steps, value) - 1)]:g}"


def _half(value: float) -> str:
    return f"{_clip(round(2.0 * value) / 2.0, -6.0, 6.0) + 0.0:g}"


def _clip(value: Number, low: Number, high: Number) -> Number:
    return min(high, max(low, value))
