"""What the player can do: which actions are legal, and what each does at once.

A look is free and changes nothing. All else takes one of the day's working slots; when none is left, night falls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from overwinter.worlds.rng import Stream

from .config import BEDS, HEAT_LEVELS_C, ORDER_SIZES_L, SENSOR_MODES, SENSORS, Config
from .night import is_holiday
from .state import Order, Sensor, State
from .weather import INSPECT, Night, Tape

WAIT = "wait"
LOOK_AT_BEDS, LOOK_AT_ORDERS, READ_RULES = "look at the beds", "look at the order book", "read the rules"
LOOKS = (LOOK_AT_BEDS, LOOK_AT_ORDERS, READ_RULES)

Effect = Callable[[State, Tape, Config], dict[str, Any]]


def is_look(action: str) -> bool:
    return action in LOOKS


def is_order(action: str) -> bool:
    return action.startswith("order fuel ")


def heat_action(level_c: int) -> str:
    return f"heat to {level_c}" if level_c else "heat off"


def sensor_mode_action(mode: str) -> str:
    return "use both sensors" if mode == "both" else f"use {mode} sensor"


def legal(state: State, tape: Tape, config: Config) -> tuple[str, ...]:
    """The legal actions, in a stable order. Legality depends on visible facts alone."""
    if state.over:
        return ()
    cents = tape.nights[state.day].price_cents
    money = state.money_eur
    open_now = not is_holiday(state.day, tape, config)
    affordable = sum(open_now and litres * cents <= 100 * money for litres in ORDER_SIZES_L)
    purse = (
        affordable,
        money >= config.treat_aphids_eur,
        money >= config.treat_mould_eur,
        money >= config.replace_sensor_eur,
        0 < state.owed_eur <= money,
    )
    return _listed(state.heat_c, state.vents_open, state.shutters_closed, state.sensor_mode, purse)


@lru_cache(maxsize=4096)
def _listed(
    heat_c: int, vents_open: bool, shutters_closed: bool, mode: str, purse: tuple[int, bool, bool, bool, bool]
) -> tuple[str, ...]:
    orders, aphids, mould, sensor, loan = purse
    listed = [WAIT, *(heat_action(level) for level in HEAT_LEVELS_C if level != heat_c)]
    listed.append("shut vents" if vents_open else "open vents")
    listed.append("open shutters" if shutters_closed else "close shutters")
    listed += [f"inspect {bed} bed" for bed in BEDS]
    listed += [f"treat {bed} bed for aphids" for bed in BEDS if aphids]
    listed += [f"treat {bed} bed for mould" for bed in BEDS if mould]
    listed += [f"order fuel {litres}" for litres in ORDER_SIZES_L[:orders]]
    listed += [sensor_mode_action(m) for m in SENSOR_MODES if m != mode]
    listed += [f"replace {name} sensor" for name in SENSORS if sensor]
    listed.append("check the thermometer by hand")
    if loan:
        listed.append("repay the neighbour")
    return (*listed, *LOOKS)


def perform(action: str, state: State, tape: Tape, config: Config) -> None:
    """Carry out a legal action that is not a look; the answer goes to `state.answer`."""
    state.answer = _EFFECTS[action](state, tape, config)
    state.slots = 0 if action == WAIT else state.slots - 1


def _wait(_state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
    return {"kind": "wait"}


def _heat(level_c: int) -> Effect:
    def set_heat(state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
        state.heat_c = level_c
        return {"kind": "set", "what": "heat", "to": str(level_c)}

    return set_heat


def _vents(is_open: bool) -> Effect:
    def set_vents(state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
        state.vents_open = is_open
        return {"kind": "set", "what": "vents", "to": "open" if is_open else "shut"}

    return set_vents


def _shutters(closed: bool) -> Effect:
    def set_shutters(state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
        state.shutters_closed = closed
        return {"kind": "set", "what": "shutters", "to": "closed" if closed else "open"}

    return set_shutters


def _mode(mode: str) -> Effect:
    def set_mode(state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
        state.sensor_mode = mode
        return {"kind": "set", "what": "thermostat sensors", "to": mode}

    return set_mode


def _inspect(bed: int) -> Effect:
    def inspect(state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
        # Keyed by day and bed: looking twice on one day shows the same leaves.
        draw = Stream(state.seed, state.winter, INSPECT, state.day, bed)
        aphids = state.beds[bed].aphids * (1.0 + 0.25 * draw.bell())
        mould_pct = 100.0 * state.beds[bed].mould * (1.0 + 0.2 * draw.bell())
        state.ledger.inspections += 1
        seen = {"aphids": max(0, round(aphids)), "mould_pct": min(100, max(0, round(mould_pct)))}
        return {"kind": "inspected", "day": state.day, "bed": BEDS[bed], **seen}

    return inspect


def soaped(aphids: float) -> float:
    """What soap leaves of a colony: next to nothing of a few, over a third of a crust. Early is cheap, late is not."""
    return aphids * (0.03 + 0.5 * aphids / (aphids + 60.0))


def dusted(mould: float) -> float:
    """What mould dust leaves."""
    return 0.3 * mould


def _treat_aphids(bed: int) -> Effect:
    def treat(state: State, _tape: Tape, config: Config) -> dict[str, Any]:
        state.beds[bed].aphids = soaped(state.beds[bed].aphids)
        _spend(state, config.treat_aphids_eur)
        state.ledger.aphid_treatments[bed] += 1
        return {"kind": "treated", "bed": BEDS[bed], "against": "aphids", "eur": config.treat_aphids_eur}

    return treat


def _treat_mould(bed: int) -> Effect:
    def treat(state: State, _tape: Tape, config: Config) -> dict[str, Any]:
        state.beds[bed].mould = dusted(state.beds[bed].mould)
        state.beds[bed].dusted_day = state.day
        _spend(state, config.treat_mould_eur)
        state.ledger.mould_treatments[bed] += 1
        return {"kind": "treated", "bed": BEDS[bed], "against": "mould", "eur": config.treat_mould_eur}

    return treat


def _order(litres: int) -> Effect:
    def order(state: State, tape: Tape, config: Config) -> dict[str, Any]:
        price_eur = litres * tape.nights[state.day].price_cents // 100
        _spend(state, price_eur)
        state.orders.append(Order(litres=litres, days_left=config.lead_days))
        state.ledger.orders += 1
        state.ledger.fuel_ordered_l += litres
        return {"kind": "ordered", "litres": litres, "eur": price_eur}

    return order


def _replace(sensor: int) -> Effect:
    def replace(state: State, _tape: Tape, config: Config) -> dict[str, Any]:
        state.sensors[sensor] = Sensor()
        _spend(state, config.replace_sensor_eur)
        state.ledger.sensors_replaced += 1
        return {"kind": "replaced", "sensor": SENSORS[sensor], "eur": config.replace_sensor_eur}

    return replace


def _check(state: State, tape: Tape, _config: Config) -> dict[str, Any]:
    last_night: Night = tape.nights[state.day - 1]
    state.ledger.hand_checks += 1
    return {
        "kind": "checked",
        "day": state.day,
        "inside_low_c": round(state.inside_low_c + 0.2 * last_night.noise[4], 1),
    }


def _repay(state: State, _tape: Tape, _config: Config) -> dict[str, Any]:
    paid_eur = state.owed_eur
    state.money_eur -= paid_eur
    state.owed_eur = 0
    state.ledger.loan_repaid_day = state.day
    return {"kind": "repaid", "eur": paid_eur}


def _spend(state: State, eur: int) -> None:
    state.money_eur -= eur
    state.ledger.spent_eur += eur


def _table() -> dict[str, Effect]:
    table: dict[str, Effect] = {WAIT: _wait, "check the thermometer by hand": _check, "repay the neighbour": _repay}
    table |= {heat_action(level): _heat(level) for level in HEAT_LEVELS_C}
    table |= {"open vents": _vents(True), "shut vents": _vents(False)}
    table |= {"close shutters": _shutters(True), "open shutters": _shutters(False)}
    table |= {sensor_mode_action(mode): _mode(mode) for mode in SENSOR_MODES}
    table |= {f"order fuel {litres}": _order(litres) for litres in ORDER_SIZES_L}
    for i, bed in enumerate(BEDS):
        table[f"inspect {bed} bed"] = _inspect(i)
        table[f"treat {bed} bed for aphids"] = _treat_aphids(i)
        table[f"treat {bed} bed for mould"] = _treat_mould(i)
    table |= {f"replace {name} sensor": _replace(i) for i, name in enumerate(SENSORS)}
    return table


_EFFECTS = _table()
ALL_ACTIONS: tuple[str, ...] = (*_EFFECTS, *LOOKS)
"""Every action of the world, legal now or not, in a stable order: the index space of the Gymnasium adapter."""
