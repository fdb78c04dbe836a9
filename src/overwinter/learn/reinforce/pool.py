"""Seats elsewhere: worlds in processes of this machine, or spread over others by Ray; prompts come to where the model is.

    with ProcessSeats(OPEN_SEAT, {"world": "greenhouse"}, count=64, processes=4) as seats:
        episodes = rollout(player, seats, form, tasks)

Both speak the interface of `LocalSeats` and give the same answers: a world is a function of its seed and the actions. What crosses
the border is JSON. A process that dies is an error that says which seats it held, not a game with a hole in it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self

from overwinter.errors import OverwinterError, ToolError, UsageError
from overwinter.learn.reinforce.seat import Maker, Seat, Seen, made_by

READY_S = 120.0
"""Seconds that a process may take to import and make its seats."""


class Bench:
    """Some seats side by side: what a process or an actor holds. Requests and answers are JSON text."""

    def __init__(self, maker: Maker, settings: str, count: int) -> None:
        self._seats: list[Seat] = [made_by(maker, json.loads(settings)) for _ in range(count)]

    def answer(self, request: str) -> str:
        """`["reset" | "step", [[seat, seed or action], …]]` → what was seen; or `{"problem": …, "next_step": …}`."""
        what, places = json.loads(request)
        try:
            seen = [getattr(self._seats[seat], what)(given) for seat, given in places]
        except OverwinterError as error:
            return json.dumps({"problem": error.problem, "next_step": error.next_step})
        return json.dumps([one.to_json() for one in seen])


def _serve(connection: Connection, maker: Maker, settings: str, count: int) -> None:
    try:
        bench = Bench(maker, settings, count)
    except OverwinterError as error:
        connection.send_bytes(json.dumps({"problem": error.problem, "next_step": error.next_step}).encode())
        return
    connection.send_bytes(b"[]")
    with suppress(EOFError, KeyboardInterrupt):  # the other side has left
        while True:
            connection.send_bytes(bench.answer(connection.recv_bytes().decode()).encode())


class _Spread(ABC):
    """Seats numbered through over several benches."""

    count: int

    def __init__(self, count: int, benches: int) -> None:
        if count < 1 or benches < 1:
            raise UsageError(f"{count} seats in {benches} processes", "give at least one of each")
        self.count = count
        benches = min(benches, count)
        self.sizes = [count // benches + (number < count % benches) for number in range(benches)]
        self._homes = [(bench, place) for bench, size in enumerate(self.sizes) for place in range(size)]

    def reset(self, places: Sequence[tuple[int, int]]) -> list[Seen]:
        return self._all("reset", places)

    def step(self, places: Sequence[tuple[int, str]]) -> list[Seen]:
        return self._all("step", places)

    def _all(self, what: str, places: Sequence[tuple[int, Any]]) -> list[Seen]:
        asked: dict[int, list[int]] = {}
        for row, (seat, _) in enumerate(places):
            asked.setdefault(self._homes[seat][0], []).append(row)
        requests = {
            bench: json.dumps([what, [(self._homes[places[row][0]][1], places[row][1]) for row in rows]])
            for bench, rows in asked.items()
        }
        answers = self._exchange(requests)
        seen: dict[int, Seen] = {}
        for bench, rows in asked.items():
            found = json.loads(answers[bench])
            _raise_problem(found)
            seen.update((row, Seen.from_json(values)) for row, values in zip(rows, found, strict=True))
        return [seen[row] for row in range(len(places))]

    @abstractmethod
    def _exchange(self, requests: Mapping[int, str]) -> dict[int, str]:
        """Ask benches, all at the same time."""

    @abstractmethod
    def close(self) -> None:
        """Let them go."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _raise_problem(found: Any) -> None:
    if isinstance(found, dict):
        raise UsageError(found["problem"], found["next_step"])


class ProcessSeats(_Spread):
    """Seats in processes of this machine, started afresh (spawn), so that nothing of torch is shared.

    Args:
        maker: a function by name that makes one seat; see `seat.OPEN_SEAT`.
        settings: its arguments, plain JSON values.
        count: seats in all.
    """

    def __init__(self, maker: Maker, settings: Mapping[str, Any], *, count: int, processes: int) -> None:
        super().__init__(count, processes)
        context, told = get_context("spawn"), _told(settings)
        self._ends: list[Connection] = []
        self._processes: list[Any] = []
        for size in self.sizes:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, maker, told, size), daemon=True)
            process.start()
            there.close()
            self._ends.append(here)
            self._processes.append(process)
        try:
            for bench in range(len(self.sizes)):
                if not self._ends[bench].poll(READY_S):
                    raise ToolError(f"worlds were not ready within {READY_S:g} s", "look at what their maker does")
                _raise_problem(json.loads(self._receive(bench)))
        except OverwinterError:
            self.close()
            raise

    def _exchange(self, requests: Mapping[int, str]) -> dict[int, str]:
        for bench, request in requests.items():
            try:
                self._ends[bench].send_bytes(request.encode())
            except OSError as error:
                raise self._lost(bench) from error
        return {bench: self._receive(bench) for bench in requests}

    def _receive(self, bench: int) -> str:
        try:
            return self._ends[bench].recv_bytes().decode()
        except (EOFError, OSError) as error:
            raise self._lost(bench) from error

    def _lost(self, bench: int) -> ToolError:
        first = sum(self.sizes[:bench])
        return ToolError(
            f"the process of seats {first} to {first + self.sizes[bench] - 1} has died",
            "look at its messages above; a training goes on from its last checkpoint when it is started again",
        )

    def close(self) -> None:
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.terminate()
                process.join(5)
        self._ends, self._processes = [], []


class RaySeats(_Spread):
    """Seats as Ray actors, on whatever machines the cluster has (`overwinter[ray]`). A local Ray is started if none runs.

    Args:
        actors: over which the seats are spread.
        options: of each actor, as Ray names them: `{"num_cpus": 0.5}`.
    """

    def __init__(
        self,
        maker: Maker,
        settings: Mapping[str, Any],
        *,
        count: int,
        actors: int,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(count, actors)
        self._ray = _ray()
        self._owns = not self._ray.is_initialized()
        if self._owns:
            self._ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        remote = self._ray.remote(**{"num_cpus": 1, **(options or {})})(Bench)
        told = _told(settings)
        self._actors = [remote.remote(maker, told, size) for size in self.sizes]
        self._exchange(dict.fromkeys(range(len(self.sizes)), '["reset", []]'))

    def _exchange(self, requests: Mapping[int, str]) -> dict[int, str]:
        waiting = [self._actors[bench].answer.remote(request) for bench, request in requests.items()]
        try:
            return dict(zip(requests, self._ray.get(waiting), strict=True))
        except self._ray.exceptions.RayError as error:
            self.close()
            raise ToolError(
                f"an actor of worlds has failed: {error}", "look at the cluster; start again from the last checkpoint"
            ) from error

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        if self._owns:
            self._ray.shutdown()


def _ray() -> Any:
    if find_spec("ray") is None:
        raise UsageError("worlds on other machines need ray, which is not installed", "pip install 'overwinter[ray]'")
    import ray

    return ray


def _told(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(settings))
    except (TypeError, ValueError) as error:
        raise UsageError(f"settings are not plain JSON values: {error}", "give texts, numbers and lists") from error
