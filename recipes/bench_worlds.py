"""Steps per second of processor time of every world that can be opened here, played at random; prints the table of docs/worlds.md.

    python recipes/bench_worlds.py [--seconds 2] [--python PATH]

A step is: list the legal actions, take one. Processor time is this process's and its children's, Java included, so that
a busy machine does not change the figures much. The household is also stepped by codes. With --python, the worlds whose
packages that environment has are measured there too, through the pipe of `overwinter.worlds.isolated`.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

from overwinter.errors import UsageError
from overwinter.worlds import World, open_world, state_key
from overwinter.worlds.household import Household
from overwinter.worlds.isolated import isolate
from overwinter.worlds.rng import Stream

NAMES = (
    "greenhouse",
    "household",
    "minigrid:BabyAI-GoToLocal-v0",
    "minigrid:MiniGrid-DoorKey-8x8-v0",
    "gym:CartPole-v1",
)
APART = (
    "household",
    "textworld-express:cookingworld",
    "textworld-express:twc",
    "textworld-express:coin",
    "textworld-express:mapreader",
    "scienceworld:find-animal",
)


def processor_s() -> float:
    """Processor seconds of this process and of its living descendants (those from /proc; none are seen where there is none)."""
    own = os.getpid()
    if not Path("/proc/self/stat").exists():
        return time.process_time()
    ticks, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(entry.name)] = int(fields[1])
        ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
    total = 0
    for process, spent in ticks.items():
        ancestor = parents[process]
        while ancestor != own and ancestor in parents:
            ancestor = parents[ancestor]
        total += spent if ancestor == own else 0
    return time.process_time() + total / os.sysconf("SC_CLK_TCK")


def measure(world: World, seconds: float, step: Callable[[World, Stream], bool]) -> tuple[int, float, float]:
    """Steps, processor seconds and wall seconds of random play from seed to seed; resets are counted in.

    The first half of the time warms up (Java compiles while it runs) and is not counted.
    """
    draw, seed, chunk = Stream(11), 0, 16
    world.reset(seed)
    for _ in range(2):
        steps, wall, processor = 0, time.perf_counter(), processor_s()
        while processor_s() - processor < seconds / 2 and time.perf_counter() - wall < 5 * seconds:
            for _ in range(chunk):
                if not step(world, draw):
                    seed += 1
                    world.reset(seed)
            steps += chunk
            chunk = max(chunk, steps)  # looking at the clock costs milliseconds, so it is done ever more seldom
        chunk = max(16, steps // 4)
    return steps, processor_s() - processor, time.perf_counter() - wall


def in_words(world: World, draw: Stream) -> bool:
    actions = world.actions()
    return bool(actions) and not world.step(actions[draw.below(len(actions))]).done


def with_key(world: World, draw: Stream) -> bool:
    state_key(world)
    return in_words(world, draw)


def by_codes(world: World, draw: Stream) -> bool:
    assert isinstance(world, Household)
    codes = world.codes()
    return bool(codes) and not any(world.step_code(codes[draw.below(len(codes))])[1:])


def show(label: str, world: World, seconds: float, step: Callable[[World, Stream], bool] = in_words) -> None:
    steps, processor, wall = measure(world, seconds, step)
    rate = f"{steps / processor:,.0f}" if processor else "?"
    print(f"| {label} | {rate} | {steps / wall:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="processor seconds for each row")
    parser.add_argument("--python", help="the Python of an environment with text games")
    options = parser.parse_args()
    print(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} processors\n")
    print("| world | steps per processor second | steps per second |\n|---|---|---|")
    show("household, by codes", Household(), options.seconds, by_codes)
    missing = []
    for name in NAMES:
        try:
            world = open_world(name)
        except UsageError as error:
            missing.append(f"{name}: {error.problem}")
            continue
        show(name, world, options.seconds)
        show(f"{name}, with state key", world, options.seconds, with_key)
    for name in APART if options.python else ():
        try:
            isolated = isolate(name, python=options.python)
        except UsageError as error:
            missing.append(f"isolated:{name}: {error.problem}")
            continue
        show(f"isolated:{name}", isolated, options.seconds)
        isolated.close()
    print("".join(f"\nleft out: {line}" for line in missing))


if __name__ == "__main__":
    main()
