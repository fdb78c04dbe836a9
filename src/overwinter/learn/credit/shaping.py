"""Credit shaped by what a model measures along the way: entropy (EMPG 2509.09265), or potentials (TRACE 2607.13988, IGPO 2510.14967).

    EMPG: A = A^GRPO g(H_t) + zeta f(H_{t+1}) - batch mean;  g = exp(-k H) / mean exp(-k H), f = exp(-k' H), H scaled to 0..1
    potentials: a turn earns Psi(s_{t+1}) - Psi(s_t), where Psi is what the gold answer is worth before the turn

Both trust a measurement of the model about itself. Psi goes into the column `value`: log-probabilities for TRACE, probabilities
for IGPO. The last turn has no state after it and earns the outcome instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from overwinter.learn.credit.arrays import Frame, buckets_of
from overwinter.learn.credit.groups import Grpo, demand, grpo_outcomes
from overwinter.learn.credit.parts import Parts


@dataclass(frozen=True, kw_only=True)
class Empg:
    """Args:
    k: how much confident steps gain and uncertain ones lose.
    k_next: the same for the bonus of a confident next step.
    zeta: weight of that bonus; the last step has none.
    macro: the GRPO term.
    """

    k: float
    k_next: float
    zeta: float
    macro: Grpo


def empg(frame: Frame, options: Empg) -> Parts:
    """A of GRPO scaled by confidence, plus a bonus for a clear next step."""
    batch, x = frame.batch, frame.x
    entropy = frame.column("entropy")
    low, high = float(np.min(batch.entropy)), float(np.max(batch.entropy))  # type: ignore[arg-type]
    scaled = (entropy - low) / (high - low) if high > low else entropy * 0.0
    everything = buckets_of(np.zeros(len(batch), dtype=np.int64))
    confidence = x.exp(-options.k * scaled)
    gain = confidence / x.take(frame.mean(confidence, everything), everything.index)
    clear = frame.next_of(x.exp(-options.k_next * scaled), x.of(np.zeros(batch.trajectories)))
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    advantages = frame.centred(macro * gain + options.zeta * clear, everything)
    return Parts(advantages=advantages, macro=macro, micro=advantages - macro)


@dataclass(frozen=True, kw_only=True)
class Potential:
    """Args:
    gamma: discount of what later turns earn.
    omega: weight of the turns' differences beside the outcome.
    outcome: the outcome is the "last" turn's reward, or a "macro" term of its own.
    eps: added to the deviation of rewards within the group.
    macro: the GRPO term, read when outcome="macro".
    """

    gamma: float
    omega: float
    outcome: Literal["last", "macro"]
    eps: float
    macro: Grpo

    def __post_init__(self) -> None:
        demand(0 <= self.gamma <= 1, f"gamma is {self.gamma}", "give a number from 0 to 1")
        demand(self.outcome in ("last", "macro"), f"outcome is {self.outcome!r}", "last or macro")


def potential(frame: Frame, options: Potential) -> Parts:
    """Turn rewards, normalised over all turns of the group, summed from each turn on."""
    batch, x = frame.batch, frame.x
    value = frame.column("value")
    earned = options.omega * (frame.next_of(value, x.take(value, batch.last)) - value)
    if options.outcome == "last":
        rewards = x.put(earned, batch.last, frame.outcome)
        advantages = frame.backwards(frame.normalised(rewards, frame.row_groups, 0, options.eps), options.gamma)
        return Parts(advantages=advantages)
    macro = frame.by_step(grpo_outcomes(frame, options.macro))
    micro = frame.backwards(frame.normalised(earned, frame.row_groups, 0, options.eps), options.gamma)
    return Parts(advantages=macro + micro, macro=macro, micro=micro)
