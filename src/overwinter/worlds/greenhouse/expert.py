"""The planning expert: expected costs under its belief, from observations alone.

Each turn it lists what would be worth doing, each with the euros it expects to gain, and does the best one that is
legal. Heating, vents and shutters are judged by the expected cost of the coming night; fuel by the demand it expects
until an order made now could be followed by the next; pests by what they would eat before anybody looks again.
It knows the rules (`Config`), never the hidden state, and it keeps the early notes in mind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from overwinter.worlds.world import Observation

from .actions import LOOK_AT_BEDS, WAIT, heat_action, sensor_mode_action, soaped
from .belief import SETTING_AFTER, Belief
from .config import BEDS, HEAT_LEVELS_C, ORDER_SIZES_L, SENSOR_MODES, SENSORS, Config
from .night import MOULD_HARM, aphid_factor, damp_rise_pct, eaten_by, losses, stress_of
from .weather import mean_low_c, storm_prior

_STORM_SHARE = 2.0
"""Nights blown per storm that arrives."""
_WORTH_A_SLOT_EUR = 1.0
_LOOK_EVERY_DAYS = 5
_NIGHTS_A_SETTING_LASTS = 4.0
"""What a thermostat setting saves tonight it saves for some nights more."""


class ExpertPolicy:
    """See the module docstring."""

    name = "expert"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.belief = Belief()
        self._demand_l: list[float] = _expected_demand(self.config)

    def reset(self, seed: int) -> None:  # noqa: ARG002  # the protocol
        self.belief = Belief()

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        seen = observation.data
        self.belief.take_in(seen, self.config)
        if self.belief.days_since_look >= _LOOK_EVERY_DAYS:
            return LOOK_AT_BEDS
        best, best_eur = WAIT, _WORTH_A_SLOT_EUR
        for gain_eur, action in self._wishes(seen):
            if gain_eur > best_eur and action in actions:
                best, best_eur = action, gain_eur
        if best in SETTING_AFTER:
            self.belief.assume(*SETTING_AFTER[best])
        return best

    def _wishes(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        yield from self._climate(seen)
        yield from self._fuel(seen)
        yield from self._pests(seen)
        yield from self._sensors(seen)
        yield from self._debt(seen)

    # -- the coming night

    def _climate(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        """Single changes of the settings, by the expected cost of the night they save."""
        here = (seen["heat_c"], seen["sensor_mode"], seen["shutters"] == "closed", seen["vents"] == "open")
        heat_c, mode, shuttered, aired = here
        now_eur = self._night_eur(seen, *here)
        for level in HEAT_LEVELS_C:
            if level != heat_c:
                saved = now_eur - self._night_eur(seen, level, mode, shuttered, aired)
                yield _NIGHTS_A_SETTING_LASTS * saved - 1.0, heat_action(level)
        for other in SENSOR_MODES:
            if other != mode:
                # With the sensor the level may change too: the next slot will see to it.
                best_eur = min(self._night_eur(seen, level, other, shuttered, aired) for level in HEAT_LEVELS_C)
                yield _NIGHTS_A_SETTING_LASTS * (now_eur - best_eur) - 1.0, sensor_mode_action(other)
        saved = now_eur - self._night_eur(seen, heat_c, mode, not shuttered, aired)
        yield saved, "open shutters" if shuttered else "close shutters"
        saved = now_eur - self._night_eur(seen, heat_c, mode, shuttered, not aired)
        yield saved, "shut vents" if aired else "open vents"

    def _night_eur(self, seen: dict[str, Any], heat_c: int, mode: str, shuttered: bool, aired: bool) -> float:
        """Expected cost of tonight in fuel, stress and damp, over storm or none and three values of the error."""
        config = self.config
        storm_p = _storm_tonight(seen)
        error_c, error_sd = self.belief.sensors.error_of(mode)
        if any(self.belief.sensors.stuck(i) for i, name in enumerate(SENSORS) if mode in ("both", name)):
            error_sd += 4.0
        litre_eur = self._litre_eur(seen)
        total = 0.0
        for storm, p_storm in ((False, 1.0 - storm_p), (True, storm_p)):
            gain_c, loss = losses(storm, shuttered, aired, config)
            chill_c = config.storm_chill_c if storm else 0.0
            passive_c = seen["forecast"][0]["low_c"] - chill_c + gain_c
            for step, p_error in ((-1.5, 0.22), (0.0, 0.56), (1.5, 0.22)):
                wanted_c = heat_c - error_c - step * error_sd if heat_c else -99.0
                lift_c = min(max(0.0, wanted_c - passive_c), config.max_lift_c, seen["fuel_l"] / loss)
                cost = lift_c * loss * litre_eur + self._stress_eur(passive_c + lift_c)
                total += p_storm * p_error * cost
        if shuttered:
            total += config.dark_per_day * self._value_eur()
        return total + self._damp_eur(seen, aired)

    def _stress_eur(self, inside_c: float) -> float:
        scale = 1.0 / (1.0 - self.config.dead_vigour)
        beds = zip(self.config.crops, self.belief.beds, strict=True)
        return sum(c.value_eur * scale * stress_of(c.comfort_c - inside_c) for c, bed in beds if bed.alive)

    def _value_eur(self) -> float:
        beds = zip(self.config.crops, self.belief.beds, strict=True)
        return sum(crop.value_eur for crop, bed in beds if bed.alive) / (1.0 - self.config.dead_vigour)

    def _damp_eur(self, seen: dict[str, Any], aired: bool) -> float:
        """Damp air costs what the mould of it will eat; it grows steeply with what is there already."""
        tomorrow = seen["readings"]["humidity_pct"] + damp_rise_pct(False, False, aired)
        wet = max(0.0, tomorrow - 78.0)
        mould = sum(0.3 + bed.mould_pct for bed in self.belief.beds) / 3.0
        left = self.config.days - seen["day"]
        eaten = 0.012 * wet * mould / 100.0 * MOULD_HARM * min(30.0, left) * self._value_eur()
        return float(eaten)

    def _litre_eur(self, seen: dict[str, Any]) -> float:
        """Fuel is worth its price; more when tank and purse may not last, little when more is left than is needed."""
        need_l = sum(self._demand_l[seen["day"] :])
        stock_l = seen["fuel_l"] + sum(order["litres"] for order in seen["orders"])
        if stock_l > 1.3 * need_l + 20.0:
            return 0.2
        arrives = min((o["days_left"] for o in seen["orders"]), default=self.config.lead_days + 1)
        until_l = sum(self._demand_l[seen["day"] : seen["day"] + round(1.4 * arrives)])
        scarce = max(0.0, until_l - seen["fuel_l"]) / max(1.0, until_l)
        return float(seen["price_eur"] * (1.0 + 2.0 * scarce + 3.0 * self._short(seen)))

    def _short(self, seen: dict[str, Any]) -> float:
        """The part of the fuel still needed, with a margin, that neither the tank nor the purse will provide."""
        need_l = 1.15 * sum(self._demand_l[seen["day"] :])
        stock_l = seen["fuel_l"] + sum(order["litres"] for order in seen["orders"])
        purse_l = max(0.0, seen["money_eur"] - seen["owed_eur"] - 30.0) / seen["price_eur"]
        return float(max(0.0, need_l - stock_l - purse_l) / need_l)

    def _euro(self, seen: dict[str, Any]) -> float:
        """What a euro is worth when fuel is still to be bought with it."""
        return 1.0 + 3.0 * self._short(seen)

    # -- fuel

    def _fuel(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        """Order up to what the nights until a later order could arrive may take at worst, more when fuel is cheap."""
        day, config = seen["day"], self.config
        stock_l = seen["fuel_l"] + sum(order["litres"] for order in seen["orders"])
        rest_l = sum(self._demand_l[day:])
        usual_eur = 1.0 + 0.2 * _season_of(day, config)
        cheap = (usual_eur - seen["price_eur"]) / usual_eur
        cover_days = 2 * config.lead_days + 8 + self._closed_soon(day) + max(0, round(120.0 * cheap))
        cover_l = 2.2 * sum(self._demand_l[day : day + cover_days]) + 60.0
        lacking_l = min(cover_l, 1.1 * rest_l + 15.0) - stock_l
        if lacking_l <= 0.0:
            return
        spare_eur = seen["money_eur"] - self._reserve_eur(seen)
        room_l = config.tank_l - stock_l + sum(self._demand_l[day : day + config.lead_days])
        for litres in ORDER_SIZES_L:
            affordable = litres * seen["price_eur"] <= spare_eur
            if affordable and litres <= min(lacking_l + 80.0, room_l):
                # A night without fuel costs a hundred euros and more; a bigger lot saves a slot later.
                yield 120.0 + litres / 50.0, f"order fuel {litres}"

    def _closed_soon(self, day: int) -> int:
        """Days that the holiday adds to the time an order made today may take."""
        note = self.belief.notes.get("note_holiday")
        if note is None or day > note["last_day"] or note["first_day"] - day > 6:
            return 0
        return int(note["last_day"]) - max(day, int(note["first_day"])) + 1

    def _reserve_eur(self, seen: dict[str, Any]) -> float:
        """Money that fuel may not eat: the debt when it is nearly due, the dust for the mouldy seed, some soap."""
        reserve = 50.0
        loan = self.belief.notes.get("note_loan")
        if seen["owed_eur"] and loan and loan["due_day"] - seen["day"] <= 14:
            reserve += seen["owed_eur"]
        note = self.belief.notes.get("note_seed")
        if note and seen["day"] <= note["day"]:
            reserve += self.config.treat_mould_eur
        return reserve

    # -- pests and mould

    def _pests(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        left, euro = self.config.days - seen["day"] + 1, self._euro(seen)
        for i, name in enumerate(BEDS):
            bed, value = self.belief.beds[i], self.config.crops[i].value_eur
            if not bed.alive:
                continue
            eaten = value * _eaten(bed.aphids, min(left, 25))
            if bed.aphids >= 1.5 and bed.unseen_days <= 4:
                after = soaped(bed.aphids)
                saved = eaten - value * _eaten(after, min(left, 25))
                yield saved - euro * self.config.treat_aphids_eur, f"treat {name} bed for aphids"
            if bed.mould_pct >= 4.0:
                lost = value * MOULD_HARM * bed.mould_pct / 100.0 * min(left, 25)
                yield 0.7 * lost - euro * self.config.treat_mould_eur, f"treat {name} bed for mould"
            if bed.unseen_days >= 3:
                yield 0.15 * eaten + 0.002 * value * min(bed.unseen_days, 10) * (left > 8), f"inspect {name} bed"
        yield from self._mouldy_seed(seen)

    def _mouldy_seed(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        note = self.belief.notes.get("note_seed")
        if note and note["dust_from"] < seen["day"] <= note["day"] and not note.get("done"):
            answer = seen["answer"]
            if answer and answer["kind"] == "treated" and answer["against"] == "mould" and answer["bed"] == note["bed"]:
                note["done"] = True
                return
            yield 300.0, f"treat {note['bed']} bed for mould"

    # -- sensors and debts

    def _sensors(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        sensors, left = self.belief.sensors, self.config.days - seen["day"] + 1
        unsure = max(sensors.error_of(seen["sensor_mode"])[1], 0.5 * max(sensors.var) ** 0.5)
        if unsure > 0.8 and not _just_checked(seen):
            yield 24.0 * unsure, "check the thermometer by hand"
        for i, name in enumerate(SENSORS):
            sure = sensors.var[i] < 1.0 and abs(sensors.mean_c[i]) > 1.2
            if (sensors.stuck(i) or sure) and seen["money_eur"] - self.config.replace_sensor_eur > 60:
                other_ok = not sensors.stuck(1 - i) and abs(sensors.mean_c[1 - i]) < 1.0
                worth = (0.9 if other_ok else 4.0) * left
                yield worth - self._euro(seen) * self.config.replace_sensor_eur, f"replace {name} sensor"

    def _debt(self, seen: dict[str, Any]) -> Iterator[tuple[float, str]]:
        loan = self.belief.notes.get("note_loan")
        if not seen["owed_eur"] or loan is None:
            return
        days_to_go = loan["due_day"] - seen["day"]
        if 0 <= days_to_go <= 4:
            yield 240.0, "repay the neighbour"


def _storm_tonight(seen: dict[str, Any]) -> float:
    arrives, lasts = seen["forecast"][0]["storm_pct"] / 100.0, seen["storm_lasts_pct"] / 100.0
    return float(1.0 - (1.0 - arrives) * (1.0 - lasts))


def _season_of(day: int, config: Config) -> float:
    return (storm_prior(day, config.days) - storm_prior(0, config.days)) / 0.05


def _expected_demand(config: Config) -> list[float]:
    """Litres a usual night takes at 8 °C, by day; index 0 is unused."""
    demand = [0.0]
    for day in range(1, config.days + 1):
        lift_c = max(2.0, 8.0 - config.passive_gain_c - mean_low_c(day, config.days))
        stormy = min(1.0, _STORM_SHARE * storm_prior(day, config.days))
        calm_l = lift_c * config.loss_l_per_c
        storm_l = (lift_c + config.storm_chill_c) * config.loss_l_per_c * config.storm_loss_shuttered
        demand.append((1.0 - stormy) * calm_l + stormy * storm_l)
    return demand


def _eaten(aphids: float, days: int) -> float:
    """The part of a bed's value that a colony eats in `days` if nobody looks, in closed steps of a day."""
    lost = 0.0
    for _ in range(days):
        aphids = min(200.0, aphids * aphid_factor(8.0))
        lost += eaten_by(aphids)
    return min(1.0, lost)


def _just_checked(seen: dict[str, Any]) -> bool:
    answer = seen["answer"]
    return bool(answer and answer["kind"] == "checked" and answer["day"] == seen["day"])
