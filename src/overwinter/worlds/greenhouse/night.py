"""What happens between two days: the house cools, plants suffer, pests grow, lorries drive, morning comes.

No logarithm, exponential or sine is used anywhere, so that the results agree bit for bit on any machine.
"""

from __future__ import annotations

from .config import BEDS, SENSORS, Config
from .state import Bed, Sensor, State
from .weather import Night, Tape

MOULD_HARM = 0.03
"""Vigour a wholly mouldy bed loses in one day."""


def sleep(state: State, tape: Tape, config: Config) -> None:
    """From the evening of `state.day` to the next morning. The caller deals with the end of the winter."""
    night = tape.nights[state.day]
    state.news = []
    burned_l = _heat_house(state, night, config)
    _damp(state, night)
    for i, bed in enumerate(state.beds):
        _grow(bed, config.crops[i].comfort_c, state, night.aphids[i], config)
    _spread(state.beds)
    if state.day == tape.outbreak_day:
        _break_out(state, tape, config)
    _fail_sensors(state, night)
    measure(state, night, burned_l, config)
    _drive_lorries(state, tape, night, config)
    _count(state, night, burned_l)
    state.day += 1
    _morning(state, tape, config)
    state.slots = config.slots_per_day


def target_c(sensors: list[Sensor], mode: str, heat_c: int) -> float:
    """The true temperature the thermostat steers to, misled as it is by the sensors it listens to.

    Returns ±99 when stuck sensors keep the burner on or off for good.
    """
    used = [s for s, name in zip(sensors, SENSORS, strict=True) if mode in ("both", name)]
    stuck = [s for s in used if s.fault == "stuck"]
    if len(stuck) == len(used):
        return 99.0 if sum(s.size_c for s in stuck) / len(stuck) < heat_c else -99.0
    errors_c = sum(s.error_c for s in used if s.fault != "stuck")
    moving = len(used) - len(stuck)
    return (heat_c * len(used) - sum(s.size_c for s in stuck) - errors_c) / moving


def losses(storm: bool, shutters_closed: bool, vents_open: bool, config: Config) -> tuple[float, float]:
    """What the house does without a fire: °C gained over the outside (without sun), and litres per °C of lift."""
    gain_c, loss = config.passive_gain_c, config.loss_l_per_c
    if storm:
        loss *= config.storm_loss_shuttered if shutters_closed else config.storm_loss
    if shutters_closed:
        gain_c += config.shutter_gain_c
    if vents_open:
        gain_c -= config.vent_chill_c
        loss *= config.vent_loss
    return gain_c, loss


def _heat_house(state: State, night: Night, config: Config) -> float:
    """Sets the inside low; returns the litres burned."""
    gain_c, loss = losses(night.storm_night > 0, state.shutters_closed, state.vents_open, config)
    passive_c = night.low_c + gain_c + night.sun_c
    lift_c = 0.0
    if state.heat_c > 0:
        wanted_c = target_c(state.sensors, state.sensor_mode, state.heat_c) - passive_c
        lift_c = min(max(0.0, wanted_c), config.max_lift_c, state.fuel_l / loss)
    state.inside_low_c = passive_c + lift_c
    burned_l = lift_c * loss
    state.fuel_l = max(0.0, state.fuel_l - burned_l)
    return burned_l


def _damp(state: State, night: Night) -> None:
    rise_pct = damp_rise_pct(night.storm_night > 0, state.shutters_closed, state.vents_open)
    state.humidity_pct = min(97.0, max(45.0, state.humidity_pct + rise_pct))


def damp_rise_pct(storm: bool, shutters_closed: bool, vents_open: bool) -> float:
    """What a night adds to the humidity."""
    return (-14.0 if vents_open else 3.0) + (3.0 if shutters_closed else 0.0) + (3.0 if storm else 0.0)


def stress_of(cold_c: float) -> float:
    """The stress a night leaves that is `cold_c` below what the plant is comfortable with."""
    return 0.004 * cold_c + 0.0015 * cold_c * cold_c if cold_c > 0.0 else 0.0


def aphid_factor(inside_low_c: float) -> float:
    """Growth of a colony in one day; warmth feeds it."""
    return min(1.20, max(1.0, 1.06 + 0.01 * inside_low_c))


def eaten_by(aphids: float) -> float:
    """Vigour that a colony eats in one day."""
    return 0.0005 * min(100.0, aphids)


def mould_after(mould: float, humidity_pct: float) -> float:
    """A trace of spores is always there; above 80 % humidity they take hold, below they dry out."""
    wet = humidity_pct - 80.0
    return min(1.0, (mould + 0.0005) * (1.0 + 0.012 * wet)) if wet > 0.0 else mould * 0.97


def _grow(bed: Bed, comfort_c: float, state: State, arriving: float, config: Config) -> None:
    cold_c = comfort_c - state.inside_low_c
    if cold_c > 0.0:
        bed.stress = min(1.5, bed.stress + stress_of(cold_c))
    grown = config.growth_per_day if cold_c <= 0.0 else 0.0
    if state.shutters_closed:
        grown -= config.dark_per_day
    if bed.aphids > 0.0:
        bed.aphids = min(200.0, bed.aphids * aphid_factor(state.inside_low_c))
    bed.aphids += arriving
    bed.mould = mould_after(bed.mould, state.humidity_pct)
    ripe = config.stress_to_vigour * bed.stress
    bed.stress -= ripe
    lost = ripe + eaten_by(bed.aphids) + MOULD_HARM * bed.mould
    bed.vigour = min(1.0, max(0.0, bed.vigour + grown - lost))


