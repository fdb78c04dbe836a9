"""A constraint that fails in the middle ends its own sequence, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine_kit import VOCABULARY, engine_of, request
from torch import Tensor

from overwinter.engine.request import Event
from overwinter.engine.worker import EngineWorker
from overwinter.errors import ModelError


class Breaks:
    """Allows everything, and cannot go on after three tokens."""

    vocab_size = VOCABULARY

    def start(self) -> int:
        return 0

    def constrain_(self, logits_RV: Tensor, states: Sequence[Any]) -> None:
        pass

    def advance(self, state: int, token: int) -> int:
        if state == 3:
            raise ModelError(f"token {token} broke it", "ask for something simpler")
        return state + 1

    def is_complete(self, state: int) -> bool:
        return False


def test_it_ends_alone() -> None:
    engine = engine_of()
    broken, sound = engine.run([request(9, 8, constraint=Breaks()), request(9, 8, seed=1)])
    assert broken.finish == "fault"
    assert "broke it" in broken.problem
    assert (sound.finish, len(sound.output_ids)) == ("length", 8)
    assert engine.stats().blocks_referenced == 0


def test_its_worker_goes_on() -> None:
    worker = EngineWorker(engine_of())
    events: list[Event] = []
    worker.submit(request(9, 8, constraint=Breaks()), events.append)
    worker.submit(request(9, 8), events.append)
    worker.close(30)
    assert sorted(str(event.finish) for event in events if event.finish) == ["fault", "length"]
