"""Does credit name the mistake? The world itself is asked: put back, other action, played on.

    python recipes/check_credit.py [--model FOLDER] [--seasons 100] [--players rules model]

For each lost season of a player, each rule names one decision of the first half and what should have been done instead. The world is put
back there, once what was done is done and once the other thing, and the player itself plays on to the end both ways (a script that has
lived through the episode so far, or the model). A mistake is confirmed where the other action ends at least `--margin` points better.

    advantage      the choice where the head that was taught by counterfactuals of seasons on other seeds (`train_credit.py`) is surest that
                   another would have been better: what `overwinter credit` ranks by
    any, advantage the same head's action at a decision by lot: what knowing the action is worth without knowing the place
    hindsight      the choice that cost most: P(well | s, best sensible action) less P(well | s, what was done)
    regret         the same, in stakes by the policy: log π(best) − log π(done), times the chance of success
    chance         the decision after which the chance of success fell most within eight decisions, choice and luck together
    outcome only   every decision of a lost season bears the same blame: one of them by lot, and the model's best other action
    random         a random decision and a random other action

Seeds: the held-out ones, 0 and up. Intervals are 95 % bootstrap over seasons; differences between rules are paired by season.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from overwinter.learn.appraisal import Appraisal, Appraiser, Trace, retrace
from overwinter.learn.batch import Floats
from overwinter.learn.counterfactual import WhatIf, scripted_what_if, what_ifs
from overwinter.learn.reinforce.seat import Seat
from overwinter.worlds import open_policy, open_world
from overwinter.worlds.notebook import open_notebook
from overwinter.worlds.player import player_folder

WORLD = "greenhouse"
DRAWS = 2000
CHUNK, SEASONS = 16, 64
"""Seasons that are judged, and played, at once."""
AHEAD = 8


def lost_seasons(player: str, judge: Appraiser, count: int, most: int = 2000) -> list[tuple[int, list[str]]]:
    """(seed, actions) of a player's first lost seasons."""
    found: list[tuple[int, list[str]]] = []
    for start in range(0, most, SEASONS):
        seeds = range(start, start + SEASONS)
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
    by_head = next((row for row in read.mistakes(len(moments)) if row < half), 0)
    by_choice = max(range(half), key=lambda row: moments[row].gain)
    by_regret, by_chance = int(np.argmax(regret)), int(np.argmax(fell))
    drawn, other = int(rng.integers(half)), int(rng.integers(half))
    actions = [action for action in moments[other].look.actions if action != moments[other].look.action]
    return {
        **({"advantage": (by_head, moments[by_head].better)} if read.is_advised else {}),
        **({"any, advantage": (drawn, moments[drawn].better)} if read.is_advised else {}),
        "hindsight": (by_choice, moments[by_choice].instead),
        "regret": (by_regret, moments[by_regret].likeliest),
        "chance": (by_chance, moments[by_chance].likeliest),
        "outcome only": (drawn, moments[drawn].likeliest),
        "random": (other, actions[int(rng.integers(len(actions)))]),
    }


def _stated(read: Appraisal, asked: dict[str, tuple[int, str]]) -> float:
    """How sure the head was of the mistake it named; NaN without a head."""
    advice = read.moments[asked["advantage"][0]].advice if "advantage" in asked else None
    return math.nan if advice is None else advice.sure


def answered(player: str, pairs: Sequence[tuple[Trace, list[tuple[int, str]]]], judge: Appraiser) -> list[list[WhatIf]]:
    if player == "model":
        return what_ifs(pairs, judge.choose)
    return [scripted_what_if(trace, asked, lambda: open_policy(WORLD, player)) for trace, asked in pairs]


def report(name: str, gains: Floats, best: Floats, margin: float, turned: float) -> dict[str, object]:
    """One row of the table, and the same as a record. Every row draws the same seasons, so rows can be compared.

    Args:
        gains: [seasons] what the other action added.
        best: [seasons] the same of the rule that the others are compared with.
    """
    rows = np.random.default_rng(11).integers(0, len(gains), (DRAWS, len(gains)))
    confirmed, ahead = gains >= margin, (best >= margin).astype(float) - (gains >= margin)

    def span(values: Floats) -> list[float]:
        return [float(values.mean()), *(float(edge) for edge in np.percentile(values[rows].mean(1), [2.5, 97.5]))]

    share, gain, behind = span(confirmed.astype(float)), span(gains), span(ahead)
    ahead_words = f"{100 * behind[0]:+.0f} ({100 * behind[1]:+.0f} to {100 * behind[2]:+.0f})"
    print(
        f"| {name} | {share[0]:.0%} ({share[1]:.0%} to {share[2]:.0%}) | {ahead_words} "
        f"| {gain[0]:+.1f} ({gain[1]:+.1f} to {gain[2]:+.1f}) | {np.mean(gains <= -margin):.0%} | {turned:.0%} |",
        flush=True,
    )
    return {"rule": name, "confirmed": share, "first_less_this": behind, "gain": gain, "turned": turned}


def check(player: str, judge: Appraiser, seasons: int, margin: float) -> list[dict[str, object]]:
    """Ask about the lost seasons of a player, and print the table."""
    began, rng = time.monotonic(), np.random.default_rng(11)
    lost = lost_seasons(player, judge, seasons)
    found: dict[str, list[WhatIf]] = {}
    sure: list[float] = []
    for start in range(0, len(lost), CHUNK):
        traces = [retrace(WORLD, seed, actions) for seed, actions in lost[start : start + CHUNK]]
        reads = [judge.read(trace, player) for trace in traces]
        asked = [questions(read, rng) for read in reads]
        sure += [_stated(read, each) for read, each in zip(reads, asked, strict=True)]
        pairs = [(trace, list(each.values())) for trace, each in zip(traces, asked, strict=True)]
        for each, answers in zip(asked, answered(player, pairs, judge), strict=True):
            for rule, answer in zip(each, answers, strict=True):
                found.setdefault(rule, []).append(answer)
        print(f"{time.monotonic() - began:6.0f} s  {player}: {start + len(traces)} of {len(lost)}", flush=True)
    print(f"\n{len(lost)} lost seasons of {player}, played on by itself\n")
    if not np.isnan(sure).any():
        print(f"Of what the head named, it had stated a chance of {np.mean(sure):.0%} that it is better.\n")
    first = next(iter(found))
    print(
        f"| rule | confirmed (95 %) | {first} less this, points | gain in score (95 %) | worse | turned into success |"
    )
    print("|---|---|---|---|---|---|")
    gains = {rule: np.array([each.gain for each in answers]) for rule, answers in found.items()}
    turned = {
        rule: float(np.mean([each.other_success and not each.actual_success for each in answers]))
        for rule, answers in found.items()
    }
    return [{"player": player, **report(rule, gains[rule], gains[first], margin, turned[rule])} for rule in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="bundled:greenhouse")
    parser.add_argument("--players", nargs="+", default=["rules", "model"])
    parser.add_argument("--seasons", type=int, default=100)
    parser.add_argument("--margin", type=float, default=0.5, help="points of score")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = Appraiser(player_folder(options.model))
    records = [row for player in options.players for row in check(player, judge, options.seasons, options.margin)]
    if options.json:
        options.json.write_text(json.dumps(records, indent=2))


if __name__ == "__main__":
    main()
