"""The greenhouse as it may be: what a player has seen kept, all else drawn. See `worlds.imagination` for why.

Known from observations and public rules alone: settings, fuel, money, orders, notes, and the humidity of the air, which follows from the
settings and the storms. Drawn: the errors of the sensors from the player's belief about them; the beds by living through the winter
again with aphids that fly in as they may, put right at each inspection; what the notes have not said yet; and the weather to come
(`imagined.imagined_tape`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from overwinter.worlds.rng import Stream
from overwinter.worlds.world import Observation

from .actions import dusted, soaped
from .belief import SETTING_AFTER, Belief
from .config import BEDS, SENSORS, Config
from .imagined import Shown
from .night import MOULD_HARM, aphid_factor, damp_rise_pct, eaten_by, mould_after, stress_of
from .state import SNAPSHOT_VERSION, Bed, Ledger, Order, Sensor, State, to_json

_INSIDE_SD_C = 0.7
"""How far a night's low inside may be from the player's estimate."""
_FAULTY_C = 1.2
"""A sensor that is believed to be off by more is drawn as a faulty one, by less as a sound one."""
_BEDS, _SENSORS = 111, 112


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that touches the beds: a night, an inspection, a treatment."""

    kind: str
    day: int
    bed: int = -1
    inside_c: float = 0.0
    humidity_pct: float = 0.0
    dark: bool = False
    aphids: float = 0.0
    mould_pct: float = 0.0


