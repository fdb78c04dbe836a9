"""The greenhouse as a World: reset, step, look, save, put back, judge."""

from __future__ import annotations

from typing import Any

from overwinter.errors import UsageError
from overwinter.worlds.world import Observation, Outcome, Transition, text_key

from . import actions as acts
from .config import BEDS, Config
from .imagination import GreenhouseImagination
from .imagined import Shown, imagined_tape
from .night import measure, sleep
from .state import SNAPSHOT_VERSION, Bed, Ledger, State, fresh_state, from_json, to_json
from .view import coarse, look_at_beds, look_at_orders, observe, rules_text
from .weather import Tape, make_tape


class Greenhouse:
    """A greenhouse through one winter or several. See the package docstring for the rules that hold everywhere."""

    best_score = 100.0
    """A score that counts as all that can be had; a perfect winter can be a little above it."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.all_actions = acts.ALL_ACTIONS
        self.name = _name(self.config)
        self.goal = (
            f"Bring the greenhouse through {_span(self.config)} so that the three beds are worth much in spring and "
            f"little was spent: score at least {self.config.success_score:g} of 100."
        )
        self._state: State | None = None
        self._tape: Tape = make_tape(0, 1, self.config)
        self._digest = self.config.digest()
        self._imagined: dict[str, Any] | None = None

    def imagination(self) -> GreenhouseImagination:
        """For looking ahead without looking into what really comes."""
        return GreenhouseImagination(self.config)

    def __deepcopy__(self, memo: dict[int, Any]) -> Greenhouse:
        """The tape is shared: nobody changes it."""
        made = Greenhouse(self.config)
        made._tape, made._imagined = self._tape, self._imagined
        made._state = from_json(to_json(self._state)) if self._state is not None else None
        return made

    def reset(self, seed: int) -> Observation:
        state = fresh_state(seed, self.config)
        self._tape, self._imagined = make_tape(seed, 1, self.config), None
        measure(state, self._tape.nights[0], 0.0, self.config)
        self._state = state
        return observe(state, self._tape, self.config)

    def step(self, action: str) -> Transition:
        state = self._started()
        if action not in self.actions():
            raise UsageError(f"{action!r} is not a legal action now", "choose one of the listed actions")
        if acts.is_look(action):
            return Transition(observation=self._look(action), reward=0.0, terminated=False)
        acts.perform(action, state, self._tape, self.config)
        if state.slots > 0:
            return Transition(observation=observe(state, self._tape, self.config), reward=0.0, terminated=False)
        reward = self._night(state)
        return Transition(observation=observe(state, self._tape, self.config), reward=reward, terminated=state.over)

    def actions(self) -> tuple[str, ...]:
        return acts.legal(self._started(), self._tape, self.config)

    def effect(self, action: str) -> str:
        """ "pure" for looks; "keyed" for all else: the greenhouse remembers it."""
        if action not in acts.ALL_ACTIONS:
            raise UsageError(f"{action!r} is not an action of the greenhouse", "choose one of the listed actions")
        return "pure" if acts.is_look(action) else "keyed"

    def consequential(self, action: str) -> bool:
        """Whether a person might want to be asked first: fuel orders spend the budget and cannot be taken back."""
        return acts.is_order(action)

    def outcome(self) -> Outcome:
        """The score of the winters so far; while one is open, it counts as if spring were today."""
        state = self._started()
        results = list(state.results)
        if not state.over:
            results.append(_settle(state, self.config))
        score = round(sum(r["score"] for r in results) / len(results), 2)
        success = score >= self.config.success_score if state.over else None
        return Outcome(success=success, score=score, facts={"seed": state.seed, "winters": results})

    def snapshot(self) -> dict[str, Any]:
        made = {"version": SNAPSHOT_VERSION, "rules": self._digest, "state": to_json(self._started())}
        return made if self._imagined is None else {**made, "imagined": self._imagined}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        version, rules = snapshot.get("version"), snapshot.get("rules")
        if version != SNAPSHOT_VERSION or rules != self._digest:
            raise UsageError(
                f"this snapshot was taken under other rules (version {version}, rules {rules}; here "
                f"{SNAPSHOT_VERSION}, {self._digest})",
                "open the world by the name the run was started with",
            )
        state = from_json(snapshot["state"])
        # An imagined winter is drawn from what was shown of it; see `imagined`.
        self._imagined = snapshot.get("imagined")
        self._tape = (
            make_tape(state.seed, state.winter, self.config)
            if self._imagined is None
            else imagined_tape(state.seed, _shown(self._imagined), self.config)
        )
        self._state = state
        return observe(state, self._tape, self.config)

    def state_key(self) -> int:
        """A 64-bit key of what the player sees, in coarse steps (`view.coarse`); looks leave it as it is."""
        return text_key(repr(coarse(observe(self._started(), self._tape, self.config).data)))

    def _started(self) -> State:
        if self._state is None:
            raise UsageError("the greenhouse has not been started", "call reset(seed) or restore(snapshot) first")
        return self._state

    def _look(self, action: str) -> Observation:
        state = self._started()
        if action == acts.LOOK_AT_BEDS:
            answer = look_at_beds(state)
        elif action == acts.LOOK_AT_ORDERS:
            answer = look_at_orders(state)
        else:
            answer = {"kind": "rules", "text": rules_text(self.config)}
        return observe(state, self._tape, self.config, look=answer)

    def _night(self, state: State) -> float:
        """Night falls; at the end of a winter it is settled. Returns the reward."""
        sleep(state, self._tape, self.config)
        if state.day <= self.config.days:
            return 0.0
        result = _settle(state, self.config)
        state.results.append(result)
        news = {"crop_eur": sum(result["crop_eur"].values()), "score": result["score"]}
        if state.winter == self.config.winters:
            state.over, state.slots = True, 0
            state.news.append({"kind": "spring", **news})
        else:
            self._tape, self._imagined = make_tape(state.seed, state.winter + 1, self.config), None
            _begin_winter(state, result, self.config)
            state.news = [{"kind": "new_winter", **news}]
        return float(result["score"]) / (100.0 * self.config.winters)


def _shown(values: dict[str, Any]) -> Shown:
    return Shown(**{**values, "forecast": tuple((night[0], night[1]) for night in values["forecast"])})


def _name(config: Config) -> str:
    options = [f"{key}={getattr(config, key)}" for key in ("days", "winters") if getattr(config, key) != _DEFAULT[key]]
    return "greenhouse" + (":" + ",".join(options) if options else "")


_DEFAULT = {"days": Config().days, "winters": Config().winters}


def _span(config: Config) -> str:
    return f"a winter of {config.days} days" if config.winters == 1 else f"{config.winters} winters"


def _crop_eur(bed: Bed, value_eur: int, config: Config) -> int:
    """What a bed brings in spring: stress that has not shown yet shows now, and a dead bed brings nothing."""
    vigour = bed.vigour - bed.stress
    part = max(0.0, vigour - config.dead_vigour) / (1.0 - config.dead_vigour)
    return round(value_eur * part * bed.soil)


def _settle(state: State, config: Config) -> dict[str, Any]:
    """The true facts of a winter, as a judge needs them."""
    crop_eur = {
        name: _crop_eur(bed, crop.value_eur, config)
        for name, bed, crop in zip(BEDS, state.beds, config.crops, strict=True)
    }
    worth_eur = sum(crop_eur.values()) + state.money_eur - state.owed_eur
    ledger = to_json(state)["ledger"]
    rounded = {key: round(value, 1) if isinstance(value, float) else value for key, value in ledger.items()}
    return {
        "winter": state.winter,
        "score": round(100.0 * worth_eur / config.reference_eur, 2),
        "worth_eur": worth_eur,
        "crop_eur": crop_eur,
        "vigour": {name: round(bed.vigour - bed.stress, 3) for name, bed in zip(BEDS, state.beds, strict=True)},
        "fuel_left_l": round(state.fuel_l, 1),
        "money_eur": state.money_eur,
        "owed_eur": state.owed_eur,
        **rounded,
    }


def _begin_winter(state: State, result: dict[str, Any], config: Config) -> None:
    """What survives the summer: money up to the starting sum, tired soil, some pests, faulty sensors, fuel."""
    # The household lives on what exceeds the purse, and lends a third of it after a ruinous winter.
    state.money_eur = max(config.purse_eur // 3, min(config.purse_eur, result["worth_eur"]))
    state.owed_eur = 0
    for bed in state.beds:
        bed.soil = max(0.6, bed.soil - 0.03 - 0.2 * bed.mould)
        bed.vigour, bed.stress, bed.dusted_day = config.start_vigour, 0.0, 0
        bed.aphids *= 0.1
        bed.mould *= 0.2
    state.winter += 1
    state.day = 1
    state.slots = config.slots_per_day
    state.orders = []
    state.heat_c, state.vents_open, state.shutters_closed = 8, False, False
    state.humidity_pct = 65.0
    state.ledger = Ledger()
