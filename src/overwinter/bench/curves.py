"""What a budget buys: score against samples, tokens, tool calls and time, and how confidence moves over the turns of a dialogue.

Turn measures after arXiv 2601.02179 (information levels, Kendall's tau) and 2604.05397 (ECE at a turn).
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from overwinter.bench import statistics
from overwinter.bench.answers import Answer, Recording
from overwinter.think.confidence import metrics

POINTS = 24
SUBSETS = 100
"""Random choices of k among a question's samples that a vote of k is averaged over."""
MIN_AT_TURN = 10
"""Turns that fewer dialogues reached are left out."""
LEVELS = 10
RESOURCES = ("tokens", "tool_calls", "seconds", "micro_usd")


def votes(recording: Recording, *, seed: int = 0) -> list[dict[str, Any]]:
    """Score and cost of the majority of 1, 2, 4 … samples of a question; [] with one sample each.

    A vote of k is the mean over random choices of k of the samples there are, so every k uses the same answers.
    """
    items = recording.by_item()
    most = min((len(answers) for answers in items.values()), default=0)
    if most < 2:
        return []
    rng, found = random.Random(seed), []  # noqa: S311 - no secret
    for k in sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most}):
        scores = [_vote(answers, k, rng) for answers in items.values()]
        made = statistics.mean(scores)
        cost = {name: k * _mean(recording.answers, name) for name in RESOURCES}
        found.append(
            {"samples": k, "value": made.value, "low": max(made.low, 0.0), "high": min(made.high, 1.0), **cost}
        )
    return found


def _vote(answers: Sequence[Answer], k: int, rng: random.Random) -> float:
    if k == 1:
        return sum(answer.correct or 0.0 for answer in answers) / len(answers)
    if math.comb(len(answers), k) <= SUBSETS:
        chosen = list(combinations(answers, k))
    else:
        chosen = [tuple(rng.sample(list(answers), k)) for _ in range(SUBSETS)]
    return sum(map(_majority, chosen)) / len(chosen)


def _majority(answers: Sequence[Answer]) -> float:
    """Score of the most frequent answer, by the majority of the samples that gave it; of a tie the mean. What could not be read is no
    vote."""
    said: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        if answer.answer is not None:
            said[answer.answer].append(answer.correct or 0.0)
    if not said:
        return 0.0
    most = max(map(len, said.values()))
    leaders = [sum(scores) / len(scores) for scores in said.values() if len(scores) == most]
    # Partial credit of a single answer stays what it is; of several that a grader judged differently, half is enough.
    return sum(score if most == 1 else float(score >= 0.5) for score in leaders) / len(leaders)


def _mean(answers: Sequence[Answer], name: str) -> float:
    return float(np.mean([getattr(answer, name) for answer in answers]))


def caps(answers: Sequence[Answer], resource: str) -> dict[str, Any] | None:
    """Score if no answer may cost more than a cap: what costs more counts as wrong. None where all cost the same, or nothing.

    `area` is the mean score over caps that are even on a logarithmic scale, from the cheapest answer to the dearest.
    """
    costs = np.array([getattr(answer, resource) for answer in answers], dtype=float)
    right = np.array([answer.correct or 0.0 for answer in answers])
    if not len(costs) or costs.max() <= 0 or costs.max() == costs.min():
        return None
    low = max(float(costs[costs > 0].min()), float(costs.max()) / 1e4)
    places = np.geomspace(low, float(costs.max()), POINTS)
    values = [float(np.mean(right * (costs <= cap * (1 + 1e-9)))) for cap in places]
    return {
        "points": [[float(cap), value] for cap, value in zip(places, values, strict=True)],
        "area": float(np.mean(values)),
    }


def budget(recording: Recording) -> dict[str, Any]:
    """All curves that this recording allows."""
    scored = [answer for answer in recording.answers if answer.correct is not None]
    found = {name: caps(scored, name) for name in RESOURCES}
    return {"votes": votes(recording), "caps": {name: made for name, made in found.items() if made is not None}}


# Dialogues


def dialogues(answers: Iterable[Answer]) -> dict[str, Any] | None:
    """Confidence over the turns of dialogues; None where none state any.

    `turns`: per turn how many dialogues reached it, accuracy, mean confidence and ECE of the answer as it would have been given
    then; `modalities`: the same by what a turn brought. `info_ece`: the ECE within each tenth of the information told, weighted by
    how many answers lie there. `tau`: mean of Kendall's tau of confidence against turn, over dialogues in which it moves.
    """
    held = [answer for answer in answers if answer.turns]
    by_modality = defaultdict[str, list[tuple[float, float]]](list)
    by_turn, by_level = (
        defaultdict[int, list[tuple[float, float]]](list),
        defaultdict[int, list[tuple[float, float]]](list),
    )
    taus = []
    for answer in held:
        said = [turn for turn in answer.turns if turn.get("stated") is not None]
        if len(said) > 1:
            tau = metrics.kendall_tau([turn["stated"] for turn in said], [turn["turn"] for turn in said])
            taus += [] if tau is None else [tau]
        for turn in said:
            if turn.get("correct") in (0.0, 1.0):
                pair = turn["stated"], turn["correct"]
                by_turn[turn["turn"]].append(pair)
                by_modality[turn.get("modality", "text")].append(pair)
                by_level[min(int(turn["information"] * LEVELS), LEVELS - 1)].append(pair)
    if not by_turn:
        return None
    total = sum(map(len, by_level.values()))
    return {
        "dialogues": len(held),
        "length": float(np.mean([len(answer.turns) for answer in held])),
        "turns": [_at_turn(turn, pairs) for turn, pairs in sorted(by_turn.items()) if len(pairs) >= MIN_AT_TURN],
        "info_ece": math.fsum(len(pairs) * _ece(pairs) for pairs in by_level.values()) / total,
        "tau": float(np.mean(taus)) if taus else None,
        "tau_dialogues": len(taus),
        "modalities": {name: _at(pairs) for name, pairs in sorted(by_modality.items())},
    }


def _ece(pairs: Sequence[tuple[float, float]]) -> float:
    said, right = zip(*pairs, strict=True)
    return metrics.ece(*metrics.read(said, right))


def _at_turn(turn: int, pairs: Sequence[tuple[float, float]]) -> Mapping[str, Any]:
    return {"turn": turn, **_at(pairs)}


def _at(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    said, right = zip(*pairs, strict=True)
    return {
        "dialogues": len(pairs),
        "accuracy": float(np.mean(right)),
        "confidence": float(np.mean(said)),
        "ece": _ece(pairs),
    }
