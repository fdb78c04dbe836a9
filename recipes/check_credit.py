"""Does credit name the mistake? The world itself is asked: put back, other action, played on.

    python recipes/check_credit.py [--model FOLDER] [--seasons 100] [--players rules model]

For each lost season of a player, each rule names one decision of the first half and what should have been done instead. The world is put
back there, once what was done is done and once the other thing, and the player itself plays on to the end both ways (a script that has
lived through the episode so far, or the model). A mistake is confirmed where the other action ends at least `--margin` points better.

    hindsight      the choice that cost most: P(well | s, best sensible action) less P(well | s, what was done)
    regret         the same, in stakes by the policy: log π(best) − log π(done), times the chance of success
    chance         the decision after which the chance of success fell most within eight decisions, choice and luck together
    outcome only   every decision of a lost season bears the same blame: one of them by lot, and the model's best other action
    random         a random decision and a random other action

Seeds: the held-out ones, 0 and up. Intervals are 95 % bootstrap over seasons.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from overwinter.learn.appraisal import Appraisal, Appraiser, Trace, retrace
from overwinter.learn.counterfactual import WhatIf, scripted_what_if, what_ifs
from overwinter.learn.reinforce.seat import Seat
from overwinter.worlds import open_policy, open_world
from overwinter.worlds.notebook import open_notebook
from overwinter.worlds.player import player_folder

WORLD = "greenhouse"
DRAWS = 2000
CHUNK = 16
AHEAD = 8


def lost_seasons(player: str, judge: Appraiser, count: int, most: int = 2000) -> list[tuple[int, list[str]]]:
    """(seed, actions) of a player's first lost seasons."""
    found: list[tuple[int, list[str]]] = []
    for start in range(0, most, CHUNK):
        seeds = range(start, start + CHUNK)
        played = model_seasons(judge, seeds) if player == "model" else [scripted_season(player, seed) for seed in seeds]
        found += [(seed, actions) for seed, (actions, success) in zip(seeds, played, strict=True) if not success]
        if len(found) >= count:
            break
    return found[:count]


def scripted_season(player: str, seed: int) -> tuple[list[str], bool]:
    world, policy = open_world(WORLD), open_policy(WORLD, player)
    observation, done = world.reset(seed), []
    policy.reset(seed)
    while world.actions():
        done.append(policy.act(observation, world.actions()))
        observation = world.step(done[-1]).observation
    return done, bool(world.outcome().success)


def model_seasons(judge: Appraiser, seeds: Sequence[int]) -> list[tuple[list[str], bool]]:
    arms = []
    for seed in seeds:
        seat = Seat(open_world(WORLD), open_notebook(WORLD))
        arms.append((seat, seat.reset(seed)))
    done: list[list[str]] = [[] for _ in arms]

    while living := [row for row, (_, seen) in enumerate(arms) if not seen.is_over]:
        words = judge.choose([(arms[row][1].text, arms[row][1].actions) for row in living])
        for row, word in zip(living, words, strict=True):
            done[row].append(word)
            arms[row] = (arms[row][0], arms[row][0].step(word))
    return [(actions, bool(seat.world.outcome().success)) for actions, (seat, _) in zip(done, arms, strict=True)]


def questions(read: Appraisal, rng: np.random.Generator) -> dict[str, tuple[int, str]]:
    """What each rule blames, and what should have been done."""
    moments, half = read.moments, len(read.moments) // 2
    chances = np.array([*(moment.before for moment in moments), moments[-1].after])
    ahead = np.minimum(np.arange(half) + AHEAD, len(moments))
    fell = chances[:half] - chances[ahead]
    regret = [moment.before * moment.regret for moment in moments[:half]]
    by_choice = max(range(half), key=lambda row: moments[row].gain)
    by_regret, by_chance = int(np.argmax(regret)), int(np.argmax(fell))
    drawn, other = int(rng.integers(half)), int(rng.integers(half))
    actions = [action for action in moments[other].look.actions if action != moments[other].look.action]
    return {
        "hindsight": (by_choice, moments[by_choice].instead),
        "regret": (by_regret, moments[by_regret].likeliest),
        "chance": (by_chance, moments[by_chance].likeliest),
        "outcome only": (drawn, moments[drawn].likeliest),
        "random": (other, actions[int(rng.integers(len(actions)))]),
    }


def answered(player: str, pairs: Sequence[tuple[Trace, list[tuple[int, str]]]], judge: Appraiser) -> list[list[WhatIf]]:
    if player == "model":
        return what_ifs(pairs, judge.choose)
    return [scripted_what_if(trace, asked, lambda: open_policy(WORLD, player)) for trace, asked in pairs]


def report(name: str, found: Sequence[WhatIf], margin: float, rng: np.random.Generator) -> dict[str, object]:
    gains = np.array([each.gain for each in found])
    confirmed = gains >= margin
    rows = rng.integers(0, len(gains), (DRAWS, len(gains)))
    low, high = np.percentile(confirmed[rows].mean(1), [2.5, 97.5])
    gain_low, gain_high = np.percentile(gains[rows].mean(1), [2.5, 97.5])
    turned = np.mean([each.other_success and not each.actual_success for each in found])
    print(
        f"| {name} | {confirmed.mean():.0%} ({low:.0%} to {high:.0%}) | {gains.mean():+.1f} ({gain_low:+.1f} to {gain_high:+.1f}) "
        f"| {np.mean(gains <= -margin):.0%} | {turned:.0%} |",
        flush=True,
    )
    return {"rule": name, "confirmed": float(confirmed.mean()), "low": low, "high": high, "gain": float(gains.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="bundled:greenhouse")
    parser.add_argument("--players", nargs="+", default=["rules", "model"])
    parser.add_argument("--seasons", type=int, default=100)
    parser.add_argument("--margin", type=float, default=0.5, help="points of score")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge, began = Appraiser(player_folder(options.model)), time.monotonic()
    records = []
    for player in options.players:
        lost = lost_seasons(player, judge, options.seasons)
        rng = np.random.default_rng(11)
        found: dict[str, list[WhatIf]] = {}
        for start in range(0, len(lost), CHUNK):
            traces = [retrace(WORLD, seed, actions) for seed, actions in lost[start : start + CHUNK]]
            asked = [questions(judge.read(trace), rng) for trace in traces]
            pairs = [(trace, list(each.values())) for trace, each in zip(traces, asked, strict=True)]
            for each, answers in zip(asked, answered(player, pairs, judge), strict=True):
                for rule, answer in zip(each, answers, strict=True):
                    found.setdefault(rule, []).append(answer)
            print(f"{time.monotonic() - began:6.0f} s  {player}: {start + len(traces)} of {len(lost)}", flush=True)
        print(f"\n{len(lost)} lost seasons of {player}, played on by itself\n")
        print("| rule | confirmed (95 %) | gain in score (95 %) | worse | turned into success |\n|---|---|---|---|---|")
        records += [{"player": player, **report(rule, answers, options.margin, rng)} for rule, answers in found.items()]
    if options.json:
        options.json.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    main()