class GreenhouseImagination:
    """See the module docstring."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.belief = Belief()
        self._seen: dict[str, Any] = {}
        self._events: list[_Event] = []
        self._humidity_pct = 65.0
        self._orders = [0, 0]
        self._settings = (False, False)
        self._scores: list[float] = []
        self._soil, self._carried = 1.0, False

    def take_in(self, action: str | None, observation: Observation) -> None:
        seen, before = observation.data, self._seen
        if action in SETTING_AFTER:
            self.belief.assume(*SETTING_AFTER[action])
        evening = dict(self.belief.settings)
        if before and seen["winter"] != before["winter"]:
            self._new_winter(seen)
        elif before and seen["day"] != before["day"]:
            self._night(before, seen, evening)
        self.belief.take_in(seen, self.config)
        if before and seen["day"] != before["day"] and self._events and self._events[-1].kind == "night":
            last = self._events[-1]
            self._events[-1] = _Event(
                kind="night",
                day=last.day,
                inside_c=self.belief.inside_c,
                humidity_pct=last.humidity_pct,
                dark=last.dark,
            )
        answer = seen["answer"]
        if answer is not None and (not before or answer != before["answer"] or action is not None):
            self._answer(answer, seen["day"] if not before else before["day"], action)
        self._seen = seen

    def _new_winter(self, seen: dict[str, Any]) -> None:
        """What survives a summer is drawn from what the winter before left; see `world._begin_winter`."""
        self._scores += [float(item["score"]) for item in seen["news"] if item["kind"] == "new_winter"]
        self._events, self._humidity_pct, self._orders = [], 65.0, [0, 0]
        self._soil, self._carried = max(0.6, self._soil - 0.03), True

    def _night(self, before: dict[str, Any], seen: dict[str, Any], evening: dict[str, Any]) -> None:
        dark, airy = evening["shutters"] == "closed", evening["vents"] == "open"
        rise_pct = damp_rise_pct(seen["storm_night"] > 0, dark, airy)
        self._humidity_pct = min(97.0, max(45.0, self._humidity_pct + rise_pct))
        self._events.append(_Event(kind="night", day=before["day"], humidity_pct=self._humidity_pct, dark=dark))

    def _answer(self, answer: dict[str, Any], day: int, action: str | None) -> None:
        kind = answer["kind"]
        if action is None or kind not in {"inspected", "treated", "ordered"}:
            return
        if kind == "ordered":
            if action.startswith("order "):
                self._orders = [self._orders[0] + 1, self._orders[1] + answer["litres"]]
            return
        bed = BEDS.index(answer["bed"])
        if kind == "inspected" and action.startswith("inspect "):
            found = _Event(kind="inspected", day=day, bed=bed, aphids=answer["aphids"], mould_pct=answer["mould_pct"])
            self._slip_in(found)
        elif kind == "treated" and action.startswith("treat "):
            self._slip_in(_Event(kind=answer["against"], day=day, bed=bed))

    def _slip_in(self, event: _Event) -> None:
        """The day's last deed is seen only after its night: it goes before that night."""
        at = len(self._events)
        while at and self._events[at - 1].kind == "night" and self._events[at - 1].day >= event.day:
            at -= 1
        self._events.insert(at, event)

    # --- drawing --------------------------------------------------------------------------------------------------

    def draw(self, seed: int) -> dict[str, Any]:
        seen = self._seen
        shown = self._shown()
        state = State(
            seed=seed,
            winter=seen["winter"],
            day=seen["day"],
            slots=seen["slots"],
            money_eur=seen["money_eur"],
            owed_eur=seen["owed_eur"],
            fuel_l=float(seen["fuel_l"]),
            humidity_pct=self._humidity_pct,
            beds=self._beds(seed, shown),
            sensors=self._sensors(seed),
            orders=[Order(litres=each["litres"], days_left=each["days_left"]) for each in seen["orders"]],
            heat_c=seen["heat_c"],
            vents_open=seen["vents"] == "open",
            shutters_closed=seen["shutters"] == "closed",
            sensor_mode=seen["sensor_mode"],
            inside_low_c=self.belief.inside_c + 0.5 * Stream(seed, _SENSORS, 2).bell(),
            readings={**seen["readings"], "storm_night": seen["storm_night"]},
            news=[dict(item) for item in seen["news"]],
            answer=dict(seen["answer"]) if seen["answer"] else None,
            ledger=Ledger(orders=self._orders[0], fuel_ordered_l=self._orders[1]),
            results=[{"winter": number, "score": score} for number, score in enumerate(self._scores, 1)],
            over=seen["over"],
        )
        rules = {"version": SNAPSHOT_VERSION, "rules": self.config.digest()}
        return {**rules, "state": to_json(state), "imagined": asdict(shown)}

    def _shown(self) -> Shown:
        seen, notes = self._seen, self.belief.notes
        holiday, mould, loan = (notes.get(f"note_{kind}") for kind in ("holiday", "seed", "loan"))
        return Shown(
            winter=seen["winter"],
            day=seen["day"],
            forecast=tuple((night["low_c"], night["storm_pct"]) for night in seen["forecast"]),
            price_cents=round(100 * seen["price_eur"]),
            storm_night=seen["storm_night"] if seen["storm_lasts_pct"] else 0,
            seed_bed=BEDS.index(mould["bed"]) if mould else None,
            outbreak_day=mould["day"] if mould else None,
            holiday_start=holiday["first_day"] if holiday else self._holiday_start(),
            loan_due=loan["due_day"] if loan else None,
        )

    def _holiday_start(self) -> int | None:
        """A supplier who is seen to be closed has gone on holiday, whatever the note said."""
        return self._seen["day"] if self._seen["supplier"] == "closed" else None

    def _sensors(self, seed: int) -> list[Sensor]:
        belief, luck = self.belief.sensors, Stream(seed, _SENSORS)
        common = luck.bell()
        drawn = []
        for i, name in enumerate(SENSORS):
            # The two errors are known together, by one reference: what is unknown of them is mostly common.
            own, mixed = luck.bell(), max(0.0, min(1.0, belief.cov / max(belief.var[i], 1e-9)))
            spread = max(0.0, belief.var[i]) ** 0.5
            error_c = belief.mean_c[i] + spread * (mixed**0.5 * common + (1.0 - mixed) ** 0.5 * own)
            drifts, pace_c = luck.coin(1.0 / 3.0), luck.uniform(0.12, 0.3)
            if belief.stuck(i):
                drawn.append(Sensor(fault="stuck", size_c=self._seen["readings"][f"{name}_c"]))
            elif abs(error_c) < _FAULTY_C:
                drawn.append(Sensor())
            elif drifts:
                drawn.append(Sensor(fault="drift", size_c=pace_c if error_c > 0 else -pace_c, error_c=error_c))
            else:
                drawn.append(Sensor(fault="bias", size_c=error_c, error_c=error_c))
        return drawn

    def _beds(self, seed: int, shown: Shown) -> list[Bed]:
        """The winter so far, lived through again with other luck, and put right where a bed was inspected."""
        luck = Stream(seed, _BEDS)
        beds = [Bed(vigour=self.config.start_vigour, soil=self._soil) for _ in BEDS]
        if self._carried:
            for bed in beds:
                bed.aphids = luck.uniform(0.0, 0.5)
        for event in self._events:
            if event.kind == "night":
                self._live(beds, event, luck, shown)
                continue
            bed = beds[event.bed]
            if event.kind == "inspected":
                # None counted is mostly none, and still leaves room for a fraction of an aphid per leaf.
                counted = event.aphids if event.aphids else luck.uniform(0.0, 0.5) * luck.coin(0.2)
                bed.aphids = counted / (1.0 + 0.25 * max(-2.0, luck.bell()))
                bed.mould = event.mould_pct / 100.0 / (1.0 + 0.2 * max(-2.0, luck.bell()))
            elif event.kind == "aphids":
                bed.aphids = soaped(bed.aphids)
            else:
                bed.mould, bed.dusted_day = dusted(bed.mould), event.day
        for bed, believed in zip(beds, self.belief.beds, strict=True):
            if not believed.alive:
                bed.vigour = min(bed.vigour, self.config.dead_vigour * 0.9)
        return beds

    def _live(self, beds: list[Bed], night: _Event, luck: Stream, shown: Shown) -> None:
        """One night for all beds: `night._grow` with an inside low that is known only about, and other arrivals."""
        inside_c = night.inside_c + _INSIDE_SD_C * luck.bell()
        for i, bed in enumerate(beds):
            cold_c = self.config.crops[i].comfort_c - inside_c
            bed.stress = min(1.5, bed.stress + stress_of(cold_c))
            grown = (self.config.growth_per_day if cold_c <= 0.0 else 0.0) - self.config.dark_per_day * night.dark
            flies, size = luck.coin(0.015), luck.uniform(0.5, 3.0)
            bed.aphids = min(200.0, bed.aphids * aphid_factor(inside_c)) + (size if flies else 0.0)
            if bed.aphids < 0.1:
                bed.aphids = 0.0
            bed.mould = mould_after(bed.mould, night.humidity_pct)
            ripe = self.config.stress_to_vigour * bed.stress
            bed.stress -= ripe
            lost = ripe + eaten_by(bed.aphids) + MOULD_HARM * bed.mould
            bed.vigour = min(1.0, max(0.0, bed.vigour + grown - lost))
        if shown.seed_bed is not None and night.day == shown.outbreak_day:
            bed = beds[shown.seed_bed]
            if not (bed.dusted_day and 0 <= night.day - bed.dusted_day <= self.config.dusting_days):
                bed.mould = min(1.0, bed.mould + self.config.outbreak_mould)
