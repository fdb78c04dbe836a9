"""Worlds in other processes answer as those in this one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest
from reinforce_kit import Corridor

from overwinter.errors import ToolError, UsageError
from overwinter.learn.reinforce.pool import Bench, ProcessSeats, RaySeats
from overwinter.learn.reinforce.seat import OPEN_SEAT, LocalSeats, Seat, Seen, made_by, open_seat

MAKER = "reinforce_kit:corridor_seat"
SETTINGS: dict[str, Any] = {"length": 3, "limit": 5}


def test_worlds_in_processes_are_those_of_this_process() -> None:
    settings: dict[str, Any] = {"world": "greenhouse:days=20", "max_steps": 3}
    here = LocalSeats(lambda: open_seat(**settings), 5)
    with ProcessSeats(OPEN_SEAT, settings, count=5, processes=2) as there:
        assert there.sizes == [3, 2]
        places = [(4, 11), (0, 12), (2, 11), (3, 13), (1, 14)]
        seen, other = here.reset(places), there.reset(places)
        assert [one.to_json() for one in seen] == [one.to_json() for one in other]
        for step in range(3):
            actions = [
                (seat, one.actions[(seat + step) % len(one.actions)])
                for (seat, _), one in zip(places, seen, strict=True)
            ]
            seen, other = here.step(actions), there.step(actions)
            assert [one.to_json() for one in seen] == [one.to_json() for one in other]
        assert all(one.is_over for one in other)
        # An action that is not possible is this caller's error, and changes nothing.
        there.reset([(0, 1)])
        with pytest.raises(UsageError, match="fly"):
            there.step([(0, "fly")])
        # A process that dies is named by its seats.
        there._processes[1].kill()
        there._processes[1].join()
        with pytest.raises(ToolError, match="seats 3 to 4"):
            there.reset([(0, 1), (4, 1)])


def test_a_world_s_process_needs_no_torch() -> None:
    code = "import sys, overwinter.learn.reinforce.pool, overwinter.worlds.greenhouse; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )


def test_a_world_that_cannot_be_made_says_so() -> None:
    with pytest.raises(UsageError, match="no world called 'nowhere'"):
        ProcessSeats(OPEN_SEAT, {"world": "nowhere"}, count=1, processes=1)


def test_what_is_seen_survives_json() -> None:
    seen = Seen(text="a\n", actions=("x", "y"), state=2**62 + 1, reward=0.5)
    back = Seen.from_json(seen.to_json())
    assert (back.text, back.actions, back.state, back.reward) == ("a\n", ("x", "y"), 2**62 + 1, 0.5)
    assert math.isnan(back.success)


def test_seats_of_named_worlds_come_with_their_notebook() -> None:
    seat = open_seat("greenhouse:days=20", max_steps=3)
    first = seat.reset(1)
    assert first.text.count("\n") > 2
    assert seat.reset(1) == first or math.isnan(first.score)
    seen = [seat.step(first.actions[0]) for _ in range(3)]
    assert [one.is_over for one in seen] == [False, False, True]
    assert seen[-1].truncated
    by_world = open_seat("greenhouse:days=20", key="world").reset(1)
    assert (by_world.text, by_world.state == first.state) == (first.text, False)
    with pytest.raises(UsageError, match="names no function"):
        made_by("nothing", {})
    with pytest.raises(UsageError, match="at least one"):
        LocalSeats(lambda: Seat(Corridor()), 0)


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is here")
def test_without_ray_the_extra_is_named() -> None:
    with pytest.raises(UsageError, match=r"overwinter\[ray\]"):
        RaySeats(MAKER, SETTINGS, count=1, actors=1)


def test_a_bench_answers_in_json() -> None:
    # What a process or an actor runs.
    bench = Bench(MAKER, '{"length": 3}', 1)
    assert "at p1" in bench.answer('["reset", [[0, 0]]]')
    assert "problem" in bench.answer('["step", [[0, "fly"]]]')


def test_games_by_ray_are_those_of_this_process() -> None:
    pytest.importorskip("ray", reason="needs overwinter[ray]")
    settings = {"world": "greenhouse:days=20", "max_steps": 2}
    here = LocalSeats(lambda: open_seat(**settings), 3)
    places = [(0, 4), (1, 5), (2, 4)]
    with RaySeats(OPEN_SEAT, settings, count=3, actors=2, options={"num_cpus": 0.5}) as there:
        first = here.reset(places)
        assert [seen.to_json() for seen in there.reset(places)] == [seen.to_json() for seen in first]
        actions = [(seat, seen.actions[-1]) for seat, seen in enumerate(first)]
        assert [s.to_json() for s in there.step(actions)] == [s.to_json() for s in here.step(actions)]
