"""What the player sees: `observe` picks the visible facts, `render` puts them into words.

The text is a function of the facts, made when somebody reads it; a policy in Python that reads only `data` never pays
for it. A test changes every fact in turn and demands that the text change too, so neither says more than the other.
"""

from __future__ import annotations

from typing import Any

from overwinter.worlds.world import Observation

from .config import BEDS, SENSORS, Config
from .night import is_holiday
from .state import State
from .weather import STORM_LASTS, Tape

_WHEN = ("tonight", "tomorrow", "in 2 nights", "in 3 nights")


class GreenhouseObservation(Observation):
    """An observation whose text is written on first reading."""

    __slots__ = ("_text",)
    _text: str | None

    def __init__(self, data: dict[str, Any]) -> None:
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "_text", None)

    @property
    def text(self) -> str:
        text = self._text
        if text is None:
            text = render(self.data)
            object.__setattr__(self, "_text", text)
        return text

    def __reduce__(self) -> tuple[type[GreenhouseObservation], tuple[dict[str, Any]]]:
        return GreenhouseObservation, (self.data,)


def observe(state: State, tape: Tape, config: Config, look: dict[str, Any] | None = None) -> GreenhouseObservation:
    """The facts the player may see now; `look` is the answer to a free look, which leaves the state alone."""
    today = tape.nights[min(state.day, config.days)]
    readings = state.readings
    storm_night = int(readings["storm_night"])
    # On a winter's first day the last reading is from the spring before; that storm is over.
    lasts = STORM_LASTS[storm_night] if state.day > 1 else 0.0
    data = {
        "winter": state.winter,
        "winters": config.winters,
        "day": min(state.day, config.days),
        "days": config.days,
        "slots": state.slots,
        "over": state.over,
        "readings": {key: readings[key] for key in ("east_c", "west_c", "humidity_pct", "outside_low_c", "burned_l")},
        "storm_night": storm_night,
        "storm_lasts_pct": round(100 * lasts),
        "forecast": [{"low_c": low, "storm_pct": pct} for low, pct in today.forecast],
        "heat_c": state.heat_c,
        "sensor_mode": state.sensor_mode,
        "vents": "open" if state.vents_open else "shut",
        "shutters": "closed" if state.shutters_closed else "open",
        "fuel_l": round(state.fuel_l),
        "orders": [{"litres": order.litres, "days_left": order.days_left} for order in state.orders],
        "price_eur": today.price_cents / 100,
        "supplier": "closed" if is_holiday(state.day, tape, config) else "open",
        "money_eur": state.money_eur,
        "owed_eur": state.owed_eur,
        "news": [dict(item) for item in state.news],
        "answer": look or (dict(state.answer) if state.answer else None),
    }
    return GreenhouseObservation(data)


