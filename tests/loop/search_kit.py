"""What the tests of search share: a pond with luck in it, a model that chooses, and a store that dies."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from loop_kit import ALLOW_ALL, goal

from overwinter.journal import Entry
from overwinter.journal.sqlite import SqliteStore
from overwinter.loop.model import Completion, Constraint, Limits, Usage, View
from overwinter.loop.run import Run
from overwinter.loop.session import Pace, Parts
from overwinter.loop.world import WorldSession
from overwinter.think.search import SearchSettings
from overwinter.tools import Toolbox
from overwinter.worlds.imagination import Plain
from overwinter.worlds.rng import Stream
from overwinter.worlds.world import Observation, Outcome, Transition

COST = 10
"""Tokens of an answer, prompt included."""


class LuckyPond:
    """Fish for a few hours. A net brings two every time; a rod brings one, or with luck four: the luck of an hour is the seed's, and nobody
    sees it before.

    Args:
        luck: the chance that the rod brings four.
    """

    name = "lucky pond"
    goal = "Catch many fish."
    best_score = 20.0

    def __init__(self, luck: float = 0.5, hours: int = 3) -> None:
        self.luck, self.hours = luck, hours
        self.seed, self.hour, self.fish = 0, 0, 0

    def reset(self, seed: int) -> Observation:
        self.seed, self.hour, self.fish = seed, 0, 0
        return self._see()

    def step(self, action: str) -> Transition:
        lucky = Stream(self.seed, self.hour).coin(self.luck)
        self.fish += {"net": 2, "rod": 4 if lucky else 1, "sleep": 0}[action]
        self.hour += 1
        return Transition(observation=self._see(), reward=0.0, terminated=self.hour >= self.hours)

    def actions(self) -> Sequence[str]:
        return ("net", "rod", "sleep") if self.hour < self.hours else ()

    def effect(self, action: str) -> str:
        return "keyed"

    def outcome(self) -> Outcome:
        over = self.hour >= self.hours
        return Outcome(success=self.fish > 2 * self.hours if over else None, score=float(self.fish))

    def snapshot(self) -> dict[str, Any]:
        return {"seed": self.seed, "hour": self.hour, "fish": self.fish}

    def restore(self, snapshot: dict[str, Any]) -> Observation:
        self.seed, self.hour, self.fish = snapshot["seed"], snapshot["hour"], snapshot["fish"]
        return self._see()

    def imagination(self) -> PondImagination:
        return PondImagination()

    def _see(self) -> Observation:
        return Observation(text=f"hour {self.hour}, {self.fish} fish", data={"hour": self.hour, "fish": self.fish})


class PondImagination:
    """The fish are seen; the luck to come is drawn."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def take_in(self, action: str | None, observation: Observation) -> None:
        self._seen = observation.data

    def draw(self, seed: int) -> dict[str, Any]:
        return {**self._seen, "seed": seed}


class OpenPond(LuckyPond):
    """The rod brings one for certain, so there is nothing to imagine."""

    name = "open pond"

    def __init__(self) -> None:
        super().__init__(luck=0.0)

    def imagination(self) -> Plain:  # type: ignore[override]
        return Plain(self.snapshot)


class Chooser:
    """Takes the likeliest choice at temperature 0, else one that seed and observation say. It keeps nothing."""

    name, local, context_tokens = "chooser", True, 1_000

    def __init__(self, shares: dict[str, float] | None = None) -> None:
        self.shares = shares or {"sleep": 0.6, "net": 0.3, "rod": 0.1}
        self.asked = 0

    def count_tokens(self, text: str) -> int:
        return len(text.split()) // 10

    def sample(self, view: View, n: int, constraint: Constraint, limits: Limits) -> Sequence[Completion]:
        self.asked += 1
        choices = constraint.choices or view.legal_actions
        total = sum(self.shares[each] for each in choices)
        at = (
            0.0 if limits.temperature == 0 else zlib.crc32(f"{limits.seed} {view.observation}".encode()) / 2**32 * total
        )
        ordered = sorted(choices, key=lambda each: -self.shares[each])
        for each in ordered:
            at -= self.shares[each]
            if at < 0 or each == ordered[-1]:
                break
        usage = Usage(prompt_tokens=COST - 1, completion_tokens=1)
        found = Completion(text=each, usage=usage, model=self.name, choice_probability=self.shares[each] / total)
        return [found] * n

    def score(self, view: View, continuations: Sequence[str]) -> Sequence[Sequence[float]]:
        return [[0.0]] * len(continuations)

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return 0

    def close(self) -> None:
        """Nothing is held."""


def pond_parts(world: Any, model: Any = None, **search: Any) -> Parts:
    """Parts of a run that searches in a pond."""
    session = WorldSession(world, 0)
    settings = {"strategy": "tree", "tokens": 400, "critic": "outcome", "stride": 0, "depth": 1, "width": 3} | search
    return Parts(
        model=model or Chooser(),
        toolbox=Toolbox([session.tool()]),
        controls={},
        world=session,
        gates=ALLOW_ALL,
        pace=Pace(max_tokens=16, max_stalls=100, seed=1),
        search=SearchSettings(**settings),
    )


def fish(store: Any, parts: Parts, *, name: str = "r", caps: dict[str, int] | None = None) -> str:
    with Run.start(store, goal({"kind": "world"}), parts=parts, name=name, caps=caps) as run:
        return run.finish()


class Killed(BaseException):
    """Nothing in the package catches this: the process is gone."""


class DyingStore(SqliteStore):
    """Ends the process at its nth write, before or after the commit. Leases are left as they are, as by a killed process."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.writes, self.at, self.after = 0, 0, False
        super().__init__(*args, **more)

    def _transaction(self) -> AbstractContextManager[None]:
        return self._counted()

    @contextmanager
    def _counted(self) -> Any:
        self.writes += 1
        here = self.writes == self.at
        if here and not self.after:
            self.at = 0
            raise Killed
        with super()._transaction():
            yield
        if here:
            self.at = 0
            raise Killed


def committed(store: Any, name: str = "r") -> list[tuple[Entry, Entry]]:
    """(search.ended, sample.completion) of each decision that was searched for."""
    entries = [e for e in store.read(name) if e.kind in {"search.ended", "branch.committed", "sample.completion"}]
    return [
        (a, c)
        for a, b, c in zip(entries, entries[1:], entries[2:], strict=False)
        if a.kind == "search.ended" and b.kind == "branch.committed"
    ]
