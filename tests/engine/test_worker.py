"""An engine in a thread: many callers, one owner."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest
from engine_kit import engine_of, request, said

from overwinter.engine import Event
from overwinter.engine.worker import EngineWorker
from overwinter.errors import ModelError, UsageError


class Ears:
    """Collects events, and lets a test wait for ends."""

    def __init__(self) -> None:
        self.events: dict[int, list[Event]] = defaultdict(list)
        self._ended = threading.Condition()
        self._ends = 0

    def __call__(self, event: Event) -> None:
        with self._ended:
            self.events[event.sequence].append(event)
            self._ends += event.finish is not None
            self._ended.notify_all()

    def wait_for_ends(self, count: int) -> None:
        with self._ended:
            assert self._ended.wait_for(lambda: self._ends >= count, timeout=60)

    def ids(self, sequence: int) -> tuple[int, ...]:
        return tuple(token for event in self.events[sequence] for token in event.token_ids)


def test_many_threads_get_what_each_would_get_alone() -> None:
    asked = [request(5 + at, 6, seed=at) for at in range(12)]
    alone = [said(engine_of().run([one])[0]).output_ids for one in asked]
    worker, ears, numbers = EngineWorker(engine_of(max_running=4)), Ears(), {}

    def ask(at: int) -> None:
        numbers[at] = worker.submit(asked[at], ears)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ears.wait_for_ends(12)
    assert [ears.ids(numbers[at]) for at in range(12)] == alone
    worker.close()
    assert not worker.is_alive
    assert worker.stats().blocks_referenced == 0


def test_cancel_and_close() -> None:
    worker, ears = EngineWorker(engine_of()), Ears()
    first, second = worker.submit(request(5, 390), ears), worker.submit(request(6, 390), ears)
    worker.cancel(first)
    ears.wait_for_ends(1)
    assert ears.events[first][-1].finish == "cancelled"
    worker.close(drain_s=0.0)
    assert ears.events[second][-1].finish in {"cancelled", "length"}
    with pytest.raises(UsageError, match="closing"):
        worker.submit(request(5), ears)


def test_closing_lets_those_under_way_end() -> None:
    worker, ears = EngineWorker(engine_of()), Ears()
    number = worker.submit(request(5, 20), ears)
    worker.close(drain_s=60.0)
    assert ears.events[number][-1].finish == "length"
    assert len(ears.ids(number)) == 20


def test_what_can_never_be_served_is_refused_in_the_callers_thread() -> None:
    worker = EngineWorker(engine_of())
    with pytest.raises(UsageError, match="context of 400"):
        worker.submit(request(399, 9), Ears())
    worker.close()


def test_a_failing_engine_tells_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of()
    worker, ears = EngineWorker(engine), Ears()

    def broken() -> list[Event]:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(engine, "step", broken)
    number = worker.submit(request(5), ears)
    ears.wait_for_ends(1)
    assert ears.events[number][-1].finish == "fault"
    assert "out of luck" in ears.events[number][-1].problem
    worker._thread.join()
    with pytest.raises(ModelError, match="out of luck"):
        worker.submit(request(5), ears)
