"""The season report: what happened, told from what the player saw and did, and nothing else.

Feed a `SeasonLog` with each action and the observation it brought; `text()` writes the report. The judge's facts
(`Greenhouse.outcome().facts`) count the same things from inside, so a report can be held against them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .config import BEDS


@dataclass(slots=True)
class WinterLog:
    """One winter as the player saw it."""

    winter: int
    storm_nights: int = 0
    coldest_reading_c: float | None = None
    orders: int = 0
    fuel_ordered_l: int = 0
    spent_eur: int = 0
    earned_eur: int = 0
    lorry_days_lost: int = 0
    inspections: int = 0
    aphid_treatments: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BEDS, 0))
    mould_treatments: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BEDS, 0))
    sensors_replaced: int = 0
    loan_repaid_day: int = 0
    late_fee_eur: int = 0
    crop_eur: int | None = None
    score: float | None = None


class SeasonLog:
    """Reads observations in their order; one `WinterLog` for each winter."""

    def __init__(self) -> None:
        self.winters: list[WinterLog] = []
        self._morning: tuple[int, int, bool] = (0, 0, False)
        self._day = 1

    def add(self, action: str | None, data: dict[str, Any]) -> None:
        """Take in one action (None for the first observation) and the data of the observation that followed."""
        if not self.winters:
            self.winters.append(WinterLog(winter=data["winter"]))
        if action is not None and data["answer"] is not None:
            self._count(data["answer"], self.winters[-1])
        morning = (data["winter"], data["day"], data["over"])
        if morning != self._morning:
            self._wake(data)
            self._morning = morning
        self._day = data["day"]

    def _count(self, answer: dict[str, Any], log: WinterLog) -> None:
        kind = answer["kind"]
        if kind == "ordered":
            log.orders += 1
            log.fuel_ordered_l += answer["litres"]
        elif kind == "inspected":
            log.inspections += 1
        elif kind == "treated":
            table = log.aphid_treatments if answer["against"] == "aphids" else log.mould_treatments
            table[answer["bed"]] += 1
        elif kind == "replaced":
            log.sensors_replaced += 1
        elif kind == "repaid":
            log.loan_repaid_day = self._day
            return  # a loan paid back is not spending
        log.spent_eur += answer.get("eur", 0)

    def _wake(self, data: dict[str, Any]) -> None:
        """A morning tells of the night before, which belongs to the old winter when a new one begins."""
        log = self.winters[-1]
        if self._morning[1]:
            log.storm_nights += data["storm_night"] > 0
            coldest_c = min(data["readings"]["east_c"], data["readings"]["west_c"])
            log.coldest_reading_c = (
                coldest_c if log.coldest_reading_c is None else min(log.coldest_reading_c, coldest_c)
            )
        for item in data["news"]:
            kind = item["kind"]
            if kind == "held_up":
                log.lorry_days_lost += 1
            elif kind == "market":
                log.earned_eur += item["eur"]
            elif kind == "late_fee":
                log.late_fee_eur += item["eur"]
            elif kind in ("spring", "new_winter"):
                log.crop_eur, log.score = item["crop_eur"], item["score"]
        if data["winter"] != log.winter:
            self.winters.append(WinterLog(winter=data["winter"]))

    def text(self) -> str:
        """The report, one paragraph for each winter that has begun."""
        return "\n\n".join(_paragraph(log) for log in self.winters)


def season_report(log: Iterable[tuple[str | None, dict[str, Any]]]) -> str:
    """The report for pairs of (action, data of the observation that followed); the first action is None."""
    season = SeasonLog()
    for action, data in log:
        season.add(action, data)
    return season.text()


def _paragraph(log: WinterLog) -> str:
    lines = [
        f"Season report, winter {log.winter}.",
        f"There were {log.storm_nights} nights of storm."
        + (f" The coldest reading inside was {log.coldest_reading_c} °C." if log.coldest_reading_c is not None else ""),
        f"I ordered fuel {log.orders} times, {log.fuel_ordered_l} L in all; the lorry lost {log.lorry_days_lost} days.",
        f"I spent {log.spent_eur} € and earned {log.earned_eur} € on the market.",
        f"I inspected {log.inspections} times. {_treated('aphids', log.aphid_treatments)} "
        f"{_treated('mould', log.mould_treatments)}",
        f"Sensors replaced: {log.sensors_replaced}.",
    ]
    if log.loan_repaid_day:
        lines.append(f"I paid the neighbour back on day {log.loan_repaid_day}.")
    if log.late_fee_eur:
        lines.append(f"The loan was overdue and cost {log.late_fee_eur} € more.")
    if log.score is not None:
        lines.append(f"In spring the beds brought {log.crop_eur} € and the winter scored {log.score}.")
    return "\n".join(lines)


def _treated(pest: str, counts: dict[str, int]) -> str:
    done = [f"{bed} {times}" for bed, times in counts.items() if times]
    return f"Treated for {pest}: {', '.join(done)}." if done else f"Nothing was treated for {pest}."
