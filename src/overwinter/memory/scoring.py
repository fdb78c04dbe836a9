"""BM25, as SQLite has it, for what no database counts: whole sessions (Robertson and Zaragoza, The Probabilistic Relevance
Framework, 2009)."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

K1, B = 1.2, 0.75
LEAST_WEIGHT = 1e-6
"""Of a term that more than half of all texts have: it may order, and never counts against."""


def weight(texts: int, saying: int) -> float:
    """How much a term counts that `saying` of `texts` texts have."""
    return max(math.log((texts - saying + 0.5) / (saying + 0.5)), LEAST_WEIGHT) if saying else LEAST_WEIGHT


def bm25_of_sessions(
    times: Mapping[str, Mapping[int, int]],
    lengths: Mapping[int, int],
    names: Mapping[int, str],
    *,
    sessions: int,
    mean: float,
    k: int,
) -> dict[str, float]:
    """The `k` best sessions by name, best first, ties by name.

    Args:
        times: term → session → how often it says it.
        lengths: words of each session that says anything.
        sessions, mean: how many sessions there are, and their mean length.
    """
    short, rise = K1 * (1 - B), K1 * B / mean
    norms = {session: short + rise * words for session, words in lengths.items()}
    scores = dict.fromkeys(norms, 0.0)
    for counted in times.values():
        gain = weight(sessions, len(counted)) * (K1 + 1)
        for session, often in counted.items():
            scores[session] += gain * often / (often + norms[session])
    best = heapq.nsmallest(k, scores.items(), key=lambda pair: (-pair[1], names[pair[0]]))
    return {names[session]: score for session, score in best}
