"""Confidence of a generated text from its log-probabilities: of tokens, steps, windows, and of the whole.

The token confidence of DeepConf (arXiv 2508.15260) and DistriVoting (arXiv 2603.03872) is the mean negative log-probability of the
most likely k tokens: higher is surer, since a peaked distribution leaves its other candidates tiny probabilities. It is no
probability and has a scale of its own for each model, temperature and k; compare it within one question, or calibrate it
(method "score"). No dependency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from overwinter.errors import UsageError

TOP_K = 20
WINDOW = 2048
BOTTOM_SHARE = 0.1
STEP_END = "\n\n"


def token_confidence(top_logprobs: Sequence[float], k: int = TOP_K) -> float:
    """Mean negative log-probability of the most likely tokens of one position.

    Fewer than k values are averaged over as many as came: the servers' limits differ, and dividing by k would make them look
    sure. Compare only positions with equally many.

    Raises:
        UsageError: no value, or one above 0.
    """
    best = sorted(top_logprobs, reverse=True)[:k]
    if not best or best[0] > 1e-6:
        raise UsageError(
            "these are no log-probabilities", "give natural logarithms of probabilities, at least one a token"
        )
    return -math.fsum(best) / len(best)


def steps(texts: Sequence[str], end: str = STEP_END) -> list[tuple[int, int]]:
    """Half-open ranges of tokens, cut behind each token with which a blank line is complete; tokens as text, in order."""
    found, start, seen = [], 0, ""
    for place, text in enumerate(texts):
        seen = (seen + text)[-len(text) - len(end) :]
        if end in seen:
            found.append((start, place + 1))
            start, seen = place + 1, ""
    if start < len(texts):
        found.append((start, len(texts)))
    return found


def windows(confidences: Sequence[float], size: int = WINDOW) -> list[float]:
    """Mean confidence of the last `size` tokens at each token from the first full window on; of all where there are fewer."""
    if len(confidences) <= size:
        return [math.fsum(confidences) / len(confidences)] if confidences else []
    sums = [0.0, *accumulate(confidences)]
    return [(sums[stop] - sums[stop - size]) / size for stop in range(size, len(confidences) + 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceConfidence:
    """Summaries of one generated text, and what they depend on.

    Attributes:
        average: mean over all tokens.
        lowest: smallest window mean. bottom: mean of the lowest tenth of window means.
        tail: mean of the last `window` tokens.
        last_step: mean of the last step, which holds the answer.
        tokens, k, window: how many tokens; candidates averaged per token; window size.
    """

    average: float
    lowest: float
    bottom: float
    tail: float
    last_step: float
    tokens: int
    k: int
    window: int


def trace_confidence(
    confidences: Sequence[float], texts: Sequence[str] | None = None, *, k: int = TOP_K, window: int = WINDOW
) -> TraceConfidence:
    """Summarise token confidences; without `texts` the last step is the whole text.

    Raises:
        UsageError: no tokens, or texts of another length.
    """
    if not confidences or (texts is not None and len(texts) != len(confidences)):
        raise UsageError(
            f"{len(confidences)} token confidences and {0 if texts is None else len(texts)} token texts",
            "give both for the same tokens, at least one",
        )
    means = windows(confidences, window)
    worst = sorted(means)[: max(math.ceil(BOTTOM_SHARE * len(means)), 1)]
    tail = confidences[-window:]
    start, stop = steps(texts)[-1] if texts is not None else (0, len(confidences))
    return TraceConfidence(
        average=math.fsum(confidences) / len(confidences),
        lowest=worst[0],
        bottom=math.fsum(worst) / len(worst),
        tail=math.fsum(tail) / len(tail),
        last_step=math.fsum(confidences[start:stop]) / (stop - start),
        tokens=len(confidences),
        k=k,
        window=window,
    )


BET_INERTIA = 0.9
"""Weight of what was stated before, at each turn: the mean reaches back about ten turns."""
_EDGE = 1e-6


def running_odds(before: float | None, chance: float) -> float:
    """The exponential mean of stated log-odds, a turn further. One bet is noisy, and the last one of a run no better informed than those
    before it: of 600 winters the mean told those that ended well with an AUROC of 0.91 at the end, the last bet with 0.81."""
    held = min(max(chance, _EDGE), 1 - _EDGE)
    odds = math.log(held) - math.log1p(-held)
    return odds if before is None else BET_INERTIA * before + (1 - BET_INERTIA) * odds


@dataclass(kw_only=True, slots=True)
class StepWatch:
    """SelfStepConf (arXiv 2603.03872): notices a step in which the confidence falls, where a moment of reflection may help.

    The threshold starts as the confidence of the first step and follows the later ones, but not those that triggered.

    Attributes:
        inertia: alpha, how slowly the threshold follows. drop: delta, the share of it below which a step triggers.
    """

    inertia: float = 0.8
    drop: float = 0.8
    threshold: float | None = None
    before: float = math.inf
    triggered: int = 0

    def step(self, confidence: float) -> bool:
        """Take in a finished step; whether to reflect before the next one."""
        if self.threshold is None:
            self.threshold, self.before = confidence, confidence
            return False
        falls = confidence < self.drop * self.threshold and confidence < self.before
        self.before = confidence
        if falls:
            self.triggered += 1
        else:
            self.threshold = self.inertia * self.threshold + (1 - self.inertia) * confidence
        return falls
