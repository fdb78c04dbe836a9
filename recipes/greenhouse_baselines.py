"""The baselines of the greenhouse over 200 seeds: the table and the picture that docs/greenhouse.md shows.

    python recipes/greenhouse_baselines.py [--seeds 200] [--figure docs/img/greenhouse_scores.svg]

Prints score distributions with 95 % bootstrap intervals, paired differences on the same seeds, and steps per second of
one core. Seeds 0..199 are reported; rules and players were tuned on seeds 1000..1099. The figure needs matplotlib.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from overwinter.worlds import Observation, Policy, open_policy, open_world, policy_names
from overwinter.worlds.greenhouse import Config
from overwinter.worlds.greenhouse.belief import SensorBelief
from overwinter.worlds.greenhouse.expert import ExpertPolicy
from overwinter.worlds.greenhouse.weather import LEADS, make_tape
from overwinter.worlds.rng import Stream

_BOOTSTRAP_STREAM = 202
_COLOURS = {"random": "#8c8c8c", "rules": "#c77d0a", "expert": "#1b6ca8", "explorer": "#1b6ca8"}


class ForgetfulExpert(ExpertPolicy):
    """The expert without the early notes: each is gone by the next day without news."""

    name = "expert that forgets the notes"

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        if not observation.data["news"]:
            self.belief.notes = {}
        return super().act(observation, actions)


class TrustingExpert(ExpertPolicy):
    """The expert without doubt: it takes both sensors for sound."""

    name = "expert that trusts the sensors"

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        action = super().act(observation, actions)
        self.belief.sensors = SensorBelief()
        return action


class NeverInspectingExpert(ExpertPolicy):
    """The expert that never inspects a bed, so it treats nothing but the mouldy seed."""

    name = "expert that inspects no bed"

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        return super().act(observation, [action for action in actions if not action.startswith("inspect")])


class Idle:
    """Waits all winter. It keeps its money and loses every plant: what saving alone is worth."""

    name = "idle (waits all winter)"

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Observation, actions: Sequence[str]) -> str:
        return "wait"


def scores(world_name: str, policy: Policy, seeds: Sequence[int]) -> tuple[list[float], float]:
    """The score on each seed, and the part of seeds that succeed."""
    world = open_world(world_name)
    found, succeeded = [], 0
    for seed in seeds:
        observation, done = world.reset(seed), False
        policy.reset(seed)
        while not done:
            transition = world.step(policy.act(observation, world.actions()))
            observation, done = transition.observation, transition.done
        outcome = world.outcome()
        found.append(outcome.score)
        succeeded += bool(outcome.success)
    return found, succeeded / len(seeds)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean."""
    draw = Stream(_BOOTSTRAP_STREAM, len(values))
    n = len(values)
    means = sorted(sum(values[draw.below(n)] for _ in range(n)) / n for _ in range(draws))
    return means[round(0.025 * draws)], means[round(0.975 * draws) - 1]


def quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def steps_per_second(first_seed: int, read_text: bool, games: int = 100) -> float:
    """Steps of the random player per CPU-second; each reset draws a winter that was never drawn before."""
    world, policy = open_world("greenhouse"), open_policy("greenhouse", "random")
    steps, start_s = 0, time.process_time()
    for seed in range(first_seed, first_seed + games):
        observation, done = world.reset(seed), False
        policy.reset(seed)
        while not done:
            transition = world.step(policy.act(observation, world.actions()))
            observation, done = transition.observation, transition.done
            steps += 1
            if read_text:
                _ = observation.text
    return steps / (time.process_time() - start_s)


def print_speed() -> None:
    print("\n| random player, one core, median of 5 rounds of 100 winters | steps per CPU-second |\n|---|---|")
    for what, read_text in (("data only", False), ("with every text written", True)):
        rates = sorted(steps_per_second(10_000 + 1000 * i + 500 * read_text, read_text) for i in range(5))
        print(f"| {what} | {rates[2]:,.0f} |")


