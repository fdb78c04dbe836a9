"""BM25, as SQLite has it, for what no database counts: whole sessions (Robertson and Zaragoza, The Probabilistic Relevance
Framework, 2009)."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping

K1, B = 1.2, 0.75
LEAST_WEIGHT = 1e-6
"""Of a term that more than half of all texts have: it may order, and never counts against."""


def weight(texts: int, saying: int) -> float:
    """How much a term counts that `saying` of `texts` texts have."""
    return max(math.log((texts - saying + 0.5) / (saying + 0.5)), LEAST_WEIGHT) if saying else LEAST_WEIGHT


def bm25_of_sessions(
    times: Mapping[str, Mapping[str, int]], lengths: Mapping[str, int], *, sessions: int, mean: float, k: int
) -> dict[str, float]:
    """The `k` best sessions, best first, ties by name.

    Args:
        times: term → session → how often it says it.
        lengths: words of each session that says anything.
        sessions, mean: how many sessions there are, and their mean length.
    """
    scores: dict[str, float] = defaultdict(float)
    norms = {name: K1 * (1 - B + B * words / mean) for name, words in lengths.items()} if mean else {}
    for counted in times.values():
        rarity = weight(sessions, len(counted))
        for name, often in counted.items():
            scores[name] += rarity * often * (K1 + 1) / (often + norms[name])
    return dict(heapq.nsmallest(k, scores.items(), key=lambda pair: (-pair[1], pair[0])))
