"""A suite of sums, a suite with a dialogue, and models that answer them and remember what they were asked."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from overwinter.bench.asking import Asked, Reply
from overwinter.bench.plan import Config, Plan
from overwinter.bench.running import AskedRun
from overwinter.bench.suite import Item, Scored, Suite, TurnRecord
from overwinter.bench.suites.forms import ask_open, score_number
from overwinter.errors import ModelError
from overwinter.journal import Store


def sums(_: Path | None, seed: int, count: int = 6) -> list[Item]:
    return [
        Item(
            id=f"q{place}",
            question=f"What is {place} + {seed}?",
            gold=str(place + seed),
            slices={"odd": str(place % 2)},
        )
        for place in range(count)
    ]


SUMS = Suite(name="sums", family="tests", about="sums", load=sums, ask=ask_open("the number"), score=score_number)


class Guess:
    """Tells whether the number is larger, until it is named or three guesses are gone."""

    def __init__(self, item: Item, style: str) -> None:
        self.turns: list[TurnRecord] = []
        self.asked = 0
        self._gold, self._said, self._answer = int(item.gold), "Guess my number.", -1

    def prompt(self) -> str:
        return self._said

    def hear(self, text: str) -> bool:
        self.asked += 1
        self._answer = int(text)
        right = self._answer == self._gold
        self.turns.append(
            TurnRecord(
                turn=self.asked, information=self.asked / 3, act="ask", stated=self.asked / 4, correct=float(right)
            )
        )
        self._said = "larger" if self._gold > self._answer else "smaller"
        return right or self.asked == 3

    def scored(self) -> Scored:
        return Scored(answer=str(self._answer), correct=float(self._answer == self._gold), stated=0.5)


GUESS = Suite(name="guess", family="tests", about="guessing", load=sums, open=Guess)


class Solver:
    """Adds up what stands in the question.

    Attributes:
        log: a line for every question it is asked, on disk at once, so that a killed process leaves it.
    """

    name = "solver"
    context_tokens = 1000

    def __init__(
        self,
        answer: Callable[[Asked], str] | None = None,
        *,
        log: Path | None = None,
        fail_at: int = -1,
        pause_s: float = 0.0,
        local: bool = True,
    ) -> None:
        self.local = local
        self.asked: list[Asked] = []
        self._answer, self._log, self._fail_at, self._pause_s = answer or total, log, fail_at, pause_s

    def count(self, said: Sequence[tuple[str, str]]) -> int:
        return sum(len(text.split()) for _, text in said)

    def ask(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(f"{asked.said[0][1].splitlines()[0]}|{asked.key}|{asked.seed}\n")
                file.flush()
                os.fsync(file.fileno())
        if len(self.asked) - 1 == self._fail_at:
            raise ModelError("the server is down", "start it", lost_tokens=5)
        time.sleep(self._pause_s)
        usage = {"prompt_tokens": self.count(asked.said), "completion_tokens": 4, "lost_tokens": 0, "micro_usd": 0}
        return Reply(text=self._answer(asked), usage=usage, model="solver-1", confidence=0.9)

    def price_micro_usd(self, prompt_tokens: int, completion_tokens: int) -> int:
        return prompt_tokens + completion_tokens


def total(asked: Asked) -> str:
    a, b = map(int, re.findall(r"\d+", asked.said[0][1])[:2])
    return f"Adding.\nAnswer: {a + b}\nConfidence: 0.8"


def plan(suite: Suite = SUMS, **settings: object) -> Plan:
    config = Config(**{"seed": 3, **settings})  # type: ignore[arg-type]
    return Plan(suite=suite, items=suite.load(None, config.seed), config=config, model={"kind": "test"})


def begin(store: Store, made: Plan, asker: Solver, caps: dict[str, int] | None = None, run: str = "b") -> AskedRun:
    from overwinter.bench.ledger import create

    create(store, run, made, caps or {})
    return AskedRun(store, run, made, asker).begin(caps or {})


def go_on(store: Store, made: Plan, asker: Solver, run: str = "b") -> AskedRun:
    return AskedRun(store, run, made, asker).go_on()
