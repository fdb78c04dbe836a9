"""Counterfactuals for teaching an advantage head: lost seasons of many players, and what other choices would have added.

A season of a script is played on by the script itself, and the world is asked about every action at a share of its decisions. Seasons for
the judging model (its own, and others' that it takes over) cost a network for each decision, so it is asked about the actions that it
finds likeliest and one by lot. Asked about are lost seasons alone: those are what blame is given for.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overwinter.learn.advantage import MODEL
from overwinter.learn.advantage_training import Lesson
from overwinter.learn.appraisal import LOOKS, Appraiser, Trace, retrace
from overwinter.learn.counterfactual import PATIENCE, arm_after, play_on
from overwinter.learn.reinforce.seat import Seat, Seen
from overwinter.worlds import Policy, open_policy, open_world
from overwinter.worlds.greenhouse.actions import ALL_ACTIONS
from overwinter.worlds.notebook import open_notebook

WORLD = "greenhouse"
INDEX = {action: i for i, action in enumerate(ALL_ACTIONS)}
LONGEST = 600
"""Decisions after which a season is given up."""
AT_ONCE = 384
"""Arms that the model plays on together."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Args:
    player: "rules", "expert", … : that script; "greedy" or "sampled": the model.
    plays_on: who goes on, in both arms: the script itself, or the model.
    first: the first seed.
    seasons: lost ones.
    share: of a script's decisions that are asked about.
    decisions, others: asked about per season of the model, and likeliest other actions at each.
    """

    player: str
    plays_on: str
    first: int
    seasons: int
    share: float = 0.06
    decisions: int = 10
    others: int = 4

    @property
    def name(self) -> str:
        return f"{self.player}-{self.plays_on}-{self.first}"


Season = tuple[int, list[str], float]
"""(seed, actions, score)"""
Gains = dict[int, dict[int, float]]
"""By decision and action, what it would have added to the score."""


def lessons(questions: Questions, folder: Path, judge: Appraiser, say: Callable[[str], None]) -> list[Lesson]:
    """The answers, from their file in `folder`; asked first where it is not there yet."""
    path = folder / f"{questions.name}.jsonl"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with partial.open("w") as file:
            for count, row in enumerate(_asked(questions, judge), 1):
                file.write(json.dumps(row) + "\n")
                if count % 50 == 0 or count == questions.seasons:
                    say(f"{questions.name}: {count} of {questions.seasons} seasons")
        partial.replace(path)
    return [_lesson(json.loads(line)) for line in path.read_text().splitlines()]


def _lesson(row: dict[str, Any]) -> Lesson:
    trace = retrace(WORLD, row["seed"], [ALL_ACTIONS[i] for i in row["actions"]])
    gains = np.full((len(trace.looks), len(ALL_ACTIONS)), np.nan)
    for at, found in row["gains"].items():
        for action, gain in found.items():
            gains[int(at), int(action)] = gain
    return Lesson(trace=trace, gains=gains)


def _asked(questions: Questions, judge: Appraiser) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(questions.first)
    found = _of_script(questions, rng) if questions.plays_on != MODEL else _of_model(questions, judge, rng)
    for (seed, actions, _), gains in found:
        yield {"seed": seed, "actions": [INDEX[action] for action in actions], "gains": gains}


# --- scripts that go on themselves ------------------------------------------------------------------------------------


def _of_script(questions: Questions, rng: np.random.Generator) -> Iterator[tuple[Season, Gains]]:
    count, seed = 0, questions.first
    while count < questions.seasons:
        found = _script_season(questions, seed, rng)
        seed += 1
        if found is not None:
            count += 1
            yield found


def _script_season(questions: Questions, seed: int, rng: np.random.Generator) -> tuple[Season, Gains] | None:
    """A lost season with its answers; None where it was not lost, or given up."""
    world, policy = open_world(WORLD), open_policy(WORLD, questions.player)
    observation, done, kept = world.reset(seed), [], []
    policy.reset(seed)
    while world.actions():
        legal = world.actions()
        done.append(policy.act(observation, legal))
        kept.append((world.snapshot(), copy.deepcopy(policy), legal))
        if len(done) > LONGEST:
            return None
        observation = world.step(done[-1]).observation
    outcome = world.outcome()
    if outcome.success:
        return None
    gains: Gains = {}
    for at in [row for row in range(len(done)) if rng.random() < questions.share]:
        snapshot, policy, legal = kept[at]
        others = [action for action in legal if action != done[at] and not action.startswith(LOOKS)]
        ends = {action: _end(snapshot, copy.deepcopy(policy), action, len(done) + PATIENCE) for action in others}
        gains[at] = {INDEX[action]: round(end - outcome.score, 2) for action, end in ends.items()}
    return (seed, done, outcome.score), gains


def _end(snapshot: dict[str, Any], policy: Policy, action: str, patience: int) -> float:
    """The score when `action` is done and the script goes on; 0 where it is given up."""
    world = open_world(WORLD)
    world.restore(snapshot)
    observation = world.step(action).observation
    for _ in range(patience):
        if not world.actions():
            return world.outcome().score
        observation = world.step(policy.act(observation, world.actions())).observation
    return 0.0


# --- seasons that the judging model takes over ------------------------------------------------------------------------


def _of_model(questions: Questions, judge: Appraiser, rng: np.random.Generator) -> Iterator[tuple[Season, Gains]]:
    count, seed = 0, questions.first
    while count < questions.seasons:
        lost = _lost(questions.player, range(seed, seed + 64), judge, rng)[: questions.seasons - count]
        seed, count = seed + 64, count + len(lost)
        traces = [retrace(WORLD, found, actions) for found, actions, _ in lost]
        asked = [_model_questions(questions, trace, judge, rng) for trace in traces]
        yield from zip(lost, _model_gains(traces, asked, judge), strict=True)


def _model_questions(
    questions: Questions, trace: Trace, judge: Appraiser, rng: np.random.Generator
) -> list[tuple[int, str]]:
    """Decisions by lot, mostly of the first half, and at each the likeliest other actions and one more."""
    count = len(trace.looks)
    among = count // 2 if rng.random() < 0.75 else count
    at = sorted(rng.choice(among, size=min(questions.decisions, count // 2), replace=False).tolist())
    asked = []
    for row, shares in zip(at, judge.shares([(trace.looks[i].page, trace.looks[i].actions) for i in at]), strict=True):
        look = trace.looks[row]
        others = [i for i, a in enumerate(look.actions) if not a.startswith(LOOKS) and a != look.action]
        others.sort(key=lambda i: -shares[i])
        rest = others[questions.others :]
        picked = others[: questions.others] + ([rest[rng.integers(len(rest))]] if rest else [])
        asked += [(row, look.actions[i]) for i in picked]
    return asked


def _model_gains(traces: Sequence[Trace], asked: Sequence[list[tuple[int, str]]], judge: Appraiser) -> Iterator[Gains]:
    """Every question once, and what was done once for each decision."""
    keys, arms = [], []
    for number, (trace, questions) in enumerate(zip(traces, asked, strict=True)):
        for at in sorted({row for row, _ in questions}):
            actions = [trace.looks[at].action, *(action for row, action in questions if row == at)]
            keys += [(number, at, action) for action in actions]
            arms += [arm_after(trace, at, action) for action in actions]
    ends: list[float] = []
    for start in range(0, len(arms), AT_ONCE):
        played = play_on(arms[start : start + AT_ONCE], judge.choose)
        ends += [0.0 if seen.truncated else seat.world.outcome().score for seat, seen in played]
    found: list[Gains] = [{} for _ in traces]
    actual = 0.0
    for (number, at, action), end in zip(keys, ends, strict=True):
        if action == traces[number].looks[at].action:
            actual = end
        else:
            found[number].setdefault(at, {})[INDEX[action]] = round(end - actual, 2)
    yield from found


def _lost(player: str, seeds: Sequence[int], judge: Appraiser, rng: np.random.Generator) -> list[Season]:
    if player in ("greedy", "sampled"):
        played = _model_seasons(player, seeds, judge, rng)
    else:
        played = [_script_played(player, seed) for seed in seeds]
    return [season for season, success in played if success is False]


def _script_played(name: str, seed: int) -> tuple[Season, bool | None]:
    world, policy = open_world(WORLD), open_policy(WORLD, name)
    observation, done = world.reset(seed), []
    policy.reset(seed)
    while world.actions() and len(done) < LONGEST:
        done.append(policy.act(observation, world.actions()))
        observation = world.step(done[-1]).observation
    outcome = world.outcome()
    return (seed, done, outcome.score), outcome.success


def _model_seasons(
    player: str, seeds: Sequence[int], judge: Appraiser, rng: np.random.Generator
) -> list[tuple[Season, bool | None]]:
    seats = [Seat(open_world(WORLD), open_notebook(WORLD), max_steps=LONGEST) for _ in seeds]
    seen = [seat.reset(seed) for seat, seed in zip(seats, seeds, strict=True)]
    done: list[list[str]] = [[] for _ in seeds]
    while living := [row for row, each in enumerate(seen) if not each.is_over]:
        for row, action in zip(living, _drawn(player, [seen[row] for row in living], judge, rng), strict=True):
            done[row].append(action)
            seen[row] = seats[row].step(action)
    ends = [seat.world.outcome() for seat in seats]
    return [((seed, actions, end.score), end.success) for seed, actions, end in zip(seeds, done, ends, strict=True)]


def _drawn(player: str, seen: Sequence[Seen], judge: Appraiser, rng: np.random.Generator) -> list[str]:
    told = judge.shares([(each.text, each.actions) for each in seen])
    if player == "greedy":
        return [each.actions[int(np.argmax(shares))] for each, shares in zip(seen, told, strict=True)]
    return [each.actions[rng.choice(len(each.actions), p=shares)] for each, shares in zip(seen, told, strict=True)]
