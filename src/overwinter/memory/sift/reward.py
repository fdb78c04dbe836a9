"""MemSifter's outcome reward (2603.03379, formula as documented in the authors' code): a ranking is worth what a working model can
do with it, and the credit of a place is how much the answer gains there.

    R = Σ_i w_i (s_{F_i} − s_0)        w_i = C(F_i) − C(F_{i+1}), the last w = C(F_last), C(k) = 1 / log2(k + 1)

s_k is the score of the working model's answer from the first k ranked sessions, s_0 without any; F are Fibonacci numbers up to the
length of the ranking, and the length. The weights of ten places are 0.3691, 0.1309, 0.1131, 0.0714, 0.0264 and 0.2891: they sum to 1.

The published program sums from the second tier on while it takes off s_0 in full (weights of 0.6309 in all), so that the first place
earns nothing and a ranking that changes nothing is punished. We use the formula. A format error is worth 0, as published; a ranking
that misleads can be worth less.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import log2

from overwinter.errors import UsageError


def tiers(length: int) -> tuple[int, ...]:
    """Fibonacci numbers below `length`, then `length`: 10 → 1, 2, 3, 5, 8, 10. No tiers for 0."""
    found, a, b = [], 1, 2
    while a < length:
        found.append(a)
        a, b = b, a + b
    return (*found, length) if length > 0 else ()


def tier_weights(places: Sequence[int]) -> tuple[float, ...]:
    """Weight of each tier; they sum to 1 where the first tier is 1."""
    credit = [1 / log2(place + 1) for place in places]
    return tuple(here - after for here, after in zip(credit, [*credit[1:], 0.0], strict=True))


def outcome_reward(ranking: Sequence[object], score_of_first: Callable[[int], float]) -> float:
    """The reward of a ranking.

    Args:
        ranking: sessions, best first; empty after a format error, which is worth 0.
        score_of_first: k → score in [0, 1] of the answer from the first k of them; asked for 0 and for each tier.

    Returns:
        In [-1, 1].
    """
    if not ranking:
        return 0.0
    places = tiers(len(ranking))
    nothing = score_of_first(0)
    return sum(
        weight * (score_of_first(place) - nothing) for place, weight in zip(places, tier_weights(places), strict=True)
    )


def dcg_reward(ranking: Sequence[object], gold: Collection[object]) -> float:
    """The warm-up reward: Σ over hits of 1/log2(place + 1), over the number of gold sessions.

    Not divided by the best that can be reached, as published: with several gold sessions it stays below 1.
    """
    if not gold:
        raise UsageError("a question without gold sessions has no DCG reward", "leave it out, or use outcome_reward")
    return sum(1 / log2(place + 2) for place, item in enumerate(ranking) if item in gold) / len(gold)


def overlong_penalty(length: int, limit: int, buffer: int, factor: float = 1.0) -> float:
    """DAPO's soft punishment of long answers (2503.14476): 0 up to `limit - buffer` tokens, then falling to -factor at `limit`."""
    if not 0 < buffer <= limit:
        raise UsageError(f"a buffer of {buffer} does not fit a limit of {limit}", "give 0 < buffer ≤ limit")
    return -factor * min(1.0, max(0.0, (length - (limit - buffer)) / buffer))


def group_advantages(rewards: Sequence[float], eps: float = 1e-6) -> list[float] | None:
    """GRPO's advantages within a group (2402.03300): centred, over the standard deviation (ddof 1).

    Returns:
        None where all rewards are equal: such a group teaches nothing and is dropped (DAPO's dynamic filter).
    """
    if len(rewards) < 2 or max(rewards) - min(rewards) < eps:
        return None
    mean = sum(rewards) / len(rewards)
    deviation = (sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5
    return [(reward - mean) / (deviation + eps) for reward in rewards]


def anchor_priority(score: float, anchor: float = 0.2) -> float:
    """How much a question is worth training on: most where it is almost, but not yet solved (1 - |score - 0.2|)."""
    return 1.0 - abs(score - anchor)
