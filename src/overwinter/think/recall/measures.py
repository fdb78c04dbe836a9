"""What recall is judged by: pass@k, accuracy by class of chain, how many stated facts hold; and the reward that trains for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from overwinter.errors import UsageError
from overwinter.think.recall.chain import CLASSES, Chain
from overwinter.think.recall.verify import Standing

FACT_REWARD = 0.2


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Chance that of `k` samples one is right, from `right` of `samples`: 1 − C(n−c, k)/C(n, k), unbiased (arXiv 2107.03374)."""
    if not 0 <= right <= samples or not 1 <= k <= samples:
        raise UsageError(f"pass@{k} of {right} right among {samples}", "give 0 ≤ right ≤ samples and 1 ≤ k ≤ samples")
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)


def curve_area(samples: Sequence[int], right: Sequence[int], ks: Sequence[int]) -> float:
    """Mean of pass@k over `ks`, each weighing the steps of log k around it, averaged over questions: one number for a whole curve.

    The area between two curves, thinking and not thinking, is the difference of two of these.
    """
    points = sorted(set(ks))
    means = [math.fsum(pass_at_k(n, c, k) for n, c in zip(samples, right, strict=True)) / len(samples) for k in points]
    if len(points) == 1:
        return means[0]
    logs = [math.log(k) for k in points]
    area = math.fsum((means[i] + means[i + 1]) / 2 * (logs[i + 1] - logs[i]) for i in range(len(points) - 1))
    return area / (logs[-1] - logs[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts over checked chains whose answers are known.

    Attributes:
        chains, right: by class.
        supported, contradicted, unknown: facts.
    """

    chains: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    supported: int = 0
    contradicted: int = 0
    unknown: int = 0

    @property
    def fact_precision(self) -> float | None:
        """Share of the facts of which anything is known that hold; None where nothing is known."""
        judged = self.supported + self.contradicted
        return self.supported / judged if judged else None

    def accuracy(self, kind: str) -> float | None:
        return self.right.get(kind, 0) / self.chains[kind] if self.chains.get(kind) else None


def tally(chains: Sequence[Chain], truths: Sequence[str]) -> Tally:
    """Count chains, one true answer for each."""
    count, right = dict.fromkeys(CLASSES, 0), dict.fromkeys(CLASSES, 0)
    for chain, truth in zip(chains, truths, strict=True):
        count[chain.kind] += 1
        right[chain.kind] += chain.thought.answer == truth
    facts = {standing: sum(chain.count(standing) for chain in chains) for standing in Standing}
    return Tally(
        chains=count,
        right=right,
        supported=facts[Standing.SUPPORTED],
        contradicted=facts[Standing.CONTRADICTED],
        unknown=facts[Standing.UNKNOWN],
    )


def process_reward(chain: Chain, truth: str) -> float:
    """1 for a right answer, and up to `FACT_REWARD` more or less for the share of facts that hold less those that are false: listing facts
    cannot pay alone."""
    held = chain.count(Standing.SUPPORTED) - chain.count(Standing.CONTRADICTED)
    share = held / max(1, len(chain.facts))
    return float(chain.thought.answer == truth) + max(-FACT_REWARD, min(FACT_REWARD, FACT_REWARD * share))
