"""The changing part of a greenhouse, and its way to JSON and back.

Everything here is a number, a string, a list or a dict of those; floats survive JSON exactly. The weather is not part
of it: it is drawn again from the seed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .config import BEDS, Config

SNAPSHOT_VERSION = 1


@dataclass(slots=True)
class Bed:
    vigour: float
    stress: float = 0.0
    """Damage done and not yet visible."""
    aphids: float = 0.0
    """Per leaf."""
    mould: float = 0.0
    """Part of the leaves, 0..1."""
    soil: float = 1.0
    """Factor on the value; tired soil pays less in later winters."""
    dusted_day: int = 0


@dataclass(slots=True)
class Sensor:
    fault: str = ""
    size_c: float = 0.0
    """Bias, drift per day, or for a stuck sensor the reading it is stuck at."""
    error_c: float = 0.0
    """What it adds to the truth now; unused when stuck."""


@dataclass(slots=True)
class Order:
    litres: int
    days_left: int


@dataclass(slots=True)
class Ledger:
    """Counts of one winter, for the outcome; the player never sees them as such."""

    spent_eur: int = 0
    earned_eur: int = 0
    orders: int = 0
    fuel_ordered_l: int = 0
    fuel_delivered_l: float = 0.0
    fuel_overflow_l: float = 0.0
    fuel_burned_l: float = 0.0
    storm_nights: int = 0
    frost_nights: int = 0
    """Nights with an inside low below 0 °C."""
    coldest_inside_c: float = 99.0
    inspections: int = 0
    aphid_treatments: list[int] = field(default_factory=lambda: [0] * len(BEDS))
    mould_treatments: list[int] = field(default_factory=lambda: [0] * len(BEDS))
    sensor_faults: int = 0
    sensors_replaced: int = 0
    hand_checks: int = 0
    seed_mould_stopped: bool = False
    loan_repaid_day: int = 0
    late_fee_eur: int = 0


@dataclass(slots=True)
class State:
    seed: int
    winter: int
    day: int
    slots: int
    money_eur: int
    owed_eur: int
    fuel_l: float
    humidity_pct: float
    beds: list[Bed]
    sensors: list[Sensor]
    orders: list[Order] = field(default_factory=list)
    heat_c: int = 8
    vents_open: bool = False
    shutters_closed: bool = False
    sensor_mode: str = "both"
    inside_low_c: float = 10.0
    """The truth behind the readings."""
    readings: dict[str, float] = field(default_factory=dict)
    news: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    ledger: Ledger = field(default_factory=Ledger)
    results: list[dict[str, Any]] = field(default_factory=list)
    """The facts of the winters that are over."""
    over: bool = False


def fresh_state(seed: int, config: Config) -> State:
    return State(
        seed=seed,
        winter=1,
        day=1,
        slots=config.slots_per_day,
        money_eur=config.purse_eur,
        owed_eur=0,
        fuel_l=config.start_fuel_l,
        humidity_pct=65.0,
        beds=[Bed(vigour=config.start_vigour) for _ in BEDS],
        sensors=[Sensor(), Sensor()],
    )


def to_json(state: State) -> dict[str, Any]:
    return asdict(state)


def from_json(values: dict[str, Any]) -> State:
    """Inverse of `to_json`. The caller has checked that the values come from the same rules."""
    plain = {f.name: _copy(values[f.name]) for f in fields(State)}
    plain["beds"] = [Bed(**bed) for bed in plain["beds"]]
    plain["sensors"] = [Sensor(**sensor) for sensor in plain["sensors"]]
    plain["orders"] = [Order(**order) for order in plain["orders"]]
    plain["ledger"] = Ledger(**plain["ledger"])
    return State(**plain)


def _copy(value: Any) -> Any:
    """Deep copy of JSON values, so that the state never shares a list with somebody's snapshot."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
