"""Success and length of the household's scripted players; prints the table of docs/household.md.

python recipes/household_players.py [--seeds 200]
"""

from __future__ import annotations

import argparse

from overwinter.worlds import open_policy, open_world, policy_names


def play(name: str, player: str, seeds: int) -> tuple[float, float]:
    """Success in per cent and mean steps (those that failed count all of theirs)."""
    world, policy = open_world(name), open_policy(name, player)
    solved = steps = 0
    for seed in range(seeds):
        observation, done = world.reset(seed), False
        policy.reset(seed)
        while not done:
            transition = world.step(policy.act(observation, world.actions()))
            observation, done = transition.observation, transition.done
            steps += 1
        solved += bool(world.outcome().success)
    return 100 * solved / seeds, steps / seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    names = ("household", "household:split=unseen", "household:steps=20", "household:split=unseen,steps=20")
    print("| player | " + " | ".join(f"`{name}`" for name in names) + " |")
    print("|---|" + "---|" * len(names))
    for player in policy_names("household"):
        figures = (play(name, player, options.seeds) for name in names)
        print(f"| {player} | " + " | ".join(f"{solved:.1f} %, {steps:.1f}" for solved, steps in figures) + " |")


if __name__ == "__main__":
    main()