def coarse(data: dict[str, Any]) -> list[Any]:
    """The visible facts in steps so wide that rollouts of one seed meet in them, as far as a plan depends on them.

    Fuel in steps of 50 L, money of 100 €, humidity of 10 %, disagreement of the sensors of 2 °C, what a hand found of
    pests at the threshold of a cheap treatment. Weather needs no entry: within a seed it follows from the day.
    """
    readings, answer = data["readings"], data["answer"] or {"kind": "none"}
    found = [answer["kind"], answer.get("bed"), answer.get("aphids", 0) >= 8, answer.get("mould_pct", 0) >= 8]
    return [
        *(data[key] for key in ("winter", "day", "slots", "over", "heat_c", "sensor_mode", "vents", "shutters")),
        *(data["fuel_l"] // 50, data["money_eur"] // 100, data["owed_eur"]),
        [(order["litres"], order["days_left"]) for order in data["orders"]],
        *(data["storm_night"], data["supplier"], [item["kind"] for item in data["news"]]),
        int(readings["humidity_pct"] // 10),
        round((readings["east_c"] - readings["west_c"]) / 2.0),
        found,
    ]


def look_at_beds(state: State) -> dict[str, Any]:
    """The bare eye sees vigour in five steps and only gross infestation."""
    beds = [
        {
            "bed": name,
            "looks": _looks(bed.vigour),
            "sticky": bed.aphids > 40.0,
            "grey": bed.mould > 0.25,
        }
        for name, bed in zip(BEDS, state.beds, strict=True)
    ]
    return {"kind": "beds", "beds": beds}


def look_at_orders(state: State) -> dict[str, Any]:
    return {"kind": "orders", "count": state.ledger.orders, "ordered_l": state.ledger.fuel_ordered_l}


def _looks(vigour: float) -> str:
    for bound, word in ((0.85, "lush"), (0.65, "healthy"), (0.45, "tired"), (0.2, "poor")):
        if vigour >= bound:
            return word
    return "dead"


def render(data: dict[str, Any]) -> str:
    """The observation in words."""
    r = data["readings"]
    lines = [
        f"Winter {data['winter']} of {data['winters']}, day {data['day']} of {data['days']}, "
        + ("the winter is over." if data["over"] else f"{data['slots']} working slots left."),
        f"Last night: east sensor {r['east_c']} °C, west sensor {r['west_c']} °C, humidity {r['humidity_pct']} %, "
        f"outside low {r['outside_low_c']} °C, {r['burned_l']} L burned.",
        f"Storm: blowing, night {data['storm_night']}; {data['storm_lasts_pct']} % that it lasts through tonight."
        if data["storm_night"] or data["storm_lasts_pct"]
        else "Storm: none.",
        "Forecast (low without a storm, chance that a storm arrives): "
        + "; ".join(
            f"{when} {f['low_c']} °C, {f['storm_pct']} %" for when, f in zip(_WHEN, data["forecast"], strict=True)
        )
        + ".",
        f"Settings: heating {_heating(data['heat_c'])} by {_sensors(data['sensor_mode'])}, vents {data['vents']}, "
        f"shutters {data['shutters']}.",
        f"Fuel: {data['fuel_l']} L in the tank; {_on_the_way(data['orders'])}; price {data['price_eur']:.2f} €/L; "
        f"the supplier is {data['supplier']}.",
        f"Money: {data['money_eur']} €, {data['owed_eur']} € owed.",
    ]
    lines += [f"News: {news_line(item)}" for item in data["news"]]
    if data["answer"] is not None:
        lines.append(f"You: {answer_line(data['answer'])}")
    return "\n".join(lines)


def _heating(heat_c: int) -> str:
    return f"to {heat_c} °C" if heat_c else "off"


def _sensors(mode: str) -> str:
    return f"the {mode} sensor" if mode in SENSORS else f"{mode} sensors"


def _on_the_way(orders: list[dict[str, int]]) -> str:
    if not orders:
        return "nothing on the way"
    parts = [f"{o['litres']} L in {o['days_left']} days" for o in orders]
    return "on the way if the roads stay clear: " + ", ".join(parts)


_NEWS = {
    "held_up": "the fuel lorry lost a day to {why}.",
    "delivered": "{litres} L of fuel were delivered, of which {lost_l} L did not fit and are lost.",
    "note_holiday": "a note on the door: the fuel supplier is closed from day {first_day} to day {last_day}; "
    "no orders are taken and no lorry drives.",
    "note_seed": "a letter: the seed of the {bed} bed came from a batch with grey mould. It breaks out on day {day}. "
    "Treating that bed for mould from day {dust_from} on, not earlier, stops it.",
    "note_loan": "your neighbour lends you {eur} €. Pay it back by day {due_day}, or {late_fee_eur} € are added.",
    "market": "market day, you earned {eur} €.",
    "late_fee": "the loan is overdue, {eur} € were added.",
    "new_winter": "a new winter begins; last spring the beds brought {crop_eur} €, and that winter scored {score}.",
    "spring": "spring. The beds brought {crop_eur} €; the winter scored {score}.",
}


def news_line(item: dict[str, Any]) -> str:
    return _NEWS[item["kind"]].format(**item)


_ANSWERS = {
    "wait": "waited for the night.",
    "set": "{what} set to {to}.",
    "inspected": "on day {day} inspected the {bed} bed: about {aphids} aphids per leaf, "
    "mould on {mould_pct} % of the leaves.",
    "treated": "treated the {bed} bed for {against}, {eur} €.",
    "ordered": "ordered {litres} L of fuel for {eur} €.",
    "replaced": "replaced the {sensor} sensor, {eur} €.",
    "checked": "checked by hand on day {day}: the low of the night before, inside, was {inside_low_c} °C.",
    "repaid": "paid the neighbour {eur} €.",
    "orders": "the order book: {count} orders this winter, {ordered_l} L in all.",
}


def answer_line(answer: dict[str, Any]) -> str:
    if answer["kind"] == "beds":
        return "looked at the beds: " + "; ".join(_bed_line(bed) for bed in answer["beds"]) + "."
    if answer["kind"] == "rules":
        return str(answer["text"])
    return _ANSWERS[answer["kind"]].format(**answer)


def _bed_line(bed: dict[str, Any]) -> str:
    signs = [word for word, seen in (("sticky leaves", bed["sticky"]), ("grey leaves", bed["grey"])) if seen]
    return ", ".join([f"{bed['bed']} {bed['looks']}", *signs])


def rules_text(config: Config) -> str:
    """The rules in short, as the look "read the rules" gives them."""
    crops = "; ".join(
        f"{bed}: {c.plant}, {c.value_eur} € in spring, stressed by nights below {c.comfort_c:g} °C"
        for bed, c in zip(BEDS, config.crops, strict=True)
    )
    low, high = config.storm_loss_shuttered, config.storm_loss
    return (
        f"{config.days} days, {config.slots_per_day} working slots a day; looking is free; when no slot is left night "
        f"falls. Beds: {crops}. Damage shows about two weeks late. Below the thermostat's setting the burner lifts the "
        f"night low, {config.loss_l_per_c:g} L for each °C; without fire the house is {config.passive_gain_c:g} °C "
        f"warmer than outside, {config.shutter_gain_c:g} °C more with closed shutters, which keep out the light that "
        f"plants need. A storm takes {config.storm_chill_c:g} °C off, lasts 1 to 3 nights, multiplies the loss by "
        f"{high:g} ({low:g} with closed shutters) and stops the lorries. Open vents dry the air and cost heat; above "
        f"80 % humidity mould grows. Aphids multiply daily; soap works well on a few and badly on many. Sensors can "
        f"be biased, drift or stick, and mislead the thermostat. Fuel takes at least {config.lead_days} days and "
        f"cannot be sent back; the tank holds {config.tank_l:g} L. Prices: aphid soap {config.treat_aphids_eur} €, "
        f"mould dust {config.treat_mould_eur} €, a sensor {config.replace_sensor_eur} €. Score: money and crop value "
        f"in spring less debts, in per cent of {config.reference_eur} €; {config.success_score:g} is success."
    )