def _spread(beds: list[Bed]) -> None:
    """A few aphids walk to the next bed once they crowd each other; a tiny rest of a colony dies out."""
    north, middle, south = (max(0.0, bed.aphids - 5.0) for bed in beds)
    beds[0].aphids += 0.01 * middle
    beds[1].aphids += 0.01 * (north + south)
    beds[2].aphids += 0.01 * middle
    for bed in beds:
        if bed.aphids < 0.1:
            bed.aphids = 0.0


def _break_out(state: State, tape: Tape, config: Config) -> None:
    """The mouldy seed of the first week takes its toll, unless the bed was dusted in the days before."""
    bed = state.beds[tape.seed_bed]
    if 0 <= tape.outbreak_day - bed.dusted_day <= config.dusting_days and bed.dusted_day > 0:
        state.ledger.seed_mould_stopped = True
    else:
        bed.mould = min(1.0, bed.mould + config.outbreak_mould)


def _fail_sensors(state: State, night: Night) -> None:
    for sensor, befalls in zip(state.sensors, night.faults, strict=True):
        if sensor.fault == "drift":
            sensor.error_c = min(9.0, max(-9.0, sensor.error_c + sensor.size_c))
        elif not sensor.fault and befalls is not None:
            sensor.fault, sensor.size_c = befalls
            state.ledger.sensor_faults += 1
            if sensor.fault == "bias":
                sensor.error_c = sensor.size_c
            elif sensor.fault == "stuck":
                sensor.size_c = round(state.inside_low_c + 0.3 * sensor.size_c, 1)


def measure(state: State, night: Night, burned_l: float, config: Config) -> None:
    """The readings of the morning."""
    sensed = {}
    for sensor, name, noise in zip(state.sensors, SENSORS, night.noise, strict=False):
        warm_c = state.inside_low_c + sensor.error_c + config.sensor_noise_c * noise
        sensed[f"{name}_c"] = round(sensor.size_c if sensor.fault == "stuck" else warm_c, 1)
    state.readings = {
        **sensed,
        "humidity_pct": round(min(100.0, state.humidity_pct + 2.0 * night.noise[2])),
        "outside_low_c": round(night.low_c + 0.4 * night.noise[3], 1),
        "burned_l": round(burned_l, 1),
        "storm_night": night.storm_night,
    }


def is_holiday(day: int, tape: Tape, config: Config) -> bool:
    return tape.holiday_start <= day < tape.holiday_start + config.holiday_days


def _drive_lorries(state: State, tape: Tape, night: Night, config: Config) -> None:
    if not state.orders:
        return
    if is_holiday(state.day, tape, config):
        return
    if night.storm_night or night.holdup:
        state.news.append({"kind": "held_up", "why": "storm" if night.storm_night else "ice"})
        return
    waiting = []
    for order in state.orders:
        order.days_left -= 1
        if order.days_left > 0:
            waiting.append(order)
            continue
        fits_l = min(float(order.litres), config.tank_l - state.fuel_l)
        state.fuel_l += fits_l
        state.ledger.fuel_delivered_l += fits_l
        state.ledger.fuel_overflow_l += order.litres - fits_l
        state.news.append({"kind": "delivered", "litres": order.litres, "lost_l": round(order.litres - fits_l)})
    state.orders = waiting


def _count(state: State, night: Night, burned_l: float) -> None:
    ledger = state.ledger
    ledger.fuel_burned_l += burned_l
    ledger.storm_nights += night.storm_night > 0
    ledger.frost_nights += state.inside_low_c < 0.0
    ledger.coldest_inside_c = min(ledger.coldest_inside_c, state.inside_low_c)


def _morning(state: State, tape: Tape, config: Config) -> None:
    """Notes, market and debts that belong to the day that begins."""
    day, news = state.day, state.news
    if day == 2:
        last = tape.holiday_start + config.holiday_days - 1
        news.append({"kind": "note_holiday", "first_day": tape.holiday_start, "last_day": last})
    if day == 3:
        start = tape.outbreak_day - config.dusting_days
        news.append(
            {"kind": "note_seed", "bed": BEDS[tape.seed_bed], "day": tape.outbreak_day, "dust_from": max(4, start)}
        )
    if day == 5:
        state.money_eur += config.loan_eur
        state.owed_eur = config.loan_eur
        fee = config.late_fee_eur
        news.append({"kind": "note_loan", "eur": config.loan_eur, "due_day": tape.loan_due, "late_fee_eur": fee})
    if day in tape.market_days:
        mean_vigour = sum(bed.vigour for bed in state.beds) / len(state.beds)
        paid_eur = round(config.market_eur * mean_vigour)
        state.money_eur += paid_eur
        state.ledger.earned_eur += paid_eur
        news.append({"kind": "market", "eur": paid_eur})
    if day == tape.loan_due + 1 and state.owed_eur > 0:
        state.owed_eur += config.late_fee_eur
        state.ledger.late_fee_eur = config.late_fee_eur
        news.append({"kind": "late_fee", "eur": config.late_fee_eur})
