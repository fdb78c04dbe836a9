"""Keys of states: equal where rollouts meet, different where they part, the same in any process."""

from __future__ import annotations

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import Observation, open_world, state_key
from overwinter.worlds.world import text_key


def test_a_key_of_a_text_is_signed_64_bits_and_never_changes() -> None:
    assert text_key("") == -1970711489451281740
    assert text_key("a") != text_key("b")
    assert all(-(2**63) <= text_key(str(i)) < 2**63 for i in range(100))


def test_a_world_without_a_key_is_known_by_its_text() -> None:
    class Bare:
        name = "bare"

    seen = Observation(text="a cold room")
    assert state_key(Bare(), seen) == text_key("a cold room")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pass its last observation"):
        state_key(Bare())  # type: ignore[arg-type]


def test_rollouts_of_one_seed_meet_in_the_greenhouse_and_part_by_their_settings() -> None:
    first, second = open_world("greenhouse"), open_world("greenhouse")
    for world in (first, second):
        world.reset(3)
    assert state_key(first) == state_key(second)
    first.step("look at the beds")
    assert state_key(first) == state_key(second), "a look changes nothing"
    for action in ("open vents", "close shutters"):
        first.step(action)
    for action in ("close shutters", "open vents"):
        second.step(action)
    assert state_key(first) == state_key(second), "the order of two settings does not matter"
    first.step("shut vents")
    second.step("wait")
    assert state_key(first) != state_key(second)
    kept = first.snapshot()
    before = state_key(first)
    first.step("wait")
    assert state_key(first) != before
    first.restore(kept)
    assert state_key(first) == before


def test_minigrid_is_keyed_by_the_whole_grid() -> None:
    pytest.importorskip("minigrid")
    world = open_world("minigrid:MiniGrid-DoorKey-6x6-v0")
    with pytest.raises(UsageError, match="not been started"):
        state_key(world)
    world.reset(1)
    start = state_key(world)
    world.step("turn left")
    assert state_key(world) != start
    world.step("turn right")
    assert state_key(world) == start
    world.reset(2)
    assert state_key(world) != start


def test_minigrid_keeps_its_step_limit_apart_from_its_end() -> None:
    pytest.importorskip("minigrid")
    world = open_world("minigrid:MiniGrid-Empty-5x5-v0")
    world.reset(0)
    transition = world.step("turn left")
    while not transition.done:
        transition = world.step("turn left")
    assert (transition.truncated, transition.terminated) == (True, False)
    world.reset(0)
    for action in ("go forward", "go forward", "turn right", "go forward", "go forward"):
        transition = world.step(action)
    assert (transition.truncated, transition.terminated, transition.reward > 0) == (False, True, True)
