"""The simple baseline: the rules a careful beginner would write down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overwinter.worlds.world import Observation

from .config import BEDS, SENSORS


class RulesPolicy:
    """If-then rules on what is shown today. No memory of the notes, no belief, no plan.

    It keeps the thermostat at 8, reorders fuel when the tank runs low, shuts the house before likely storms, inspects
    the beds in turn, treats what it finds, airs when it is damp, replaces a sensor that a check by hand finds far off,
    and pays the debt when it is rich.
    """

    name = "rules"

    def __init__(self) -> None:
        self._next_bed = 0

    def reset(self, seed: int) -> None:  # noqa: ARG002  # the protocol
        self._next_bed = 0

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        seen = observation.data
        for wish in self._wishes(seen):
            if wish in actions:
                if wish.startswith("inspect"):
                    self._next_bed = (self._next_bed + 1) % len(BEDS)
                return wish
        return "wait"

    def _wishes(self, seen: dict[str, Any]) -> list[str]:
        wishes = []
        if seen["fuel_l"] < 120 and not seen["orders"]:
            wishes += ["order fuel 200", "order fuel 100"]
        wishes += self._sensor_wishes(seen)
        found = seen["answer"]
        if found and found["kind"] == "inspected":
            if found["aphids"] >= 8:
                wishes.append(f"treat {found['bed']} bed for aphids")
            if found["mould_pct"] >= 8:
                wishes.append(f"treat {found['bed']} bed for mould")
        stormy = seen["storm_night"] > 0 or seen["forecast"][0]["storm_pct"] >= 40
        wishes.append("close shutters" if stormy else "open shutters")
        humidity = seen["readings"]["humidity_pct"]
        if humidity >= 82:
            wishes.append("open vents")
        elif humidity <= 68 or stormy:
            wishes.append("shut vents")
        if seen["owed_eur"] and seen["money_eur"] >= seen["owed_eur"] + 150:
            wishes.append("repay the neighbour")
        wishes.append("heat to 8")
        if seen["slots"] == 2:
            wishes.append(f"inspect {BEDS[self._next_bed]} bed")
        return wishes

    def _sensor_wishes(self, seen: dict[str, Any]) -> list[str]:
        """Two sensors that disagree: check by hand, and replace the one that is further from the truth."""
        readings = {name: seen["readings"][f"{name}_c"] for name in SENSORS}
        if abs(readings["east"] - readings["west"]) < 3.0:
            return []
        answer = seen["answer"]
        if answer and answer["kind"] == "checked" and answer["day"] == seen["day"]:
            worst = max(SENSORS, key=lambda name: abs(readings[name] - answer["inside_low_c"]))
            return [f"replace {worst} sensor"]
        return ["check the thermometer by hand"] if seen["slots"] == 2 else []
