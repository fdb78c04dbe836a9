"""Agreement by meaning: samples that say the same are one answer, whatever their words.

Semantic entropy (Kuhn et al. 2023, arXiv 2302.09664): cluster samples by a given equivalence, sum the probability of their members,
take the entropy over clusters. The equivalence is the caller's: equal normal forms (`vote.normalise`), equal tool calls, or a model that
says whether each of two texts follows from the other. Agreement of one weak model with itself is not confidence
(docs/confidence.md); agreement of different models is worth more. No dependency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from overwinter.errors import UsageError

Same = Callable[[str, str], bool]
"""Whether two answers say the same. It is asked in one direction only, newer text against a cluster's first member."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """What samples of one question agree on.

    Attributes:
        clusters: places of the samples, by what they say; the largest weight first, of equals the earliest.
        weights: of each cluster, summing to 1: its share of the samples, or of their probability.
        entropy: over the clusters, in nats; 0 where all say the same, ln of the number of samples at most.
        unread: samples without an answer, which are in no cluster.
    """

    clusters: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    entropy: float
    unread: int

    @property
    def share(self) -> float:
        """Of the largest cluster; 0 without one."""
        return self.weights[0] if self.weights else 0.0

    @property
    def certainty(self) -> float:
        """1 − entropy / ln(samples), 0..1: a signal that a calibrator can take. 1 for a single sample, which says nothing."""
        samples = sum(map(len, self.clusters))
        return 1 - self.entropy / math.log(samples) if samples > 1 else float(samples)


def agreement(
    samples: Sequence[str | None], same: Same, *, logprobs: Sequence[Sequence[float]] | None = None
) -> Agreement:
    """Cluster samples and weigh the clusters.

    Args:
        samples: None for one whose answer could not be read.
        logprobs: of each sample's tokens; then clusters weigh by the mean-per-token probability of their members, normalised over the
            samples, instead of by their number.

    Raises:
        UsageError: as many lists of log-probabilities as samples are needed, none of them empty.
    """
    if logprobs is not None and (len(logprobs) != len(samples) or not all(logprobs)):
        raise UsageError(
            f"{len(samples)} samples and {len(logprobs)} lists of log-probabilities",
            "give one for each sample, not empty",
        )
    found: list[list[int]] = []
    for place, text in enumerate(samples):
        if text is None:
            continue
        home = next((cluster for cluster in found if same(str(samples[cluster[0]]), text)), None)
        if home is None:
            found.append([place])
        else:
            home.append(place)
    mass = [1.0] * len(samples)
    if logprobs is not None:
        mass = [math.exp(math.fsum(row) / len(row)) for row in logprobs]
    sums = [math.fsum(mass[place] for place in cluster) for cluster in found]
    total = math.fsum(sums)
    order = sorted(range(len(found)), key=lambda i: (-sums[i], found[i][0]))
    weights = tuple(sums[i] / total for i in order)
    return Agreement(
        clusters=tuple(tuple(found[i]) for i in order),
        weights=weights,
        entropy=max(0.0, -math.fsum(w * math.log(w) for w in weights if w > 0)),
        unread=sum(text is None for text in samples),
    )
