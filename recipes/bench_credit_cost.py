"""What credit costs: milliseconds per estimator for one batch of 128 trajectories, up to 50 steps each.

    python recipes/bench_credit_cost.py                  # NumPy, median of 5
    python recipes/bench_credit_cost.py --device cuda    # and Torch on that device

Random walks on a small map, 16 groups of 8, every column filled. The walks are drawn once, from seed 0. NumPy is measured in time of
the processor, which other processes do not disturb much; a device in time of the wall, diagnostics on the host included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from overwinter.learn.batch import Batch
from overwinter.learn.credit import ESTIMATORS, Config, advantages
from overwinter.learn.credit.learners import fit_state_hindsight

STATES, ACTIONS = 20, 6


def walks(groups: int, size: int, longest: int) -> Batch:
    """Random walks on a ring with shortcuts; the goal is one state away from the end of the ring."""
    rng = np.random.default_rng(0)
    rows: list[tuple[int, int, int, int, int, bool, bool]] = []
    success: list[float] = []
    for number in range(groups * size):
        here = 0
        for step in range(longest):
            action = int(rng.integers(ACTIONS))
            there = min(max(here + (-2, -1, 0, 1, 1, 3)[action], 0), STATES)
            won = there == STATES
            last = won or step == longest - 1
            rows.append((number // size, number, here, action, there, won, last and not won))
            if last:
                success.append(float(won))
                break
            here = there
    group, trajectory, state, action, next_state, terminated, truncated = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    count = len(rows)
    tokens = rng.integers(5, 60, count)
    policy = np.full((count, ACTIONS), -np.log(ACTIONS))
    batch = Batch(
        group=group,
        trajectory=trajectory,
        state=state,
        next_state=next_state,
        action=action,
        reward=terminated.astype(np.float64),
        terminated=terminated,
        truncated=truncated,
        success=np.array(success),
        value=rng.uniform(size=count),
        end_value=np.zeros(len(success)),
        entropy=rng.uniform(size=count),
        policy=policy,
        hindsight=np.log(rng.dirichlet(np.ones(ACTIONS), size=count)),
        hindsight_score=-rng.uniform(size=count),
        tokens=tokens,
        token_value=rng.uniform(size=int(tokens.sum())),
    )
    return replace(batch, meta={"state_hindsight": fit_state_hindsight(batch, at="state", gamma=0.99)})


def milliseconds(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--longest", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", help="also measure Torch on this device")
    chosen = parser.parse_args()
    batch = walks(chosen.groups, chosen.size, chosen.longest)
    print(f"{len(batch)} rows, {batch.trajectories} trajectories, {batch.success.mean():.0%} won")
    print("| estimator | NumPy, CPU ms |" + (f" Torch on {chosen.device}, wall ms |" if chosen.device else ""))
    print("|---|---|" + ("---|" if chosen.device else ""))
    for name in ESTIMATORS:
        config = Config(estimator=name)
        here = lambda: advantages(batch, config)  # noqa: E731, B023
        row = f"| `{name}` | {milliseconds(here, chosen.repeats, time.process_time):.1f} |"
        if chosen.device:
            from overwinter.learn.credit.torch_backend import tensor_advantages

            there = lambda: tensor_advantages(batch, config, device=chosen.device)  # noqa: E731, B023
            row += f" {milliseconds(there, chosen.repeats, time.perf_counter):.1f} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
