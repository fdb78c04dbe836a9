"""Step-level credit by comparing steps that started from the same state: GiGPO (2505.10978) and HGPO (2602.22817).

    R_t = sum_k gamma^(k-t) r_k;   A^S = (R_t - mean) / F over the steps of a bucket;   A = A^E + omega A^S

GiGPO's bucket is the state (or a cluster of similar texts), HGPO's the last k states, for every k up to K + 1. F is the sample
deviation or 1. A step that is alone in its bucket gets 0.

GiGPO's own code takes mean and deviation of A^E over steps, so that long trajectories weigh more; `over` chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

import numpy as np

from overwinter.errors import UsageError
from overwinter.learn.credit.arrays import Array, Buckets, Frame, buckets_of
from overwinter.learn.credit.groups import demand
from overwinter.learn.credit.parts import Parts

Normalise = Literal["std", "mean"]
Over = Literal["steps", "trajectories"]


@dataclass(frozen=True, kw_only=True)
class Gigpo:
    """Args:
    gamma: discount of step returns.
    omega: weight of the step-level term.
    normalise: "std" divides by the deviation, "mean" only subtracts the mean.
    over: whether one term of the episode statistics is a step (the authors' code) or a trajectory (the paper's words).
    similarity: 1 compares exact states; below 1, states whose texts (batch.meta["state_text"]) are at least this alike.
    ddof: 1 for sample deviations, 0 for the population's.
    eps: added to deviations.
    """

    gamma: float
    omega: float
    normalise: Normalise
    over: Over
    similarity: float
    ddof: int
    eps: float

    def __post_init__(self) -> None:
        demand(0 <= self.gamma <= 1, f"gamma is {self.gamma}", "give a number from 0 to 1")
        demand(0 < self.similarity <= 1, f"similarity is {self.similarity}", "give a share above 0, up to 1")
        demand(self.normalise in ("std", "mean"), f"normalise is {self.normalise!r}", "std or mean")
        demand(self.over in ("steps", "trajectories"), f"over is {self.over!r}", "steps or trajectories")
        demand(self.ddof in (0, 1), f"ddof is {self.ddof}", "give 0 or 1")


def relative(frame: Frame, values: Array, buckets: Buckets, normalise: Normalise, ddof: int, eps: float) -> Array:
    """Values compared within buckets, by deviation or by mean alone; 0 in buckets of one."""
    if normalise == "mean":
        return frame.centred(values, buckets)
    return frame.normalised(values, buckets, ddof, eps)


def episode_term(frame: Frame, over: Over, normalise: Normalise, ddof: int, eps: float) -> Array:
    """[S] A^E, the trajectory's outcome within its group."""
    if over == "trajectories":
        return frame.by_step(relative(frame, frame.outcome, frame.groups, normalise, ddof, eps))
    return relative(frame, frame.by_step(frame.outcome), frame.row_groups, normalise, ddof, eps)


def gigpo(frame: Frame, options: Gigpo) -> Parts:
    """A = A^E + omega A^S."""
    returns = frame.backwards(frame.column("reward"), options.gamma)
    states = frame.states if options.similarity == 1 else similar_states(frame, options.similarity)
    micro = options.omega * relative(frame, returns, states, options.normalise, options.ddof, options.eps)
    macro = episode_term(frame, options.over, options.normalise, options.ddof, options.eps)
    return Parts(advantages=macro + micro, macro=macro, micro=micro, states=states)


def similar_states(frame: Frame, similarity: float) -> Buckets:
    """Buckets of states whose texts resemble each other, by group.

    In row order, a text joins the first cluster whose first text it matches with a ratio of at least `similarity`, or opens
    one (GiGPO's sequential clustering). Equal texts are looked up, not compared again. Needs batch.meta["state_text"], [S].
    """
    batch = frame.batch
    texts = batch.meta.get("state_text")
    if texts is None or len(texts) != len(batch):
        raise UsageError(
            "similar states are found by their texts, and the batch has not one for each row",
            'pass meta={"state_text": [...]}, or similarity=1 for exact states',
        )
    clusters: dict[int, list[tuple[str, int]]] = {}
    known: dict[tuple[int, str], int] = {}
    labels = np.zeros(len(batch), dtype=np.int64)
    opened = 0
    for row, (group, text) in enumerate(zip(batch.group.tolist(), texts, strict=True)):
        label = known.get((group, text))
        if label is None:
            label = _find(text, clusters.setdefault(group, []), similarity)
            if label is None:
                label, opened = opened, opened + 1
                clusters[group].append((text, label))
            known[group, text] = label
        labels[row] = label
    return buckets_of(labels)


def _find(text: str, clusters: list[tuple[str, int]], similarity: float) -> int | None:
    for first, label in clusters:
        matcher = SequenceMatcher(None, first, text)
        # The two quick bounds are never below the ratio, so they only save time.
        if (
            matcher.real_quick_ratio() >= similarity
            and matcher.quick_ratio() >= similarity
            and matcher.ratio() >= similarity
        ):
            return label
    return None


@dataclass(frozen=True, kw_only=True)
class Hgpo:
    """Args:
    gamma: discount of step returns.
    history: K, the past states that count beside the present one; at most what the policy sees.
    alpha: level k weighs (k + 1)^alpha, shared among the levels that have something to say.
    base: take the episode term in as level 0.
    normalise: "std" or "mean", as in GiGPO.
    eps: added to deviations, which are the population's.
    """

    gamma: float
    history: int
    alpha: float
    base: bool
    normalise: Normalise
    eps: float

    def __post_init__(self) -> None:
        demand(0 <= self.gamma <= 1, f"gamma is {self.gamma}", "give a number from 0 to 1")
        demand(self.history >= 0, f"history is {self.history}", "give 0 or more past states")
        demand(self.normalise in ("std", "mean"), f"normalise is {self.normalise!r}", "std or mean")


def same_history(frame: Frame, length: int) -> Buckets:
    """Buckets of rows with the same last `length` states; rows without so many are alone."""
    batch = frame.batch
    rows = np.flatnonzero(batch.step >= length - 1)
    key = np.zeros((len(batch), length + 2), dtype=np.int64)
    key[:, -1] = -1 - np.arange(len(batch))
    key[rows, 0] = batch.group[rows]
    for back in range(length):
        key[rows, 1 + back] = batch.state[rows - back]
    key[rows, -1] = 0
    return buckets_of(key)


def hgpo(frame: Frame, options: Hgpo) -> Parts:
    """A = weighted mean over history lengths k of (R_t - mean) / (std + eps) within steps that share the last k states."""
    x = frame.x
    returns = frame.backwards(frame.column("reward"), options.gamma)
    zeros = x.of(np.zeros(len(frame.batch)))
    total, weights = zeros, zeros
    levels = [
        (length + 1.0, relative(frame, returns, same_history(frame, length), options.normalise, 0, options.eps))
        for length in range(1, options.history + 2)
    ]
    if options.base:
        levels.append((1.0, episode_term(frame, "steps", options.normalise, 1, options.eps)))
    for size, advantage in levels:
        # A level whose returns are all equal has nothing to say; what rounding leaves of it must not take a share.
        weight = x.where(advantage * advantage > 1e-18, zeros + size**options.alpha, zeros)
        total = total + weight * advantage
        weights = weights + weight
    advantages = total / x.where(weights > 0, weights, zeros + 1.0)
    return Parts(advantages=advantages, micro=advantages, states=frame.states)
