"""The two simple baselines: random play, and the rules a careful beginner would write down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from overwinter.worlds.world import Observation

from .config import BEDS
from .rng import Stream

_POLICY_STREAM = 101


class RandomPolicy:
    """Any legal action with equal chance."""

    name = "random"

    def __init__(self) -> None:
        self._draw = Stream(_POLICY_STREAM, 0)

    def reset(self, seed: int) -> None:
        self._draw = Stream(_POLICY_STREAM, seed)

    def act(self, observation: Observation, actions: Sequence[str]) -> str:  # noqa: ARG002  # the protocol
        return actions[self._draw.below(len(actions))]


class RulesPolicy:
    """If-then rules on what is shown today. No memory of notes, no doubt in sensors, no plan.

    It keeps the thermostat at 8, reorders fuel when the tank runs low, shuts the house before likely storms, inspects the
    beds in turn, treats what it finds, airs when it is damp, and pays the debt when it is rich.
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