def draw_figure(by_player: dict[str, list[float]], success_score: float, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "overwinter"
    figure, panels = plt.subplots(len(by_player), 1, figsize=(7.2, 4.4), sharex=True, layout="constrained")
    bins = [-20 + 5 * i for i in range(27)]
    for axes, (player, found) in zip(panels, by_player.items(), strict=True):
        axes.hist(found, bins=bins, color=_COLOURS[player])
        axes.axvline(success_score, color="black", linestyle="--", linewidth=1)
        passed = mean([float(score >= success_score) for score in found])
        axes.set_title(f"{player}: mean {mean(found):.1f}, {100 * passed:.1f} % succeed", loc="left", fontsize=9)
        axes.set_ylabel("seeds")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].annotate("success", (success_score, panels[0].get_ylim()[1]), (4, -10), textcoords="offset points")
    panels[-1].set_xlabel(f"score of one winter, {len(found)} seeds (100 = 5500 € in crops and money)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=140)


def print_table(world_name: str, seeds: Sequence[int]) -> dict[str, list[float]]:
    print(f"\n{world_name}, seeds {seeds[0]}..{seeds[-1]}\n")
    print("| player | mean score (95 %) | 5 % | median | 95 % | success |")
    print("|---|---|---|---|---|---|")
    by_player = {}
    for player in policy_names(world_name):
        found, success = scores(world_name, open_policy(world_name, player), seeds)
        by_player[player] = found
        low, high = interval(found)
        spread = " | ".join(f"{quantile(found, part):.1f}" for part in (0.05, 0.5, 0.95))
        print(f"| {player} | {mean(found):.1f} ({low:.1f} to {high:.1f}) | {spread} | {100 * success:.1f} % |")
    players = list(by_player)
    for weaker, stronger in pairwise(players):
        gaps = [b - a for a, b in zip(by_player[weaker], by_player[stronger], strict=True)]
        low, high = interval(gaps)
        better = mean([float(gap > 0) for gap in gaps])
        print(
            f"\n{stronger} over {weaker}, paired: {mean(gaps):+.1f} ({low:+.1f} to {high:+.1f}); "
            f"better on {100 * better:.0f} % of seeds"
        )
    return by_player


def print_ablations(seeds: Sequence[int], whole: list[float]) -> None:
    """What each part of the expert is worth, paired with the whole expert; and what doing nothing is worth."""
    print("\n| player | mean score | less than the expert, paired (95 %) | success |\n|---|---|---|---|")
    for policy in (ForgetfulExpert(), TrustingExpert(), NeverInspectingExpert(), Idle()):
        found, success = scores("greenhouse", policy, seeds)
        losses = [b - a for a, b in zip(found, whole, strict=True)]
        low, high = interval(losses)
        lost = f"{mean(losses):.1f} ({low:.1f} to {high:.1f})"
        print(f"| {policy.name} | {mean(found):.1f} | {lost} | {100 * success:.1f} % |")


def print_calibration(winters: int) -> None:
    """How often a storm arrived on the nights announced with a chance in each range, tonight and three nights ahead."""
    config, bounds = Config(), (0, 5, 15, 35, 60, 101)
    print(f"\nstorms announced and arrived, {winters} winters\n")
    print("| announced | nights | mean announced | arrived | nights | mean announced | arrived |")
    print("|---|---|---|---|---|---|---|")
    table = {(lead, low): [0, 0, 0] for lead in (0, LEADS - 1) for low in bounds[:-1]}
    for seed in range(winters):
        nights = make_tape(seed, 1, config).nights
        for day in range(1, config.days - LEADS):
            for lead in (0, LEADS - 1):
                chance_pct = nights[day].forecast[lead][1]
                cell = table[lead, max(low for low in bounds if low <= chance_pct)]
                cell[0] += 1
                cell[1] += chance_pct
                cell[2] += nights[day + lead].storm_night == 1
    for low, high in pairwise(bounds):
        row = [f"{low} to {min(high - 1, 100)} %"]
        for lead in (0, LEADS - 1):
            count, announced_pct, arrived = table[lead, low]
            row += [str(count), f"{announced_pct / count:.1f} %", f"{100 * arrived / count:.1f} %"]
        print(f"| {' | '.join(row)} |")


def print_minigrid(seeds: Sequence[int]) -> None:
    print(f"\nsuccess on seeds {seeds[0]}..{seeds[-1]}\n\n| level | random | explorer |\n|---|---|---|")
    for level in (
        "BabyAI-GoToLocal-v0",
        "BabyAI-PickupLoc-v0",
        "BabyAI-PutNextLocal-v0",
        "BabyAI-OpenDoor-v0",
        "BabyAI-GoToSeq-v0",
        "MiniGrid-DoorKey-8x8-v0",
        "MiniGrid-MultiRoom-N4-S5-v1",
    ):
        name = f"minigrid:{level}"
        row = [f"{100 * scores(name, open_policy(name, player), seeds)[1]:.0f} %" for player in policy_names(name)]
        print(f"| {level} | {row[0]} | {row[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--figure", type=Path, default=Path("docs/img/greenhouse_scores.svg"))
    parser.add_argument("--minigrid-seeds", type=int, default=50, help="0 leaves MiniGrid out")
    options = parser.parse_args()
    by_player = print_table("greenhouse", range(options.seeds))
    print_ablations(range(options.seeds), by_player["expert"])
    print_table("greenhouse:winters=3", range(max(1, options.seeds // 4)))
    draw_figure(by_player, Config().success_score, options.figure)
    print(f"\nwrote {options.figure}")
    print_calibration(20 * options.seeds)
    if options.minigrid_seeds:
        print_minigrid(range(options.minigrid_seeds))
    print_speed()


if __name__ == "__main__":
    main()
