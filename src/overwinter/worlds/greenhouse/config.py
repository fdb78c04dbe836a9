"""The rules of the greenhouse as numbers. All of it is public, and players may use it: docs/greenhouse.md."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from overwinter.errors import UsageError

BEDS = ("north", "middle", "south")
SENSORS = ("east", "west")
SENSOR_MODES = ("both", "east", "west")
HEAT_LEVELS_C = (0, 4, 8, 12)
"""Thermostat settings; 0 means that the heating is off."""
ORDER_SIZES_L = (100, 200, 400)


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """What grows in one bed."""

    plant: str
    value_eur: int
    """Paid in spring for the whole bed at full vigour."""
    comfort_c: float
    """A night below this leaves stress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One greenhouse. `days` and `winters` are meant to be chosen; the rest is the rules."""

    days: int = 120
    winters: int = 1
    slots_per_day: int = 2
    crops: tuple[Crop, Crop, Crop] = (
        Crop(plant="kale", value_eur=1000, comfort_c=0.0),
        Crop(plant="lemons", value_eur=1800, comfort_c=4.0),
        Crop(plant="tomato seedlings", value_eur=2200, comfort_c=8.0),
    )
    # money
    money_eur: int = 1100
    """What a winter of 120 days begins with; see `purse_eur`."""
    loan_eur: int = 300
    late_fee_eur: int = 200
    market_eur: int = 120
    """Paid on each of three market days, times the mean vigour of the beds."""
    reference_eur: int = 5500
    """A winter that leaves this much, in crops and money less debts, scores 100."""
    success_score: float = 60.0
    # fuel
    tank_l: float = 600.0
    start_fuel_l: float = 200.0
    lead_days: int = 4
    holdup_probability: float = 0.15
    holiday_days: int = 7
    # the house at night
    passive_gain_c: float = 6.5
    sun_spread_c: float = 1.2
    loss_l_per_c: float = 0.8
    """Litres for one degree of lift through a calm night with vents shut."""
    max_lift_c: float = 22.0
    storm_chill_c: float = 6.0
    storm_loss: float = 1.7
    """Factor on the loss in a storm with open shutters; with closed ones `storm_loss_shuttered`."""
    storm_loss_shuttered: float = 1.2
    shutter_gain_c: float = 2.5
    vent_loss: float = 1.3
    vent_chill_c: float = 1.5
    # plants
    start_vigour: float = 0.85
    growth_per_day: float = 0.003
    dark_per_day: float = 0.002
    stress_to_vigour: float = 0.08
    """The part of the stress that turns into lost vigour each day: damage shows about two weeks late."""
    dead_vigour: float = 0.2
    # pests and mould
    treat_aphids_eur: int = 25
    treat_mould_eur: int = 30
    dusting_days: int = 10
    outbreak_mould: float = 0.3
    # sensors
    replace_sensor_eur: int = 60
    sensor_noise_c: float = 0.4
    fault_probability: float = 0.012

    def __post_init__(self) -> None:
        if not 20 <= self.days <= 365:
            raise UsageError(f"a winter of {self.days} days is not possible", "choose days between 20 and 365")
        if not 1 <= self.winters <= 50:
            raise UsageError(f"{self.winters} winters are not possible", "choose winters between 1 and 50")

    @property
    def purse_eur(self) -> int:
        """The money a winter begins with: a short one needs less fuel."""
        return round(self.money_eur * self.days / 120)

    def digest(self) -> str:
        """Names these rules in a snapshot, so that it is not restored under other ones."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
